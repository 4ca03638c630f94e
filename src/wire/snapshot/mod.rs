//! The DeltaSync body: what a player is told about a tick, byte for byte as in `docs/PROTOCOL.md`.
//!
//! Owns the layout of entries and of the own state. It knows nothing of who sees whom (`replicate`)
//! nor of what a client keeps (`client`). Encoding and decoding stand side by side so that they
//! cannot drift.

mod entry;
mod reader;
#[cfg(test)]
mod tests;
mod update;

pub use entry::{EntryBody, STEP_LEN, step_body, write_entry_head};
pub use reader::{EntryHead, FullEntry, SnapshotReader};
pub use update::{EntityUpdate, OWN_UPDATE_LEN, OwnUpdate};

use super::cursor::{ReadError, Reader};
use crate::units::{EntityId, Tick};

/// Bytes in front of the own state.
pub const SNAPSHOT_HEAD_LEN: usize = 12;
/// Bytes of the own state.
pub const OWN_STATE_LEN: usize = 40;
/// Bytes of the relations.
pub const RELATIONS_LEN: usize = 8;
/// Most bytes of one entry behind its slot and age bytes.
pub const ENTRY_MAX: usize = 41;

const OWN_STATE_PRESENT: u8 = 0x01;
const RELATIONS_PRESENT: u8 = 0x02;
const AGE_FOLLOWS: u8 = 0x80;
const SLOT_MASK: u8 = 0x7F;

/// Bits of an entry's mask.
pub mod mask {
    /// Position along x and y.
    pub const POSITION: u8 = 0x01;
    /// Yaw.
    pub const ROTATION: u8 = 0x02;
    /// Animation state.
    pub const ANIMATION: u8 = 0x04;
    /// Entity flags.
    pub const FLAGS: u8 = 0x08;
    /// Velocity.
    pub const VELOCITY: u8 = 0x10;
    /// Health and mana.
    pub const VITALS: u8 = 0x20;
    /// A second mask, of rare fields, follows those of this one.
    pub const MORE: u8 = 0x40;
    /// Position along z.
    pub const HEIGHT: u8 = 0x80;
}

/// Bits of an entry's second mask: what seldom changes.
pub mod rare {
    /// Buffs and debuffs.
    pub const EFFECTS: u8 = 0x01;
    /// Faction.
    pub const FACTION: u8 = 0x02;
    /// Pitch and roll, only of kinds that have them.
    pub const TILT: u8 = 0x04;
    /// Every bit that has a meaning.
    pub const ALL: u8 = 0x07;
}

/// The player's own entity in full precision, for prediction and reconciliation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OwnState {
    /// The player's entity.
    pub id: EntityId,
    /// Centimetres.
    pub position: [f32; 3],
    /// Centimetres per second.
    pub velocity: [f32; 3],
    /// A 65,536th of a turn.
    pub yaw: u16,
    /// Animation state.
    pub animation: u8,
    /// Bits of `state::flags`.
    pub flags: u8,
    /// 0..=255 of the maximum.
    pub health: u8,
    /// 0..=255 of the maximum.
    pub mana: u8,
    /// Whose side it is on, 0 = nobody's.
    pub faction: u8,
    /// Bits of `state::effects`.
    pub effects: u32,
}

/// What stands in front of the entries.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SnapshotHead {
    /// The tick this snapshot shows.
    pub tick: Tick,
    /// Newest input that this tick had applied; 0 = none yet.
    pub last_processed_input: u32,
    /// Age of the entries that do not give their own, 0 if none relies on it.
    pub base_age: u8,
    /// Slots that became empty.
    pub removals: u8,
    /// Entries behind the removals.
    pub entries: u8,
    /// Present once the player is in the world.
    pub own: Option<OwnState>,
    /// Bit f: faction f is an enemy of the player. Bit 0 is 0. Present until it was acknowledged.
    pub relations: Option<u64>,
}

impl SnapshotHead {
    /// Writes head, own state and relations to the front of `out` (at least 60 bytes) and returns
    /// their length.
    pub fn write(&self, out: &mut [u8]) -> usize {
        out[0..4].copy_from_slice(&self.tick.to_le_bytes());
        out[4..8].copy_from_slice(&self.last_processed_input.to_le_bytes());
        out[8] = if self.own.is_some() { OWN_STATE_PRESENT } else { 0 };
        out[8] |= if self.relations.is_some() { RELATIONS_PRESENT } else { 0 };
        out[9] = self.base_age;
        out[10] = self.removals;
        out[11] = self.entries;
        let mut len = SNAPSHOT_HEAD_LEN;
        if let Some(own) = &self.own {
            own.write((&mut out[len..len + OWN_STATE_LEN]).try_into().expect("40 bytes"));
            len += OWN_STATE_LEN;
        }
        if let Some(relations) = self.relations {
            out[len..len + RELATIONS_LEN].copy_from_slice(&relations.to_le_bytes());
            len += RELATIONS_LEN;
        }
        len
    }

    /// Corrects the number of entries in a head that was written before they were counted.
    pub fn patch_entries(out: &mut [u8], entries: u8) {
        out[11] = entries;
    }
}

impl OwnState {
    fn write(&self, out: &mut [u8; OWN_STATE_LEN]) {
        out[0..4].copy_from_slice(&self.id.0.to_le_bytes());
        for (axis, value) in self.position.iter().chain(&self.velocity).enumerate() {
            out[4 + axis * 4..8 + axis * 4].copy_from_slice(&value.to_le_bytes());
        }
        out[28..30].copy_from_slice(&self.yaw.to_le_bytes());
        out[30..34].copy_from_slice(&[self.animation, self.flags, self.health, self.mana]);
        out[34..36].copy_from_slice(&[self.faction, 0]);
        out[36..40].copy_from_slice(&self.effects.to_le_bytes());
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        let id = EntityId(reader.u32()?);
        let mut floats = [0.0_f32; 6];
        for value in &mut floats {
            *value = reader.f32()?;
        }
        let own = Self {
            id,
            position: [floats[0], floats[1], floats[2]],
            velocity: [floats[3], floats[4], floats[5]],
            yaw: reader.u16()?,
            animation: reader.u8()?,
            flags: reader.u8()?,
            health: reader.u8()?,
            mana: reader.u8()?,
            faction: reader.u8()?,
            effects: {
                if reader.u8()? != 0 {
                    return Err(SnapshotError::Reserved);
                }
                reader.u32()?
            },
        };
        if own.id == EntityId::NONE { Err(SnapshotError::Range) } else { Ok(own) }
    }
}

/// Why a snapshot cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotError {
    /// It ends too early, has a varint that is too long, or has bytes left over.
    Read(ReadError),
    /// A reserved bit or byte is set.
    Reserved,
    /// A number is outside its range: slot, age, kind, count, coordinate.
    Range,
    /// An entry relies on an age the head does not give, claims a change and has none, or one that
    /// its kind cannot have.
    Form,
}

impl From<ReadError> for SnapshotError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}
