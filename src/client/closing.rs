//! Why a client is gone, what its player is told, and whether it may come back.
//!
//! Owns: the words for it. Never ends anything. Called by `machine`.

use crate::wire::{DisconnectReason, Status};

/// Why a client is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// It left on its own account.
    Left,
    /// The server refused it, authenticated.
    Refused(Status),
    /// The server ended the session.
    Disconnected(DisconnectReason),
    /// Nothing was received for 15 s, or what must arrive did not.
    TimedOut,
    /// The server never asked for new keys, and the old ones have served as long as they may.
    WornOut,
}

impl CloseReason {
    /// A sentence for the player.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Left => DisconnectReason::Left.text(),
            Self::Refused(status) => status.text(),
            Self::Disconnected(reason) => reason.text(),
            Self::TimedOut => "The server does not answer.",
            Self::WornOut => DisconnectReason::Exhausted.text(),
        }
    }

    /// Whether a client may want to come back with its ticket: nobody said goodbye, and nobody was
    /// thrown out.
    pub const fn may_resume(self) -> bool {
        match self {
            Self::TimedOut | Self::WornOut => true,
            Self::Left | Self::Refused(_) => false,
            Self::Disconnected(reason) => reason.may_resume(),
        }
    }
}
