//! Latencies as a load generator records them: one fixed histogram, microseconds to ten seconds.

use super::Quantiles;
use crate::time::Nanos;
use hdrhistogram::Histogram;

/// Longest latency told apart from longer ones: 10 s, in microseconds.
const MAX_US: u64 = 10_000_000;

/// Latencies with three significant digits. Recording never allocates.
#[derive(Clone, Debug)]
pub struct Latency(Histogram<u64>);

impl Default for Latency {
    fn default() -> Self {
        let bounds = "1 ≤ 10^7 and three digits are valid bounds";
        Self(Histogram::new_with_bounds(1, MAX_US, 3).expect(bounds))
    }
}

impl Latency {
    /// Records one latency; longer than 10 s counts as 10 s.
    pub fn record(&mut self, latency: Nanos) {
        self.0.saturating_record(latency.as_us());
    }

    /// Latencies recorded.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The 99th percentile.
    pub fn p99(&self) -> Nanos {
        Nanos::from_us(self.0.value_at_quantile(0.99))
    }

    /// The summary in milliseconds.
    pub fn quantiles_ms(&self) -> Quantiles {
        Quantiles::of(&self.0, 1000.0)
    }

    /// Adds everything recorded in `other`.
    pub fn merge(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all have the same fixed bounds");
    }

    /// Forgets everything, keeps the memory.
    pub fn clear(&mut self) {
        self.0.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_beyond_the_bounds_counts_as_the_largest_and_is_not_lost() {
        let mut latency = Latency::default();
        latency.record(Nanos::from_ms(5));
        latency.record(Nanos(u64::MAX));
        latency.record(Nanos(0));
        let summary = latency.quantiles_ms();
        assert_eq!(latency.count(), 3);
        assert!((4.9..5.1).contains(&summary.p50), "{summary:?}");
        assert!(summary.max >= 9_999.0, "{summary:?}");
    }
}
