//! What a client tells its owner: how far it has come, and what a datagram led to.
//!
//! Only words; what they say is decided in `machine`. Read by `swarm`, games and tests.

use super::attempt::Denied;
use super::closing::CloseReason;
use super::snapshot::Applied;
use super::updates::Echo;
use crate::units::Tick;
use crate::wire::ConnectionId;

/// How far a client has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Waits for the server to accept it.
    Connecting,
    /// Has keys and waits for the proof that the server has them too.
    Confirming,
    /// Has asked for a place in the world.
    Entering,
    /// Has seen its own state.
    InWorld,
    /// Is gone.
    Closed(CloseReason),
}

/// What a datagram led to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    /// Nothing the caller has to know.
    Nothing,
    /// The server refuses for now; not authenticated, the client goes on trying.
    Advice(Denied),
    /// The server accepted.
    Accepted {
        /// Ticks per second.
        tick_hz: u16,
        /// The server's tick when it answered.
        tick: Tick,
    },
    /// Both sides hold the same keys.
    Confirmed,
    /// The session has another id from now on, which the client uses. Packets may still come under
    /// the former one.
    Moved(ConnectionId),
    /// There is a new resume ticket: a program that wants to survive its own end keeps it.
    Ticket,
    /// The server asks for new keys, and repeats that: call `answer_rekey`.
    RekeyRequested,
    /// A snapshot was applied.
    Snapshot(Applied),
    /// The server told the own state of this tick outside a snapshot, and perhaps that of a few
    /// neighbours.
    Updated(Tick),
    /// The server has answered a Benchmark.
    Benchmark(Echo),
    /// A snapshot was older than the newest applied one.
    Stale,
    /// The session ended; `state` says why.
    Closed,
}
