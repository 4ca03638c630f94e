//! Phase admit: the checks that need no cryptography, in the order that the protocol fixes.
//!
//! Length → header → slot and generation → source address → replay window (peek) → rates (peek).
//! Changes nothing at all: whatever fails here, anybody may have sent. By the epoch `open` then
//! finds the key. Called by the shard, or by `handle_datagram`, per datagram or batch.
//!
//! A datagram that names no session here gets a second look in a batch: it may be for one that has
//! moved away and is handed on then, or have been handed on to one that has moved here. So does one
//! from another address than the session's: the client may be there now, see `path`.

use super::batch::{Batch, Entry};
use super::endpoint::Endpoint;
use super::rules::ClientRates;
use super::table::{Ingress, Sessions};
use crate::limits::{DATAGRAM_MAX, DATAGRAM_MIN};
use crate::metrics::{Counters, DropReason};
use crate::time::Nanos;
use crate::wire::{ConnectionId, Header};
use std::net::SocketAddr;

/// A datagram that is worth opening. Says nothing about who sent it.
#[derive(Clone, Copy, Debug)]
pub struct Admitted {
    /// The session. The header has its id, or the one that it had before it moved here.
    pub(super) session: ConnectionId,
    pub(super) header: Header,
    /// It does not come from the session's active address.
    pub(super) is_stray: bool,
}

/// What becomes of a datagram that is not admitted.
enum Miss {
    Forward(ConnectionId),
    Drop(DropReason),
}

/// The first two checks, for which no table is needed: whether `datagram` has the length of a
/// packet and a header.
///
/// # Errors
/// Why it is to be dropped; the caller counts it.
#[inline]
pub fn check_form(datagram: &[u8]) -> Result<Header, DropReason> {
    if !(DATAGRAM_MIN..=DATAGRAM_MAX).contains(&datagram.len()) {
        return Err(DropReason::Size);
    }
    Header::read(datagram).map_err(|_| DropReason::Header)
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
        let header = check_form(datagram)?;
        let id = header.connection;
        if id == ConnectionId::GATE || id.socket() != self.config.socket_index {
            return Err(DropReason::WrongSocket);
        }
        let ingress =
            self.ingress.get(usize::from(id.slot())).ok_or(DropReason::UnknownConnection)?;
        if ingress.id != id {
            return Err(DropReason::UnknownConnection);
        }
        ingress.check_address(from)?;
        ingress.check(now, header, datagram.len(), &self.config.rules.rates)?;
        Ok(Admitted { session: id, header, is_stray: false })
    }

    /// Admits every datagram of `batch`; those that fail are counted and leave it, and those for
    /// sessions that have moved away leave it through `forward`: for which session, from where,
    /// which bytes. They were checked as far as that takes no cryptography.
    pub fn admit_batch(
        &mut self,
        now: Nanos,
        batch: &mut Batch,
        counters: &Counters,
        mut forward: impl FnMut(ConnectionId, SocketAddr, &[u8]),
    ) {
        batch.retain(|entry, datagram| {
            let admitted = self.admit(now, entry.from, datagram);
            match admitted.or_else(|reason| self.look_again(now, entry, datagram, reason)) {
                Ok(admitted) => {
                    entry.admitted = Some(admitted);
                    return true;
                }
                Err(Miss::Forward(to)) => forward(to, entry.from, datagram),
                Err(Miss::Drop(reason)) => counters.drop(reason),
            }
            false
        });
    }

    /// Whether `datagram`, which `admit` refused for `reason`, comes from a client that has moved,
    /// or belongs to a session that has: here, and another shard has handed it on; or away, and it
    /// has to be handed on.
    #[cold]
    fn look_again(
        &mut self,
        now: Nanos,
        entry: &Entry,
        datagram: &[u8],
        reason: DropReason,
    ) -> Result<Admitted, Miss> {
        if reason == DropReason::Address {
            return self.admit_elsewhere(now, entry.from, datagram).map_err(Miss::Drop);
        }
        let nobody = matches!(reason, DropReason::UnknownConnection | DropReason::WrongSocket);
        let header = Header::read(datagram).ok().filter(|_| nobody);
        let Some(header) = header.filter(|header| header.connection != ConnectionId::GATE) else {
            return Err(Miss::Drop(reason));
        };
        if entry.forwarded_to != ConnectionId::GATE {
            // What was handed on once is not handed on again.
            return self.admit_forwarded(now, entry, header, datagram.len()).map_err(Miss::Drop);
        }
        Err(self.forwarding(now, entry.from, header).unwrap_or(Miss::Drop(reason)))
    }

    /// A second look at a datagram that `admit` refused for its address.
    pub(super) fn admit_elsewhere(
        &mut self,
        now: Nanos,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Result<Admitted, DropReason> {
        let header = check_form(datagram)?;
        self.admit_stray(now, header.connection, from, header, datagram.len())
    }

    /// The checks for a datagram that was handed on to `entry.forwarded_to`: its header has the
    /// whole id that this session had before.
    fn admit_forwarded(
        &mut self,
        now: Nanos,
        entry: &Entry,
        header: Header,
        length: usize,
    ) -> Result<Admitted, DropReason> {
        let session = entry.forwarded_to;
        let index = usize::from(session.slot());
        let ingress = self.ingress.get(index).filter(|ingress| ingress.id == session);
        let ingress = ingress.ok_or(DropReason::UnknownConnection)?;
        if self.transfer[index].former != header.connection {
            return Err(DropReason::UnknownConnection);
        }
        if ingress.check_address(entry.from).is_err() {
            return self.admit_stray(now, session, entry.from, header, length);
        }
        ingress.check(now, header, length, &self.config.rules.rates)?;
        Ok(Admitted { session, header, is_stray: false })
    }

    /// Where to hand on a datagram under `header`; `None` if it names no session that has moved.
    /// What the session refused before it moved it refuses now, so that strangers and repetitions
    /// take next to no place in the queue.
    fn forwarding(&mut self, now: Nanos, from: SocketAddr, header: Header) -> Option<Miss> {
        let to = self.moved_to(header.connection)?;
        let index = usize::from(header.connection.slot());
        let left_behind = &self.ingress[index];
        let is_stray = left_behind.check_address(from).is_err();
        Some(if is_stray && !self.route[index].allows(from, now) {
            Miss::Drop(DropReason::Address)
        } else if left_behind.window.peek(header.sequence).is_err() {
            Miss::Drop(DropReason::Replay)
        } else {
            Miss::Forward(to)
        })
    }
}

impl Ingress {
    /// Whether the source is the active address.
    #[inline]
    fn check_address(&self, from: SocketAddr) -> Result<(), DropReason> {
        if self.endpoint == Endpoint::from(from) { Ok(()) } else { Err(DropReason::Address) }
    }

    /// The other checks of one session: replay window, rates.
    #[inline]
    pub(super) fn check(
        &self,
        now: Nanos,
        header: Header,
        length: usize,
        rates: &ClientRates,
    ) -> Result<(), DropReason> {
        self.window.peek(header.sequence).map_err(|_| DropReason::Replay)?;
        self.caps.peek(length, rates, now)
    }
}
