//! The target `replay_window`: see `src/replay_window.rs`. Run by cargo-fuzz.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidelock_fuzz::replay_window::run(data));
