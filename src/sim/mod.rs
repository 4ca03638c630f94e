//! The whole server from one seed: gate, shards, clients, clock, network and disk in one thread,
//! without sockets and without real time; the same code as in production below
//! [`crate::net::Port`].
//!
//! A seed draws a [`Plan`]: which faults are on and how strong. [`run`] plays it: a storm in which
//! they strike, then fair weather in which everything has to come right again. After every tick the
//! checks look from outside at what must always hold. The same seed gives the same world, to the
//! bit. Called by `src/bin/sim.rs` and by tests; described in docs/SIMULATION.md.

mod calm;
mod checks;
mod clock;
mod correspond;
mod dice;
mod host;
mod hostile;
mod mishaps;
mod network;
mod plan;
mod player;
mod port;
mod seeds;
mod settings;
mod sometimes;
mod thief;
mod truth;
mod universe;

pub use checks::Violation;
pub use hostile::Conduct;
pub use plan::{FAULTS, Mishaps, Plan, STORM_TICKS, Weather};
pub use port::{Parcel, SimPort};
pub use seeds::{KeptSeed, minimise};
pub use sometimes::Sometimes;
pub use truth::{Being, DOUBT, Truth};

use universe::Universe;

/// How a simulation went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What was played.
    pub plan: Plan,
    /// What must never be and was, if anything: the first of it, at which the simulation ended.
    pub violation: Option<Violation>,
    /// Fingerprint of everything that was published and sent, tick by tick.
    pub hash: u64,
    /// Ticks played, storm and calm.
    pub ticks: u64,
    /// What came about, and how often.
    pub sometimes: Sometimes,
}

/// Plays the plan of `seed`; `storm_ticks` is how long the faults go on, if not as long as usual.
pub fn run(seed: u64, storm_ticks: Option<u64>) -> Outcome {
    play(Plan::draw(seed, storm_ticks))
}

/// Plays a plan.
pub fn play(plan: Plan) -> Outcome {
    Universe::new(plan).play()
}
