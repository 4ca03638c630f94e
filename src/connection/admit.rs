//! Phase admit: the checks that need no cryptography, in the order that the protocol fixes.
//!
//! Length → header → slot and generation → source address → replay window (peek) → rates (peek) →
//! key epoch. Changes nothing at all: whatever fails here, anybody may have sent. Called by the
//! shard, or by `handle_datagram`, per datagram or batch.

use super::batch::Batch;
use super::endpoint::Endpoint;
use super::table::{Sessions, Slot};
use crate::limits::{DATAGRAM_MAX, DATAGRAM_MIN};
use crate::metrics::{Counters, DropReason};
use crate::time::Nanos;
use crate::wire::{ConnectionId, Flags, Header};
use std::net::SocketAddr;

/// A datagram that is worth opening. Says nothing about who sent it.
#[derive(Clone, Copy, Debug)]
pub struct Admitted {
    pub(super) slot: Slot,
    pub(super) header: Header,
}

impl Sessions {
    /// Decides whether `datagram`, received from `from`, is worth opening.
    ///
    /// # Errors
    /// Why it is to be dropped; the caller counts it.
    #[inline]
    pub fn admit(
        &self,
        now: Nanos,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Result<Admitted, DropReason> {
        if !(DATAGRAM_MIN..=DATAGRAM_MAX).contains(&datagram.len()) {
            return Err(DropReason::Size);
        }
        let header = Header::read(datagram).map_err(|_| DropReason::Header)?;
        let id = header.connection;
        if id == ConnectionId::GATE || id.socket() != self.config.socket_index {
            return Err(DropReason::WrongSocket);
        }
        let ingress =
            self.ingress.get(usize::from(id.slot())).ok_or(DropReason::UnknownConnection)?;
        if ingress.id != id {
            return Err(DropReason::UnknownConnection);
        }
        if ingress.endpoint != Endpoint::from(from) {
            return Err(DropReason::Address);
        }
        ingress.window.peek(header.sequence).map_err(|_| DropReason::Replay)?;
        ingress.caps.peek(datagram.len(), now)?;
        if header.flags.intersects(Flags::REKEY) {
            return Err(DropReason::Epoch);
        }
        Ok(Admitted { slot: id.slot(), header })
    }

    /// Admits every datagram of `batch`; those that fail are counted and leave it.
    pub fn admit_batch(&self, now: Nanos, batch: &mut Batch, counters: &Counters) {
        batch.retain(|entry, datagram| match self.admit(now, entry.from, datagram) {
            Ok(admitted) => {
                entry.admitted = Some(admitted);
                true
            }
            Err(reason) => {
                counters.drop(reason);
                false
            }
        });
    }
}
