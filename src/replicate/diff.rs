//! Phase diff: which of the seen entities changed since the state that the viewer has acknowledged.
//!
//! One comparison per (viewer, entity): the tick of the entity's last change against the tick the
//! viewer acknowledged. No state is touched here.

use super::slots::SlotTable;
use crate::limits::VISIBLE_MAX;
use crate::units::Tick;

/// Slots of one viewer that have something to say, as bits.
pub type ChangedSlots = u128;

/// The live slots whose entity changed after the acknowledged tick.
#[inline]
pub(super) fn diff(table: &SlotTable, changed: &[Tick]) -> ChangedSlots {
    let mut speaking = [0_u8; VISIBLE_MAX / 8];
    let rows = table.row.as_chunks::<8>().0.iter();
    let acknowledged = table.acknowledged.as_chunks::<8>().0.iter();
    let live = table.live().to_le_bytes();
    for (((rows, acknowledged), live), speaking) in
        rows.zip(acknowledged).zip(live).zip(&mut speaking)
    {
        if live == 0 {
            continue;
        }
        // Without a branch per slot: half of a crowd stands still, and would be mispredicted.
        let mut bits = 0;
        for lane in 0..8 {
            let newer = changed[rows[lane] as usize] > acknowledged[lane];
            bits |= u8::from(newer) << lane;
        }
        *speaking = bits & live;
    }
    ChangedSlots::from_le_bytes(speaking)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changed_after_the_acknowledged_tick_speaks() {
        let mut table = SlotTable::default();
        for row in 0..4 {
            table.enter(row);
        }
        table.acknowledged[..4].copy_from_slice(&[5, 5, 0, 5]);
        assert_eq!(diff(&table, &[5, 6, 1, 4]), 0b0110);
        table.leave(0b0010, 2);
        assert_eq!(diff(&table, &[5, 6, 1, 4]), 0b0100, "who leaves says nothing");
    }

    #[test]
    fn a_full_table_in_which_everything_changed_speaks_in_full() {
        let mut table = SlotTable::default();
        for row in 0..VISIBLE_MAX as u32 {
            table.enter(row);
        }
        assert_eq!(diff(&table, &[9; VISIBLE_MAX]), u128::MAX);
    }
}
