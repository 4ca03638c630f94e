//! The target `snapshot`: see `src/snapshot.rs`. Run by cargo-fuzz.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidelock_fuzz::snapshot::run(data));
