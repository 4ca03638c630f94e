//! Phase select: who sees whom.
//!
//! Each viewer's visible set is recomputed every fourth tick, a quarter of the viewers per tick. An
//! entity enters a slot within the radius of its kind and leaves it beyond a larger one, so that
//! nobody flickers at the edge. The own entity never takes a slot.

use super::pace::{EVERY_TICK, Paces, Tier};
use super::slots::{SlotTable, bits};
use crate::exchange::Published;
use crate::limits::SELECT_STAGGER;
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

impl Selector {
    /// For `rows` published rows.
    pub(super) fn new(rows: usize, rate: TickRate) -> Self {
        Self { held: HeldSet::new(rows), nearest: Nearest::new(), rate }
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
        for slot in bits(before) {
            let row = table.row[usize::from(slot)];
            // A row that has another occupant by now holds nothing for this viewer.
            if published.trail(row).since <= table.selected {
                self.held.hold_in(row, slot);
            }
        }
        self.nearest.clear();
        self.nearest.leave_out(eye.row);
        for index in indexes.clone() {
            let (held, nearest) = (&self.held, &mut self.nearest);
            index.visible_within(eye.position, eye.sight_squared, held, nearest);
        }
        if let Some(index) = indexes.next() {
            let stays = self.place(table, eye, index, published);
            table.leave(before & !stays, tick);
        }
        table.selected = tick;
        for slot in bits(before) {
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
