//! The body of ResumeTicket: a token with which the client comes back without its backend.
//!
//! ```text
//!  | kind u8 = 2 | key id u32 | expiry u64 | nonce[24] | sealed[272] |      309 bytes
//! ```
//! Called by `connection` to write and by `client` to read.

use super::cursor::{ReadError, Reader, Writer};
use super::handshake::PublicToken;
use super::message::{control, put_message};

/// The only kind of token that is sent over a session.
const KIND: u8 = 2;

/// Appends the message, length and type included.
pub fn put_resume_ticket(writer: &mut Writer<'_>, token: &PublicToken) {
    put_message(writer, control::RESUME_TICKET, |writer| {
        writer.u8(token.kind);
        writer.u32(token.key_id);
        writer.u64(token.expiry_s);
        writer.array(token.nonce);
        writer.array(token.sealed);
    });
}

/// Reads the body of the message.
///
/// # Errors
/// `Truncated`, `Trailing`; `Value` for another kind.
pub fn read_resume_ticket(body: &[u8]) -> Result<PublicToken, ReadError> {
    let mut reader = Reader::new(body);
    let token = PublicToken {
        kind: reader.u8()?,
        key_id: reader.u32()?,
        expiry_s: reader.u64()?,
        nonce: reader.array()?,
        sealed: reader.array()?,
    };
    reader.finish()?;
    if token.kind == KIND { Ok(token) } else { Err(ReadError::Value) }
}

#[cfg(test)]
mod tests {
    use super::super::{Channel, Messages, SEALED_TOKEN_LEN};
    use super::*;

    #[test]
    fn a_ticket_round_trips_and_every_other_length_or_kind_is_an_error() {
        let token = PublicToken {
            kind: 2,
            key_id: 0x0102_0304,
            nonce: std::array::from_fn(|i| i as u8),
            expiry_s: 0x1112_1314_1516_1718,
            sealed: std::array::from_fn(|i| i as u8 ^ 0x55),
        };
        let mut out = [0; 400];
        let mut writer = Writer::new(&mut out);
        put_resume_ticket(&mut writer, &token);
        let length = writer.finish().expect("room");
        assert_eq!(length, 312);
        let message = Messages::new(&out[..length], Channel::Control).next();
        let message = message.expect("one message").expect("well framed");
        assert_eq!(message.kind, control::RESUME_TICKET);
        assert_eq!(message.body.len(), 37 + SEALED_TOKEN_LEN);
        assert_eq!(message.body[..5], [2, 4, 3, 2, 1]);
        assert_eq!(read_resume_ticket(message.body), Ok(token));
        for cut in 0..message.body.len() {
            assert_eq!(read_resume_ticket(&message.body[..cut]), Err(ReadError::Truncated));
        }
        assert_eq!(read_resume_ticket(&out[3..length + 1]), Err(ReadError::Trailing));
        out[3] = 1;
        assert_eq!(read_resume_ticket(&out[3..length]), Err(ReadError::Value));
    }
}
