//! Strangers at the gate: genuine Connects, the same with changed bytes and a mended checksum, and
//! anything at all, while time passes and sessions come and go.
//!
//! What must hold for each datagram: at most one answer, an eighth of its size; a drop counted
//! once; nobody is told more than a cookie but who shows one that was made for this attempt at this
//! address, and is young; nobody gets in but who sends the very Connect of an honest attempt with a
//! cookie of its own; and no id is given out twice at a time.

use super::bytes::Bytes;
use super::people::{BOOT_S, PEOPLE, PROTOCOL_ID, TOKEN_KEY, people, server_keys};
use super::random::Counting;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use tidelock::crypto::cookie::COOKIE_LIFETIME_MS;
use tidelock::exchange::exchange;
use tidelock::gate::{
    CoolDownRules, Gate, GateAction, GateConfig, HandshakeRates, Moment, TokenKey,
};
use tidelock::limits::DATAGRAM_MAX;
use tidelock::metrics::Counters;
use tidelock::time::Nanos;
use tidelock::wire::{COOKIE_LEN, Connect, ConnectionId, Reply, packet_crc};

const NO_COOKIE: [u8; COOKIE_LEN] = [0; COOKIE_LEN];
const STEPS: usize = 64;

/// What a cookie is made for: an address, and the nonce and the key of an attempt.
type Purpose = (SocketAddr, [u8; 8], [u8; 32]);

struct World {
    gate: Gate,
    counters: Counters,
    entropy: Counting,
    at: Moment,
    cookies: [[u8; COOKIE_LEN]; PEOPLE],
    /// All that were made, for what and when.
    issued: BTreeMap<[u8; COOKIE_LEN], (Purpose, Nanos)>,
    /// Who has which session.
    live: BTreeMap<ConnectionId, usize>,
    confirmed: BTreeSet<ConnectionId>,
}

/// Steps: who does what, and how the datagram is changed on its way.
pub fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    let mut world = World::new();
    for _ in 0..STEPS {
        if bytes.is_empty() {
            break;
        }
        world.step(&mut bytes);
    }
}

impl World {
    fn new() -> Self {
        let rates = HandshakeRates {
            source_per_s: 100_000,
            source_burst: 100_000,
            global_per_s: 1_000_000,
            sources: 64,
        };
        let key = TokenKey { id: 7, key: TOKEN_KEY };
        let config = GateConfig {
            boot_unix_ms: BOOT_S * 1000,
            slots_per_shard: 2,
            shards: 2,
            tokens: 32,
            tickets: 32,
            cool_downs: CoolDownRules { accounts: PEOPLE, ..CoolDownRules::default() },
            unconfirmed: 3,
            rates,
            dh_per_s: 1_000_000,
            ..GateConfig::new(PROTOCOL_ID, 1, server_keys(), vec![key])
        };
        let mut entropy = Counting(1);
        let now = Nanos::from_ms(50);
        let (keeper, _) = exchange(2, 16, 0, &());
        Self {
            gate: Gate::new(config, keeper, now, &mut entropy),
            counters: Counters::default(),
            entropy,
            at: Moment { now, unix_s: BOOT_S + 10, tick: 600 },
            cookies: [NO_COOKIE; PEOPLE],
            issued: BTreeMap::new(),
            live: BTreeMap::new(),
            confirmed: BTreeSet::new(),
        }
    }

    fn step(&mut self, bytes: &mut Bytes<'_>) {
        let kind = bytes.u8();
        let who = usize::from(kind >> 4);
        match kind % 16 {
            0..=3 => self.connect(who, NO_COOKIE, None),
            4..=7 => self.connect(who, self.cookies[who], None),
            8 | 9 => self.connect(who, self.cookies[who], Some(bytes)),
            10 => {
                let cookie = self.cookies[usize::from(bytes.u8()) % PEOPLE];
                self.connect(who, cookie, None);
            }
            11 => {
                let length = usize::from(bytes.u16()) % 1300;
                let mut datagram = bytes.sized().to_vec();
                datagram.resize(length, 0);
                self.send(people()[who].from, &datagram, None);
            }
            12 => self.pass_ms(u64::from(bytes.u8()) * 40),
            13 => {
                if let Some(&id) = self.live.keys().nth(who) {
                    self.confirm(id);
                }
            }
            14 => {
                if let Some(&id) = self.live.keys().nth(who) {
                    self.close(id);
                }
            }
            _ => {
                let id = ConnectionId(bytes.u32());
                if !self.live.contains_key(&id) {
                    self.gate.closed(id);
                }
            }
        }
    }

    fn pass_ms(&mut self, ms: u64) {
        self.at.now = self.at.now.plus(Nanos::from_ms(ms));
        self.at.unix_s = BOOT_S + 10 + self.at.now.as_ms() / 1000;
        self.gate.tick(self.at, &mut self.entropy);
    }

    fn connect(&mut self, who: usize, cookie: [u8; COOKIE_LEN], bytes: Option<&mut Bytes<'_>>) {
        let person = &people()[who];
        let genuine = person.connect(&cookie);
        let (mut datagram, mut from) = (genuine, person.from);
        if let Some(bytes) = bytes {
            bytes.mutate(&mut datagram);
            let how = bytes.u8();
            if how & 1 == 0 {
                let protocol_id =
                    datagram[16..24].iter().rev().fold(0, |id, &byte| id << 8 | u64::from(byte));
                let crc = packet_crc(protocol_id, &datagram, 80);
                datagram[80..84].copy_from_slice(&crc.to_le_bytes());
            }
            from.set_port(from.port() ^ u16::from(how >> 1 & 3));
        }
        let is_attempt = from == person.from
            && datagram[..32] == genuine[..32]
            && datagram[84..] == genuine[84..];
        let own_cookie = cookie == self.cookies[who] && cookie != NO_COOKIE;
        let is_good = is_attempt && datagram == genuine && own_cookie && person.is_honest;
        self.send(from, &datagram, is_attempt.then_some((who, is_good)));
    }

    /// `by`: whose very attempt the datagram belongs to, and whether it is one to let in.
    fn send(&mut self, from: SocketAddr, datagram: &[u8], by: Option<(usize, bool)>) {
        let Self { gate, counters, entropy, at, .. } = self;
        let dropped = counters.dropped_total();
        let mut out = [0xEE; DATAGRAM_MAX];
        let action = gate.handle_datagram(*at, from, datagram, counters, entropy, &mut out);
        let drops = self.counters.dropped_total() - dropped;
        let length = match action {
            GateAction::Drop(_) => return assert_eq!(drops, 1, "a drop is counted once"),
            // A refusal and a bad cookie are counted as drops and answered all the same.
            GateAction::Reply(length) => length,
            GateAction::Accept { reply_len, .. } => reply_len,
        };
        assert!(drops <= 1, "what is wrong with a datagram is counted once");
        assert!(length * 8 <= datagram.len(), "{length} bytes for {}", datagram.len());
        let reply = Reply::read(PROTOCOL_ID, &out[..length]).expect("the gate writes good packets");
        let asked = Connect::read(datagram).expect("nothing else is answered");
        let purpose = (from, *asked.client_nonce(), *asked.client_ephemeral());
        let issued = self.issued.get(asked.cookie());
        let is_shown = issued.is_some_and(|&(of, at)| {
            of == purpose && self.at.now.since(at) <= Nanos::from_ms(COOKIE_LIFETIME_MS)
        });
        match reply {
            Reply::Cookie(packet) => {
                assert!(!is_shown, "it has a good one");
                assert_eq!(packet.client_nonce, purpose.1);
                let before = self.issued.insert(packet.cookie, (purpose, self.at.now));
                assert_eq!(before, None, "a cookie is made twice");
                if let Some((who, _)) = by {
                    self.cookies[who] = packet.cookie;
                }
            }
            // Whoever has a good cookie is told what is wrong with the token.
            Reply::Denied(packet) => {
                assert_eq!(drops, 1, "a denial is counted once");
                assert!(is_shown, "{:?} to somebody without a cookie", packet.reason);
                assert_eq!(packet.client_nonce, purpose.1);
            }
            Reply::Accepted(packet) => {
                assert!(is_shown && by.is_some_and(|(_, is_good)| is_good), "an answer to nobody");
                assert_eq!(packet.client_nonce, purpose.1);
            }
        }
        if let GateAction::Accept { admission, replaces, shard, .. } = action {
            let (who, _) = by.expect("an honest attempt");
            assert_eq!((admission.address, admission.player), (from, people()[who].player));
            assert_eq!(admission.id.socket(), shard + 1);
            if let Some(old) = replaces {
                assert!(!self.confirmed.contains(&old), "an unconfirmed one gives way");
                self.close(old);
            }
            let place = |id: &ConnectionId| (id.socket(), id.slot());
            let taken = self.live.keys().any(|id| place(id) == place(&admission.id));
            assert!(!taken, "a live slot is given out twice");
            self.live.insert(admission.id, who);
            assert!(self.live.len() <= 4, "more sessions than slots");
        }
    }

    fn confirm(&mut self, id: ConnectionId) {
        let older = self.gate.confirmed(id);
        if let Some(older) = older {
            assert_ne!(older, id);
            let same = |id: &ConnectionId| self.live.get(id).map(|&who| people()[who].player);
            assert_eq!(same(&older), same(&id), "a session gives way to its own player only");
            self.close(older);
        }
        self.confirmed.insert(id);
    }

    fn close(&mut self, id: ConnectionId) {
        self.gate.closed(id);
        self.live.remove(&id);
        self.confirmed.remove(&id);
    }
}
