//! Connect tokens and resume tickets: what the trusted backend says about a player, sealed for the
//! server.
//!
//! The client carries a token and cannot read it; it holds the token's PSK from the same HTTPS
//! answer. This file owns the 256-byte layout and its sealing; when a token is acceptable is
//! decided by `gate`. Called by `gate` (open) and by `tidelock token` and the development mode
//! (seal).
//!
//! | off | size | field |
//! |---|---|---|
//! | 0 | 8 | player id |
//! | 8 | 8 | issued at, unix ms |
//! | 16 | 16 | token id |
//! | 32 | 32 | PSK |
//! | 64 | 4 | realm |
//! | 68 | 1 + 3 | address kind: 0 any, 4, 6; zeros |
//! | 72 | 16 | client address (IPv4 mapped) |
//! | 88 | 32 | server static public key |
//! | 120 | 8 | entity hint |
//! | 128 | 1 + 3 | authorization level; zeros |
//! | 132 | 124 | user data |

use super::opaque_debug;
use super::reference::{open_xchacha, seal_xchacha};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Bytes of a token before sealing.
pub const TOKEN_LEN: usize = 256;
/// Bytes of a sealed token.
pub const SEALED_TOKEN_LEN: usize = TOKEN_LEN + 16;
/// Bytes the backend may use as it likes.
pub const USER_DATA_LEN: usize = 124;

const AAD_LEN: usize = 37;
const USER_DATA_SPAWN: u8 = 1;
const _: () = assert!(132 + USER_DATA_LEN == TOKEN_LEN);

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum TokenKind {
    /// A first connection, lives at most 60 s.
    ConnectToken = 1,
    /// Coming back to a session, lives at most 300 s.
    ResumeTicket = 2,
}

impl TokenKind {
    /// From its byte on the wire.
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::ConnectToken),
            2 => Some(Self::ResumeTicket),
            _ => None,
        }
    }

    /// Longest time between now and the expiry that the server accepts, seconds.
    pub const fn max_ttl_s(self) -> u64 {
        match self {
            Self::ConnectToken => 60,
            Self::ResumeTicket => 300,
        }
    }
}

/// The public part of a token. It travels in the clear in Connect and is authenticated by the seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenHead {
    /// What the token is for.
    pub kind: TokenKind,
    /// Which of the server's token keys sealed it.
    pub key_id: u32,
    /// Random, used once per key.
    pub nonce: [u8; 24],
    /// Unix seconds after which the token is refused.
    pub expiry_s: u64,
}

/// Addresses from which a token may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenAddress {
    /// Every address.
    Any,
    /// This IPv4 address.
    V4([u8; 4]),
    /// This IPv6 address.
    V6([u8; 16]),
}

impl TokenAddress {
    /// Whether `ip`, an IPv6 or a mapped IPv4 address, may use the token.
    pub fn allows(self, ip: &[u8; 16]) -> bool {
        match self {
            Self::Any => true,
            Self::V4(v4) => *ip == mapped(v4),
            Self::V6(v6) => *ip == v6,
        }
    }
}

/// The secret part of a token. Erased on drop.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Token {
    /// Whose token it is.
    pub player_id: u64,
    /// When the backend made it, unix milliseconds.
    pub issued_at_ms: u64,
    /// Random; the server remembers it until the token expires, so that it is used once.
    pub token_id: [u8; 16],
    /// The pre-shared secret of the handshake.
    pub psk: [u8; 32],
    /// Which world it is for.
    pub realm: u32,
    /// From where it may be used.
    #[zeroize(skip)]
    pub address: TokenAddress,
    /// Which server it is for.
    pub server_public: [u8; 32],
    /// The entity to take over, 0 if none.
    pub entity_hint: u64,
    /// What the player may do besides playing; 0 for everybody.
    pub auth_level: u8,
    /// Free for the backend. Byte 0 says what it is: 0 nothing, 1 a spawn point.
    pub user_data: [u8; USER_DATA_LEN],
}

opaque_debug!(Token);

/// Why a sealed token was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// Sealed under another key or head, or changed on the way.
    Seal,
    /// It opened, but a field is out of range: the backend that sealed it is at fault.
    Malformed,
}

impl Token {
    /// Where the player starts, in centimetres, if the backend said so.
    pub fn spawn_point(&self) -> Option<[i32; 3]> {
        if self.user_data[0] != USER_DATA_SPAWN {
            return None;
        }
        let [x, y, z] = [4, 8, 12].map(|at| i32::from_le_bytes(bytes_at(&self.user_data, at)));
        Some([x, y, z])
    }

    /// The user data that makes [`Token::spawn_point`] return `point`, in centimetres:
    /// `01 00 00 00` ‖ x i32 ‖ y i32 ‖ z i32 ‖ zeros.
    pub fn spawn_user_data(point: [i32; 3]) -> [u8; USER_DATA_LEN] {
        let mut data = [0; USER_DATA_LEN];
        data[0] = USER_DATA_SPAWN;
        for (coordinate, at) in point.iter().zip([4, 8, 12]) {
            data[at..at + 4].copy_from_slice(&coordinate.to_le_bytes());
        }
        data
    }

    fn to_bytes(&self) -> Zeroizing<[u8; TOKEN_LEN]> {
        let mut out = Zeroizing::new([0; TOKEN_LEN]);
        let (kind, ip) = match self.address {
            TokenAddress::Any => (0, [0; 16]),
            TokenAddress::V4(v4) => (4, mapped(v4)),
            TokenAddress::V6(v6) => (6, v6),
        };
        out[0..8].copy_from_slice(&self.player_id.to_le_bytes());
        out[8..16].copy_from_slice(&self.issued_at_ms.to_le_bytes());
        out[16..32].copy_from_slice(&self.token_id);
        out[32..64].copy_from_slice(&self.psk);
        out[64..68].copy_from_slice(&self.realm.to_le_bytes());
        out[68] = kind;
        out[72..88].copy_from_slice(&ip);
        out[88..120].copy_from_slice(&self.server_public);
        out[120..128].copy_from_slice(&self.entity_hint.to_le_bytes());
        out[128] = self.auth_level;
        out[132..].copy_from_slice(&self.user_data);
        out
    }

    fn from_bytes(bytes: &[u8; TOKEN_LEN]) -> Result<Self, TokenError> {
        let ip: [u8; 16] = bytes_at(bytes, 72);
        let address = match bytes[68] {
            0 => TokenAddress::Any,
            4 if ip[..12] == MAPPED_PREFIX => TokenAddress::V4(bytes_at(&ip, 12)),
            6 => TokenAddress::V6(ip),
            _ => return Err(TokenError::Malformed),
        };
        if bytes[69..72] != [0; 3] || bytes[129..132] != [0; 3] {
            return Err(TokenError::Malformed);
        }
        Ok(Self {
            player_id: u64::from_le_bytes(bytes_at(bytes, 0)),
            issued_at_ms: u64::from_le_bytes(bytes_at(bytes, 8)),
            token_id: bytes_at(bytes, 16),
            psk: bytes_at(bytes, 32),
            realm: u32::from_le_bytes(bytes_at(bytes, 64)),
            address,
            server_public: bytes_at(bytes, 88),
            entity_hint: u64::from_le_bytes(bytes_at(bytes, 120)),
            auth_level: bytes[128],
            user_data: bytes_at(bytes, 132),
        })
    }
}

/// Seals `token` under one of the server's token keys.
pub fn seal_token(
    key: &[u8; 32],
    protocol_id: u64,
    head: &TokenHead,
    token: &Token,
) -> [u8; SEALED_TOKEN_LEN] {
    let mut text = token.to_bytes();
    let tag = seal_xchacha(key, &head.nonce, &aad(protocol_id, head), &mut *text);
    let mut sealed = [0; SEALED_TOKEN_LEN];
    sealed[..TOKEN_LEN].copy_from_slice(&*text);
    sealed[TOKEN_LEN..].copy_from_slice(&tag);
    sealed
}

/// Opens a sealed token. That it opened says who made it and for which head, nothing else: expiry,
/// realm, server, address and use are the caller's to check.
pub fn open_token(
    key: &[u8; 32],
    protocol_id: u64,
    head: &TokenHead,
    sealed: &[u8; SEALED_TOKEN_LEN],
) -> Result<Token, TokenError> {
    let (text, tag) = sealed.split_last_chunk::<16>().ok_or(TokenError::Seal)?;
    let mut text: Zeroizing<[u8; TOKEN_LEN]> =
        Zeroizing::new(text.try_into().map_err(|_| TokenError::Seal)?);
    open_xchacha(key, &head.nonce, &aad(protocol_id, head), &mut *text, tag)
        .map_err(|_| TokenError::Seal)?;
    Token::from_bytes(&text)
}

fn aad(protocol_id: u64, head: &TokenHead) -> [u8; AAD_LEN] {
    let mut aad = [0; AAD_LEN];
    aad[..10].copy_from_slice(b"tdl1 token");
    aad[16..24].copy_from_slice(&protocol_id.to_le_bytes());
    aad[24] = head.kind as u8;
    aad[25..29].copy_from_slice(&head.key_id.to_le_bytes());
    aad[29..].copy_from_slice(&head.expiry_s.to_le_bytes());
    aad
}

const MAPPED_PREFIX: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF];

fn mapped(v4: [u8; 4]) -> [u8; 16] {
    let mut ip = [0; 16];
    ip[..12].copy_from_slice(&MAPPED_PREFIX);
    ip[12..].copy_from_slice(&v4);
    ip
}

/// `N` bytes of a fixed layout; every caller's offset is a constant inside its array.
fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("a slice of N bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [7; 32];
    const HEAD: TokenHead =
        TokenHead { kind: TokenKind::ConnectToken, key_id: 3, nonce: [4; 24], expiry_s: 1_000 };

    fn token() -> Token {
        Token {
            player_id: 11,
            issued_at_ms: 22,
            token_id: [33; 16],
            psk: [44; 32],
            realm: 55,
            address: TokenAddress::V4([203, 0, 113, 7]),
            server_public: [66; 32],
            entity_hint: 77,
            auth_level: 88,
            user_data: Token::spawn_user_data([-1, i32::MAX, 3]),
        }
    }

    #[test]
    fn a_token_comes_back_as_it_was_sealed() {
        for address in
            [TokenAddress::Any, TokenAddress::V4([1, 2, 3, 4]), TokenAddress::V6([9; 16])]
        {
            let mut token = token();
            token.address = address;
            let opened = open_token(&KEY, 1, &HEAD, &seal_token(&KEY, 1, &HEAD, &token)).unwrap();
            assert_eq!(*opened.to_bytes(), *token.to_bytes());
            assert_eq!(opened.address, address);
            assert_eq!(opened.spawn_point(), Some([-1, i32::MAX, 3]));
        }
    }

    #[test]
    fn a_token_without_a_spawn_point_has_none() {
        let mut token = token();
        token.user_data = [0; USER_DATA_LEN];
        assert_eq!(token.spawn_point(), None);
    }

    #[test]
    fn another_key_game_or_head_does_not_open_a_token() {
        let sealed = seal_token(&KEY, 1, &HEAD, &token());
        let refused = |key: &[u8; 32], protocol_id, head: &TokenHead| {
            open_token(key, protocol_id, head, &sealed).err() == Some(TokenError::Seal)
        };
        assert!(refused(&[8; 32], 1, &HEAD));
        assert!(refused(&KEY, 2, &HEAD));
        assert!(refused(&KEY, 1, &TokenHead { kind: TokenKind::ResumeTicket, ..HEAD }));
        assert!(refused(&KEY, 1, &TokenHead { key_id: 4, ..HEAD }));
        assert!(refused(&KEY, 1, &TokenHead { nonce: [5; 24], ..HEAD }));
        assert!(refused(&KEY, 1, &TokenHead { expiry_s: 1_001, ..HEAD }));
        assert!(!refused(&KEY, 1, &HEAD));
    }

    #[test]
    fn a_changed_bit_anywhere_in_a_sealed_token_is_refused() {
        let sealed = seal_token(&KEY, 1, &HEAD, &token());
        for bit in 0..SEALED_TOKEN_LEN * 8 {
            let mut changed = sealed;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open_token(&KEY, 1, &HEAD, &changed).err(), Some(TokenError::Seal));
        }
    }

    #[test]
    fn a_backend_that_fills_reserved_bytes_is_told_so() {
        for at in [68, 69, 71, 72, 129, 131] {
            let mut bytes = *token().to_bytes();
            bytes[at] ^= 1;
            assert_eq!(Token::from_bytes(&bytes).err(), Some(TokenError::Malformed), "byte {at}");
        }
    }

    #[test]
    fn an_address_binding_admits_that_address_only() {
        let here = mapped([1, 2, 3, 4]);
        assert!(TokenAddress::Any.allows(&here));
        assert!(TokenAddress::V4([1, 2, 3, 4]).allows(&here));
        assert!(!TokenAddress::V4([1, 2, 3, 5]).allows(&here));
        assert!(TokenAddress::V6([9; 16]).allows(&[9; 16]));
        assert!(!TokenAddress::V6([9; 16]).allows(&here));
    }

    #[test]
    fn a_token_prints_nothing_but_its_name() {
        assert_eq!(format!("{:?}", token()), "Token { .. }");
    }
}
