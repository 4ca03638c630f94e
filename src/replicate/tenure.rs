//! Since when each published row has had its occupant.
//!
//! A slot remembers the row of its entity and not the entity: whoever was put into a row after the
//! viewer's last selection is another one than the slot stands for. Being late in noticing a change
//! is harmless (the slot is given up although it was right), and nobody can be early. So a table is
//! good for the replicator of every shard, whatever that one has watched so far.

use crate::exchange::Published;
use crate::units::{EntityId, Tick};

/// The occupant of each row, and the tick in which it was first seen there.
#[derive(Debug)]
pub(super) struct Tenure {
    tick: Tick,
    occupants: Box<[EntityId]>,
    since: Box<[Tick]>,
}

impl Tenure {
    /// For `rows` published rows.
    pub(super) fn new(rows: usize) -> Self {
        Self { tick: 0, occupants: vec![EntityId::NONE; rows].into(), since: vec![0; rows].into() }
    }

    /// Takes note of what was published; the second call in a tick costs nothing.
    #[inline]
    pub(super) fn observe(&mut self, published: Published<'_>) {
        if self.tick != published.tick() {
            self.note(published);
        }
    }

    #[cold]
    fn note(&mut self, published: Published<'_>) {
        self.tick = published.tick();
        let rows = self.occupants.iter_mut().zip(&mut self.since).enumerate();
        for (row, (occupant, since)) in rows {
            let now = published.id(row as u32);
            if *occupant != now {
                (*occupant, *since) = (now, self.tick);
            }
        }
    }

    /// Per row, the tick in which its occupant was first seen there.
    #[inline]
    pub(super) fn since(&self) -> &[Tick] {
        &self.since
    }

    /// Bytes held for good.
    pub(super) fn memory_bytes(&self) -> usize {
        size_of_val(&*self.occupants) + size_of_val(&*self.since)
    }
}
