//! How the grid cuts one axis of the map into lines: wide ones where few stand, narrow ones in a
//! crowd.
//!
//! The map is divided into bins of two metres, and a crowded bin into sixteen parts. A line is a
//! run of bins or parts; it ends when it is as wide as suits the radius, or earlier when enough
//! entities are in it. So a query among evenly spread entities reads few lines, and one in the
//! middle of a crowd reads narrow ones. `grid` owns two axes per kind.

use crate::units::MAP_XY;
use std::ops::Range;

/// Bins of an axis.
pub(super) const BINS: usize = 4096;
/// Parts of a crowded bin.
const PARTS: usize = 16;
/// Lines of an axis at most.
pub(super) const LINES_MAX: usize = 1 << u8::BITS;

const BIN_CM: f32 = MAP_XY / BINS as f32;
const PART_CM: f32 = BIN_CM / PARTS as f32;
/// Crowded bins that an axis can divide.
const DIVIDED_MAX: usize = 64;
/// In the table of lines: from here on, the number of a divided bin.
const DIVIDED: u16 = LINES_MAX as u16;

/// How finely an axis is cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    /// Width of a line in centimetres where it is not crowded.
    pub(super) width: f32,
    /// Lines that width alone may make.
    pub(super) lines_by_width: usize,
    /// Entities that end a line early, at least.
    pub(super) crowd: usize,
    /// Lines that end early, at most.
    pub(super) lines_by_crowd: usize,
}

impl Cut {
    /// Entities that end a line early if there are `total`. A line has fewer than twice as many, or
    /// is a single part of a bin.
    pub(super) fn crowd_of(self, total: usize) -> usize {
        self.crowd.max(total.div_ceil(self.lines_by_crowd))
    }

    /// A line that is not the last has reached its width or its crowd, or ends at a part that is a
    /// crowd by itself.
    const fn lines_max(self) -> usize {
        self.lines_by_width + 2 * self.lines_by_crowd + 1
    }
}

/// The bin of a coordinate; what lies outside the map falls into the outermost bin. Monotone, so a
/// range of coordinates is a range of bins.
#[inline(always)]
pub(super) fn bin(coordinate: f32) -> usize {
    ((coordinate * (1.0 / BIN_CM)) as usize).min(BINS - 1)
}

/// The part of `bin` that a coordinate in it falls into; monotone.
#[inline(always)]
fn part(bin: usize, coordinate: f32) -> usize {
    (((coordinate - bin as f32 * BIN_CM) * (1.0 / PART_CM)) as usize).min(PARTS - 1)
}

/// The lines of one axis.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    cut: Cut,
    /// Width of a line in bins where it is not crowded.
    bins_per_line: usize,
    /// The line of each bin, or from [`DIVIDED`] on its place in the two tables of parts.
    line_of_bin: Box<[u16; BINS]>,
    line_of_part: Box<[[u8; PARTS]; DIVIDED_MAX]>,
    /// Zero between rebuilds.
    histogram: Box<[u32; BINS]>,
    /// Entities by part of the divided bins; zero between rebuilds.
    parts: Box<[[u32; PARTS]; DIVIDED_MAX]>,
    divided: usize,
    /// Where in each line somebody is: not before, not beyond. A line without anybody in full.
    extents: Box<[(f32, f32); LINES_MAX]>,
    lines: usize,
}

impl Axis {
    /// One line, to be rebuilt into many.
    pub(super) fn new(cut: Cut) -> Self {
        assert!(cut.lines_max() <= LINES_MAX && cut.lines_by_crowd <= DIVIDED_MAX);
        let least = BINS / cut.lines_by_width;
        Self {
            cut,
            bins_per_line: ((cut.width / BIN_CM) as usize).clamp(least, BINS),
            line_of_bin: Box::new([0; BINS]),
            line_of_part: Box::new([[0; PARTS]; DIVIDED_MAX]),
            histogram: Box::new([0; BINS]),
            parts: Box::new([[0; PARTS]; DIVIDED_MAX]),
            divided: 0,
            extents: Box::new([(0.0, 0.0); LINES_MAX]),
            lines: 1,
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        size_of_val(&*self.line_of_bin)
            + size_of_val(&*self.line_of_part)
            + size_of_val(&*self.histogram)
            + size_of_val(&*self.parts)
            + size_of_val(&*self.extents)
    }

    /// Lines that there can be at most.
    pub(super) const fn lines_max(&self) -> usize {
        self.cut.lines_max()
    }

    /// Counts an entity in a bin for the next rebuild.
    #[inline(always)]
    pub(super) fn count(&mut self, bin: usize) {
        self.histogram[bin] += 1;
    }

    /// Finds the crowded bins of the `total` entities that were counted. If there are any, the
    /// entities in them are to be counted by part before the axis is rebuilt.
    pub(super) fn divide(&mut self, total: usize) -> bool {
        let crowd = self.cut.crowd_of(total) as u32;
        self.divided = 0;
        if self.histogram.iter().fold(0, |most, count| most.max(*count)) < crowd {
            return false;
        }
        for (line, &count) in self.line_of_bin.iter_mut().zip(self.histogram.iter()) {
            *line = 0;
            if count >= crowd {
                *line = DIVIDED + self.divided as u16;
                self.divided += 1;
            }
        }
        true
    }

    /// Counts an entity by part, if its bin is a crowded one.
    #[inline(always)]
    pub(super) fn count_part(&mut self, bin: usize, coordinate: f32) {
        if self.divided > 0
            && let Some(place) = self.line_of_bin[bin].checked_sub(DIVIDED)
        {
            self.parts[usize::from(place)][part(bin, coordinate)] += 1;
        }
    }

    /// Cuts the axis anew to suit the `total` entities that were counted.
    pub(super) fn rebuild(&mut self, total: usize) {
        let crowd = self.cut.crowd_of(total) as u32;
        let (mut bin, mut end) = (0, self.bins_per_line);
        let mut open = Open::at(0);
        self.lines = 0;
        loop {
            if open.inside + self.histogram[bin..end].iter().sum::<u32>() < crowd {
                self.extend(&mut open, bin..end);
                bin = end;
            }
            while bin < end && open.inside < crowd {
                if self.histogram[bin] < crowd {
                    self.extend(&mut open, bin..bin + 1);
                } else if self.extend_by_parts(&mut open, bin, crowd) {
                    end = bin + 1 + self.bins_per_line;
                }
                bin += 1;
                end = end.min(BINS);
            }
            self.close(&mut open, bin * PARTS);
            if bin == BINS {
                break;
            }
            end = (bin + self.bins_per_line).min(BINS);
        }
        self.histogram.fill(0);
    }

    /// Adds whole bins to a line.
    #[inline(always)]
    fn extend(&mut self, open: &mut Open, bins: Range<usize>) {
        let counts = &self.histogram[bins.clone()];
        if let Some(first) = counts.iter().position(|&count| count > 0) {
            let empty = counts.iter().rev().take_while(|&&count| count == 0).count();
            let inside = counts.iter().sum();
            open.add(inside, (bins.start + first) * PARTS, (bins.end - empty) * PARTS);
        }
        self.line_of_bin[bins].fill(self.lines as u16);
    }

    /// Adds a crowded bin, part by part; tells whether lines ended in it.
    fn extend_by_parts(&mut self, open: &mut Open, bin: usize, crowd: u32) -> bool {
        let place = usize::from(self.line_of_bin[bin] - DIVIDED);
        let before = self.lines;
        for part in 0..PARTS {
            let count = std::mem::take(&mut self.parts[place][part]);
            if open.inside >= crowd || (open.inside > 0 && count >= crowd) {
                self.close(open, bin * PARTS + part);
            }
            if count > 0 {
                open.add(count, bin * PARTS + part, bin * PARTS + part + 1);
            }
            self.line_of_part[place][part] = self.lines as u8;
        }
        self.lines > before
    }

    /// Ends a line; the next one begins at a part, counted through all bins.
    fn close(&mut self, open: &mut Open, next: usize) {
        let Open { inside, low, high } = std::mem::replace(open, Open::at(next));
        let high = if inside == 0 { next as u32 } else { high };
        self.extents[self.lines] = (low as f32 * PART_CM, high as f32 * PART_CM);
        self.lines += 1;
    }

    /// Lines there are.
    pub(super) fn lines(&self) -> usize {
        self.lines
    }

    /// The line that `coordinate` falls into; monotone.
    #[inline(always)]
    pub(super) fn line_at(&self, coordinate: f32) -> usize {
        self.line_in(bin(coordinate), coordinate)
    }

    /// The line that `coordinate`, which lies in `bin`, falls into.
    #[inline(always)]
    pub(super) fn line_in(&self, bin: usize, coordinate: f32) -> usize {
        let line = self.line_of_bin[bin];
        match line.checked_sub(DIVIDED) {
            None => usize::from(line),
            Some(place) => {
                usize::from(self.line_of_part[usize::from(place)][part(bin, coordinate)])
            }
        }
    }

    /// Where in a line its entities are.
    #[inline(always)]
    pub(super) fn extent(&self, line: usize) -> (f32, f32) {
        self.extents[line]
    }

    /// The share of a line's entities that is within `half` centimetres of `coordinate`, if they
    /// stand evenly.
    #[inline(always)]
    pub(super) fn share(&self, line: usize, coordinate: f32, half: f32) -> f32 {
        let (low, high) = self.extent(line);
        let within = high.min(coordinate + half) - low.max(coordinate - half);
        (within / (high - low).max(PART_CM)).clamp(0.0, 1.0)
    }

    /// Distance in centimetres from `coordinate` to the nearest place in a line where there is
    /// somebody, or less.
    #[inline(always)]
    pub(super) fn gap(&self, line: usize, coordinate: f32) -> f32 {
        let (low, high) = self.extent(line);
        (low - coordinate).max(coordinate - high).max(0.0)
    }
}

/// A line that is not closed yet.
struct Open {
    inside: u32,
    /// The part of a bin, counted through all bins, where the first entity is, and the one behind
    /// the last. Where the line begins while nobody is in it.
    low: u32,
    high: u32,
}

impl Open {
    fn at(part: usize) -> Self {
        Self { inside: 0, low: part as u32, high: part as u32 }
    }

    /// Adds the `count` entities, which are some, from part `low` on and before part `high`.
    #[inline(always)]
    fn add(&mut self, count: u32, low: usize, high: usize) {
        self.low = if self.inside == 0 { low as u32 } else { self.low };
        self.high = high as u32;
        self.inside += count;
    }
}

#[cfg(test)]
mod tests {
    use super::super::lanes::samples::Seeded;
    use super::*;

    const CUT: Cut = Cut { width: 15_000.0, lines_by_width: 64, crowd: 160, lines_by_crowd: 24 };

    fn rebuilt(cut: Cut, places: &[f32]) -> Axis {
        let mut axis = Axis::new(cut);
        rebuild(&mut axis, places);
        axis
    }

    fn rebuild(axis: &mut Axis, places: &[f32]) {
        places.iter().for_each(|&at| axis.count(bin(at)));
        if axis.divide(places.len()) {
            places.iter().for_each(|&at| axis.count_part(bin(at), at));
        }
        axis.rebuild(places.len());
    }

    /// What `grid` relies on: lines in order, few enough, with everybody in his line's extent, and
    /// no line crowded that could have been cut.
    fn check(axis: &Axis, places: &[f32], what: &str) {
        assert!(axis.lines() <= axis.lines_max(), "{what}: {} lines", axis.lines());
        let parts = (0..BINS * PARTS).map(|part| axis.line_at((part as f32 + 0.5) * PART_CM));
        let lines: Vec<_> = parts.collect();
        assert_eq!((lines[0], lines[BINS * PARTS - 1]), (0, axis.lines() - 1), "{what}");
        assert!(lines.windows(2).all(|two| two[1] - two[0] <= 1), "{what}: a line is left out");
        let mut inside = vec![0; axis.lines()];
        for &at in places {
            let line = axis.line_at(at);
            inside[line] += 1;
            let (low, high) = axis.extent(line);
            assert!(low - 0.1 <= at && at <= high + 0.1, "{what}: {at} in {line}");
        }
        let crowd = axis.cut.crowd_of(places.len());
        let mut end = 0.0;
        for (line, &count) in inside.iter().enumerate().filter(|(_, count)| **count > 0) {
            let (low, high) = axis.extent(line);
            assert!(end <= low && low < high && high <= MAP_XY, "{what}: line {line}");
            assert!(high - low <= (axis.bins_per_line + 1) as f32 * BIN_CM, "{what}: line {line}");
            assert!(count < 2 * crowd || high - low < 1.5 * PART_CM, "{what}: {count} in {line}");
            end = high;
        }
    }

    #[test]
    fn any_crowd_is_cut_into_a_bounded_number_of_lines() {
        let mut axis = Axis::new(CUT);
        for seed in 0..200 {
            let mut random = Seeded(seed);
            let width = [0.0, 1.0, 15_000.0, 100_000.0, 1e9][seed as usize % 5];
            let mut places = Vec::new();
            for _ in 0..random.below(4) {
                let (first, spread) = (random.float(0.0, 8e5), random.float(0.0, 200.0).powi(2));
                let at = |random: &mut Seeded| (first + random.float(0.0, spread)).min(MAP_XY);
                places.extend((0..random.below(8_000)).map(|_| at(&mut random)));
            }
            let what = format!("seed {seed}");
            check(&rebuilt(Cut { width, ..CUT }, &places), &places, &what);
            // Nothing of what was before is left.
            rebuild(&mut axis, &places);
            check(&axis, &places, &what);
        }
        let evenly: Vec<_> = (0..1 << 18).map(|i| i as f32 * (MAP_XY / (1 << 18) as f32)).collect();
        check(&rebuilt(Cut { width: 0.0, ..CUT }, &evenly), &evenly, "very many, evenly");
    }

    #[test]
    fn lines_are_wide_where_it_is_empty_and_narrow_in_a_crowd() {
        let wide = Cut { width: 100_000.0, ..CUT };
        assert_eq!(rebuilt(wide, &[]).lines(), 9);
        let mut random = Seeded(3);
        let square = |random: &mut Seeded| random.float(4e5, 4.2e5);
        let places: Vec<_> = (0..2400).map(|_| square(&mut random)).collect();
        let axis = rebuilt(wide, &places);
        let lines = axis.line_at(4.2e5) - axis.line_at(4e5);
        assert!((11..=15).contains(&lines), "{lines} lines of at least 160");
        let heap: Vec<_> = (0..2400).map(|_| random.float(4e5, 4.002e5)).collect();
        let axis = rebuilt(wide, &heap);
        let lines = axis.line_at(4.002e5) - axis.line_at(4e5);
        assert!((7..=16).contains(&lines), "{lines} lines of one bin");
        // Everybody on one spot: a line of 12.5 cm.
        let axis = rebuilt(wide, &[4e5 + 30.0; 500]);
        assert_eq!(axis.extent(axis.line_at(4e5 + 30.0)), (4e5 + 25.0, 4e5 + 37.5));
    }

    #[test]
    fn gaps_are_distances_to_where_somebody_is_and_shares_what_is_near() {
        let mut random = Seeded(5);
        let places: Vec<_> = (0..3000).map(|_| random.float(1e5, 7e5)).collect();
        let axis = rebuilt(CUT, &places);
        for _ in 0..10_000 {
            let at = random.float(0.0, MAP_XY);
            let other = random.below(axis.lines() as u64) as usize;
            let (low, high) = axis.extent(other);
            let gap = (at - at.clamp(low, high)).abs();
            assert!((axis.gap(other, at) - gap).abs() < 0.2, "{at}, {other}");
            let half = random.float(0.0, 1e5);
            let share = axis.share(other, at, half);
            assert_eq!(share > 0.0, gap < half, "{at}, {other}, {half}: {share}");
            assert!(share <= 1.0);
        }
        assert_eq!((axis.line_at(-1e9), axis.line_at(f32::NAN)), (0, 0));
        assert_eq!(axis.line_at(f32::INFINITY), axis.lines() - 1);
    }
}
