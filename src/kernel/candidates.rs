//! A buffer of candidates, eight lanes appended at a time, and the selection of its smallest keys.
//!
//! A key is (d², id); ids are distinct, so keys are. `nearest` fills the buffers and decides when
//! to select.

use super::lanes::{LANES, SCALAR};
use wide::{f32x8, u32x8};

/// The largest key (d², id) that can still be among the K nearest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) squared: f32,
    pub(super) id: u32,
}

impl Limit {
    /// Admits everything.
    pub(super) const NONE: Self = Self { squared: f32::INFINITY, id: u32::MAX };

    /// Whether a key is not above the limit: the definition of [`Self::admits`].
    fn admits_one(self, squared: f32, id: u32) -> bool {
        squared < self.squared || squared == self.squared && id <= self.id
    }

    /// The lanes whose key is not above the limit.
    #[inline(always)]
    pub(super) fn admits(self, squared: f32x8, ids: u32x8) -> u32 {
        let limit = f32x8::splat(self.squared);
        let tied: u32x8 = bytemuck::cast(squared.simd_eq(limit));
        let tied = tied & !ids.simd_gt(u32x8::splat(self.id));
        squared.simd_lt(limit).to_bitmask() | tied.to_bitmask()
    }
}

/// Candidates in three parallel columns, with a spare block behind so that an append may write
/// eight lanes wherever it starts.
#[derive(Clone, Debug)]
pub(super) struct Candidates<const N: usize> {
    pub(super) squared: [f32; N],
    pub(super) ids: [u32; N],
    pub(super) rows: [u32; N],
    pub(super) len: usize,
}

impl<const N: usize> Candidates<N> {
    pub(super) const fn new() -> Self {
        Self { squared: [0.0; N], ids: [0; N], rows: [0; N], len: 0 }
    }

    /// Whether another block might not fit.
    #[inline(always)]
    pub(super) fn is_almost_full(&self) -> bool {
        Self::is_almost(self.len)
    }

    /// Whether with `len` candidates another block might not fit.
    #[inline(always)]
    pub(super) const fn is_almost(len: usize) -> bool {
        len > N - 2 * LANES
    }

    pub(super) fn push(&mut self, squared: f32, id: u32, row: u32) {
        self.squared[self.len] = squared;
        self.ids[self.len] = id;
        self.rows[self.len] = row;
        self.len += 1;
    }

    /// Takes the candidate at `place` out; the last one comes in its place.
    pub(super) fn swap_remove(&mut self, place: usize) {
        self.len -= 1;
        self.squared[place] = self.squared[self.len];
        self.ids[place] = self.ids[self.len];
        self.rows[place] = self.rows[self.len];
    }

    /// Appends the lanes whose bit is set in `taken`.
    #[inline(always)]
    pub(super) fn append(&mut self, taken: u32, squared: f32x8, ids: u32x8, rows: u32x8) {
        self.len = self.put(self.len, taken, squared, ids, rows);
    }

    /// Writes the lanes whose bit is set in `taken` from `place` on; gives the place behind them.
    /// For loops that keep the length in a register: through memory it would be the longest chain
    /// of dependent steps in them.
    #[inline(always)]
    pub(super) fn put(
        &mut self,
        place: usize,
        taken: u32,
        squared: f32x8,
        ids: u32x8,
        rows: u32x8,
    ) -> usize {
        let packing = u32x8::new(PACKINGS[(taken & 0xFF) as usize]);
        assert!(place <= N - LANES, "there is a spare block");
        self.squared[place..place + LANES].copy_from_slice(squared.shuffle(packing).as_array());
        self.ids[place..place + LANES].copy_from_slice(ids.shuffle(packing).as_array());
        self.rows[place..place + LANES].copy_from_slice(rows.shuffle(packing).as_array());
        place + (taken & 0xFF).count_ones() as usize
    }

    /// A limit that admits at least `least` and at most `most` of the candidates, of which there
    /// are more than `most`. A distance is a positive float, whose bits order like its value, so
    /// the limit is searched among the bits; counting what is not beyond a pivot is some twenty
    /// vector comparisons. A step guesses that the candidates lie evenly on a plane, where their
    /// number grows with the squared distance: four steps are the rule. Every fourth halves the
    /// range, which bounds their number.
    pub(super) fn limit(&mut self, least: usize, most: usize) -> Limit {
        if SCALAR {
            return self.limit_in_order(least);
        }
        // Lanes beyond the last candidate must never count.
        self.squared[self.len..self.len + LANES].fill(f32::INFINITY);
        let end = self.len.next_multiple_of(LANES);
        let squared = self.squared[..end].as_chunks::<LANES>().0;
        let (mut low, mut high) = bounds(squared);
        let (mut count_below_low, mut count_at_high) = (0, self.len);
        let mut step = 0;
        while low < high {
            step += 1;
            let middle = if step % 4 != 0 {
                let [from, to] = [low, high].map(f32::from_bits);
                let wanted = 0.5 * (least + most) as f32 - count_below_low as f32;
                let share = wanted / (count_at_high - count_below_low) as f32;
                (from + (to - from) * share).to_bits().clamp(low, high - 1)
            } else {
                low + (high - low) / 2
            };
            let pivot = f32::from_bits(middle);
            let count = count_within(squared, pivot);
            if (least..=most).contains(&count) {
                return Limit { squared: pivot, id: u32::MAX };
            }
            if count < least {
                (low, count_below_low) = (middle + 1, count);
            } else {
                (high, count_at_high) = (middle, count);
            }
        }
        // More than `most - least` candidates share one distance: ids decide. They are distinct, so
        // the bisection ends with exactly as many as are needed.
        let limit = f32::from_bits(low);
        let ids = self.ids[..end].as_chunks::<LANES>().0;
        let (mut low, mut high) = (0, u32::MAX);
        while low < high {
            let middle = low + (high - low) / 2;
            let mut tied = 0;
            for (squared, ids) in squared.iter().zip(ids) {
                let limit = Limit { squared: limit, id: middle };
                tied += limit.admits(f32x8::new(*squared), u32x8::new(*ids)).count_ones() as usize;
            }
            (low, high) = if tied < least { (middle + 1, high) } else { (low, middle) };
        }
        Limit { squared: limit, id: low }
    }

    /// The definition of [`Self::limit`]: of all keys in order, the last of the first `least`.
    fn limit_in_order(&self, least: usize) -> Limit {
        let mut keys = [(0, 0); N];
        for (place, key) in keys[..self.len].iter_mut().enumerate() {
            *key = (self.squared[place].to_bits(), self.ids[place]);
        }
        keys[..self.len].sort_unstable();
        let (squared, id) = keys[least - 1];
        Limit { squared: f32::from_bits(squared), id }
    }

    /// Candidates that are at most `squared` away.
    pub(super) fn count_within(&mut self, squared: f32) -> usize {
        if SCALAR {
            return self.squared[..self.len].iter().filter(|one| **one <= squared).count();
        }
        self.squared[self.len..self.len + LANES].fill(f32::INFINITY);
        let end = self.len.next_multiple_of(LANES);
        count_within(self.squared[..end].as_chunks::<LANES>().0, squared)
    }

    /// The place of `row`, if it is among the candidates from place `from` on.
    #[inline(always)]
    pub(super) fn find(&self, from: usize, row: u32) -> Option<usize> {
        if SCALAR {
            return (from..self.len).find(|&place| self.rows[place] == row);
        }
        let row = u32x8::splat(row);
        for place in (from..self.len).step_by(LANES) {
            let inside = LANE_MASKS[(self.len - place).min(LANES)];
            let found = u32x8::new(block(&self.rows, place)).simd_eq(row).to_bitmask() & inside;
            if found != 0 {
                return Some(place + found.trailing_zeros() as usize);
            }
        }
        None
    }

    /// Appends a candidate of `others` if it is `wanted`, without a branch.
    #[inline(always)]
    pub(super) fn push_if(&mut self, wanted: bool, others: &Self, place: usize) {
        self.squared[self.len] = others.squared[place];
        self.ids[self.len] = others.ids[place];
        self.rows[self.len] = others.rows[place];
        self.len += usize::from(wanted);
    }

    /// Keeps what `limit` admits, in order.
    pub(super) fn retain(&mut self, limit: Limit) {
        if SCALAR {
            return self.retain_each(limit);
        }
        let end = self.len;
        self.len = 0;
        for from in (0..end).step_by(LANES) {
            let inside = LANE_MASKS[(end - from).min(LANES)];
            let squared = f32x8::new(block(&self.squared, from));
            let ids = u32x8::new(block(&self.ids, from));
            let rows = u32x8::new(block(&self.rows, from));
            // The write ends at or before the end of the block that was just read.
            self.append(limit.admits(squared, ids) & inside, squared, ids, rows);
        }
    }

    /// The definition of [`Self::retain`].
    fn retain_each(&mut self, limit: Limit) {
        let end = self.len;
        self.len = 0;
        for place in 0..end {
            let (squared, id) = (self.squared[place], self.ids[place]);
            if limit.admits_one(squared, id) {
                self.push(squared, id, self.rows[place]);
            }
        }
    }
}

fn block<T: Copy>(column: &[T], from: usize) -> [T; LANES] {
    column[from..from + LANES].try_into().expect("the range has eight lanes")
}

/// Lanes that are at most `limit`.
#[inline(always)]
fn count_within(column: &[[f32; LANES]], limit: f32) -> usize {
    let limit = f32x8::splat(limit);
    let mut sum = u32x8::ZERO;
    for block in column {
        // A true lane is all ones, which is −1.
        let hit: u32x8 = bytemuck::cast(f32x8::new(*block).simd_le(limit));
        sum -= hit;
    }
    sum.reduce_add() as usize
}

/// Bits of the smallest and the largest finite lane; none is negative.
#[inline(always)]
fn bounds(column: &[[f32; LANES]]) -> (u32, u32) {
    let infinity = f32x8::splat(f32::INFINITY);
    let (mut smallest, mut largest) = (u32x8::splat(u32::MAX), u32x8::ZERO);
    for block in column {
        let block = f32x8::new(*block);
        let finite = block & block.simd_lt(infinity);
        smallest = smallest.min(bytemuck::cast(block));
        largest = largest.max(bytemuck::cast(finite));
    }
    (smallest.reduce_min(), largest.reduce_max())
}

/// `LANE_MASKS[n]`: the first n lanes.
pub(super) const LANE_MASKS: [u32; LANES + 1] = {
    let mut masks = [0; LANES + 1];
    let mut n = 0;
    while n <= LANES {
        masks[n] = (1 << n) - 1;
        n += 1;
    }
    masks
};

/// For every set of lanes the shuffle that moves them to the front, in order.
static PACKINGS: [[u32; LANES]; 256] = {
    let mut packings = [[0; LANES]; 256];
    let mut set = 0;
    while set < 256 {
        let (mut lane, mut place) = (0, 0);
        while lane < LANES {
            if set & (1 << lane) != 0 {
                packings[set][place] = lane as u32;
                place += 1;
            }
            lane += 1;
        }
        set += 1;
    }
    packings
};

#[cfg(test)]
mod tests {
    use super::super::lanes::samples::Seeded;
    use super::*;

    /// Keys drawn so that distances tie often, never, or always, ids up to the last.
    fn fill(random: &mut Seeded, count: usize, distinct: u64) -> Candidates<264> {
        let mut candidates = Candidates::new();
        for i in 0..count {
            let squared = match distinct {
                0 => random.float(0.0, 1e10),
                _ => random.below(distinct) as f32 * 0.1,
            };
            candidates.push(squared, u32::MAX - (i as u32) * 7919, i as u32);
        }
        candidates
    }

    #[test]
    fn a_limit_admits_as_many_of_the_smallest_keys_as_it_was_asked_for() {
        for seed in 0..3000 {
            let mut random = Seeded(seed);
            let least = 1 + random.below(200) as usize;
            let most = least + [0, 0, 1, 32][random.below(4) as usize];
            let count = (most + 1 + random.below(40) as usize).min(256);
            let distinct = [0, 1, 2, 5, 1000][random.below(5) as usize];
            let mut candidates = fill(&mut random, count, distinct);
            let key = |c: &Candidates<264>, i: usize| (c.squared[i].to_bits(), c.ids[i], c.rows[i]);
            let mut expected: Vec<_> = (0..count).map(|i| key(&candidates, i)).collect();
            let limit = candidates.limit(least, most);
            candidates.retain(limit);
            let mut kept: Vec<_> = (0..candidates.len).map(|i| key(&candidates, i)).collect();
            assert!((least..=most).contains(&kept.len()), "seed {seed}: {} kept", kept.len());
            expected.sort_unstable();
            kept.sort_unstable();
            assert_eq!(kept, expected[..kept.len()], "seed {seed}");
        }
    }

    #[test]
    fn every_set_of_lanes_is_appended_in_order() {
        let lanes = std::array::from_fn(|lane| lane as u32 + 10);
        let ids = u32x8::new(lanes);
        for taken in 0..256_u32 {
            let mut candidates = Candidates::<16>::new();
            candidates.append(taken, f32x8::splat(1.0), ids, ids + u32x8::splat(1));
            let expected: Vec<u32> = (0..8).filter(|lane| taken >> lane & 1 == 1).collect();
            let found = candidates.ids[..candidates.len].iter().map(|id| id - 10);
            assert!(found.eq(expected.iter().copied()), "{taken:#b}");
            let rows = candidates.rows[..candidates.len].iter().map(|row| row - 11);
            assert!(rows.eq(expected), "{taken:#b}");
        }
    }
}
