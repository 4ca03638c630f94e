//! What entities do to others: sent in one tick, applied in the next, in an order that does not
//! depend on who computes what.
//!
//! **Policy for a full queue.** An entity causes at most one effect per tick, and the queue between
//! two shards has a place for every entity of the sender, twice over. So none is ever lost as long
//! as shards meet once per tick; should it happen all the same, the effect is dropped and counted
//! (`effects_lost`), and the world goes on.

use super::post::{Post, mesh};
use crate::metrics::{Counter, Counters};
use crate::units::Tick;
use crate::world::Hit;

/// One shard's part of the exchange of effects.
#[derive(Debug)]
pub(super) struct Effects {
    post: Post<Hit>,
    /// Effects of the last tick, to be sorted.
    arrived: Vec<Hit>,
}

/// The effects of `members` shards with at most `entities` entities each.
pub(super) fn effects(members: usize, entities: usize) -> Vec<Effects> {
    let capacity = members * entities;
    let part = |post| Effects { post, arrived: Vec::with_capacity(capacity) };
    mesh(members, 2 * entities).into_iter().map(part).collect()
}

impl Effects {
    /// Sends an effect of `tick` to the shard that will have its target.
    pub(super) fn send(&mut self, host: usize, tick: Tick, hit: Hit, counters: &Counters) {
        let sent = self.post.send(host, tick, hit).is_ok();
        counters.add(if sent { Counter::EffectsSent } else { Counter::EffectsLost }, 1);
    }

    /// See [`Post::relink`].
    pub(super) fn relink(&mut self, other: Self, places: &[bool]) {
        self.post.relink(other.post, places);
    }

    /// What was sent to this shard in `tick`, in the order of targets, and for each target of
    /// sources.
    pub(super) fn arrived(&mut self, tick: Tick) -> impl Iterator<Item = Hit> + '_ {
        let arrived = &mut self.arrived;
        self.post.receive(tick, |hit| {
            // There is room for everything that the queues hold of one tick.
            debug_assert!(arrived.len() < arrived.capacity(), "one effect per entity and tick");
            arrived.push(hit);
        });
        arrived.sort_unstable_by_key(|hit| (hit.target, hit.source));
        arrived.drain(..)
    }
}
