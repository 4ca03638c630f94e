//! Why a gate does not answer a Connect with a session, in a packet that proves nothing.
//!
//! Owns: the reasons, their numbers and texts. Never decides anything. Called by `gate` and
//! `client`.

/// Reason of a Denied packet. 1..=5 mean what the same numbers mean in `Status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Denial {
    /// No free slot.
    Full = 1,
    /// The account may not play.
    Banned,
    /// The client's build does not fit this server.
    Build,
    /// A newer session of the same player exists.
    Replaced,
    /// The server takes no players now.
    Maintenance,
    /// More handshakes than the server has time or room for at the moment.
    Busy,
    /// The token is not good any more; the backend has a fresh one.
    TokenExpired,
    /// The token was used, or is in use from another address; the backend has a fresh one.
    TokenUsed,
}

impl Denial {
    /// All of them in the order of their wire numbers, which start at 1.
    pub const ALL: [Self; 8] = [
        Self::Full,
        Self::Banned,
        Self::Build,
        Self::Replaced,
        Self::Maintenance,
        Self::Busy,
        Self::TokenExpired,
        Self::TokenUsed,
    ];

    /// The reason with this wire number.
    pub fn from_wire(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }

    /// The word used in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Banned => "banned",
            Self::Build => "build",
            Self::Replaced => "replaced",
            Self::Maintenance => "maintenance",
            Self::Busy => "busy",
            Self::TokenExpired => "token_expired",
            Self::TokenUsed => "token_used",
        }
    }

    /// A sentence for the player.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Full => "The server is full.",
            Self::Banned => "This account may not play here.",
            Self::Build => "The game is out of date; install the update.",
            Self::Replaced => "The same account plays from somewhere else.",
            Self::Maintenance => "The server is closed for maintenance.",
            Self::Busy => "The server is busy; trying again.",
            Self::TokenExpired => "The login has expired; log in again.",
            Self::TokenUsed => "The login has been used already; log in again.",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    #[test]
    fn reasons_have_the_numbers_and_texts_of_the_status_they_share() {
        for (number, reason) in (1..).zip(Denial::ALL) {
            assert_eq!((reason as u8, Denial::from_wire(number)), (number, Some(reason)));
            if let Some(status) = Status::from_wire(number) {
                assert_eq!((status.name(), status.text()), (reason.name(), reason.text()));
            }
        }
        assert_eq!((Denial::from_wire(0), Denial::from_wire(9)), (None, None));
    }
}
