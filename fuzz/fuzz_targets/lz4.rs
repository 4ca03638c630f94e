//! The target `lz4`: see `src/lz4.rs`. Run by cargo-fuzz.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidelock_fuzz::lz4::run(data));
