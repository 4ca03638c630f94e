//! Which rows live, and which entity lives in which row.
//!
//! Rows are stable: an entity keeps its row from spawn to despawn, since viewers elsewhere refer to
//! it by row. A free row is taken lowest first, so the living stay as far down as their deaths
//! allow.

use super::Row;
use crate::limits::ENTITIES_MAX;
use crate::units::EntityId;

/// Marks an index of `row_by_index` without a row. Zero, so that the table costs no memory where no
/// entity index was ever used.
const NO_ROW: u32 = 0;

#[derive(Clone, Debug)]
pub(super) struct Roster {
    capacity: usize,
    /// `EntityId::NONE` where nothing lives.
    ids: Box<[EntityId]>,
    /// One bit per row; bits beyond the capacity are set, as if occupied.
    taken: Box<[u64]>,
    /// Row + 1 of the living entity with this index.
    row_by_index: Box<[u32]>,
    /// No word of `taken` below this one has a free row.
    first_free_word: usize,
    /// One past the highest living row.
    end: usize,
    living: usize,
}

impl Roster {
    pub(super) fn new(capacity: usize) -> Self {
        assert!(capacity <= ENTITIES_MAX, "a world has at most {ENTITIES_MAX} rows");
        let mut taken = vec![0_u64; capacity.div_ceil(64)].into_boxed_slice();
        if let (Some(last), beyond @ 1..) = (taken.last_mut(), capacity % 64) {
            *last = u64::MAX << beyond;
        }
        Self {
            capacity,
            ids: vec![EntityId::NONE; capacity].into_boxed_slice(),
            taken,
            row_by_index: vec![NO_ROW; ENTITIES_MAX].into_boxed_slice(),
            first_free_word: 0,
            end: 0,
            living: 0,
        }
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn memory_bytes(&self) -> usize {
        size_of_val(&*self.ids) + size_of_val(&*self.taken) + size_of_val(&*self.row_by_index)
    }

    pub(super) fn living(&self) -> usize {
        self.living
    }

    pub(super) fn end(&self) -> usize {
        self.end
    }

    pub(super) fn ids(&self) -> &[EntityId] {
        &self.ids[..self.end]
    }

    pub(super) fn id_of(&self, row: Row) -> Option<EntityId> {
        self.ids.get(row as usize).copied().filter(|&id| id != EntityId::NONE)
    }

    pub(super) fn row_of(&self, id: EntityId) -> Option<Row> {
        let row = self.row_by_index[id.index() as usize].checked_sub(1)?;
        (self.ids[row as usize] == id).then_some(row)
    }

    /// Whether an entity with the index of `id` lives, whatever its generation.
    pub(super) fn is_index_taken(&self, id: EntityId) -> bool {
        self.row_by_index[id.index() as usize] != NO_ROW
    }

    /// Gives `id` the lowest free row; `None` if there is none.
    pub(super) fn occupy(&mut self, id: EntityId) -> Option<Row> {
        let word =
            (self.first_free_word..self.taken.len()).find(|&word| self.taken[word] != u64::MAX)?;
        let bit = self.taken[word].trailing_ones();
        self.taken[word] |= 1 << bit;
        self.first_free_word = word;
        let row = word * 64 + bit as usize;
        self.ids[row] = id;
        self.row_by_index[id.index() as usize] = row as u32 + 1;
        self.end = self.end.max(row + 1);
        self.living += 1;
        Some(row as Row)
    }

    /// Frees a living `row`.
    pub(super) fn vacate(&mut self, row: Row) {
        let row = row as usize;
        self.row_by_index[self.ids[row].index() as usize] = NO_ROW;
        self.ids[row] = EntityId::NONE;
        self.taken[row / 64] &= !(1 << (row % 64));
        self.first_free_word = self.first_free_word.min(row / 64);
        self.living -= 1;
        while self.end > 0 && self.ids[self.end - 1] == EntityId::NONE {
            self.end -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    /// Any order of births and deaths, beside a map and a set.
    #[test]
    fn a_roster_equals_a_map_with_a_set_of_free_rows() {
        for seed in 0..60_u64 {
            let capacity = [1, 7, 63, 64, 65, 130][seed as usize % 6];
            let mut state = seed;
            let mut draw = |bound: usize| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 33) as usize % bound
            };
            let mut roster = Roster::new(capacity);
            let mut rows: BTreeMap<u32, EntityId> = BTreeMap::new();
            let mut free: BTreeSet<u32> = (0..capacity as u32).collect();
            for step in 0..2000 {
                let id = EntityId::from_parts(draw(capacity * 2) as u32, 1 + draw(3) as u32);
                let taken = rows.values().any(|living| living.index() == id.index());
                assert_eq!(roster.is_index_taken(id), taken, "seed {seed}, step {step}");
                if draw(5) < 3 && !taken {
                    let lowest = free.pop_first();
                    assert_eq!(roster.occupy(id), lowest, "seed {seed}, step {step}");
                    lowest.map(|row| rows.insert(row, id));
                } else if let Some((&row, _)) = rows.iter().nth(draw(rows.len().max(1))) {
                    rows.remove(&row);
                    free.insert(row);
                    roster.vacate(row);
                }
                let end = rows.last_key_value().map_or(0, |(row, _)| *row as usize + 1);
                assert_eq!((roster.end(), roster.living()), (end, rows.len()), "seed {seed}");
                for row in 0..capacity as u32 + 2 {
                    assert_eq!(roster.id_of(row), rows.get(&row).copied(), "seed {seed}");
                }
                let row = rows.iter().find(|(_, living)| **living == id).map(|(row, _)| *row);
                assert_eq!(roster.row_of(id), row, "seed {seed}, step {step}");
            }
        }
    }

    #[test]
    fn a_world_without_rows_is_full() {
        let mut roster = Roster::new(0);
        assert_eq!(roster.occupy(EntityId::from_parts(1, 1)), None);
        assert_eq!((roster.end(), roster.living()), (0, 0));
    }
}
