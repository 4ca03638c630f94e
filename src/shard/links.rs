//! What connects one shard with the others besides the exchange: queues from each to each.

use super::effects::{Effects, effects};

/// One shard's ends of the queues to all shards, itself included.
#[derive(Debug)]
pub struct Links {
    pub(super) effects: Effects,
}

/// The links of `members` shards of at most `entities` entities each.
pub fn links(members: usize, entities: usize) -> Vec<Links> {
    effects(members, entities).into_iter().map(|effects| Links { effects }).collect()
}
