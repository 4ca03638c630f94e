//! Phase diff: which of the seen entities changed since the state that the viewer has acknowledged.
//!
//! One comparison per (viewer, entity): the tick of the entity's last change against the tick the
//! viewer acknowledged. No state is touched here.

use super::slots::SlotTable;
use crate::kernel::age::newer;
use crate::limits::VISIBLE_MAX;
use crate::units::Tick;

/// Slots of one viewer that have something to say, as bits.
pub type ChangedSlots = u128;

/// The live slots whose entity changed after the acknowledged tick.
#[inline]
pub(super) fn diff(table: &SlotTable, changed: &[Tick], tick: Tick) -> ChangedSlots {
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
        // N.B. `array::map` is not inlined here and cost half of the phase.
        let mut lanes = [0; 8];
        for (lane, row) in lanes.iter_mut().zip(rows) {
            *lane = changed[*row as usize];
        }
        *speaking = newer(tick, lanes, acknowledged) & live;
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
            table.enter(row, 1);
        }
        table.remember(1, 5, 0b1011);
        table.acknowledge(1);
        assert_eq!(diff(&table, &[5, 6, 1, 4], 6), 0b0110);
        table.leave(0b0010, 2);
        assert_eq!(diff(&table, &[5, 6, 1, 4], 6), 0b0100, "who leaves says nothing");
    }

    #[test]
    fn a_full_table_in_which_everything_changed_speaks_in_full() {
        let mut table = SlotTable::default();
        for row in 0..VISIBLE_MAX as u32 {
            table.enter(row, 9);
        }
        assert_eq!(diff(&table, &[9; VISIBLE_MAX], 9), u128::MAX);
    }

    #[test]
    fn whoever_stands_still_for_hours_is_silent_until_he_moves() {
        let mut table = SlotTable::default();
        let mut changed = [10, 10, 10];
        (0..3).for_each(|row| _ = table.enter(row, 10));
        table.remember(1, 10, 0b001);
        table.acknowledge(1);
        for tick in 11..300_000 {
            table.renew(tick, &changed);
            assert_eq!(diff(&table, &changed, tick), 0b110, "slot 0 at tick {tick}");
        }
        changed[0] = 299_500;
        assert_eq!(diff(&table, &changed, 300_000), 0b111);
        table.renew(350_000, &changed);
        assert_eq!(diff(&table, &changed, 350_000), 0b111, "left alone for too long");
    }
}
