//! Allocation of entity ids: indices are reused, generations tell the successive entities apart.

use crate::units::EntityId;

const GENERATIONS: u32 = 1 << 12;

/// Ids of a world with a fixed capacity. The index freed last is used last, so that a generation
/// comes around as late as possible.
#[derive(Debug)]
pub(super) struct EntityIds {
    /// Generation that the next entity of an index gets, 1..4,096.
    next_generation: Vec<u16>,
    free: std::collections::VecDeque<u32>,
}

impl EntityIds {
    /// For `capacity` entities at a time.
    pub(super) fn new(capacity: usize) -> Self {
        Self { next_generation: vec![1; capacity], free: (0..capacity as u32).collect() }
    }

    /// A new id, or `None` if all are in use.
    pub(super) fn allocate(&mut self) -> Option<EntityId> {
        let index = self.free.pop_front()?;
        let generation = &mut self.next_generation[index as usize];
        let id = EntityId::from_parts(index, u32::from(*generation));
        *generation = if u32::from(*generation) + 1 < GENERATIONS { *generation + 1 } else { 1 };
        Some(id)
    }

    /// Takes back an id of [`Self::allocate`].
    pub(super) fn free(&mut self, id: EntityId) {
        debug_assert!(self.free.len() < self.next_generation.len(), "freed twice");
        self.free.push_back(id.index());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn an_id_never_names_two_living_entities_nor_two_in_a_row() {
        let mut ids = EntityIds::new(3);
        let mut living = BTreeSet::new();
        let mut before = EntityId::NONE;
        for round in 0..20_000 {
            let id = ids.allocate().expect("two live at most");
            assert_ne!(id, before);
            assert!(id.generation() > 0 && living.insert(id), "round {round}");
            before = id;
            if living.len() == 3 {
                assert_eq!(ids.allocate(), None);
            }
            if living.len() > 1 {
                let oldest = *living.first().expect("not empty");
                living.remove(&oldest);
                ids.free(oldest);
            }
        }
    }
}
