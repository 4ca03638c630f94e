//! Phase move: every entity advances by one tick.
//!
//! The arithmetic is `kernel::movement`; this file hands it the columns. The shard calls it after
//! apply.

use super::World;
use crate::kernel::lanes;
use crate::kernel::movement::{Bodies, Intents, advance};

impl World {
    /// Phase move.
    pub fn advance(&mut self) {
        let blocks = lanes::blocks(self.roster.end());
        let store = &mut self.store;
        let [wish_x, wish_y] = &store.wish;
        let bodies = Bodies {
            position: store.position.each_mut().map(|column| column.blocks_mut()),
            velocity: store.velocity.each_mut().map(|column| column.blocks_mut()),
        };
        let intents = Intents {
            wish: [wish_x.blocks(), wish_y.blocks()],
            speed: store.speed.blocks(),
            jump: store.jump.blocks(),
            gravity: store.gravity.blocks(),
        };
        advance(bodies, intents, blocks, self.rate.seconds());
    }
}
