//! The target `reassembler`: see `src/reassembler.rs`. Run by cargo-fuzz.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidelock_fuzz::reassembler::run(data));
