//! Reads clocks. Everything below the net layer gets the result as an argument.

use crate::time::Nanos;
use rustix::time::{ClockId, Timespec, clock_gettime};
use std::time::{SystemTime, UNIX_EPOCH};

/// The monotonic clock of one server, zero at its construction. Copies agree.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin_ns: u64,
}

impl Clock {
    /// Starts counting now.
    pub fn start() -> Self {
        Self { origin_ns: monotonic_ns() }
    }

    /// Time since the start.
    #[inline]
    pub fn now(&self) -> Nanos {
        Nanos(monotonic_ns() - self.origin_ns)
    }
}

/// CPU time of the calling thread, nanoseconds.
pub fn thread_cpu_ns() -> u64 {
    to_ns(clock_gettime(ClockId::ThreadCPUTime))
}

/// CPU time of the whole process, nanoseconds.
pub fn process_cpu_ns() -> u64 {
    to_ns(clock_gettime(ClockId::ProcessCPUTime))
}

/// Milliseconds since 1970. Only for expiry dates of tokens and file names, never for intervals.
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("the system clock stands before 1970; set it").as_millis() as u64
}

#[inline]
fn monotonic_ns() -> u64 {
    to_ns(clock_gettime(ClockId::Monotonic))
}

#[inline]
fn to_ns(time: Timespec) -> u64 {
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_advance_and_cpu_time_counts_only_work() {
        let clock = Clock::start();
        let (wall, cpu) = (clock.now(), thread_cpu_ns());
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert!(clock.now().since(wall) >= Nanos::from_ms(20));
        assert!(thread_cpu_ns() - cpu < 20_000_000, "sleeping is not work");
        assert!(process_cpu_ns() > 0);
        assert!(unix_ms() > 1_700_000_000_000);
    }
}
