//! Bots.
mod profile;
mod schedule;
pub use profile::Profile;
