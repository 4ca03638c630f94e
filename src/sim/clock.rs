//! Simulated time: one clock of the world, and the clocks of hosts, which start when their server
//! does. Called by `host` and `universe`; time passes only where `universe` says so.

use crate::shard::Timer;
use crate::time::Nanos;
use std::cell::Cell;
use std::rc::Rc;

/// Unix time at which every simulation begins, milliseconds.
pub(crate) const EPOCH_MS: u64 = 1_800_000_000_000;

/// The time of the world. Copies agree.
#[derive(Clone, Debug, Default)]
pub(crate) struct WorldClock {
    now: Rc<Cell<Nanos>>,
    /// How far the server's idea of the date is from the world's, milliseconds.
    wrong_ms: Rc<Cell<i64>>,
}

impl WorldClock {
    /// Time since the simulation began.
    pub(crate) fn now(&self) -> Nanos {
        self.now.get()
    }

    /// Lets time pass.
    pub(crate) fn set(&self, now: Nanos) {
        debug_assert!(now >= self.now.get(), "time goes on");
        self.now.set(now);
    }

    /// The date, as backend and players have it.
    pub(crate) fn unix_ms(&self) -> u64 {
        EPOCH_MS + self.now().as_ms()
    }

    /// Sets the server's date wrong by so much.
    pub(crate) fn step_date(&self, wrong_ms: i64) {
        self.wrong_ms.set(wrong_ms);
    }

    /// The date, as the server has it.
    pub(crate) fn server_unix_ms(&self) -> u64 {
        self.unix_ms().saturating_add_signed(self.wrong_ms.get())
    }

    /// The clock of a host that starts now.
    pub(crate) fn host(&self) -> HostClock {
        HostClock { world: self.clone(), origin: self.now() }
    }
}

/// The clocks of a server: what threads read in production.
#[derive(Clone, Debug)]
pub(crate) struct HostClock {
    pub(crate) world: WorldClock,
    origin: Nanos,
}

impl Timer for HostClock {
    fn now(&self) -> Nanos {
        self.world.now().since(self.origin)
    }

    /// Work takes no time here.
    fn cpu_ns(&self) -> u64 {
        0
    }
}
