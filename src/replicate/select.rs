//! Phase select: who sees whom.
//!
//! Each viewer's visible set is recomputed every fourth tick, a quarter of the viewers per tick. An
//! entity enters a slot within the radius of its kind and leaves it beyond a larger one, so that
//! nobody flickers at the edge. The own entity never takes a slot.

use super::slots::{SlotTable, bits};
use super::tenure::Tenure;
use crate::exchange::Published;
use crate::kernel::nearest::distance_squared;
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
    /// What the squares of all distances are multiplied with: 1, or less under load.
    pub sight_squared: f32,
    /// Whether the far tier is to be told apart, which costs a little.
    pub marks_far: bool,
}

/// The far tier begins at half the radius of a kind: a quarter of the square. Three quarters of the
/// area lie there, and what is there moves by few pixels.
const FAR_SQUARED: f32 = 0.25;

impl Selector {
    /// For `rows` published rows.
    pub(super) fn new(rows: usize) -> Self {
        Self { held: HeldSet::new(rows), nearest: Nearest::new() }
    }

    /// Recomputes what the viewer sees and moves its slots accordingly. Returns the slots of the
    /// far tier, if they are asked for.
    pub(super) fn select<'i>(
        &mut self,
        table: &mut SlotTable,
        eye: Eye,
        mut indexes: impl Iterator<Item = &'i Index> + Clone,
        tenure: &Tenure,
        published: Published<'_>,
    ) -> u128 {
        let tick = published.tick();
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
        for index in indexes.clone() {
            let (held, nearest) = (&self.held, &mut self.nearest);
            index.visible_within(eye.position, eye.sight_squared, held, nearest);
        }
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
        match indexes.next() {
            Some(index) if eye.marks_far => far(table, eye, index, published),
            _ => 0,
        }
    }
}

/// The live slots whose occupant is in the far tier; `index` knows the distances.
fn far(table: &SlotTable, eye: Eye, index: &Index, published: Published<'_>) -> u128 {
    let mut far = 0;
    for slot in bits(table.live()) {
        let row = table.row[usize::from(slot)];
        let state = published.state(row, published.tick());
        let reach = index.enter_squared(published.kind(row)) * eye.sight_squared * FAR_SQUARED;
        if distance_squared(state.position(), eye.position) > reach {
            far |= 1 << slot;
        }
    }
    far
}

/// Whether `viewer` is due in `tick`.
#[inline]
pub fn is_due(viewer: u16, tick: Tick) -> bool {
    u32::from(viewer) % SELECT_STAGGER == tick % SELECT_STAGGER
}
