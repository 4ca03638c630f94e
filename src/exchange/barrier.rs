//! The meeting of all shards once per tick, in one atomic word.
//!
//! Never waits: it tells whether the others are there, and the caller decides how to pass the time.
//! `shard::meeting` spins and parks; the simulator and the benches simply step the other shards.
//! This file names its atomics through `super::sync`, so that `tests/exchange_protocol.rs` can run
//! every interleaving of the same lines.
//!
//! ```text
//!  63      62 .. 0
//! closed │ arrivals so far: n members × ticks met, and those of the meeting under way
//! ```
//! A member arrives once per tick, and at the next tick only after the meeting of this one took
//! place. So the number of arrivals alone tells which meetings took place, and as closing stops the
//! count, all members agree on the last of them, however late they look.

use super::sync::{AtomicU64, Ordering};

const CLOSED: u64 = 1 << 63;

/// What a member that has arrived finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meeting {
    /// Somebody is missing.
    Waiting,
    /// Everybody has arrived.
    Met,
    /// The meeting will never take place: a member was given up.
    Closed,
}

/// Counts arrivals of a fixed number of members.
#[derive(Debug)]
pub struct Barrier {
    members: u64,
    word: AtomicU64,
}

impl Barrier {
    /// For `members` members, at least one.
    pub fn new(members: usize) -> Self {
        assert!(members > 0, "somebody must meet");
        Self { members: members as u64, word: AtomicU64::new(0) }
    }

    /// One member arrives at its meeting number `round`, counted from 1. Returns whether it was the
    /// last one. What it wrote before is visible to whoever finds [`Meeting::Met`].
    pub fn arrive(&self, round: u64) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        while word & CLOSED == 0 {
            debug_assert!(word < round * self.members, "one arrival per member and round");
            // Release: our writes come before. Acquire: the last arrival has seen all of them.
            let arrived = word + 1;
            match self.word.compare_exchange_weak(
                word,
                arrived,
                Ordering::SeqCst,
                Ordering::Relaxed,
            ) {
                Ok(_) => return arrived == round * self.members,
                Err(seen) => word = seen,
            }
        }
        false
    }

    /// Whether meeting `round` has taken place.
    pub fn poll(&self, round: u64) -> Meeting {
        let word = self.word.load(Ordering::SeqCst);
        if word & !CLOSED >= round * self.members {
            Meeting::Met
        } else if word & CLOSED != 0 {
            Meeting::Closed
        } else {
            Meeting::Waiting
        }
    }

    /// Ends the series: meetings that have not taken place never will. Returns how many have.
    pub fn close(&self) -> u64 {
        (self.word.fetch_or(CLOSED, Ordering::SeqCst) & !CLOSED) / self.members
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_meets_before_everybody_arrived() {
        let barrier = Barrier::new(3);
        assert!(!barrier.arrive(1) && !barrier.arrive(1));
        assert_eq!(barrier.poll(1), Meeting::Waiting);
        assert!(barrier.arrive(1), "the last one knows it");
        assert_eq!((barrier.poll(1), barrier.poll(2)), (Meeting::Met, Meeting::Waiting));
    }

    #[test]
    fn after_closing_all_agree_on_the_last_meeting() {
        let barrier = Barrier::new(2);
        barrier.arrive(1);
        barrier.arrive(1);
        barrier.arrive(2);
        assert_eq!(barrier.close(), 1);
        assert!(!barrier.arrive(2), "too late");
        assert_eq!((barrier.poll(1), barrier.poll(2)), (Meeting::Met, Meeting::Closed));
        assert_eq!(barrier.close(), 1);
    }

    #[test]
    fn one_member_meets_itself() {
        let barrier = Barrier::new(1);
        assert!((1..100).all(|round| barrier.arrive(round) && barrier.poll(round) == Meeting::Met));
    }
}
