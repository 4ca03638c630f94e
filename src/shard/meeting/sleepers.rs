//! Who sleeps, and how nobody sleeps through what he waits for. Without a clock; called by
//! `meeting`, which knows what is waited for.
//!
//! Who is about to sleep says so, then looks a last time; who brings about what is waited for looks
//! for sleepers afterwards. Between saying and looking both have a fence that all threads see in
//! one order: so one of the two sees the other.
//!
//! Names what it is made of through `super::sync`, so that `tests/exchange_protocol.rs` can run
//! every interleaving of the same lines.

use super::sync::{AtomicBool, OnceLock, Ordering, Thread, current, fence};

/// Those who may sleep, each at its place. A place belongs to the first thread that sleeps there.
#[derive(Debug)]
pub(super) struct Sleepers(Box<[Sleeper]>);

#[derive(Debug)]
struct Sleeper {
    asleep: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Sleepers {
    pub(super) fn new(places: usize) -> Self {
        let sleeper = |_| Sleeper { asleep: AtomicBool::new(false), thread: OnceLock::new() };
        Self((0..places).map(sleeper).collect())
    }

    /// Calls `park` until `look` finds something.
    pub(super) fn sleep<T>(
        &self,
        place: usize,
        mut look: impl FnMut() -> Option<T>,
        park: impl Fn(),
    ) -> T {
        let sleeper = &self.0[place];
        sleeper.thread.get_or_init(current);
        // Release: whoever finds us asleep finds our thread.
        sleeper.asleep.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
        let found = loop {
            match look() {
                Some(found) => break found,
                None => park(),
            }
        };
        sleeper.asleep.store(false, Ordering::Relaxed);
        found
    }

    /// Wakes all who sleep, after what they wait for has come about.
    pub(super) fn wake(&self) {
        fence(Ordering::SeqCst);
        for sleeper in &self.0 {
            if sleeper.asleep.load(Ordering::Acquire)
                && let Some(thread) = sleeper.thread.get()
            {
                thread.unpark();
            }
        }
    }
}
