//! The fingerprint of a world: equal for equal worlds, whatever rows their entities happen to have.
//!
//! Replays, shards and builds are compared by it. It covers everything that decides the future: the
//! full precision state, the intent, the age of the input, and the quantized row.

use super::attack::Combat;
use super::{Row, World};
use crate::units::Tick;

impl World {
    /// Hash of all entities and of the tick. Inputs that wait for the next apply are not part of
    /// it.
    pub fn hash(&self) -> u64 {
        hash_of(self.tick, [self.digest()])
    }

    /// Hash of all entities. Each is hashed by itself, and the sum is taken, so the order of rows
    /// does not matter, nor does it matter how the entities of one world are spread over several.
    pub fn digest(&self) -> u64 {
        let store = &self.store;
        let mut sum = 0_u64;
        for (row, id) in self.roster.ids().iter().enumerate().filter(|(_, id)| id.0 != 0) {
            let mut state = mix(u64::from(id.0), u64::from(store.kind[row] as u8));
            state = mix(state, u64::from(store.intake[row].ticks_left()));
            // Each world has all relations, so they are hashed with those whom they concern.
            state = mix(state, self.factions.enemies_of(self.faction(row as Row)));
            let Combat { presses, cooldown, down } = store.combat[row];
            let fight = u64::from(presses) | u64::from(cooldown) << 8 | u64::from(down) << 16;
            state = mix(state, fight);
            for column in store.floats() {
                state = mix(state, u64::from(column.lanes()[row].to_bits()));
            }
            for column in store.words() {
                state = mix(state, u64::from(column.lanes()[row]));
            }
            for word in store.quantized.blocks()[row].to_array() {
                state = mix(state, u64::from(word));
            }
            sum = sum.wrapping_add(state);
        }
        sum
    }
}

/// Hash of the world at `tick` that consists of the parts with these digests.
pub fn hash_of(tick: Tick, digests: impl IntoIterator<Item = u64>) -> u64 {
    digests.into_iter().fold(mix(0, u64::from(tick)), u64::wrapping_add)
}

/// One round of splitmix64 over both.
pub(super) fn mix(state: u64, value: u64) -> u64 {
    let mut z = (state ^ value).wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
