//! The real sessions and the real client over a network that an input drives, until it heals.
//!
//! Checked all the time: neither end takes the other for broken, no sequence is used twice in a
//! direction, and reliable messages arrive in order and once. In the end: whoever was not given up
//! as silent is in the world, with everything delivered.
#![allow(dead_code, reason = "targets and museum pieces use their parts of it")]

use super::bytes::Bytes;
use super::server::handshake;
use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use tidelock::client::{Client, Scratch, State};
use tidelock::connection::{
    Admission, BudgetRange, CloseReason, Rules, Sessions, SessionsConfig, Sink, Slot,
};
use tidelock::limits::{
    DATAGRAM_MAX, RELIABLE_AGAIN_SHARE, RELIABLE_RTO_MAX_MS, RELIABLE_TRIES_MAX,
    RELIABLE_WINDOW_BYTES, SNAPSHOT_BUDGET, TAG_LEN,
};
use tidelock::metrics::{Counters, DropReason};
use tidelock::time::Nanos;
use tidelock::units::EntityId;
use tidelock::wire::snapshot::{OwnState, SnapshotHead};
use tidelock::wire::{Channel, ConnectionId, Header, InputFrame, Writer, put_message, to_client};

/// Datagrams under way at a time; more are lost.
const FLYING_MAX: usize = 64;
const TICK_HZ: u64 = 60;
const TICK_MS: u64 = 17;
/// In which both ends come to rest, or nothing is kept of the promise that they do: each message is
/// sent so many times at most, waits for so long in between, and the slower end, which is the
/// server, repeats a full window with this share of its bytes a second.
const REST_TICKS: u64 = RELIABLE_TRIES_MAX as u64
    * (RELIABLE_RTO_MAX_MS
        + 1_000 * RELIABLE_WINDOW_BYTES as u64 * RELIABLE_AGAIN_SHARE as u64
            / (SNAPSHOT_BUDGET as u64 * TICK_HZ))
    / TICK_MS;

#[derive(Default)]
struct Got {
    has_entered: bool,
    closed: Option<CloseReason>,
    data: Vec<(Channel, Vec<u8>)>,
}

impl Sink for Got {
    fn confirmed(&mut self, _: Slot) {}
    fn enter(&mut self, _: Slot) {
        self.has_entered = true;
    }
    fn input(&mut self, _: Slot, _: u32, _: InputFrame) {}
    fn acked(&mut self, _: Slot, _: u64) {}
    fn closed(&mut self, _: Slot, reason: CloseReason) {
        self.closed = Some(reason);
    }
    fn game_data(&mut self, _: Slot, channel: Channel, body: &[u8]) {
        self.data.push((channel, body.to_vec()));
    }
}

/// What arrives was given, arrives once, and on the ordered channel in that order.
#[derive(Default)]
struct Arrivals {
    checked: usize,
    came: BTreeSet<usize>,
    /// Behind the last one of the ordered channel.
    next: usize,
}

impl Arrivals {
    fn check(&mut self, given: &[(Channel, Vec<u8>)], arrived: &[(Channel, Vec<u8>)]) {
        for message in &arrived[self.checked..] {
            let number = message.1.first_chunk::<4>().expect("all begin with their number");
            let number = u32::from_le_bytes(*number) as usize;
            assert!(given.get(number) == Some(message), "never given");
            assert!(self.came.insert(number), "twice");
            if message.0 == Channel::ReliableOrdered {
                let skipped = given.get(self.next..number).expect("out of order");
                let is_next = skipped.iter().all(|it| it.0 != Channel::ReliableOrdered);
                assert!(is_next, "out of order");
                self.next = number + 1;
            }
        }
        self.checked = arrived.len();
    }
}

/// Both ends, and what is under way between them.
pub(crate) struct Pair {
    sessions: Sessions,
    counters: Counters,
    got: Got,
    pub(crate) client: Client,
    scratch: Scratch,
    id: ConnectionId,
    address: SocketAddr,
    /// To the server?, and the bytes.
    flying: VecDeque<(bool, Vec<u8>)>,
    now: Nanos,
    tick: u32,
    /// Newest sequence sent, by direction.
    newest: [u64; 2],
    /// Reliable messages given to either end, by direction, and those that the client has taken.
    given: [Vec<(Channel, Vec<u8>)>; 2],
    taken: Vec<(Channel, Vec<u8>)>,
    /// What is known of those that have arrived, by direction.
    arrivals: [Arrivals; 2],
}

impl Pair {
    /// After a handshake.
    pub(crate) fn new() -> Self {
        let (client, root, id, now) = handshake();
        let config = SessionsConfig {
            socket_index: id.socket(),
            capacity: usize::from(id.slot()) + 1,
            tick_hz: TICK_HZ as u16,
            seed: 9,
            path_secret: [1, 2],
            budget: BudgetRange::default(),
            rules: Rules::default(),
            rekey: Default::default(),
        };
        let address = SocketAddr::from(([203, 0, 113, 7], 40_000));
        let mut sessions = Sessions::new(config);
        let admission = Admission {
            id,
            address,
            player: 42,
            client_to_server: root.client_to_server(0),
            server_to_client: root.server_to_client(0),
            root,
            examiner: None,
            spawn: None,
            entity: EntityId::from_parts(1, 1),
            seat: 0,
            heir: false,
            accepted_at: now,
        };
        sessions.admit_session(admission).expect("the slot is free");
        Self {
            sessions,
            counters: Counters::default(),
            got: Got::default(),
            client,
            scratch: Scratch::default(),
            id,
            address,
            flying: VecDeque::new(),
            now,
            tick: 0,
            newest: [0; 2],
            given: Default::default(),
            taken: Vec::new(),
            arrivals: Default::default(),
        }
    }

    /// Until the player is in the world.
    pub(crate) fn joined() -> Self {
        let mut pair = Self::new();
        for _ in 0..200 {
            pair.heal(1);
            if pair.client.state() == State::InWorld {
                return pair;
            }
        }
        panic!("nobody is in the world");
    }

    /// Whether the session has ended at either end.
    pub(crate) fn has_ended(&self) -> bool {
        self.got.closed.is_some() || matches!(self.client.state(), State::Closed(_))
    }

    /// What the network does next: low bits of `kind` what, high bits to which datagram.
    pub(crate) fn weather(&mut self, kind: u8, bytes: &mut Bytes<'_>) {
        let place = usize::from(kind >> 3) % self.flying.len().max(1);
        match kind % 8 {
            0 | 1 => self.deliver(0),
            2 => self.deliver(place),
            3 => drop(self.flying.remove(place)),
            4 => {
                if let Some(copy) = self.flying.get(place).cloned() {
                    self.fly(copy.0, copy.1);
                }
            }
            5 => {
                if let Some((_, datagram)) = self.flying.get_mut(place) {
                    bytes.mutate(datagram);
                }
            }
            6 => self.pass_ms(u64::from(bytes.u8()) * 8),
            _ => self.pass_ms(TICK_MS),
        }
    }

    /// So many ticks on a network that does nothing wrong.
    pub(crate) fn heal(&mut self, ticks: usize) {
        for _ in 0..ticks {
            while !self.flying.is_empty() {
                self.deliver(0);
            }
            self.pass_ms(TICK_MS);
        }
    }

    /// Everything that must be true once the network has healed.
    pub(crate) fn settle(&mut self) {
        for _ in 0..REST_TICKS {
            self.heal(1);
            if self.has_ended() {
                return;
            }
            let slot = self.id.slot();
            let waiting = self.client.unacknowledged() + self.sessions.unacknowledged(slot);
            if self.client.state() == State::InWorld && waiting == 0 {
                return self.all_arrived();
            }
        }
        panic!("it does not come to rest");
    }

    fn all_arrived(&self) {
        let arrived = [&self.got.data, &self.taken];
        for (given, got) in self.given.iter().zip(arrived) {
            for channel in [Channel::ReliableOrdered, Channel::ReliableUnordered] {
                let count =
                    |all: &[(Channel, Vec<u8>)]| all.iter().filter(|it| it.0 == channel).count();
                assert_eq!(count(given), count(got), "{channel:?}");
            }
        }
    }

    /// Gives the server or the client a message to send; it may refuse.
    pub(crate) fn give(&mut self, by_client: bool, channel: Channel, length: usize) {
        let direction = usize::from(!by_client);
        let number = self.given[direction].len() as u32;
        let mut body = vec![number as u8; 4 + length];
        body[..4].copy_from_slice(&number.to_le_bytes());
        let given = if by_client {
            self.client.send_game_data(self.now, channel, &body)
        } else {
            let slot = self.id.slot();
            self.sessions.send_reliable(slot, channel, to_client::GAME_DATA, &body, self.now)
        };
        if given.is_ok() {
            self.given[direction].push((channel, body));
        }
    }

    /// Both ends do what is due.
    pub(crate) fn pass_ms(&mut self, ms: u64) {
        self.now = self.now.plus(Nanos::from_ms(ms));
        self.serve();
        let now = self.now;
        if self.client.state() == State::InWorld {
            self.client.set_input(InputFrame { yaw: self.tick as u16, ..InputFrame::default() });
        }
        let mut out = [0; DATAGRAM_MAX];
        while let Some(length) = self.client.poll_transmit(now, &mut out) {
            self.leave(true, &out[..length]);
        }
        while let Some((channel, body)) = self.client.take_game_data() {
            self.taken.push((channel, body.into_vec()));
            self.arrivals[1].check(&self.given[1], &self.taken);
        }
    }

    fn serve(&mut self) {
        self.tick += 1;
        let (now, slot) = (self.now, self.id.slot());
        let mut out = [0; DATAGRAM_MAX];
        if self.got.has_entered
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
            let Self { sessions, counters, got, .. } = self;
            let Some(packet) = sessions.poll_control(now, &mut out, counters, got) else { break };
            self.leave(false, &out[..packet.length]);
        }
    }

    fn leave(&mut self, to_server: bool, datagram: &[u8]) {
        let header = Header::read(datagram).expect("both write headers");
        let newest = &mut self.newest[usize::from(to_server)];
        assert!(header.sequence > *newest, "a nonce is used again: {}", header.sequence);
        *newest = header.sequence;
        self.fly(to_server, datagram.to_vec());
    }

    fn fly(&mut self, to_server: bool, datagram: Vec<u8>) {
        if self.flying.len() < FLYING_MAX {
            self.flying.push_back((to_server, datagram));
        }
    }

    fn deliver(&mut self, place: usize) {
        let Some((to_server, mut datagram)) = self.flying.remove(place) else { return };
        if !to_server {
            let heard = self.client.handle_datagram(self.now, &mut datagram, &mut self.scratch);
            let fault = heard.err().filter(|error| error.is_after_open());
            assert_eq!(fault, None, "the server is honest");
            return;
        }
        let Self { sessions, counters, got, now, address, .. } = self;
        sessions.handle_datagram(*now, *address, &mut datagram, counters, got);
        for reason in [DropReason::Malformed, DropReason::Unexpected, DropReason::FalseAck] {
            assert_eq!(self.counters.dropped(reason), 0, "{reason:?}: the client is honest");
        }
        self.arrivals[0].check(&self.given[0], &self.got.data);
    }
}

pub(crate) fn snapshot(tick: u32) -> SnapshotHead {
    let own = OwnState {
        id: EntityId::from_parts(1, 1),
        position: [1.0; 3],
        velocity: [0.0; 3],
        yaw: 0,
        animation: 0,
        flags: 1,
        health: 255,
        mana: 255,
        faction: 0,
        effects: 0,
    };
    SnapshotHead {
        tick,
        last_processed_input: 0,
        base_age: 0,
        removals: 0,
        entries: 0,
        own: Some(own),
        relations: None,
    }
}
