//! The target `token`: see `src/token.rs`. Run by cargo-fuzz.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidelock_fuzz::token::run(data));
