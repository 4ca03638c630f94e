//! The target `server_plaintext`: see `src/server_plaintext.rs`. Run by cargo-fuzz.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidelock_fuzz::server_plaintext::run(data));
