//! How much of a pool a session has held of late.
//!
//! Owns: a mean over some seconds. What counts is how much was held for how long, not since when
//! without a break: who gives everything back and takes as much again at once has the same mean as
//! who never lets go, and who sends one long message has next to none. Never ends anybody. Called
//! by [`Endpoint`](super::Endpoint), at the end of whatever changes what is held.

use crate::limits::HOARD_MS;
use crate::time::Nanos;

const WINDOW_US: i64 = HOARD_MS as i64 * 1_000;
/// A block in units of the mean: with less of a fraction, many short steps would count for nothing.
/// No pool has 2^18 blocks, so no product overflows.
const BLOCK: i64 = 1 << 22;

const _: () = assert!(((1_i64 << 18) * BLOCK).checked_mul(WINDOW_US).is_some());

/// Blocks of one half of a pool.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Held {
    /// Blocks since `at`.
    now: u32,
    /// Mean at that time.
    mean: i64,
    at: Nanos,
}

impl Held {
    /// From `now` on it is `blocks`.
    pub(super) fn note(&mut self, blocks: u32, now: Nanos) {
        *self = Self { now: blocks, mean: self.weigh(now), at: self.at.max(now) };
    }

    /// Mean of the last seconds, blocks.
    pub(super) fn mean(&self, now: Nanos) -> u32 {
        (self.weigh(now) / BLOCK) as u32
    }

    fn weigh(&self, now: Nanos) -> i64 {
        let passed_us = (now.since(self.at).as_us() as i64).clamp(0, WINDOW_US);
        self.mean + (i64::from(self.now) * BLOCK - self.mean) * passed_us / WINDOW_US
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean after `ms` milliseconds, when `blocks` tells what is held in each.
    fn after(ms: u64, step_us: usize, blocks: impl Fn(u64) -> u32) -> u32 {
        let mut held = Held::default();
        for us in (0..ms * 1_000).step_by(step_us) {
            held.note(blocks(us / 1_000), Nanos::from_us(us));
        }
        held.mean(Nanos::from_ms(ms))
    }

    #[test]
    fn who_holds_for_long_has_it_all_and_who_sends_one_message_next_to_nothing() {
        let hoards = after(30_000, 8_000, |_| 300);
        assert!((290..=300).contains(&hoards), "{hoards}");
        let sends = after(2_000, 8_000, |ms| if ms < 1_000 { 80 } else { 0 });
        assert!(sends < 10, "{sends}");
        let is_over = after(60_000, 8_000, |ms| if ms < 20_000 { 300 } else { 0 });
        assert!(is_over < 4, "{is_over}");
    }

    #[test]
    fn many_short_steps_count_as_much_as_one_long_one() {
        for step_us in [1, 7, 999, 8_000] {
            let mean = after(1_000, step_us, |_| 300);
            assert!((34..=38).contains(&mean), "{mean} in steps of {step_us} us");
        }
    }

    #[test]
    fn letting_go_for_a_moment_makes_nobody_honest() {
        let rotates = after(30_000, 1_000, |ms| if ms % 500 == 0 { 0 } else { 300 });
        assert!(rotates > 280, "{rotates}");
    }

    #[test]
    fn clocks_that_stand_still_or_leap_do_no_harm() {
        let mut held = Held::default();
        held.note(32_768, Nanos::from_ms(5));
        held.note(32_768, Nanos(0));
        assert_eq!(held.mean(Nanos::from_ms(5)), 0, "no time has passed");
        assert_eq!(held.mean(Nanos(u64::MAX)), 32_768);
    }
}
