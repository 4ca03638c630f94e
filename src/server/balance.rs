//! Evens out the shards: players go from the busiest to the idlest when their loads differ too
//! much.
//!
//! A shard's load is the CPU time of its thread. **The bound:** a difference of a tenth of a core,
//! over a whole second. Half of the difference moves, at most [`MOVES_MAX`] players at a time, and
//! then nothing for [`REST`], so that what moved shows in the loads before anything moves again.
//! Called by the gate's thread.

use crate::metrics::{Counter, Counters};
use crate::time::Nanos;
use std::sync::Arc;

/// Time over which loads are measured.
const WINDOW: Nanos = Nanos::from_ms(1_000);
/// Difference of loads, in cores, up to which shards are even.
const BOUND: f64 = 0.10;
/// Most players that move at a time.
const MOVES_MAX: usize = 64;
/// Rest after a move.
const REST: Nanos = Nanos::from_ms(3_000);

/// Players that are to move from shard to shard, by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shift {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) players: usize,
}

/// Watches the loads of the shards.
#[derive(Debug)]
pub(crate) struct Balance {
    /// Whether it moves anybody.
    enabled: bool,
    cpu_ns: Vec<u64>,
    since: Nanos,
    rest_until: Nanos,
}

impl Balance {
    /// For `shards` shards.
    pub(crate) fn new(shards: usize, enabled: bool) -> Self {
        Self { enabled, cpu_ns: vec![0; shards], since: Nanos(0), rest_until: REST }
    }

    /// What is to move now, if anything.
    pub(super) fn look(&mut self, now: Nanos, counters: &[Arc<Counters>]) -> Option<Shift> {
        let elapsed = now.since(self.since);
        if !self.enabled || elapsed < WINDOW {
            return None;
        }
        let cpu_ns: Vec<_> = counters.iter().map(|c| c.read(Counter::CpuNs)).collect();
        let players: Vec<_> = counters.iter().map(|c| c.read(Counter::Players)).collect();
        // A shard that was replaced starts from zero again.
        let load = |shard: usize| {
            cpu_ns[shard].saturating_sub(self.cpu_ns[shard]) as f64 / elapsed.0 as f64
        };
        let loads: Vec<_> = (0..cpu_ns.len()).map(load).collect();
        (self.cpu_ns, self.since) = (cpu_ns, now);
        let shift = even_out(&loads, &players).filter(|_| now >= self.rest_until)?;
        self.rest_until = now.plus(REST);
        Some(shift)
    }
}

/// What evens out these loads (in cores), if they differ by more than the bound.
fn even_out(loads: &[f64], players: &[u64]) -> Option<Shift> {
    let shards = 0..loads.len();
    let from = shards.clone().max_by(|&a, &b| loads[a].total_cmp(&loads[b]))?;
    let to = shards.min_by(|&a, &b| loads[a].total_cmp(&loads[b]))?;
    let difference = loads[from] - loads[to];
    if difference <= BOUND {
        return None;
    }
    let share = difference / 2.0 / loads[from];
    let players = (players[from] as f64 * share) as usize;
    (players > 0).then_some(Shift { from, to, players: players.min(MOVES_MAX) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_a_difference_beyond_the_bound_moves_from_the_busiest_to_the_idlest() {
        let shift = |from, to, players| Some(Shift { from, to, players });
        assert_eq!(even_out(&[0.50, 0.30, 0.45], &[100, 60, 90]), shift(0, 1, 20));
        assert_eq!(even_out(&[0.50, 0.41, 0.45], &[100, 60, 90]), None, "within the bound");
        assert_eq!(even_out(&[0.1, 0.9], &[10, 2_000]), shift(1, 0, MOVES_MAX), "not all at once");
        assert_eq!(even_out(&[0.9], &[10]), None, "nobody to even out with");
        assert_eq!(even_out(&[0.9, 0.1], &[1, 0]), None, "one player cannot be halved");
    }

    #[test]
    fn nothing_moves_before_the_effect_of_a_move_shows() {
        let counters: Vec<Arc<Counters>> = (0..2).map(|_| Arc::default()).collect();
        let mut balance = Balance::new(2, true);
        counters[0].set(Counter::Players, 100);
        let mut moved_at = Vec::new();
        for second in 1..20 {
            counters[0].set(Counter::CpuNs, second * 600_000_000);
            counters[1].set(Counter::CpuNs, second * 100_000_000);
            if balance.look(Nanos::from_ms(second * 1000), &counters).is_some() {
                moved_at.push(second);
            }
        }
        assert_eq!(moved_at, [3, 6, 9, 12, 15, 18]);
        let mut off = Balance::new(2, false);
        assert!((1..9).all(|second| off.look(Nanos::from_ms(second * 1000), &counters).is_none()));
    }
}
