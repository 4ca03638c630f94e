//! The DeltaSync body: what a player is told about a tick, byte for byte as in `docs/PROTOCOL.md`.
//!
//! Owns the layout of entries and of the own state. It knows nothing of who sees whom (`replicate`)
//! nor of what a client keeps (`client`). Encoding and decoding stand side by side so that they
//! cannot drift.

mod entry;
mod reader;
#[cfg(test)]
mod tests;

pub use entry::{EntryBody, write_entry_head};
pub use reader::{EntryHead, FullEntry, SnapshotReader};

use super::cursor::{ReadError, Reader};
use crate::units::{EntityId, Tick};

/// Bytes in front of the own state.
pub const SNAPSHOT_HEAD_LEN: usize = 12;
/// Bytes of the own state.
pub const OWN_STATE_LEN: usize = 40;
/// Most bytes of one entry behind its slot and age bytes.
pub const ENTRY_MAX: usize = 33;

const OWN_STATE_PRESENT: u8 = 0x01;
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
    /// Buffs and debuffs.
    pub const EFFECTS: u8 = 0x40;
    /// Position along z.
    pub const HEIGHT: u8 = 0x80;
}

/// The player's own entity in full precision, for prediction and reconciliation.
#[derive(Clone, Copy, Debug, PartialEq)]
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
    /// Entity flags.
    pub flags: u8,
    /// 0..=255 of the maximum.
    pub health: u8,
    /// 0..=255 of the maximum.
    pub mana: u8,
    /// Buff and debuff bits.
    pub effects: u32,
}

/// What stands in front of the entries.
#[derive(Clone, Copy, Debug, PartialEq)]
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
}

impl SnapshotHead {
    /// Writes head and own state to the front of `out` (at least 52 bytes) and returns their
    /// length.
    pub fn write(&self, out: &mut [u8]) -> usize {
        out[0..4].copy_from_slice(&self.tick.to_le_bytes());
        out[4..8].copy_from_slice(&self.last_processed_input.to_le_bytes());
        out[8] = if self.own.is_some() { OWN_STATE_PRESENT } else { 0 };
        out[9] = self.base_age;
        out[10] = self.removals;
        out[11] = self.entries;
        let Some(own) = &self.own else { return SNAPSHOT_HEAD_LEN };
        own.write(
            (&mut out[SNAPSHOT_HEAD_LEN..SNAPSHOT_HEAD_LEN + OWN_STATE_LEN])
                .try_into()
                .expect("40 bytes"),
        );
        SNAPSHOT_HEAD_LEN + OWN_STATE_LEN
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
        out[34..36].copy_from_slice(&[0, 0]);
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
            effects: {
                if reader.u16()? != 0 {
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
    /// An entry relies on an age the head does not give, or claims a change and has none.
    Form,
}

impl From<ReadError> for SnapshotError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}
