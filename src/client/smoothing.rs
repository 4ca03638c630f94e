//! What is shown of an error: it is there at once and gone 100 ms later.
//!
//! A correction moves what is computed at once. What is drawn keeps the difference as an offset,
//! which fades. Called by `prediction` for the own player and by `interpolation` for the others.

use crate::units::TickRate;

/// Time in which a difference fades, milliseconds.
pub const FADE_MS: u64 = 100;
/// A difference of more centimetres is a teleport: it is shown at once.
pub const TELEPORT_CM: f32 = 500.0;

/// A difference between what is drawn and what is known, fading.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Offset {
    /// Centimetres, at the time `since`.
    value: [f32; 3],
    /// In ticks.
    since: f64,
}

impl Offset {
    pub(super) const NONE: Self = Self { value: [0.0; 3], since: 0.0 };

    /// What is left of it at the time `at`, in ticks.
    pub(super) fn at(&self, at: f64, rate: TickRate) -> [f32; 3] {
        let fade = f64::from(rate.ticks_in_ms(FADE_MS));
        let left = (1.0 - (at - self.since) / fade).clamp(0.0, 1.0) as f32;
        self.value.map(|component| component * left)
    }

    /// At the time `at`, in ticks, what is known goes from `before` to `after`: nothing that is
    /// drawn moves, unless it is too far.
    pub(super) fn absorb(&mut self, before: [f32; 3], after: [f32; 3], at: f64, rate: TickRate) {
        let left = self.at(at, rate);
        let value = std::array::from_fn(|axis| left[axis] + before[axis] - after[axis]);
        // A NaN is no distance that could be shown either.
        let shown = length(value) <= TELEPORT_CM;
        *self = Self { value: if shown { value } else { [0.0; 3] }, since: at };
    }
}

/// Length of a vector.
pub(super) fn length(vector: [f32; 3]) -> f32 {
    vector.iter().map(|component| component * component).sum::<f32>().sqrt()
}

/// Distance of two places.
pub(super) fn distance(a: [f32; 3], b: [f32; 3]) -> f32 {
    length(std::array::from_fn(|axis| a[axis] - b[axis]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: TickRate = TickRate::DEFAULT;

    #[test]
    fn what_is_drawn_does_not_move_at_once_and_arrives_within_the_time() {
        let mut offset = Offset::default();
        offset.absorb([60.0, 0.0, 0.0], [0.0; 3], 10.0, RATE);
        let shown: Vec<_> = (0..9).map(|n| offset.at(10.0 + f64::from(n), RATE)[0]).collect();
        assert_eq!(shown[0], 60.0);
        assert!(shown.windows(2).all(|two| two[0] - two[1] < 10.1), "no jump: {shown:?}");
        assert_eq!(shown[6..], [0.0; 3]);
        assert_eq!(offset.at(9.0, RATE)[0], 60.0, "a frame drawn late is no reason to overshoot");
    }

    #[test]
    fn differences_add_up_and_a_teleport_is_none() {
        let mut offset = Offset::default();
        offset.absorb([60.0, 0.0, 0.0], [0.0; 3], 10.0, RATE);
        offset.absorb([0.0; 3], [0.0, 8.0, 0.0], 13.0, RATE);
        assert_eq!(offset.at(13.0, RATE), [30.0, -8.0, 0.0]);
        offset.absorb([0.0; 3], [TELEPORT_CM * 2.0, 0.0, 0.0], 14.0, RATE);
        assert_eq!(offset.at(14.0, RATE), [0.0; 3]);
        offset.absorb([f32::NAN; 3], [0.0; 3], 14.0, RATE);
        assert_eq!(offset.at(14.0, RATE), [0.0; 3]);
    }
}
