//! A run cut into laps, each with counts and latencies of its own: what was before, while and after
//! something happened to the server. Filled by `engine`, whenever the one who directs the swarm
//! asks for the next lap; who never asks pays nothing.

use super::totals::Totals;
use crate::metrics::Latency;
use crate::time::Nanos;

/// What happened in one lap.
#[derive(Clone, Debug, Default)]
pub struct Lap {
    /// Counts.
    pub totals: Totals,
    /// Latencies of inputs whose answer came in this lap.
    pub latency: Latency,
    /// Longest time that any bot waited for its next snapshot, until that or the lap's end came.
    pub longest_gap: Nanos,
    /// Bots that were gone at its end.
    pub closed: u32,
    /// Length, seconds.
    pub seconds: f64,
}

impl Lap {
    /// Joins the same lap of another thread.
    pub(super) fn add(&mut self, other: &Self) {
        self.totals = self.totals.plus(&other.totals);
        self.latency.merge(&other.latency);
        self.longest_gap = self.longest_gap.max(other.longest_gap);
        self.closed += other.closed;
        self.seconds = self.seconds.max(other.seconds);
    }
}

/// The laps of one thread.
#[derive(Default)]
pub(super) struct Laps {
    done: Vec<Lap>,
    /// What is filled now, and the counts at its start. Its own counts are those of the start until
    /// it is done.
    lap: Lap,
    began: Nanos,
}

impl Laps {
    /// Laps that are done.
    pub(super) fn count(&self) -> usize {
        self.done.len()
    }

    /// Whether anybody asked for laps.
    pub(super) fn are_wanted(&self) -> bool {
        !self.done.is_empty()
    }

    /// A bot was told nothing for `gap`.
    pub(super) fn note_gap(&mut self, gap: Nanos) {
        self.lap.longest_gap = self.lap.longest_gap.max(gap);
    }

    /// Takes in latencies that were recorded in this lap.
    pub(super) fn merge(&mut self, latency: &Latency) {
        self.lap.latency.merge(latency);
    }

    /// Ends this lap and begins the next.
    pub(super) fn next(&mut self, now: Nanos, totals: &Totals, closed: u32) {
        let started = Lap { totals: totals.clone(), ..Lap::default() };
        let mut done = std::mem::replace(&mut self.lap, started);
        done.totals = totals.since(&done.totals);
        done.seconds = now.since(self.began).0 as f64 / 1e9;
        done.closed = closed;
        self.began = now;
        self.done.push(done);
    }

    /// All laps that are done. The first is the time before somebody asked.
    pub(super) fn into_done(self) -> Vec<Lap> {
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lap_holds_what_happened_in_it_and_threads_add_up() {
        let mut laps = Laps::default();
        let totals = |inputs| Totals { inputs, ..Totals::default() };
        assert!(!laps.are_wanted());
        laps.note_gap(Nanos::from_ms(900));
        laps.next(Nanos::from_ms(1_000), &totals(10), 0);
        let mut latency = Latency::default();
        latency.record(Nanos::from_ms(5));
        laps.merge(&latency);
        laps.note_gap(Nanos::from_ms(20));
        laps.next(Nanos::from_ms(3_000), &totals(70), 2);
        let mut done = laps.into_done();
        assert_eq!((done[0].totals.inputs, done[0].longest_gap), (10, Nanos::from_ms(900)));
        let second = done[1].clone();
        assert_eq!((second.totals.inputs, second.latency.count(), second.closed), (60, 1, 2));
        assert_eq!((second.longest_gap, second.seconds), (Nanos::from_ms(20), 2.0));
        done[1].add(&second);
        assert_eq!((done[1].totals.inputs, done[1].latency.count(), done[1].closed), (120, 2, 4));
    }
}
