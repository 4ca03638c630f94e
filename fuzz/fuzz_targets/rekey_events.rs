//! The target `rekey_events`: see `src/rekey_events.rs`. Run by cargo-fuzz.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidelock_fuzz::rekey_events::run(data));
