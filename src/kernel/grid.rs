//! The spatial index: entities sorted by kind and cell with a counting sort, rebuilt every tick.
//!
//! Each kind has a grid of its own whose cells follow its radius. The sorted copies of positions,
//! ids and rows stand row of cells after row of cells, so the entities of neighbouring cells in one
//! row of cells are one contiguous span: a query reads a few spans and nothing else. `world::index`
//! owns one grid per world and asks it; the grid knows nothing of lifecycles.

use super::lanes::{LANES, padded};
use super::nearest::{HeldSet, Nearest, Probe, Span};
use crate::state::Kind;
use crate::units::{EntityId, MAP_XY};

/// Cells along one axis at most.
const CELLS_MAX: u32 = 128;
/// Cell heights (along y) in one radius.
const ROWS_PER_RADIUS: f32 = 3.0;
/// Cell widths (along x) in one radius.
const COLUMNS_PER_RADIUS: f32 = 3.0;

/// Bounds that decide which cells are read are widened by this share and this many centimetres. The
/// arithmetic that finds cells and the one that measures distances round differently by less than a
/// tenth of it; a cell too many costs nanoseconds, a cell too few an entity.
const SLACK: f32 = 1.000_01;
const SLACK_CM: f32 = 1.0;

/// Marks a row that is in no cell.
const NOWHERE: u32 = u32::MAX;

/// The cells of one kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    columns: u32,
    rows: u32,
    width: f32,
    height: f32,
}

impl Shape {
    /// Cells that suit queries with `radius` centimetres.
    pub fn for_radius(radius: f32) -> Self {
        let cells =
            |per_radius: f32| ((MAP_XY / (radius / per_radius)).ceil() as u32).clamp(1, CELLS_MAX);
        let (columns, rows) = (cells(COLUMNS_PER_RADIUS), cells(ROWS_PER_RADIUS));
        Self { columns, rows, width: MAP_XY / columns as f32, height: MAP_XY / rows as f32 }
    }

    fn cells(self) -> u32 {
        self.columns * self.rows
    }

    /// The column of cells that `x` falls into. Monotone, so a range of x is a range of columns.
    fn column(self, x: f32) -> u32 {
        ((x / self.width) as u32).min(self.columns - 1)
    }

    fn row(self, y: f32) -> u32 {
        ((y / self.height) as u32).min(self.rows - 1)
    }
}

/// Entities sorted by kind and cell.
#[derive(Clone, Debug)]
pub struct Grid {
    shapes: [Shape; Kind::COUNT],
    /// First cell of each kind in `starts`; [`NOWHERE`] for a kind without entities.
    bases: [u32; Kind::COUNT],
    /// First entity of each cell, and one past the last. Two more than there are cells.
    starts: Box<[u32]>,
    /// The cell of each row of the world, between the two passes of the sort.
    cell_of: Box<[u32]>,
    position: [Box<[f32]>; 3],
    ids: Box<[u32]>,
    rows: Box<[u32]>,
}

impl Grid {
    /// An empty grid for `capacity` rows; `radius` by kind in centimetres.
    pub fn new(capacity: usize, radius: [f32; Kind::COUNT]) -> Self {
        let shapes = radius.map(Shape::for_radius);
        let cells: u32 = shapes.iter().map(|shape| shape.cells()).sum();
        // One block more than the rows, so that a span's last block is always whole.
        let lanes = padded(capacity) + LANES;
        let floats = || vec![0.0_f32; lanes].into_boxed_slice();
        let words = || vec![0_u32; lanes].into_boxed_slice();
        Self {
            shapes,
            bases: [NOWHERE; Kind::COUNT],
            starts: vec![0; cells as usize + 2].into_boxed_slice(),
            cell_of: words(),
            position: [floats(), floats(), floats()],
            ids: words(),
            rows: words(),
        }
    }

    /// Bytes of all allocations.
    pub fn memory_bytes(&self) -> usize {
        let columns = self.position.iter().map(|column| size_of_val(&**column)).sum::<usize>();
        columns
            + size_of_val(&*self.starts)
            + size_of_val(&*self.cell_of)
            + size_of_val(&*self.ids)
            + size_of_val(&*self.rows)
    }

    /// Sorts the rows `0..ids.len()` for which `kind_of` gives a kind. All slices have one length,
    /// at most the capacity; positions lie in the map.
    pub fn rebuild(
        &mut self,
        ids: &[EntityId],
        position: [&[f32]; 3],
        kind_of: impl Fn(usize) -> Option<Kind>,
    ) {
        let rows = ids.len();
        let [x, y, z] = position.map(|column| &column[..rows]);
        let cell_of = &mut self.cell_of[..rows];
        let cells = {
            let mut present = [false; Kind::COUNT];
            for (row, cell) in cell_of.iter_mut().enumerate() {
                *cell = match kind_of(row) {
                    Some(kind) => {
                        present[kind as usize] = true;
                        kind as u32
                    }
                    None => NOWHERE,
                };
            }
            self.bases = [NOWHERE; Kind::COUNT];
            let mut cells = 0;
            for (kind, shape) in self.shapes.iter().enumerate().filter(|&(kind, _)| present[kind]) {
                self.bases[kind] = cells;
                cells += shape.cells();
            }
            cells as usize
        };
        // Counts stand two places further than their cell: after the sums, place c + 1 is the start
        // of cell c, and after the scatter it is its end, which is the start of cell c + 1.
        let starts = &mut self.starts[..cells + 2];
        starts.fill(0);
        for (row, cell) in cell_of.iter_mut().enumerate().filter(|(_, cell)| **cell != NOWHERE) {
            let kind = *cell as usize;
            let shape = self.shapes[kind];
            *cell = self.bases[kind] + shape.row(y[row]) * shape.columns + shape.column(x[row]);
            starts[*cell as usize + 2] += 1;
        }
        let mut sum = 0;
        for start in starts.iter_mut() {
            sum += *start;
            *start = sum;
        }
        let [to_x, to_y, to_z] = &mut self.position;
        for (row, &cell) in cell_of.iter().enumerate().filter(|(_, cell)| **cell != NOWHERE) {
            let next = &mut starts[cell as usize + 1];
            let place = *next as usize;
            *next += 1;
            to_x[place] = x[row];
            to_y[place] = y[row];
            to_z[place] = z[row];
            self.ids[place] = ids[row].0;
            self.rows[place] = row as u32;
        }
    }

    /// Hands the entities of `kind` that `probe` may see to `out`, nearest rows of cells first, so
    /// that a crowd lowers the limit of `out` early and ends the search.
    pub fn gather(&self, kind: Kind, probe: &Probe, held: &HeldSet, out: &mut Nearest) {
        let base = self.bases[kind as usize];
        if base == NOWHERE {
            return;
        }
        let shape = self.shapes[kind as usize];
        let [x, y, _] = probe.viewer;
        let reach = probe.leave_squared.sqrt() * SLACK + SLACK_CM;
        let (first, last) = (shape.row(y - reach), shape.row(y + reach));
        let home = shape.row(y);
        for distance in 0..=(home - first).max(last - home) {
            for row in [home.checked_sub(distance), (distance > 0).then_some(home + distance)] {
                let Some(row) = row.filter(|row| (first..=last).contains(row)) else { continue };
                let south = row as f32 * shape.height;
                let gap = (south - y).max(y - (south + shape.height)) - SLACK_CM;
                let gap = gap.max(0.0);
                let wanted = probe.leave_squared.min(out.limit_squared());
                let half_squared = wanted * SLACK - gap * gap;
                if half_squared < 0.0 {
                    continue;
                }
                let half = half_squared.sqrt() * SLACK + SLACK_CM;
                let line = base + row * shape.columns;
                let from = self.starts[(line + shape.column(x - half)) as usize];
                let to = self.starts[(line + shape.column(x + half) + 1) as usize];
                if from < to {
                    out.scan(self.span(from, to), probe, held);
                }
            }
        }
    }

    fn span(&self, from: u32, to: u32) -> Span<'_> {
        let from = from as usize;
        Span {
            position: [
                &self.position[0][from..],
                &self.position[1][from..],
                &self.position[2][from..],
            ],
            ids: &self.ids[from..],
            rows: &self.rows[from..],
            len: to as usize - from,
        }
    }
}
