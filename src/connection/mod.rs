//! Established sessions of one shard. Owns what a session is; never names the world. Called by the
//! shard, which gets each new session from the gate.

mod admission;

pub use admission::{Admission, AdmissionError, CloseReason};
