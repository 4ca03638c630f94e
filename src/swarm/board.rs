//! What the threads of a swarm and the one who directs them tell each other. A thread looks at the
//! stage once per turn of its loop and posts its figures four times a second.

use super::totals::Totals;
use crate::client::CloseReason;
use crate::metrics::Quantiles;
use crate::wire::Denial;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// What the bots are to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Stage {
    /// Join and play; nothing is measured.
    Join,
    /// Play; what is counted from now on is the measured window.
    Measure,
    /// Play on; the window is closed.
    Hold,
    /// Say goodbye and end.
    Leave,
}

impl Stage {
    const ALL: [Self; 4] = [Self::Join, Self::Measure, Self::Hold, Self::Leave];
}

/// The figures of one thread, or their sum.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// Bots that have begun to join.
    pub started: u32,
    /// Bots in the world.
    pub in_world: u32,
    /// Bots that are gone.
    pub closed: u32,
    /// Why the first of them is gone.
    pub first_close: Option<CloseReason>,
    /// What the gate said that did not take a bot at once, if anything.
    pub first_denial: Option<Denial>,
    /// Counts since the start.
    pub totals: Totals,
    /// Latency of about the last second, milliseconds; of several threads the worst.
    pub latency_ms: Quantiles,
    /// CPU time of the thread, nanoseconds; of several threads the sum.
    pub cpu_ns: u64,
}

impl Live {
    /// Bots whose joining has come to an end, good or bad.
    pub fn settled(&self) -> u32 {
        self.in_world + self.closed
    }

    fn add(&mut self, other: &Self) {
        self.started += other.started;
        self.in_world += other.in_world;
        self.closed += other.closed;
        self.first_close = self.first_close.or(other.first_close);
        self.first_denial = self.first_denial.or(other.first_denial);
        self.totals = self.totals.plus(&other.totals);
        self.cpu_ns += other.cpu_ns;
        let (mine, theirs) = (&mut self.latency_ms, &other.latency_ms);
        mine.p50 = mine.p50.max(theirs.p50);
        mine.p99 = mine.p99.max(theirs.p99);
        mine.p999 = mine.p999.max(theirs.p999);
        mine.max = mine.max.max(theirs.max);
    }
}

/// Shared by the threads of one swarm.
#[derive(Debug)]
pub(super) struct Board {
    stage: AtomicU8,
    laps: AtomicUsize,
    posts: Vec<Mutex<Live>>,
}

impl Board {
    pub(super) fn new(threads: usize) -> Self {
        Self {
            stage: AtomicU8::new(Stage::Join as u8),
            laps: AtomicUsize::new(0),
            posts: (0..threads).map(|_| Mutex::default()).collect(),
        }
    }

    pub(super) fn stage(&self) -> Stage {
        let stage = self.stage.load(Ordering::Relaxed);
        Stage::ALL.get(usize::from(stage)).copied().unwrap_or(Stage::Leave)
    }

    /// Goes on to `stage`; never back.
    pub(super) fn advance(&self, stage: Stage) {
        self.stage.fetch_max(stage as u8, Ordering::Relaxed);
    }

    /// Laps that are to be done by now.
    pub(super) fn laps(&self) -> usize {
        self.laps.load(Ordering::Relaxed)
    }

    /// Ends the lap of all threads.
    pub(super) fn next_lap(&self) {
        self.laps.fetch_add(1, Ordering::Relaxed);
    }

    /// Replaces the figures of `thread`. If somebody is just reading them, they stay as they are.
    pub(super) fn post(&self, thread: usize, live: Live) {
        if let Some(Ok(mut post)) = self.posts.get(thread).map(Mutex::try_lock) {
            *post = live;
        }
    }

    /// The figures of all threads together.
    pub(super) fn read(&self) -> Live {
        let mut sum = Live::default();
        for post in &self.posts {
            // A thread that panicked while posting ends the run when it is joined.
            if let Ok(live) = post.lock() {
                sum.add(&live);
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stage_only_goes_forward_and_figures_add_up() {
        let board = Board::new(2);
        board.advance(Stage::Hold);
        board.advance(Stage::Measure);
        assert_eq!(board.stage(), Stage::Hold);
        let totals = Totals { inputs: 3, ..Totals::default() };
        let latency_ms = Quantiles { p50: 1.0, p99: 9.0, p999: 9.5, max: 10.0 };
        board.post(0, Live { in_world: 5, totals: totals.clone(), latency_ms, ..Live::default() });
        board.post(1, Live { in_world: 6, closed: 1, totals, ..Live::default() });
        let live = board.read();
        assert_eq!((live.in_world, live.settled(), live.totals.inputs), (11, 12, 6));
        assert_eq!(live.latency_ms.p99, 9.0);
    }
}
