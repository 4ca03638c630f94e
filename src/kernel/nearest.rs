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

use super::candidates::{Candidates, LANE_MASKS, Limit};
use super::lanes::{LANES, SCALAR};
use crate::limits::VISIBLE_MAX;
use wide::{f32x8, u32x8};

/// Candidates that can wait for a selection.
const BUFFER: usize = 2 * VISIBLE_MAX;
/// Candidates that a selection may leave beyond K.
const SPARE: usize = 32;
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

/// Entities between two positions of the grid's sorted columns. Every column reaches at least to
/// the next whole block beyond `len`.
#[derive(Clone, Copy, Debug)]
pub struct Span<'a> {
    /// Positions along x, y, z.
    pub position: [&'a [f32]; 3],
    /// Entity ids.
    pub ids: &'a [u32],
    /// Rows of the published columns.
    pub rows: &'a [u32],
    /// Entities in the span.
    pub len: usize,
}

impl<'a> Span<'a> {
    /// The span without its first `count` entities; nothing if it has not that many.
    fn beyond(self, count: usize) -> Span<'a> {
        Span {
            position: self.position.map(|column| &column[count..]),
            ids: &self.ids[count..],
            rows: &self.rows[count..],
            len: self.len.saturating_sub(count),
        }
    }
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
}

/// Up to [`VISIBLE_MAX`] rows: the nearest that a query found. Reused from query to query; about 5
/// KB.
#[derive(Clone, Debug)]
pub struct Nearest {
    found: Candidates<{ BUFFER + LANES }>,
    ring: Candidates<{ RING + LANES }>,
    limit: Limit,
    left_out: Option<u32>,
}

impl Default for Nearest {
    fn default() -> Self {
        Self::new()
    }
}

impl Nearest {
    /// Empty.
    pub fn new() -> Self {
        let (found, ring) = (Candidates::new(), Candidates::new());
        Self { found, ring, limit: Limit::NONE, left_out: None }
    }

    /// Forgets everything; call it before the first query of a viewer. Queries of several indexes
    /// without a clear between them give the nearest of them all.
    pub fn clear(&mut self) {
        self.found.len = 0;
        self.ring.len = 0;
        self.limit = Limit::NONE;
        self.left_out = None;
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

    /// The squared distance beyond which nothing can be among the K nearest any more.
    pub(super) fn limit_squared(&self) -> f32 {
        self.limit.squared
    }

    /// Takes in the entities of `span` that `probe` can see.
    pub(super) fn scan(&mut self, span: Span<'_>, probe: &Probe, held: &HeldSet) {
        if SCALAR {
            return self.scan_each(span, probe, held);
        }
        let mut done = 0;
        while done < span.len {
            done += if self.limit.squared == f32::INFINITY {
                self.sweep::<false>(span.beyond(done), probe)
            } else {
                self.sweep::<true>(span.beyond(done), probe)
            };
            if self.ring.is_almost_full() {
                self.judge_ring(held);
            }
            if self.found.is_almost_full() {
                self.select(SPARE);
            }
        }
    }

    /// The definition of [`Self::scan`]: one entity after the other.
    fn scan_each(&mut self, span: Span<'_>, probe: &Probe, held: &HeldSet) {
        for place in 0..span.len {
            let position = span.position.map(|column| column[place]);
            let squared = distance_squared(position, probe.viewer);
            let row = span.rows[place];
            let sight = if held.holds(row) { probe.leave_squared } else { probe.enter_squared };
            if squared <= sight {
                if self.found.is_almost_full() {
                    self.select(SPARE);
                }
                self.found.push(squared, span.ids[place], row);
            }
        }
    }

    /// Ends a query: decides about the last candidates and keeps the K nearest.
    pub fn finish(&mut self, held: &HeldSet) {
        self.judge_ring(held);
        self.drop_left_out();
        self.select(0);
    }

    /// Drops the row that is left out, if it was found by now. Done before any limit is chosen, so
    /// that it never takes a place, and not while entities pass by.
    fn drop_left_out(&mut self) {
        let rows = &self.found.rows[..self.found.len];
        let place = self.left_out.and_then(|out| rows.iter().position(|&row| row == out));
        if let Some(place) = place {
            self.found.swap_remove(place);
        }
    }

    /// Appends candidates until the span ends or a buffer is almost full; gives the entities
    /// passed, rounded up to whole blocks. `LIMITED` tells whether there is a limit: in the common
    /// case of a viewer that sees fewer than K there never is.
    fn sweep<const LIMITED: bool>(&mut self, span: Span<'_>, probe: &Probe) -> usize {
        let padded = span.len.next_multiple_of(LANES);
        let [x, y, z] = span.position.map(|column| column[..padded].as_chunks::<LANES>().0);
        let ids = span.ids[..padded].as_chunks::<LANES>().0;
        let rows = span.rows[..padded].as_chunks::<LANES>().0;
        let [viewer_x, viewer_y, viewer_z] = probe.viewer.map(f32x8::splat);
        let enter = f32x8::splat(probe.enter_squared);
        let reach = f32x8::splat(probe.leave_squared.min(self.limit.squared));
        let mut left = span.len;
        let blocks = x.iter().zip(y).zip(z).zip(ids.iter().zip(rows));
        for (block, (((x, y), z), (ids, rows))) in blocks.enumerate() {
            let inside = LANE_MASKS[left.min(LANES)];
            left = left.saturating_sub(LANES);
            let dx = f32x8::new(*x) - viewer_x;
            let dy = f32x8::new(*y) - viewer_y;
            let dz = f32x8::new(*z) - viewer_z;
            let squared = dx * dx + dy * dy + dz * dz;
            let mut near = squared.simd_le(reach).to_bitmask() & inside;
            let ids = u32x8::new(*ids);
            if LIMITED {
                // In a crowd nearly every block ends here. Without a limit about half do, at
                // random, and the mispredicted jump would cost more than appending nothing.
                if near == 0 {
                    continue;
                }
                near &= self.limit.admits(squared, ids);
                if near == 0 {
                    continue;
                }
            }
            let sure = near & squared.simd_le(enter).to_bitmask();
            let rows = u32x8::new(*rows);
            self.found.append(sure, squared, ids, rows);
            // N.B. A branch around this append, which has nothing to do three times in four, was
            // slower: 290 ns per query instead of 240.
            self.ring.append(near & !sure, squared, ids, rows);
            if self.found.is_almost_full() || self.ring.is_almost_full() {
                return (block + 1) * LANES;
            }
        }
        padded
    }

    /// Moves the held ones of the candidates between enter and leave distance to the found.
    fn judge_ring(&mut self, held: &HeldSet) {
        for i in 0..self.ring.len {
            let row = self.ring.rows[i];
            if held.holds(row) {
                if self.found.is_almost_full() {
                    self.select(SPARE);
                }
                self.found.push(self.ring.squared[i], self.ring.ids[i], row);
            }
        }
        self.ring.len = 0;
    }

    /// Keeps the K smallest keys and up to `spare` more, and lowers the limit to the largest of
    /// them. The spare ones save most of the search for the limit while the query still runs.
    fn select(&mut self, spare: usize) {
        if self.found.len > VISIBLE_MAX + spare {
            self.drop_left_out();
        }
        if self.found.len > VISIBLE_MAX + spare {
            self.limit = self.found.limit(VISIBLE_MAX, VISIBLE_MAX + spare);
            self.found.retain(self.limit);
        }
    }
}
