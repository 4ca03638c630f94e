//! The client's half of the protocol, and what a game needs on top of it.
//!
//! [`Client`] owns: joining, sealing and opening, acknowledging, applying snapshots, sending
//! inputs. One is small (about 12 KiB with 50 entities in sight), as a load generator holds
//! thousands of them, and allocates nothing once the number of visible entities has settled.
//! Beside it stand what the program feeds and bots do without: [`Prediction`] of the own player,
//! [`ServerClock`], [`Interpolation`] of the others, and the [`Overlay`] that shows figures of all.
//! Nothing here reads a clock, a random source or a socket. Called by `swarm`, by tests and by
//! `examples/client.rs`, which shows all of it at work.
//!
//! Law of acknowledgment: a packet is acknowledged only after it was processed. A snapshot that was
//! discarded is not, so the server never builds on a state that this client does not have.

mod acks;
mod attempt;
mod clock;
mod closing;
mod delivery;
mod error;
mod event;
mod history;
mod identity;
mod interpolation;
mod machine;
mod overlay;
mod prediction;
mod rekey;
mod resumption;
mod session;
mod smoothing;
mod snapshot;
mod statistics;
#[cfg(test)]
mod tests;
mod updates;
mod world;

pub use crate::reliable::SendError;
pub use acks::Rtt;
pub use attempt::{Denied, Ticket};
pub use clock::{DELAY_MAX_MS, DELAY_TICKS, ServerClock};
pub use closing::CloseReason;
pub use delivery::GameData;
pub use error::ClientError;
pub use event::{Event, State};
pub use interpolation::{AHEAD_MS, Drawn, Interpolation, LAG_MS, Pose};
pub use machine::Client;
pub use overlay::{Figures, Overlay};
pub use prediction::{Correction, PENDING_MAX, Prediction};
pub use smoothing::{FADE_MS, TELEPORT_CM};
pub use snapshot::{Applied, Breach, Scratch};
pub use statistics::Statistics;
pub use updates::Echo;
pub use world::{Seen, WorldView};

/// Whoever can ask the processor for memory that will be needed soon. A load generator knows which
/// of its thousands of clients come next; what they hold does not fit any cache.
pub trait Hint {
    /// Asks for the cache lines of `values`.
    fn soon<T>(&self, values: &[T]);
}
