//! How the grid cuts one axis of the map into lines: wide ones where few stand, narrow ones in a
//! crowd.
//!
//! The map is divided into bins of two metres. A line is a run of bins; it ends when it is as wide
//! as suits the radius, or earlier when enough entities are in it. So a query among evenly spread
//! entities reads few lines, and one in the middle of a crowd reads narrow ones. `grid` owns two
//! axes per kind.

use crate::units::MAP_XY;

/// Bins of an axis.
pub(super) const BINS: usize = 4096;
/// Lines of an axis at most.
pub(super) const LINES_MAX: usize = 129;

const BIN_CM: f32 = MAP_XY / BINS as f32;
/// Lines that width alone may make, and lines that crowds alone may make.
const LINES_BY_WIDTH: usize = 64;
const LINES_BY_CROWD: usize = 64;
/// Entities that may end a line early, at least.
const CROWD: usize = 512;

// A line that is not the last has reached its width or its crowd.
const _: () = assert!(LINES_BY_WIDTH + LINES_BY_CROWD < LINES_MAX);
const _: () = assert!(LINES_MAX <= 1 << u8::BITS);

/// The bin of a coordinate; what lies outside the map falls into the outermost bin. Monotone, so a
/// range of coordinates is a range of bins.
#[inline(always)]
pub(super) fn bin(coordinate: f32) -> usize {
    ((coordinate * (1.0 / BIN_CM)) as usize).min(BINS - 1)
}

/// The lines of one axis.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    /// Width of a line in bins where it is not crowded.
    bins_per_line: usize,
    line_of_bin: Box<[u8; BINS]>,
    /// First coordinate of each line, and the end of the last.
    edges: [f32; LINES_MAX + 1],
    lines: usize,
}

impl Axis {
    /// One line, to be rebuilt into lines of up to `width` centimetres.
    pub(super) fn new(width: f32) -> Self {
        let bins_per_line = ((width / BIN_CM) as usize).clamp(BINS / LINES_BY_WIDTH, BINS);
        let mut edges = [MAP_XY; LINES_MAX + 1];
        edges[0] = 0.0;
        Self { bins_per_line, line_of_bin: Box::new([0; BINS]), edges, lines: 1 }
    }

    pub(super) const fn memory_bytes(&self) -> usize {
        BINS
    }

    /// Cuts the axis anew; `histogram` tells how many of the `total` entities are in each bin.
    pub(super) fn rebuild(&mut self, histogram: &[u32; BINS], total: usize) {
        let crowd = CROWD.max(total.div_ceil(LINES_BY_CROWD)) as u32;
        let (mut line, mut inside, mut end) = (0, 0, self.bins_per_line);
        for (bin, &count) in histogram.iter().enumerate() {
            if bin == end || inside >= crowd {
                line += 1;
                self.edges[line] = bin as f32 * BIN_CM;
                (inside, end) = (0, bin + self.bins_per_line);
            }
            inside += count;
            self.line_of_bin[bin] = line as u8;
        }
        self.lines = line + 1;
        self.edges[self.lines] = MAP_XY;
    }

    /// Lines there are.
    pub(super) fn lines(&self) -> usize {
        self.lines
    }

    /// The line of a bin.
    #[inline(always)]
    pub(super) fn line_of(&self, bin: usize) -> usize {
        usize::from(self.line_of_bin[bin])
    }

    /// The line that `coordinate` falls into; monotone.
    #[inline(always)]
    pub(super) fn line_at(&self, coordinate: f32) -> usize {
        self.line_of(bin(coordinate))
    }

    /// Distance in centimetres from `coordinate` to the nearest point of a line, 0 inside.
    #[inline(always)]
    pub(super) fn gap(&self, line: usize, coordinate: f32) -> f32 {
        (self.edges[line] - coordinate).max(coordinate - self.edges[line + 1]).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::lanes::samples::Seeded;
    use super::*;

    fn check(axis: &Axis, what: &str) {
        assert!(axis.lines() <= LINES_MAX, "{what}: {} lines", axis.lines());
        assert_eq!((axis.line_of(0), axis.line_of(BINS - 1)), (0, axis.lines() - 1), "{what}");
        for bin in 1..BINS {
            let step = axis.line_of(bin) - axis.line_of(bin - 1);
            assert!(step <= 1, "{what}: bin {bin}");
            let edge = axis.edges[axis.line_of(bin)];
            assert_eq!(step == 1, edge == bin as f32 * BIN_CM, "{what}: bin {bin}, edge {edge}");
        }
        assert_eq!((axis.edges[0], axis.edges[axis.lines()]), (0.0, MAP_XY), "{what}");
    }

    #[test]
    fn any_crowd_is_cut_into_a_bounded_number_of_lines() {
        for seed in 0..200 {
            let mut random = Seeded(seed);
            let mut axis = Axis::new([0.0, 1.0, 15_000.0, 100_000.0, 1e9][seed as usize % 5]);
            let mut histogram = Box::new([0_u32; BINS]);
            for _ in 0..random.below(4) {
                let (first, spread) = (random.below(4000), 1 + random.below(96));
                for _ in 0..random.below(20_000) {
                    histogram[(first + random.below(spread)) as usize] += 1;
                }
            }
            let total = histogram.iter().sum::<u32>() as usize;
            axis.rebuild(&histogram, total);
            check(&axis, &format!("seed {seed}"));
        }
        let mut axis = Axis::new(0.0);
        axis.rebuild(&[1 << 8; BINS], BINS << 8);
        check(&axis, "a million, evenly");
    }

    #[test]
    fn lines_are_wide_where_it_is_empty_and_narrow_in_a_crowd() {
        let mut axis = Axis::new(100_000.0);
        let mut histogram = Box::new([0; BINS]);
        axis.rebuild(&histogram, 0);
        assert_eq!(axis.lines(), 9);
        histogram[1000..1100].fill(100);
        axis.rebuild(&histogram, 10_000);
        let crowded = axis.line_of(1100) - axis.line_of(1000);
        assert_eq!(crowded, 16, "six bins of a hundred fill a line");
        check(&axis, "crowd");
    }

    #[test]
    fn gaps_are_distances_to_the_line_and_coordinates_fall_inside_it() {
        let mut axis = Axis::new(50_000.0);
        axis.rebuild(&[0; BINS], 0);
        let mut random = Seeded(5);
        for _ in 0..10_000 {
            let at = random.float(0.0, MAP_XY);
            let line = axis.line_at(at);
            assert!(axis.gap(line, at) < 0.1, "{at}");
            for other in 0..axis.lines() {
                let (low, high) = (axis.edges[other], axis.edges[other + 1]);
                let nearest = at.clamp(low, high);
                assert!((axis.gap(other, at) - (at - nearest).abs()).abs() < 0.2, "{at}, {other}");
            }
        }
        assert_eq!((axis.line_at(-1e9), axis.line_at(f32::NAN)), (0, 0));
        assert_eq!(axis.line_at(f32::INFINITY), axis.lines() - 1);
    }
}
