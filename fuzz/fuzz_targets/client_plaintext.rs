//! The target `client_plaintext`: see `src/client_plaintext.rs`. Run by cargo-fuzz.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidelock_fuzz::client_plaintext::run(data));
