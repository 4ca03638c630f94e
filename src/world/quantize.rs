//! Phase quantize: positions become integers, and rows that differ from the last tick are marked.
//!
//! The arithmetic is `kernel::quantization`; this file hands it the columns. The shard calls it
//! after move.

use super::World;
use crate::kernel::lanes;
use crate::kernel::quantization::{Samples, quantize};
use crate::units::Tick;

impl World {
    /// Phase quantize of `tick`, which is later than the one before.
    pub fn quantize(&mut self, tick: Tick) {
        debug_assert!(tick > self.tick, "tick {tick} after {}", self.tick);
        self.tick = tick;
        let blocks = lanes::blocks(self.roster.end());
        let store = &mut self.store;
        let samples = Samples {
            position: store.position.each_ref().map(|column| column.blocks()),
            velocity: store.velocity.each_ref().map(|column| column.blocks()),
            gravity: store.gravity.blocks(),
            heading: store.heading.blocks(),
            posture: store.posture.blocks(),
            vitals: store.vitals.blocks(),
            effects: store.effects.blocks(),
            tilt: store.tilt.blocks(),
        };
        let rows = store.quantized.blocks_mut();
        quantize(samples, rows, store.changed.lanes_mut(), blocks, tick);
    }
}
