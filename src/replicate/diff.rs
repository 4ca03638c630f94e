//! Phase diff: which of the seen entities are due to be told and changed since the state that the
//! viewer has acknowledged.
//!
//! One comparison per (viewer, entity): the tick of the entity's last change against the tick the
//! viewer acknowledged. Time passes here for the urgency of the slots; nothing else is touched.

use super::slots::SlotTable;
use crate::kernel::age::newer;
use crate::kernel::urgency::LEVELS;
use crate::limits::VISIBLE_MAX;
use crate::units::Tick;

/// Slots of one viewer that have something to say, as bits, the most urgent level first.
pub type ChangedSlots = [u128; LEVELS];

/// The live slots that are due and whose entity changed after the acknowledged tick.
#[inline]
pub(super) fn diff(table: &mut SlotTable, changed: &[Tick], tick: Tick) -> ChangedSlots {
    let due = table.due();
    let any = due.iter().fold(0, |any, level| any | level).to_le_bytes();
    let mut speaking = [0_u8; VISIBLE_MAX / 8];
    let rows = table.row.as_chunks::<8>().0.iter();
    let acknowledged = table.acknowledged.as_chunks::<8>().0.iter();
    for (((rows, acknowledged), any), speaking) in
        rows.zip(acknowledged).zip(any).zip(&mut speaking)
    {
        if any == 0 {
            continue;
        }
        // Without a branch per slot: half of a crowd stands still, and would be mispredicted.
        // N.B. `array::map` is not inlined here and cost half of the phase.
        let mut lanes = [0; 8];
        for (lane, row) in lanes.iter_mut().zip(rows) {
            *lane = changed[*row as usize];
        }
        *speaking = newer(tick, lanes, acknowledged) & any;
    }
    let speaking = u128::from_le_bytes(speaking);
    due.map(|level| level & speaking)
}

#[cfg(test)]
mod tests {
    use super::super::pace::EVERY_TICK;
    use super::*;

    /// A table whose slots are due in every tick.
    fn eager() -> SlotTable {
        let mut table = SlotTable::default();
        (0..VISIBLE_MAX as u8).for_each(|slot| table.set_pace(slot, EVERY_TICK, 0));
        table
    }

    fn speaking(table: &mut SlotTable, changed: &[Tick], tick: Tick) -> u128 {
        diff(table, changed, tick).iter().fold(0, |all, level| all | level)
    }

    #[test]
    fn only_what_changed_after_the_acknowledged_tick_speaks() {
        let mut table = eager();
        for row in 0..4 {
            table.enter(row, 1);
        }
        table.remember(1, 5, 0b1011);
        table.acknowledge(1);
        assert_eq!(speaking(&mut table, &[5, 6, 1, 4], 6), 0b0110);
        table.leave(0b0010, 2);
        assert_eq!(speaking(&mut table, &[5, 6, 1, 4], 6), 0b0100, "who leaves says nothing");
    }

    #[test]
    fn a_full_table_in_which_everything_changed_speaks_in_full() {
        let mut table = eager();
        for row in 0..VISIBLE_MAX as u32 {
            table.enter(row, 9);
        }
        assert_eq!(speaking(&mut table, &[9; VISIBLE_MAX], 9), u128::MAX);
    }

    #[test]
    fn whoever_stands_still_for_hours_is_silent_until_he_moves() {
        let mut table = eager();
        let mut changed = [10, 10, 10];
        (0..3).for_each(|row| _ = table.enter(row, 10));
        table.remember(1, 10, 0b001);
        table.acknowledge(1);
        for tick in 11..300_000 {
            table.renew(tick, &changed);
            assert_eq!(speaking(&mut table, &changed, tick), 0b110, "slot 0 at tick {tick}");
        }
        changed[0] = 299_500;
        assert_eq!(speaking(&mut table, &changed, 300_000), 0b111);
        table.renew(350_000, &changed);
        assert_eq!(speaking(&mut table, &changed, 350_000), 0b111, "left alone for too long");
    }

    #[test]
    fn what_was_told_waits_for_its_pace_and_what_was_passed_over_goes_first() {
        let mut table = SlotTable::default();
        (0..3).for_each(|row| _ = table.enter(row, 1));
        for (slot, pace) in [EVERY_TICK, EVERY_TICK / 2, EVERY_TICK / 2].into_iter().enumerate() {
            table.set_pace(slot as u8, pace, 1);
        }
        let mut told = [0; 3];
        for tick in 2..42 {
            let levels = diff(&mut table, &[tick; 3], tick);
            // Room for one at a time.
            let slot = levels.into_iter().flat_map(super::super::slots::bits).next();
            let slot = slot.expect("the first is due in every tick");
            told[usize::from(slot)] += 1;
            table.remember(tick.into(), tick, 1 << slot);
        }
        assert_eq!(told.iter().sum::<u32>(), 40);
        assert!(
            told[0] >= 18 && told[1] >= 9 && told[2] >= 9,
            "shares are those of the paces: {told:?}"
        );
    }
}
