//! Bots: thousands of clients on one thread and one socket, each a real session with its own keys,
//! sending on an open-loop schedule and checking every snapshot.
//!
//! Owns: when bots join, move, send and leave, and what they measure. Never touches a server's
//! state: it speaks the protocol like any client. Called by `demo` and by the `loadgen` package.
//!
//! | file | what it owns |
//! |---|---|
//! | `schedule` | when which bot sends |
//! | `profile` | how bots move |
//! | `addressing` | whose address, turn and datagram is whose |
//! | `engine` | the loop of one thread |
//! | `board`, `crew` | the threads, and what they are told and tell |
//! | `laps` | a run cut into parts, each with its own figures |
//! | `totals` | what is counted |
//! | `conduct`, `table` | a whole run, and its report |

mod addressing;
mod board;
mod conduct;
mod crew;
mod engine;
mod laps;
mod profile;
mod schedule;
mod table;
mod totals;

pub use addressing::PER_ADDRESS_MAX;
pub use board::{Live, Stage};
pub use conduct::{AskServer, Conducted, Moment, Plan, Progress, conduct};
pub use crew::{Crew, SwarmReport};
pub use laps::Lap;
pub use profile::{Profile, Walk};
pub use schedule::{Due, Schedule};
pub use table::{live_line, table};
pub use totals::Totals;

use crate::crypto::integrity::KeyTable;
use crate::keys::BackendKeys;
use crate::limits::PLAINTEXT_MAX;
use std::net::SocketAddr;
use std::sync::Arc;

/// What a swarm does.
#[derive(Clone, Debug)]
pub struct SwarmConfig {
    /// The server. On 127/8 every bot has an address of its own, see `per_address`; else all share
    /// one.
    pub server: SocketAddr,
    /// Mints the bots' tokens.
    pub keys: BackendKeys,
    /// Bots.
    pub players: u32,
    /// Player id of the first bot; the others follow.
    pub first_player: u64,
    /// Inputs of one bot per second.
    pub rate: u32,
    /// How they move.
    pub profile: Profile,
    /// Decides where they start and how they walk.
    pub seed: u64,
    /// Bots that begin to join per second, all threads together.
    pub connects_per_s: u32,
    /// Bots that may share an address on 127/8, 1 to [`PER_ADDRESS_MAX`]. Those that do send all
    /// their inputs in one system call, which the server cannot tell and the generator can.
    pub per_address: u32,
    /// Seconds after which a bot goes on from another address, again and again; 0 = never. On 127/8
    /// only.
    pub rebind_every_s: u32,
    /// Bytes of plaintext a snapshot's packet may have; more is a fault of the server.
    pub budget: usize,
    /// The integrity keys of the bots' build, if they have one: what the server asks, they answer.
    pub integrity: Option<Arc<KeyTable>>,
}

impl SwarmConfig {
    /// `players` bots with the usual habits.
    pub fn new(server: SocketAddr, keys: BackendKeys, players: u32) -> Self {
        Self {
            server,
            keys,
            players,
            first_player: 1,
            rate: 60,
            per_address: 1,
            profile: Profile::Uniform,
            seed: 1,
            connects_per_s: 800,
            rebind_every_s: 0,
            budget: PLAINTEXT_MAX,
            integrity: None,
        }
    }
}
