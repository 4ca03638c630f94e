//! The machine under the server: clocks, cores, memory, randomness. The only door to them.

pub mod clock;
pub mod cores;
pub mod cpu;
pub mod entropy;
pub mod facts;
