//! Descriptions: what of an entity does not change from tick to tick, such as a name, told once to
//! whoever sees it.
//!
//! Owns: the descriptions, the same on every shard, and which of them each viewer was told. What a
//! viewer does not see at this moment is never named to it: only entities in its slots, right after
//! they were selected, are told of. Called by the game (`Shard::describe`), by `tick` after a
//! selection, and where players come and go.
//!
//! Costs one branch per selection while there are none, and then one comparison per viewer whose
//! slots are those of its last selection: looked up is only who came into a slot.

use super::Shard;
use crate::connection::{SendError, Sessions, Slot};
use crate::limits::{DESCRIPTION_MAX, VISIBLE_MAX};
use crate::replicate::is_due;
use crate::time::Nanos;
use crate::units::EntityId;
use crate::wire::{
    CREATE_ENTITY_HEAD_LEN, Channel, Writer, put_create_entity, put_remove_entity, to_client,
};
use std::collections::BTreeMap;
use std::fmt;

/// Messages to one viewer that are not acknowledged, beyond which no more descriptions are told.
const UNDER_WAY_MAX: usize = 16;
/// Descriptions that are kept for each row of the world: entities may be gone before their
/// descriptions are.
const PER_ENTITY: usize = 2;

/// Why an entity could not be described. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DescribeError {
    /// Longer than 4,096 bytes.
    TooLong,
    /// `EntityId::NONE` is nobody.
    NoEntity,
    /// Too many entities have a description; take back those of entities that are gone.
    Full,
}

impl fmt::Display for DescribeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "a description has at most 4,096 bytes",
            Self::NoEntity => "the entity has no id",
            Self::Full => "too many entities are described; take back those that are gone",
        })
    }
}

impl std::error::Error for DescribeError {}

/// What one viewer sees and was told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    /// Slots with an entity that it sees, as of its last selection, as bits. A slot that is in two
    /// selections in a row stands for the same entity in both.
    live: u128,
    /// Slots whose entity it was told of.
    slots: u128,
    /// Those of them whose description has changed since.
    stale: u128,
    /// Slots of which it may have to be told something.
    open: u128,
    /// Who is in the live slots.
    seen: [EntityId; VISIBLE_MAX],
    /// Of whom it was told.
    entities: [EntityId; VISIBLE_MAX],
}

impl Told {
    const NOTHING: Self = Self {
        live: 0,
        slots: 0,
        stale: 0,
        open: 0,
        seen: [EntityId::NONE; VISIBLE_MAX],
        entities: [EntityId::NONE; VISIBLE_MAX],
    };

    /// The description of `entity` has changed.
    fn reopen(&mut self, entity: EntityId) {
        let seen = equal(&self.seen, entity) & self.live;
        let told = equal(&self.entities, entity) & self.slots;
        self.stale |= told;
        self.open |= seen | told;
    }

    /// The viewer sees the entities in the slots of `live` now; `occupant` says who that is.
    fn look(&mut self, live: u128, occupant: impl Fn(u8) -> EntityId) {
        let is_same = |slot: usize| self.seen[slot] == occupant(slot as u8);
        debug_assert!(bits(live & self.live).all(is_same), "nobody else is in the slot");
        for slot in bits(live & !self.live) {
            self.seen[slot] = occupant(slot as u8);
        }
        self.open |= live ^ self.live;
        self.live = live;
    }
}

/// The places of `entity` among `entities`, as bits.
fn equal(entities: &[EntityId; VISIBLE_MAX], entity: EntityId) -> u128 {
    let (chunks, _) = entities.as_chunks::<8>();
    let places = |chunk: &[EntityId; 8]| {
        (0..8).fold(0, |places, lane| places | u128::from(chunk[lane] == entity) << lane)
    };
    chunks.iter().rev().fold(0, |all, chunk| all << 8 | places(chunk))
}

/// All descriptions, and who was told of which.
#[derive(Debug)]
pub(super) struct Descriptions {
    room: usize,
    players: usize,
    known: BTreeMap<EntityId, Box<[u8]>>,
    /// By slot of the session; empty until the first description.
    told: Vec<Told>,
}

impl Descriptions {
    pub(super) fn new(players: usize, entities: usize) -> Self {
        let known = BTreeMap::new();
        Self { room: PER_ENTITY * entities, players, known, told: Vec::new() }
    }

    fn describe(&mut self, entity: EntityId, description: &[u8]) -> Result<(), DescribeError> {
        if entity == EntityId::NONE {
            return Err(DescribeError::NoEntity);
        }
        if description.len() > DESCRIPTION_MAX {
            return Err(DescribeError::TooLong);
        }
        if description.is_empty() {
            if self.known.remove(&entity).is_some() {
                self.told.iter_mut().for_each(|told| told.reopen(entity));
            }
            return Ok(());
        }
        if self.known.len() >= self.room && !self.known.contains_key(&entity) {
            return Err(DescribeError::Full);
        }
        if self.told.is_empty() {
            self.told.resize(self.players, Told::NOTHING);
        }
        if self.known.insert(entity, description.into()).is_none_or(|it| *it != *description) {
            self.told.iter_mut().for_each(|told| told.reopen(entity));
        }
        Ok(())
    }

    /// A viewer comes or goes: it was told nothing.
    pub(super) fn forget(&mut self, viewer: Slot) {
        _ = self.take_out(viewer);
    }

    /// What a viewer was told, who goes to another shard; `None` if nothing.
    pub(super) fn take_out(&mut self, viewer: Slot) -> Option<Box<Told>> {
        let told = self.told.get_mut(usize::from(viewer)).filter(|told| told.slots != 0)?;
        Some(Box::new(std::mem::replace(told, Told::NOTHING)))
    }

    /// A viewer comes from another shard.
    pub(super) fn put_in(&mut self, viewer: Slot, told: Option<Box<Told>>) {
        if told.is_some() && self.told.is_empty() {
            self.told.resize(self.players, Told::NOTHING);
        }
        if let Some(place) = self.told.get_mut(usize::from(viewer)) {
            *place = told.map_or(Told::NOTHING, |told| *told);
            place.open |= place.live | place.slots;
        }
    }

    /// Tells `viewer` what it has to know and to forget, now that it sees the entities in the slots
    /// of `live`. What cannot be sent now waits for the next time.
    fn tell(
        &mut self,
        viewer: Slot,
        live: u128,
        occupant: impl Fn(u8) -> EntityId,
        mut send: impl FnMut(u8, EntityId, &[u8]) -> Result<(), SendError>,
    ) -> Result<(), SendError> {
        let Self { known, told, .. } = self;
        let Some(told) = told.get_mut(usize::from(viewer)) else { return Ok(()) };
        told.look(live, occupant);
        if told.open == 0 {
            return Ok(());
        }
        // First what is to be forgotten: an entity may have come back in another slot.
        for slot in bits(told.open & told.slots) {
            let entity = told.entities[slot];
            let stays = live >> slot & 1 == 1 && told.seen[slot] == entity;
            if !stays || !known.contains_key(&entity) {
                send(to_client::REMOVE_ENTITY, entity, &[])?;
                told.slots &= !(1 << slot);
                told.stale &= !(1 << slot);
            }
        }
        for slot in bits(told.open & live & !(told.slots & !told.stale)) {
            if let Some(description) = known.get(&told.seen[slot]) {
                send(to_client::CREATE_ENTITY, told.seen[slot], description)?;
                told.entities[slot] = told.seen[slot];
                told.slots |= 1 << slot;
                told.stale &= !(1 << slot);
            }
        }
        told.open = 0;
        Ok(())
    }
}

/// The places of the ones in `set`.
fn bits(mut set: u128) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let place = (set != 0).then(|| set.trailing_zeros() as usize)?;
        set &= set - 1;
        Some(place)
    })
}

impl Shard {
    /// Gives an entity a description, replaces it, or takes it back (an empty one): bytes that only
    /// the game understands, such as a name. Players are told of it reliably when the entity comes
    /// into their sight, and that they can forget it when it is out of sight.
    ///
    /// To be called between ticks, on every shard the same, wherever the entity lives; also on one
    /// that took a lost one's place. It stays when its entity is gone, until it is taken back.
    ///
    /// # Errors
    /// Nothing changed.
    pub fn describe(&mut self, entity: EntityId, description: &[u8]) -> Result<(), DescribeError> {
        self.descriptions.describe(entity, description)
    }

    /// Tells the viewers for whom a selection was just made of what they see.
    #[inline]
    pub(super) fn tell(&mut self, now: Nanos) {
        if !self.descriptions.told.is_empty() {
            self.tell_descriptions(now);
        }
    }

    #[cold]
    fn tell_descriptions(&mut self, now: Nanos) {
        let Self { descriptions, sessions, replicator, member, players, tick, .. } = self;
        let published = member.published();
        for &viewer in players.inside().iter().filter(|&&viewer| is_due(viewer, *tick)) {
            let occupant = |slot| published.id(replicator.row_in(viewer, slot));
            let live = replicator.live(viewer);
            // What waits is told four ticks later.
            _ = descriptions.tell(viewer, live, occupant, |kind, entity, description| {
                send(sessions, viewer, kind, entity, description, now)
            });
        }
    }
}

fn send(
    sessions: &mut Sessions,
    viewer: Slot,
    kind: u8,
    entity: EntityId,
    description: &[u8],
    now: Nanos,
) -> Result<(), SendError> {
    if sessions.unacknowledged(viewer) >= UNDER_WAY_MAX {
        return Err(SendError::Window);
    }
    let mut body = [0; CREATE_ENTITY_HEAD_LEN + DESCRIPTION_MAX];
    let mut writer = Writer::new(&mut body);
    match kind {
        to_client::CREATE_ENTITY => put_create_entity(&mut writer, entity, description),
        _ => put_remove_entity(&mut writer, entity),
    }
    let length = writer.position();
    let channel = Channel::ReliableOrdered;
    sessions.send_reliable(viewer, channel, kind, &body[..length], now).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIEWER: Slot = 3;

    fn entity(index: u32) -> EntityId {
        EntityId::from_parts(index, 1)
    }

    /// What a client knows that was sent everything.
    #[derive(Default)]
    struct Client {
        known: BTreeMap<EntityId, Vec<u8>>,
        /// Messages until the window is full.
        room: usize,
    }

    impl Client {
        fn look(&mut self, descriptions: &mut Descriptions, seen: &[(u8, u32)]) {
            let seen_ids: Vec<_> = seen.iter().map(|&(_, index)| entity(index)).collect();
            let live = seen.iter().fold(0, |live, (slot, _)| live | 1 << slot);
            let occupant =
                |slot| seen.iter().find(|it| it.0 == slot).map(|it| entity(it.1)).expect("live");
            _ = descriptions.tell(VIEWER, live, occupant, |kind, entity, description| {
                self.room = self.room.checked_sub(1).ok_or(SendError::Window)?;
                if kind == to_client::CREATE_ENTITY {
                    assert!(seen_ids.contains(&entity), "{entity:?} is not in sight");
                    self.known.insert(entity, description.to_vec());
                } else {
                    assert!(self.known.remove(&entity).is_some(), "nothing was said of it");
                }
                Ok(())
            });
        }
    }

    #[test]
    fn a_viewer_knows_what_it_sees_and_forgets_the_rest_through_any_window() {
        for seed in 0..50_u64 {
            let mut state = seed;
            let mut draw = |bound: u32| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 33) as u32 % bound
            };
            let (mut all, mut client) = (Descriptions::new(8, 64), Client::default());
            let mut truth: BTreeMap<EntityId, Vec<u8>> = BTreeMap::new();
            let mut slots = [u32::MAX; 12];
            for step in 0..2_000 {
                let index = draw(30);
                let text = vec![draw(200) as u8; draw(3) as usize];
                if draw(4) == 0 {
                    all.describe(entity(index), &text).expect("short and few");
                    truth.remove(&entity(index));
                    if !text.is_empty() {
                        truth.insert(entity(index), text);
                    }
                }
                let (slot, other) = (draw(12) as usize, draw(40));
                // A slot is empty between two of its occupants.
                let is_none = slots[slot] != u32::MAX || slots.contains(&other) || other >= 30;
                slots[slot] = if is_none { u32::MAX } else { other };
                let seen = |slots: &[u32; 12]| -> Vec<(u8, u32)> {
                    let slots = slots.iter().enumerate().filter(|it| *it.1 != u32::MAX);
                    slots.map(|(slot, &index)| (slot as u8, index)).collect()
                };
                client.room = draw(3) as usize;
                client.look(&mut all, &seen(&slots));
                if step % 100 == 99 {
                    let told = all.take_out(VIEWER);
                    all.put_in(VIEWER, told);
                    client.room = 1_000;
                    client.look(&mut all, &seen(&slots));
                    let expected: BTreeMap<_, _> = seen(&slots)
                        .into_iter()
                        .filter_map(|(_, index)| truth.get_key_value(&entity(index)))
                        .map(|(id, text)| (*id, text.clone()))
                        .collect();
                    assert_eq!(client.known, expected, "seed {seed}, step {step}");
                }
            }
        }
    }

    #[test]
    fn descriptions_are_bounded() {
        let mut all = Descriptions::new(8, 2);
        assert_eq!(all.describe(EntityId::NONE, b"x"), Err(DescribeError::NoEntity));
        let long = vec![1; DESCRIPTION_MAX + 1];
        assert_eq!(all.describe(entity(1), &long), Err(DescribeError::TooLong));
        assert!(all.told.is_empty(), "nothing is kept for viewers before there is something");
        for index in 0..2 * PER_ENTITY as u32 {
            assert_eq!(all.describe(entity(index), &long[1..]), Ok(()));
        }
        assert_eq!(all.describe(entity(99), b"x"), Err(DescribeError::Full));
        assert_eq!(all.describe(entity(0), b"another"), Ok(()));
        assert_eq!(all.describe(entity(0), b""), Ok(()));
        assert_eq!(all.describe(entity(99), b"x"), Ok(()));
    }
}
