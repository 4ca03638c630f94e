//! Phase select: who sees whom.
//!
//! Each viewer's visible set is recomputed every fourth tick, a quarter of the viewers per tick. An
//! entity enters a slot within the radius of its kind and leaves it beyond a larger one, so that
//! nobody flickers at the edge. The own entity never takes a slot.

use super::pace::{EVERY_TICK, Paces, Tier};
use super::slots::{SlotTable, bits};
use crate::exchange::Published;
use crate::limits::{SELECT_STAGGER, VISIBLE_MAX};
use crate::units::{Tick, TickRate};
use crate::world::{HeldSet, Index, Nearest};

/// Scratch of the selection, shared by all viewers of a shard.
#[derive(Debug)]
pub(super) struct Selector {
    held: HeldSet,
    nearest: Nearest,
    rate: TickRate,
}

/// The viewer for whom a selection is made.
#[derive(Clone, Copy, Debug)]
pub struct Eye {
    /// Published row of the own entity.
    pub row: u32,
    /// Its position, centimetres.
    pub position: [f32; 3],
    /// What the squares of all distances are multiplied with: 1, or less under load.
    pub sight_squared: f32,
    /// The far tier gets one part in this many of its pace: 1, or more under load.
    pub far_every: u8,
    /// Published row of the entity that the viewer fights, `u32::MAX` = none: it is told of in
    /// every tick, wherever it is.
    pub target: u32,
}

/// What a selection makes of an entity that has no slot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Finding {
    /// It enters.
    Enters,
    /// It would enter, but every slot is taken: removals wait for acknowledgments.
    NoSlot,
    /// As many as there are slots are nearer, the last of them this far away, in centimetres.
    Crowded {
        /// Distance of the farthest that is seen.
        farthest: f32,
    },
    /// It is too far away.
    OutOfSight,
}

impl Selector {
    /// For `rows` published rows.
    pub(super) fn new(rows: usize, rate: TickRate) -> Self {
        Self { held: HeldSet::new(rows), nearest: Nearest::new(), rate }
    }

    /// Ticks per second.
    pub(super) fn rate(&self) -> TickRate {
        self.rate
    }

    /// Recomputes what the viewer sees, moves its slots accordingly and sets their paces.
    pub(super) fn select<'i>(
        &mut self,
        table: &mut SlotTable,
        eye: Eye,
        mut indexes: impl Iterator<Item = &'i Index> + Clone,
        published: Published<'_>,
    ) {
        let tick = published.tick();
        let before = table.live();
        self.look(table, &eye, indexes.clone(), published);
        if let Some(index) = indexes.next() {
            let stays = self.place(table, eye, index, published);
            table.leave(before & !stays, tick);
        }
        table.selected = tick;
        self.let_go(table, before);
    }

    /// What a selection would make of `row` now, which is in no live slot and is to be in sight.
    pub(super) fn judge<'i>(
        &mut self,
        table: &SlotTable,
        eye: &Eye,
        indexes: impl Iterator<Item = &'i Index>,
        published: Published<'_>,
        row: u32,
    ) -> Finding {
        self.look(table, eye, indexes, published);
        self.let_go(table, table.live());
        if self.nearest.rows().contains(&row) {
            let full = table.live() | table.leaving() == u128::MAX;
            return if full { Finding::NoSlot } else { Finding::Enters };
        }
        let farthest = self.nearest.distances_squared().iter().copied().fold(0.0, f32::max);
        if self.nearest.len() < VISIBLE_MAX {
            Finding::OutOfSight
        } else {
            Finding::Crowded { farthest: farthest.sqrt() }
        }
    }

    /// Holds what the viewer sees and finds what it would see now.
    fn look<'i>(
        &mut self,
        table: &SlotTable,
        eye: &Eye,
        indexes: impl Iterator<Item = &'i Index>,
        published: Published<'_>,
    ) {
        for slot in bits(table.live()) {
            let row = table.row[usize::from(slot)];
            // A row that has another occupant by now holds nothing for this viewer.
            if published.trail(row).since <= table.selected {
                self.held.hold_in(row, slot);
            }
        }
        self.nearest.clear();
        self.nearest.leave_out(eye.row);
        for index in indexes {
            let (held, nearest) = (&self.held, &mut self.nearest);
            index.visible_within(eye.position, eye.sight_squared, held, nearest);
        }
    }

    /// Lets go of what [`Self::look`] held.
    fn let_go(&mut self, table: &SlotTable, slots: u128) {
        for slot in bits(slots) {
            self.held.release(table.row[usize::from(slot)]);
        }
    }

    /// Gives everything found a slot and the slot its pace. Returns the slots of what was held
    /// before; `index` knows the distances of interest.
    fn place(
        &self,
        table: &mut SlotTable,
        eye: Eye,
        index: &Index,
        published: Published<'_>,
    ) -> u128 {
        let paces = Paces::new(self.rate, eye.far_every);
        let mut stays = 0;
        for (&row, &squared) in self.nearest.rows().iter().zip(self.nearest.distances_squared()) {
            let slot = match self.held.slot(row) {
                Some(slot) => {
                    stays |= 1 << slot;
                    slot
                }
                None => match table.enter(row, published.tick()) {
                    Some(slot) => slot,
                    // Every slot waits for an acknowledgment; the entity is found again in four
                    // ticks.
                    None => continue,
                },
            };
            let reach = index.enter_squared(published.kind(row)) * eye.sight_squared;
            let pace = paces.of(Tier::of(squared, reach), published.stir(row));
            let pace = if row == eye.target { EVERY_TICK } else { pace };
            table.set_pace(slot, pace, published.tick());
        }
        stays
    }
}

/// Whether `viewer` is due in `tick`.
#[inline]
pub fn is_due(viewer: u16, tick: Tick) -> bool {
    u32::from(viewer) % SELECT_STAGGER == tick % SELECT_STAGGER
}

/// Ticks from `tick` to the next in which `viewer` is due, at least 1.
pub(super) fn ticks_until_due(viewer: u16, tick: Tick) -> Tick {
    (1..SELECT_STAGGER).find(|ahead| is_due(viewer, tick + ahead)).unwrap_or(SELECT_STAGGER)
}
