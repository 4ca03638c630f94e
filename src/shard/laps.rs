//! Time spent in each phase of the current tick.

use crate::host::clock::{self, Clock};
use crate::metrics::{Histograms, Phase};
use crate::time::Nanos;

/// The clocks that a shard may read. The simulator has its own.
pub trait Timer {
    /// Time since the start of the server.
    fn now(&self) -> Nanos;
    /// CPU time of this thread, nanoseconds.
    fn cpu_ns(&self) -> u64;
}

impl Timer for Clock {
    fn now(&self) -> Nanos {
        Clock::now(self)
    }

    fn cpu_ns(&self) -> u64 {
        clock::thread_cpu_ns()
    }
}

/// Nanoseconds by phase since the last [`Laps::record`].
#[derive(Clone, Debug, Default)]
pub(super) struct Laps {
    ns: [u64; Phase::COUNT],
}

impl Laps {
    /// Adds to a phase.
    pub(super) fn add(&mut self, phase: Phase, ns: u64) {
        self.ns[phase as usize] += ns;
    }

    /// Adds the time since `since` to a phase and returns now.
    pub(super) fn lap(&mut self, phase: Phase, since: Nanos, timer: &impl Timer) -> Nanos {
        let now = timer.now();
        self.add(phase, now.since(since).0);
        now
    }

    /// Hands the sums over, one value per phase and tick, and starts again.
    pub(super) fn record(&mut self, histograms: &mut Histograms) {
        for phase in Phase::ALL {
            histograms.record_phase(phase, self.ns[phase as usize]);
        }
        self.ns = [0; Phase::COUNT];
    }

    /// What phases select, diff and encode took so far.
    pub(super) fn replication(&self) -> u64 {
        [Phase::Select, Phase::Diff, Phase::Encode]
            .iter()
            .map(|&phase| self.ns[phase as usize])
            .sum()
    }

    /// What phases receive to decode took so far.
    pub(super) fn intake(&self) -> Nanos {
        Nanos(self.handled() + self.ns[Phase::Receive as usize])
    }

    /// What phases admit, open and decode took so far: it is not part of receive.
    pub(super) fn handled(&self) -> u64 {
        [Phase::Admit, Phase::Open, Phase::Decode]
            .iter()
            .map(|&phase| self.ns[phase as usize])
            .sum()
    }
}
