//! Messages on their way out: kept until acknowledged, sent again when lost.
//!
//! Owns: message ids, the window, what is lost and when, the allowances. What is sent again is the
//! message, in a new packet under a new sequence; packets are never repeated. Called by
//! [`Endpoint`](super::Endpoint).
//!
//! A message that does not fit one packet is kept as parts of 1,024 bytes, each of which is sent
//! and acknowledged on its own. Cost: a pass over the list per packet made and per packet
//! acknowledged, while there is a list.

use super::pool::{Full, Item, List, NONE, Pool, Use};
use super::{Lane, Link, SendError};
use crate::limits::{
    FAST_TRIES_MAX, FRAGMENT_LEN, LOST_AFTER_NEWER, RELIABLE_RTO_MAX_MS, RELIABLE_RTO_MIN_MS,
    RELIABLE_TRIES_MAX, RELIABLE_WINDOW, RELIABLE_WINDOW_BYTES,
};
use crate::time::{Nanos, TokenBucket};

/// Longest message, with its length field, that is not cut into parts.
pub(super) const WHOLE_MAX: usize = crate::limits::PLAINTEXT_MAX - crate::limits::ACK_BLOCK_LEN;
/// When to look again if an allowance is used up: about a tick.
const REFILL: Nanos = Nanos::from_ms(16);
const BURST: u32 = crate::limits::DATAGRAM_MAX as u32;

/// How fast the messages of a session may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Bytes a second of what is sent for the first time.
    pub fresh: u32,
    /// Bytes a second of what is sent again.
    pub again: u32,
}

/// A part of a message that is too long for one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The message.
    pub id: u16,
    /// Where in it the part begins.
    pub offset: u16,
    /// Bytes of the whole message.
    pub total: u32,
}

/// What the next packet will carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// The lane of everything in it.
    pub lane: Lane,
    /// Whether the body is compressed: then it is the only one.
    pub is_compressed: bool,
    /// The part that it carries; `None` for whole messages.
    pub part: Option<Part>,
    pub(super) at: u32,
}

/// What a packet got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filled {
    /// Bytes written.
    pub length: usize,
    /// Messages, or parts of one, that were sent for the first time.
    pub fresh: u16,
    /// Those that were sent again.
    pub again: u16,
}

/// Round trips in microseconds, by RFC 6298.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Trip {
    smoothed: u32,
    variation: u32,
}

impl Trip {
    pub(super) fn sample(&mut self, took: Nanos) {
        let us = took.as_us().min(60_000_000) as u32;
        if self.smoothed == 0 {
            *self = Self { smoothed: us.max(1), variation: us / 2 };
            return;
        }
        let off = self.smoothed.abs_diff(us);
        self.variation = self.variation - self.variation / 4 + off / 4;
        self.smoothed = (self.smoothed - self.smoothed / 8 + us / 8).max(1);
    }

    /// How long what was sent `tries` times is waited for.
    pub(super) fn timeout(self, tries: u8) -> Nanos {
        let least = RELIABLE_RTO_MIN_MS * 1_000;
        let mut us = least.max(u64::from(self.smoothed) + 4 * u64::from(self.variation));
        for _ in 1..tries.min(RELIABLE_TRIES_MAX) {
            us += us / 2;
        }
        Nanos::from_us(us.min(RELIABLE_RTO_MAX_MS * 1_000))
    }
}

/// What one side of a session has yet to deliver.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    pub(super) pieces: List,
    next_id: [u16; Lane::COUNT],
    /// Messages that are not acknowledged, and bytes of these, also of what was acknowledged of
    /// them in parts.
    pub(super) messages: u16,
    bytes: usize,
    pub(super) trip: Trip,
    fresh: TokenBucket,
    again: TokenBucket,
    /// Whether the allowance of either was too small for something, for this packet.
    is_dry: [bool; 2],
    /// Nothing has to be done before this time.
    pub(super) due: Nanos,
    /// Something was sent as often as it may be, in vain.
    pub(super) has_failed: bool,
}

impl Sender {
    pub(super) fn new(first_ids: [u16; Lane::COUNT], now: Nanos) -> Self {
        Self {
            pieces: List::EMPTY,
            next_id: first_ids,
            messages: 0,
            bytes: 0,
            trip: Trip::default(),
            fresh: TokenBucket::full(BURST, now),
            again: TokenBucket::full(BURST, now),
            is_dry: [false; 2],
            due: Nanos(u64::MAX),
            has_failed: false,
        }
    }

    /// The id that the next message of `lane` will have.
    pub(super) fn next_id(&self, lane: Lane) -> u16 {
        self.next_id[lane as usize]
    }

    /// Whether a message of `length` bytes would be taken over.
    pub(super) fn admits(
        &self,
        pool: &mut Pool,
        link: &Link,
        lane: Lane,
        length: usize,
    ) -> Result<(), SendError> {
        if length > link.message_max {
            return Err(SendError::TooLong);
        }
        let window = RELIABLE_WINDOW.min(link.messages_max);
        let room = RELIABLE_WINDOW_BYTES.min(link.bytes_max);
        let is_in_window = self.messages < window
            && self.bytes + length <= room
            && self.span(pool, lane) < RELIABLE_WINDOW;
        if !is_in_window {
            return Err(SendError::Window);
        }
        let has_room = pool.has_room(pieces(length), Use::Sent(self.pieces.blocks));
        if has_room { Ok(()) } else { Err(SendError::NoMemory) }
    }

    /// Takes a message over: `head` ‖ `body`, as it will travel.
    pub(super) fn push(
        &mut self,
        pool: &mut Pool,
        link: &Link,
        lane: Lane,
        is_compressed: bool,
        [head, body]: [&[u8]; 2],
    ) -> Result<u16, SendError> {
        let length = head.len() + body.len();
        self.admits(pool, link, lane, length)?;
        let id = self.next_id(lane);
        let item = Item { is_compressed, ..Item::new(lane, id) };
        self.keep(pool, item, head, body, length).expect("there is room for all of it");
        self.next_id[lane as usize] = id.wrapping_add(1);
        self.messages += 1;
        self.bytes += length;
        self.due = Nanos(0);
        Ok(id)
    }

    fn keep(
        &mut self,
        pool: &mut Pool,
        item: Item,
        head: &[u8],
        body: &[u8],
        length: usize,
    ) -> Result<(), Full> {
        if length <= WHOLE_MAX {
            let what = Use::Sent(self.pieces.blocks);
            return pool.push(&mut self.pieces, item, [head, body], what);
        }
        let first = FRAGMENT_LEN - head.len();
        let total = length as u32;
        for part in 0..length.div_ceil(FRAGMENT_LEN) {
            let offset = part * FRAGMENT_LEN;
            let item = Item { total, offset: offset as u16, ..item };
            let from = offset.saturating_sub(head.len());
            let to = (part * FRAGMENT_LEN + first).min(body.len());
            let front = if part == 0 { head } else { &[] };
            let what = Use::Sent(self.pieces.blocks);
            pool.push(&mut self.pieces, item, [front, &body[from..to]], what)?;
        }
        Ok(())
    }

    /// Messages of `lane` from the oldest that is not acknowledged to the next.
    fn span(&self, pool: &Pool, lane: Lane) -> u16 {
        let mut items = pool.places(&self.pieces).map(|at| pool.item(at));
        let oldest = items.find(|item| item.lane == lane).map(|item| item.id);
        oldest.map_or(0, |oldest| self.next_id(lane).wrapping_sub(oldest))
    }

    /// What the next packet is to carry at `now`; `None` if nothing may or need be sent before
    /// `due`.
    pub(super) fn prepare(
        &mut self,
        pool: &mut Pool,
        link: &Link,
        now: Nanos,
        pace: Pace,
    ) -> Option<Load> {
        self.due = Nanos(u64::MAX);
        self.is_dry = [false; 2];
        let mut found = None;
        let mut parted = Parted::default();
        let mut at = self.pieces.head;
        while at != NONE {
            let item = pool.item_mut(at);
            let timeout = item.at.plus(self.trip.timeout(item.tries));
            if item.is_flying && timeout <= now {
                item.is_flying = false;
                self.has_failed |= item.tries >= RELIABLE_TRIES_MAX;
            }
            let item = *item;
            let is_open = parted.admits(&item, link.sets);
            if item.is_flying {
                self.due = self.due.min(timeout);
            } else if is_open && found.is_none() && self.allow(&item, now, pace) {
                found = Some((at, item));
            }
            at = pool.next(at);
        }
        let Some((at, item)) = found.filter(|_| !self.has_failed) else {
            if self.is_dry.contains(&true) {
                self.due = self.due.min(now.plus(REFILL));
            }
            return None;
        };
        self.due = Nanos(0);
        let Item { lane, is_compressed, id, offset, total, .. } = item;
        let part = (total > 0).then_some(Part { id, offset, total });
        Some(Load { lane, is_compressed, part, at })
    }

    /// Whether the allowance is enough for one more item, which is then taken from it. If it is
    /// not, nothing behind the item gets any of it, however short: else the item would wait as
    /// long as there is something short.
    fn allow(&mut self, item: &Item, now: Nanos, pace: Pace) -> bool {
        let is_again = item.tries > 0;
        let is_dry = &mut self.is_dry[usize::from(is_again)];
        let (bucket, rate) =
            if is_again { (&mut self.again, pace.again) } else { (&mut self.fresh, pace.fresh) };
        *is_dry = *is_dry || !bucket.take(item.length.into(), rate, BURST, now);
        !*is_dry
    }

    /// Writes what `prepare` found into `out`, and whatever else may go with it: the packet with
    /// `sequence` carries it from now on.
    pub(super) fn fill(
        &mut self,
        pool: &mut Pool,
        load: Load,
        sequence: u64,
        now: Nanos,
        pace: Pace,
        out: &mut [u8],
    ) -> Filled {
        let mut filled = Filled::default();
        let is_alone = load.is_compressed || load.part.is_some();
        let mut at = if is_alone { load.at } else { self.pieces.head };
        while at != NONE {
            let item = *pool.item(at);
            let fits = item.lane == load.lane
                && filled.length + usize::from(item.length) <= out.len()
                && !item.is_flying;
            let is_plain = item.total == 0 && !item.is_compressed;
            let goes = at == load.at || (is_plain && fits && self.allow(&item, now, pace));
            if goes && fits {
                pool.copy(at, &mut out[filled.length..]);
                filled.length += usize::from(item.length);
                let again = u16::from(item.tries > 0);
                (filled.again, filled.fresh) = (filled.again + again, filled.fresh + 1 - again);
                let tries = item.tries.saturating_add(1);
                let mut sent = Item { tries, newer: 0, is_flying: true, at: now, ..item };
                sent.carriers.add(sequence);
                *pool.item_mut(at) = sent;
            }
            at = if is_alone { NONE } else { pool.next(at) };
        }
        debug_assert!(filled.length > 0, "every message and every part fits a packet");
        filled
    }

    /// The packet with `sequence` was processed; to be called once for each, oldest first.
    pub(super) fn acknowledged(&mut self, pool: &mut Pool, sequence: u64, now: Nanos) {
        let (mut before, mut at) = (NONE, self.pieces.head);
        let mut is_sampled = false;
        while at != NONE {
            let next = pool.next(at);
            let item = pool.item_mut(at);
            // Also if it was thought lost; on a path that is slower than the longest patience all
            // acknowledgments come after it was sent once more.
            if item.carriers.contains(sequence) {
                let is_newest = item.carriers.age_at(sequence) == 0;
                if is_newest && !std::mem::replace(&mut is_sampled, true) {
                    self.trip.sample(now.since(item.at));
                }
                let Item { lane, id, length, total, .. } = *item;
                pool.remove(&mut self.pieces, before, at);
                let mut others = pool.places(&self.pieces).map(|at| pool.item(at));
                let is_done = !others.any(|other| (other.lane, other.id) == (lane, id));
                if is_done {
                    self.messages -= 1;
                    self.bytes -= if total > 0 { total as usize } else { length.into() };
                }
                // There may be room for more.
                self.due = Nanos(0);
            } else {
                if item.is_flying && item.carriers.age_at(sequence) > 0 {
                    item.newer = item.newer.saturating_add(1);
                    if item.newer >= LOST_AFTER_NEWER && item.tries <= FAST_TRIES_MAX {
                        item.is_flying = false;
                        self.due = Nanos(0);
                    }
                }
                before = at;
            }
            at = next;
        }
    }
}

/// Lengths of the items that a message of `length` bytes is kept as.
fn pieces(length: usize) -> impl Iterator<Item = usize> {
    let step = if length <= WHOLE_MAX { length.max(1) } else { FRAGMENT_LEN };
    let parts = length.div_ceil(step).max(1);
    (0..parts).map(move |part| (length - part * step).min(step))
}

/// Counts, in the order of the list, messages in parts: only the first few may be on their way, as
/// the other side puts no more together at a time.
#[derive(Default)]
struct Parted {
    last: Option<(Lane, u16)>,
    count: usize,
}

impl Parted {
    fn admits(&mut self, item: &Item, sets: usize) -> bool {
        if item.total == 0 {
            return true;
        }
        if self.last.replace((item.lane, item.id)) != Some((item.lane, item.id)) {
            self.count += 1;
        }
        self.count <= sets
    }
}
