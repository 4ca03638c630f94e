//! Tidelock: an authoritative game server for very many players in one world.
//!
//! A datagram passes thirteen phases, and the same thirteen words name files, metrics, benchmarks
//! and documents (see [`metrics::Phase`]):
//!
//! | ingress, as batches arrive | tick: only here does the world change | egress, after the tick |
//! |---|---|---|
//! | receive → admit → open → decode | apply → move → quantize → index | select → diff → encode → seal → send |
//!
//! Modules that no fuzz target reaches are left out of fuzz builds, for which every gate waits.
#![deny(unsafe_code)]

#[cfg(not(fuzzing))]
pub mod admin;
#[cfg(not(fuzzing))]
pub mod cli;
pub mod client;
pub mod config;
pub mod connection;
pub mod crypto;
#[cfg(not(fuzzing))]
pub mod demo;
pub mod exchange;
pub mod gate;
pub mod host;
pub mod kernel;
pub mod keys;
pub mod limits;
pub mod metrics;
pub mod net;
pub mod reliable;
pub mod replicate;
#[cfg(not(fuzzing))]
pub mod report;
#[cfg(not(fuzzing))]
pub mod server;
#[cfg(not(fuzzing))]
pub mod shard;
#[cfg(not(fuzzing))]
pub mod sim;
pub mod state;
#[cfg(not(fuzzing))]
pub mod swarm;
pub mod time;
pub mod units;
pub mod wire;
pub mod world;
