//! The client against the real gate and the real sessions, over a link that loses, delays, repeats
//! and reorders. No socket and no clock: a second of it takes milliseconds. The seed is printed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use tidelock::client::{Client, ClientError, CloseReason, Event, Scratch, State};
use tidelock::connection::{self, BudgetRange, RekeyPolicy, Sessions, SessionsConfig, Sink, Slot};
use tidelock::exchange::exchange;
use tidelock::gate::{Gate, GateAction, GateConfig, Moment, TokenKey};
use tidelock::host::entropy::SeededEntropy;
use tidelock::keys::{ServerKeys, TicketRequest};
use tidelock::metrics::{Counters, DropReason};
use tidelock::time::Nanos;
use tidelock::units::EntityId;
use tidelock::wire::snapshot::{OwnState, SnapshotHead};
use tidelock::wire::*;
use tidelock::{client, limits};

const PLAYERS: usize = 12;
const BOOT_MS: u64 = 1_800_000_000_000;

/// What the shard would do with what clients say.
#[derive(Default)]
struct Shard {
    /// Newest input by slot.
    inputs: BTreeMap<Slot, (u32, InputFrame)>,
    /// Which tick a packet showed.
    ticks: BTreeMap<(Slot, u64), u32>,
    acked: Vec<(Slot, u32)>,
    confirmed: Vec<Slot>,
    closed: Vec<(Slot, connection::CloseReason)>,
}

impl Sink for Shard {
    fn confirmed(&mut self, slot: Slot) {
        self.confirmed.push(slot);
    }
    fn enter(&mut self, slot: Slot) {
        self.inputs.insert(slot, (0, InputFrame::default()));
    }
    fn input(&mut self, slot: Slot, sequence: u32, frame: InputFrame) {
        let newest = self.inputs.get_mut(&slot).expect("inputs come after entering");
        assert!(sequence > newest.0, "in order and once");
        *newest = (sequence, frame);
    }
    fn acked(&mut self, slot: Slot, packet_sequence: u64) {
        self.acked.extend(self.ticks.get(&(slot, packet_sequence)).map(|&tick| (slot, tick)));
    }
    fn closed(&mut self, slot: Slot, reason: connection::CloseReason) {
        self.closed.push((slot, reason));
    }
}

/// Datagrams under way, by arrival.
#[derive(Default)]
struct Link {
    under_way: BTreeMap<(u64, u64), (usize, Vec<u8>)>,
    count: u64,
}

impl Link {
    fn send(&mut self, now_ms: u64, player: usize, datagram: &[u8], random: &mut SeededEntropy) {
        let copies = match random.next_u64() % 20 {
            0..4 => 0,
            4 => 2,
            _ => 1,
        };
        for _ in 0..copies {
            self.count += 1;
            let at = now_ms + 1 + random.next_u64() % 40;
            self.under_way.insert((at, self.count), (player, datagram.to_vec()));
        }
    }

    fn arrived(&mut self, now_ms: u64) -> Option<(usize, Vec<u8>)> {
        let (&key, _) = self.under_way.range(..(now_ms + 1, 0)).next()?;
        self.under_way.remove(&key)
    }
}

struct Simulation {
    random: SeededEntropy,
    gate: Gate,
    sessions: Sessions,
    counters: Counters,
    shard: Shard,
    clients: Vec<Client>,
    /// Ticks that each client applied.
    applied: Vec<BTreeSet<u32>>,
    player_of: BTreeMap<Slot, usize>,
    scratch: Scratch,
    up: Link,
    down: Link,
    tick: u32,
    now_ms: u64,
    errors: BTreeMap<ClientError, u32>,
}

fn address(player: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 1, player as u8 + 1], 4_000))
}

impl Simulation {
    fn new(seed: u64) -> Self {
        println!("seed {seed}");
        let mut random = SeededEntropy(seed);
        let keys = ServerKeys::generate(&mut random);
        let backend = keys.backend.clone();
        let token_key = TokenKey { id: backend.token_key_id, key: backend.token_key.0 };
        let pair = keys.static_keys().unwrap();
        let config = GateConfig::new(backend.protocol_id, backend.realm, pair, vec![token_key]);
        let config = GateConfig { boot_unix_ms: BOOT_MS, ..config };
        let (keeper, _) = exchange(config.shards.into(), 64, 0, &());
        let gate = Gate::new(config, keeper, Nanos(0), &mut random);
        let budget = BudgetRange::default();
        let config = SessionsConfig {
            socket_index: 1,
            capacity: 4096,
            tick_hz: 60,
            seed,
            path_secret: [1, 2],
            budget,
            rules: Default::default(),
            rekey: RekeyPolicy::default(),
        };
        let sessions = Sessions::new(config);
        let clients = (0..PLAYERS).map(|player| {
            let request = TicketRequest { player: player as u64, spawn: None, ttl_s: 60 };
            let ticket = backend.mint(&request, BOOT_MS + 5, &mut random);
            let ticket = client::Ticket {
                protocol_id: ticket.protocol_id,
                token: PublicToken {
                    kind: ticket.token_kind,
                    key_id: ticket.token_key_id,
                    nonce: ticket.token_nonce,
                    expiry_s: ticket.token_expiry,
                    sealed: ticket.sealed_token,
                },
                psk: ticket.psk.0,
                server_public: ticket.server_public,
                build: 1,
            };
            Client::new(&ticket, [player as u8; 8], Nanos(0), &mut random).unwrap()
        });
        Self {
            clients: clients.collect(),
            random,
            gate,
            sessions,
            counters: Counters::default(),
            shard: Shard::default(),
            applied: vec![BTreeSet::new(); PLAYERS],
            player_of: BTreeMap::new(),
            scratch: Scratch::default(),
            up: Link::default(),
            down: Link::default(),
            tick: 0,
            now_ms: 0,
            errors: BTreeMap::new(),
        }
    }

    fn now(&self) -> Nanos {
        Nanos::from_ms(self.now_ms)
    }

    fn run(&mut self, ms: u64, inputs: bool) {
        for _ in 0..ms {
            self.now_ms += 1;
            self.deliver_up();
            if self.now_ms.is_multiple_of(16) {
                self.server_tick();
            }
            self.deliver_down();
            self.clients_send(inputs);
        }
    }

    fn clients_send(&mut self, inputs: bool) {
        let now = self.now();
        let mut out = [0; 1200];
        for (player, client) in self.clients.iter_mut().enumerate() {
            let due = (self.now_ms + player as u64).is_multiple_of(16);
            if inputs && due && client.state() == State::InWorld {
                let yaw = client.next_input() as u16;
                client.set_input(InputFrame { yaw, ..InputFrame::default() });
            }
            while let Some(len) = client.poll_transmit(now, &mut out) {
                self.up.send(self.now_ms, player, &out[..len], &mut self.random);
            }
        }
    }

    fn deliver_up(&mut self) {
        let now = self.now();
        while let Some((player, mut datagram)) = self.up.arrived(self.now_ms) {
            let from = address(player);
            if datagram[0] != 0 {
                let (counters, shard) = (&self.counters, &mut self.shard);
                self.sessions.handle_datagram(now, from, &mut datagram, counters, shard);
                continue;
            }
            let mut out = [0; 1200];
            let at = Moment { now, unix_s: BOOT_MS / 1000 + self.now_ms / 1000, tick: self.tick };
            let (counters, random) = (&self.counters, &mut self.random);
            match self.gate.handle_datagram(at, from, &datagram, counters, random, &mut out) {
                GateAction::Drop(_) => {}
                GateAction::Reply(len) => self.down.send(self.now_ms, player, &out[..len], random),
                GateAction::Accept { reply_len, admission, replaces, .. } => {
                    assert_eq!(replaces, None, "an attempt makes one session");
                    self.player_of.insert(admission.id.slot(), player);
                    self.sessions.admit_session(admission).unwrap();
                    self.down.send(self.now_ms, player, &out[..reply_len], random);
                }
            }
        }
        for slot in self.shard.confirmed.drain(..) {
            self.gate.confirmed(self.sessions.id(slot).unwrap());
        }
    }

    fn server_tick(&mut self) {
        self.tick += 1;
        let now = self.now();
        let mut out = [0; 1200];
        let entered: Vec<_> =
            self.shard.inputs.iter().map(|(&slot, input)| (slot, input.0)).collect();
        for (slot, last_processed_input) in entered {
            if !self.sessions.has_entered(slot) {
                continue;
            }
            let begun = self.sessions.begin(slot, Channel::Unreliable, now, &mut out).unwrap();
            self.shard.ticks.insert((slot, begun.sequence), self.tick);
            let own = OwnState {
                id: EntityId::from_parts(u32::from(slot) + 1, 1),
                position: [1.0; 3],
                flags: 1,
                health: 255,
                mana: 255,
                ..OwnState::default()
            };
            let head = SnapshotHead {
                tick: self.tick,
                last_processed_input,
                own: Some(own),
                ..SnapshotHead::default()
            };
            let mut body = [0; 64];
            let len = head.write(&mut body);
            let end = {
                let room = out.len() - limits::TAG_LEN;
                let mut writer = Writer::new(&mut out[begun.body..room]);
                put_message(&mut writer, to_client::DELTA_SYNC, |w| w.slice(&body[..len]));
                begun.body + writer.finish().unwrap()
            };
            let len = self.sessions.seal(slot, &mut out, end);
            let player = self.player_of[&slot];
            self.down.send(self.now_ms, player, &out[..len], &mut self.random);
        }
        let (counters, shard) = (&self.counters, &mut self.shard);
        while let Some(packet) = self.sessions.poll_control(now, &mut out, counters, shard) {
            let player = self.player_of[&packet.slot];
            self.down.send(self.now_ms, player, &out[..packet.length], &mut self.random);
        }
    }

    fn deliver_down(&mut self) {
        let now = self.now();
        while let Some((player, mut datagram)) = self.down.arrived(self.now_ms) {
            let client = &mut self.clients[player];
            match client.handle_datagram(now, &mut datagram, &mut self.scratch) {
                Ok(Event::Snapshot(applied)) => {
                    assert_eq!(applied.breaches, client::Breach::default());
                    self.applied[player].insert(applied.tick);
                }
                Ok(_) => {}
                Err(reason) => *self.errors.entry(reason).or_default() += 1,
            }
        }
    }
}

#[test]
fn clients_join_play_and_leave_through_a_bad_network() {
    for seed in 1..=8 {
        let mut simulation = Simulation::new(seed);
        simulation.run(6_000, true);
        for client in &simulation.clients {
            assert_eq!(client.state(), State::InWorld);
        }
        // Three frames in a packet: the newest arrives soon even at a fifth of loss.
        simulation.run(200, false);
        for (&slot, &(sequence, frame)) in &simulation.shard.inputs {
            let sent = simulation.clients[simulation.player_of[&slot]].next_input() - 1;
            assert!(sent > 150 && sent - sequence <= 3, "{sent} sent, {sequence} arrived");
            assert_eq!(frame.yaw, sequence as u16);
        }
        assert!(simulation.shard.acked.len() > PLAYERS * 100);
        for &(slot, tick) in &simulation.shard.acked {
            let player = simulation.player_of[&slot];
            assert!(simulation.applied[player].contains(&tick), "tick {tick} was not applied");
        }
        let statistics = simulation.clients[0].statistics();
        assert!((2_000..100_000).contains(&statistics.rtt.smoothed_us), "{statistics:?}");
        assert!(statistics.lost_to_server > 20, "{statistics:?}");
        assert!(statistics.missed_ticks > statistics.stale_snapshots, "{statistics:?}");

        let now = simulation.now();
        simulation.clients.iter_mut().for_each(|client| client.leave(now));
        simulation.run(1_000, false);
        for client in &simulation.clients {
            assert_eq!(client.state(), State::Closed(CloseReason::Left));
        }
        simulation.run(16_000, false);
        assert!(simulation.sessions.is_empty(), "whoever was not heard has timed out");
        check_reasons(&simulation);
    }
}

/// What a bad network brings about, and nothing that either side would call a fault of the other.
fn check_reasons(simulation: &Simulation) {
    for &reason in DropReason::ALL {
        let expected = matches!(
            reason,
            DropReason::Replay | DropReason::UnknownConnection | DropReason::InputRate
        );
        let dropped = simulation.counters.dropped(reason);
        assert!(dropped == 0 || expected, "{dropped} dropped as {}", reason.name());
    }
    for (&reason, &count) in &simulation.errors {
        let expected = matches!(reason, ClientError::Replay | ClientError::Connection);
        assert!(expected, "{count} × {}", reason.name());
    }
}
