//! Messages on their way in: delivered once, and those of the ordered lane in order.
//!
//! Owns: which ids were delivered, and what waits for its turn. Never grows: what finds no room is
//! refused, its packet is not acknowledged, and so its sender sends it again. Called by
//! [`Endpoint`](super::Endpoint).

use super::pool::{Item, List, NONE, Pool, Use};
use super::sets::{Fragment, Sets, Step};
use super::{Fault, Lane, Taken};
use crate::limits::{RELIABLE_WINDOW, REORDER_BYTES, REORDER_MAX};
use crate::time::Nanos;

/// A message that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered<'a> {
    /// How it came.
    pub lane: Lane,
    /// Its type.
    pub kind: u8,
    /// Whether `body` has to be decompressed.
    pub is_compressed: bool,
    /// What it says.
    pub body: &'a [u8],
}

/// What is known of a message by its id.
enum Place {
    /// Delivered, or waiting already.
    Known,
    /// To be delivered.
    Next,
    /// To wait.
    Ahead,
    /// Too far ahead to wait for its turn.
    Beyond,
}

/// How to find type, id and body in the bytes of a whole message; `None` if they are none that its
/// lane carries.
pub type Parse = fn(Lane, &[u8]) -> Option<(u8, u16, &[u8])>;

/// What one side of a session has received.
#[derive(Clone, Debug)]
pub(super) struct Receiver {
    /// The id that is next on the ordered lane.
    next: u16,
    /// Messages of that lane that came before their turn.
    pub(super) waiting: List,
    /// The lowest id of the other lane that has not come.
    base: u16,
    /// Bit i: `base` + i has come.
    come: [u64; 4],
    pub(super) sets: Sets,
}

const _: () = assert!(RELIABLE_WINDOW == 256, "a bit each");

impl Receiver {
    /// Expects these ids first.
    pub(super) fn new(first_ids: [u16; Lane::COUNT], sets: Sets) -> Self {
        let [next, base] = first_ids;
        Self { next, waiting: List::EMPTY, base, come: [0; 4], sets }
    }

    fn place(&self, pool: &Pool, lane: Lane, id: u16) -> Result<Place, Fault> {
        let first = if lane == Lane::Ordered { self.next } else { self.base };
        let ahead = id.wrapping_sub(first);
        if ahead >= 1 << 15 {
            return Ok(Place::Known);
        }
        if ahead >= RELIABLE_WINDOW {
            return Err(Fault::Window);
        }
        if lane == Lane::Unordered {
            let has_come = self.come[usize::from(ahead / 64)] >> (ahead % 64) & 1 == 1;
            return Ok(if has_come { Place::Known } else { Place::Next });
        }
        Ok(match ahead {
            0 => Place::Next,
            _ if self.find(pool, id).is_some() => Place::Known,
            _ if ahead < REORDER_MAX => Place::Ahead,
            _ => Place::Beyond,
        })
    }

    /// Where a waiting message is: what is in front of it, and itself.
    fn find(&self, pool: &Pool, id: u16) -> Option<(u32, u32)> {
        let mut before = NONE;
        pool.places(&self.waiting).find_map(|at| {
            let found = (before, at);
            before = at;
            (pool.item(at).id == id).then_some(found)
        })
    }

    /// Takes a whole message in, and delivers what may be delivered now.
    pub(super) fn accept(
        &mut self,
        pool: &mut Pool,
        id: u16,
        message: Delivered<'_>,
        deliver: &mut impl FnMut(Delivered<'_>),
    ) -> Result<Taken, Fault> {
        let held = self.blocks();
        self.settle(pool, id, message, Use::Received(held), deliver)
    }

    /// Blocks that it takes, those reserved among them.
    pub(super) fn blocks(&self) -> u32 {
        self.waiting.blocks + self.sets.blocks()
    }

    /// As `accept`; what has to wait takes its room like `what`.
    fn settle(
        &mut self,
        pool: &mut Pool,
        id: u16,
        message: Delivered<'_>,
        what: Use,
        deliver: &mut impl FnMut(Delivered<'_>),
    ) -> Result<Taken, Fault> {
        match self.place(pool, message.lane, id)? {
            Place::Known => return Ok(Taken::Processed),
            Place::Beyond => return Ok(Taken::Refused),
            Place::Ahead => return Ok(self.hold(pool, id, message, what)),
            Place::Next => deliver(message),
        }
        if message.lane == Lane::Unordered {
            self.mark(id);
        } else {
            self.next = self.next.wrapping_add(1);
            self.go_on(pool, deliver);
        }
        Ok(Taken::Processed)
    }

    fn hold(&mut self, pool: &mut Pool, id: u16, message: Delivered<'_>, what: Use) -> Taken {
        let Delivered { lane, kind, is_compressed, body } = message;
        if !self.may_wait(body) {
            return Taken::Refused;
        }
        let item = Item { kind, is_compressed, ..Item::new(lane, id) };
        match pool.push(&mut self.waiting, item, [body, &[]], what) {
            Ok(()) => Taken::Processed,
            Err(_) => Taken::Refused,
        }
    }

    fn may_wait(&self, body: &[u8]) -> bool {
        self.waiting.bytes as usize + body.len() <= REORDER_BYTES
    }

    /// Delivers what has waited for its turn.
    fn go_on(&mut self, pool: &mut Pool, deliver: &mut impl FnMut(Delivered<'_>)) {
        while let Some((before, at)) = self.find(pool, self.next) {
            let Item { lane, kind, is_compressed, length, .. } = *pool.item(at);
            let mut body = std::mem::take(&mut pool.waited);
            body.clear();
            body.resize(length.into(), 0);
            pool.copy(at, &mut body);
            pool.remove(&mut self.waiting, before, at);
            deliver(Delivered { lane, kind, is_compressed, body: &body });
            pool.waited = body;
            self.next = self.next.wrapping_add(1);
        }
    }

    /// A message of the unordered lane has come.
    fn mark(&mut self, id: u16) {
        let ahead = id.wrapping_sub(self.base);
        self.come[usize::from(ahead / 64)] |= 1 << (ahead % 64);
        while self.come[0] & 1 == 1 {
            let [a, b, c, d] = self.come;
            self.come = [a >> 1 | b << 63, b >> 1 | c << 63, c >> 1 | d << 63, d >> 1];
            self.base = self.base.wrapping_add(1);
        }
    }

    /// Takes a part of a message in, and delivers what may be delivered now.
    pub(super) fn accept_part(
        &mut self,
        pool: &mut Pool,
        fragment: Fragment<'_>,
        now: Nanos,
        parse: Parse,
        deliver: &mut impl FnMut(Delivered<'_>),
    ) -> Result<Taken, Fault> {
        self.sets.check(&fragment)?;
        let Fragment { lane, part, is_compressed, .. } = fragment;
        let waits = match self.place(pool, lane, part.id)? {
            Place::Known => return Ok(Taken::Processed),
            Place::Beyond => return Ok(Taken::Refused),
            Place::Ahead => true,
            Place::Next => false,
        };
        match self.sets.take(pool, fragment, self.waiting.blocks, now)? {
            Step::Kept(taken) => return Ok(taken),
            Step::Complete => {}
        }
        // The last part is kept by nobody yet: if the message must wait and there is no room, its
        // sender sends that part again.
        let whole = std::mem::take(&mut pool.assembly);
        let message = parse(lane, &whole).filter(|(_, id, _)| *id == part.id);
        let is_refused = waits && message.is_some_and(|(.., body)| !self.may_wait(body));
        if !is_refused {
            self.sets.finish(pool, lane, part.id);
        }
        let taken = match message {
            None => Err(Fault::Part),
            Some(_) if is_refused => Ok(Taken::Refused),
            // If it has to wait, then in the room that its parts had.
            Some((kind, id, body)) => {
                let message = Delivered { lane, kind, is_compressed, body };
                self.settle(pool, id, message, Use::Brought, deliver)
            }
        };
        pool.assembly = whole;
        taken
    }

    /// Gives all memory back.
    pub(super) fn clear(&mut self, pool: &mut Pool) {
        pool.clear(&mut self.waiting);
        self.sets.clear(pool);
    }
}
