//! Players with tokens, for the gate: honest ones, and ones whose token fails for one reason each.
#![allow(dead_code, reason = "targets and museum pieces use their parts of it")]

use std::net::SocketAddr;
use std::sync::OnceLock;
use tidelock::crypto::noise::{Initiator, StaticKeys};
use tidelock::crypto::token::{
    Token, TokenAddress, TokenHead, TokenKind, USER_DATA_LEN, seal_token,
};
use tidelock::wire::{
    CONNECT_LEN, COOKIE_LEN, ClientOffer, ConnectRequest, NOISE_MESSAGE_1_LEN, PublicToken,
};

pub(crate) const PROTOCOL_ID: u64 = 0x1122_3344_5566_7788;
pub(crate) const TOKEN_KEY: [u8; 32] = [0x77; 32];
pub(crate) const BOOT_S: u64 = 1_000_000;
/// How many there are.
pub(crate) const PEOPLE: usize = 16;

/// One attempt to join.
pub(crate) struct Person {
    pub(crate) from: SocketAddr,
    pub(crate) player: u64,
    /// Whether the gate has any reason to let this one in.
    pub(crate) is_honest: bool,
    request: ConnectRequest,
    message: [u8; NOISE_MESSAGE_1_LEN],
}

impl Person {
    /// The Connect of this attempt.
    pub(crate) fn connect(&self, cookie: &[u8; COOKIE_LEN]) -> [u8; CONNECT_LEN] {
        let mut packet = [0; CONNECT_LEN];
        self.request.write(cookie, &self.message, &mut packet);
        packet
    }
}

pub(crate) fn server_keys() -> StaticKeys {
    StaticKeys::from_secret([0x55; 32])
}

/// All of them. Made once: each costs two key agreements.
pub(crate) fn people() -> &'static [Person; PEOPLE] {
    static PEOPLE_ONCE: OnceLock<[Person; PEOPLE]> = OnceLock::new();
    PEOPLE_ONCE.get_or_init(|| std::array::from_fn(|i| person(i as u8)))
}

/// 0..=7 are honest, 1 being a second attempt of 0 and 3 another token of the player of 2. The
/// others are not.
fn person(number: u8) -> Person {
    let token_number = if number == 1 { 0 } else { number };
    let from = SocketAddr::from(([203, 0, 113, 10 + token_number], 50_000));
    let mut head = TokenHead {
        kind: TokenKind::ConnectToken,
        key_id: 7,
        nonce: [token_number; 24],
        expiry_s: BOOT_S + 50,
    };
    let player = if number == 3 { 1002 } else { 1000 + u64::from(token_number) };
    let mut token = Token {
        player_id: player,
        issued_at_ms: BOOT_S * 1000 + 5,
        token_id: [token_number; 16],
        psk: [token_number ^ 0xA5; 32],
        realm: 1,
        address: TokenAddress::Any,
        server_public: server_keys().public,
        entity_hint: 0,
        auth_level: 0,
        user_data: [0; USER_DATA_LEN],
    };
    let (mut sealing_key, mut psk) = (TOKEN_KEY, token.psk);
    match number {
        4 => token.address = TokenAddress::V4([203, 0, 113, 14]),
        8 => head.expiry_s = BOOT_S + 1,
        9 => token.issued_at_ms = BOOT_S * 1000 - 1,
        10 => token.realm = 2,
        11 => token.address = TokenAddress::V4([198, 51, 100, 1]),
        12 => token.server_public = [1; 32],
        13 => head.expiry_s = BOOT_S + 10_000,
        14 => sealing_key = [0x78; 32],
        15 => psk = [0; 32],
        _ => {}
    }
    let public = PublicToken {
        kind: head.kind as u8,
        key_id: head.key_id,
        nonce: head.nonce,
        expiry_s: head.expiry_s,
        sealed: seal_token(&sealing_key, PROTOCOL_ID, &head, &token),
    };
    let request = ConnectRequest::new(PROTOCOL_ID, [number; 8], &public);
    let offer = ClientOffer { build: 1, features: 0, max_datagram: 1200 }.write();
    let started = Initiator::start(
        &request.prologue(),
        &server_keys().public,
        &psk,
        [number ^ 0x3C; 32],
        &offer,
    );
    let (_, message) = started.expect("the server's key is a key");
    Person { from, player, is_honest: number < 8, request, message }
}
