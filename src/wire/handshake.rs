//! The packet that asks for a session: Connect, exactly 1,200 bytes, client to gate.
//!
//! Owns: its layout, its zero rules, the bytes that the Noise handshake binds. Never opens the
//! token or the Noise message in it. Called by `gate` to read and by `client` to write. The three
//! answers are in `reply`.

use super::crc::packet_crc;
use super::header::{Header, HeaderError};
use crate::limits::{DATAGRAM_MAX, HEADER_LEN};
use crate::metrics::DropReason;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Byte 15 of every handshake packet.
pub const WIRE_VERSION: u8 = 1;
/// Bytes of a Connect: as large as the largest packet, so that no answer is larger than its
/// question.
pub const CONNECT_LEN: usize = DATAGRAM_MAX;
/// Bytes of a cookie.
pub const COOKIE_LEN: usize = 48;
/// Bytes of a sealed token.
pub const SEALED_TOKEN_LEN: usize = 272;
/// Bytes of the nonce of a sealed token.
pub const TOKEN_NONCE_LEN: usize = 24;
/// Bytes of the first Noise message: an ephemeral key and 16 sealed bytes.
pub const NOISE_MESSAGE_1_LEN: usize = 64;
/// Bytes of the second Noise message: an ephemeral key and 64 sealed bytes.
pub const NOISE_MESSAGE_2_LEN: usize = 112;
/// Bytes that the handshake binds besides the Noise messages: bytes 0..32 and 84..396 of a Connect.
pub const PROLOGUE_LEN: usize = 32 + 312;

/// Byte 14 of a handshake packet.
pub(super) mod kind {
    pub(in crate::wire) const CONNECT: u8 = 0;
    pub(in crate::wire) const COOKIE: u8 = 1;
    pub(in crate::wire) const ACCEPTED: u8 = 2;
    pub(in crate::wire) const DENIED: u8 = 3;
}

const CRC_AT: usize = 80;
const PADDING: usize = 740;

/// Why a datagram is not the handshake packet it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeError {
    /// Not of the one size that its type has.
    Size,
    /// Not the header of a handshake packet.
    Header(HeaderError),
    /// A type that does not travel in this direction, or does not exist.
    Kind,
    /// Another wire version.
    Version,
    /// A reserved byte that is not zero.
    Reserved,
    /// A checksum that does not match.
    Crc,
}

impl HandshakeError {
    /// The counter of this fault.
    pub fn reason(self) -> DropReason {
        match self {
            Self::Size => DropReason::Size,
            Self::Header(_) => DropReason::Header,
            Self::Kind | Self::Version | Self::Reserved => DropReason::Handshake,
            Self::Crc => DropReason::Crc,
        }
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct ConnectLayout {
    header: [u8; HEADER_LEN],
    kind: u8,
    version: u8,
    protocol_id: U64,
    client_nonce: [u8; 8],
    cookie: [u8; COOKIE_LEN],
    crc: U32,
    token: TokenLayout,
    noise_message: [u8; NOISE_MESSAGE_1_LEN],
    padding: [u8; PADDING],
}

/// Bytes 84..396: what the client got from its backend and passes on.
#[derive(Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct TokenLayout {
    kind: u8,
    reserved: [u8; 3],
    key_id: U32,
    nonce: [u8; TOKEN_NONCE_LEN],
    expiry_s: U64,
    sealed: [u8; SEALED_TOKEN_LEN],
}

const _: () = assert!(size_of::<ConnectLayout>() == CONNECT_LEN);
const _: () = assert!(std::mem::offset_of!(ConnectLayout, crc) == CRC_AT);
const _: () = assert!(std::mem::offset_of!(ConnectLayout, token) == 84);
const _: () = assert!(std::mem::offset_of!(ConnectLayout, noise_message) == 396);
const _: () = assert!(PROLOGUE_LEN == 32 + size_of::<TokenLayout>());

/// A received Connect whose size, type, version and zero rules hold. A view: nothing is copied.
#[derive(Clone, Copy)]
pub struct Connect<'a>(&'a ConnectLayout);

impl<'a> Connect<'a> {
    /// The first check of the gate. The checksum and the meaning of the fields are later ones.
    ///
    /// # Errors
    /// `Size`, `Header`, `Kind`, `Version` or `Reserved`, in this order.
    pub fn read(datagram: &'a [u8]) -> Result<Self, HandshakeError> {
        let layout = ConnectLayout::ref_from_bytes(datagram).map_err(|_| HandshakeError::Size)?;
        let header = Header::read(&layout.header).map_err(HandshakeError::Header)?;
        if header != Header::HANDSHAKE {
            return Err(HandshakeError::Header(HeaderError::Handshake));
        }
        if layout.kind != kind::CONNECT {
            return Err(HandshakeError::Kind);
        }
        if layout.version != WIRE_VERSION {
            return Err(HandshakeError::Version);
        }
        let padding = layout.padding.iter().fold(0, |all, byte| all | byte);
        if layout.token.reserved != [0; 3] || padding != 0 {
            return Err(HandshakeError::Reserved);
        }
        Ok(Self(layout))
    }

    /// Whether the checksum matches, computed over the packet's own protocol id.
    pub fn crc_matches(self) -> bool {
        packet_crc(self.protocol_id(), self.0.as_bytes(), CRC_AT) == self.0.crc.get()
    }

    /// Which game and build the client speaks for.
    pub fn protocol_id(self) -> u64 {
        self.0.protocol_id.get()
    }

    /// Names the attempt; the answers repeat it.
    pub fn client_nonce(self) -> &'a [u8; 8] {
        &self.0.client_nonce
    }

    /// The cookie, zeros in the first flight.
    pub fn cookie(self) -> &'a [u8; COOKIE_LEN] {
        &self.0.cookie
    }

    /// Whether the client has no cookie yet.
    pub fn is_first_flight(self) -> bool {
        self.0.cookie == [0; COOKIE_LEN]
    }

    /// 1 connect token, 2 resume ticket; nothing else has been checked.
    pub fn token_kind(self) -> u8 {
        self.0.token.kind
    }

    /// Which token key sealed the token.
    pub fn token_key_id(self) -> u32 {
        self.0.token.key_id.get()
    }

    /// The nonce of the sealed token.
    pub fn token_nonce(self) -> &'a [u8; TOKEN_NONCE_LEN] {
        &self.0.token.nonce
    }

    /// Unix seconds after which the token is void.
    pub fn token_expiry_s(self) -> u64 {
        self.0.token.expiry_s.get()
    }

    /// The token, still sealed.
    pub fn sealed_token(self) -> &'a [u8; SEALED_TOKEN_LEN] {
        &self.0.token.sealed
    }

    /// The client's ephemeral public key: the first half of the Noise message.
    pub fn client_ephemeral(self) -> &'a [u8; 32] {
        self.0.noise_message.first_chunk().expect("the message has 64 bytes")
    }

    /// The first Noise message.
    pub fn noise_message(self) -> &'a [u8; NOISE_MESSAGE_1_LEN] {
        &self.0.noise_message
    }

    /// What the Noise handshake binds: bytes 0..32 and 84..396. Cookie and checksum change between
    /// resends of one attempt and are left out, so that the Noise message stays the same.
    pub fn prologue(self) -> [u8; PROLOGUE_LEN] {
        let mut out = [0; PROLOGUE_LEN];
        let (head, token) = out.split_at_mut(32);
        head.copy_from_slice(&self.0.as_bytes()[..32]);
        token.copy_from_slice(self.0.token.as_bytes());
        out
    }
}

/// The fields of a Connect that stay the same for a whole attempt.
#[derive(Clone)]
pub struct ConnectRequest {
    protocol_id: u64,
    client_nonce: [u8; 8],
    token: TokenLayout,
}

impl ConnectRequest {
    /// An attempt named `client_nonce` to join the game `protocol_id`.
    pub fn new(protocol_id: u64, client_nonce: [u8; 8], token: &PublicToken) -> Self {
        let token = TokenLayout {
            kind: token.kind,
            reserved: [0; 3],
            key_id: U32::new(token.key_id),
            nonce: token.nonce,
            expiry_s: U64::new(token.expiry_s),
            sealed: token.sealed,
        };
        Self { protocol_id, client_nonce, token }
    }

    /// As `Connect::prologue`, available before there is a Noise message.
    pub fn prologue(&self) -> [u8; PROLOGUE_LEN] {
        let mut packet = [0; CONNECT_LEN];
        self.fill(&[0; COOKIE_LEN], &[0; NOISE_MESSAGE_1_LEN]).write(&mut packet);
        Connect::read(&packet).expect("an own packet keeps the rules").prologue()
    }

    /// Writes the packet, checksum included. `cookie` is zeros in the first flight; `noise_message`
    /// must be the same bytes in every packet of one attempt.
    pub fn write(
        &self,
        cookie: &[u8; COOKIE_LEN],
        noise_message: &[u8; NOISE_MESSAGE_1_LEN],
        out: &mut [u8; CONNECT_LEN],
    ) {
        self.fill(cookie, noise_message).write(out);
    }

    fn fill(
        &self,
        cookie: &[u8; COOKIE_LEN],
        noise_message: &[u8; NOISE_MESSAGE_1_LEN],
    ) -> ConnectLayout {
        let mut header = [0; HEADER_LEN];
        Header::HANDSHAKE.write(&mut header);
        ConnectLayout {
            header,
            kind: kind::CONNECT,
            version: WIRE_VERSION,
            protocol_id: U64::new(self.protocol_id),
            client_nonce: self.client_nonce,
            cookie: *cookie,
            crc: U32::ZERO,
            token: self.token.clone(),
            noise_message: *noise_message,
            padding: [0; PADDING],
        }
    }
}

impl ConnectLayout {
    fn write(mut self, out: &mut [u8; CONNECT_LEN]) {
        self.crc = U32::new(packet_crc(self.protocol_id.get(), self.as_bytes(), CRC_AT));
        out.copy_from_slice(self.as_bytes());
    }
}

/// The part of a connect token that travels: what the client sends without being able to read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicToken {
    /// 1 connect token, 2 resume ticket.
    pub kind: u8,
    /// Which token key sealed it.
    pub key_id: u32,
    /// The nonce it was sealed with.
    pub nonce: [u8; TOKEN_NONCE_LEN],
    /// Unix seconds after which it is void.
    pub expiry_s: u64,
    /// The token, sealed.
    pub sealed: [u8; SEALED_TOKEN_LEN],
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROTOCOL_ID: u64 = 0x1122_3344_5566_7788;

    fn token() -> PublicToken {
        PublicToken {
            kind: 1,
            key_id: 7,
            nonce: std::array::from_fn(|i| i as u8),
            expiry_s: 1_893_456_000,
            sealed: std::array::from_fn(|i| (i * 31) as u8),
        }
    }

    fn packet(cookie: u8) -> [u8; CONNECT_LEN] {
        let request = ConnectRequest::new(PROTOCOL_ID, *b"attempt1", &token());
        let mut out = [0xEE; CONNECT_LEN];
        request.write(&[cookie; COOKIE_LEN], &[9; NOISE_MESSAGE_1_LEN], &mut out);
        out
    }

    #[test]
    fn a_connect_round_trips_every_field() {
        let packet = packet(5);
        let connect = Connect::read(&packet).expect("an own packet");
        assert!(connect.crc_matches() && !connect.is_first_flight());
        assert_eq!(connect.protocol_id(), PROTOCOL_ID);
        assert_eq!(connect.client_nonce(), b"attempt1");
        assert_eq!(connect.cookie(), &[5; COOKIE_LEN]);
        let read = PublicToken {
            kind: connect.token_kind(),
            key_id: connect.token_key_id(),
            nonce: *connect.token_nonce(),
            expiry_s: connect.token_expiry_s(),
            sealed: *connect.sealed_token(),
        };
        assert_eq!(read, token());
        assert_eq!(connect.noise_message(), &[9; NOISE_MESSAGE_1_LEN]);
        assert_eq!(connect.client_ephemeral(), &[9; 32]);
        assert!(Connect::read(&self::packet(0)).expect("an own packet").is_first_flight());
    }

    #[test]
    fn the_prologue_is_the_packet_without_cookie_checksum_and_noise_message() {
        let (first, second) = (packet(0), packet(5));
        let expected = [&second[..32], &second[84..396]].concat();
        let request = ConnectRequest::new(PROTOCOL_ID, *b"attempt1", &token());
        assert_eq!(request.prologue()[..], expected);
        for packet in [first, second] {
            assert_eq!(Connect::read(&packet).expect("an own packet").prologue()[..], expected);
        }
    }

    #[test]
    fn a_connect_of_any_other_size_is_refused() {
        let mut long = packet(0).to_vec();
        long.push(0);
        for length in (0..=1201).filter(|&length| length != CONNECT_LEN) {
            let read = Connect::read(&long[..length]).map(|_| ());
            assert_eq!(read, Err(HandshakeError::Size), "{length}");
        }
    }

    #[test]
    fn a_changed_byte_anywhere_breaks_a_rule_or_the_checksum() {
        let genuine = packet(5);
        for at in 0..CONNECT_LEN {
            for bit in 0..8 {
                let mut packet = genuine;
                packet[at] ^= 1 << bit;
                match Connect::read(&packet) {
                    Ok(connect) => {
                        assert!(!connect.crc_matches(), "byte {at} bit {bit}");
                        assert!((16..85).contains(&at) || (88..460).contains(&at), "byte {at}");
                    }
                    Err(error) => {
                        let expected = match at {
                            ..14 => DropReason::Header,
                            _ => DropReason::Handshake,
                        };
                        assert_eq!(error.reason(), expected, "byte {at} bit {bit}");
                    }
                }
            }
        }
    }
}
