//! How urgently each slot of a viewer waits: it grows every tick by the pace of the slot, and what
//! is at [`DUE`] or above may be told.
//!
//! Whoever is told starts again from what was beyond a multiple of [`DUE`], so that paces hold on
//! average. Whoever is passed over for want of room climbs a level per tick or several, and the
//! higher level goes first: priority and fairness are the same thing. `replicate` calls.

use super::lanes::SCALAR;
use crate::limits::VISIBLE_MAX;
use wide::u8x32;

/// Urgency from which a slot may be told; a pace of as much is once per tick.
pub const DUE: u8 = 32;
/// Levels of urgency at or above [`DUE`]: the quotient by it, 1..=7.
pub const LEVELS: usize = 7;

const LANES: usize = 32;
const _: () = assert!(VISIBLE_MAX.is_multiple_of(LANES) && (LEVELS + 1) * DUE as usize == 256);

/// One tick passes: every slot grows by its pace, up to 255. Gives the slots that are due as bits,
/// the most urgent level first.
#[inline]
pub fn grow(urgency: &mut [u8; VISIBLE_MAX], pace: &[u8; VISIBLE_MAX]) -> [u128; LEVELS] {
    if SCALAR {
        return grow_each(urgency, pace);
    }
    let mut bits = [0_u128; 3];
    let blocks = urgency.as_chunks_mut::<LANES>().0.iter_mut().zip(pace.as_chunks::<LANES>().0);
    for (block, (urgency, pace)) in blocks.enumerate() {
        let mut grown = u8x32::new(*urgency).saturating_add(u8x32::new(*pace));
        *urgency = grown.to_array();
        // The quotient by 32 is the three highest bits, taken one by one from the sign.
        for bits in &mut bits {
            *bits |= u128::from(grown.to_bitmask()) << (block * LANES);
            grown += grown;
        }
    }
    let [fours, twos, ones] = bits;
    [
        fours & twos & ones,
        fours & twos & !ones,
        fours & !twos & ones,
        fours & !twos & !ones,
        !fours & twos & ones,
        !fours & twos & !ones,
        !fours & !twos & ones,
    ]
}

/// [`grow_one`] on one slot after the other.
fn grow_each(urgency: &mut [u8; VISIBLE_MAX], pace: &[u8; VISIBLE_MAX]) -> [u128; LEVELS] {
    let mut levels = [0; LEVELS];
    for (slot, (urgency, pace)) in urgency.iter_mut().zip(pace).enumerate() {
        let (grown, level) = grow_one(*urgency, *pace);
        *urgency = grown;
        if level > 0 {
            levels[LEVELS - usize::from(level)] |= 1 << slot;
        }
    }
    levels
}

/// The slots in `told` start again.
#[inline]
pub fn start_again(urgency: &mut [u8; VISIBLE_MAX], told: u128) {
    const EACH: u64 = 0x0101_0101_0101_0101;
    /// Bit i in byte i.
    const DIAGONAL: u64 = 0x8040_2010_0804_0201;
    if SCALAR {
        let chosen = urgency.iter_mut().enumerate().filter(|(slot, _)| told >> slot & 1 == 1);
        return chosen.for_each(|(_, urgency)| *urgency = start_one_again(*urgency));
    }
    for (word, told) in urgency.as_chunks_mut::<8>().0.iter_mut().zip(told.to_le_bytes()) {
        // Each byte gets the bit of its slot, then all its bits are that bit.
        let chosen = (u64::from(told) * EACH) & DIAGONAL;
        let chosen = ((chosen + 0x7F * EACH) >> 7) & EACH;
        let cleared = chosen * u64::from(u8::MAX - (DUE - 1));
        *word = (u64::from_le_bytes(*word) & !cleared).to_le_bytes();
    }
}

/// [`grow`] for one slot: its urgency and its level, 0 if it is not due.
pub fn grow_one(urgency: u8, pace: u8) -> (u8, u8) {
    let grown = urgency.saturating_add(pace);
    (grown, grown / DUE)
}

/// [`start_again`] for one slot.
pub fn start_one_again(urgency: u8) -> u8 {
    urgency % DUE
}

#[cfg(test)]
mod tests {
    use super::super::lanes::samples::Seeded;
    use super::*;

    #[test]
    fn all_slots_at_once_grow_like_one() {
        for seed in 0..2_000 {
            let mut random = Seeded(seed);
            let mut urgency: [u8; VISIBLE_MAX] = std::array::from_fn(|_| random.below(256) as u8);
            let pace = std::array::from_fn(|_| random.below(256) as u8);
            let expected: [_; VISIBLE_MAX] =
                std::array::from_fn(|slot| grow_one(urgency[slot], pace[slot]));
            let levels = grow(&mut urgency, &pace);
            for (slot, (grown, level)) in expected.into_iter().enumerate() {
                assert_eq!(urgency[slot], grown, "seed {seed}, slot {slot}");
                for (place, level_bits) in levels.iter().enumerate() {
                    let is_here = usize::from(level) == LEVELS - place;
                    assert_eq!(level_bits >> slot & 1 == 1, is_here, "seed {seed}, slot {slot}");
                }
            }
        }
    }

    #[test]
    fn all_slots_at_once_start_again_like_one() {
        for seed in 0..2_000 {
            let mut random = Seeded(seed);
            let before: [u8; VISIBLE_MAX] = std::array::from_fn(|_| random.below(256) as u8);
            let told = (0..VISIBLE_MAX)
                .fold(0, |told, slot| told | u128::from(random.below(2) == 1) << slot);
            let mut urgency = before;
            start_again(&mut urgency, told);
            for slot in 0..VISIBLE_MAX {
                let chosen = told >> slot & 1 == 1;
                let expected = if chosen { start_one_again(before[slot]) } else { before[slot] };
                assert_eq!(urgency[slot], expected, "seed {seed}, slot {slot}");
            }
        }
    }

    #[test]
    fn a_pace_is_kept_on_average() {
        for pace in 1..=DUE {
            let (mut urgency, mut told) = (0, 0);
            for _ in 0..32 * 100 {
                let (grown, level) = grow_one(urgency, pace);
                urgency = grown;
                if level > 0 {
                    told += 1;
                    urgency = start_one_again(urgency);
                }
            }
            assert_eq!(told, u32::from(pace) * 100, "pace {pace}");
        }
    }
}
