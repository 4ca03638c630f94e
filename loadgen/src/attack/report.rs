//! What an attack did to the server and its players, and the figures that must hold.

use super::arena::LATENCY_LIMIT_MS;
use super::field::Tally;
use serde::Serialize;
use std::collections::BTreeMap;
use tidelock::metrics::Quantiles;

/// Bytes back for each byte of somebody whose address is not known: a Cookie for a Connect is
/// 0.063.
pub(super) const AMPLIFICATION_LIMIT: f64 = 0.07;
/// The same for an address to which a session may be about to move.
pub(super) const VICTIM_LIMIT: f64 = 3.0;
/// Share of the ticks that may overrun.
const OVERRUN_LIMIT: f64 = 0.01;
/// Bytes by which the server may grow.
const MEMORY_LIMIT: u64 = 64 << 20;
/// Seconds in which players have to be well again.
const RECOVERY_LIMIT_S: f64 = 2.0;

/// One scenario.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) scenario: String,
    /// Honest players.
    pub(crate) players: u32,
    pub(crate) joined: u32,
    /// Of those, gone before the end.
    pub(crate) disconnected: u32,
    /// From an input to the snapshot that shows it: before, during and after the attack.
    pub(crate) latency_ms: [Quantiles; 3],
    /// Packets that broke the rules of the protocol, at the honest players.
    pub(crate) decode_errors: u64,
    /// Ticks during the attack, and those that took too long.
    pub(crate) ticks: u64,
    pub(crate) overruns: u64,
    /// Bytes by which the server grew, at most.
    pub(crate) memory_growth: u64,
    /// From the end of the attack to the last quarter of a second in which players felt it.
    pub(crate) recovery_s: f64,
    /// What the server did not use, by reason.
    pub(crate) dropped: BTreeMap<String, u64>,
    /// Packets with reliable messages for which the server had no room.
    pub(crate) refused: u64,
    /// Sessions that the server ended for violations: attackers'.
    pub(crate) sessions_ended: u64,
    pub(crate) tally: Tally,
}

/// The head of the table whose lines are [`Outcome::line`].
pub(crate) fn head() -> String {
    "scenario           sent/s  gone  p99 before/during/after ms  overruns  memory MiB  out/in  \
     victims  garbage  recovery"
        .to_owned()
}

impl Outcome {
    fn overrun_share(&self) -> f64 {
        self.overruns as f64 / (self.ticks as f64).max(1.0)
    }

    pub(crate) fn line(&self) -> String {
        let [before, during, after] = self.latency_ms.map(|latency| latency.p99);
        format!(
            "{:<17} {:>7.0} {:>5}   {before:>7.1}/{during:>7.1}/{after:>7.1} {:>8.2} % {:>10.1} \
             {:>8.3} {:>7.2} {:>8} {:>7.2} s",
            self.scenario,
            self.tally.sent().datagrams as f64 / self.tally.seconds.max(1e-9),
            self.disconnected,
            self.overrun_share() * 100.0,
            self.memory_growth as f64 / f64::from(1 << 20),
            self.tally.strangers.ratio(),
            self.tally.worst_victim,
            self.tally.garbage.answered.bytes,
            self.recovery_s,
        )
    }

    /// What the server made of it, on one line.
    pub(crate) fn drops(&self) -> String {
        let mut drops: Vec<_> = self.dropped.iter().collect();
        drops.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let drops: Vec<_> =
            drops.iter().take(5).map(|(reason, count)| format!("{reason} {count}")).collect();
        let drops = if drops.is_empty() { "nothing".to_owned() } else { drops.join(", ") };
        let (refused, ended) = (self.refused, self.sessions_ended);
        format!("    dropped: {drops}; no room for {refused}; ended for violations: {ended}")
    }

    /// What did not hold, a sentence each.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut fault = |happened: bool, sentence: String| {
            if happened {
                faults.push(sentence);
            }
        };
        let Tally { garbage, strangers, worst_victim, breaches, .. } = self.tally;
        let gone = self.disconnected;
        fault(gone > 0, format!("{gone} honest players were disconnected"));
        let errors = self.decode_errors;
        fault(errors > 0, format!("honest players received {errors} packets that break the rules"));
        let p99 = self.latency_ms[1].p99;
        let limit = LATENCY_LIMIT_MS;
        fault(p99 > limit, format!("latency p99 of honest players {p99:.1} ms, more than {limit}"));
        let share = self.overrun_share() * 100.0;
        fault(share > OVERRUN_LIMIT * 100.0, format!("{share:.2} % of the ticks overran"));
        let grown = self.memory_growth >> 20;
        fault(self.memory_growth > MEMORY_LIMIT, format!("the server grew by {grown} MiB"));
        let ratio = strangers.ratio();
        let much = format!("{ratio:.3} bytes back for each byte of a stranger");
        fault(ratio > AMPLIFICATION_LIMIT, much);
        let much = format!("{worst_victim:.3} bytes to an unproven address for each from there");
        fault(worst_victim > VICTIM_LIMIT, much);
        let bytes = garbage.answered.bytes;
        fault(bytes > 0, format!("{bytes} bytes in answer to garbage"));
        fault(breaches > 0, format!("{breaches} answers that only a genuine player may get"));
        let recovery = self.recovery_s;
        fault(recovery > RECOVERY_LIMIT_S, format!("players felt it for {recovery:.2} s more"));
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::super::field::{Exchange, Volume};
    use super::*;

    fn exchange(sent: u64, answered: u64) -> Exchange {
        let volume = |bytes| Volume { datagrams: 1, bytes };
        Exchange { sent: volume(sent), answered: volume(answered) }
    }

    #[test]
    fn every_figure_that_does_not_hold_is_named() {
        let latency = |p99| Quantiles { p99, ..Quantiles::default() };
        let good = Outcome {
            scenario: "garbage".to_owned(),
            players: 200,
            joined: 200,
            disconnected: 0,
            latency_ms: [latency(20.0), latency(49.0), latency(20.0)],
            decode_errors: 0,
            ticks: 600,
            overruns: 6,
            memory_growth: 64 << 20,
            recovery_s: 2.0,
            dropped: BTreeMap::from([("crc".to_owned(), 9), ("size".to_owned(), 10)]),
            refused: 0,
            sessions_ended: 0,
            tally: Tally {
                strangers: exchange(1_200, 76),
                worst_victim: 3.0,
                garbage: exchange(5_000, 0),
                ..Tally::default()
            },
        };
        assert_eq!(good.faults(), [""; 0]);
        assert!(good.drops().contains("size 10, crc 9") && good.line().contains("0.063"));
        let bad = Outcome {
            disconnected: 1,
            latency_ms: [latency(20.0), latency(51.0), latency(20.0)],
            decode_errors: 1,
            overruns: 7,
            memory_growth: (64 << 20) + 1,
            recovery_s: 2.1,
            tally: Tally {
                strangers: exchange(1_200, 140),
                worst_victim: 3.01,
                garbage: exchange(5_000, 1),
                breaches: 1,
                ..Tally::default()
            },
            ..good
        };
        assert_eq!(bad.faults().len(), 10, "{:?}", bad.faults());
        assert_eq!(exchange(0, 1).ratio(), f64::INFINITY);
        assert_eq!(Exchange::default().ratio(), 0.0);
    }
}
