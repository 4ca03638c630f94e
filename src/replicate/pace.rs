//! How often a viewer is told about an entity that changes: by tier of distance and by what the
//! entity does.
//!
//! A pace is what the urgency of a slot grows by per tick, see `kernel::urgency`. It bounds how
//! often something is told and not how late: whoever has been at rest is told at once when he
//! changes, and when room is short the more urgent goes first.

use crate::kernel::urgency::DUE;
use crate::state::Stir;
use crate::units::TickRate;

/// Where the middle tier begins, as the square of a third of the radius: a ninth of what is in
/// sight is nearer.
const MIDDLE_SQUARED: f32 = 1.0 / 9.0;
/// Where the far tier begins, as the square of two thirds of the radius: five ninths of what is in
/// sight are there, where a step is a few pixels.
const FAR_SQUARED: f32 = 4.0 / 9.0;

/// Of an entity that moves in the middle tier, per second.
const MIDDLE_HZ: u32 = 30;
/// Of an entity that moves in the far tier, per second.
const FAR_HZ: u32 = 18;
/// Of an entity that stands still, wherever it is, per second.
const STILL_HZ: u32 = 6;

/// Distance in relation to the radius at which an entity is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Tier {
    /// Within a third of the radius.
    Near,
    /// Within two thirds.
    Middle,
    /// Beyond.
    Far,
}

impl Tier {
    /// The tier of what is at a squared distance, of the squared radius `reach`.
    #[inline]
    pub fn of(squared: f32, reach: f32) -> Self {
        if squared <= reach * MIDDLE_SQUARED {
            Self::Near
        } else if squared <= reach * FAR_SQUARED {
            Self::Middle
        } else {
            Self::Far
        }
    }

    /// The word of statistics and of `tidelock explain`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Near => "near",
            Self::Middle => "middle",
            Self::Far => "far",
        }
    }
}

/// Paces by tier and stir.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Paces([[u8; 3]; 3]);

/// Pace of what is told in every tick.
pub(super) const EVERY_TICK: u8 = DUE;

impl Paces {
    /// For a tick rate; the far tier gets one part in `far_every` of its pace.
    pub(super) fn new(rate: TickRate, far_every: u8) -> Self {
        let pace = |hz: u32| {
            let pace = (u32::from(DUE) * hz + u32::from(rate.hz()) / 2) / u32::from(rate.hz());
            pace.clamp(1, DUE.into()) as u8
        };
        let (middle, far, still) = (pace(MIDDLE_HZ), pace(FAR_HZ), pace(STILL_HZ));
        let shed = |pace: u8| (pace / far_every.max(1)).max(1);
        // Still, moving, engaged. Who fights counts as one tier nearer.
        Self([
            [still, EVERY_TICK, EVERY_TICK],
            [still, middle, EVERY_TICK],
            [shed(still), shed(far), shed(middle)],
        ])
    }

    /// The pace of an entity.
    #[inline]
    pub(super) fn of(&self, tier: Tier, stir: Stir) -> u8 {
        self.0[tier as usize][stir as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Per second, of what changes in every tick.
    fn hz(rate: TickRate, pace: u8) -> f64 {
        f64::from(rate.hz()) * f64::from(pace) / f64::from(DUE)
    }

    #[test]
    fn paces_are_those_of_the_document_at_every_tick_rate() {
        for rate in [30, 60, 120].map(|hz| TickRate::from_hz(hz).expect("a tick rate")) {
            let paces = Paces::new(rate, 1);
            let of = |tier, stir| hz(rate, paces.of(tier, stir));
            assert_eq!(of(Tier::Near, Stir::Moving), f64::from(rate.hz()));
            assert_eq!(of(Tier::Middle, Stir::Moving), 30.0);
            assert!((17.0..=19.0).contains(&of(Tier::Far, Stir::Moving)), "{rate:?}");
            for tier in [Tier::Near, Tier::Middle, Tier::Far] {
                assert!((5.0..=8.0).contains(&of(tier, Stir::Still)), "{rate:?}, {tier:?}");
                assert!(of(tier, Stir::Engaged) >= of(tier, Stir::Moving));
            }
        }
    }

    #[test]
    fn shedding_slows_the_far_tier_alone() {
        let rate = TickRate::DEFAULT;
        let (full, shed) = (Paces::new(rate, 1), Paces::new(rate, 3));
        assert_eq!(shed.0[..2], full.0[..2]);
        assert_eq!(shed.of(Tier::Far, Stir::Moving), full.of(Tier::Far, Stir::Moving) / 3);
    }

    #[test]
    fn tiers_are_thirds_of_the_radius() {
        let tier = |distance: f32| Tier::of(distance * distance, 90.0 * 90.0);
        assert_eq!([0.0, 29.0, 31.0, 59.0, 61.0, 99.0].map(tier), {
            use Tier::{Far, Middle, Near};
            [Near, Near, Middle, Middle, Far, Far]
        });
    }
}
