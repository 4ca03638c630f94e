//! What the shards of one world show each other: columns of all entities, one meeting per tick.
//!
//! Lockstep: in tick k each shard writes what it publishes of tick k, arrives at the meeting of k,
//! and once all have arrived reads what everybody published, until it arrives at the meeting of
//! k + 1. There is no lock and nothing is allocated; two pages per column (and a ring of 64 for the
//! states) keep writers of the next tick and readers of this one apart.
//!
//! An entity keeps its published row for life, whichever shard owns it: what viewers remember of it
//! and its history stay where they are when it is handed over. The gate grants rows through
//! [`Keeper`]; the owner alone writes them.
//!
//! Reads no clock and waits for nobody: [`Member::poll`] tells whether all have arrived, and
//! `shard` decides how to wait. The unsafe part and its argument are in `columns`, the protocol of
//! the meeting in `barrier`.

mod barrier;
mod columns;
mod member;

/// The atomics of the barrier: a model checker has its own.
mod sync {
    pub(super) use std::sync::atomic::{AtomicU64, Ordering};
}

pub use barrier::{Barrier, Meeting};
pub use columns::{HISTORY_REACH, Published, PublishedRow};
pub use member::{Member, Reclaim};

use crate::units::Tick;
use columns::{Columns, Pages};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// What all members and the gate share.
#[derive(Debug)]
struct Shared {
    columns: Columns,
    barrier: Barrier,
    /// The tick before the first meeting.
    base: Tick,
    /// Last tick each member arrived at, for whoever watches over them. Not padded: a member
    /// stores here once per tick, next to its arrival at a word that all of them share anyway.
    arrived: Box<[AtomicU32]>,
}

/// The gate's part of the exchange: it grants rows, and it watches.
#[derive(Clone, Debug)]
pub struct Keeper(Arc<Shared>);

/// An exchange of `members` members (1..=255) over `rows` rows, whose first meeting is that of tick
/// `base + 1`. Each member publishes a value of type `P` per tick, `own` until then.
pub fn exchange<P: Clone>(
    members: usize,
    rows: usize,
    base: Tick,
    own: &P,
) -> (Keeper, Vec<Member<P>>) {
    assert!((1..=255).contains(&members), "a member is named by one byte");
    let shared = Arc::new(Shared {
        // What earlier exchanges showed of a row is over with the first tick.
        columns: Columns::new(rows, base.wrapping_add(1)),
        barrier: Barrier::new(members),
        base,
        arrived: (0..members).map(|_| AtomicU32::new(base)).collect(),
    });
    let pages = Arc::new(Pages::new(members, own));
    let member = |place| Member::new(Arc::clone(&shared), Arc::clone(&pages), place);
    (Keeper(Arc::clone(&shared)), (0..members).map(member).collect())
}

impl Keeper {
    /// Rows in all.
    pub fn rows(&self) -> usize {
        self.0.columns.rows()
    }

    /// Members in all.
    pub fn members(&self) -> usize {
        self.0.arrived.len()
    }

    /// Makes `member` the owner of `row`, if nobody owns it; tells whether that is so.
    ///
    /// # Panics
    /// If there is no such member or row.
    pub fn grant(&self, row: u32, member: usize) -> bool {
        assert!(member < self.members(), "a member");
        self.0.columns.give(row, None, Some(member))
    }

    /// Whether nobody owns the row.
    pub fn is_free(&self, row: u32) -> bool {
        self.0.columns.owner(row).is_none()
    }

    /// The newest tick that any member arrived at.
    pub fn newest(&self) -> Tick {
        (0..self.members()).map(|member| self.arrived(member)).max().unwrap_or_default()
    }

    /// The last tick that `member` arrived at.
    pub fn arrived(&self, member: usize) -> Tick {
        self.0.arrived[member].load(Ordering::Acquire)
    }

    /// The tick before the first meeting.
    pub fn base(&self) -> Tick {
        self.0.base
    }

    /// The exchange with which the survivors go on: as many members and rows, its first meeting is
    /// the one that never took place in this one, which has been closed. Each survivor is to
    /// [`Member::inherit`] from its old self; rows of the others are free.
    pub fn succeed<P: Clone>(&self, own: &P) -> (Keeper, Vec<Member<P>>) {
        exchange(self.members(), self.rows(), self.close(), own)
    }

    /// Ends the exchange because a member was given up: whoever waits finds [`Meeting::Closed`].
    /// Returns the last tick that all have met at.
    pub fn close(&self) -> Tick {
        self.0.base.wrapping_add(self.0.barrier.close() as Tick)
    }
}

impl PartialEq for Keeper {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

#[cfg(test)]
mod tests;
