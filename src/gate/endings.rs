//! Sessions that are to end although neither their clients nor the clock said so: for a newer
//! login, a ban, a kick, a lost shard.
//!
//! Owns: which shard is still to be told of whom. A session may be on its way to another shard when
//! the one that it left is told, and a queue may be full. So the reason stays with the session
//! until that is closed; where the session arrives it is told again, and what finds no room waits.
//! Ends nobody itself: the shards do. Called by [`Gate`] and by the thread of socket 0.

use super::Gate;
use crate::wire::{ConnectionId, DisconnectReason};

impl Gate {
    /// The session `id` is to end. The first reason counts.
    pub fn end(&mut self, id: ConnectionId, reason: DisconnectReason) {
        if self.sessions.set_ending(id, reason) {
            self.tell_ending(id, reason);
        }
    }

    /// The session `id` has arrived at another shard: it is told what the one before was.
    pub(super) fn tell_ending(&mut self, id: ConnectionId, reason: DisconnectReason) {
        debug_assert!(id.socket() > 0, "the gate has no sessions");
        self.endings.push_back((id, reason));
    }

    /// The next session whose shard is to be told to end it and `has_room` for the message: the
    /// index of the shard, who, and why.
    pub fn poll_ending(
        &mut self,
        has_room: impl Fn(u8) -> bool,
    ) -> Option<(u8, ConnectionId, DisconnectReason)> {
        let shard_of = |id: ConnectionId| id.socket() - 1;
        let place = self.endings.iter().position(|&(id, _)| has_room(shard_of(id)))?;
        let (id, reason) = self.endings.remove(place)?;
        Some((shard_of(id), id, reason))
    }
}
