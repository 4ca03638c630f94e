//! The decoding of a DeltaSync body, entry by entry. Every byte comes from a peer: whatever does
//! not fit is an error, and nothing is allocated. Called by `client`.

use super::{
    AGE_FOLLOWS, OWN_STATE_PRESENT, OwnState, RELATIONS_PRESENT, SLOT_MASK, SnapshotError,
    SnapshotHead, mask, rare,
};
use crate::limits::{AGE_MAX, VISIBLE_MAX};
use crate::state::{Kind, QuantizedState};
use crate::units::{EntityId, STEPS_XY, STEPS_Z, Tick};
use crate::wire::Reader;

/// What stands in front of one entry's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryHead {
    /// Slot the entry is about, below 128.
    pub slot: u8,
    /// 0 for a full entry, else the age in ticks of the state it is described against.
    pub age: u8,
}

/// A full entry: who the entity is and its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FullEntry {
    /// Identity with generation.
    pub id: EntityId,
    /// Kind.
    pub kind: Kind,
    /// State at the tick of the snapshot.
    pub state: QuantizedState,
}

/// Reads a DeltaSync body: the head at once, then entry after entry. The caller alternates
/// [`Self::next_entry`] with [`Self::read_full`] or [`Self::read_delta`], as the head of the entry
/// says.
#[derive(Debug)]
pub struct SnapshotReader<'a> {
    head: SnapshotHead,
    removed: &'a [u8],
    reader: Reader<'a>,
    entries_left: u8,
}

impl<'a> SnapshotReader<'a> {
    /// Parses everything in front of the entries.
    pub fn parse(body: &'a [u8]) -> Result<Self, SnapshotError> {
        let mut reader = Reader::new(body);
        let tick = reader.u32()?;
        let last_processed_input = reader.u32()?;
        let flags = reader.u8()?;
        let base_age = reader.u8()?;
        let (removals, entries) = (reader.u8()?, reader.u8()?);
        if flags & !(OWN_STATE_PRESENT | RELATIONS_PRESENT) != 0 {
            return Err(SnapshotError::Reserved);
        }
        let too_many = usize::from(removals.max(entries)) > VISIBLE_MAX;
        if tick == 0 || u32::from(base_age) > AGE_MAX || too_many {
            return Err(SnapshotError::Range);
        }
        let own =
            if flags & OWN_STATE_PRESENT != 0 { Some(OwnState::read(&mut reader)?) } else { None };
        let relations = if flags & RELATIONS_PRESENT != 0 { Some(reader.u64()?) } else { None };
        if relations.is_some_and(|relations| relations & 1 != 0) {
            return Err(SnapshotError::Reserved);
        }
        let removed = reader.slice(usize::from(removals))?;
        let in_order = removed.windows(2).all(|pair| pair[0] < pair[1]);
        if !in_order || removed.iter().any(|&slot| slot & AGE_FOLLOWS != 0) {
            return Err(SnapshotError::Range);
        }
        let head = SnapshotHead {
            tick,
            last_processed_input,
            base_age,
            removals,
            entries,
            own,
            relations,
        };
        Ok(Self { head, removed, reader, entries_left: entries })
    }

    /// For the body of one full entry that `reader` is at, and nothing behind it.
    pub(super) fn of_one_entry(tick: Tick, reader: Reader<'a>) -> Self {
        let head = SnapshotHead { tick, ..SnapshotHead::default() };
        Self { head, removed: &[], reader, entries_left: 0 }
    }

    /// What stood in front.
    pub fn head(&self) -> &SnapshotHead {
        &self.head
    }

    /// Slots that became empty, increasing.
    pub fn removed(&self) -> &'a [u8] {
        self.removed
    }

    /// The head of the next entry, or `None` after the last one, when nothing may be left over.
    pub fn next_entry(&mut self) -> Result<Option<EntryHead>, SnapshotError> {
        if self.entries_left == 0 {
            self.reader.finish()?;
            return Ok(None);
        }
        self.entries_left -= 1;
        let first = self.reader.u8()?;
        let own_age = first & AGE_FOLLOWS != 0;
        let age = if own_age { self.reader.u8()? } else { self.head.base_age };
        if u32::from(age) > AGE_MAX {
            return Err(SnapshotError::Range);
        }
        if !own_age && age == 0 {
            return Err(SnapshotError::Form);
        }
        Ok(Some(EntryHead { slot: first & SLOT_MASK, age }))
    }

    /// The body of an entry whose head had age 0.
    pub fn read_full(&mut self) -> Result<FullEntry, SnapshotError> {
        let id = EntityId(self.reader.u32()?);
        let kind = Kind::from_wire(self.reader.u8()?).ok_or(SnapshotError::Range)?;
        let quadrants = self.reader.u8()?;
        let x = self.reader.u16()?;
        let y = self.reader.u16()?;
        let mut state = QuantizedState {
            x: from_quadrant(quadrants & 0x0F, x),
            y: from_quadrant(quadrants >> 4, y),
            z: self.reader.u16()?,
            ..QuantizedState::DEFAULT
        };
        let bits = self.reader.u8()?;
        if bits & (mask::POSITION | mask::HEIGHT) != 0 {
            return Err(SnapshotError::Reserved);
        }
        self.fields(bits, kind, &mut state)?;
        if id == EntityId::NONE || !inside_the_map(&state) {
            return Err(SnapshotError::Range);
        }
        Ok(FullEntry { id, kind, state })
    }

    /// The body of an entry whose head had an age; `base` is the state of the slot at that age,
    /// `kind` that of its occupant.
    pub fn read_delta(
        &mut self,
        kind: Kind,
        base: &QuantizedState,
    ) -> Result<QuantizedState, SnapshotError> {
        let mut state = *base;
        self.apply_delta(kind, &mut state).map(|()| state)
    }

    /// As [`Self::read_delta`], in place: `state` goes from the baseline to the new state. After an
    /// error it is neither of them.
    #[inline]
    pub fn apply_delta(
        &mut self,
        kind: Kind,
        state: &mut QuantizedState,
    ) -> Result<(), SnapshotError> {
        let bits = self.reader.u8()?;
        if bits == 0 {
            return Err(SnapshotError::Form);
        }
        if bits & mask::POSITION != 0 {
            state.x = state.x.wrapping_add_signed(self.reader.zigzag_i32()?);
            state.y = state.y.wrapping_add_signed(self.reader.zigzag_i32()?);
        }
        if bits & mask::HEIGHT != 0 {
            let z = i64::from(state.z) + i64::from(self.reader.zigzag_i32()?);
            state.z = u16::try_from(z).map_err(|_| SnapshotError::Range)?;
        }
        if bits & !(mask::POSITION | mask::HEIGHT) != 0 {
            self.fields(bits, kind, state)?;
        }
        if inside_the_map(state) { Ok(()) } else { Err(SnapshotError::Range) }
    }

    fn fields(
        &mut self,
        bits: u8,
        kind: Kind,
        state: &mut QuantizedState,
    ) -> Result<(), SnapshotError> {
        if bits & mask::ROTATION != 0 {
            state.yaw = state.yaw.wrapping_add_signed(self.zigzag_i16()?);
        }
        if bits & mask::ANIMATION != 0 {
            state.animation = self.reader.u8()?;
        }
        if bits & mask::FLAGS != 0 {
            state.flags = self.reader.u8()?;
        }
        if bits & mask::VELOCITY != 0 {
            for axis in 0..3 {
                state.velocity[axis] = state.velocity[axis].wrapping_add(self.zigzag_i16()?);
            }
        }
        if bits & mask::VITALS != 0 {
            state.health = self.reader.u8()?;
            state.mana = self.reader.u8()?;
        }
        if bits & mask::MORE != 0 { self.rare_fields(kind, state) } else { Ok(()) }
    }

    /// The second mask and its fields.
    #[cold]
    fn rare_fields(&mut self, kind: Kind, state: &mut QuantizedState) -> Result<(), SnapshotError> {
        let bits = self.reader.u8()?;
        if bits & !rare::ALL != 0 {
            return Err(SnapshotError::Reserved);
        }
        if bits == 0 || bits & rare::TILT != 0 && !kind.has_full_rotation() {
            return Err(SnapshotError::Form);
        }
        if bits & rare::EFFECTS != 0 {
            state.effects = self.reader.u32()?;
        }
        if bits & rare::FACTION != 0 {
            state.faction = self.reader.u8()?;
        }
        if bits & rare::TILT != 0 {
            state.pitch = state.pitch.wrapping_add(self.zigzag_i16()?);
            state.roll = state.roll.wrapping_add(self.zigzag_i16()?);
        }
        Ok(())
    }

    fn zigzag_i16(&mut self) -> Result<i16, SnapshotError> {
        i16::try_from(self.reader.zigzag_i32()?).map_err(|_| SnapshotError::Range)
    }
}

fn from_quadrant(quadrant: u8, offset: u16) -> u32 {
    u32::from(quadrant) << 16 | u32::from(offset ^ 0x8000)
}

fn inside_the_map(state: &QuantizedState) -> bool {
    state.x < STEPS_XY && state.y < STEPS_XY && u32::from(state.z) < STEPS_Z
}
