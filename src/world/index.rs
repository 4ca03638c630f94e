//! Phase index: who stands where, sorted, so that select can ask who is near.
//!
//! An [`Index`] is a copy: it shows the world as it was when the phase ended, and names entities by
//! their seats. It covers one world; a viewer that sees several worlds asks their indexes one after
//! the other with one [`Nearest`]. The grid and the selection are `kernel::grid`
//! and `kernel::nearest`.

use super::World;
use super::attack::TARGETS;
use crate::kernel::grid::Grid;
use crate::kernel::nearest::{HeldSet, Nearest, Probe};
use crate::state::{Kind, is_hidden};
use crate::units::EntityId;

/// Entities sorted by place.
#[derive(Clone, Debug)]
pub struct Index {
    grid: Grid,
    enter_squared: [f32; Kind::COUNT],
    leave_squared: [f32; Kind::COUNT],
}

impl Index {
    /// An empty index of `capacity` rows. `radius` by kind in centimetres; what is held stays
    /// visible up to `leave_factor` times that.
    ///
    /// # Panics
    /// If a radius or the factor is not positive and finite.
    pub fn new(capacity: usize, radius: [f32; Kind::COUNT], leave_factor: f32) -> Self {
        assert!(
            radius.iter().chain([&leave_factor]).all(|value| value.is_finite() && *value > 0.0),
            "radii and the leave factor are positive numbers"
        );
        let leave_factor = leave_factor.max(1.0);
        let squared = |radius: f32| (radius * radius).min(f32::MAX);
        Self {
            grid: Grid::new(capacity, radius),
            enter_squared: radius.map(squared),
            leave_squared: radius.map(|radius| squared(radius * leave_factor)),
        }
    }

    /// Squared distance in cm² at which an entity of `kind` becomes visible.
    pub fn enter_squared(&self, kind: Kind) -> f32 {
        self.enter_squared[kind as usize]
    }

    /// Squared distance in cm² up to which a held entity of `kind` stays visible.
    pub fn leave_squared(&self, kind: Kind) -> f32 {
        self.leave_squared[kind as usize]
    }

    /// Bytes of all allocations.
    pub fn memory_bytes(&self) -> usize {
        self.grid.memory_bytes()
    }

    /// Adds to `out` what can be seen from `viewer`: entities within the enter distance of their
    /// kind, those in `held` within the leave distance, and of all these (and those already in
    /// `out`) the `VISIBLE_MAX` nearest by (d², id), where d² is
    /// `kernel::nearest::distance_squared`. Exact, with one exception: of a heap of more than
    /// `kernel::grid::Grid::heap` entities (1,024) of one kind in a square of 12.5 cm, those in the
    /// last rows are not seen. What it costs follows `VISIBLE_MAX`, not the crowd:
    /// `Nearest::passed` counts it.
    ///
    /// The viewer's own entity is not excluded; entities that are invisible are not in the index.
    pub fn visible(&self, viewer: [f32; 3], held: &HeldSet, out: &mut Nearest) {
        self.visible_within(viewer, 1.0, held, out);
    }

    /// As [`Self::visible`], with the squares of all distances multiplied by `share`, at most 1.
    pub fn visible_within(&self, viewer: [f32; 3], share: f32, held: &HeldSet, out: &mut Nearest) {
        for kind in Kind::ALL {
            let probe = Probe {
                viewer,
                enter_squared: self.enter_squared[kind as usize] * share,
                leave_squared: self.leave_squared[kind as usize] * share,
                everybody: false,
            };
            self.grid.gather(kind, &probe, held, out);
        }
        out.finish();
    }
}

impl Index {
    /// Adds to `out` who can be attacked within `reach` centimetres of `place`, as
    /// [`Self::visible`] does with the distances of interest; exact for any heap.
    pub(super) fn within(&self, place: [f32; 3], reach: f32, nobody: &HeldSet, out: &mut Nearest) {
        let squared = reach * reach;
        for kind in TARGETS {
            let probe = Probe {
                viewer: place,
                enter_squared: squared,
                leave_squared: squared,
                everybody: true,
            };
            self.grid.gather(kind, &probe, nobody, out);
        }
        out.finish();
    }
}

impl World {
    /// Phase index: `index` shows this world as of now.
    pub fn index(&self, index: &mut Index) {
        let ids = self.roster.ids();
        let kinds = &self.store.kind[..ids.len()];
        let posture = &self.store.posture.lanes()[..ids.len()];
        let effects = &self.store.effects.lanes()[..ids.len()];
        let position = self.store.position.each_ref().map(|column| &column.lanes()[..ids.len()]);
        let seats = &self.store.seat[..ids.len()];
        index.grid.rebuild(ids, seats, position, |row| {
            let hidden = is_hidden((posture[row] >> 24) as u8, effects[row]);
            let listed = ids[row] != EntityId::NONE && !hidden;
            listed.then(|| kinds[row])
        });
    }
}
