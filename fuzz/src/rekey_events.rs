//! New keys, again and again, while packets are lost, repeated, late, replayed, forged and changed
//! on their way, and time passes.
//!
//! Checked all the time: what [`Ledger`] checks of packets that leave; each is accepted at most
//! once, and none of a former epoch after its grace, nor before its turn; what nobody has sealed
//! changes nothing; what is new and of the current epoch is not refused. In the end, once the
//! network is good: both ends go on to the next epoch, or have ended for want of an answer.

use super::bytes::Bytes;
use super::ends::{Ends, TICK_MS};
use super::ledger::Ledger;
use super::random::Counting;
use std::collections::VecDeque;
use tidelock::client::State;
use tidelock::connection::{CloseReason, RekeyPolicy};
use tidelock::limits::{REKEY_HOLD_MS, REKEY_SECONDS_MIN};
use tidelock::time::{Entropy, Nanos};
use tidelock::wire::{DisconnectReason, FLAGS_AT, Flags};

const STEPS: usize = 200;
/// Datagrams under way at a time; more are lost.
const FLYING_MAX: usize = 32;
const HOLD: Nanos = Nanos::from_ms(REKEY_HOLD_MS);
/// From one rekey to the end of the next on a good network, in ticks of a tenth of a second: the
/// age of the keys with its jitter, waiting for a secret, and some round trips. Twice, as the first
/// may be one that had begun.
const MEETING_TICKS: u64 = 2 * (REKEY_SECONDS_MIN as u64 * 10 * 9 / 8 + 2 + 40);

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
    ends: Ends,
    entropy: Counting,
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
        if bytes.is_empty() || world.ends.has_ended() {
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
        let (ends, root) = Ends::new(RekeyPolicy::new(u64::MAX, REKEY_SECONDS_MIN));
        let mut world = Self {
            ends,
            entropy: Counting(3),
            ledger: Ledger::new(root),
            flying: VecDeque::new(),
            ears: [Ear::default(); 2],
        };
        (0..20).for_each(|_| world.heal(TICK_MS));
        assert_eq!(world.ends.client.state(), State::InWorld);
        world
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
        if self.ends.client.is_rekey_requested() {
            let secret = self.entropy.bytes();
            self.ledger.give(secret);
            self.ends.client.answer_rekey(secret, self.ends.now);
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
            if self.ends.has_ended() {
                break;
            }
            let epochs = self.ends.sessions.epochs(self.ends.slot());
            let client = self.ends.client.key_epoch();
            if client > before && epochs == Some((client, client)) {
                return;
            }
            self.heal(100);
        }
        assert!(self.ends.has_ended(), "the keys of {before} stay for ever");
        let by_server = self.ends.told.closed;
        assert!(by_server != Some(CloseReason::Violation), "the client is honest");
        let blamed = CloseReason::Peer(DisconnectReason::Violation);
        assert!(by_server != Some(blamed), "the server is honest");
    }

    fn pass_ms(&mut self, ms: u64) {
        self.ends.now = self.ends.now.plus(Nanos::from_ms(ms));
        self.ends.sessions.supply_secrets(&mut self.entropy);
        for datagram in self.ends.serve() {
            self.leave(false, &datagram);
        }
        for (epoch, key) in self.ends.told.keys.drain(..) {
            assert_eq!(key, self.ledger.server_to_client(epoch), "the gate is told another key");
        }
        self.ends.play();
        while let Some(datagram) = self.ends.client_says() {
            self.leave(true, &datagram);
            assert_eq!(self.ledger.sealing(true), self.ends.client.key_epoch());
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
        let Ends { sessions, client, .. } = &self.ends;
        let server = sessions.epochs(self.ends.slot()).map(|(open, _)| open);
        let has_client = !matches!(client.state(), State::Closed(_));
        [has_client.then(|| client.key_epoch()), server]
    }

    /// A packet arrives as it was sent, for the first time or again.
    fn deliver(&mut self, packet: usize) {
        let sealed = &self.ledger.packets[packet];
        let (to_server, epoch, sequence) = (sealed.to_server, sealed.epoch, sealed.sequence);
        let (was_accepted, mut datagram) = (sealed.is_accepted, sealed.bytes.clone());
        let side = usize::from(to_server);
        let before = self.epochs();
        let result = self.ends.hand_over(to_server, &mut datagram);
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
            let in_grace = sequence < ear.first && self.ends.now.since(ear.turned) < HOLD;
            assert!(!is_late || in_grace, "{sequence} is accepted after its time");
            if epoch > current {
                assert!(after[side].is_none_or(|it| it == epoch), "it does not turn");
                (ear.first, ear.turned) = (sequence, self.ends.now);
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
        assert!(self.ends.hand_over(to_server, &mut datagram).is_err(), "a forgery is accepted");
        assert_eq!(before, self.epochs(), "a forgery turns the keys");
    }
}
