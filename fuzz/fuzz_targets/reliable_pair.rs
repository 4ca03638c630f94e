//! The target `reliable_pair`: see `src/reliable_pair.rs`. Run by cargo-fuzz.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidelock_fuzz::reliable_pair::run(data));
