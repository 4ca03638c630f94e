//! Waiting for the other shards: a brief spin, then sleep until the last one wakes the others.
//!
//! The exchange knows whether all have arrived and waits for nobody; this is the waiting. That
//! nobody sleeps through a meeting is the business of `sleepers`.

mod sleepers;

/// What the sleepers are made of: a model checker has its own.
mod sync {
    pub(super) use std::sync::OnceLock;
    pub(super) use std::sync::atomic::{AtomicBool, Ordering, fence};
    pub(super) use std::thread::{Thread, current};
}

use super::laps::Timer;
use crate::exchange::{Meeting, Member};
use crate::time::Nanos;
use sleepers::Sleepers;
use std::thread;
use std::time::Duration;

/// Longest sleep without a look, in case whoever should wake us died before it could.
const LOOK: Duration = Duration::from_millis(20);

/// Who sleeps at the meeting, by place among the members.
#[derive(Debug)]
pub struct Waiters(Sleepers);

impl Waiters {
    /// For `members` members.
    pub fn new(members: usize) -> Self {
        Self(Sleepers::new(members))
    }

    /// Arrives with `member` and waits for the others, at first for `spin` without sleeping. Never
    /// returns [`Meeting::Waiting`].
    pub fn meet<P>(&self, member: &mut Member<P>, spin: Nanos, timer: &impl Timer) -> Meeting {
        if member.arrive() {
            self.wake();
        }
        let start = timer.now();
        loop {
            let meeting = member.poll();
            if meeting != Meeting::Waiting {
                return meeting;
            }
            if timer.now().since(start) >= spin {
                return self.sleep(member);
            }
            std::hint::spin_loop();
        }
    }

    fn sleep<P>(&self, member: &mut Member<P>) -> Meeting {
        let place = member.place();
        let look = || Some(member.poll()).filter(|meeting| *meeting != Meeting::Waiting);
        self.0.sleep(place, look, || thread::park_timeout(LOOK))
    }

    /// Wakes all who sleep: everybody has arrived, or the exchange was closed.
    pub fn wake(&self) {
        self.0.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::exchange;
    use crate::host::clock::Clock;

    fn together(spin: Nanos) {
        let (_, members) = exchange(3, 1, 0, &());
        let (waiters, clock) = (Waiters::new(3), Clock::start());
        thread::scope(|scope| {
            for mut member in members {
                let waiters = &waiters;
                scope.spawn(move || {
                    for tick in 1..=2_000 {
                        assert_eq!(waiters.meet(&mut member, spin, &clock), Meeting::Met);
                        assert_eq!(member.tick(), tick);
                    }
                });
            }
        });
    }

    #[test]
    fn shards_that_sleep_meet_as_those_that_spin() {
        together(Nanos(0));
        together(Nanos::from_us(5));
    }

    #[test]
    fn closing_wakes_a_sleeper() {
        let (keeper, mut members) = exchange(2, 1, 0, &());
        let waiters = Waiters::new(2);
        let mut member = members.remove(0);
        thread::scope(|scope| {
            let sleeper = scope.spawn(|| waiters.meet(&mut member, Nanos(0), &Clock::start()));
            thread::sleep(Duration::from_millis(2));
            keeper.close();
            waiters.wake();
            assert_eq!(sleeper.join().expect("it does not panic"), Meeting::Closed);
        });
    }
}
