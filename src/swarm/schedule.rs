//! When which client sends: the open loop.
//!
//! Every client has its own phase within the period, so the due times of all clients together are
//! evenly spaced and one counter describes the whole schedule:
//!
//! ```text
//! send j:   client j mod N, round j / N, due at start + j · period / N
//! ```
//! The schedule never shifts. A send that happens late keeps its intended time, and latency is
//! measured from that, so a generator or a server that stalls cannot hide the stall (no coordinated
//! omission).

use crate::time::Nanos;

/// The due times of `players` clients, each sending once per period.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    start: Nanos,
    players: u64,
    per_second: u64,
    next: u64,
}

/// One planned send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// Which client.
    pub client: u32,
    /// How many periods lie before this one.
    pub round: u32,
    /// When it should be sent.
    pub at: Nanos,
}

impl Schedule {
    /// `players` clients (at least 1), each sending `rate` times a second (at least 1) from `start`
    /// on.
    pub fn new(start: Nanos, players: u32, rate: u32) -> Self {
        let players = u64::from(players.max(1));
        Self { start, players, per_second: players * u64::from(rate.max(1)), next: 0 }
    }

    /// The next send, without taking it.
    pub fn peek(&self) -> Due {
        let at = self.at(self.next);
        let client = (self.next % self.players) as u32;
        Due { client, round: (self.next / self.players) as u32, at }
    }

    /// Takes the next send if it is due at `now`.
    pub fn pop(&mut self, now: Nanos) -> Option<Due> {
        let due = self.peek();
        if due.at > now {
            return None;
        }
        self.next += 1;
        Some(due)
    }

    /// The intended time of the send of `client` in `round`.
    pub fn intended(&self, client: u32, round: u32) -> Nanos {
        self.at(u64::from(round) * self.players + u64::from(client))
    }

    fn at(&self, index: u64) -> Nanos {
        const SECOND: u64 = 1_000_000_000;
        // Called for every input and every snapshot, and 64 bits last for hours of any swarm.
        let offset = match index.checked_mul(SECOND) {
            Some(product) => product / self.per_second,
            None => (u128::from(index) * u128::from(SECOND) / u128::from(self.per_second)) as u64,
        };
        Nanos(self.start.0 + offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_client_is_due_once_per_period_at_its_own_phase() {
        let start = Nanos::from_ms(77);
        let mut schedule = Schedule::new(start, 1000, 60);
        let second = start.plus(Nanos(999_999_999));
        let mut sends = vec![Vec::new(); 1000];
        while let Some(due) = schedule.pop(second) {
            assert_eq!(schedule.intended(due.client, due.round), due.at);
            sends[due.client as usize].push(due.at.0);
        }
        for (client, times) in sends.iter().enumerate() {
            assert_eq!(times.len(), 60, "client {client}");
            let steps = times.windows(2).map(|pair| pair[1] - pair[0]);
            assert!(steps.clone().all(|step| (16_666_666..=16_666_667).contains(&step)));
        }
        assert!(sends.windows(2).all(|pair| pair[0][0] < pair[1][0]), "phases differ");
    }

    #[test]
    fn a_stall_makes_sends_late_and_skips_none() {
        let mut schedule = Schedule::new(Nanos(0), 10, 60);
        while schedule.pop(Nanos::from_ms(100)).is_some() {}
        let resumed = Nanos::from_ms(600);
        let first = schedule.pop(resumed).expect("half a second of sends is due");
        assert!(first.at < Nanos::from_ms(102), "{first:?}");
        let mut caught_up = 1;
        while schedule.pop(resumed).is_some() {
            caught_up += 1;
        }
        assert_eq!(caught_up, 10 * 30);
    }

    #[test]
    fn the_schedule_does_not_drift_in_a_hundred_days() {
        let schedule = Schedule::new(Nanos(5), 3000, 60);
        for days in [1, 100] {
            let day = schedule.intended(0, 60 * 86_400 * days);
            assert_eq!(day, Nanos(5 + 86_400 * 1_000_000_000 * u64::from(days)));
        }
    }
}
