//! Phase select: who sees whom.
//!
//! Each viewer's visible set is recomputed every fourth tick, a quarter of the viewers per tick. An
//! entity enters a slot within the radius of its kind and leaves it beyond a larger one, so that
//! nobody flickers at the edge. The own entity never takes a slot.

use super::slots::{SlotTable, bits};
use super::tenure::Tenure;
use crate::limits::SELECT_STAGGER;
use crate::units::Tick;
use crate::world::{HeldSet, Index, Nearest};

/// Scratch of the selection, shared by all viewers of a shard.
#[derive(Debug)]
pub(super) struct Selector {
    held: HeldSet,
    nearest: Nearest,
}

/// The viewer for whom a selection is made.
#[derive(Clone, Copy, Debug)]
pub struct Eye {
    /// Published row of the own entity.
    pub row: u32,
    /// Its position, centimetres.
    pub position: [f32; 3],
}

impl Selector {
    /// For `rows` published rows.
    pub(super) fn new(rows: usize) -> Self {
        Self { held: HeldSet::new(rows), nearest: Nearest::new() }
    }

    /// Recomputes what the viewer sees in `tick` and moves its slots accordingly.
    pub(super) fn select<'i>(
        &mut self,
        table: &mut SlotTable,
        eye: Eye,
        indexes: impl Iterator<Item = &'i Index>,
        tenure: &Tenure,
        tick: Tick,
    ) {
        let since = tenure.since();
        for slot in bits(table.live()) {
            let row = table.row[usize::from(slot)];
            // A row that has another occupant by now holds nothing for this viewer.
            if since[row as usize] <= table.selected {
                self.held.hold_in(row, slot);
            }
        }
        self.nearest.clear();
        self.nearest.leave_out(eye.row);
        indexes.for_each(|index| index.visible(eye.position, &self.held, &mut self.nearest));
        let found = self.nearest.rows();
        let stays = found
            .iter()
            .filter_map(|&row| self.held.slot(row))
            .fold(0_u128, |stays, slot| stays | 1 << slot);
        let newcomers = found.iter().filter(|&&row| !self.held.holds(row));
        table.leave(table.live() & !stays, tick);
        let before = table.live() | table.leaving();
        for &row in newcomers {
            if table.enter(row, tick).is_none() {
                // Every slot waits for an acknowledgment; the entity is found again in four ticks.
                break;
            }
        }
        table.selected = tick;
        for slot in bits(before) {
            self.held.release(table.row[usize::from(slot)]);
        }
    }
}

/// Whether `viewer` is due in `tick`.
#[inline]
pub fn is_due(viewer: u16, tick: Tick) -> bool {
    u32::from(viewer) % SELECT_STAGGER == tick % SELECT_STAGGER
}
