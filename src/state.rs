//! The quantized state of one entity: what is replicated, hashed and kept in the history.

use crate::units::{STEP, Tick};
use bytemuck::{Pod, Zeroable};

/// State of one entity at one tick, as integers. 32 bytes, so two rows share a cache line.
///
/// Positions are steps of 1.5625 cm from the south-west corner of the map's floor (`units::STEP`);
/// velocities are cm/s; yaw, pitch and roll are 65,536ths of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct QuantizedState {
    /// Steps from the west edge, below `units::STEPS_XY`.
    pub x: u32,
    /// Steps from the south edge, below `units::STEPS_XY`.
    pub y: u32,
    /// Steps above the floor, below `units::STEPS_Z`.
    pub z: u16,
    /// Heading.
    pub yaw: u16,
    /// Velocity along x, y, z in cm/s.
    pub velocity: [i16; 3],
    /// Animation state, meaning set by the game.
    pub animation: u8,
    /// Bits of [`flags`].
    pub flags: u8,
    /// 0..=255 of the maximum.
    pub health: u8,
    /// 0..=255 of the maximum.
    pub mana: u8,
    /// Whose side it is on, 0 = nobody's.
    pub faction: u8,
    /// Zero; keeps the layout free of padding.
    pub reserved: u8,
    /// Buffs and debuffs, bits of [`effects`].
    pub effects: u32,
    /// Up (positive) or down, after the yaw. Zero unless [`Kind::has_full_rotation`].
    pub pitch: i16,
    /// To the right (positive) or left, after yaw and pitch. Zero unless
    /// [`Kind::has_full_rotation`].
    pub roll: i16,
}

const _: () = assert!(size_of::<QuantizedState>() == 32);

impl QuantizedState {
    /// Where it stands, centimetres: within a step of the truth.
    pub fn position(&self) -> [f32; 3] {
        [self.x as f32 * STEP, self.y as f32 * STEP, f32::from(self.z) * STEP]
    }

    /// Whether nobody may be told of it.
    #[inline]
    pub fn is_hidden(&self) -> bool {
        is_hidden(self.flags, self.effects)
    }

    /// The state a full entry on the wire is described against: nothing set, health and mana full.
    pub const DEFAULT: Self = Self {
        x: 0,
        y: 0,
        z: 0,
        yaw: 0,
        velocity: [0; 3],
        animation: 0,
        flags: 0,
        health: 255,
        mana: 255,
        faction: 0,
        reserved: 0,
        effects: 0,
        pitch: 0,
        roll: 0,
    };
}

/// Whether an entity with these [`flags`] and [`effects`] is hidden: either of the two bits called
/// invisible is enough.
#[inline]
pub const fn is_hidden(flags: u8, effects: u32) -> bool {
    flags & flags::IS_INVISIBLE != 0 || effects & effects::INVISIBLE != 0
}

/// Bits of `QuantizedState::flags`. The server sets moving and falling in every tick and clears
/// alive when health runs out; the others are the game's to set. 0x80 is free.
pub mod flags {
    /// The entity is alive.
    pub const IS_ALIVE: u8 = 0x01;
    /// The entity is in combat.
    pub const IS_IN_COMBAT: u8 = 0x02;
    /// The entity has a velocity.
    pub const IS_MOVING: u8 = 0x04;
    /// The entity is casting.
    pub const IS_CASTING: u8 = 0x08;
    /// The entity is hidden: others are not told of it.
    pub const IS_INVISIBLE: u8 = 0x10;
    /// The entity cannot act.
    pub const IS_STUNNED: u8 = 0x20;
    /// The entity is in the air.
    pub const IS_FALLING: u8 = 0x40;
}

/// Bits of `QuantizedState::effects`: buffs and debuffs. The server itself heeds two of them,
/// `INVISIBLE` and `INVULNERABLE`; what the others do is up to the systems of the game, and so are
/// the bits from 0x80 on.
pub mod effects {
    /// Cannot move.
    pub const FROZEN: u32 = 0x01;
    /// Loses health over time.
    pub const POISONED: u32 = 0x02;
    /// Loses health over time, and shines.
    pub const BURNING: u32 = 0x04;
    /// Moves slowly.
    pub const SLOWED: u32 = 0x08;
    /// Cannot act.
    pub const STUNNED: u32 = 0x10;
    /// Is hidden: others are not told of it, as with the flag of this name.
    pub const INVISIBLE: u32 = 0x20;
    /// Loses no health to attacks.
    pub const INVULNERABLE: u32 = 0x40;
}

/// What an entity is; decides how far it can be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Controlled by a player.
    Player,
    /// A peaceful character.
    Npc,
    /// A hostile character.
    Monster,
    /// A projectile in flight.
    Projectile,
    /// A building or another part of the environment.
    StaticBuild,
    /// A vehicle.
    Vehicle,
    /// An item on the ground.
    Item,
    /// A visual effect.
    Effect,
}

impl Kind {
    /// Number of kinds.
    pub const COUNT: usize = 8;

    /// All kinds in the order of their wire numbers.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Player,
        Self::Npc,
        Self::Monster,
        Self::Projectile,
        Self::StaticBuild,
        Self::Vehicle,
        Self::Item,
        Self::Effect,
    ];

    /// The kind with this wire number.
    pub fn from_wire(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// The word used in configuration and documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Player => "player",
            Self::Npc => "npc",
            Self::Monster => "monster",
            Self::Projectile => "projectile",
            Self::StaticBuild => "static_build",
            Self::Vehicle => "vehicle",
            Self::Item => "item",
            Self::Effect => "effect",
        }
    }

    /// Whether it turns about all axes. The others have a yaw only; their pitch and roll are zero
    /// and never on the wire.
    pub const fn has_full_rotation(self) -> bool {
        matches!(self, Self::Projectile | Self::Vehicle)
    }

    /// Default distance in centimetres from which a viewer sees an entity of this kind.
    pub const fn radius(self) -> f32 {
        match self {
            Self::Player => 100_000.0,
            Self::Npc | Self::Monster | Self::Effect => 50_000.0,
            Self::Projectile => 200_000.0,
            Self::StaticBuild => 25_000.0,
            Self::Vehicle => 150_000.0,
            Self::Item => 10_000.0,
        }
    }
}

/// What an entity did over the last ticks, as the bytes that snapshots copy: see `kernel::trail`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(32))]
pub struct Trail {
    /// Tick from which on the row has its occupant, or none.
    pub since: Tick,
    /// Bit a is set if `steps[a - 1]` is all that there is to say against the state of a ticks ago.
    pub valid: u16,
    /// Differences of x and y to 1, 2, … ticks ago in steps, zigzag.
    pub steps: [[u8; 2]; Self::AGES],
}

const _: () = assert!(size_of::<Trail>() == 32);

impl Trail {
    /// Ticks that it reaches back.
    pub const AGES: usize = 12;

    /// Of a row without an entity, or of which nothing is known.
    pub const NONE: Self = Self { since: 0, valid: 0, steps: [[0; 2]; Self::AGES] };

    /// The differences of x and y to `age` ticks ago (at most 63) as zigzag bytes, if nothing else
    /// changed since.
    #[inline]
    pub fn step(&self, age: u8) -> Option<[u8; 2]> {
        let said = u64::from(self.valid) >> age & 1 == 1;
        said.then(|| self.steps[usize::from(age) - 1])
    }
}

/// How much is going on with an entity; decides how often others are told of its changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Stir {
    /// It stands still.
    Still,
    /// It moves.
    Moving,
    /// It fights or casts, or is a projectile: what it does now decides something.
    Engaged,
}

impl Stir {
    /// Of an entity of `kind` with these flags.
    #[inline]
    pub fn of(kind: Kind, entity_flags: u8) -> Self {
        if kind == Kind::Projectile || entity_flags & (flags::IS_IN_COMBAT | flags::IS_CASTING) != 0
        {
            Self::Engaged
        } else if entity_flags & (flags::IS_MOVING | flags::IS_FALLING) != 0 {
            Self::Moving
        } else {
            Self::Still
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_numbers_of_kinds_round_trip() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_wire(kind as u8), Some(kind));
        }
        assert_eq!(Kind::from_wire(Kind::COUNT as u8), None);
    }
}
