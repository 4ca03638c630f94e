//! Which of eight rows changed after what somebody holds of them, by ages in ticks.
//!
//! What is held is a tick in 16 bits, half as much to keep and to fetch as a whole one: an age from
//! [`AGE_UNKNOWN`] on means that nothing is held. Whoever keeps such ticks renews them before they
//! come to mean something else.

use super::lanes::SCALAR;
use crate::units::Tick;
use wide::{i16x8, i32x8, u32x8};

/// The smallest age in 16 bits that means "nothing".
pub const AGE_UNKNOWN: u16 = 0x8000;

/// Whether a row that changed at `changed` is newer than what is held of it.
pub fn is_newer(tick: Tick, changed: Tick, held: u16) -> bool {
    let age = (tick as u16).wrapping_sub(held);
    age >= AGE_UNKNOWN || tick.wrapping_sub(changed) < u32::from(age)
}

/// [`is_newer`] for eight rows, as bits. No row changed more than 2^32 - 2^15 ticks ago.
#[inline]
pub fn newer(tick: Tick, changed: [Tick; 8], held: &[u16; 8]) -> u8 {
    if SCALAR {
        let lanes = (0..8).map(|lane| u8::from(is_newer(tick, changed[lane], held[lane])) << lane);
        return lanes.sum();
    }
    let since = u32x8::splat(tick) - u32x8::new(changed);
    let age = i16x8::splat(tick as i16) - i16x8::new(bytemuck::cast(*held));
    // An unknown age is negative, so that it becomes longer than any other.
    let age: u32x8 = bytemuck::cast(i32x8::from_i16x8(age));
    since.simd_lt(age).to_bitmask() as u8
}

#[cfg(test)]
mod tests {
    use super::super::lanes::samples::Seeded;
    use super::*;

    #[test]
    fn eight_rows_at_once_are_compared_like_one() {
        for seed in 0..20_000 {
            let mut random = Seeded(seed);
            let tick = 200_000 + random.below(1 << 31) as Tick;
            let reach = [4, 100, 70_000, 200_000][random.below(4) as usize];
            let changed = std::array::from_fn(|_| tick - random.below(reach) as Tick);
            let reach = [4, 100, 1 << 16][random.below(3) as usize];
            let held = std::array::from_fn(|_| (tick - random.below(reach) as Tick) as u16);
            let expected = (0..8).fold(0, |bits, lane| {
                bits | u8::from(is_newer(tick, changed[lane], held[lane])) << lane
            });
            assert_eq!(newer(tick, changed, &held), expected, "seed {seed}");
        }
    }
}
