//! Reliable delivery: messages that arrive exactly once, in order or in any order, over packets
//! that are lost, repeated and reordered.
//!
//! Owns, per session, an [`Endpoint`]: what was sent and not acknowledged, what was received and
//! waits for its turn, and the negotiation in front of both. Never sees a packet: it is told which
//! sequences were acknowledged, and asked what the next packet is to carry; never reads a clock.
//! Bytes lie in a [`Pool`], which all sessions of a shard share and which does not grow beyond its
//! room. Called by `connection` and `client`.
//!
//! A peer decides what comes, never how much is held: 256 messages or 64 KiB to send, 64 messages
//! and 32 KiB that wait for their turn, two or four messages in parts. Whatever exceeds that is
//! refused; its packet is not acknowledged, so its sender sends it again, ten times at most.

mod carriers;
mod held;
mod pool;
mod receiver;
mod sender;
mod sets;
mod slab;
#[cfg(test)]
mod tests;

pub use pool::Pool;
pub use receiver::{Delivered, Parse};
pub use sender::{Filled, Load, Pace, Part};
pub use sets::Fragment;

use crate::limits::{
    FRAGMENT_SETS_CLIENT, FRAGMENT_SETS_SERVER, MESSAGE_MAX_TO_CLIENT, MESSAGE_MAX_TO_SERVER,
    RELIABLE_TRIES_MAX, RELIABLE_WINDOW, RELIABLE_WINDOW_BYTES,
};
use crate::time::Nanos;
use held::Held;
use pool::{Full, Item, Use};
use receiver::Receiver;
use sender::{Sender, Trip};
use sets::Sets;
use std::fmt;

/// Packets with a hello whose acknowledgment still counts. They are sent as lost messages are, so
/// when the eighth after it leaves, one of them is 9 s old, and later ones get 16 s old: more than
/// any session that lives needs for a round trip.
const HELLOS: usize = 8;
/// How long nothing is tried once a message was prepared in vain.
const PAUSE: Nanos = Nanos::from_ms(1_000);

/// The two kinds of reliable delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// In the order in which they were sent.
    Ordered,
    /// As they come.
    Unordered,
}

impl Lane {
    /// Number of lanes.
    pub const COUNT: usize = 2;
}

/// What both sides tell each other before the first message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Ids of the first messages that its sender will send, by lane.
    pub first_ids: [u16; Lane::COUNT],
    /// Messages that it lets the other have on their way.
    pub max_inflight: u16,
    /// Longest message that it takes, in units of 1,024 bytes.
    pub max_message_kib: u16,
    /// Bytes that it lets the other have on their way.
    pub recv_bytes: u32,
}

/// Which end of a session an endpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It receives what clients send.
    Server,
    /// It receives what the server sends.
    Client,
}

impl Side {
    /// Bytes of the longest message that it receives, and messages in parts at a time.
    fn receives(self) -> (usize, usize) {
        match self {
            Self::Server => (MESSAGE_MAX_TO_SERVER, FRAGMENT_SETS_SERVER),
            Self::Client => (MESSAGE_MAX_TO_CLIENT, FRAGMENT_SETS_CLIENT),
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Server => Self::Client,
            Self::Client => Self::Server,
        }
    }

    /// What it tells the other, whose first ids will be `first_ids`.
    pub fn hello(self, first_ids: [u16; Lane::COUNT]) -> Hello {
        Hello {
            first_ids,
            max_inflight: RELIABLE_WINDOW,
            max_message_kib: (self.receives().0 / 1_024) as u16,
            recv_bytes: RELIABLE_WINDOW_BYTES as u32,
        }
    }
}

/// What the other side takes.
#[derive(Clone, Copy, Debug)]
struct Link {
    messages_max: u16,
    bytes_max: usize,
    message_max: usize,
    sets: usize,
}

/// Why a message was not taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// There is no session, or it has come to its end.
    NoSession,
    /// This channel does not carry such messages.
    NotAllowed,
    /// Both sides have to say hello first; that has begun. Try again later.
    Opening,
    /// Longer than the other side takes.
    TooLong,
    /// As much is on its way as the other side lets. Try again later.
    Window,
    /// No room in the pool. Try again later.
    NoMemory,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSession => "there is no session",
            Self::NotAllowed => "this channel does not carry such messages",
            Self::Opening => "reliable delivery is being negotiated; try again",
            Self::TooLong => "the message is longer than the other side takes",
            Self::Window => "as much is on its way as the other side lets; try again",
            Self::NoMemory => "the pool of messages is full; try again",
        })
    }
}

impl std::error::Error for SendError {}

/// What became of something received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It was delivered, waits for its turn, or came a second time: acknowledge it.
    Processed,
    /// There was no room: do not acknowledge it.
    Refused,
}

/// What no correct peer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A message before hello.
    Early,
    /// A second hello that says something else.
    Hello,
    /// An id further ahead than the window reaches.
    Window,
    /// A part with an illegal place or size, or of a message that is no message.
    Part,
}

/// One end of the reliable delivery of one session.
#[derive(Clone, Debug)]
pub struct Endpoint {
    side: Side,
    own: Hello,
    heard: Option<Hello>,
    /// The other side has processed our hello.
    is_told: bool,
    /// The last packets with it, and when they left.
    hellos: [(u64, Nanos); HELLOS],
    hellos_sent: u32,
    hello_due: Nanos,
    /// Nothing is taken over before.
    paused_until: Nanos,
    sender: Sender,
    receiver: Receiver,
    /// Since when messages wait for one that is missing.
    stalled: Nanos,
    /// What it takes of either half of the pool: of that for what is to be sent, and of the other.
    held: [Held; 2],
}

impl Endpoint {
    /// Nothing was said yet; hello is due at once.
    pub fn new(side: Side, own: Hello, now: Nanos) -> Self {
        let (message_max, sets) = side.receives();
        Self {
            side,
            own,
            heard: None,
            is_told: false,
            hellos: [(0, now); HELLOS],
            hellos_sent: 0,
            hello_due: now,
            paused_until: Nanos(0),
            sender: Sender::new(own.first_ids, now),
            receiver: Receiver::new([0; Lane::COUNT], Sets::new(sets, message_max)),
            stalled: now,
            held: [Held::default(); 2],
        }
    }

    /// Whether messages can be sent.
    pub fn is_open(&self) -> bool {
        self.is_told && self.heard.is_some()
    }

    /// Messages sent and not acknowledged.
    pub fn unacknowledged(&self) -> usize {
        self.sender.messages.into()
    }

    /// Bytes that wait to be delivered or to be put together.
    pub fn held_bytes(&self) -> usize {
        let sets = self.receiver.sets.sets.iter().map(|set| set.parts.bytes as usize);
        self.receiver.waiting.bytes as usize + sets.sum::<usize>()
    }

    /// Blocks that it has held of late, of a half of the pool as `Pool::take_starved` has them.
    pub fn held_of_late(&self, half: usize, now: Nanos) -> u32 {
        self.held.get(half).map_or(0, |held| held.mean(now))
    }

    /// Gives up, whatever was promised: it has failed.
    pub fn give_up(&mut self) {
        self.sender.has_failed = true;
    }

    fn link(&self) -> Option<Link> {
        let heard = self.heard.filter(|_| self.is_told)?;
        let (message_max, sets) = self.side.other().receives();
        Some(Link {
            messages_max: heard.max_inflight,
            bytes_max: heard.recv_bytes as usize,
            message_max: message_max.min(usize::from(heard.max_message_kib) * 1_024),
            sets,
        })
    }

    /// The hello to be sent at `now`, if one is due: in the packet with the sequence that
    /// `hello_sent` will be told.
    pub fn hello_due(&self, now: Nanos) -> Option<Hello> {
        (!self.is_told && self.hello_due <= now).then_some(self.own)
    }

    /// The packet with `sequence` carries the hello.
    pub fn hello_sent(&mut self, sequence: u64, now: Nanos) {
        self.hellos[self.hellos_sent as usize % HELLOS] = (sequence, now);
        self.hellos_sent = self.hellos_sent.saturating_add(1);
        let tries = self.hellos_sent.min(RELIABLE_TRIES_MAX.into()) as u8;
        self.hello_due = now.plus(Trip::default().timeout(tries));
    }

    /// The other side said hello.
    ///
    /// # Errors
    /// If it has said something else before.
    pub fn hear(&mut self, hello: Hello) -> Result<(), Fault> {
        match self.heard {
            Some(before) if before != hello => Err(Fault::Hello),
            Some(_) => Ok(()),
            None => {
                let sets = self.receiver.sets.clone();
                self.receiver = Receiver::new(hello.first_ids, sets);
                self.heard = Some(hello);
                Ok(())
            }
        }
    }

    /// The id that the next message of `lane` will have.
    pub fn next_id(&self, lane: Lane) -> u16 {
        self.sender.next_id(lane)
    }

    /// Whether a message of `length` bytes would be taken over at `now`: to be asked with a lower
    /// bound before one takes pains with it. Whoever finds then that it is too long calls
    /// `paused`.
    ///
    /// # Errors
    /// Why it would not.
    pub fn admits(
        &self,
        pool: &mut Pool,
        lane: Lane,
        length: usize,
        now: Nanos,
    ) -> Result<(), SendError> {
        let link = self.link().ok_or(SendError::Opening)?;
        if now < self.paused_until {
            return Err(SendError::Window);
        }
        self.sender.admits(pool, &link, lane, length)
    }

    /// Pains were taken in vain: `admits` refuses everything for a second, or until something is
    /// acknowledged. What the other side takes must not decide how often that happens.
    pub fn paused(&mut self, now: Nanos) {
        self.paused_until = now.plus(PAUSE);
    }

    /// Takes a message over, `parts` being its bytes as they will travel; its id is `next_id`.
    ///
    /// # Errors
    /// Nothing has changed.
    pub fn push(
        &mut self,
        pool: &mut Pool,
        lane: Lane,
        is_compressed: bool,
        parts: [&[u8]; 2],
    ) -> Result<u16, SendError> {
        let link = self.link().ok_or(SendError::Opening)?;
        self.sender.push(pool, &link, lane, is_compressed, parts)
    }

    /// What the next packet is to carry, if one may be sent at `now`.
    pub fn prepare(&mut self, pool: &mut Pool, now: Nanos, pace: Pace) -> Option<Load> {
        let link = self.link()?;
        if self.sender.due > now {
            return None;
        }
        self.held[0].note(self.sender.pieces.blocks, now);
        self.sender.prepare(pool, &link, now, pace)
    }

    /// Writes the load into `out`, for the packet with `sequence`.
    pub fn fill(
        &mut self,
        pool: &mut Pool,
        load: Load,
        sequence: u64,
        now: Nanos,
        pace: Pace,
        out: &mut [u8],
    ) -> Filled {
        self.sender.fill(pool, load, sequence, now, pace, out)
    }

    /// The other side has processed the packet with `sequence`. To be called for all packets of
    /// the session, once for each, oldest first.
    pub fn acknowledged(&mut self, pool: &mut Pool, sequence: u64, now: Nanos) {
        let hello = self.hellos.iter().find(|hello| hello.0 == sequence && sequence > 0);
        if let Some((_, at)) = hello.filter(|_| !self.is_told) {
            self.is_told = true;
            self.sender.trip.sample(now.since(*at));
        }
        let before = self.sender.messages;
        self.sender.acknowledged(pool, sequence, now);
        self.held[0].note(self.sender.pieces.blocks, now);
        if self.sender.messages < before {
            self.paused_until = Nanos(0);
        }
    }

    /// Takes a whole message in and calls `deliver` for everything that may be delivered now.
    ///
    /// # Errors
    /// The other side is at fault; nothing has changed.
    pub fn accept(
        &mut self,
        pool: &mut Pool,
        id: u16,
        message: Delivered<'_>,
        now: Nanos,
        deliver: &mut impl FnMut(Delivered<'_>),
    ) -> Result<Taken, Fault> {
        self.heard.ok_or(Fault::Early)?;
        let waiting = self.receiver.waiting.count;
        let taken = self.receiver.accept(pool, id, message, deliver);
        self.note(waiting, now);
        taken
    }

    /// Takes a part of a message in, as `accept`; `parse` finds type, id and body in the whole.
    ///
    /// # Errors
    /// The other side is at fault, and the message is forgotten.
    pub fn accept_part(
        &mut self,
        pool: &mut Pool,
        fragment: Fragment<'_>,
        now: Nanos,
        parse: Parse,
        deliver: &mut impl FnMut(Delivered<'_>),
    ) -> Result<Taken, Fault> {
        self.heard.ok_or(Fault::Early)?;
        let waiting = self.receiver.waiting.count;
        let taken = self.receiver.accept_part(pool, fragment, now, parse, deliver);
        self.note(waiting, now);
        taken
    }

    fn note(&mut self, waiting_before: u16, now: Nanos) {
        self.held[1].note(self.receiver.blocks(), now);
        if waiting_before == 0 || self.receiver.waiting.count < waiting_before {
            self.stalled = now;
        }
    }

    /// When there may be something to do: a packet to send, or the end.
    pub fn due(&self) -> Nanos {
        if self.sender.has_failed {
            // Nothing is sent any more, so nothing else would come to it.
            return Nanos(0);
        }
        let hello = if self.is_told { Nanos(u64::MAX) } else { self.hello_due };
        let sends = if self.link().is_some() { self.sender.due } else { Nanos(u64::MAX) };
        hello.min(sends).min(self.deadline())
    }

    fn deadline(&self) -> Nanos {
        let gap = Nanos::from_ms(crate::limits::GAP_TIMEOUT_MS);
        let is_stalled = self.receiver.waiting.count > 0;
        let stalled = if is_stalled { self.stalled.plus(gap) } else { Nanos(u64::MAX) };
        self.receiver.sets.deadline().min(stalled)
    }

    /// Whether a message can no longer be delivered, in one direction or the other: the session has
    /// to end, as what was promised cannot be kept.
    pub fn has_failed(&self, now: Nanos) -> bool {
        self.sender.has_failed || self.deadline() <= now
    }

    /// Gives all memory back. The endpoint is of no use any more.
    pub fn clear(&mut self, pool: &mut Pool) {
        pool.clear(&mut self.sender.pieces);
        self.receiver.clear(pool);
    }

    /// Takes everything out of `pool`, for an endpoint that goes where there is another pool.
    pub fn pack(mut self, pool: &mut Pool) -> Packed {
        let pieces = pool.unload(&mut self.sender.pieces);
        let waiting = pool.unload(&mut self.receiver.waiting);
        let parts = self.receiver.sets.sets.each_mut().map(|set| set.unload(pool));
        Packed { endpoint: self, pieces, waiting, parts }
    }

    /// Puts a packed endpoint into another pool. Without room there it comes back as one that has
    /// failed: what it had promised is lost.
    pub fn unpack(packed: Packed, pool: &mut Pool) -> Self {
        let Packed { mut endpoint, pieces, waiting, parts } = packed;
        if endpoint.load(pool, &pieces, &waiting, &parts).is_err() {
            endpoint.clear(pool);
            endpoint.give_up();
        }
        endpoint
    }

    fn load(
        &mut self,
        pool: &mut Pool,
        pieces: &[Bytes],
        waiting: &[Bytes],
        parts: &[Vec<Bytes>; sets::SETS_MAX],
    ) -> Result<(), Full> {
        pool.load(&mut self.sender.pieces, pieces, Use::Sent(0))?;
        pool.load(&mut self.receiver.waiting, waiting, Use::Brought)?;
        let sets = self.receiver.sets.sets.iter_mut().zip(parts);
        sets.into_iter().try_for_each(|(set, parts)| set.load(pool, parts))
    }
}

type Bytes = (Item, Box<[u8]>);

/// An endpoint under way from one pool to another.
#[derive(Debug)]
pub struct Packed {
    endpoint: Endpoint,
    pieces: Vec<Bytes>,
    waiting: Vec<Bytes>,
    parts: [Vec<Bytes>; sets::SETS_MAX],
}
