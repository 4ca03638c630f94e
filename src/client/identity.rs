//! The connection ids of a session: the one it has, and the one it had before the server moved it.
//!
//! Owns: which ids a packet may have, and which one is written. Never looks at a key. Called by
//! `session`.

use crate::limits::TIMEOUT_MS;
use crate::time::Nanos;
use crate::wire::ConnectionId;

const TIMEOUT: Nanos = Nanos::from_ms(TIMEOUT_MS);
/// The server has not used the new id yet, so it may use the former one for any time to come.
const OPEN_END: Nanos = Nanos(u64::MAX);

/// What a session is called.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity {
    /// Written into every packet.
    id: ConnectionId,
    /// The id before; the same as `id` if the session was never moved.
    former: ConnectionId,
    /// Until then packets under the former id are accepted.
    former_until: Nanos,
    /// Sequence of the packet that gave the session its id, 0 if the handshake did.
    moved_by: u64,
}

impl Identity {
    pub(super) fn new(id: ConnectionId) -> Self {
        Self { id, former: id, former_until: OPEN_END, moved_by: 0 }
    }

    /// The id to send under.
    pub(super) fn id(&self) -> ConnectionId {
        self.id
    }

    /// Whether a packet under `id` is worth opening at `now`.
    #[inline]
    pub(super) fn accepts(&self, id: ConnectionId, now: Nanos) -> bool {
        id == self.id || (id == self.former && now < self.former_until)
    }

    /// A packet under `id` has opened. The first one under the new id starts the time of the former
    /// one, whose late packets are still to come.
    #[inline]
    pub(super) fn opened(&mut self, id: ConnectionId, now: Nanos) {
        if id == self.id && self.former_until == OPEN_END {
            self.former_until = now.plus(TIMEOUT);
        }
    }

    /// The packet with `sequence` said that the session is `id` now. Tells whether that is news: it
    /// is repeated, and an old one may come late.
    pub(super) fn moved(&mut self, id: ConnectionId, sequence: u64) -> bool {
        if id == self.id || sequence < self.moved_by {
            return false;
        }
        *self = Self { id, former: self.id, former_until: OPEN_END, moved_by: sequence };
        true
    }
}
