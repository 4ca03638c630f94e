//! How old what viewers were told is, for the statistics.
//!
//! Viewers are looked at in turns, since a look costs more than a snapshot. What counts is what was
//! sent: the way to the client comes on top. The shard calls at the end of a tick.

use super::pace::Tier;
use super::slots::bits;
use super::{Eye, Replicator};
use crate::exchange::Published;
use crate::kernel::nearest::distance_squared;
use crate::state::Stir;
use crate::units::Tick;
use crate::world::Index;

/// Ticks between two looks at one viewer.
const SURVEY_EVERY: u32 = 128;

/// Entities that move by tier, and those that stand still.
const CLASSES: usize = 4;

/// What was found in one tick. Both by class: near, middle, far, still.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Entities that viewers saw and had been told of.
    pub samples: [u64; CLASSES],
    /// Ticks for which what they were told has been out of date, summed: 0 for an entity that has
    /// not changed since.
    pub ages: [u64; CLASSES],
}

/// Whether `viewer` is looked at in `tick`.
#[inline]
pub fn is_surveyed(viewer: u16, tick: Tick) -> bool {
    u32::from(viewer) % SURVEY_EVERY == tick % SURVEY_EVERY
}

impl Replicator {
    /// Adds what `viewer` sees to `survey`, after its snapshot of the tick. `index` knows the
    /// distances of interest.
    pub fn survey(
        &self,
        viewer: u16,
        eye: &Eye,
        index: &Index,
        published: Published<'_>,
        survey: &mut Survey,
    ) {
        let (table, tick) = (&self.tables[usize::from(viewer)], published.tick());
        for slot in bits(table.live()) {
            let row = table.row[usize::from(slot)];
            let Some(told) = table.told_age(slot, tick) else { continue };
            let class = match published.stir(row) {
                Stir::Still => CLASSES - 1,
                Stir::Moving | Stir::Engaged => {
                    let place = published.state(row, tick).position();
                    let reach = index.enter_squared(published.kind(row)) * eye.sight_squared;
                    Tier::of(distance_squared(place, eye.position), reach) as usize
                }
            };
            let changed = tick.wrapping_sub(published.changed()[row as usize]);
            survey.samples[class] += 1;
            survey.ages[class] += if changed < told { u64::from(told) } else { 0 };
        }
    }
}
