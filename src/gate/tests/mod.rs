//! The gate against every attack it was built for. Time, randomness and clients are made up here.

mod admission;
mod cookies;
mod cooldowns;
mod denials;
mod endings;
mod farewells;
mod lingering;
mod mutations;
mod tickets;
mod tokens;

use super::*;
use crate::crypto::aead::PacketKey;
use crate::crypto::noise::{Initiator, StaticKeys};
use crate::crypto::schedule::Root;
use crate::crypto::token::{Token, TokenAddress, TokenHead, TokenKind, USER_DATA_LEN, seal_token};
use crate::exchange::exchange;
use crate::metrics::Counter;
use crate::wire::{
    ACCEPTED_LEN, Accepted, CONNECT_LEN, COOKIE_LEN, COOKIE_PACKET_LEN, ClientOffer,
    ConnectRequest, DENIED_LEN, Denial, Header, NOISE_MESSAGE_1_LEN, PublicToken, Reply, Status,
};

const PROTOCOL_ID: u64 = 0x1122_3344_5566_7788;
const TOKEN_KEY: TokenKey = TokenKey { id: 7, key: [0x77; 32] };
const BOOT_S: u64 = 1_000_000;
const NO_COOKIE: [u8; COOKIE_LEN] = [0; COOKIE_LEN];

/// Random bytes that are the same in every run.
struct Seeded(u64);

impl Entropy for Seeded {
    fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (self.0 >> 56) as u8;
        }
    }
}

fn server_keys() -> StaticKeys {
    StaticKeys::from_secret([0x55; 32])
}

/// Small tables, so that they can be filled; limits of packets far away.
fn small() -> GateConfig {
    let rates = HandshakeRates {
        source_per_s: 100_000,
        source_burst: 100_000,
        global_per_s: 1_000_000,
        sources: 64,
    };
    GateConfig {
        boot_unix_ms: BOOT_S * 1000,
        slots_per_shard: 4,
        shards: 2,
        tokens: 32,
        tickets: 32,
        unconfirmed: 16,
        rates,
        dh_per_s: 1_000_000,
        cool_downs: CoolDownRules { accounts: 16, ..CoolDownRules::default() },
        ..GateConfig::new(PROTOCOL_ID, 1, server_keys(), vec![TOKEN_KEY.clone()])
    }
}

/// A gate with its clocks, and a record of what it does with each datagram.
struct World {
    gate: Gate,
    counters: Counters,
    entropy: Seeded,
    at: Moment,
    reply: Vec<u8>,
    /// Why the last datagram was dropped or denied.
    fault: Option<DropReason>,
}

/// Everything a drop must leave as it was.
type Tables = (([TokenTable; 2], ValidTickets), Answers, Sessions, Population, Bodies);

impl World {
    fn new(config: GateConfig) -> Self {
        let mut entropy = Seeded(1);
        let now = Nanos::from_ms(50);
        // Nobody ticks here and lets go of seats, so there are plenty.
        let (keeper, _) = exchange(config.shards.into(), 1_000, 0, &());
        let gate = Gate::new(config, keeper, now, &mut entropy);
        let at = Moment { now, unix_s: BOOT_S + 10, tick: 600 };
        let counters = Counters::default();
        Self { gate, counters, entropy, at, reply: Vec::new(), fault: None }
    }

    fn pass_ms(&mut self, ms: u64) {
        self.at.now = self.at.now.plus(Nanos::from_ms(ms));
        self.at.unix_s = BOOT_S + 10 + self.at.now.as_ms() / 1000;
        self.gate.tick(self.at, &mut self.entropy);
    }

    fn tables(&self) -> Tables {
        let gate = &self.gate;
        let tokens = [gate.tokens.clone(), gate.tickets.clone()];
        let tables = ((tokens, gate.valid.clone()), gate.answers.clone(), gate.sessions.clone());
        (tables.0, tables.1, tables.2, gate.population.clone(), gate.bodies.clone())
    }

    /// Lets the gate handle a datagram, and checks what holds for every one: no amplification, a
    /// drop and a denial are counted once under their own reason and change no table.
    fn send(&mut self, from: SocketAddr, datagram: &[u8]) -> GateAction {
        let before = self.tables();
        let counted = self.counts();
        let mut out = [0xEE; DATAGRAM_MAX];
        let (at, counters, entropy) = (self.at, &self.counters, &mut self.entropy);
        let action = self.gate.handle_datagram(at, from, datagram, counters, entropy, &mut out);
        self.reply.clear();
        let counts = self.counts().into_iter().zip(counted).zip(DropReason::ALL);
        let grown: Vec<_> = counts.filter(|((now, then), _)| now > then).collect();
        self.fault = match &action {
            GateAction::Drop(reason) => Some(*reason),
            GateAction::Reply(DENIED_LEN) => grown.first().map(|(_, reason)| **reason),
            GateAction::Reply(_) | GateAction::Accept { .. } => None,
        };
        if let Some(reason) = self.fault {
            assert!(matches!(grown[..], [((now, then), it)] if now == then + 1 && *it == reason));
            assert!(self.tables() == before, "a drop changes nothing: {reason:?}");
        }
        if let GateAction::Reply(len) | GateAction::Accept { reply_len: len, .. } = &action {
            assert!(*len <= datagram.len() / 8, "{len} bytes for {}", datagram.len());
            self.reply.extend_from_slice(&out[..*len]);
        }
        action
    }

    fn counts(&self) -> Vec<u64> {
        DropReason::ALL.iter().map(|&reason| self.counters.dropped(reason)).collect()
    }

    /// Why a datagram was dropped or denied.
    fn dropped(&mut self, from: SocketAddr, datagram: &[u8]) -> Option<DropReason> {
        self.send(from, datagram);
        self.fault
    }

    /// What the gate answered last.
    fn reply(&self) -> Reply {
        Reply::read(PROTOCOL_ID, &self.reply).expect("the gate writes good packets")
    }

    fn cookie(&mut self, client: &Client) -> [u8; COOKIE_LEN] {
        let action = self.send(client.from, &client.connect(&NO_COOKIE));
        assert!(matches!(action, GateAction::Reply(COOKIE_PACKET_LEN)), "{action:?}");
        let Reply::Cookie(packet) = self.reply() else { panic!("not a cookie") };
        assert_eq!(packet.client_nonce, client.nonce);
        packet.cookie
    }

    /// The second flight of `client`, with a good cookie.
    fn knock(&mut self, client: &Client) -> GateAction {
        let cookie = self.cookie(client);
        self.send(client.from, &client.connect(&cookie))
    }

    fn refused(&mut self, client: &Client) -> Option<DropReason> {
        self.knock(client);
        self.fault
    }

    fn join(&mut self, client: &Client) -> Admission {
        match self.knock(client) {
            GateAction::Accept { admission, .. } => admission,
            other => panic!("not accepted: {other:?}"),
        }
    }

    fn denied(&mut self, client: &Client) -> Status {
        let action = self.knock(client);
        assert!(matches!(action, GateAction::Reply(ACCEPTED_LEN)), "{action:?}");
        client.read_accepted(self.reply()).1.status
    }
}

/// A player with its token, as the backend and the player's machine make them.
#[derive(Clone)]
struct Client {
    from: SocketAddr,
    head: TokenHead,
    token: Token,
    protocol_id: u64,
    nonce: [u8; 8],
    ephemeral: [u8; 32],
    offer: ClientOffer,
}

impl Client {
    /// Every number is another player with another token, attempt and address.
    fn new(number: u8) -> Self {
        Self {
            from: SocketAddr::from(([203, 0, 113, number], 50_000)),
            head: TokenHead {
                kind: TokenKind::ConnectToken,
                key_id: TOKEN_KEY.id,
                nonce: [number; 24],
                expiry_s: BOOT_S + 50,
            },
            token: Token {
                player_id: 1000 + u64::from(number),
                issued_at_ms: BOOT_S * 1000 + 5,
                token_id: [number; 16],
                psk: [number ^ 0xA5; 32],
                realm: 1,
                address: TokenAddress::Any,
                server_public: server_keys().public,
                entity_hint: 0,
                auth_level: 0,
                user_data: [0; USER_DATA_LEN],
            },
            protocol_id: PROTOCOL_ID,
            nonce: [number; 8],
            ephemeral: [number ^ 0x3C; 32],
            offer: ClientOffer { build: 1, features: 0, max_datagram: 1200 },
        }
    }

    /// The same player and token in a new attempt.
    fn again(&self, number: u8) -> Self {
        Self { nonce: [number; 8], ephemeral: [number ^ 0x3C; 32], ..self.clone() }
    }

    fn request(&self) -> ConnectRequest {
        let token = PublicToken {
            kind: self.head.kind as u8,
            key_id: self.head.key_id,
            nonce: self.head.nonce,
            expiry_s: self.head.expiry_s,
            sealed: seal_token(&TOKEN_KEY.key, self.protocol_id, &self.head, &self.token),
        };
        ConnectRequest::new(self.protocol_id, self.nonce, &token)
    }

    fn start(&self) -> (Initiator, [u8; NOISE_MESSAGE_1_LEN]) {
        let (prologue, server) = (self.request().prologue(), server_keys().public);
        let offer = self.offer.write();
        Initiator::start(&prologue, &server, &self.token.psk, self.ephemeral, &offer)
            .expect("a good server key")
    }

    fn connect(&self, cookie: &[u8; COOKIE_LEN]) -> [u8; CONNECT_LEN] {
        let mut packet = [0; CONNECT_LEN];
        self.request().write(cookie, &self.start().1, &mut packet);
        packet
    }

    /// Finishes the handshake; a reply that is not authentic fails here.
    fn read_accepted(&self, reply: Reply) -> (Root, Accepted) {
        let Reply::Accepted(packet) = reply else { panic!("not an answer: {reply:?}") };
        assert_eq!(packet.client_nonce, self.nonce);
        let (keys, payload) = self.start().0.finish(&packet.noise_message).expect("authentic");
        (Root::from_handshake(&keys), Accepted::read(&payload).expect("well-formed"))
    }
}

/// Corrects the checksum, as an attacker would.
fn fix_crc(packet: &mut [u8]) {
    let protocol_id = u64::from_le_bytes(packet[16..24].try_into().expect("eight bytes"));
    let crc = crate::wire::packet_crc(protocol_id, packet, 80);
    packet[80..84].copy_from_slice(&crc.to_le_bytes());
}
