//! The target `noise_message`: see `src/noise_message.rs`. Run by cargo-fuzz.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidelock_fuzz::noise_message::run(data));
