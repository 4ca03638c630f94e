//! What every viewer may read: the quantized columns of the last tick and the history that deltas
//! are made against.
//!
//! One shared ring of states replaces a snapshot per client: a baseline is named by (row, tick).
//! Rows of all shards stand in one arena; a shard publishes its own range and reads everybody's.

use crate::limits::{AGE_MAX, HISTORY_TICKS};
use crate::state::{Kind, QuantizedState};
use crate::units::{EntityId, Tick};
use std::ops::Range;

/// Columns of all published rows and their last 64 ticks.
#[derive(Debug)]
pub struct Published {
    rows: usize,
    history: Vec<QuantizedState>,
    changed: Vec<Tick>,
    ids: Vec<EntityId>,
    kinds: Vec<Kind>,
}

/// The columns that one shard publishes in one tick. All slices have the same length, one item per
/// row.
#[derive(Clone, Copy, Debug)]
pub struct PublishedColumns<'a> {
    /// State at this tick.
    pub states: &'a [QuantizedState],
    /// Tick at which the state last differed from the tick before.
    pub changed: &'a [Tick],
    /// Occupant of the row, `EntityId::NONE` for an empty row.
    pub ids: &'a [EntityId],
    /// Kind of the occupant.
    pub kinds: &'a [Kind],
}

impl Published {
    /// Room for `rows` entities; nothing grows later.
    pub fn new(rows: usize) -> Self {
        Self {
            rows,
            history: vec![QuantizedState::DEFAULT; rows * HISTORY_TICKS],
            changed: vec![0; rows],
            ids: vec![EntityId::NONE; rows],
            kinds: vec![Kind::Player; rows],
        }
    }

    /// Bytes held for good.
    pub fn memory_bytes(&self) -> usize {
        size_of_val(&*self.history)
            + size_of_val(&*self.changed)
            + size_of_val(&*self.ids)
            + size_of_val(&*self.kinds)
    }

    /// Takes over the columns of `tick` for the rows from `range.start` on. Rows of the range
    /// beyond the columns are empty from now on.
    pub fn publish(&mut self, tick: Tick, range: Range<usize>, columns: PublishedColumns<'_>) {
        let living = range.start..range.start + columns.states.len();
        self.ids[living.end..range.end].fill(EntityId::NONE);
        let range = living;
        let page = self.page(tick);
        self.history[page + range.start..page + range.end].copy_from_slice(columns.states);
        self.changed[range.clone()].copy_from_slice(columns.changed);
        self.ids[range.clone()].copy_from_slice(columns.ids);
        self.kinds[range].copy_from_slice(columns.kinds);
    }

    /// State of `row` at `tick`, which lies at most 63 ticks before the newest published one.
    #[inline]
    pub fn state(&self, row: u32, tick: Tick) -> &QuantizedState {
        &self.history[self.page(tick) + row as usize]
    }

    /// Tick at which each row last changed.
    #[inline]
    pub fn changed(&self) -> &[Tick] {
        &self.changed
    }

    /// Occupant of `row`.
    #[inline]
    pub fn id(&self, row: u32) -> EntityId {
        self.ids[row as usize]
    }

    /// Kind of the occupant of `row`.
    #[inline]
    pub fn kind(&self, row: u32) -> Kind {
        self.kinds[row as usize]
    }

    /// Rows there is room for.
    pub fn rows(&self) -> usize {
        self.rows
    }

    fn page(&self, tick: Tick) -> usize {
        (tick as usize & (HISTORY_TICKS - 1)) * self.rows
    }
}

/// Age of the baseline `acknowledged` seen from `tick`: 1..=63, or 0 if there is none that still
/// stands in the history.
#[inline]
pub fn baseline_age(tick: Tick, acknowledged: Tick) -> u8 {
    let age = tick.wrapping_sub(acknowledged);
    if acknowledged != 0 && (1..=AGE_MAX).contains(&age) { age as u8 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_baseline_is_usable_exactly_as_long_as_the_history_holds_it() {
        assert_eq!(baseline_age(100, 0), 0, "never acknowledged");
        assert_eq!(baseline_age(100, 99), 1);
        assert_eq!(baseline_age(100, 37), 63);
        assert_eq!(baseline_age(100, 36), 0, "its page is being overwritten");
        assert_eq!(baseline_age(100, 100), 0, "a tick is no baseline of itself");
    }

    #[test]
    fn the_history_returns_each_of_its_64_ticks() {
        let mut published = Published::new(3);
        for tick in 1..=200_u32 {
            let state = QuantizedState { x: tick, ..QuantizedState::DEFAULT };
            published.publish(
                tick,
                1..3,
                PublishedColumns {
                    states: &[state],
                    changed: &[tick],
                    ids: &[EntityId::from_parts(1, 1)],
                    kinds: &[Kind::Item],
                },
            );
            for age in 0..64.min(tick) {
                assert_eq!(published.state(1, tick - age).x, tick - age);
            }
        }
        assert_eq!(published.changed(), [0, 200, 0]);
        assert_eq!(published.kind(1), Kind::Item);
        assert_eq!((published.id(1).index(), published.id(2)), (1, EntityId::NONE));
    }
}
