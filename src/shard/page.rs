//! What a shard shows the others in each tick besides the rows of its entities.

use crate::state::Kind;
use crate::time::Nanos;
use crate::world::Index;

/// One shard's page of the exchange.
#[derive(Clone, Debug)]
pub struct Page {
    /// Its entities by place.
    pub index: Index,
    /// How it is doing.
    pub report: Report,
}

/// How a shard fared. All shards read the same reports in the same tick and so decide the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How late it began this tick.
    pub late: Nanos,
    /// What its work took in the tick before, waiting for others left out.
    pub busy: Nanos,
    /// Whether it has said goodbye to everybody and may end.
    pub done: bool,
}

impl Page {
    /// An empty page of a shard with at most `entities` entities. `radius` by kind in centimetres,
    /// `leave_factor` its hysteresis.
    pub fn new(entities: usize, radius: [f32; Kind::COUNT], leave_factor: f32) -> Self {
        Self { index: Index::new(entities, radius, leave_factor), report: Report::default() }
    }
}
