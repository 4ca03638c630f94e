//! An entity moves from one world to another, to the last bit.
//!
//! Called by the shard when a player is handed over. The record holds every column of the row, so
//! the sum of the worlds' digests is the same before and after.

use super::apply::Intake;
use super::attack::Combat;
use super::{Row, SpawnError, World};
use crate::kernel::lanes::LANES;
use crate::kernel::trail::Walk;
use crate::state::Kind;
use crate::units::{EntityId, Tick};

/// Everything one world knows about an entity.
#[derive(Clone, Copy, Debug)]
pub struct EntityRecord {
    id: EntityId,
    kind: Kind,
    seat: u32,
    since: Tick,
    walk: Walk,
    target: u32,
    intake: Intake,
    combat: Combat,
    floats: [f32; 11],
    words: [u32; 7],
    quantized: [u32; LANES],
}

impl EntityRecord {
    /// Who it is.
    pub fn id(&self) -> EntityId {
        self.id
    }

    /// Its row in the published columns.
    pub fn seat(&self) -> u32 {
        self.seat
    }
}

impl World {
    /// Takes the entity out of `row`; `None` if nothing lives there.
    pub fn take_out(&mut self, row: Row) -> Option<EntityRecord> {
        let id = self.roster.id_of(row)?;
        let (store, place) = (&self.store, row as usize);
        let mut quantized = [0; LANES];
        quantized.copy_from_slice(&store.quantized.lanes()[place * LANES..][..LANES]);
        let record = EntityRecord {
            id,
            kind: store.kind[place],
            seat: store.seat[place],
            since: store.since[place],
            walk: store.walk[place],
            target: store.target[place],
            intake: store.intake[place],
            combat: store.combat[place],
            floats: store.floats().map(|column| column.lanes()[place]),
            words: store.words().map(|column| column.lanes()[place]),
            quantized,
        };
        self.despawn(row);
        Some(record)
    }

    /// Puts an entity of another world into the lowest free row.
    ///
    /// # Errors
    /// As [`Self::spawn`]; nothing changed.
    pub fn put_in(&mut self, record: &EntityRecord) -> Result<Row, SpawnError> {
        if self.roster.is_index_taken(record.id) {
            return Err(SpawnError::IdInUse);
        }
        let row = self.roster.occupy(record.id).ok_or(SpawnError::Full)?;
        let (store, place) = (&mut self.store, row as usize);
        store.kind[place] = record.kind;
        store.seat[place] = record.seat;
        store.since[place] = record.since;
        store.walk[place] = record.walk;
        store.target[place] = record.target;
        store.intake[place] = record.intake;
        store.combat[place] = record.combat;
        for (column, value) in store.floats_mut().into_iter().zip(record.floats) {
            column.lanes_mut()[place] = value;
        }
        for (column, value) in store.words_mut().into_iter().zip(record.words) {
            column.lanes_mut()[place] = value;
        }
        store.quantized.lanes_mut()[place * LANES..][..LANES].copy_from_slice(&record.quantized);
        Ok(row)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Input, Spawn, WorldConfig};
    use super::*;
    use crate::units::TickRate;

    #[test]
    fn an_entity_that_moved_lives_on_as_if_nothing_had_happened() {
        let world = || World::new(WorldConfig { capacity: 4, rate: TickRate::DEFAULT });
        let (mut stays, mut from, mut to) = (world(), world(), world());
        let id = EntityId::from_parts(3, 1);
        let position = [4e5, 4e5, 900.0];
        let spawn = Spawn { id, kind: Kind::Player, position, yaw: 9, faction: 2, seat: 7 };
        let walk = Input { move_x: 90, move_y: -30, yaw: 77, buttons: 0x04 };
        for world in [&mut stays, &mut from] {
            let row = world.spawn(spawn).expect("room");
            world.set_input(row, 1, walk);
        }
        let mut place = from.row_of(id).expect("it lives");
        for tick in 1..200 {
            for world in [&mut stays, &mut from, &mut to] {
                world.apply();
                world.advance();
                world.quantize(tick);
            }
            if tick % 5 == 0 {
                let record = from.take_out(place).expect("it lives");
                assert!(from.is_empty() && from.take_out(place).is_none());
                place = to.put_in(&record).expect("room");
                assert_eq!(to.put_in(&record), Err(SpawnError::IdInUse));
                std::mem::swap(&mut from, &mut to);
            }
            assert_eq!(stays.digest(), from.digest(), "tick {tick}");
            if tick % 7 == 0 {
                assert!(stays.set_input(0, tick, walk) && from.set_input(place, tick, walk));
            }
        }
    }
}
