//! The gate takes its memory at the start: no datagram makes it take more, whatever is in it.

mod counting;

use counting::allocations;
use std::net::SocketAddr;
use tidelock::crypto::noise::{Initiator, StaticKeys};
use tidelock::crypto::token::{
    Token, TokenAddress, TokenHead, TokenKind, USER_DATA_LEN, seal_token,
};
use tidelock::exchange::exchange;
use tidelock::gate::{Gate, GateAction, GateConfig, HandshakeRates, Moment, TokenKey};
use tidelock::metrics::{Counters, DropReason};
use tidelock::time::{Entropy, Nanos};
use tidelock::wire::{ClientOffer, ConnectRequest, PublicToken, Reply};

struct Seeded(u64);

impl Entropy for Seeded {
    fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (self.0 >> 56) as u8;
        }
    }
}

const PROTOCOL_ID: u64 = 9;
const TOKEN_KEY: [u8; 32] = [7; 32];
const NOW_S: u64 = 1_000_000;

/// The Connect of player `number`, with `cookie`.
fn connect(number: u16, keys: &StaticKeys, cookie: &[u8; 48]) -> [u8; 1200] {
    let wide = |byte: u8| {
        let mut bytes = [byte; 32];
        // Not the first byte: three bits of a secret key are cleared.
        bytes[2..4].copy_from_slice(&number.to_le_bytes());
        bytes
    };
    let head = TokenHead {
        kind: TokenKind::ConnectToken,
        key_id: 1,
        nonce: [3; 24],
        expiry_s: NOW_S + 30,
    };
    let token = Token {
        player_id: number.into(),
        issued_at_ms: NOW_S * 1000,
        token_id: *wide(4).first_chunk().unwrap(),
        psk: wide(5),
        realm: 1,
        address: TokenAddress::Any,
        server_public: keys.public,
        entity_hint: 0,
        auth_level: 0,
        user_data: [0; USER_DATA_LEN],
    };
    let public = PublicToken {
        kind: 1,
        key_id: head.key_id,
        nonce: head.nonce,
        expiry_s: head.expiry_s,
        sealed: seal_token(&TOKEN_KEY, PROTOCOL_ID, &head, &token),
    };
    let request = ConnectRequest::new(PROTOCOL_ID, *wide(6).first_chunk().unwrap(), &public);
    let offer = ClientOffer { build: 1, features: 0, max_datagram: 1200 }.write();
    let prologue = request.prologue();
    let started = Initiator::start(&prologue, &keys.public, &token.psk, wide(8), &offer);
    let mut packet = [0; 1200];
    request.write(cookie, &started.unwrap().1, &mut packet);
    packet
}

#[test]
fn no_datagram_makes_the_gate_allocate() {
    let (mut entropy, counters) = (Seeded(1), Counters::default());
    let keys = StaticKeys::from_secret([1; 32]);
    let token_keys = vec![TokenKey { id: 1, key: TOKEN_KEY }];
    let config = GateConfig {
        slots_per_shard: 100,
        unconfirmed: 50,
        tokens: 180,
        rates: HandshakeRates { global_per_s: 1_000_000, ..HandshakeRates::default() },
        dh_per_s: 1_000_000,
        ..GateConfig::new(PROTOCOL_ID, 1, keys.clone(), token_keys)
    };
    let (keeper, _) = exchange(config.shards.into(), 10_000, 0, &());
    let mut gate = Gate::new(config, keeper, Nanos(0), &mut entropy);
    let mut out = [0; 1200];
    let (mut sessions, mut denied) = (Vec::with_capacity(1000), 0);
    let mut allocated = 0;
    for number in 0..400u16 {
        let ms = 1000 + u64::from(number) * 100;
        let at = Moment { now: Nanos::from_ms(ms), unix_s: NOW_S + 1, tick: 1 };
        let from = SocketAddr::from(([10, 0, (number >> 8) as u8, number as u8], 1000));
        let mut handle = |datagram: &[u8], out: &mut [u8; 1200]| {
            let mut action = None;
            allocated += allocations(|| {
                let entropy = &mut entropy;
                action = Some(gate.handle_datagram(at, from, datagram, &counters, entropy, out));
            });
            action.expect("just handled")
        };
        handle(&connect(number, &keys, &[0; 48]), &mut out);
        let Ok(Reply::Cookie(reply)) = Reply::read(PROTOCOL_ID, &out[..76]) else {
            panic!("no cookie for {number}")
        };
        let genuine = connect(number, &keys, &reply.cookie);
        let mut damaged = genuine;
        damaged[500] = 1;
        handle(&damaged, &mut out);
        handle(&genuine[..1199], &mut out);
        match handle(&genuine, &mut out) {
            GateAction::Accept { admission, .. } => sessions.push(admission.id),
            GateAction::Reply(_) => denied += 1,
            GateAction::Drop(_) => {}
        }
        handle(&genuine, &mut out);
        let done = sessions.len().saturating_sub(number as usize % 60);
        allocated += allocations(|| {
            for id in sessions.drain(..done) {
                gate.confirmed(id);
                gate.closed(id);
            }
        });
    }
    assert_eq!(allocated, 0);
    assert!(denied > 0, "the limit of unconfirmed sessions was reached");
    assert!(counters.dropped(DropReason::TokenTableFull) > 0, "the token table was full");
    println!("{denied} denied, {} refused", counters.dropped(DropReason::TokenTableFull));
}
