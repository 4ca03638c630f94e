//! Durations of a shard: every phase, the whole tick, the jitter of its start; and sizes.

use super::Phase;
use hdrhistogram::Histogram;

/// Longest duration told apart from longer ones: 10 s.
const MAX_NS: u64 = 10_000_000_000;

/// The histograms of one shard for one window of time. Bounds are fixed at construction, so
/// recording never allocates.
#[derive(Clone, Debug)]
pub struct Histograms {
    phases: [Histogram<u64>; Phase::COUNT],
    /// Whole ticks, from the planned start's actual begin to the last datagram handed over,
    /// nanoseconds.
    pub tick: Histogram<u64>,
    /// How late ticks began, nanoseconds.
    pub start_jitter: Histogram<u64>,
    /// How long shards waited for the others, nanoseconds.
    pub meeting: Histogram<u64>,
    /// How much longer the busiest shard worked in a tick than the idlest, nanoseconds; recorded by
    /// one shard for all.
    pub skew: Histogram<u64>,
    /// Payload bytes of snapshot datagrams, of viewers taken in turns.
    pub snapshot_bytes: Histogram<u64>,
}

/// The summary that reports print, in the unit of the histogram divided by the caller's scale.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Quantiles {
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p999: f64,
    /// Largest value seen.
    pub max: f64,
}

impl Quantiles {
    /// Reads `histogram`, dividing every value by `scale` (1,000 turns nanoseconds into
    /// microseconds).
    pub fn of(histogram: &Histogram<u64>, scale: f64) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / scale;
        Self { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: histogram.max() as f64 / scale }
    }
}

fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MAX_NS, 2).expect("1 ≤ 10^10 and two digits are valid bounds")
}

impl Default for Histograms {
    fn default() -> Self {
        Self {
            phases: std::array::from_fn(|_| empty()),
            tick: empty(),
            start_jitter: empty(),
            meeting: empty(),
            skew: empty(),
            snapshot_bytes: empty(),
        }
    }
}

impl Histograms {
    /// Records that `phase` took `ns` in one tick.
    pub fn record_phase(&mut self, phase: Phase, ns: u64) {
        self.phases[phase as usize].saturating_record(ns);
    }

    /// The durations of `phase`, one value per tick.
    pub fn phase(&self, phase: Phase) -> &Histogram<u64> {
        &self.phases[phase as usize]
    }

    /// Adds everything recorded in `other`.
    pub fn merge(&mut self, other: &Self) {
        let bounds = "all have the same fixed bounds";
        for (mine, theirs) in self.phases.iter_mut().zip(&other.phases) {
            mine.add(theirs).expect(bounds);
        }
        self.tick.add(&other.tick).expect(bounds);
        self.start_jitter.add(&other.start_jitter).expect(bounds);
        self.meeting.add(&other.meeting).expect(bounds);
        self.skew.add(&other.skew).expect(bounds);
        self.snapshot_bytes.add(&other.snapshot_bytes).expect(bounds);
    }

    /// Forgets everything, keeps the memory.
    pub fn clear(&mut self) {
        self.phases.iter_mut().for_each(Histogram::reset);
        self.tick.reset();
        self.start_jitter.reset();
        self.meeting.reset();
        self.skew.reset();
        self.snapshot_bytes.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_windows_hold_every_value_of_both() {
        let (mut a, mut b) = (Histograms::default(), Histograms::default());
        a.record_phase(Phase::Seal, 1_000);
        b.record_phase(Phase::Seal, 3_000);
        b.tick.saturating_record(u64::MAX);
        a.merge(&b);
        assert_eq!(a.phase(Phase::Seal).len(), 2);
        let seal = Quantiles::of(a.phase(Phase::Seal), 1_000.0);
        assert!((2.9..3.1).contains(&seal.max) && (0.9..1.1).contains(&seal.p50), "{seal:?}");
        a.clear();
        assert_eq!(a.phase(Phase::Seal).len() + a.tick.len(), 0);
    }
}
