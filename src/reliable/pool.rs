//! Where the bytes of reliable messages wait: one pool for all sessions of a shard, or of a client.
//!
//! Owns: blocks of 240 bytes in chains, items that say what a chain holds, and the lists of items
//! that senders and receivers keep. Never grows beyond its room; what does not fit is refused, and
//! the caller's peer sends it again. Called by `sender`, `receiver` and `sets`.
//!
//! What was received has one half of the room and what is to be sent the other, so that neither
//! keeps out the other. While the half of a half is free, every session has what it wants; while a
//! quarter is, enough for a message of the longest that clients send; then its share, for some
//! short ones. A message that is put together has its room from the first part on: what was begun
//! can be completed.
//!
//! Shares alone would let some thirty sessions that hoard keep long messages of all others out. So
//! the pool notes when somebody who wants little finds no room, and `connection` then ends the
//! session that has held most of it of late (see `held`).

use super::Lane;
use super::carriers::Carriers;
pub(super) use super::slab::NONE;
use super::slab::Slab;
use crate::limits::{FRAGMENT_LEN, RELIABLE_BLOCKS_CROWDED, RELIABLE_BLOCKS_SHARE};
use crate::time::Nanos;

/// Bytes in a block.
const BLOCK_LEN: usize = 240;

/// What a chain of blocks holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    pub(super) chain: u32,
    pub(super) length: u16,
    /// Which half of the room it counts for, if not for what was reserved.
    pub(super) half: Option<usize>,
    pub(super) lane: Lane,
    /// The message it is, or is a part of.
    pub(super) id: u16,
    /// Type of a whole message that was received.
    pub(super) kind: u8,
    pub(super) is_compressed: bool,
    /// Bytes of the whole message if this is a part of it, else 0.
    pub(super) total: u32,
    /// Where in the message the part begins.
    pub(super) offset: u16,
    /// Times it was sent.
    pub(super) tries: u8,
    /// Packets acknowledged that were sent after the one that carries it.
    pub(super) newer: u8,
    /// It is on its way, as far as one knows.
    pub(super) is_flying: bool,
    /// The packets that carried it last.
    pub(super) carriers: Carriers,
    /// When it was sent last.
    pub(super) at: Nanos,
}

impl Item {
    pub(super) fn new(lane: Lane, id: u16) -> Self {
        Self {
            chain: NONE,
            length: 0,
            half: None,
            lane,
            id,
            kind: 0,
            is_compressed: false,
            total: 0,
            offset: 0,
            tries: 0,
            newer: 0,
            is_flying: false,
            carriers: Carriers::default(),
            at: Nanos(0),
        }
    }
}

/// Items one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    pub(super) head: u32,
    tail: u32,
    pub(super) count: u16,
    /// Bytes of all items.
    pub(super) bytes: u32,
    /// Blocks of all items, of an empty one, too.
    pub(super) blocks: u32,
}

impl List {
    pub(super) const EMPTY: Self = Self { head: NONE, tail: NONE, count: 0, bytes: 0, blocks: 0 };
}

/// For what memory is taken, and how many blocks the session has for that already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Sent(u32),
    Received(u32),
    /// Received, from another pool that allowed it.
    Brought,
    /// A part of what `reserve` was called for.
    Prepaid,
}

/// Blocks that an item of `length` bytes counts for.
fn cost(length: usize) -> usize {
    length.div_ceil(BLOCK_LEN).max(1)
}

impl Use {
    /// Which half of the room it counts for.
    fn half(self) -> Option<usize> {
        match self {
            Self::Sent(_) => Some(0),
            Self::Received(_) | Self::Brought => Some(1),
            Self::Prepaid => None,
        }
    }
}

/// There is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// Memory for the messages of many sessions.
#[derive(Debug)]
pub struct Pool {
    blocks: Slab<[u8; BLOCK_LEN]>,
    items: Slab<Item>,
    /// Blocks that count for what is to be sent, and for what was received.
    taken: [usize; 2],
    /// Of either, what a session may have whatever others have.
    share: usize,
    /// Of either, whether somebody who has little and wants little found no room.
    starved: [bool; 2],
    /// A message that is put together from its parts.
    pub(super) assembly: Vec<u8>,
    /// A message that waited for its turn.
    pub(super) waited: Vec<u8>,
}

impl Pool {
    /// Memory for `blocks` blocks of 240 bytes, all of it allocated now, and for messages of up to
    /// `message_max` bytes to be put together in.
    pub fn fixed(blocks: usize, message_max: usize) -> Self {
        Self {
            blocks: Slab::new(Vec::with_capacity(blocks), blocks),
            items: Slab::new(Vec::with_capacity(blocks), blocks),
            taken: [0; 2],
            share: RELIABLE_BLOCKS_SHARE,
            starved: [false; 2],
            assembly: Vec::with_capacity(message_max),
            waited: Vec::with_capacity(message_max),
        }
    }

    /// As `fixed`, but for one session, and allocated when it is needed, for whoever holds
    /// thousands of pools of which few are used.
    pub fn growing(blocks: usize) -> Self {
        Self {
            blocks: Slab::new(Vec::new(), blocks),
            items: Slab::new(Vec::new(), blocks),
            taken: [0; 2],
            share: blocks / 2,
            starved: [false; 2],
            assembly: Vec::new(),
            waited: Vec::new(),
        }
    }

    /// Blocks in use.
    pub fn used(&self) -> usize {
        self.blocks.used
    }

    /// Whether, in the half for what is to be sent or in that for what was received, somebody found
    /// no room who would not have more then than a message of the longest that clients send. Until
    /// `take_starved`.
    pub fn is_starved(&self) -> bool {
        self.starved != [false; 2]
    }

    /// In which half that was, and begins to look anew.
    pub fn take_starved(&mut self) -> [bool; 2] {
        std::mem::take(&mut self.starved)
    }

    /// Bytes allocated.
    pub fn memory_bytes(&self) -> usize {
        self.blocks.rows.capacity() * size_of::<(u32, [u8; BLOCK_LEN])>()
            + self.items.rows.capacity() * size_of::<(u32, Item)>()
            + self.assembly.capacity()
            + self.waited.capacity()
    }

    pub(super) fn item(&self, at: u32) -> &Item {
        &self.items.rows[at as usize].1
    }

    pub(super) fn item_mut(&mut self, at: u32) -> &mut Item {
        &mut self.items.rows[at as usize].1
    }

    pub(super) fn next(&self, at: u32) -> u32 {
        self.items.rows[at as usize].0
    }

    /// The places of a list's items in order.
    pub(super) fn places(&self, list: &List) -> impl Iterator<Item = u32> + '_ {
        let head = (list.head != NONE).then_some(list.head);
        std::iter::successors(head, |&at| Some(self.next(at)).filter(|&next| next != NONE))
    }

    /// Whether items of so many bytes find room, all of them.
    pub(super) fn has_room(&mut self, lengths: impl Iterator<Item = usize>, what: Use) -> bool {
        self.allows(lengths.map(cost).sum(), what)
    }

    fn allows(&mut self, blocks: usize, what: Use) -> bool {
        let Some(half) = what.half() else { return true };
        let is_allowed = self.has_left(blocks, half, what);
        if let Use::Sent(held) | Use::Received(held) = what {
            let is_modest = held as usize + blocks <= RELIABLE_BLOCKS_CROWDED;
            self.starved[half] |= is_modest && !is_allowed;
        }
        is_allowed
    }

    fn has_left(&self, blocks: usize, half: usize, what: Use) -> bool {
        let room = self.blocks.room / 2;
        let Some(left) = room.checked_sub(self.taken[half] + blocks) else { return false };
        let most = match left {
            _ if left >= room / 2 => usize::MAX,
            _ if left >= room / 4 => self.share.max(RELIABLE_BLOCKS_CROWDED),
            _ => self.share,
        };
        match what {
            Use::Sent(held) | Use::Received(held) => held as usize + blocks <= most,
            Use::Brought | Use::Prepaid => true,
        }
    }

    /// Takes room for the parts of a message of `length` bytes, to be given back with `release`.
    /// Returns how many blocks that is.
    pub(super) fn reserve(&mut self, length: usize, what: Use) -> Result<u32, Full> {
        let blocks = length.div_ceil(FRAGMENT_LEN) * cost(FRAGMENT_LEN);
        if !self.allows(blocks, what) {
            return Err(Full);
        }
        self.taken[1] += blocks;
        Ok(blocks as u32)
    }

    /// Gives back what was reserved, after its parts.
    pub(super) fn release(&mut self, blocks: u32) {
        self.taken[1] -= blocks as usize;
    }

    /// Appends an item with the bytes of both `parts`. Nothing has changed if there is no room.
    pub(super) fn push(
        &mut self,
        list: &mut List,
        item: Item,
        parts: [&[u8]; 2],
        what: Use,
    ) -> Result<(), Full> {
        let length = parts[0].len() + parts[1].len();
        if !self.has_room(std::iter::once(length), what) {
            return Err(Full);
        }
        let chain = self.chain(parts, length);
        let item = Item { chain, length: length as u16, half: what.half(), ..item };
        let at = self.items.take(item).expect("no more items than blocks are counted");
        if let Some(half) = what.half() {
            self.taken[half] += cost(length);
        }
        list.blocks += cost(length) as u32;
        if list.tail == NONE {
            list.head = at;
        } else {
            self.items.rows[list.tail as usize].0 = at;
        }
        (list.tail, list.count) = (at, list.count + 1);
        list.bytes += length as u32;
        Ok(())
    }

    fn chain(&mut self, parts: [&[u8]; 2], length: usize) -> u32 {
        let mut bytes = parts[0].iter().chain(parts[1]);
        let (mut head, mut last) = (NONE, NONE);
        for _ in 0..length.div_ceil(BLOCK_LEN) {
            let mut block = [0; BLOCK_LEN];
            block.iter_mut().zip(&mut bytes).for_each(|(place, byte)| *place = *byte);
            let at = self.blocks.take(block).expect("there is room");
            if last == NONE {
                head = at;
            } else {
                self.blocks.rows[last as usize].0 = at;
            }
            last = at;
        }
        head
    }

    /// Copies the bytes of the item at `at` to the front of `out`, as far as that reaches.
    pub(super) fn copy(&self, at: u32, out: &mut [u8]) {
        let Item { mut chain, length, .. } = *self.item(at);
        let length = out.len().min(length.into());
        for chunk in out[..length].chunks_mut(BLOCK_LEN) {
            let (next, block) = &self.blocks.rows[chain as usize];
            chunk.copy_from_slice(&block[..chunk.len()]);
            chain = *next;
        }
    }

    /// Takes the item at `at` out of `list`, `before` being the one in front of it or `NONE`, and
    /// gives its memory back.
    pub(super) fn remove(&mut self, list: &mut List, before: u32, at: u32) {
        let (next, Item { mut chain, length, half, .. }) = self.items.rows[at as usize];
        if let Some(half) = half {
            self.taken[half] -= cost(length.into());
        }
        list.blocks -= cost(length.into()) as u32;
        if before == NONE {
            list.head = next;
        } else {
            self.items.rows[before as usize].0 = next;
        }
        if list.tail == at {
            list.tail = before;
        }
        list.count -= 1;
        list.bytes -= u32::from(length);
        while chain != NONE {
            let next = self.blocks.rows[chain as usize].0;
            self.blocks.give_back(chain);
            chain = next;
        }
        self.items.give_back(at);
    }

    /// Removes all items.
    pub(super) fn clear(&mut self, list: &mut List) {
        while list.head != NONE {
            self.remove(list, NONE, list.head);
        }
    }

    /// Copies all items out and removes them.
    pub(super) fn unload(&mut self, list: &mut List) -> Vec<(Item, Box<[u8]>)> {
        let mut all = Vec::with_capacity(list.count.into());
        while list.head != NONE {
            let item = *self.item(list.head);
            let mut bytes = vec![0; item.length.into()].into_boxed_slice();
            self.copy(list.head, &mut bytes);
            all.push((item, bytes));
            self.remove(list, NONE, list.head);
        }
        all
    }

    /// Puts in what was taken out of another pool.
    pub(super) fn load(
        &mut self,
        list: &mut List,
        items: &[(Item, Box<[u8]>)],
        what: Use,
    ) -> Result<(), Full> {
        items.iter().try_for_each(|(item, bytes)| self.push(list, *item, [bytes, &[]], what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_equal_vectors_and_what_is_given_back_is_used_again() {
        for seed in 0..20_u64 {
            let mut state = seed;
            let mut draw = |bound: usize| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 33) as usize % bound
            };
            let mut pool = Pool::growing(2 * 64);
            let mut lists = [List::EMPTY; 3];
            let mut model: [Vec<Vec<u8>>; 3] = Default::default();
            for step in 0..3_000 {
                let which = draw(3);
                if draw(2) == 0 {
                    let bytes: Vec<u8> = (0..draw(700)).map(|i| (i + step) as u8).collect();
                    let (a, b) = bytes.split_at(draw(bytes.len() + 1));
                    let item = Item::new(Lane::Ordered, step as u16);
                    let pushed = pool.push(&mut lists[which], item, [a, b], Use::Sent(0));
                    if pushed.is_ok() {
                        model[which].push(bytes);
                    } else {
                        assert!(pool.used() > 64 - 5, "seed {seed}, step {step}");
                    }
                } else if !model[which].is_empty() {
                    let place = draw(model[which].len());
                    let all: Vec<u32> = pool.places(&lists[which]).collect();
                    let before = place.checked_sub(1).map_or(NONE, |place| all[place]);
                    pool.remove(&mut lists[which], before, all[place]);
                    model[which].remove(place);
                }
                for (list, model) in lists.iter().zip(&model) {
                    let read = pool.places(list).map(|at| {
                        let mut bytes = vec![0; pool.item(at).length.into()];
                        pool.copy(at, &mut bytes);
                        bytes
                    });
                    assert_eq!(read.collect::<Vec<_>>(), *model, "seed {seed}, step {step}");
                    let bytes: usize = model.iter().map(Vec::len).sum();
                    assert_eq!((list.bytes as usize, list.count as usize), (bytes, model.len()));
                }
            }
            lists.iter_mut().for_each(|list| pool.clear(list));
            assert_eq!((pool.used(), pool.items.used), (0, 0), "seed {seed}");
            assert_eq!((pool.taken, lists.map(|list| list.blocks)), ([0; 2], [0; 3]));
        }
    }

    #[test]
    fn what_was_received_and_what_is_to_be_sent_have_half_of_the_room_each() {
        let mut pool = Pool::growing(64);
        let (mut received, mut sent) = (List::EMPTY, List::EMPTY);
        let item = Item::new(Lane::Ordered, 0);
        while pool.push(&mut received, item, [&[1; 200], &[]], Use::Received(0)).is_ok() {}
        assert_eq!(pool.used(), 32);
        while pool.push(&mut sent, item, [&[1; 200], &[]], Use::Sent(0)).is_ok() {}
        assert_eq!(pool.used(), 64);
        pool.clear(&mut sent);
        let refused = pool.push(&mut received, item, [&[], &[]], Use::Received(0));
        assert_eq!((refused, pool.used()), (Err(Full), 32), "an empty item counts, too");
    }

    #[test]
    fn the_less_is_left_the_less_a_session_gets_and_its_share_always() {
        let mut pool = Pool::fixed(2 * 1_024, 0);
        let mut lists = [List::EMPTY; 24];
        let item = Item::new(Lane::Ordered, 0);
        let fill = |pool: &mut Pool, list: &mut List, most: u32| {
            while list.blocks < most
                && pool.push(list, item, [&[1; 240], &[]], Use::Received(list.blocks)).is_ok()
            {
            }
            list.blocks as usize
        };
        assert_eq!(fill(&mut pool, &mut lists[0], 400), 400);
        assert_eq!(fill(&mut pool, &mut lists[1], 400), 112, "up to the half");
        for list in &mut lists[2..4] {
            assert_eq!(fill(&mut pool, list, 400), RELIABLE_BLOCKS_CROWDED);
        }
        for list in &mut lists[4..8] {
            fill(&mut pool, list, 400);
        }
        for list in &mut lists[8..] {
            assert_eq!(fill(&mut pool, list, 400), RELIABLE_BLOCKS_SHARE);
        }
        lists.iter_mut().for_each(|list| pool.clear(list));
        assert_eq!((pool.used(), pool.taken), (0, [0; 2]));
    }

    #[test]
    fn what_was_reserved_finds_room_whatever_others_take() {
        let mut pool = Pool::fixed(64, 0);
        let (mut parts, mut others) = (List::EMPTY, List::EMPTY);
        let reserved = pool.reserve(2_000, Use::Received(0)).expect("an empty pool");
        assert_eq!((reserved, pool.reserve(8_000, Use::Received(0))), (10, Err(Full)));
        let item = Item::new(Lane::Ordered, 0);
        while pool.push(&mut others, item, [&[1; 240], &[]], Use::Brought).is_ok() {}
        assert_eq!(others.blocks, 22);
        for length in [1_024, 976] {
            assert_eq!(
                pool.push(&mut parts, item, [&[1; 1_024][..length], &[]], Use::Prepaid),
                Ok(())
            );
        }
        pool.clear(&mut parts);
        assert!(pool.push(&mut others, item, [&[1], &[]], Use::Brought).is_err());
        pool.release(reserved);
        assert!(pool.push(&mut others, item, [&[1], &[]], Use::Brought).is_ok());
    }
}
