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
    /// last one. Whoever finds [`Meeting::Met`] sees what it wrote before, and cannot overwrite
    /// what it was still reading.
    pub fn arrive(&self, round: u64) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        while word & CLOSED == 0 {
            debug_assert!(word < round * self.members, "one arrival per member and round");
            // Release: what we wrote and read comes before. Acquiring is the business of `poll`,
            // which whoever arrives last calls as well.
            let arrived = word + 1;
            let (success, failure) = (Ordering::Release, Ordering::Relaxed);
            match self.word.compare_exchange_weak(word, arrived, success, failure) {
                Ok(_) => return arrived == round * self.members,
                Err(seen) => word = seen,
            }
        }
        false
    }

    /// Whether meeting `round` has taken place.
    pub fn poll(&self, round: u64) -> Meeting {
        let word = self.word.load(Ordering::Acquire);
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
        (self.word.fetch_or(CLOSED, Ordering::AcqRel) & !CLOSED) / self.members
    }
}
