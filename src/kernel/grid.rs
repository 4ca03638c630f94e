//! The spatial index: entities sorted by kind and cell with a counting sort, rebuilt every tick.
//!
//! Each kind has a grid of its own whose cells follow its radius and its crowds (`axis`). The
//! sorted copies of positions, ids and rows stand row of cells after row of cells, so the entities
//! of neighbouring cells in one row of cells are one contiguous span: a query reads a few spans and
//! nothing else. `world::index` owns one grid per world and asks it; the grid knows nothing of
//! lifecycles.
//!
//! A query among few reads what is in reach. Where more are in reach than a viewer can see, it asks
//! the cells around the viewer how dense the crowd is, reads a circle that should hold enough, and
//! a larger one if it did not. So the answer is exact, and what it costs follows K, not the crowd.
//! The one exception is a heap: of more than [`Grid::heap`] entities of one kind within a cell of
//! 12.5 cm, which is as fine as cells get, those in the last rows are found only by who asks for
//! everybody. Cells have no height: a crowd that floats above one spot is read as a whole.

use super::axis::{Axis, BINS, Cut, bin};
use super::lanes::LANES;
use super::nearest::{Block, HeldSet, Nearest, PLAN_MAX, Probe, Ring};
use crate::limits::VISIBLE_MAX;
use crate::state::Kind;
use crate::units::EntityId;
use std::f32::consts::{FRAC_PI_4, PI};

/// Rows of cells (along y) are as high as the radius where it is not crowded. Measured with 54
/// visible of 10,000: one row in a radius takes 218 ns per query, 1.5 rows 244, two 276, three 308.
/// A row costs a lookup and a mispredicted end of a loop, which is more than the entities it saves.
const ROWS: Cut = Cut { width: 1.0, lines_by_width: 64, crowd: 160, lines_by_crowd: 24 };
/// Columns (along x) are an eighth of it wide: they cost a query nothing.
const COLUMNS: Cut = Cut { width: 0.125, lines_by_width: 128, crowd: 64, lines_by_crowd: 60 };

/// The share of them that must be expected in a square, before a circle is concluded from it.
const NEARLY: f32 = 0.7;

/// Entities that one cell holds, at least: see [`Grid::heap`].
const HEAP: usize = 1024;

/// Bounds that decide which cells are read are widened by this share and this many centimetres. The
/// arithmetic that finds cells and the one that measures distances round differently by less than a
/// tenth of it; a cell too many costs nanoseconds, a cell too few an entity.
const SLACK: f32 = 1.000_01;
const SLACK_CM: f32 = 1.0;

/// Candidates that a first look at a crowd should pass: K, and as many more as make it rare that
/// they turn out too few.
const ENOUGH: f32 = 1.25 * VISIBLE_MAX as f32;

/// Blocks that are planned at least before a crowd is read, and entities of a span that still fit
/// then.
const PLENTY: usize = PLAN_MAX / 2;
const SPAN_MAX: u32 = ((PLAN_MAX - PLENTY - 1) * LANES) as u32;

/// As the square of a radius: not even the viewer's own place is within it.
const NOTHING: f32 = -1.0;

/// Marks a row that is in no cell, and a kind that has no cells.
const NOWHERE: u32 = u32::MAX;

/// The cells of one kind.
#[derive(Clone, Debug)]
struct Cells {
    columns: Axis,
    rows: Axis,
    /// First cell in `Grid::starts`; [`NOWHERE`] without entities. Behind the last cell stands one
    /// for what is too much in a heap.
    base: u32,
    population: usize,
}

impl Cells {
    /// Number of the cell behind the last.
    fn beyond(&self) -> usize {
        self.base as usize + self.columns.lines() * self.rows.lines()
    }
}

/// Entities sorted by kind and cell.
#[derive(Clone, Debug)]
pub struct Grid {
    cells: [Cells; Kind::COUNT],
    /// First entity of each cell, and one past the last. Two more than there are cells.
    starts: Box<[u32]>,
    /// Between the passes of the sort: kind and bins of each row of the world, then its cell.
    place_of: Box<[u32]>,
    /// One block more than the entities need, so that a query may look ahead.
    blocks: Box<[Block]>,
}

impl Grid {
    /// An empty grid for `capacity` rows; `radius` by kind in centimetres.
    pub fn new(capacity: usize, radius: [f32; Kind::COUNT]) -> Self {
        let cells = radius.map(|radius| Cells {
            columns: Axis::new(Cut { width: radius * COLUMNS.width, ..COLUMNS }),
            rows: Axis::new(Cut { width: radius * ROWS.width, ..ROWS }),
            base: NOWHERE,
            population: 0,
        });
        let of_kind = |cells: &Cells| cells.columns.lines_max() * cells.rows.lines_max() + 1;
        let starts = cells.iter().map(of_kind).sum::<usize>() + 2;
        Self {
            cells,
            starts: vec![0; starts].into_boxed_slice(),
            place_of: vec![0; capacity].into_boxed_slice(),
            blocks: vec![Block::EMPTY; capacity / LANES + 1].into_boxed_slice(),
        }
    }

    /// Bytes of all allocations.
    pub fn memory_bytes(&self) -> usize {
        let axes = self.cells.iter().map(|c| c.columns.memory_bytes() + c.rows.memory_bytes());
        axes.sum::<usize>()
            + size_of_val(&*self.starts)
            + size_of_val(&*self.place_of)
            + size_of_val(&*self.blocks)
    }

    /// Entities of a kind that one cell holds at most, if there are `total` of the kind.
    pub fn heap(total: usize) -> usize {
        HEAP.max(2 * ROWS.crowd_of(total).max(COLUMNS.crowd_of(total)))
    }

    /// Sorts the rows `0..ids.len()` for which `kind_of` gives a kind. All slices have one length,
    /// at most the capacity; positions lie in the map. What a query finds is named by its seat.
    pub fn rebuild(
        &mut self,
        ids: &[EntityId],
        seats: &[u32],
        position: [&[f32]; 3],
        kind_of: impl Fn(usize) -> Option<Kind>,
    ) {
        let rows = ids.len();
        let seats = &seats[..rows];
        let [x, y, z] = position.map(|column| &column[..rows]);
        let cells = self.cut(x, y, kind_of);
        // Counts stand two places further than their cell: after the sums, place c + 1 is the start
        // of cell c, and after the scatter it is its end, which is the start of cell c + 1.
        let starts = &mut self.starts[..cells + 2];
        starts.fill(0);
        let heaps = self.cells.each_ref().map(|cells| Self::heap(cells.population) as u32);
        let place_of = &mut self.place_of[..rows];
        for (row, place) in place_of.iter_mut().enumerate().filter(|(_, place)| **place != NOWHERE)
        {
            let (kind, bin_x, bin_y) = unpack(*place);
            let cells = &self.cells[kind];
            let line = cells.rows.line_in(bin_y, y[row]) * cells.columns.lines();
            let mut cell = cells.base as usize + line + cells.columns.line_in(bin_x, x[row]);
            if starts[cell + 2] == heaps[kind] {
                cell = cells.beyond();
            }
            *place = cell as u32;
            starts[cell + 2] += 1;
        }
        let mut sum = 0;
        for start in starts.iter_mut() {
            sum += *start;
            *start = sum;
        }
        for (row, &cell) in place_of.iter().enumerate().filter(|(_, cell)| **cell != NOWHERE) {
            let next = &mut starts[cell as usize + 1];
            let place = *next as usize;
            *next += 1;
            let (block, lane) = (&mut self.blocks[place / LANES], place % LANES);
            block.position[0][lane] = x[row];
            block.position[1][lane] = y[row];
            block.position[2][lane] = z[row];
            block.ids[lane] = ids[row].0;
            block.rows[lane] = seats[row];
        }
    }

    /// Notes the kind of every row, and cuts the axes of the kinds that there are to fit their
    /// entities. Gives the number of cells.
    fn cut(&mut self, x: &[f32], y: &[f32], kind_of: impl Fn(usize) -> Option<Kind>) -> usize {
        let place_of = &mut self.place_of[..x.len()];
        self.cells.iter_mut().for_each(|cells| cells.population = 0);
        for (row, place) in place_of.iter_mut().enumerate() {
            *place = NOWHERE;
            if let Some(kind) = kind_of(row) {
                let of_kind = &mut self.cells[kind as usize];
                of_kind.population += 1;
                let (bin_x, bin_y) = (bin(x[row]), bin(y[row]));
                of_kind.columns.count(bin_x);
                of_kind.rows.count(bin_y);
                *place = pack(kind, bin_x, bin_y);
            }
        }
        let mut crowded = false;
        for cells in self.cells.iter_mut().filter(|cells| cells.population > 0) {
            crowded |= cells.columns.divide(cells.population);
            crowded |= cells.rows.divide(cells.population);
        }
        if crowded {
            for (row, &place) in place_of.iter().enumerate().filter(|(_, place)| **place != NOWHERE)
            {
                let (kind, bin_x, bin_y) = unpack(place);
                self.cells[kind].columns.count_part(bin_x, x[row]);
                self.cells[kind].rows.count_part(bin_y, y[row]);
            }
        }
        let mut next = 0;
        for cells in &mut self.cells {
            cells.base = NOWHERE;
            if cells.population > 0 {
                cells.columns.rebuild(cells.population);
                cells.rows.rebuild(cells.population);
                cells.base = next;
                next = cells.beyond() as u32 + 1;
            }
        }
        next as usize
    }

    /// Hands the entities of `kind` that `probe` may see to `out`.
    pub fn gather(&self, kind: Kind, probe: &Probe, held: &HeldSet, out: &mut Nearest) {
        let cells = &self.cells[kind as usize];
        if cells.base == NOWHERE {
            return;
        }
        let reach = probe.leave_squared.min(out.limit_squared());
        if self.plan_all(cells, probe.viewer, reach, out) {
            out.take_all(&self.blocks, probe, reach);
        } else {
            self.read_crowd(cells, probe, held, out);
        }
        if probe.everybody {
            let beyond = cells.beyond();
            let (from, to) = (self.starts[beyond], self.starts[beyond + 1]);
            let ring = Ring { inner: NOTHING, outer: reach };
            self.read_span(from, to, ring, probe, held, out);
            out.take(&self.blocks, ring, probe, held);
        }
        out.judge(held);
    }

    /// Plans to read everything within `reach` (squared), the home row of cells first. If that is
    /// more than `out` has room for, there is a crowd, and nothing is planned.
    #[inline(always)]
    fn plan_all(&self, cells: &Cells, [x, y, _]: [f32; 3], reach: f32, out: &mut Nearest) -> bool {
        let room = out.room();
        let far = reach.sqrt() * SLACK + SLACK_CM;
        let (first, last) = (cells.rows.line_at(y - far), cells.rows.line_at(y + far));
        let mut row = cells.rows.line_at(y);
        for _ in first..=last {
            let (from, to) = self.span(cells, row, [x, y], reach);
            if (to - from) as usize > room - out.planned() {
                out.forget_plan();
                return false;
            }
            if from < to {
                out.plan(from, to);
            }
            row = if row == last { first } else { row + 1 };
        }
        true
    }

    /// The entities of a row of cells that may be within `reach` (squared).
    #[inline(always)]
    fn span(&self, cells: &Cells, row: usize, [x, y]: [f32; 2], reach: f32) -> (u32, u32) {
        let gap = (cells.rows.gap(row, y) - SLACK_CM).max(0.0);
        let half = (reach * SLACK - gap * gap).max(0.0).sqrt() * SLACK + SLACK_CM;
        let line = cells.base as usize + row * cells.columns.lines();
        let from = self.starts[line + cells.columns.line_at(x - half)];
        let to = self.starts[line + cells.columns.line_at(x + half) + 1];
        (from, to)
    }

    /// Reads a circle around the viewer in which enough are expected, then rings around it until
    /// there are enough.
    #[cold]
    fn read_crowd(&self, cells: &Cells, probe: &Probe, held: &HeldSet, out: &mut Nearest) {
        let reach = probe.leave_squared.min(out.limit_squared());
        let mut ring = Ring { inner: NOTHING, outer: self.guess(cells, probe.viewer, reach) };
        loop {
            ring.outer = ring.outer.min(reach);
            self.read_ring(cells, ring, probe, held, out);
            out.judge(held);
            if ring.outer >= reach || out.has_enough_within(ring.outer) {
                return;
            }
            ring = Ring { inner: ring.outer, outer: 2.0 * ring.outer };
        }
    }

    /// Reads the entities in `ring`, nearest rows of cells first, so that a limit that is found on
    /// the way ends the search.
    fn read_ring(
        &self,
        cells: &Cells,
        ring: Ring,
        probe: &Probe,
        held: &HeldSet,
        out: &mut Nearest,
    ) {
        let [x, y, _] = probe.viewer;
        let far = ring.outer.sqrt() * SLACK + SLACK_CM;
        let (first, last) = (cells.rows.line_at(y - far), cells.rows.line_at(y + far));
        // What is not read yet: the rows before `south` and those from `north` on.
        let mut north = cells.rows.line_at(y);
        let mut south = north;
        let gap = |row: usize| (cells.rows.gap(row, y) - SLACK_CM).max(0.0);
        while first < south || north <= last {
            let to_south = if first < south { gap(south - 1) } else { f32::INFINITY };
            let to_north = if north <= last { gap(north) } else { f32::INFINITY };
            let wanted = ring.outer.min(out.limit_squared());
            let nearer = to_south.min(to_north);
            if nearer * nearer > wanted * SLACK {
                break;
            }
            let row = if to_north <= to_south { north } else { south - 1 };
            (south, north) = (south.min(row), north.max(row + 1));
            let (from, to) = self.span(cells, row, [x, y], wanted);
            self.read_span(from, to, ring, probe, held, out);
        }
        out.take(&self.blocks, ring, probe, held);
    }

    /// Plans to read the places `from..to`, and reads what is planned when that is much.
    fn read_span(
        &self,
        mut from: u32,
        to: u32,
        ring: Ring,
        probe: &Probe,
        held: &HeldSet,
        out: &mut Nearest,
    ) {
        while from < to {
            let end = to.min(from + SPAN_MAX);
            out.plan(from, end);
            if out.planned_blocks() > PLENTY {
                out.take(&self.blocks, ring, probe, held);
            }
            from = end;
        }
    }

    /// The square of the radius within which about [`ENOUGH`] entities are expected; `reach`
    /// (squared) if there are not so many.
    fn guess(&self, cells: &Cells, [x, y, _]: [f32; 3], reach: f32) -> f32 {
        let reach_cm = reach.sqrt();
        // As if everywhere were as many as in the viewer's own cell.
        let (column, row) = (cells.columns.line_at(x), cells.rows.line_at(y));
        let cell = cells.base as usize + row * cells.columns.lines() + column;
        let count = (self.starts[cell + 1] - self.starts[cell]).max(1) as f32;
        let [(left, right), (low, high)] = [cells.columns.extent(column), cells.rows.extent(row)];
        let area = (right - left) * (high - low);
        let mut half =
            if area > 0.0 { (area * (ENOUGH / PI / count)).sqrt() } else { 0.1 * reach_cm };
        loop {
            half = half.min(reach_cm);
            let expected = FRAC_PI_4 * self.expected_within(cells, [x, y], half);
            if expected >= NEARLY * ENOUGH {
                return half * half * (ENOUGH / expected);
            }
            if half >= reach_cm {
                return reach;
            }
            half *= 2.0;
        }
    }

    /// Entities in the square of twice `half` centimetres around a place, if they stand evenly in
    /// their cells.
    fn expected_within(&self, cells: &Cells, [x, y]: [f32; 2], half: f32) -> f32 {
        let Cells { columns, rows, .. } = cells;
        let (left, right) = (columns.line_at(x - half), columns.line_at(x + half));
        let [in_left, in_right] = [left, right].map(|column| columns.share(column, x, half));
        let mut expected = 0.0;
        for row in rows.line_at(y - half)..=rows.line_at(y + half) {
            let line = cells.base as usize + row * columns.lines();
            let start = |column: usize| self.starts[line + column] as f32;
            let (second, before) = (start(left + 1), start(right));
            let mut inside = (second - start(left)) * in_left;
            if left < right {
                inside += before - second + (start(right + 1) - before) * in_right;
            }
            expected += inside * rows.share(row, y, half);
        }
        expected
    }

    /// Rows of a kind in the order of their cells.
    #[cfg(test)]
    pub(super) fn rows_by_place(&self, kind: Kind) -> Vec<u32> {
        let cells = &self.cells[kind as usize];
        if cells.base == NOWHERE {
            return Vec::new();
        }
        let (from, to) = (self.starts[cells.base as usize], self.starts[cells.beyond() + 1]);
        let row = |place: usize| self.blocks[place / LANES].rows[place % LANES];
        (from as usize..to as usize).map(row).collect()
    }
}

/// Kind and bins of a row in one word: 12 bits each for the bins.
fn pack(kind: Kind, bin_x: usize, bin_y: usize) -> u32 {
    (kind as u32) << 24 | (bin_y as u32) << 12 | bin_x as u32
}

fn unpack(place: u32) -> (usize, usize, usize) {
    ((place >> 24) as usize, (place & 0xFFF) as usize, (place >> 12 & 0xFFF) as usize)
}

const _: () = assert!(BINS == 1 << 12 && Kind::COUNT < 0xFF);
