//! What a running server tells about itself: the phases, the counters, the histograms.
//!
//! Recording never allocates, locks or reads a clock; durations are arguments.

mod counters;
mod histograms;
mod latency;
mod phase;

pub use counters::{Counter, Counters, DropReason};
pub use histograms::{Histograms, Quantiles};
pub use latency::Latency;
pub use phase::Phase;
