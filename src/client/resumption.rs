//! What a client keeps to come back without its backend: the newest resume ticket.
//!
//! Owns: the secret of the next handshake, derived from this session's keys, and the ticket that
//! the server sends for it. Erased on drop. Called by `attempt` and `machine`.

use super::attempt::Ticket;
use super::error::ClientError;
use crate::crypto::erase;
use crate::wire::{PublicToken, read_resume_ticket};

/// A ticket, once the server has sent one.
pub(super) struct Resumption {
    pub(super) protocol_id: u64,
    pub(super) server_public: [u8; 32],
    pub(super) build: u32,
    /// The pre-shared secret of the next handshake.
    pub(super) psk: [u8; 32],
    pub(super) token: Option<PublicToken>,
}

impl Drop for Resumption {
    fn drop(&mut self) {
        erase(&mut self.psk);
    }
}

impl Resumption {
    /// Takes what the server sent, unless it is older than what there is: packets overtake each
    /// other.
    pub(super) fn take(resumption: &mut Option<Box<Self>>, body: &[u8]) -> Result<(), ClientError> {
        let token = read_resume_ticket(body).map_err(|_| ClientError::Message)?;
        if let Some(Self { token: known, .. }) = resumption.as_deref_mut()
            && known.as_ref().is_none_or(|known| token.expiry_s >= known.expiry_s)
        {
            *known = Some(token);
        }
        Ok(())
    }

    /// What a new attempt needs; the caller erases the secret in it.
    pub(super) fn ticket(&self) -> Option<Ticket> {
        let Self { protocol_id, server_public, build, psk, .. } = *self;
        let token = self.token.clone()?;
        Some(Ticket { protocol_id, token, psk, server_public, build })
    }
}
