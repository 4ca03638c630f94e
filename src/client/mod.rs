//! The client's half of the protocol.
mod acks;
mod history;
