//! Who becomes which entity: hands out entity ids and, for each, a seat in the published columns.
//!
//! Ids are handed out in the order of the admissions, whatever shard the player goes to, so that
//! the same players get the same ids for any number of shards. Seats are memory: each shard has a
//! block of its own, so that shards rarely write to the same cache line, and takes seats of other
//! blocks only when its own is used up.

use crate::exchange::Keeper;
use crate::units::EntityId;
use crate::world::EntityIds;

/// The ids and seats of one world.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Population {
    keeper: Keeper,
    ids: EntityIds,
    /// Free seats of each shard's block, the next one last.
    free: Vec<Vec<u32>>,
    /// Seats that a shard owns already and that nobody sits in: the admission never reached it.
    granted: Vec<Vec<u32>>,
    /// Seats that were given back and may still be shown: until their shard lets go of them.
    cooling: Vec<u32>,
    /// Seats of one block; the last block may have fewer.
    block: usize,
    /// Entities that each shard has or is about to get, and how many it can have.
    entities: Vec<usize>,
    entities_max: usize,
}

impl Population {
    /// For `shards` shards, of up to `entities_max` entities each, that share the rows of `keeper`.
    pub(super) fn new(keeper: Keeper, shards: usize, entities_max: usize) -> Self {
        let rows = keeper.rows();
        let block = rows.div_ceil(shards).max(1);
        let of_shard = |shard: usize| {
            let mut seats = Vec::with_capacity(block);
            let first = (shard * block).min(rows);
            seats.extend((first as u32..(first + block).min(rows) as u32).rev());
            seats
        };
        Self {
            keeper,
            ids: EntityIds::new(0..rows as u32),
            free: (0..shards).map(of_shard).collect(),
            granted: (0..shards).map(|_| Vec::with_capacity(rows)).collect(),
            cooling: Vec::with_capacity(rows),
            block,
            entities: vec![0; shards],
            entities_max,
        }
    }

    /// How many more entities `shard` can have.
    pub(super) fn room_in(&self, shard: usize) -> usize {
        self.entities_max.saturating_sub(self.entities[shard])
    }

    /// Another entity is in `shard`, or on its way there.
    pub(super) fn comes(&mut self, shard: usize) {
        self.entities[shard] += 1;
    }

    /// One is not any more.
    pub(super) fn goes(&mut self, shard: usize) {
        debug_assert!(self.entities[shard] > 0, "who goes has come");
        self.entities[shard] = self.entities[shard].saturating_sub(1);
    }

    /// Whether there is an entity for one more player of `shard`.
    pub(super) fn has_room(&self, shard: usize) -> bool {
        self.ids.has_room()
            && self.room_in(shard) > 0
            && (!self.granted[shard].is_empty()
                || self.free.iter().flatten().any(|&seat| self.keeper.is_free(seat))
                || self.cooling.iter().any(|&seat| self.has_cooled(seat)))
    }

    /// Whether a seat that was given back is nobody's by now. Where shards go on in a new exchange,
    /// it looks so before its shard has come there, which takes it along.
    fn has_cooled(&self, seat: u32) -> bool {
        let mut members = 0..self.keeper.members();
        let base = self.keeper.base();
        self.keeper.is_free(seat) && members.all(|member| self.keeper.arrived(member) != base)
    }

    /// An entity for a player of `shard`, whose seat that shard owns from now on. `None` if
    /// [`Self::has_room`] says no; or if survivors of a lost shard took over the last seats since.
    pub(super) fn allocate(&mut self, shard: usize) -> Option<(EntityId, u32)> {
        if !self.has_room(shard) {
            return None;
        }
        let seat = match self.granted[shard].pop() {
            Some(seat) => seat,
            None => self.grant(shard)?,
        };
        let id = self.ids.allocate()?;
        self.comes(shard);
        Some((id, seat))
    }

    fn grant(&mut self, shard: usize) -> Option<u32> {
        for place in (0..self.cooling.len()).rev() {
            if self.has_cooled(self.cooling[place]) {
                let seat = self.cooling.swap_remove(place);
                self.free[seat as usize / self.block].push(seat);
            }
        }
        loop {
            let own = self.free[shard].pop();
            let seat = own.or_else(|| self.free.iter_mut().max_by_key(|free| free.len())?.pop())?;
            if self.keeper.grant(seat, shard) {
                return Some(seat);
            }
            // Somebody has it after all; nothing is granted twice.
            self.cooling.push(seat);
        }
    }

    /// The shards in `lost` are gone; their seats are free among the rows of `keeper`, and those of
    /// the others are theirs as before.
    pub(super) fn succeed(&mut self, keeper: Keeper, lost: &[bool]) {
        self.keeper = keeper;
        for (granted, _) in self.granted.iter_mut().zip(lost).filter(|(_, lost)| **lost) {
            self.cooling.append(granted);
        }
    }

    /// `shard` will let go of the seat, as soon as nobody is shown in it.
    pub(super) fn release(&mut self, id: EntityId, seat: u32, shard: usize) {
        self.goes(shard);
        let known = self.ids.release(id);
        debug_assert!(known, "released once");
        self.cooling.push(seat);
    }

    /// The shard never heard of the seat, so it will not let go of it.
    pub(super) fn release_unused(&mut self, id: EntityId, seat: u32, shard: usize) {
        self.goes(shard);
        let known = self.ids.release(id);
        debug_assert!(known, "released once");
        self.granted[shard].push(seat);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{Meeting, exchange};

    #[test]
    fn ids_do_not_depend_on_the_number_of_shards() {
        let ids = |shards: usize| {
            let (keeper, _) = exchange(shards, 12, 0, &());
            let mut population = Population::new(keeper, shards, 99);
            (0..12).map(|n| population.allocate(n % shards).expect("room").0).collect::<Vec<_>>()
        };
        assert_eq!(ids(1), ids(3));
        assert_eq!(ids(1), ids(5));
    }

    #[test]
    fn a_shard_sits_in_its_own_block_while_there_is_room() {
        let (keeper, _) = exchange(2, 5, 0, &());
        let mut population = Population::new(keeper, 2, 99);
        let seats: Vec<_> = (0..5).map(|_| population.allocate(1).expect("room").1).collect();
        assert_eq!(seats, [3, 4, 0, 1, 2]);
        assert!(!population.has_room(0) && population.allocate(0).is_none());
    }

    #[test]
    fn a_seat_is_granted_again_only_after_its_shard_let_go_of_it() {
        let (keeper, mut members) = exchange(1, 1, 0, &());
        let mut population = Population::new(keeper, 1, 99);
        let (id, seat) = population.allocate(0).expect("room");
        population.release(id, seat, 0);
        assert!(population.allocate(0).is_none());
        members[0].vacate(seat);
        for _ in 0..2 {
            assert!(!population.has_room(0));
            members[0].arrive();
            members[0].poll();
        }
        let (second, again) = population.allocate(0).expect("free by now");
        assert_eq!((again, second.generation()), (seat, id.generation() + 1));
    }

    #[test]
    fn a_seat_of_an_admission_that_got_lost_is_used_for_the_next_one() {
        let (keeper, _) = exchange(2, 2, 0, &());
        let mut population = Population::new(keeper, 2, 99);
        let (id, seat) = population.allocate(1).expect("room");
        population.release_unused(id, seat, 1);
        assert_eq!(population.allocate(1).map(|(_, seat)| seat), Some(seat));
    }

    #[test]
    fn a_seat_that_a_survivor_brings_along_is_nobody_elses_before_nor_after() {
        let (keeper, mut members) = exchange(2, 3, 0, &());
        let mut population = Population::new(keeper.clone(), 2, 99);
        let (id, seat) = population.allocate(0).expect("room");
        population.release(id, seat, 0);
        let (new_keeper, mut new) = keeper.succeed(&());
        population.succeed(new_keeper, &[false, true]);
        let mut granted = Vec::new();
        let mut take_all = |population: &mut Population| {
            granted.extend(std::iter::from_fn(|| population.allocate(0)).map(|(_, seat)| seat));
            assert!(!population.has_room(0) && !granted.contains(&seat), "it is the survivor's");
        };
        // It is nobody's in the new exchange, where the survivor has not come yet.
        take_all(&mut population);
        new[0].inherit(&members[0]);
        new[0].arrive();
        take_all(&mut population);
        new[1].arrive();
        take_all(&mut population);
        members.clear();
        assert!(new[0].poll() == Meeting::Met && new[1].poll() == Meeting::Met);
        new[0].vacate(seat);
        for _ in 0..2 {
            new.iter_mut().for_each(|member| _ = member.arrive());
            assert!(new.iter_mut().all(|member| member.poll() == Meeting::Met));
        }
        assert_eq!(population.allocate(0).map(|(_, again)| again), Some(seat));
    }

    #[test]
    fn a_shard_gets_no_more_entities_than_it_can_have() {
        let (keeper, _) = exchange(2, 10, 0, &());
        let mut population = Population::new(keeper, 2, 3);
        let (id, seat) = population.allocate(0).expect("room");
        population.allocate(0).expect("room");
        population.comes(0);
        assert!(!population.has_room(0) && population.allocate(0).is_none());
        assert_eq!((population.room_in(0), population.room_in(1)), (0, 3));
        population.release_unused(id, seat, 0);
        assert!(population.allocate(0).is_some() && population.allocate(0).is_none());
        population.goes(0);
        assert!(population.has_room(0));
    }
}
