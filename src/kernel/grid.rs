//! The spatial index: entities sorted by kind and cell with a counting sort, rebuilt every tick.
//!
//! Each kind has a grid of its own whose cells follow its radius and its crowds (`axis`). The
//! sorted copies of positions, ids and rows stand row of cells after row of cells, so the entities
//! of neighbouring cells in one row of cells are one contiguous span: a query reads a few spans and
//! nothing else. `world::index` owns one grid per world and asks it; the grid knows nothing of
//! lifecycles.

use super::axis::{Axis, BINS, LINES_MAX, bin};
use super::lanes::{LANES, padded};
use super::nearest::{HeldSet, Nearest, Probe, Span};
use crate::state::Kind;
use crate::units::EntityId;

/// Heights of a row of cells (along y) in one radius, where it is not crowded. Measured with 54
/// visible of 10,000: one row in a radius takes 218 ns per query, 1.5 rows 244, two 276, three 308.
/// A row costs a lookup and a mispredicted end of a loop, which is more than the entities it saves.
const ROWS_PER_RADIUS: f32 = 1.0;
/// Widths of a column of cells (along x) in one radius. Columns cost a query nothing.
const COLUMNS_PER_RADIUS: f32 = 8.0;

/// Bounds that decide which cells are read are widened by this share and this many centimetres. The
/// arithmetic that finds cells and the one that measures distances round differently by less than a
/// tenth of it; a cell too many costs nanoseconds, a cell too few an entity.
const SLACK: f32 = 1.000_01;
const SLACK_CM: f32 = 1.0;

/// Marks a row that is in no cell, and a kind that has no cells.
const NOWHERE: u32 = u32::MAX;

/// Entities of one kind by bin, along x and y.
#[derive(Clone, Debug)]
struct Histogram {
    x: [u32; BINS],
    y: [u32; BINS],
}

/// The cells of one kind.
#[derive(Clone, Debug)]
struct Cells {
    columns: Axis,
    rows: Axis,
    /// First cell in `Grid::starts`; [`NOWHERE`] without entities.
    base: u32,
    /// Zero between rebuilds.
    histogram: Box<Histogram>,
    population: usize,
}

/// Entities sorted by kind and cell.
#[derive(Clone, Debug)]
pub struct Grid {
    cells: [Cells; Kind::COUNT],
    /// First entity of each cell, and one past the last. Two more than there are cells.
    starts: Box<[u32]>,
    /// Between the passes of the sort: kind and bins of each row of the world, then its cell.
    place_of: Box<[u32]>,
    position: [Box<[f32]>; 3],
    ids: Box<[u32]>,
    rows: Box<[u32]>,
}

impl Grid {
    /// An empty grid for `capacity` rows; `radius` by kind in centimetres.
    pub fn new(capacity: usize, radius: [f32; Kind::COUNT]) -> Self {
        let cells = radius.map(|radius| Cells {
            columns: Axis::new(radius / COLUMNS_PER_RADIUS),
            rows: Axis::new(radius / ROWS_PER_RADIUS),
            base: NOWHERE,
            histogram: Box::new(Histogram { x: [0; BINS], y: [0; BINS] }),
            population: 0,
        });
        // One block more than the rows, so that a span's last block is always whole.
        let lanes = padded(capacity) + LANES;
        let floats = || vec![0.0_f32; lanes].into_boxed_slice();
        let words = || vec![0_u32; lanes].into_boxed_slice();
        Self {
            cells,
            starts: vec![0; Kind::COUNT * LINES_MAX * LINES_MAX + 2].into_boxed_slice(),
            place_of: words(),
            position: [floats(), floats(), floats()],
            ids: words(),
            rows: words(),
        }
    }

    /// Bytes of all allocations.
    pub fn memory_bytes(&self) -> usize {
        let columns = self.position.iter().map(|column| size_of_val(&**column)).sum::<usize>();
        let axes = self.cells.iter().map(|c| c.columns.memory_bytes() + c.rows.memory_bytes());
        columns
            + axes.sum::<usize>()
            + size_of_val(&*self.starts)
            + size_of_val(&*self.place_of)
            + Kind::COUNT * size_of::<Histogram>()
            + size_of_val(&*self.ids)
            + size_of_val(&*self.rows)
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
        let place_of = &mut self.place_of[..rows];
        for place in place_of.iter_mut().filter(|place| **place != NOWHERE) {
            let (kind, bin_x, bin_y) = unpack(*place);
            let Cells { columns, rows, base, .. } = &self.cells[kind];
            let cell = rows.line_of(bin_y) * columns.lines() + columns.line_of(bin_x);
            *place = base + cell as u32;
            starts[*place as usize + 2] += 1;
        }
        let mut sum = 0;
        for start in starts.iter_mut() {
            sum += *start;
            *start = sum;
        }
        let [to_x, to_y, to_z] = &mut self.position;
        for (row, &cell) in place_of.iter().enumerate().filter(|(_, cell)| **cell != NOWHERE) {
            let next = &mut starts[cell as usize + 1];
            let place = *next as usize;
            *next += 1;
            to_x[place] = x[row];
            to_y[place] = y[row];
            to_z[place] = z[row];
            self.ids[place] = ids[row].0;
            self.rows[place] = seats[row];
        }
    }

    /// Notes kind and bins of every row, and cuts the axes of the kinds that there are to fit their
    /// entities. Gives the number of cells.
    fn cut(&mut self, x: &[f32], y: &[f32], kind_of: impl Fn(usize) -> Option<Kind>) -> usize {
        let place_of = &mut self.place_of[..x.len()];
        for (row, place) in place_of.iter_mut().enumerate() {
            *place = NOWHERE;
            if let Some(kind) = kind_of(row) {
                let (bin_x, bin_y) = (bin(x[row]), bin(y[row]));
                let of_kind = &mut self.cells[kind as usize];
                of_kind.population += 1;
                of_kind.histogram.x[bin_x] += 1;
                of_kind.histogram.y[bin_y] += 1;
                *place = pack(kind, bin_x, bin_y);
            }
        }
        let mut cells = 0;
        for Cells { columns, rows, base, histogram, population } in &mut self.cells {
            *base = NOWHERE;
            if *population > 0 {
                columns.rebuild(&histogram.x, *population);
                rows.rebuild(&histogram.y, *population);
                *base = cells as u32;
                cells += columns.lines() * rows.lines();
                histogram.x.fill(0);
                histogram.y.fill(0);
                *population = 0;
            }
        }
        cells
    }

    /// Hands the entities of `kind` that `probe` may see to `out`, nearest rows of cells first, so
    /// that a crowd lowers the limit of `out` early and ends the search.
    pub fn gather(&self, kind: Kind, probe: &Probe, held: &HeldSet, out: &mut Nearest) {
        let Cells { columns, rows, base, .. } = &self.cells[kind as usize];
        if *base == NOWHERE {
            return;
        }
        let [x, y, _] = probe.viewer;
        let reach = probe.leave_squared.sqrt() * SLACK + SLACK_CM;
        let (first, last) = (rows.line_at(y - reach), rows.line_at(y + reach));
        let home = rows.line_at(y);
        let mut visit = |row: usize| {
            let gap = (rows.gap(row, y) - SLACK_CM).max(0.0);
            let wanted = probe.leave_squared.min(out.limit_squared());
            let half_squared = wanted * SLACK - gap * gap;
            if half_squared < 0.0 {
                return false;
            }
            let half = half_squared.sqrt() * SLACK + SLACK_CM;
            let line = *base as usize + row * columns.lines();
            let from = self.starts[line + columns.line_at(x - half)];
            let to = self.starts[line + columns.line_at(x + half) + 1];
            if from < to {
                out.scan(self.span(from, to), probe, held);
            }
            true
        };
        visit(home);
        let (mut below, mut above) = (home, home);
        loop {
            let south = below > first && visit(below - 1);
            let north = above < last && visit(above + 1);
            below = if south { below - 1 } else { first };
            above = if north { above + 1 } else { last };
            if !south && !north {
                break;
            }
        }
    }

    /// The published rows of `kind` in the order of their cells. Viewers that ask in this order
    /// find the entities around them in the cache already: a query takes a third less time than in
    /// random order.
    pub fn rows_by_place(&self, kind: Kind) -> &[u32] {
        let Cells { columns, rows, base, .. } = &self.cells[kind as usize];
        if *base == NOWHERE {
            return &[];
        }
        let last = *base as usize + columns.lines() * rows.lines();
        &self.rows[self.starts[*base as usize] as usize..self.starts[last] as usize]
    }

    fn span(&self, from: u32, to: u32) -> Span<'_> {
        let from = from as usize;
        let [x, y, z] = &self.position;
        Span {
            position: [&x[from..], &y[from..], &z[from..]],
            ids: &self.ids[from..],
            rows: &self.rows[from..],
            len: to as usize - from,
        }
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
