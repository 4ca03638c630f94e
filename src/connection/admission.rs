//! The order by which the gate hands a new session to a shard, and the words for how one ends.
//!
//! Never decides who is admitted: the gate has done that. Called by `gate` to fill and by the shard
//! to pass on.

use crate::crypto::integrity::Examiner;
use crate::crypto::schedule::Root;
use crate::time::Nanos;
use crate::units::EntityId;
use crate::wire::{ConnectionId, DisconnectReason};
use std::net::SocketAddr;
use zeroize::Zeroize;

/// Everything a shard needs to serve a session whose handshake succeeded. The keys are erased when
/// it is dropped.
pub struct Admission {
    /// Names the shard's socket, the slot and its generation.
    pub id: ConnectionId,
    /// Where the client is, proven by its cookie.
    pub address: SocketAddr,
    /// Who the client is, proven by its token.
    pub player: u64,
    /// Opens the client's packets, epoch 0.
    pub client_to_server: [u8; 32],
    /// Seals the packets to the client, epoch 0.
    pub server_to_client: [u8; 32],
    /// What it takes to ask for the keys of the client's build, if there are any.
    pub examiner: Option<Examiner>,
    /// What the keys of later epochs are made from, and those two were.
    pub root: Root,
    /// Where the backend wants the player to appear: x, y, z in centimetres.
    pub spawn: Option<[i32; 3]>,
    /// The entity that the player will be.
    pub entity: EntityId,
    /// Its row in the published columns, which the shard owns from now on.
    pub seat: u32,
    /// The player has this entity on this shard already: another session plays it, or it lingers.
    /// The newcomer takes it over when it has proven itself, and owns nothing until then.
    pub heir: bool,
    /// When the handshake was answered.
    pub accepted_at: Nanos,
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.client_to_server.zeroize();
        self.server_to_client.zeroize();
    }
}

impl std::fmt::Debug for Admission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admission")
            .field("id", &self.id)
            .field("address", &self.address)
            .field("player", &self.player)
            .finish_non_exhaustive()
    }
}

/// Why a shard does not take an admission. The fault of whoever allocates slots, never of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdmissionError {
    /// The id names another socket.
    WrongSocket,
    /// The slot lies beyond the capacity.
    NoSuchSlot,
    /// A session lives in the slot, or packets of one that has moved are forwarded from it.
    SlotTaken,
}

impl std::fmt::Display for AdmissionError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::WrongSocket => "the admission names the socket of another shard",
            Self::NoSuchSlot => "the admission names a slot beyond the capacity of this shard",
            Self::SlotTaken => "the admission names a slot that is still in use",
        })
    }
}

impl std::error::Error for AdmissionError {}

/// Why a session ended without the shard asking for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The client said so.
    Peer(DisconnectReason),
    /// Nothing was received for 15 s.
    TimedOut,
    /// Nothing that proves the keys was received for 5 s.
    Unconfirmed,
    /// The client broke the protocol too often.
    Violation,
    /// A sequence or a key has served as long as it may.
    Exhausted,
    /// A reliable message could not be delivered, in one direction or the other.
    Undelivered,
}

impl CloseReason {
    /// Whether the tickets of the session stay good: its client keeps them.
    pub fn may_resume(self) -> bool {
        match self {
            Self::Peer(reason) => reason.may_resume(),
            Self::TimedOut | Self::Unconfirmed | Self::Exhausted | Self::Undelivered => true,
            Self::Violation => false,
        }
    }

    /// Whether the player may want to come back and finds its entity where it was: nobody said
    /// goodbye, and nobody was thrown out.
    pub fn lingers(self) -> bool {
        match self {
            Self::TimedOut | Self::Exhausted | Self::Undelivered => true,
            Self::Peer(reason) => {
                matches!(reason, DisconnectReason::TimedOut | DisconnectReason::Exhausted)
            }
            Self::Unconfirmed | Self::Violation => false,
        }
    }
}
