//! The units of the world: centimetres, ticks, quantized steps. Conversions live here and nowhere
//! else.

/// Centimetres along the x and y axes of the map: 8 quadrants of 102,400.
pub const MAP_XY: f32 = 819_200.0;
/// Centimetres along the z axis.
pub const MAP_Z: f32 = 25_600.0;
/// Centimetres along one side of a quadrant, the component within which a position fits 16 bits.
pub const QUADRANT: f32 = 102_400.0;
/// Centimetres of one quantized step: a quadrant over 65,536.
pub const STEP: f32 = 1.5625;
/// Quantized steps along the x and y axes of the map.
pub const STEPS_XY: u32 = 524_288;
/// Quantized steps along the z axis.
pub const STEPS_Z: u32 = 16_384;
/// Centimetres per second squared, downwards.
pub const GRAVITY: f32 = 980.0;

const _: () = assert!(STEPS_XY as f32 * STEP == MAP_XY);
const _: () = assert!(STEPS_Z as f32 * STEP == MAP_Z);
const _: () = assert!(65_536.0 * STEP == QUADRANT);

/// Number of a tick. The first tick of a server is 1, so 0 means "never".
pub type Tick = u32;

/// Simulation rate in ticks per second: 30, 60 or 120.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TickRate(u16);

impl TickRate {
    /// The rate everything is tuned for.
    pub const DEFAULT: Self = Self(60);

    /// Accepts 30, 60 or 120.
    pub fn from_hz(hz: u16) -> Option<Self> {
        matches!(hz, 30 | 60 | 120).then_some(Self(hz))
    }

    /// Ticks per second.
    pub fn hz(self) -> u16 {
        self.0
    }

    /// Seconds of simulated time in one tick.
    pub fn seconds(self) -> f32 {
        1.0 / f32::from(self.0)
    }

    /// Nanoseconds from the start of the first tick to the start of tick `index` (absolute
    /// schedule: the error of one period never accumulates).
    pub fn start_ns(self, index: u64) -> u64 {
        (u128::from(index) * 1_000_000_000 / u128::from(self.0)) as u64
    }

    /// Ticks in `ms` milliseconds, rounded up.
    pub fn ticks_in_ms(self, ms: u64) -> u32 {
        (ms * u64::from(self.0)).div_ceil(1000) as u32
    }
}

/// Identity of an entity: 20 bits of index, 12 bits of generation. Never 0 for a living entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EntityId(pub u32);

impl EntityId {
    /// No entity.
    pub const NONE: Self = Self(0);

    /// `index` below 2^20, `generation` below 2^12 and not 0.
    pub fn from_parts(index: u32, generation: u32) -> Self {
        debug_assert!(index < 1 << 20 && generation > 0 && generation < 1 << 12);
        Self(generation << 20 | index)
    }

    /// The reusable part.
    pub fn index(self) -> u32 {
        self.0 & 0xF_FFFF
    }

    /// Distinguishes the successive entities of one index.
    pub fn generation(self) -> u32 {
        self.0 >> 20
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_is_exact_after_a_year() {
        let rate = TickRate::DEFAULT;
        assert_eq!(rate.start_ns(60 * 3600 * 24 * 365), 3600 * 24 * 365 * 1_000_000_000);
        assert_eq!(rate.start_ns(1), 16_666_666);
        assert_eq!(rate.start_ns(3), 50_000_000);
    }

    #[test]
    fn only_the_three_documented_rates_exist() {
        assert!([30, 60, 120].into_iter().all(|hz| TickRate::from_hz(hz).is_some()));
        assert!([0, 1, 59, 61, 240].into_iter().all(|hz| TickRate::from_hz(hz).is_none()));
        assert_eq!(TickRate::DEFAULT.ticks_in_ms(5000), 300);
    }

    #[test]
    fn an_entity_id_round_trips_its_parts() {
        let id = EntityId::from_parts(0xF_FFFF, 0xFFF);
        assert_eq!((id.index(), id.generation()), (0xF_FFFF, 0xFFF));
        assert_ne!(EntityId::from_parts(0, 1), EntityId::NONE);
    }
}
