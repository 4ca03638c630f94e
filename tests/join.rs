//! Clients and the gate, on a network that loses, repeats and reorders datagrams: everybody who
//! holds a good token gets in, and both sides end with the same keys.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use tidelock::client::{Client, Scratch, State, Ticket};
use tidelock::crypto::aead::PacketKey;
use tidelock::crypto::noise::StaticKeys;
use tidelock::crypto::token::{
    Token, TokenAddress, TokenHead, TokenKind, USER_DATA_LEN, seal_token,
};
use tidelock::exchange::exchange;
use tidelock::gate::{Gate, GateAction, GateConfig, Moment, TokenKey};
use tidelock::metrics::{Counter, Counters};
use tidelock::time::{Entropy, Nanos};
use tidelock::wire::{ConnectionId, Header, PublicToken};

const PROTOCOL_ID: u64 = 0x7469_6465;
const TOKEN_KEY: [u8; 32] = [7; 32];
const NOW_S: u64 = 1_000_000;
const CLIENTS: u32 = 40;

struct Seeded(u64);

impl Seeded {
    fn below(&mut self, limit: u64) -> u64 {
        u64::from_le_bytes(self.bytes()) % limit
    }
}

impl Entropy for Seeded {
    fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (self.0 >> 56) as u8;
        }
    }
}

fn ticket(number: u32, keys: &StaticKeys, entropy: &mut Seeded) -> Ticket {
    let head = TokenHead {
        kind: TokenKind::ConnectToken,
        key_id: 1,
        nonce: entropy.bytes(),
        expiry_s: NOW_S + 50,
    };
    let token = Token {
        player_id: number.into(),
        issued_at_ms: NOW_S * 1000,
        token_id: entropy.bytes(),
        psk: entropy.bytes(),
        realm: 1,
        address: TokenAddress::Any,
        server_public: keys.public,
        entity_hint: 0,
        auth_level: 0,
        user_data: [0; USER_DATA_LEN],
    };
    let token_on_wire = PublicToken {
        kind: head.kind as u8,
        key_id: head.key_id,
        nonce: head.nonce,
        expiry_s: head.expiry_s,
        sealed: seal_token(&TOKEN_KEY, PROTOCOL_ID, &head, &token),
    };
    Ticket {
        protocol_id: PROTOCOL_ID,
        token: token_on_wire,
        psk: token.psk,
        server_public: keys.public,
        build: 1,
    }
}

/// Datagrams on their way, by arrival time.
#[derive(Default)]
struct Network(BTreeMap<(Nanos, u64), (u32, Vec<u8>)>);

impl Network {
    /// Loses three in ten, repeats one in ten, delays each by up to 200 ms.
    fn carry(&mut self, now: Nanos, client: u32, datagram: &[u8], random: &mut Seeded) {
        let copies = match random.below(10) {
            0..3 => 0,
            3 => 2,
            _ => 1,
        };
        for _ in 0..copies {
            let arrival = now.plus(Nanos::from_ms(random.below(200)));
            let order = random.below(u64::MAX);
            self.0.insert((arrival, order), (client, datagram.to_vec()));
        }
    }

    fn arrived(&mut self, now: Nanos) -> Option<(u32, Vec<u8>)> {
        let first = self.0.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}

/// The shards, as far as the gate is concerned: who was admitted, and with which key.
type Shards = BTreeMap<ConnectionId, (u32, PacketKey)>;

fn run(seed: u64) -> usize {
    let mut random = Seeded(seed);
    let keys = StaticKeys::from_secret(random.bytes());
    let token_keys = vec![TokenKey { id: 1, key: TOKEN_KEY }];
    let config = GateConfig::new(PROTOCOL_ID, 1, keys.clone(), token_keys);
    let (keeper, _) = exchange(config.shards.into(), 64, 0, &());
    let mut gate = Gate::new(config, keeper, Nanos(0), &mut random);
    let (counters, mut scratch) = (Counters::default(), Scratch::default());
    let mut clients: Vec<Client> = (0..CLIENTS)
        .map(|number| {
            let ticket = ticket(number, &keys, &mut random);
            Client::new(&ticket, random.bytes(), Nanos(0), &mut random).expect("a good key")
        })
        .collect();
    let (mut up, mut down) = (Network::default(), Network::default());
    let mut shards = Shards::new();
    let mut confirmed = BTreeMap::new();
    let mut out = [0; 1200];
    for ms in (0..8_000).step_by(5) {
        let now = Nanos::from_ms(ms);
        let at = Moment { now, unix_s: NOW_S + 1 + ms / 1000, tick: 1 };
        for (client, number) in clients.iter_mut().zip(0..) {
            while let Some(length) = client.poll_transmit(now, &mut out) {
                up.carry(now, number, &out[..length], &mut random);
            }
        }
        while let Some((number, mut datagram)) = up.arrived(now) {
            let id = Header::read(&datagram).expect("clients write good headers").connection;
            if id != ConnectionId::GATE {
                // The first packet that opens proves the handshake, as in a shard.
                let (owner, key) = shards.get(&id).expect("the id of an admission");
                key.open(&mut datagram).expect("sealed with the same key");
                if confirmed.insert(*owner, id).is_none() {
                    assert_eq!(gate.confirmed(id), None);
                }
                continue;
            }
            let from = SocketAddr::from(([10, 0, 0, number as u8], 5000));
            match gate.handle_datagram(at, from, &datagram, &counters, &mut random, &mut out) {
                GateAction::Drop(_) => {}
                GateAction::Reply(length) => down.carry(now, number, &out[..length], &mut random),
                GateAction::Accept { reply_len, admission, replaces, .. } => {
                    assert_eq!((admission.player, replaces), (number.into(), None));
                    let key = PacketKey::new(&admission.client_to_server);
                    assert!(shards.insert(admission.id, (number, key)).is_none());
                    down.carry(now, number, &out[..reply_len], &mut random);
                }
            }
        }
        while let Some((number, mut datagram)) = down.arrived(now) {
            let client = &mut clients[number as usize];
            let _ = client.handle_datagram(now, &mut datagram, &mut scratch);
        }
    }
    let confirming = clients.iter().filter(|client| client.state() == State::Confirming).count();
    assert_eq!(confirming, confirmed.len(), "who holds keys has shown them");
    assert_eq!(counters.read(Counter::Accepted), u64::from(CLIENTS), "one session each");
    confirmed.len()
}

#[test]
fn everybody_gets_in_once_through_a_network_that_loses_repeats_and_reorders() {
    for seed in 1..=10 {
        println!("seed {seed}");
        assert_eq!(run(seed), CLIENTS as usize);
    }
}
