//! New keys, again and again, while packets are lost, repeated, late, replayed, forged and changed
//! on their way, and time passes.
//!
//! Checked all the time: what [`Ledger`] checks of packets that leave; each is accepted at most
//! once, and none of a former epoch after its grace, nor before its turn; what nobody has sealed
//! changes nothing; what is new and of the current epoch is not refused. In the end, once the
//! network is good: both ends go on to the next epoch, or have ended for want of an answer.

use super::bytes::Bytes;
use super::ledger::Ledger;
use super::pair::snapshot;
use super::random::Counting;
use super::server::handshake;
use std::collections::VecDeque;
use std::net::SocketAddr;
use tidelock::client::{Client, ClientError, Scratch, State};
use tidelock::connection::{
    Admission, BudgetRange, CloseReason, RekeyPolicy, Rules, Sessions, SessionsConfig, Sink, Slot,
};
use tidelock::crypto::secret::Secret;
use tidelock::limits::{DATAGRAM_MAX, REKEY_HOLD_MS, REKEY_SECONDS_MIN, TAG_LEN};
use tidelock::metrics::{Counter, Counters, DropReason};
use tidelock::time::{Entropy, Nanos};
use tidelock::units::EntityId;
use tidelock::wire::{
    Channel, ConnectionId, DisconnectReason, FLAGS_AT, Flags, InputFrame, Writer, put_message,
    to_client,
};

const STEPS: usize = 200;
/// Datagrams under way at a time; more are lost.
const FLYING_MAX: usize = 32;
const HOLD: Nanos = Nanos::from_ms(REKEY_HOLD_MS);
const TICK_MS: u64 = 17;
/// From one rekey to the end of the next on a good network, in ticks of a tenth of a second: the
/// age of the keys with its jitter, waiting for a secret, and some round trips. Twice, as the first
/// may be one that had begun.
const MEETING_TICKS: u64 = 2 * (REKEY_SECONDS_MIN as u64 * 10 * 9 / 8 + 2 + 40);

#[derive(Default)]
struct Told {
    has_entered: bool,
    closed: Option<CloseReason>,
    keys: Vec<(u16, [u8; 32])>,
}

impl Sink for Told {
    fn confirmed(&mut self, _: Slot) {}
    fn enter(&mut self, _: Slot) {
        self.has_entered = true;
    }
    fn input(&mut self, _: Slot, _: u32, _: InputFrame) {}
    fn acked(&mut self, _: Slot, _: u64) {}
    fn closed(&mut self, _: Slot, reason: CloseReason) {
        self.closed = Some(reason);
    }
    fn rekeyed(&mut self, _: Slot, epoch: u16, key: &Secret) -> bool {
        self.keys.push((epoch, *key.bytes()));
        true
    }
}

/// What is known of one end as a receiver.
#[derive(Clone, Copy, Default)]
struct Ear {
    /// The newest sequence that it has accepted.
    newest: u64,
    /// Sequence of the first packet of its epoch, and when that came.
    first: u64,
    turned: Nanos,
}

struct World {
    sessions: Sessions,
    counters: Counters,
    told: Told,
    client: Client,
    scratch: Scratch,
    entropy: Counting,
    id: ConnectionId,
    address: SocketAddr,
    now: Nanos,
    tick: u32,
    ledger: Ledger,
    /// Packets of the ledger.
    flying: VecDeque<usize>,
    /// The client, and the server.
    ears: [Ear; 2],
}

/// Steps: what the network does next, and what time.
pub fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    let mut world = World::new();
    for _ in 0..STEPS {
        if bytes.is_empty() || world.has_ended() {
            break;
        }
        world.step(&mut bytes);
    }
    world.meet();
    for place in 0..world.ledger.packets.len() {
        world.deliver(place);
    }
}

impl World {
    /// Somebody in the world, whose keys are worn after five seconds.
    fn new() -> Self {
        let (client, root, id, now) = handshake();
        let config = SessionsConfig {
            socket_index: id.socket(),
            capacity: usize::from(id.slot()) + 1,
            tick_hz: 60,
            seed: 9,
            path_secret: [1, 2],
            budget: BudgetRange::default(),
            rules: Rules::default(),
            rekey: RekeyPolicy::new(u64::MAX, REKEY_SECONDS_MIN),
        };
        let address = SocketAddr::from(([203, 0, 113, 7], 40_000));
        let mut sessions = Sessions::new(config);
        let admission = Admission {
            id,
            address,
            player: 42,
            client_to_server: root.client_to_server(0),
            server_to_client: root.server_to_client(0),
            root: root.clone(),
            examiner: None,
            spawn: None,
            entity: EntityId::from_parts(1, 1),
            seat: 0,
            heir: false,
            accepted_at: now,
        };
        sessions.admit_session(admission).expect("the slot is free");
        let mut world = Self {
            sessions,
            counters: Counters::default(),
            told: Told::default(),
            client,
            scratch: Scratch::default(),
            entropy: Counting(3),
            id,
            address,
            now,
            tick: 0,
            ledger: Ledger::new(root),
            flying: VecDeque::new(),
            ears: [Ear::default(); 2],
        };
        (0..20).for_each(|_| world.heal(TICK_MS));
        assert_eq!(world.client.state(), State::InWorld);
        world
    }

    fn has_ended(&self) -> bool {
        self.told.closed.is_some() || matches!(self.client.state(), State::Closed(_))
    }

    /// Low bits what, high bits to which datagram.
    fn step(&mut self, bytes: &mut Bytes<'_>) {
        let kind = bytes.u8();
        let place = usize::from(kind >> 4) % self.flying.len().max(1);
        match kind % 16 {
            0 | 1 => self.arrive(0),
            2 => self.arrive(place),
            3 => drop(self.flying.remove(place)),
            4 => {
                if let Some(&packet) = self.flying.get(place) {
                    self.deliver(packet);
                }
            }
            5 | 6 => self.deliver(usize::from(bytes.u16()) % self.ledger.packets.len()),
            7 => self.forge(usize::from(bytes.u16()) % self.ledger.packets.len(), bytes),
            8 => {
                let back = usize::from(bytes.u8()) % self.ledger.packets.len();
                self.forge(self.ledger.packets.len() - 1 - back, bytes);
            }
            9 => self.pass_ms(u64::from(bytes.u8()) * 8),
            10 => self.answer(),
            11 => self.flying.clear(),
            12 => (0..1 + place).for_each(|_| self.heal(50)),
            // Until the keys are worn, and a secret is there.
            13 => (0..6).for_each(|_| self.heal(1_000)),
            _ => self.pass_ms(TICK_MS),
        }
    }

    /// The client takes part if it was asked.
    fn answer(&mut self) {
        if self.client.is_rekey_requested() {
            let secret = self.entropy.bytes();
            self.ledger.give(secret);
            self.client.answer_rekey(secret, self.now);
        }
    }

    /// Everything under way arrives, and both ends do what they have to.
    fn heal(&mut self, ms: u64) {
        while !self.flying.is_empty() {
            self.arrive(0);
        }
        self.answer();
        self.pass_ms(ms);
    }

    fn meet(&mut self) {
        let before = self.ledger.epoch();
        for _ in 0..MEETING_TICKS {
            if self.has_ended() {
                break;
            }
            let epochs = self.sessions.epochs(self.id.slot());
            let client = self.client.key_epoch();
            if client > before && epochs == Some((client, client)) {
                return;
            }
            self.heal(100);
        }
        assert!(self.has_ended(), "the keys of {before} stay for ever");
        let by_server = self.told.closed;
        assert!(by_server != Some(CloseReason::Violation), "the client is honest");
        let blamed = CloseReason::Peer(DisconnectReason::Violation);
        assert!(by_server != Some(blamed), "the server is honest");
    }

    fn pass_ms(&mut self, ms: u64) {
        self.now = self.now.plus(Nanos::from_ms(ms));
        self.serve();
        if self.client.state() == State::InWorld {
            self.client.set_input(InputFrame { yaw: self.tick as u16, ..InputFrame::default() });
        }
        let mut out = [0; DATAGRAM_MAX];
        while let Some(length) = self.client.poll_transmit(self.now, &mut out) {
            self.leave(true, &out[..length]);
            assert_eq!(self.ledger.sealing(true), self.client.key_epoch());
        }
    }

    fn serve(&mut self) {
        self.tick += 1;
        let (now, slot) = (self.now, self.id.slot());
        let mut out = [0; DATAGRAM_MAX];
        self.sessions.supply_secrets(&mut self.entropy);
        if self.told.has_entered
            && let Some(begun) = self.sessions.begin(slot, Channel::Unreliable, now, &mut out)
        {
            let mut writer = Writer::new(&mut out[begun.body..DATAGRAM_MAX - TAG_LEN]);
            let mut body = [0; 60];
            let length = snapshot(self.tick).write(&mut body);
            put_message(&mut writer, to_client::DELTA_SYNC, |it| it.slice(&body[..length]));
            let end = begun.body + writer.position();
            let length = self.sessions.seal(slot, &mut out, end);
            self.leave(false, &out[..length]);
        }
        loop {
            let Self { sessions, counters, told, .. } = self;
            let Some(packet) = sessions.poll_control(now, &mut out, counters, told) else { break };
            self.leave(false, &out[..packet.length]);
        }
        for (epoch, key) in self.told.keys.drain(..) {
            assert_eq!(key, self.ledger.server_to_client(epoch), "the gate is told another key");
        }
    }

    fn leave(&mut self, to_server: bool, datagram: &[u8]) {
        self.ledger.leaves(to_server, datagram);
        if self.flying.len() < FLYING_MAX {
            self.flying.push_back(self.ledger.packets.len() - 1);
        }
    }

    fn arrive(&mut self, place: usize) {
        if let Some(packet) = self.flying.remove(place) {
            self.deliver(packet);
        }
    }

    /// Epoch of what the client opens, and of what the server opens.
    fn epochs(&self) -> [Option<u16>; 2] {
        let server = self.sessions.epochs(self.id.slot()).map(|(open, _)| open);
        let has_client = !matches!(self.client.state(), State::Closed(_));
        [has_client.then(|| self.client.key_epoch()), server]
    }

    /// Hands a datagram to one end. `Err` says whether its key is why it was refused.
    fn hand_over(&mut self, to_server: bool, datagram: &mut [u8]) -> Result<(), bool> {
        if !to_server {
            let heard = self.client.handle_datagram(self.now, datagram, &mut self.scratch);
            let Err(error) = heard else { return Ok(()) };
            assert!(!error.is_after_open(), "the server is honest: {error:?}");
            return Err(matches!(error, ClientError::Epoch | ClientError::Open));
        }
        let Self { sessions, counters, told, now, address, .. } = self;
        let opened = counters.read(Counter::PacketsOpened);
        let by_key = |it: &Counters| it.dropped(DropReason::Epoch) + it.dropped(DropReason::Open);
        let refused = by_key(counters);
        sessions.handle_datagram(*now, *address, datagram, counters, told);
        for reason in [DropReason::Malformed, DropReason::Unexpected, DropReason::FalseAck] {
            assert_eq!(counters.dropped(reason), 0, "{reason:?}: the client is honest");
        }
        let is_opened = counters.read(Counter::PacketsOpened) > opened;
        if is_opened { Ok(()) } else { Err(by_key(counters) > refused) }
    }

    /// A packet arrives as it was sent, for the first time or again.
    fn deliver(&mut self, packet: usize) {
        let sealed = &self.ledger.packets[packet];
        let (to_server, epoch, sequence) = (sealed.to_server, sealed.epoch, sealed.sequence);
        let (was_accepted, mut datagram) = (sealed.is_accepted, sealed.bytes.clone());
        let side = usize::from(to_server);
        let before = self.epochs();
        let result = self.hand_over(to_server, &mut datagram);
        let after = self.epochs();
        let Some(current) = before[side] else {
            return assert!(result.is_err(), "who has ended hears nothing");
        };
        let ear = &mut self.ears[side];
        if result.is_ok() {
            assert!(!was_accepted, "{sequence} is accepted twice");
            self.ledger.packets[packet].is_accepted = true;
            let is_late = epoch + 1 == current;
            assert!(epoch == current || epoch == current + 1 || is_late, "{epoch} in {current}");
            let in_grace = sequence < ear.first && self.now.since(ear.turned) < HOLD;
            assert!(!is_late || in_grace, "{sequence} is accepted after its time");
            if epoch > current {
                assert!(after[side].is_none_or(|it| it == epoch), "it does not turn");
                (ear.first, ear.turned) = (sequence, self.now);
            }
            ear.newest = ear.newest.max(sequence);
        } else {
            let is_new = sequence > ear.newest;
            let by_key = result == Err(true);
            // Who seals under the next epoch knows that the other end can open it.
            assert!(epoch < current || !by_key, "{sequence} of {epoch} does not open");
            assert!(epoch != current || !is_new || to_server, "{sequence} is news, and refused");
        }
        let expected = if result.is_ok() { epoch.max(current) } else { current };
        assert!(after[side].is_none_or(|it| it == expected), "{after:?}: nothing turned it");
        assert_eq!(before[1 - side], after[1 - side]);
    }

    /// A packet arrives in a form that nobody has sealed.
    fn forge(&mut self, packet: usize, bytes: &mut Bytes<'_>) {
        let sealed = &self.ledger.packets[packet];
        let (to_server, mut datagram) = (sealed.to_server, sealed.bytes.clone());
        let how = bytes.u8();
        if how & 1 != 0 {
            datagram[FLAGS_AT] ^= Flags::REKEY.0;
        }
        if how & 2 != 0 {
            let ahead = u64::from(how >> 3) + 1;
            let sequence = (sealed.sequence + ahead).to_le_bytes();
            datagram[FLAGS_AT + 1..FLAGS_AT + 9].copy_from_slice(&sequence);
        }
        if how & 4 != 0 {
            bytes.mutate(&mut datagram);
        }
        if datagram == sealed.bytes {
            return self.deliver(packet);
        }
        let before = self.epochs();
        assert!(self.hand_over(to_server, &mut datagram).is_err(), "a forgery is accepted");
        assert_eq!(before, self.epochs(), "a forgery turns the keys");
    }
}
