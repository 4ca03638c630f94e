//! Bytes that only the game understands, to and from its players: they arrive, and once.
//!
//! Owns: who is told what players sent. Never looks into the bytes and keeps none of them:
//! `reliable` does until they are delivered. Called by `ingress`, and by the game between ticks.

use super::Shard;
use crate::connection::SendError;
use crate::time::Nanos;
use crate::units::EntityId;
use crate::wire::{Channel, to_client};

/// Is told what a player has sent the game: whose entity that is, the channel (on 1 everything
/// comes in order), and the bytes, which are lent. Called on the shard's thread, before the tick,
/// and must not wait there.
pub type Listener = Box<dyn FnMut(EntityId, Channel, &[u8]) + Send>;

impl Shard {
    /// From now on `listener` is told what the players of this shard send the game. Without one,
    /// everything is received and forgotten. To be called on every shard, also on one that took a
    /// lost one's place.
    pub fn listen(&mut self, listener: Listener) {
        self.listener = Some(listener);
    }

    /// Gives the player with this entity bytes that must arrive, once: on channel 1 in the order of
    /// these calls, on channel 2 in any. Up to 65,531 bytes; long ones are compressed if that makes
    /// them shorter. What has not arrived when the session ends is lost. Returns the message id.
    ///
    /// # Errors
    /// Nothing was taken over: `NoSession` if nobody plays that entity on this shard, `Opening` at
    /// first, while reliable delivery is being negotiated.
    pub fn send_game_data(
        &mut self,
        entity: EntityId,
        channel: Channel,
        body: &[u8],
        now: Nanos,
    ) -> Result<u16, SendError> {
        let slot = self.players.owner_of(entity).ok_or(SendError::NoSession)?;
        self.sessions.send_reliable(slot, channel, to_client::GAME_DATA, body, now)
    }
}
