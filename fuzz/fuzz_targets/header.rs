//! The target `header`: see `src/header.rs`. Run by cargo-fuzz.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidelock_fuzz::header::run(data));
