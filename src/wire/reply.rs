//! What the gate answers to a Connect: Cookie, Accepted or Denied, each of one size, each smaller
//! than 1,200.
//!
//! Owns: their layouts and checksums. Never verifies a cookie or opens a Noise message. Called by
//! `gate` to write and by `client` to read.

use super::crc::{CRC_LEN, packet_crc};
use super::cursor::{ReadError, Reader, Writer};
use super::denial::Denial;
use super::handshake::{COOKIE_LEN, HandshakeError, NOISE_MESSAGE_2_LEN, WIRE_VERSION, kind};
use super::header::{Header, HeaderError};

/// Bytes of a Cookie packet.
pub const COOKIE_PACKET_LEN: usize = 76;
/// Bytes of an Accepted packet.
pub const ACCEPTED_LEN: usize = 140;
/// Bytes of a Denied packet.
pub const DENIED_LEN: usize = 36;

/// Proof that the client receives at its address, to be repeated in the next Connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CookiePacket {
    /// The attempt that is answered.
    pub client_nonce: [u8; 8],
    /// Opaque to the client.
    pub cookie: [u8; COOKIE_LEN],
}

/// The second Noise message: the session exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcceptedPacket {
    /// The attempt that is answered.
    pub client_nonce: [u8; 8],
    /// The server's ephemeral public key and the sealed `Accepted`.
    pub noise_message: [u8; NOISE_MESSAGE_2_LEN],
}

/// A refusal that carries no proof of its sender: a hint for the user, never a reason to give up
/// early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeniedPacket {
    /// The attempt that is answered.
    pub client_nonce: [u8; 8],
    /// Why.
    pub reason: Denial,
    /// Milliseconds after which a new attempt may succeed.
    pub retry_ms: u32,
}

/// Any of the three answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Type 1.
    Cookie(CookiePacket),
    /// Type 2.
    Accepted(AcceptedPacket),
    /// Type 3.
    Denied(DeniedPacket),
}

impl CookiePacket {
    /// Writes the packet, checksum included.
    pub fn write(&self, protocol_id: u64, out: &mut [u8; COOKIE_PACKET_LEN]) {
        write_reply(kind::COOKIE, protocol_id, out, |writer| {
            writer.array(self.client_nonce);
            writer.array(self.cookie);
        });
    }
}

impl AcceptedPacket {
    /// Writes the packet, checksum included.
    pub fn write(&self, protocol_id: u64, out: &mut [u8; ACCEPTED_LEN]) {
        write_reply(kind::ACCEPTED, protocol_id, out, |writer| {
            writer.array(self.client_nonce);
            writer.array(self.noise_message);
        });
    }
}

impl DeniedPacket {
    /// Writes the packet, checksum included.
    pub fn write(&self, protocol_id: u64, out: &mut [u8; DENIED_LEN]) {
        write_reply(kind::DENIED, protocol_id, out, |writer| {
            writer.array(self.client_nonce);
            writer.u8(self.reason as u8);
            writer.zeros(3);
            writer.u32(self.retry_ms);
        });
    }
}

impl Reply {
    /// Reads what the gate sent to a client of the game `protocol_id`.
    ///
    /// # Errors
    /// `Header`, `Kind`, `Version`, `Size`, `Crc` or `Reserved`, in this order.
    pub fn read(protocol_id: u64, datagram: &[u8]) -> Result<Self, HandshakeError> {
        let header = Header::read(datagram).map_err(HandshakeError::Header)?;
        if header != Header::HANDSHAKE {
            return Err(HandshakeError::Header(HeaderError::Handshake));
        }
        let [_, .., kind, version] = *datagram.first_chunk::<16>().ok_or(HandshakeError::Size)?;
        let length = match kind {
            kind::COOKIE => COOKIE_PACKET_LEN,
            kind::ACCEPTED => ACCEPTED_LEN,
            kind::DENIED => DENIED_LEN,
            _ => return Err(HandshakeError::Kind),
        };
        if version != WIRE_VERSION {
            return Err(HandshakeError::Version);
        }
        if datagram.len() != length {
            return Err(HandshakeError::Size);
        }
        let (body, crc) = datagram.split_last_chunk::<CRC_LEN>().ok_or(HandshakeError::Size)?;
        if packet_crc(protocol_id, datagram, body.len()) != u32::from_le_bytes(*crc) {
            return Err(HandshakeError::Crc);
        }
        read_body(kind, &body[16..]).map_err(|_| HandshakeError::Reserved)
    }
}

/// The fields between the version and the checksum.
fn read_body(kind: u8, body: &[u8]) -> Result<Reply, ReadError> {
    let mut reader = Reader::new(body);
    let client_nonce = reader.array()?;
    let reply = match kind {
        kind::COOKIE => Reply::Cookie(CookiePacket { client_nonce, cookie: reader.array()? }),
        kind::ACCEPTED => {
            Reply::Accepted(AcceptedPacket { client_nonce, noise_message: reader.array()? })
        }
        _ => {
            let reason = Denial::from_wire(reader.u8()?).ok_or(ReadError::Value)?;
            reader.zeros(3)?;
            Reply::Denied(DeniedPacket { client_nonce, reason, retry_ms: reader.u32()? })
        }
    };
    reader.finish().map(|()| reply)
}

/// Header, type and version, then the fields, then the checksum in the last four bytes.
fn write_reply<const N: usize>(
    kind: u8,
    protocol_id: u64,
    out: &mut [u8; N],
    fields: impl FnOnce(&mut Writer<'_>),
) {
    let crc_at = N - CRC_LEN;
    let mut writer = Writer::new(&mut out[..crc_at]);
    Header::HANDSHAKE.put(&mut writer);
    writer.u8(kind);
    writer.u8(WIRE_VERSION);
    fields(&mut writer);
    assert_eq!(writer.finish(), Ok(crc_at), "the fields fill the packet");
    let crc = packet_crc(protocol_id, out, crc_at);
    out[crc_at..].copy_from_slice(&crc.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::DropReason;

    const PROTOCOL_ID: u64 = 0x1122_3344_5566_7788;
    const NONCE: [u8; 8] = *b"attempt1";

    fn all() -> Vec<(Reply, Vec<u8>)> {
        let cookie = CookiePacket { client_nonce: NONCE, cookie: [7; COOKIE_LEN] };
        let noise_message = std::array::from_fn(|i| i as u8);
        let accepted = AcceptedPacket { client_nonce: NONCE, noise_message };
        let denied = DeniedPacket { client_nonce: NONCE, reason: Denial::Full, retry_ms: 1500 };
        let mut out = ([0xEE; COOKIE_PACKET_LEN], [0xEE; ACCEPTED_LEN], [0xEE; DENIED_LEN]);
        cookie.write(PROTOCOL_ID, &mut out.0);
        accepted.write(PROTOCOL_ID, &mut out.1);
        denied.write(PROTOCOL_ID, &mut out.2);
        vec![
            (Reply::Cookie(cookie), out.0.to_vec()),
            (Reply::Accepted(accepted), out.1.to_vec()),
            (Reply::Denied(denied), out.2.to_vec()),
        ]
    }

    #[test]
    fn every_reply_round_trips() {
        for (reply, bytes) in all() {
            assert_eq!(Reply::read(PROTOCOL_ID, &bytes), Ok(reply));
            assert_eq!(Reply::read(PROTOCOL_ID + 1, &bytes), Err(HandshakeError::Crc));
        }
    }

    #[test]
    fn truncated_or_extended_replies_are_refused_at_every_length() {
        for (_, bytes) in all() {
            let mut long = bytes.clone();
            long.resize(1300, 0);
            for length in (0..1300).filter(|&length| length != bytes.len()) {
                assert!(Reply::read(PROTOCOL_ID, &long[..length]).is_err(), "{length}");
            }
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_in_a_reply_is_noticed() {
        for (_, bytes) in all() {
            for bit in 0..bytes.len() * 8 {
                let mut changed = bytes.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                assert!(Reply::read(PROTOCOL_ID, &changed).is_err(), "bit {bit}");
            }
        }
    }

    #[test]
    fn reserved_bytes_and_reasons_of_a_denial_are_checked_behind_the_checksum() {
        let (_, genuine) = all().pop().expect("three replies");
        for (at, value) in [(24, 0), (24, 99), (25, 1), (26, 1), (27, 1)] {
            let mut bytes = genuine.clone();
            bytes[at] = value;
            let crc = packet_crc(PROTOCOL_ID, &bytes, DENIED_LEN - CRC_LEN);
            bytes[DENIED_LEN - CRC_LEN..].copy_from_slice(&crc.to_le_bytes());
            let error = Reply::read(PROTOCOL_ID, &bytes).expect_err("a broken rule");
            assert_eq!(error.reason(), DropReason::Handshake, "byte {at}");
        }
    }
}
