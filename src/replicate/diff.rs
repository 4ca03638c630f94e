//! Phase diff: which of the seen entities changed since the state that the viewer has acknowledged.
//!
//! One comparison per (viewer, entity): the tick of the entity's last change against the tick the
//! viewer acknowledged. No state is touched here.

use super::slots::{SlotTable, bits};
use crate::limits::VISIBLE_MAX;
use crate::units::Tick;

/// The slots of one viewer that have something to say, in the order in which they may speak.
#[derive(Clone, Debug)]
pub struct ChangedSlots {
    slots: [u8; VISIBLE_MAX],
    len: u8,
}

impl Default for ChangedSlots {
    fn default() -> Self {
        Self { slots: [0; VISIBLE_MAX], len: 0 }
    }
}

impl ChangedSlots {
    /// The slots in order.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        &self.slots[..usize::from(self.len)]
    }
}

/// Fills `out` with the live slots whose entity changed after the acknowledged tick. The order
/// starts at the cursor: what did not fit the budget last time comes first now.
#[inline]
pub(super) fn diff(table: &SlotTable, changed: &[Tick], out: &mut ChangedSlots) {
    let from_cursor = u128::MAX << table.cursor;
    let mut len = 0_usize;
    for part in [table.live() & from_cursor, table.live() & !from_cursor] {
        for slot in bits(part) {
            let index = usize::from(slot);
            let speaks = changed[table.row[index] as usize] > table.acknowledged[index];
            // Branchless: half of a crowd stands still, so the branch would be mispredicted often.
            out.slots[len & (VISIBLE_MAX - 1)] = slot;
            len += usize::from(speaks);
        }
    }
    out.len = len as u8;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::EntityId;

    #[test]
    fn only_what_changed_after_the_acknowledged_tick_speaks() {
        let mut table = SlotTable::default();
        for row in 0..4 {
            table.enter(row, EntityId::from_parts(row, 1), 1);
        }
        table.acknowledged[..4].copy_from_slice(&[5, 5, 0, 5]);
        let mut out = ChangedSlots::default();
        diff(&table, &[5, 6, 1, 4], &mut out);
        assert_eq!(out.as_slice(), [1, 2]);
        table.cursor = 2;
        diff(&table, &[5, 6, 1, 4], &mut out);
        assert_eq!(out.as_slice(), [2, 1], "the order starts at the cursor");
    }

    #[test]
    fn a_full_table_in_which_everything_changed_speaks_in_full() {
        let mut table = SlotTable::default();
        for row in 0..VISIBLE_MAX as u32 {
            table.enter(row, EntityId::from_parts(row, 1), 1);
        }
        let mut out = ChangedSlots::default();
        diff(&table, &[9; VISIBLE_MAX], &mut out);
        assert_eq!(out.as_slice().len(), VISIBLE_MAX);
    }
}
