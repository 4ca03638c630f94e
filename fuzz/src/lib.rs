//! What the fuzz targets do with the bytes they are given.
//!
//! Each module is one target: `run` takes any bytes and returns, or panics because a promise is
//! broken. Everything goes through the public interface of the crate, as a stranger would. Called
//! by `fuzz_targets/` under libfuzzer, and by `tests/fuzz_corpora.rs`, which replays the committed
//! corpora in every `cargo test`.
//!
//! Where the right bytes cannot be guessed (a checksum, a seal), the input says what to do and the
//! target computes them: bytes are spent on what lies behind the first check.

pub mod ack_block;
mod bytes;
pub mod client_plaintext;
pub mod config;
mod ends;
pub mod gate_datagram;
pub mod header;
mod ledger;
pub mod lz4;
pub mod noise_message;
mod pair;
mod peer;
mod people;
mod random;
pub mod reassembler;
pub mod rekey_events;
pub mod reliable_pair;
pub mod replay_window;
mod server;
pub mod server_plaintext;
pub mod snapshot;
pub mod token;

/// The name of a corpus, and what is done with each input of it.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] = &[
    ("ack_block", ack_block::run),
    ("client_plaintext", client_plaintext::run),
    ("config", config::run),
    ("gate_datagram", gate_datagram::run),
    ("header", header::run),
    ("lz4", lz4::run),
    ("noise_message", noise_message::run),
    ("reassembler", reassembler::run),
    ("rekey_events", rekey_events::run),
    ("reliable_pair", reliable_pair::run),
    ("replay_window", replay_window::run),
    ("server_plaintext", server_plaintext::run),
    ("snapshot", snapshot::run),
    ("token", token::run),
];
