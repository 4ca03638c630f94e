//! The world of one shard: entities in columns, advanced tick by tick.
//!
//! A tick is four phases, called by the shard in this order: [`World::apply`], [`World::advance`]
//! (move), [`World::quantize`] with [`World::publish`], [`World::index`]. Between ticks the shard
//! spawns and despawns and hands in inputs. The world reads no clock and no randomness: the same
//! calls give the same [`World::hash`] for any layout of rows and any width of the processor's
//! lanes. It knows nothing of connections, and after [`World::new`] it allocates nothing.

mod apply;
mod attack;
mod columns;
mod factions;
mod hash;
mod ids;
mod index;
mod r#move;
mod npc;
mod publish;
mod quantize;
mod roster;
mod transfer;

pub use crate::kernel::nearest::{HeldSet, Nearest};
pub use apply::{Input, STALE_INPUT_MS, buttons};
pub use attack::{COOLDOWN_MS, DAMAGE, DOWN_MS, Hit, REACH};
pub use columns::Columns;
pub use factions::Factions;
pub use hash::hash_of;
pub use ids::EntityIds;
pub use index::Index;
pub use transfer::EntityRecord;

use crate::kernel::quantization::{heading_word, posture_word, tilt_word, vitals_word};
use crate::kernel::{EDGE_XY, EDGE_Z};
use crate::limits::ENTITIES_MAX;
use crate::state::{Kind, flags};
use crate::units::{EntityId, GRAVITY, Tick, TickRate};
use columns::Store;
use roster::Roster;
use std::fmt;

/// Place of an entity in the columns of its world, kept from spawn to despawn and then reused.
pub type Row = u32;

/// How a world is built.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WorldConfig {
    /// Rows, at most `limits::ENTITIES_MAX`.
    pub capacity: usize,
    /// Ticks per second.
    pub rate: TickRate,
}

/// An entity about to enter the world.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spawn {
    /// Its identity, see [`EntityIds`].
    pub id: EntityId,
    /// What it is.
    pub kind: Kind,
    /// Where, in centimetres. A place outside the map becomes the nearest one inside.
    pub position: [f32; 3],
    /// Heading in 65,536ths of a turn.
    pub yaw: u16,
    /// Whose side it is on, 0 = nobody's.
    pub faction: u8,
    /// Its row in the columns that are published, for life: where others find it, whichever world
    /// it lives in.
    pub seat: u32,
}

/// Why an entity could not enter the world. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpawnError {
    /// Every row is taken.
    Full,
    /// `EntityId::NONE` cannot live.
    NoId,
    /// An entity with this index lives already.
    IdInUse,
    /// The position is not finite.
    NotFinite,
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "every row of the world is taken",
            Self::NoId => "the entity has no id",
            Self::IdInUse => "an entity with this index is alive",
            Self::NotFinite => "the position is not finite",
        })
    }
}

impl std::error::Error for SpawnError {}

/// The state of an entity that does not follow from its movement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Animation state.
    pub animation: u8,
    /// `state::flags` without those that follow from the movement (moving, falling), which are
    /// ignored.
    pub flags: u8,
    /// 0..=255 of the maximum.
    pub health: u8,
    /// 0..=255 of the maximum.
    pub mana: u8,
    /// Bits of `state::effects`.
    pub effects: u32,
}

impl Attributes {
    /// Of an entity that has just been spawned: alive, unharmed.
    pub const SPAWNED: Self =
        Self { animation: 0, flags: flags::IS_ALIVE, health: 255, mana: 255, effects: 0 };
}

/// Which way an entity looks, in 65,536ths of a turn: yaw first, then pitch, then roll.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Orientation {
    /// About the vertical axis.
    pub yaw: u16,
    /// Up (positive) or down.
    pub pitch: i16,
    /// To the right (positive) or left.
    pub roll: i16,
}

/// Entities in columns.
#[derive(Clone, Debug)]
pub struct World {
    rate: TickRate,
    /// Ticks after which a player without input stops.
    stale_ticks: u8,
    /// The last tick that was quantized.
    tick: Tick,
    factions: Factions,
    roster: Roster,
    store: Store,
}

impl World {
    /// An empty world. Allocates everything it will ever need.
    ///
    /// # Panics
    /// If the capacity is above `limits::ENTITIES_MAX`.
    pub fn new(config: WorldConfig) -> Self {
        let WorldConfig { capacity, rate } = config;
        assert!(capacity <= ENTITIES_MAX, "a world has at most {ENTITIES_MAX} rows");
        let stale_ticks = rate.ticks_in_ms(STALE_INPUT_MS);
        Self {
            rate,
            stale_ticks: u8::try_from(stale_ticks).expect("half a second is at most 60 ticks"),
            tick: 0,
            factions: Factions::default(),
            roster: Roster::new(capacity),
            store: Store::new(capacity),
        }
    }

    /// Bytes of all allocations, fixed from the start.
    pub fn memory_bytes(&self) -> usize {
        self.roster.memory_bytes() + self.store.memory_bytes()
    }

    /// Puts an entity into the lowest free row, as of the next tick.
    pub fn spawn(&mut self, spawn: Spawn) -> Result<Row, SpawnError> {
        if spawn.id.generation() == 0 {
            return Err(SpawnError::NoId);
        }
        if !spawn.position.iter().all(|component| component.is_finite()) {
            return Err(SpawnError::NotFinite);
        }
        if self.roster.is_index_taken(spawn.id) {
            return Err(SpawnError::IdInUse);
        }
        let row = self.roster.occupy(spawn.id).ok_or(SpawnError::Full)?;
        let i = row as usize;
        self.store.kind[i] = spawn.kind;
        self.store.seat[i] = spawn.seat;
        for (axis, edge) in [EDGE_XY, EDGE_XY, EDGE_Z].into_iter().enumerate() {
            // Adding zero turns a negative zero into a positive one.
            let inside = spawn.position[axis].clamp(0.0, edge) + 0.0;
            self.store.position[axis].lanes_mut()[i] = inside;
        }
        self.store.gravity.lanes_mut()[i] = gravity(spawn.kind);
        self.store.heading.lanes_mut()[i] = heading_word(spawn.yaw);
        self.store.vitals.lanes_mut()[i] = vitals_word(0, 0, spawn.faction);
        self.set_attributes(row, Attributes::SPAWNED);
        self.store.quantize_row(row, self.tick + 1);
        Ok(row)
    }

    /// Takes the entity out of `row` and frees the row; tells whether one lived there.
    pub fn despawn(&mut self, row: Row) -> bool {
        if self.roster.id_of(row).is_none() {
            return false;
        }
        self.roster.vacate(row);
        self.store.erase(row);
        true
    }

    /// Replaces the attributes of the entity in `row`, as of the next quantize; nothing happens to
    /// a row in which nothing lives.
    pub fn set_attributes(&mut self, row: Row, attributes: Attributes) {
        if self.roster.id_of(row).is_none() {
            return;
        }
        let Attributes { animation, flags, health, mana, effects } = attributes;
        let faction = self.faction(row);
        let row = row as usize;
        self.store.posture.lanes_mut()[row] = posture_word(animation, flags);
        self.store.vitals.lanes_mut()[row] = vitals_word(health, mana, faction);
        self.store.effects.lanes_mut()[row] = effects;
    }

    /// Turns the entity in `row`, as of the next quantize; nothing happens to a row in which
    /// nothing lives. Pitch and roll count for kinds with a full rotation only
    /// ([`Kind::has_full_rotation`]); a player's yaw is that of its next input again.
    pub fn set_orientation(&mut self, row: Row, orientation: Orientation) {
        if self.roster.id_of(row).is_none() {
            return;
        }
        let (Orientation { yaw, pitch, roll }, row) = (orientation, row as usize);
        self.store.heading.lanes_mut()[row] = heading_word(yaw);
        if self.store.kind[row].has_full_rotation() {
            self.store.tilt.lanes_mut()[row] = tilt_word(pitch, roll);
        }
    }

    /// Whose side the entity in `row` is on; 0 also for a row in which nothing lives.
    pub fn faction(&self, row: Row) -> u8 {
        let word = self.store.vitals.lanes().get(row as usize).copied().unwrap_or_default();
        let [_, _, faction, _] = word.to_le_bytes();
        faction
    }

    /// The entity in `row` changes sides, as of the next quantize; nothing happens to a row in
    /// which nothing lives.
    pub fn set_faction(&mut self, row: Row, faction: u8) {
        if self.roster.id_of(row).is_none() {
            return;
        }
        let word = &mut self.store.vitals.lanes_mut()[row as usize];
        let [health, mana, ..] = word.to_le_bytes();
        *word = vitals_word(health, mana, faction);
    }

    /// Who is whose enemy.
    pub fn factions(&self) -> &Factions {
        &self.factions
    }

    /// Replaces the relations, as of the next tick. All worlds of a server are to get the same ones
    /// between the same two ticks: what happens must not depend on who lives where.
    pub fn set_factions(&mut self, factions: Factions) {
        self.factions = factions;
    }

    /// The row of a living entity.
    pub fn row_of(&self, id: EntityId) -> Option<Row> {
        self.roster.row_of(id)
    }

    /// The entity that lives in `row`.
    pub fn id_of(&self, row: Row) -> Option<EntityId> {
        self.roster.id_of(row)
    }

    /// Living entities.
    pub fn len(&self) -> usize {
        self.roster.living()
    }

    /// Whether nothing lives.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One past the highest row in which something lives.
    pub fn rows(&self) -> usize {
        self.roster.end()
    }

    /// Rows in all.
    pub fn capacity(&self) -> usize {
        self.roster.capacity()
    }

    /// The last tick that was quantized, 0 = none yet.
    pub fn tick(&self) -> Tick {
        self.tick
    }

    /// The columns, up to the highest living row.
    pub fn columns(&self) -> Columns<'_> {
        self.store.view(self.roster.ids())
    }
}

/// What pulls an entity of this kind down, in cm/s².
fn gravity(kind: Kind) -> f32 {
    match kind {
        Kind::Player | Kind::Npc | Kind::Monster | Kind::Vehicle | Kind::Item => GRAVITY,
        Kind::Projectile | Kind::StaticBuild | Kind::Effect => 0.0,
    }
}
