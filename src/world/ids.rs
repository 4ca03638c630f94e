//! Allocation of entity ids: an index that is reused, and a generation that tells its users apart.
//!
//! A released index goes to the back of the queue: with 1,000 free indices, an id that somebody
//! still remembers comes back only after some four million others. The gate owns the allocator and
//! releases an id when its session has ended.

use crate::limits::ENTITIES_MAX;
use crate::units::EntityId;
use std::collections::VecDeque;
use std::ops::Range;

/// Generations are 1..=4095; 0 would make an id of index 0 equal to `EntityId::NONE`.
const GENERATION_MAX: u16 = 4095;

/// Ids of one range of indices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntityIds {
    first: u32,
    /// By index: generation of the id in use, or of the next one.
    generations: Box<[u16]>,
    in_use: Box<[bool]>,
    /// Free indices relative to `first`, oldest release in front.
    free: VecDeque<u32>,
}

impl EntityIds {
    /// All ids whose index is in `indices`, none in use.
    ///
    /// # Panics
    /// If an index is not below `limits::ENTITIES_MAX`.
    pub fn new(indices: Range<u32>) -> Self {
        assert!(indices.end as usize <= ENTITIES_MAX, "an index has 20 bits");
        let count = indices.len();
        Self {
            first: indices.start,
            generations: vec![1; count].into_boxed_slice(),
            in_use: vec![false; count].into_boxed_slice(),
            free: (0..count as u32).collect(),
        }
    }

    /// Whether there is an id that is not in use.
    pub fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    /// An id that is not in use; `None` if all are.
    pub fn allocate(&mut self) -> Option<EntityId> {
        let place = self.free.pop_front()?;
        self.in_use[place as usize] = true;
        let generation = self.generations[place as usize];
        Some(EntityId::from_parts(self.first + place, u32::from(generation)))
    }

    /// Makes the index of `id` free for another generation. Tells whether `id` was in use; one that
    /// was not changes nothing.
    pub fn release(&mut self, id: EntityId) -> bool {
        let Some(place) = id.index().checked_sub(self.first) else { return false };
        let Some(generation) = self.generations.get_mut(place as usize) else { return false };
        let in_use = &mut self.in_use[place as usize];
        if !*in_use || u32::from(*generation) != id.generation() {
            return false;
        }
        *in_use = false;
        *generation = if *generation == GENERATION_MAX { 1 } else { *generation + 1 };
        self.free.push_back(place);
        true
    }

    /// Bytes of all allocations.
    pub fn memory_bytes(&self) -> usize {
        size_of_val(&*self.generations)
            + size_of_val(&*self.in_use)
            + self.free.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn an_id_comes_back_only_when_every_generation_of_every_free_index_was_used() {
        let mut ids = EntityIds::new(100..103);
        let mut seen = BTreeSet::new();
        for _ in 0..3 * u32::from(GENERATION_MAX) {
            let id = ids.allocate().expect("one is in use at a time");
            assert!((100..103).contains(&id.index()) && id != EntityId::NONE);
            assert!(seen.insert(id), "{id:?} came back early");
            assert!(ids.release(id));
        }
        assert!(!seen.insert(ids.allocate().expect("one is in use at a time")));
    }

    #[test]
    fn ids_in_use_are_distinct_and_bounded() {
        let mut ids = EntityIds::new(0..5);
        let bytes = ids.memory_bytes();
        let used: BTreeSet<_> = std::iter::from_fn(|| ids.allocate()).collect();
        assert_eq!(used.len(), 5);
        used.iter().for_each(|&id| assert!(ids.release(id)));
        assert_eq!(ids.memory_bytes(), bytes);
    }

    #[test]
    fn what_is_not_in_use_cannot_be_released() {
        let mut ids = EntityIds::new(10..12);
        let id = ids.allocate().expect("none is in use");
        let others = [
            EntityId::NONE,
            EntityId::from_parts(9, 1),
            EntityId::from_parts(11, 1),
            EntityId::from_parts(12, 1),
            EntityId::from_parts(10, 2),
        ];
        assert!(others.into_iter().all(|other| !ids.release(other)));
        assert!(ids.release(id) && !ids.release(id), "twice");
        assert_eq!(
            (ids.allocate(), ids.allocate()),
            (Some(EntityId::from_parts(11, 1)), Some(EntityId::from_parts(10, 2)),)
        );
        assert_eq!(ids.allocate(), None);
    }
}
