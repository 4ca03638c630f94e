//! The K nearest of a stream of candidates: distance filter, hysteresis and selection.
//!
//! Candidates arrive as spans of the grid's sorted columns. Those in reach are appended, eight
//! lanes at a time and without a branch per candidate, to a buffer of 2 K; when it is full a
//! selection keeps the best K and their worst key becomes the limit that later candidates must
//! beat. So a crowd of any size costs one pass over its positions and, in random order, a handful
//! of selections.
//!
//! The result is exact: the K smallest by (d², id), where d² is rounded as [`distance_squared`]
//! rounds it. It is a set: the order of the rows in it is not defined.

use super::lanes::LANES;
use crate::limits::VISIBLE_MAX;
use wide::{f32x8, u32x8};

/// Candidates that can wait for a selection.
const BUFFER: usize = 2 * VISIBLE_MAX;
/// Candidates between enter and leave distance that can wait for a look at the held set.
const RING: usize = 128;

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
    /// An empty set over the rows `0..rows` (offsets of all indexes included).
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

/// Entities between two positions of the grid's sorted columns. Every column reaches at least to
/// the next whole block beyond `len`.
#[derive(Clone, Copy, Debug)]
pub struct Span<'a> {
    /// Positions along x, y, z.
    pub position: [&'a [f32]; 3],
    /// Entity ids.
    pub ids: &'a [u32],
    /// Rows, without offset.
    pub rows: &'a [u32],
    /// Entities in the span.
    pub len: usize,
}

/// What a viewer looks for in one kind.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// Where the viewer stands.
    pub viewer: [f32; 3],
    /// Squared distance within which an entity becomes visible.
    pub enter_squared: f32,
    /// Squared distance within which a held entity stays visible; at least `enter_squared`.
    pub leave_squared: f32,
    /// Added to every row.
    pub row_offset: u32,
}

/// Up to [`VISIBLE_MAX`] rows: the nearest that a query found. Reused from query to query; about 7
/// KB.
#[derive(Clone, Debug)]
pub struct Nearest {
    found: Candidates<{ BUFFER + LANES }>,
    ring: Candidates<{ RING + LANES }>,
    /// Only candidates below this key can still be among the K nearest.
    limit_squared: f32,
    limit_id: u32,
    order: [(u64, u32); BUFFER],
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
            ring: Candidates::new(),
            limit_squared: f32::INFINITY,
            limit_id: 0,
            order: [(0, 0); BUFFER],
        }
    }

    /// Forgets everything; call it before the first query of a viewer. Queries of several indexes
    /// without a clear between them give the nearest of them all.
    pub fn clear(&mut self) {
        self.found.len = 0;
        self.ring.len = 0;
        self.limit_squared = f32::INFINITY;
        self.limit_id = 0;
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
        &self.found.row[..self.found.len]
    }

    /// Squared distances in cm², parallel to [`Self::rows`].
    pub fn distances_squared(&self) -> &[f32] {
        bytemuck::cast_slice(&self.found.squared[..self.found.len])
    }

    /// The squared distance beyond which nothing can be among the K nearest any more.
    pub(super) fn limit_squared(&self) -> f32 {
        self.limit_squared
    }

    /// Takes in the entities of `span` that `probe` can see.
    pub(super) fn scan(&mut self, span: Span<'_>, probe: &Probe, held: &HeldSet) {
        let padded = span.len.next_multiple_of(LANES);
        let [x, y, z] = span.position.map(|column| column[..padded].as_chunks::<LANES>().0);
        let ids = span.ids[..padded].as_chunks::<LANES>().0;
        let rows = span.rows[..padded].as_chunks::<LANES>().0;
        let [viewer_x, viewer_y, viewer_z] = probe.viewer.map(f32x8::splat);
        let enter = f32x8::splat(probe.enter_squared);
        let mut reach = f32x8::splat(probe.leave_squared.min(self.limit_squared));
        let mut left = span.len;
        let blocks = x.iter().zip(y).zip(z).zip(ids.iter().zip(rows));
        for (((x, y), z), (ids, rows)) in blocks {
            let inside = LANE_MASKS[left.min(LANES)];
            left = left.saturating_sub(LANES);
            let dx = f32x8::new(*x) - viewer_x;
            let dy = f32x8::new(*y) - viewer_y;
            let dz = f32x8::new(*z) - viewer_z;
            let squared = dx * dx + dy * dy + dz * dz;
            let near = squared.simd_le(reach).to_bitmask() & inside;
            if near == 0 {
                continue;
            }
            let ids = u32x8::new(*ids);
            let limit = f32x8::splat(self.limit_squared);
            let tied: u32x8 = bytemuck::cast(squared.simd_eq(limit));
            let tied = (tied & ids.simd_lt(u32x8::splat(self.limit_id))).to_bitmask();
            let near = near & (squared.simd_lt(limit).to_bitmask() | tied);
            let sure = near & squared.simd_le(enter).to_bitmask();
            let squared: u32x8 = bytemuck::cast(squared);
            let rows = u32x8::new(*rows) + u32x8::splat(probe.row_offset);
            self.found.append(sure, squared, ids, rows);
            self.ring.append(near & !sure, squared, ids, rows);
            if self.found.len > BUFFER - LANES || self.ring.len > RING - LANES {
                self.judge_ring(held);
                self.select();
                reach = f32x8::splat(probe.leave_squared.min(self.limit_squared));
            }
        }
    }

    /// Ends a query: decides about the last candidates and keeps the K nearest.
    pub fn finish(&mut self, held: &HeldSet) {
        self.judge_ring(held);
        self.select();
    }

    /// Moves the held ones of the candidates between enter and leave distance to the found.
    fn judge_ring(&mut self, held: &HeldSet) {
        for i in 0..self.ring.len {
            let row = self.ring.row[i];
            if held.holds(row) {
                if self.found.len == BUFFER {
                    self.select();
                }
                self.found.push(self.ring.squared[i], self.ring.id[i], row);
            }
        }
        self.ring.len = 0;
    }

    /// Keeps the K smallest keys, if there are more, and lowers the limit to the largest of them.
    fn select(&mut self) {
        let found = &mut self.found;
        if found.len <= VISIBLE_MAX {
            return;
        }
        let order = &mut self.order[..found.len];
        for (i, slot) in order.iter_mut().enumerate() {
            // The bits of a distance order like the distance, since it is never negative.
            *slot = (u64::from(found.squared[i]) << 32 | u64::from(found.id[i]), found.row[i]);
        }
        let (_, &mut (limit, _), _) = order.select_nth_unstable(VISIBLE_MAX - 1);
        for (i, &(key, row)) in order[..VISIBLE_MAX].iter().enumerate() {
            found.squared[i] = (key >> 32) as u32;
            found.id[i] = key as u32;
            found.row[i] = row;
        }
        found.len = VISIBLE_MAX;
        self.limit_squared = f32::from_bits((limit >> 32) as u32);
        self.limit_id = limit as u32;
    }
}

/// Candidates in three parallel columns, with a spare block behind so that an append may write
/// eight lanes wherever it starts.
#[derive(Clone, Debug)]
struct Candidates<const N: usize> {
    squared: [u32; N],
    id: [u32; N],
    row: [u32; N],
    len: usize,
}

impl<const N: usize> Candidates<N> {
    const fn new() -> Self {
        Self { squared: [0; N], id: [0; N], row: [0; N], len: 0 }
    }

    fn push(&mut self, squared: u32, id: u32, row: u32) {
        self.squared[self.len] = squared;
        self.id[self.len] = id;
        self.row[self.len] = row;
        self.len += 1;
    }

    /// Appends the lanes whose bit is set in `taken`.
    #[inline(always)]
    fn append(&mut self, taken: u32, squared: u32x8, id: u32x8, row: u32x8) {
        let packing = u32x8::new(PACKINGS[(taken & 0xFF) as usize]);
        let place = self.len..self.len + LANES;
        self.squared[place.clone()].copy_from_slice(squared.shuffle(packing).as_array());
        self.id[place.clone()].copy_from_slice(id.shuffle(packing).as_array());
        self.row[place].copy_from_slice(row.shuffle(packing).as_array());
        self.len += taken.count_ones() as usize;
    }
}

/// `LANE_MASKS[n]`: the first n lanes.
const LANE_MASKS: [u32; LANES + 1] = {
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
