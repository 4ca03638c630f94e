//! What connects one shard with the others besides the exchange: queues from each to each.

use super::effects::{Effects, effects};

/// One shard's ends of the queues to all shards, itself included.
#[derive(Debug)]
pub struct Links {
    pub(super) effects: Effects,
}

impl Links {
    /// Takes the ends to and from the shards in `places` of `other`: those shards were replaced.
    pub(super) fn relink(&mut self, other: Self, places: &[bool]) {
        self.effects.relink(other.effects, places);
    }
}

/// The links of `members` shards of at most `entities` entities each.
pub fn links(members: usize, entities: usize) -> Vec<Links> {
    effects(members, entities).into_iter().map(|effects| Links { effects }).collect()
}
