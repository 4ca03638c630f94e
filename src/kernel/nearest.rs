//! The K nearest of a stream of candidates: distance filter, hysteresis and selection.
//!
//! Candidates arrive as spans of the grid's sorted blocks. Those in reach are appended, eight lanes
//! at a time and without a branch per candidate, to a buffer of 2 K; when it is full a selection
//! keeps the best K and their worst key becomes the limit that later candidates must beat. Which
//! spans are worth reading is the grid's business.
//!
//! The result is exact: the K smallest by (d², id), where d² is rounded as [`distance_squared`]
//! rounds it. It is a set: the order of the rows in it is not defined.

use super::candidates::{Candidates, Limit};
use super::lanes::{LANES, SCALAR};
use crate::limits::VISIBLE_MAX;
use wide::{f32x8, u32x8};

/// Candidates that can wait for a selection.
const BUFFER: usize = 2 * VISIBLE_MAX;
type Found = Candidates<{ BUFFER + LANES }>;
/// Candidates that a selection may leave beyond K.
const SPARE: usize = 32;

/// Squared distance between two positions: the definition of what the kernels compare. Written out,
/// since the order of the additions decides the last bit.
pub fn distance_squared(a: [f32; 3], b: [f32; 3]) -> f32 {
    let [dx, dy, dz] = [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
    dx * dx + dy * dy + dz * dz
}

/// The rows that a viewer saw before: an entity in it is visible up to the leave distance. One byte
/// per row, so that one set can serve all viewers in turn: hold the rows of a viewer, query,
/// release them.
#[derive(Clone, Debug)]
pub struct HeldSet {
    marks: Box<[u8]>,
}

impl HeldSet {
    /// An empty set over the rows `0..rows`.
    pub fn new(rows: usize) -> Self {
        Self { marks: vec![0; rows].into_boxed_slice() }
    }

    /// Puts `row` into the set; a row beyond the capacity is never held.
    pub fn hold(&mut self, row: u32) {
        self.hold_in(row, 0);
    }

    /// Puts `row` into the set and remembers the slot (below 255) in which the viewer holds it.
    pub fn hold_in(&mut self, row: u32, slot: u8) {
        if let Some(mark) = self.marks.get_mut(row as usize) {
            *mark = slot + 1;
        }
    }

    /// The slot given to [`Self::hold_in`], if `row` is in the set.
    pub fn slot(&self, row: u32) -> Option<u8> {
        self.marks.get(row as usize)?.checked_sub(1)
    }

    /// Takes `row` out of the set.
    pub fn release(&mut self, row: u32) {
        if let Some(mark) = self.marks.get_mut(row as usize) {
            *mark = 0;
        }
    }

    /// Whether `row` is in the set.
    pub fn holds(&self, row: u32) -> bool {
        self.marks.get(row as usize).is_some_and(|&mark| mark != 0)
    }

    /// Bytes of the allocation.
    pub fn memory_bytes(&self) -> usize {
        self.marks.len()
    }
}

/// Eight entities side by side, as the grid sorts them.
#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
pub struct Block {
    /// Positions along x, y, z.
    pub position: [[f32; LANES]; 3],
    /// Rows of the published columns.
    pub rows: [u32; LANES],
    /// Entity ids.
    pub ids: [u32; LANES],
}

impl Block {
    /// A block of lanes that no plan names.
    pub const EMPTY: Self = Self { position: [[0.0; LANES]; 3], rows: [0; LANES], ids: [0; LANES] };
}

/// Squared distances that are read: beyond `inner`, up to `outer`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ring {
    pub(super) inner: f32,
    pub(super) outer: f32,
}

/// Blocks that are to be read, in one word each: the number of the block and the lanes that count.
#[derive(Clone, Debug)]
struct Plan {
    words: [u32; PLAN_MAX + LANES],
    len: usize,
    entities: usize,
}

/// Blocks that fit a plan.
pub(super) const PLAN_MAX: usize = BUFFER;

/// What a viewer looks for in one kind.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// Where the viewer stands.
    pub viewer: [f32; 3],
    /// Squared distance within which an entity becomes visible.
    pub enter_squared: f32,
    /// Squared distance within which a held entity stays visible; at least `enter_squared`.
    pub leave_squared: f32,
    /// Whether nobody may be left out, however high the heap: see `grid`.
    pub everybody: bool,
}

/// Up to [`VISIBLE_MAX`] rows: the nearest that a query found. Reused from query to query; about 5
/// KB.
#[derive(Clone, Debug)]
pub struct Nearest {
    found: Found,
    /// Candidates between enter and leave distance.
    doubtful: Found,
    /// Of the found, those among which the row that is left out is not.
    judged: usize,
    plan: Plan,
    limit: Limit,
    left_out: Option<u32>,
    passed: usize,
}

impl Default for Nearest {
    fn default() -> Self {
        Self::new()
    }
}

impl Nearest {
    /// Empty.
    pub fn new() -> Self {
        Self {
            found: Candidates::new(),
            doubtful: Candidates::new(),
            judged: 0,
            plan: Plan { words: [0; PLAN_MAX + LANES], len: 0, entities: 0 },
            limit: Limit::NONE,
            left_out: None,
            passed: 0,
        }
    }

    /// Forgets everything; call it before the first query of a viewer. Queries of several indexes
    /// without a clear between them give the nearest of them all.
    pub fn clear(&mut self) {
        self.found.len = 0;
        self.doubtful.len = 0;
        self.judged = 0;
        self.limit = Limit::NONE;
        self.left_out = None;
        self.passed = 0;
    }

    /// Leaves `row` out of what is found until the next clear: nobody is told about himself, and
    /// his place in a crowd is another's.
    pub fn leave_out(&mut self, row: u32) {
        self.left_out = Some(row);
    }

    /// Entities found.
    pub fn len(&self) -> usize {
        self.found.len
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.found.len == 0
    }

    /// The rows found, offsets included, in no defined order.
    pub fn rows(&self) -> &[u32] {
        &self.found.rows[..self.found.len]
    }

    /// Squared distances in cm², parallel to [`Self::rows`].
    pub fn distances_squared(&self) -> &[f32] {
        &self.found.squared[..self.found.len]
    }

    /// Entities whose distance was looked at since the last clear: what the queries cost.
    pub fn passed(&self) -> usize {
        self.passed
    }

    /// The squared distance beyond which nothing can be among the K nearest any more.
    pub(super) fn limit_squared(&self) -> f32 {
        self.limit.squared
    }

    /// Candidates that can come without any being chosen.
    pub(super) fn room(&self) -> usize {
        BUFFER - self.found.len
    }

    /// Entities that are planned to be read.
    pub(super) fn planned(&self) -> usize {
        self.plan.entities
    }

    /// Blocks that are planned to be read.
    pub(super) fn planned_blocks(&self) -> usize {
        self.plan.len
    }

    pub(super) fn forget_plan(&mut self) {
        (self.plan.len, self.plan.entities) = (0, 0);
    }

    /// Plans to read the places `from..to`, which are some, of the grid's blocks: [`PLAN_MAX`]
    /// blocks in all.
    #[inline(always)]
    pub(super) fn plan(&mut self, from: u32, to: u32) {
        let Plan { words, len, entities } = &mut self.plan;
        let lanes = LANES as u32;
        let (first, last) = (from / lanes, (to - 1) / lanes);
        let end = *len + (last - first) as usize;
        let mut next = u32x8::splat(first << 8) + u32x8::new(PLAN_WORDS);
        for place in (*len..=end).step_by(LANES) {
            words[place..place + LANES].copy_from_slice(next.as_array());
            next += u32x8::splat(lanes << 8);
        }
        words[*len] &= !0 << (from % lanes);
        words[end] &= !0xFF | 0xFF >> (lanes - 1 - (to - 1) % lanes);
        *len = end + 1;
        *entities += (to - from) as usize;
    }

    /// Reads what is planned, for which there is room: everything within `reach` is a candidate.
    #[inline(always)]
    pub(super) fn take_all(&mut self, blocks: &[Block], probe: &Probe, reach: f32) {
        if SCALAR {
            return self.take_each(blocks, Ring { inner: -1.0, outer: reach }, probe, None);
        }
        if probe.enter_squared < reach {
            self.sweep::<true>(blocks, probe, reach);
        } else {
            self.sweep::<false>(blocks, probe, reach);
        }
    }

    /// `DOUBTS` tells whether some may be beyond the enter distance.
    #[inline(always)]
    fn sweep<const DOUBTS: bool>(&mut self, blocks: &[Block], probe: &Probe, reach: f32) {
        let viewer = probe.viewer.map(f32x8::splat);
        let (enter, reach) = (f32x8::splat(probe.enter_squared), f32x8::splat(reach));
        let (mut found, mut doubtful) = (self.found.len, self.doubtful.len);
        for &word in &self.plan.words[..self.plan.len] {
            let block = &blocks[(word >> 8) as usize];
            let squared = block.squared(viewer);
            let near = squared.simd_le(reach).to_bitmask() & word;
            let (ids, rows) = (u32x8::new(block.ids), u32x8::new(block.rows));
            // N.B. A branch around the append of nothing is mispredicted about half of the time.
            if DOUBTS {
                let sure = near & squared.simd_le(enter).to_bitmask();
                found = self.found.put(found, sure, squared, ids, rows);
                doubtful = self.doubtful.put(doubtful, near & !sure, squared, ids, rows);
            } else {
                found = self.found.put(found, near, squared, ids, rows);
            }
        }
        (self.found.len, self.doubtful.len) = (found, doubtful);
        self.passed += self.plan.entities;
        self.forget_plan();
    }

    /// Reads what is planned of a crowd; keeps the nearest of those in `ring`.
    pub(super) fn take(&mut self, blocks: &[Block], ring: Ring, probe: &Probe, held: &HeldSet) {
        if SCALAR {
            return self.take_each(blocks, ring, probe, Some(held));
        }
        let mut done = 0;
        while done < self.plan.len {
            let outer = ring.outer.min(self.limit.squared);
            let is_limited = self.limit.squared < f32::INFINITY;
            done = match (is_limited, outer > probe.enter_squared) {
                (false, false) => self.take_some::<false, false>(done, blocks, ring, probe),
                (false, true) => self.take_some::<false, true>(done, blocks, ring, probe),
                (true, false) => self.take_some::<true, false>(done, blocks, ring, probe),
                (true, true) => self.take_some::<true, true>(done, blocks, ring, probe),
            };
            if self.found.is_almost_full() || self.doubtful.is_almost_full() {
                self.judge(held);
                self.select(SPARE);
            }
        }
        self.passed += self.plan.entities;
        self.forget_plan();
    }

    /// The definition of [`Self::take`], and of [`Self::take_all`], which needs nobody held because
    /// there is room: one entity after the other.
    fn take_each(&mut self, blocks: &[Block], ring: Ring, probe: &Probe, held: Option<&HeldSet>) {
        for place in 0..self.plan.len {
            let word = self.plan.words[place];
            let block = &blocks[(word >> 8) as usize];
            for lane in (0..LANES).filter(|lane| word >> lane & 1 == 1) {
                let position = block.position.map(|axis| axis[lane]);
                let squared = distance_squared(position, probe.viewer);
                // Also of a viewer who is nowhere: a distance that is no number is in no ring.
                let is_inside = squared > ring.inner && squared <= ring.outer;
                if !is_inside {
                    continue;
                }
                let is_sure = squared <= probe.enter_squared;
                let candidates = if is_sure { &mut self.found } else { &mut self.doubtful };
                candidates.push(squared, block.ids[lane], block.rows[lane]);
                if let Some(held) = held.filter(|_| candidates.is_almost_full()) {
                    self.judge(held);
                    self.select(SPARE);
                }
            }
        }
        self.passed += self.plan.entities;
        self.forget_plan();
    }

    /// Goes on with the plan until it or a buffer ends; gives how far. `LIMITED` tells whether
    /// there is a limit, `DOUBTS` whether some may be beyond the enter distance.
    fn take_some<const LIMITED: bool, const DOUBTS: bool>(
        &mut self,
        done: usize,
        blocks: &[Block],
        ring: Ring,
        probe: &Probe,
    ) -> usize {
        let viewer = probe.viewer.map(f32x8::splat);
        let enter = f32x8::splat(probe.enter_squared);
        let inner = f32x8::splat(ring.inner);
        let outer = f32x8::splat(ring.outer.min(self.limit.squared));
        let (mut found, mut doubtful) = (self.found.len, self.doubtful.len);
        let mut place = done;
        while place < self.plan.len && !Found::is_almost(found) && !Found::is_almost(doubtful) {
            let word = self.plan.words[place];
            place += 1;
            let block = &blocks[(word >> 8) as usize];
            let squared = block.squared(viewer);
            let mut near = (squared.simd_le(outer) & squared.simd_gt(inner)).to_bitmask() & word;
            let (ids, rows) = (u32x8::new(block.ids), u32x8::new(block.rows));
            if LIMITED {
                near &= self.limit.admits(squared, ids);
                if near == 0 {
                    continue;
                }
            }
            if DOUBTS {
                let sure = near & squared.simd_le(enter).to_bitmask();
                doubtful = self.doubtful.put(doubtful, near & !sure, squared, ids, rows);
                near = sure;
            }
            found = self.found.put(found, near, squared, ids, rows);
        }
        (self.found.len, self.doubtful.len) = (found, doubtful);
        place
    }

    /// Moves the held ones of the doubtful to the found, and drops the row that is left out. Done
    /// before any are counted or chosen.
    #[inline(always)]
    pub(super) fn judge(&mut self, held: &HeldSet) {
        for place in 0..self.doubtful.len {
            if self.found.len == BUFFER {
                self.leave_one_out();
                self.select(SPARE);
            }
            self.found.push_if(held.holds(self.doubtful.rows[place]), &self.doubtful, place);
        }
        self.doubtful.len = 0;
        self.leave_one_out();
    }

    #[inline(always)]
    fn leave_one_out(&mut self) {
        if let Some(place) = self.left_out.and_then(|row| self.found.find(self.judged, row)) {
            self.found.swap_remove(place);
        }
        self.judged = self.found.len;
    }

    /// Whether the K nearest are among the candidates, if all within `squared` are.
    pub(super) fn has_enough_within(&mut self, squared: f32) -> bool {
        self.found.count_within(squared) >= VISIBLE_MAX
    }

    /// Ends the queries of an index: keeps the K nearest.
    pub fn finish(&mut self) {
        self.select(0);
    }

    /// Keeps the K smallest keys and up to `spare` more, and lowers the limit to the largest of
    /// them. The spare ones save most of the search for the limit while the query still runs.
    fn select(&mut self, spare: usize) {
        if self.found.len > VISIBLE_MAX + spare {
            self.limit = self.found.limit(VISIBLE_MAX, VISIBLE_MAX + spare);
            self.found.retain(self.limit);
            self.judged = self.found.len;
        }
    }
}

impl Block {
    /// Squared distances to `viewer`: what [`distance_squared`] defines.
    #[inline(always)]
    fn squared(&self, viewer: [f32x8; 3]) -> f32x8 {
        let [dx, dy, dz] = [0, 1, 2].map(|axis| f32x8::new(self.position[axis]) - viewer[axis]);
        dx * dx + dy * dy + dz * dz
    }
}

/// The words of eight whole blocks in a row.
const PLAN_WORDS: [u32; LANES] = {
    let mut words = [0xFF; LANES];
    let mut block = 0;
    while block < LANES {
        words[block] |= (block as u32) << 8;
        block += 1;
    }
    words
};
