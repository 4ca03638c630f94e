//! The acknowledgment block: which packets of the other side have been processed.
//!
//! Owns: its 18 bytes and their meaning as a set of sequences. Never remembers anything. Called by
//! `connection` and `client`.

use super::cursor::{ReadError, Reader, Writer};
use crate::limits::ACK_BLOCK_LEN;

/// Up to 65 processed packets, named by their sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckBlock {
    /// The largest sequence processed so far.
    pub largest: u64,
    /// Bit i set: `largest` − 1 − i has been processed too.
    pub bitmap: u64,
    /// Time from the arrival of `largest` to the sending of this block, in units of 32 µs.
    pub delay: u16,
}

impl AckBlock {
    /// The delay of a sender that does not tell it.
    pub const DELAY_UNKNOWN: u16 = u16::MAX;

    /// Reads 18 bytes.
    ///
    /// # Errors
    /// `Truncated`; `Value` when it names sequence 0 or one below it, which do not exist.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        let block = Self { largest: reader.u64()?, bitmap: reader.u64()?, delay: reader.u16()? };
        // The lowest sequence the bitmap names must be at least 1.
        let span = u64::from(u64::BITS - block.bitmap.leading_zeros());
        if block.largest > span { Ok(block) } else { Err(ReadError::Value) }
    }

    /// Appends 18 bytes.
    #[inline]
    pub fn write(&self, writer: &mut Writer<'_>) {
        let mut bytes = [0; ACK_BLOCK_LEN];
        bytes[..8].copy_from_slice(&self.largest.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.bitmap.to_le_bytes());
        bytes[16..].copy_from_slice(&self.delay.to_le_bytes());
        writer.array(bytes);
    }

    /// Whether `sequence` is in the set.
    pub fn acknowledges(&self, sequence: u64) -> bool {
        match self.largest.checked_sub(sequence) {
            Some(0) => true,
            Some(age @ 1..=64) => self.bitmap >> (age - 1) & 1 == 1,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(block: AckBlock) -> [u8; ACK_BLOCK_LEN] {
        let mut out = [0; ACK_BLOCK_LEN];
        let mut writer = Writer::new(&mut out);
        block.write(&mut writer);
        assert_eq!(writer.finish(), Ok(ACK_BLOCK_LEN));
        out
    }

    #[test]
    fn a_block_round_trips_and_truncation_is_an_error_at_every_length() {
        let block = AckBlock { largest: 0x0102_0304_0506, bitmap: 1 << 63 | 5, delay: 0x0A0B };
        let bytes = bytes(block);
        assert_eq!(bytes[..6], [6, 5, 4, 3, 2, 1]);
        assert_eq!(bytes[16..], [0x0B, 0x0A]);
        assert_eq!(AckBlock::read(&mut Reader::new(&bytes)), Ok(block));
        for cut in 0..ACK_BLOCK_LEN {
            let read = AckBlock::read(&mut Reader::new(&bytes[..cut]));
            assert_eq!(read, Err(ReadError::Truncated));
        }
    }

    #[test]
    fn the_bitmap_starts_below_the_largest() {
        let block = AckBlock { largest: 100, bitmap: 1 | 1 << 63, delay: 0 };
        let named: Vec<u64> = (0..200).filter(|&s| block.acknowledges(s)).collect();
        assert_eq!(named, [36, 99, 100]);
    }

    #[test]
    fn sequences_below_one_cannot_be_named() {
        for (largest, bitmap, legal) in [
            (0, 0, false),
            (1, 0, true),
            (1, 1, false),
            (2, 1, true),
            (2, 2, false),
            (64, 1 << 63, false),
            (65, 1 << 63, true),
            (u64::MAX, u64::MAX, true),
        ] {
            let bytes = bytes(AckBlock { largest, bitmap, delay: 0 });
            let read = AckBlock::read(&mut Reader::new(&bytes));
            assert_eq!(read.is_ok(), legal, "{largest} {bitmap:#x}");
        }
    }
}
