//! The fragment header: which part of which message a packet carries.
//!
//! Owns: its 8 bytes and what is fixed about them for every message. Never keeps a fragment: that
//! is `reliable`. Called by `connection` and `client`.

use super::cursor::{ReadError, Reader, Writer};
use crate::limits::FRAGMENT_LEN;

/// Which part of a message follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentHeader {
    /// The id of the message.
    pub id: u16,
    /// Where in the message the part begins, a multiple of 1,024.
    pub offset: u16,
    /// Bytes of the whole message, its length field included.
    pub total: u32,
}

impl FragmentHeader {
    /// Reads 8 bytes.
    ///
    /// # Errors
    /// `Truncated`; `Value` for an offset that is no multiple of 1,024 or not below `total`.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        let header = Self { id: reader.u16()?, offset: reader.u16()?, total: reader.u32()? };
        let on_grid = usize::from(header.offset).is_multiple_of(FRAGMENT_LEN);
        let is_inside = u32::from(header.offset) < header.total;
        if on_grid && is_inside { Ok(header) } else { Err(ReadError::Value) }
    }

    /// Appends 8 bytes.
    pub fn write(&self, writer: &mut Writer<'_>) {
        writer.u16(self.id);
        writer.u16(self.offset);
        writer.u32(self.total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::FRAGMENT_HEADER_LEN;

    fn bytes(header: FragmentHeader) -> [u8; FRAGMENT_HEADER_LEN] {
        let mut out = [0; FRAGMENT_HEADER_LEN];
        let mut writer = Writer::new(&mut out);
        header.write(&mut writer);
        assert_eq!(writer.finish(), Ok(FRAGMENT_HEADER_LEN));
        out
    }

    #[test]
    fn a_header_round_trips_and_truncation_is_an_error_at_every_length() {
        let header = FragmentHeader { id: 0x0102, offset: 0xFC00, total: 65_536 };
        let bytes = bytes(header);
        assert_eq!(bytes, [2, 1, 0, 0xFC, 0, 0, 1, 0]);
        assert_eq!(FragmentHeader::read(&mut Reader::new(&bytes)), Ok(header));
        for cut in 0..bytes.len() {
            let read = FragmentHeader::read(&mut Reader::new(&bytes[..cut]));
            assert_eq!(read, Err(ReadError::Truncated));
        }
    }

    #[test]
    fn an_offset_off_the_grid_or_at_the_end_is_an_error() {
        for (offset, total, legal) in [
            (0, 0, false),
            (0, 1, true),
            (1_024, 1_024, false),
            (1_024, 1_025, true),
            (1_023, 4_000, false),
            (512, 4_000, false),
            (0xFC00, u32::MAX, true),
        ] {
            let bytes = bytes(FragmentHeader { id: 7, offset, total });
            let read = FragmentHeader::read(&mut Reader::new(&bytes));
            assert_eq!(read.is_ok(), legal, "{offset} of {total}");
        }
    }
}
