//! Points in time as values. Nothing here reads a clock: `host::clock` does, and passes the result
//! down.

/// Nanoseconds on the server's monotonic clock, counted from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Nanos(pub u64);

impl Nanos {
    /// From milliseconds.
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms * 1_000_000)
    }

    /// From microseconds.
    pub const fn from_us(us: u64) -> Self {
        Self(us * 1_000)
    }

    /// Whole milliseconds.
    pub const fn as_ms(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Whole microseconds.
    pub const fn as_us(self) -> u64 {
        self.0 / 1_000
    }

    /// Time since `earlier`, zero if that lies in the future.
    pub const fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }

    /// This point moved later by `duration`.
    pub const fn plus(self, duration: Self) -> Self {
        Self(self.0.saturating_add(duration.0))
    }
}

/// Where random bytes come from. Production hands in the operating system's generator, the
/// simulator and the tests a seeded one.
pub trait Entropy {
    /// Fills `out` with random bytes.
    fn fill(&mut self, out: &mut [u8]);

    /// `N` random bytes.
    fn bytes<const N: usize>(&mut self) -> [u8; N]
    where
        Self: Sized,
    {
        let mut out = [0; N];
        self.fill(&mut out);
        out
    }
}

/// Allowance of an event that may happen so often per second, with a burst. Integer arithmetic
/// only, so that a replay refuses exactly what the original refused.
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    /// Allowance left, in events times 2^-20.
    level: u64,
    updated: Nanos,
}

const ONE_EVENT: u64 = 1 << 20;

impl TokenBucket {
    /// A full bucket.
    pub const fn full(burst: u32, now: Nanos) -> Self {
        Self { level: burst as u64 * ONE_EVENT, updated: now }
    }

    /// Takes `amount` events at `now` and tells whether they were allowed; a refusal takes nothing.
    pub fn take(&mut self, amount: u32, per_second: u32, burst: u32, now: Nanos) -> bool {
        let elapsed_us = now.since(self.updated).as_us();
        if elapsed_us > 0 {
            // Saturates at 17 million events, beyond every burst; a long silence must not wrap.
            let rate = u64::from(per_second) * ONE_EVENT;
            let earned = elapsed_us.saturating_mul(rate) / 1_000_000;
            self.level = (self.level + earned).min(u64::from(burst) * ONE_EVENT);
            self.updated = self.updated.plus(Nanos::from_us(elapsed_us));
        }
        let cost = u64::from(amount) * ONE_EVENT;
        if self.level < cost {
            return false;
        }
        self.level -= cost;
        true
    }
}

impl TokenBucket {
    /// Whether `take` would allow it; takes nothing.
    pub fn has(&mut self, amount: u32, per_second: u32, burst: u32, now: Nanos) -> bool {
        self.take(0, per_second, burst, now) && self.level >= u64::from(amount) * ONE_EVENT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_allows_its_burst_then_its_rate() {
        let mut bucket = TokenBucket::full(5, Nanos(0));
        assert!((0..5).all(|_| bucket.take(1, 20, 5, Nanos(0))));
        assert!(!bucket.take(1, 20, 5, Nanos(0)));
        let allowed = (1..=1000).filter(|&ms| bucket.take(1, 20, 5, Nanos::from_ms(ms))).count();
        assert!((19..=20).contains(&allowed), "{allowed} in a second at 20 per second");
    }

    #[test]
    fn a_long_silence_fills_a_bucket_of_any_rate_and_no_more() {
        for rate in [1, 20, 50_000, 1 << 16, u32::MAX] {
            let mut bucket = TokenBucket::full(9, Nanos(0));
            assert!(bucket.take(9, rate, 9, Nanos(0)));
            let later = Nanos::from_ms(1_000_000_000);
            assert!(bucket.take(9, rate, 9, later), "{rate}");
            assert!(!bucket.take(1, rate, 9, later), "{rate}");
        }
    }

    #[test]
    fn a_clock_that_steps_back_earns_nothing_and_does_not_panic() {
        let mut bucket = TokenBucket::full(1, Nanos::from_ms(1000));
        assert!(bucket.take(1, 20, 1, Nanos::from_ms(1000)));
        assert!(!bucket.take(1, 20, 1, Nanos::from_ms(10)));
        assert!(!bucket.take(1, 20, 1, Nanos::from_ms(1000)));
        assert!(bucket.take(1, 20, 1, Nanos(u64::MAX)));
    }
}
