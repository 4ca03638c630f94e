//! EnterToWorld: the client asks for an entity.
//!
//! Idempotent: the client repeats it every 100 ms until a snapshot carries its own state. Called by
//! `connection` to read and by `client` to write.

use super::cursor::{ReadError, Reader, Writer};
use super::message::{put_message, to_server};

/// Bytes of the body, all reserved and zero.
pub const ENTER_TO_WORLD_LEN: usize = 4;

/// Reads a message body.
///
/// # Errors
/// `Truncated`, `Trailing`; `Value` when a reserved byte is not zero.
pub fn read_enter_to_world(body: &[u8]) -> Result<(), ReadError> {
    let mut reader = Reader::new(body);
    reader.zeros(ENTER_TO_WORLD_LEN)?;
    reader.finish()
}

/// Appends the message, length and type included.
pub fn put_enter_to_world(writer: &mut Writer<'_>) {
    put_message(writer, to_server::ENTER_TO_WORLD, |writer| writer.zeros(ENTER_TO_WORLD_LEN));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_four_zero_bytes_are_a_wish_to_enter() {
        let mut out = [0xEE; 7];
        let mut writer = Writer::new(&mut out);
        put_enter_to_world(&mut writer);
        assert_eq!(writer.finish(), Ok(7));
        assert_eq!(out, [5, 0, 3, 0, 0, 0, 0]);
        assert_eq!(read_enter_to_world(&out[3..]), Ok(()));
        for length in 0..4 {
            assert_eq!(read_enter_to_world(&[0; 4][..length]), Err(ReadError::Truncated));
        }
        assert_eq!(read_enter_to_world(&[0; 5]), Err(ReadError::Trailing));
        assert_eq!(read_enter_to_world(&[0, 0, 0, 1]), Err(ReadError::Value));
    }
}
