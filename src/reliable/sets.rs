//! Parts of messages until they are whole.
//!
//! Owns: which messages are being put together, which of their parts are there, and since when
//! nothing has come. Holds no more than was received; a peer that begins many messages gets few
//! sets, and one that finishes none loses its session. Called by `receiver`.

use super::pool::{Full, Item, List, Pool, Use};
use super::sender::Part;
use super::{Fault, Lane, Taken};
use crate::limits::{FRAGMENT_LEN, FRAGMENT_TIMEOUT_MS};
use crate::time::Nanos;

/// Most sets that any receiver has.
pub(super) const SETS_MAX: usize = 4;

const TIMEOUT: Nanos = Nanos::from_ms(FRAGMENT_TIMEOUT_MS);

/// A part of a message as it was received.
#[derive(Clone, Copy, Debug)]
pub struct Fragment<'a> {
    /// How it came.
    pub lane: Lane,
    /// Which part of which message.
    pub part: Part,
    /// Whether the body of the message will have to be decompressed.
    pub is_compressed: bool,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// One message that is being put together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Set {
    lane: Lane,
    id: u16,
    is_compressed: bool,
    /// Bytes of the whole message; 0 if there is none.
    total: u32,
    /// Blocks that are reserved for it.
    reserved: u32,
    /// Bit i: the part at i × 1,024 is there.
    there: u64,
    pub(super) parts: List,
}

impl Set {
    const NONE: Self = Self {
        lane: Lane::Ordered,
        id: 0,
        is_compressed: false,
        total: 0,
        reserved: 0,
        there: 0,
        parts: List::EMPTY,
    };

    fn is_for(&self, lane: Lane, id: u16) -> bool {
        self.total > 0 && (self.lane, self.id) == (lane, id)
    }
}

/// What became of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Kept(Taken),
    /// With this part the message is whole; it stands in the pool's `assembly`.
    Complete,
}

/// All messages of one receiver that are being put together.
#[derive(Clone, Debug)]
pub(super) struct Sets {
    pub(super) sets: [Set; SETS_MAX],
    /// How many of them are in use at a time.
    count: usize,
    /// Bytes of the longest message.
    message_max: u32,
    /// When a part came that was not there, of whichever message: what was lost of many is sent
    /// again slowly, and of one after the other.
    touched: Nanos,
}

impl Sets {
    pub(super) fn new(count: usize, message_max: usize) -> Self {
        debug_assert!(count <= SETS_MAX && message_max <= 64 * FRAGMENT_LEN, "a bit per part");
        Self {
            sets: [Set::NONE; SETS_MAX],
            count,
            message_max: message_max as u32,
            touched: Nanos(0),
        }
    }

    /// Whether a part has a legal place and size. One with another size of the whole than those
    /// before it ends the set.
    pub(super) fn check(&self, fragment: &Fragment<'_>) -> Result<(), Fault> {
        let Part { offset, total, .. } = fragment.part;
        let offset_len = usize::from(offset);
        let rest = (total as usize).saturating_sub(offset_len);
        let is_legal = (1..=self.message_max).contains(&total)
            && offset_len.is_multiple_of(FRAGMENT_LEN)
            && rest > 0
            && fragment.bytes.len() == rest.min(FRAGMENT_LEN);
        if is_legal { Ok(()) } else { Err(Fault::Part) }
    }

    /// Blocks that all of them have reserved.
    pub(super) fn blocks(&self) -> u32 {
        self.sets.iter().map(|set| set.reserved).sum()
    }

    /// Keeps a part that `check` found legal. The first of a message reserves room for all, if
    /// there is any besides the `waiting` blocks that the receiver has for something else.
    pub(super) fn take(
        &mut self,
        pool: &mut Pool,
        fragment: Fragment<'_>,
        waiting: u32,
        now: Nanos,
    ) -> Result<Step, Fault> {
        let Fragment { lane, part: Part { id, offset, total }, is_compressed, bytes } = fragment;
        let held = waiting + self.blocks();
        let sets = &mut self.sets[..self.count];
        let known = sets.iter().position(|set| set.is_for(lane, id));
        let free = || sets.iter().position(|set| set.total == 0);
        let Some(place) = known.or_else(free) else { return Ok(Step::Kept(Taken::Refused)) };
        let set = &mut sets[place];
        if known.is_none() {
            let reserved = pool.reserve(total as usize, Use::Received(held));
            let Ok(reserved) = reserved else { return Ok(Step::Kept(Taken::Refused)) };
            *set = Set { lane, id, is_compressed, total, reserved, ..Set::NONE };
            self.touched = now;
        } else if (set.total, set.is_compressed) != (total, is_compressed) {
            self.finish(pool, lane, id);
            return Err(Fault::Part);
        }
        let bit = 1 << (usize::from(offset) / FRAGMENT_LEN);
        if set.there & bit != 0 {
            return Ok(Step::Kept(Taken::Processed));
        }
        let parts = (total as usize).div_ceil(FRAGMENT_LEN) as u32;
        if set.there.count_ones() + 1 == parts {
            set.assemble(pool, offset, bytes);
            return Ok(Step::Complete);
        }
        let item = Item { offset, ..Item::new(lane, id) };
        let pushed = pool.push(&mut set.parts, item, [bytes, &[]], Use::Prepaid);
        debug_assert!(pushed.is_ok(), "there is room for all parts");
        set.there |= bit;
        self.touched = now;
        Ok(Step::Kept(Taken::Processed))
    }

    /// Ends a set, whether it is whole or not.
    pub(super) fn finish(&mut self, pool: &mut Pool, lane: Lane, id: u16) {
        for set in self.sets.iter_mut().filter(|set| set.is_for(lane, id)) {
            set.clear(pool);
        }
    }

    /// When the sets will have waited for too long; never if there is none.
    pub(super) fn deadline(&self) -> Nanos {
        let is_open = self.sets.iter().any(|set| set.total > 0);
        if is_open { self.touched.plus(TIMEOUT) } else { Nanos(u64::MAX) }
    }

    pub(super) fn clear(&mut self, pool: &mut Pool) {
        self.sets.iter_mut().for_each(|set| set.clear(pool));
    }
}

impl Set {
    fn clear(&mut self, pool: &mut Pool) {
        pool.clear(&mut self.parts);
        pool.release(self.reserved);
        *self = Self::NONE;
    }

    /// Takes the parts out of a pool, and what is reserved for them.
    pub(super) fn unload(&mut self, pool: &mut Pool) -> Vec<(Item, Box<[u8]>)> {
        pool.release(std::mem::take(&mut self.reserved));
        pool.unload(&mut self.parts)
    }

    /// Puts them into another pool.
    pub(super) fn load(
        &mut self,
        pool: &mut Pool,
        parts: &[(Item, Box<[u8]>)],
    ) -> Result<(), Full> {
        if self.total > 0 {
            self.reserved = pool.reserve(self.total as usize, Use::Brought)?;
        }
        pool.load(&mut self.parts, parts, Use::Prepaid)
    }

    /// Puts all parts and the last one, which is `bytes`, together.
    fn assemble(&self, pool: &mut Pool, offset: u16, bytes: &[u8]) {
        let mut whole = std::mem::take(&mut pool.assembly);
        whole.clear();
        whole.resize(self.total as usize, 0);
        whole[offset.into()..][..bytes.len()].copy_from_slice(bytes);
        for at in pool.places(&self.parts) {
            let Item { offset, length, .. } = *pool.item(at);
            pool.copy(at, &mut whole[offset.into()..][..length.into()]);
        }
        pool.assembly = whole;
    }
}
