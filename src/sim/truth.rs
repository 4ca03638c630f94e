//! The naive server: it knows the state of everybody at every tick, and finds out who sees whom by
//! looking at everybody. The oracle of the simulator and of the model of replication.

use crate::state::{Kind, QuantizedState};
use crate::units::{EntityId, Tick};
use std::collections::BTreeMap;

/// One entity at one tick, as it was published.
#[derive(Clone, Copy, Debug)]
pub struct Being {
    /// Who it is.
    pub id: EntityId,
    /// What it is.
    pub kind: Kind,
    /// How it is.
    pub state: QuantizedState,
}

impl Being {
    /// Centimetres.
    pub fn distance(&self, other: &Self) -> f32 {
        let (a, b) = (self.state.position(), other.state.position());
        (0..3).map(|axis| (a[axis] - b[axis]).powi(2)).sum::<f32>().sqrt()
    }
}

/// Published positions are rounded, the server's are not: so far apart may two distances be,
/// centimetres.
pub const DOUBT: f32 = 4.0;

/// What really was, tick by tick.
#[derive(Debug)]
pub struct Truth {
    /// By tick; the first tick is 1.
    scenes: Vec<BTreeMap<EntityId, Being>>,
    radii: [f32; Kind::COUNT],
    leave_factor: f32,
}

impl Truth {
    /// A world in which entities are seen from `radii` centimetres, by kind, and stay visible up to
    /// `leave_factor` times that.
    pub fn new(radii: [f32; Kind::COUNT], leave_factor: f32) -> Self {
        Self { scenes: vec![BTreeMap::new()], radii, leave_factor }
    }

    /// Takes note of a tick.
    ///
    /// # Panics
    /// If a tick is left out or comes twice, or if somebody lives twice.
    pub fn note(&mut self, tick: Tick, beings: Vec<Being>) {
        assert_eq!(tick as usize, self.scenes.len(), "every tick once");
        let count = beings.len();
        let scene = beings.into_iter().map(|being| (being.id, being));
        self.scenes.push(scene.collect());
        assert_eq!(self.scenes[tick as usize].len(), count, "nobody lives twice");
    }

    /// The last tick noted, 0 before the first.
    pub fn newest(&self) -> Tick {
        self.scenes.len() as Tick - 1
    }

    /// Everybody at `tick`.
    pub fn scene(&self, tick: Tick) -> &BTreeMap<EntityId, Being> {
        &self.scenes[tick as usize]
    }

    /// `id` at `tick`, if it lived.
    pub fn at(&self, tick: Tick, id: EntityId) -> Option<&Being> {
        self.scenes.get(tick as usize)?.get(&id)
    }

    /// Whether `viewer` had to see `id` at `tick`.
    pub fn must_see(&self, tick: Tick, viewer: EntityId, id: EntityId) -> bool {
        self.is_within(tick, viewer, id, 1.0, -DOUBT)
    }

    /// Whether `viewer` could still see `id` at `tick`, having seen it before.
    pub fn may_see(&self, tick: Tick, viewer: EntityId, id: EntityId) -> bool {
        self.is_within(tick, viewer, id, self.leave_factor, DOUBT)
    }

    /// Whether `viewer`, having seen `id` before, had to go on seeing it at `tick`.
    pub fn must_keep(&self, tick: Tick, viewer: EntityId, id: EntityId) -> bool {
        self.is_within(tick, viewer, id, self.leave_factor, -DOUBT)
    }

    fn is_within(
        &self,
        tick: Tick,
        viewer: EntityId,
        id: EntityId,
        factor: f32,
        doubt: f32,
    ) -> bool {
        let (Some(eye), Some(being)) = (self.at(tick, viewer), self.at(tick, id)) else {
            return false;
        };
        let reach = self.radii[being.kind as usize] * factor + doubt;
        viewer != id && being.distance(eye) <= reach
    }

    /// How far from `viewer` the K-th nearest of all others is, centimetres.
    ///
    /// # Panics
    /// If the viewer does not live, or there are fewer others.
    pub fn nearest(&self, tick: Tick, viewer: EntityId, k: usize) -> f32 {
        let eye = self.at(tick, viewer).expect("it lives");
        let others = self.scene(tick).values().filter(|being| being.id != viewer);
        let mut distances: Vec<_> = others.map(|being| being.distance(eye)).collect();
        distances.sort_by(f32::total_cmp);
        distances[k - 1]
    }
}
