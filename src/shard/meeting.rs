//! Waiting for the other shards: a brief spin, then sleep until the last one wakes the others.
//!
//! The exchange knows whether all have arrived and waits for nobody; this is the waiting. A shard
//! that sleeps says so before it looks a last time, and who arrives last looks for sleepers after
//! its arrival: one of the two sees the other, so nobody sleeps through a meeting.

use super::laps::Timer;
use crate::exchange::{Meeting, Member};
use crate::time::Nanos;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

/// Longest sleep without a look, in case whoever should wake us died before it could.
const LOOK: Duration = Duration::from_millis(20);

/// Who sleeps at the meeting, by place among the members.
#[derive(Debug)]
pub struct Waiters(Box<[Waiter]>);

#[derive(Debug, Default)]
struct Waiter {
    asleep: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Waiters {
    /// For `members` members.
    pub fn new(members: usize) -> Self {
        Self((0..members).map(|_| Waiter::default()).collect())
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
        let waiter = &self.0[member.place()];
        waiter.thread.get_or_init(thread::current);
        waiter.asleep.store(true, Ordering::SeqCst);
        let meeting = loop {
            match member.poll() {
                Meeting::Waiting => thread::park_timeout(LOOK),
                meeting => break meeting,
            }
        };
        waiter.asleep.store(false, Ordering::Relaxed);
        meeting
    }

    /// Wakes all who sleep: everybody has arrived, or the exchange was closed.
    pub fn wake(&self) {
        for waiter in &self.0 {
            if waiter.asleep.load(Ordering::SeqCst)
                && let Some(thread) = waiter.thread.get()
            {
                thread.unpark();
            }
        }
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
