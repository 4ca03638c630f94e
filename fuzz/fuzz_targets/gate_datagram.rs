//! The target `gate_datagram`: see `src/gate_datagram.rs`. Run by cargo-fuzz.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tidelock_fuzz::gate_datagram::run(data));
