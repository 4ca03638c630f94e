//! What entities that only walk did over the last ticks: the differences of their positions to each
//! of the last [`Trail::AGES`] ticks, kept up by one addition per tick.
//!
//! Most entries of a snapshot say that somebody walked on. Their bytes do not depend on the viewer
//! but for the age of the baseline, so the owner of a row makes them for all ages at once and
//! publishes them; everybody copies. `world` keeps a [`Walk`] per row, `replicate` reads the
//! [`Trail`].

use super::lanes::SCALAR;
use crate::state::{QuantizedState, Trail};
use crate::units::Tick;
use wide::i8x16;

/// Differences of one entity, of up to 16 ticks; lane i is to i + 1 ticks ago.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Walk {
    x: [i8; 16],
    y: [i8; 16],
    /// Lanes since which nothing but x and y changed, by a difference that one byte holds.
    valid: u16,
    /// The last tick that was added.
    tick: Tick,
}

/// Differences that one byte of a zigzag varint holds.
const REACH: i32 = 64;

impl Walk {
    /// In `tick` the entity got from `before` to `now`. A tick that was left out ends all that was
    /// known; one that comes twice is the same once.
    #[inline]
    pub fn advance(&mut self, tick: Tick, before: &QuantizedState, now: &QuantizedState) {
        if tick == self.tick {
            return;
        }
        let follows = tick == self.tick.wrapping_add(1);
        self.tick = tick;
        let (dx, dy) = (now.x.wrapping_sub(before.x) as i32, now.y.wrapping_sub(before.y) as i32);
        let is_near = |step: i32| (-REACH..REACH).contains(&step);
        if !follows || differs_elsewhere(before, now) || !is_near(dx) || !is_near(dy) {
            self.valid = 0;
            return;
        }
        let (x, x_near) = add(self.x, dx as i8);
        let (y, y_near) = add(self.y, dy as i8);
        let valid = (self.valid << 1 | 1) & x_near & y_near;
        *self = Self { x, y, valid, tick };
    }

    /// What there is to copy, for an occupant that has had its row since `since`.
    #[inline]
    pub fn trail(&self, since: Tick) -> Trail {
        let (x, y) = (zigzag(self.x), zigzag(self.y));
        let mut trail = Trail { since, ..Trail::NONE };
        for (age, step) in trail.steps.iter_mut().enumerate() {
            *step = [x[age], y[age]];
        }
        // Who came back has nothing to say.
        let ages = (1 << Trail::AGES) - 1;
        trail.valid = (self.valid & !still(self.x, self.y) & ages) << 1;
        trail
    }
}

/// Moves all lanes one tick back and adds `step`; also tells which are within reach.
#[inline]
fn add(lanes: [i8; 16], step: i8) -> ([i8; 16], u16) {
    let older: [i8; 16] = bytemuck::cast(bytemuck::cast::<_, u128>(lanes) << 8);
    if SCALAR {
        let sum = older.map(|value| value.saturating_add(step));
        return (sum, bits(|lane| (-REACH..REACH).contains(&sum[lane].into())));
    }
    // A lane that leaves the reach is not valid any more, so that it may saturate.
    let sum = i8x16::new(older).saturating_add(i8x16::splat(step));
    let (least, most) = (i8x16::splat(-REACH as i8), i8x16::splat((REACH - 1) as i8));
    let near = sum.simd_ge(least) & sum.simd_le(most);
    (sum.to_array(), near.to_bitmask() as u16)
}

/// Every lane as a number without a sign: 0, −1, 1, −2, … become 0, 1, 2, 3, …
#[inline]
fn zigzag(lanes: [i8; 16]) -> [u8; 16] {
    if SCALAR {
        return lanes.map(|value| ((value << 1) ^ (value >> 7)) as u8);
    }
    let value = i8x16::new(lanes);
    let sign = value.simd_lt(i8x16::ZERO);
    bytemuck::cast((value + value) ^ sign)
}

/// Lanes in which both are zero.
#[inline]
fn still(x: [i8; 16], y: [i8; 16]) -> u16 {
    if SCALAR {
        return bits(|lane| x[lane] == 0 && y[lane] == 0);
    }
    let moved = i8x16::new(x) | i8x16::new(y);
    moved.simd_eq(i8x16::ZERO).to_bitmask() as u16
}

/// The lanes of which `is` is true.
fn bits(is: impl Fn(usize) -> bool) -> u16 {
    (0..16).fold(0, |bits, lane| bits | u16::from(is(lane)) << lane)
}

/// Whether anything but x and y differs.
#[inline]
fn differs_elsewhere(before: &QuantizedState, now: &QuantizedState) -> bool {
    let [_, rest @ ..] = bytemuck::cast::<_, [u64; 4]>(*now);
    let [_, old @ ..] = bytemuck::cast::<_, [u64; 4]>(*before);
    rest != old
}

#[cfg(test)]
mod tests {
    use super::super::lanes::samples::Seeded;
    use super::*;
    use crate::state::Trail;

    /// The definition: compare with the state of that tick.
    fn step(history: &[QuantizedState], age: usize) -> Option<[u8; 2]> {
        let now = history.last()?;
        let then = history.len().checked_sub(age + 1).map(|place| history[place])?;
        let quiet = history[history.len() - age - 1..].windows(2);
        let mut far = false;
        for pair in quiet {
            let is_far = |a: u32, b: u32| !(-64..64).contains(&(i64::from(a) - i64::from(b)));
            far |= differs_elsewhere(&pair[0], &pair[1]);
            far |= is_far(pair[1].x, pair[0].x) || is_far(pair[1].y, pair[0].y);
        }
        let zigzag = |now: u32, then: u32| {
            let step = i64::from(now) - i64::from(then);
            (-64..64).contains(&step).then(|| if step < 0 { -2 * step - 1 } else { 2 * step } as u8)
        };
        let step = [zigzag(now.x, then.x)?, zigzag(now.y, then.y)?];
        (!far && step != [0, 0]).then_some(step)
    }

    #[test]
    fn a_trail_says_what_the_states_say_or_nothing() {
        let (mut told, mut possible) = (0, 0);
        for seed in 0..400 {
            let mut random = Seeded(seed);
            let mut state = QuantizedState { x: 200_000, y: 300_000, ..QuantizedState::DEFAULT };
            let (mut walk, mut history) = (Walk::default(), vec![state]);
            let pace = [3, 12, 40, 90][random.below(4) as usize];
            for tick in 1..120 {
                let mut step = || random.below(2 * pace + 1) as u32;
                let (east, north) = (step(), step());
                state.x = state.x + east - pace as u32;
                state.y = state.y + north - pace as u32;
                if random.below(20) == 0 {
                    state.yaw = random.below(4) as u16;
                }
                walk.advance(tick, history.last().expect("the first state"), &state);
                history.push(state);
                let trail = walk.trail(7);
                assert_eq!(trail.since, 7);
                for age in 0..=63 {
                    let expected = step_of(&history, age);
                    let found = trail.step(age as u8);
                    assert!(found.is_none() || found == expected, "seed {seed}, {tick}, age {age}");
                    told += usize::from(found.is_some());
                    possible += usize::from(age <= Trail::AGES && expected.is_some());
                }
            }
        }
        // A lane that was out of reach for a moment is silent although it could speak again.
        assert!(told * 10 > possible * 9, "{told} of {possible}");
    }

    fn step_of(history: &[QuantizedState], age: usize) -> Option<[u8; 2]> {
        if age == 0 { None } else { step(history, age) }
    }
}
