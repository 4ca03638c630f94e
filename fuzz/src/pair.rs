//! The real sessions and the real client over a network that an input drives, until it heals.
//!
//! Checked all the time: neither end takes the other for broken, no sequence is used twice in a
//! direction, and reliable messages arrive in order and once. In the end: whoever was not given up
//! for a bad network is in the world, with everything delivered.

use super::bytes::Bytes;
use super::ends::{Ends, TICK_HZ, TICK_MS};
use std::collections::{BTreeSet, VecDeque};
use tidelock::client::{self, State};
use tidelock::connection::{CloseReason, RekeyPolicy};
use tidelock::limits::{
    RELIABLE_AGAIN_SHARE, RELIABLE_RTO_MAX_MS, RELIABLE_TRIES_MAX, RELIABLE_WINDOW_BYTES,
    SNAPSHOT_BUDGET,
};
use tidelock::time::Nanos;
use tidelock::wire::{Channel, DisconnectReason, Header, to_client};

/// Datagrams under way at a time; more are lost.
const FLYING_MAX: usize = 64;
/// In which both ends come to rest, or nothing is kept of the promise that they do: each message is
/// sent so many times at most, waits for so long in between, and the slower end, which is the
/// server, repeats a full window with this share of its bytes a second.
const REST_TICKS: u64 = RELIABLE_TRIES_MAX as u64
    * (RELIABLE_RTO_MAX_MS
        + 1_000 * RELIABLE_WINDOW_BYTES as u64 * RELIABLE_AGAIN_SHARE as u64
            / (SNAPSHOT_BUDGET as u64 * TICK_HZ as u64))
    / TICK_MS;

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
    ends: Ends,
    /// To the server?, and the bytes.
    flying: VecDeque<(bool, Vec<u8>)>,
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
        Self {
            ends: Ends::new(RekeyPolicy::default()).0,
            flying: VecDeque::new(),
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
            if pair.ends.client.state() == State::InWorld {
                return pair;
            }
        }
        panic!("nobody is in the world");
    }

    /// Whether the session has ended at either end.
    pub(crate) fn has_ended(&self) -> bool {
        self.ends.has_ended()
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

    /// Everything that must be true once the network has healed, or the session has ended because
    /// it was bad for too long.
    pub(crate) fn settle(&mut self) {
        for _ in 0..REST_TICKS {
            self.heal(1);
            if self.has_ended() {
                return self.was_given_up();
            }
            let Ends { sessions, client, .. } = &self.ends;
            let waiting = client.unacknowledged() + sessions.unacknowledged(self.ends.slot());
            if client.state() == State::InWorld && waiting == 0 {
                return self.all_arrived();
            }
        }
        panic!("it does not come to rest");
    }

    /// Nobody broke a rule, nobody said goodbye.
    fn was_given_up(&self) {
        let by_server = self.ends.told.closed;
        assert!(by_server.is_none_or(CloseReason::lingers), "{by_server:?}");
        let State::Closed(by_client) = self.ends.client.state() else { return };
        let lost = [DisconnectReason::TimedOut, DisconnectReason::Exhausted];
        let lost = lost.map(client::CloseReason::Disconnected);
        let is_lost = by_client == client::CloseReason::TimedOut || lost.contains(&by_client);
        assert!(is_lost, "{by_client:?}");
    }

    fn all_arrived(&self) {
        let arrived = [&self.ends.told.data, &self.taken];
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
        let (now, slot) = (self.ends.now, self.ends.slot());
        let Ends { sessions, client, .. } = &mut self.ends;
        let given = if by_client {
            client.send_game_data(now, channel, &body)
        } else {
            sessions.send_reliable(slot, channel, to_client::GAME_DATA, &body, now)
        };
        if given.is_ok() {
            self.given[direction].push((channel, body));
        }
    }

    /// Both ends do what is due.
    pub(crate) fn pass_ms(&mut self, ms: u64) {
        self.ends.now = self.ends.now.plus(Nanos::from_ms(ms));
        for datagram in self.ends.serve() {
            self.leave(false, datagram);
        }
        self.ends.play();
        while let Some(datagram) = self.ends.client_says() {
            self.leave(true, datagram);
        }
        while let Some((channel, body)) = self.ends.client.take_game_data() {
            self.taken.push((channel, body.into_vec()));
            self.arrivals[1].check(&self.given[1], &self.taken);
        }
    }

    fn leave(&mut self, to_server: bool, datagram: Vec<u8>) {
        let header = Header::read(&datagram).expect("both write headers");
        let newest = &mut self.newest[usize::from(to_server)];
        assert!(header.sequence > *newest, "a nonce is used again: {}", header.sequence);
        *newest = header.sequence;
        self.fly(to_server, datagram);
    }

    fn fly(&mut self, to_server: bool, datagram: Vec<u8>) {
        if self.flying.len() < FLYING_MAX {
            self.flying.push_back((to_server, datagram));
        }
    }

    fn deliver(&mut self, place: usize) {
        let Some((to_server, mut datagram)) = self.flying.remove(place) else { return };
        // What the network did to it is no matter; that both ends are honest is looked at in there.
        _ = self.ends.hand_over(to_server, &mut datagram);
        if to_server {
            self.arrivals[0].check(&self.given[0], &self.ends.told.data);
        }
    }
}
