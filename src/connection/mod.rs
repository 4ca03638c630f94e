//! Established sessions of one shard: from datagrams to events, from payloads to datagrams.
//!
//! Owns: the table of sessions, the checks and their order, acknowledgment, congestion, liveness,
//! new keys, caps, violations. Sans-IO: reads no clock, no random source, no socket; `now` and
//! secrets are arguments. Never names the world. Called by the shard, which hands in datagrams and
//! the `Sink` that receives their meaning.
//!
//! Contract, in the order of a tick:
//!
//! - For received datagrams: `handle_datagram`, or a `Batch` through `admit_batch`, `open_batch`
//!   and `decode_batch` (the same checks, and the phases can be timed).
//! - After the tick, per session that `has_entered`: `begin`, messages, `seal`.
//! - What must arrive, at any time: `send_reliable`; the next calls of `poll_control` send it.
//! - Then `supply_secrets`, and `poll_control` until it returns `None`.
//! - Between two ticks, a session may go to another table: `hand_over` there, `take_over` here.
//!
//! What a peer gets wrong is counted and never answered, logged or asserted; before a packet has
//! opened it changes nothing but counters.

mod acks;
mod admission;
mod admit;
mod batch;
mod benchmark;
mod budgets;
mod caps;
mod congestion;
mod decode;
mod delivery;
mod endpoint;
mod handover;
mod integrity;
mod liveness;
mod open;
mod path;
mod rekey;
mod rules;
mod seal;
mod table;
#[cfg(test)]
mod tests;
mod tickets;
mod violations;

pub use crate::reliable::SendError;
pub use admission::{Admission, AdmissionError, CloseReason};
pub use admit::{Admitted, check_form};
pub use batch::Batch;
pub use congestion::{BudgetRange, PathState};
pub use decode::Sink;
pub use handover::HandedOver;
pub use integrity::IntegrityPace;
pub use liveness::Transmit;
pub use open::Opened;
pub use rekey::RekeyPolicy;
pub use rules::{ClientRates, MessageBudgets, Rules, Scores};
pub use seal::Begun;
pub use table::{Sessions, SessionsConfig, Slot};
pub use violations::{Scorer, Scorers, Violations};
