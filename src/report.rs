//! The report of a run, schema `tidelock.run/1` (described in `docs/RUN_REPORT.md`), and what it is
//! made from: the state of a server as its admin socket tells it.

pub mod explain;
pub mod replication;
pub mod waf;

use crate::host::facts::HostFacts;
use crate::metrics::{Counter, Counters, DropReason, Histograms, Phase, Quantiles};
use replication::ReplicationReport;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Name of the schema, version included.
pub const SCHEMA: &str = "tidelock.run/1";

/// One run of `demo`, `loadgen run` or `loadgen bench`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunReport {
    /// Always [`SCHEMA`].
    pub schema: String,
    /// The machine that wrote the report.
    pub host: HostFacts,
    /// Commit of the program that wrote it.
    pub commit: String,
    /// How the players moved.
    pub profile: String,
    /// Players asked for.
    pub players: u32,
    /// Seconds measured.
    pub seconds: f64,
    /// Ticks per second of the server.
    pub tick_hz: u16,
    /// Players that were in the world at the end of the ramp.
    pub connected: u32,
    /// What the server counted; absent if its admin socket could not be reached.
    pub server: Option<ServerReport>,
    /// What the players saw.
    pub client: ClientReport,
    /// The floor of a bench.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor: Option<FloorReport>,
    /// Floor over server, medians of CPU time per player-tick.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub efficiency: Option<f64>,
}

/// The server's side of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerReport {
    /// Simulation threads.
    pub shards: u16,
    /// `uring` or `mmsg`.
    pub backend: String,
    /// Datagrams received per second.
    pub in_per_s: f64,
    /// Datagrams sent per second.
    pub out_per_s: f64,
    /// Datagrams lost on the server's side: dropped by the kernel or refused by it.
    pub lost: u64,
    /// Packets not used, by reason; only reasons that occurred.
    pub dropped: BTreeMap<String, u64>,
    /// CPU time of the whole server process per player and tick, nanoseconds.
    pub cpu_ns_per_player_tick: f64,
    /// Duration of ticks, microseconds.
    pub tick_us: Quantiles,
    /// How late ticks began, microseconds.
    pub start_jitter_us: Quantiles,
    /// Ticks that ended after the next should have begun.
    pub overruns: u64,
    /// How long shards waited for the others in each tick, microseconds.
    #[serde(default)]
    pub meeting_us: Quantiles,
    /// How much longer the busiest shard worked in a tick than the idlest, microseconds.
    #[serde(default)]
    pub skew_us: Quantiles,
    /// Share of the ticks in which load was shed, see the overload ladder.
    #[serde(default)]
    pub shed_share: f64,
    /// Rung of the overload ladder at the end.
    #[serde(default)]
    pub rung: u64,
    /// Duration of each phase per tick, microseconds.
    pub phase_us: BTreeMap<String, PhaseReport>,
    /// Payload bytes sent per player and second.
    pub bytes_out_per_player_s: f64,
    /// Entities a player saw, mean.
    pub visible_mean: f64,
    /// Resident memory, bytes.
    pub rss_bytes: u64,
    /// What replication did.
    #[serde(default)]
    pub replication: ReplicationReport,
}

/// Duration of one phase, microseconds per tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PhaseReport {
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
}

/// The players' side of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClientReport {
    /// From the intended time of an input to the first snapshot that acknowledges it, milliseconds.
    pub latency_ms: Quantiles,
    /// Packets that opened and broke the rules of the protocol.
    pub decode_errors: u64,
    /// Datagrams that the server sent and no player received, over the whole run; without the
    /// server's counts, the snapshots of the measured window that never came.
    pub lost: u64,
    /// Datagrams that the players sent and the server did not receive, over the whole run; `None`
    /// without the server's counts.
    pub lost_to_server: Option<u64>,
    /// Inputs sent in the measured window.
    pub inputs: u64,
    /// Of those, the ones sent more than 5 ms after their time.
    pub late_sends: u64,
    /// Snapshots applied in the measured window.
    pub snapshots: u64,
    /// Everything that went wrong in the measured window, by name.
    pub faults: BTreeMap<String, u64>,
    /// CPU time of the generator per player and tick, nanoseconds.
    pub cpu_ns_per_player_tick: f64,
    /// Share of one core that the generator used, 0 to 1 per thread.
    pub cpu_share: f64,
    /// True if the generator, and not the server, set the limit.
    pub saturated: bool,
}

/// The floor of a bench: the same datagrams with neither cryptography nor a world.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FloorReport {
    /// `uring`, `mmsg` or `glommio`.
    pub backend: String,
    /// CPU time per datagram in and out, nanoseconds, median of the rounds.
    pub ns_per_pair: f64,
    /// Smallest and largest round.
    pub range: [f64; 2],
}

/// The state of a running server. Counters are sums over all threads since the start; quantiles
/// cover the time since the last `mark`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// Commit of the server.
    pub commit: String,
    /// Monotonic time since the start of the server, nanoseconds.
    pub uptime_ns: u64,
    /// CPU time of the process, nanoseconds.
    pub process_cpu_ns: u64,
    /// Resident memory, bytes.
    pub rss_bytes: u64,
    /// Ticks per second.
    pub tick_hz: u16,
    /// Simulation threads.
    pub shards: u16,
    /// `uring` or `mmsg`.
    pub backend: String,
    /// Who brings datagrams to the thread that they are for: `kernel` or `threads`.
    #[serde(default)]
    pub steering: String,
    /// By name.
    pub counters: BTreeMap<String, u64>,
    /// By reason; all of them, zeros included.
    pub dropped: BTreeMap<String, u64>,
    /// Duration of ticks, microseconds.
    pub tick_us: Quantiles,
    /// How late ticks began, microseconds.
    pub start_jitter_us: Quantiles,
    /// How long shards waited for the others, microseconds.
    #[serde(default)]
    pub meeting_us: Quantiles,
    /// How much longer the busiest shard worked than the idlest, microseconds.
    #[serde(default)]
    pub skew_us: Quantiles,
    /// Duration of each phase per tick, microseconds.
    pub phase_us: BTreeMap<String, PhaseReport>,
    /// Payload of snapshot datagrams, bytes, of players taken in turns.
    #[serde(default)]
    pub snapshot_bytes: Quantiles,
    /// Memory for what one player has acknowledged, bytes.
    #[serde(default)]
    pub state_bytes_per_player: u64,
}

/// Counters of what happens to the whole world at a time. Shards tick together, so the sum over
/// shards would count each tick once per shard; the shard that counted most tells.
const OF_THE_WORLD: [Counter; 3] = [Counter::Ticks, Counter::Overruns, Counter::ScheduleShifts];

impl Stats {
    /// Adds the counters of one thread.
    pub fn add_counters(&mut self, counters: &Counters) {
        for &counter in Counter::ALL {
            let (total, own) = (
                self.counters.entry(counter.name().to_owned()).or_default(),
                counters.read(counter),
            );
            *total = if OF_THE_WORLD.contains(&counter) { own.max(*total) } else { *total + own };
        }
        for &reason in DropReason::ALL {
            *self.dropped.entry(reason.name().to_owned()).or_default() += counters.dropped(reason);
        }
    }

    /// Takes over the quantiles of `histograms`.
    pub fn set_histograms(&mut self, histograms: &Histograms) {
        const NS_PER_US: f64 = 1_000.0;
        self.tick_us = Quantiles::of(&histograms.tick, NS_PER_US);
        self.start_jitter_us = Quantiles::of(&histograms.start_jitter, NS_PER_US);
        self.meeting_us = Quantiles::of(&histograms.meeting, NS_PER_US);
        self.skew_us = Quantiles::of(&histograms.skew, NS_PER_US);
        self.snapshot_bytes = Quantiles::of(&histograms.snapshot_bytes, 1.0);
        for phase in Phase::ALL {
            let all = Quantiles::of(histograms.phase(phase), NS_PER_US);
            let report = PhaseReport { p50: all.p50, p99: all.p99 };
            self.phase_us.insert(phase.name().to_owned(), report);
        }
    }

    /// The value of a counter.
    pub fn counter(&self, counter: Counter) -> u64 {
        self.counters.get(counter.name()).copied().unwrap_or_default()
    }

    /// As JSON on one line.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers and strings")
    }

    /// From what [`Self::to_json`] wrote.
    pub fn from_json(text: &str) -> Result<Self, String> {
        serde_json::from_str(text)
            .map_err(|error| format!("not the statistics of a server: {error}"))
    }

    /// What happened between `earlier` and this state. The quantiles are this state's: mark at
    /// `earlier`.
    pub fn since(&self, earlier: &Self) -> ServerReport {
        let grown =
            |counter: Counter| self.counter(counter).saturating_sub(earlier.counter(counter));
        let seconds = self.uptime_ns.saturating_sub(earlier.uptime_ns) as f64 / 1e9;
        let player_ticks = grown(Counter::PlayerTicks) as f64;
        let ticks = grown(Counter::Ticks) as f64;
        let per = |amount: u64, whole: f64| if whole > 0.0 { amount as f64 / whole } else { 0.0 };
        let cpu = self.process_cpu_ns.saturating_sub(earlier.process_cpu_ns);
        let dropped: BTreeMap<_, _> = self
            .dropped
            .iter()
            .map(|(reason, total)| {
                (reason.clone(), total - earlier.dropped.get(reason).copied().unwrap_or_default())
            })
            .filter(|&(_, count)| count > 0)
            .collect();
        let refused = dropped.get(DropReason::SendRefused.name()).copied().unwrap_or_default();
        ServerReport {
            shards: self.shards,
            backend: self.backend.clone(),
            in_per_s: per(grown(Counter::PacketsIn), seconds),
            out_per_s: per(grown(Counter::PacketsOut), seconds),
            lost: grown(Counter::KernelDrops) + refused,
            dropped,
            cpu_ns_per_player_tick: per(cpu, player_ticks),
            tick_us: self.tick_us,
            start_jitter_us: self.start_jitter_us,
            meeting_us: self.meeting_us,
            skew_us: self.skew_us,
            overruns: grown(Counter::Overruns),
            // The tick under way may be counted in the one and not yet in the other.
            shed_share: per(grown(Counter::ShedTicks), ticks).min(1.0),
            rung: self.counter(Counter::Rung),
            phase_us: self.phase_us.clone(),
            bytes_out_per_player_s: per(grown(Counter::BytesOut), player_ticks)
                * f64::from(self.tick_hz),
            visible_mean: per(grown(Counter::VisiblePairs), player_ticks),
            rss_bytes: self.rss_bytes,
            replication: ReplicationReport::between(earlier, self),
        }
    }
}

impl RunReport {
    /// As JSON for people and programs.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("numbers and strings")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_covers_exactly_the_time_between_two_states() {
        let counters = Counters::default();
        counters.add(Counter::PlayerTicks, 100);
        counters.drop(DropReason::Crc);
        let mut before = Stats { tick_hz: 60, process_cpu_ns: 10, ..Stats::default() };
        before.add_counters(&counters);
        counters.add(Counter::PlayerTicks, 600);
        counters.add(Counter::BytesOut, 6_000);
        counters.add(Counter::KernelDrops, 3);
        counters.drop_many(DropReason::SendRefused, 4);
        let mut after = Stats {
            uptime_ns: 10_000_000_000,
            process_cpu_ns: 610,
            tick_hz: 60,
            ..Stats::default()
        };
        after.add_counters(&counters);
        let report = Stats::from_json(&after.to_json()).unwrap().since(&before);
        assert_eq!(report.cpu_ns_per_player_tick, 1.0);
        assert_eq!(report.bytes_out_per_player_s, 600.0);
        assert_eq!(report.lost, 7);
        assert_eq!(report.dropped, BTreeMap::from([("send_refused".to_owned(), 4)]));
    }

    #[test]
    fn a_tick_of_several_shards_is_one_tick_and_their_players_add_up() {
        let mut stats = Stats::default();
        for overruns in [2, 5, 0] {
            let counters = Counters::default();
            counters.add(Counter::Ticks, 60);
            counters.add(Counter::Overruns, overruns);
            counters.add(Counter::Players, 20);
            stats.add_counters(&counters);
        }
        assert_eq!(stats.counter(Counter::Ticks), 60);
        assert_eq!(stats.counter(Counter::Overruns), 5);
        assert_eq!(stats.counter(Counter::Players), 60);
    }

    #[test]
    fn a_server_that_did_nothing_divides_nothing_by_zero() {
        let report = Stats::default().since(&Stats::default());
        assert_eq!(report.cpu_ns_per_player_tick, 0.0);
        assert!(serde_json::to_string(&report).is_ok());
    }
}
