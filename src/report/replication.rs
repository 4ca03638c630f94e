//! What replication did in a run: `server.replication` of the report.

use super::Stats;
use crate::metrics::Counter;
use serde::{Deserialize, Serialize};

/// Bytes of one entity's full quantized state, as a full entry would have it: slot, quadrant,
/// position, yaw, velocity, animation, flags, health, mana, effects and faction. What savings are
/// measured against.
pub const FULL_STATE_BYTES: u64 = 25;

/// Figures of replication; described in `docs/RUN_REPORT.md`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReplicationReport {
    /// Bits of an entity entry as sent, slot and age included, mean.
    pub bits_per_update: f64,
    /// Entity entries sent per second, to all players.
    pub updates_per_s: f64,
    /// Share of the entries that were copied and not encoded for the viewer.
    pub hit_rate: f64,
    /// Time of select, diff and encode per pair of a viewer and an entity in its sight, and tick.
    pub ns_per_pair: f64,
    /// What deltas save against sending the full quantized state with each update, 0 to 1.
    pub saving: f64,
    /// What deltas and paces save against sending the full quantized state of everything in sight
    /// in each tick, 0 to 1.
    pub saving_total: f64,
    /// For how long what viewers were sent has been out of date.
    pub mean_age_ms: AgeReport,
    /// Entities that a player saw, mean.
    pub visible_mean: f64,
    /// UDP payload of snapshots to one player.
    pub bytes_per_player_s: SpreadReport,
    /// Memory for what one player has acknowledged, beyond what all share.
    pub state_bytes_per_player: u64,
}

/// Milliseconds, means over pairs of a viewer and an entity in its sight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AgeReport {
    /// Entities that move, within a third of the distance at which they are seen.
    pub near: f64,
    /// The same within two thirds.
    pub middle: f64,
    /// The same beyond.
    pub far: f64,
    /// Entities that stand still.
    pub stationary: f64,
}

/// A median and a high quantile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SpreadReport {
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
}

impl ReplicationReport {
    /// What happened between `earlier` and `now`.
    pub(super) fn between(earlier: &Stats, now: &Stats) -> Self {
        let grown =
            |counter: Counter| now.counter(counter).saturating_sub(earlier.counter(counter)) as f64;
        let per = |amount: f64, whole: f64| if whole > 0.0 { amount / whole } else { 0.0 };
        let seconds = now.uptime_ns.saturating_sub(earlier.uptime_ns) as f64 / 1e9;
        let (sent, bytes) = (grown(Counter::EntriesSent), grown(Counter::EntryBytes));
        let (pairs, full) = (grown(Counter::VisiblePairs), FULL_STATE_BYTES as f64);
        let saved = |whole: f64| if whole > 0.0 { 1.0 - bytes / whole } else { 0.0 };
        let hz = f64::from(now.tick_hz);
        let age = |ages, samples| per(grown(ages), grown(samples)) * per(1000.0, hz);
        Self {
            bits_per_update: per(bytes * 8.0, sent),
            updates_per_s: per(sent, seconds),
            hit_rate: per(sent - grown(Counter::EntriesEncoded), sent),
            ns_per_pair: per(grown(Counter::ReplicationNs), pairs),
            saving: saved(sent * full),
            saving_total: saved(pairs * full),
            mean_age_ms: AgeReport {
                near: age(Counter::SampledNearAge, Counter::SampledNear),
                middle: age(Counter::SampledMiddleAge, Counter::SampledMiddle),
                far: age(Counter::SampledFarAge, Counter::SampledFar),
                stationary: age(Counter::SampledStillAge, Counter::SampledStill),
            },
            visible_mean: per(pairs, grown(Counter::PlayerTicks)),
            bytes_per_player_s: SpreadReport {
                p50: now.snapshot_bytes.p50 * hz,
                p99: now.snapshot_bytes.p99 * hz,
            },
            state_bytes_per_player: now.state_bytes_per_player,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Counters;

    #[test]
    fn figures_are_those_of_the_window() {
        let counters = Counters::default();
        let stats = |uptime_ns| {
            let mut stats = Stats { uptime_ns, tick_hz: 60, ..Stats::default() };
            stats.add_counters(&counters);
            stats
        };
        counters.add(Counter::EntriesSent, 1_000_000);
        let before = stats(0);
        counters.add(Counter::PlayerTicks, 10);
        counters.add(Counter::VisiblePairs, 500);
        counters.add(Counter::EntriesSent, 200);
        counters.add(Counter::EntriesEncoded, 20);
        counters.add(Counter::EntryBytes, 1_000);
        counters.add(Counter::ReplicationNs, 5_000);
        counters.add(Counter::SampledFar, 30);
        counters.add(Counter::SampledFarAge, 36);
        let report = ReplicationReport::between(&before, &stats(2_000_000_000));
        assert_eq!((report.bits_per_update, report.updates_per_s), (40.0, 100.0));
        assert_eq!((report.hit_rate, report.ns_per_pair), (0.9, 10.0));
        assert_eq!((report.saving, report.saving_total), (0.8, 0.92));
        assert_eq!((report.mean_age_ms.far, report.mean_age_ms.near), (20.0, 0.0));
        assert_eq!(report.visible_mean, 50.0);
    }

    #[test]
    fn a_server_that_sent_nothing_divides_nothing_by_zero() {
        let nothing = Stats::default();
        assert_eq!(ReplicationReport::between(&nothing, &nothing), ReplicationReport::default());
    }
}
