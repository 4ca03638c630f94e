//! Who is whose enemy: a bit per pair of factions, so every question is one shift.
//!
//! Hostility is mutual: there is one truth for both sides, so nobody can be hit by somebody whom he
//! could not hit back. Owned by [`World`](super::World), of which every shard has one; the
//! relations of all of them are to be the same in every tick. Read by attacks, by the hash, and by
//! the shard for what players are told.

use crate::limits::FACTIONS_MAX;

/// Relations between the factions 1..64. At first there is peace: nobody is anybody's enemy.
///
/// Faction 0 is no side: its members are nobody's friends and nobody's enemies. Factions from
/// `limits::FACTIONS_MAX` on have no enemies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Factions {
    enemies: [u64; FACTIONS_MAX],
}

const _: () = assert!(FACTIONS_MAX == u64::BITS as usize, "a bit per faction");

impl Default for Factions {
    fn default() -> Self {
        Self { enemies: [0; FACTIONS_MAX] }
    }
}

impl Factions {
    /// Makes two factions enemies, or makes peace between them. `a` and `b` may be the same: then
    /// its members are enemies of each other.
    ///
    /// # Panics
    /// If one of them is 0 or not below `limits::FACTIONS_MAX`.
    pub fn set_enemies(&mut self, a: u8, b: u8, enemies: bool) {
        for (one, other) in [(a, b), (b, a)] {
            assert!((1..FACTIONS_MAX).contains(&one.into()), "faction {one} has no relations");
            let bit = 1 << other;
            let word = &mut self.enemies[usize::from(one)];
            *word = if enemies { *word | bit } else { *word & !bit };
        }
    }

    /// The enemies of a faction: bit f stands for faction f.
    #[inline]
    pub fn enemies_of(&self, faction: u8) -> u64 {
        self.enemies.get(usize::from(faction)).copied().unwrap_or_default()
    }

    /// Whether two factions are enemies.
    #[inline]
    pub fn is_enemy(&self, a: u8, b: u8) -> bool {
        self.enemies_of(a).checked_shr(b.into()).unwrap_or_default() & 1 == 1
    }

    /// Whether somebody of faction `a` can hit somebody of faction `b`: enemies can, and whoever is
    /// on no side can hit and be hit by everybody.
    #[inline]
    pub fn can_hit(&self, a: u8, b: u8) -> bool {
        a == 0 || b == 0 || self.is_enemy(a, b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn relations_equal_a_set_of_pairs_and_are_mutual() {
        for seed in 0..20_u64 {
            let (mut factions, mut pairs) = (Factions::default(), BTreeSet::new());
            let mut state = seed;
            let mut draw = |bound: u64| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                ((state >> 33) % bound) as u8
            };
            for _ in 0..500 {
                let (a, b, enemies) = (1 + draw(63), 1 + draw(63), draw(3) > 0);
                factions.set_enemies(a, b, enemies);
                for pair in [(a, b), (b, a)] {
                    if enemies {
                        pairs.insert(pair);
                    } else {
                        pairs.remove(&pair);
                    }
                }
            }
            for (a, b) in (0..=u8::MAX).flat_map(|a| (0..=u8::MAX).map(move |b| (a, b))) {
                let enemies = pairs.contains(&(a, b));
                assert_eq!(factions.is_enemy(a, b), enemies, "{a} and {b}, seed {seed}");
                assert_eq!(factions.can_hit(a, b), enemies || a == 0 || b == 0);
                let bit = u32::from(b) < u64::BITS && factions.enemies_of(a) >> b & 1 == 1;
                assert_eq!(bit, enemies, "{a} and {b}, seed {seed}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "faction 0 has no relations")]
    fn who_is_on_no_side_has_no_enemies() {
        Factions::default().set_enemies(3, 0, true);
    }
}
