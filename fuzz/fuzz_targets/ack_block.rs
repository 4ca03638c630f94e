//! The target `ack_block`: see `src/ack_block.rs`. Run by cargo-fuzz.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidelock_fuzz::ack_block::run(data));
