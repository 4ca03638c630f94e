//! Bots: thousands of clients on one thread and one socket, sending on an open-loop schedule.
mod profile;
mod schedule;
pub use profile::{Profile, Step, Walk};
pub use schedule::{Due, Schedule};
