//! A client goes on from another address: how the session finds out that it is the client who is
//! there, and until then sends there next to nothing.
//!
//! Owns, per session, the address that may become the active one (the candidate), its Pings, and
//! how often the address changed. Following the newest packet would not do: with a forged source a
//! player could aim his stream at somebody else, and whoever copies a packet could draw it to
//! himself. So a packet only makes its source a candidate, and the Pong makes it the active one:
//! its nonce was sent to the candidate and nowhere else.
//!
//! ```text
//!  from elsewhere ──20 a second──▶ opens, sequence above all others ──▶ candidate
//!       candidate ──Pings, at most three, at most 3 × the bytes it sent──▶
//!  from anywhere  ──Pong with a nonce that was made for this source──▶ active
//! ```
//!
//! A nonce is a keyed hash of the address and of the time, so none is remembered, and a candidate
//! that a copied packet has displaced can still answer. The key is the session's own and never
//! leaves the server. Called by `admit`, `open`, `decode` and `liveness`, each only for packets
//! that do not come from the active address: the others pay nothing.

use super::admit::Admitted;
use super::decode::Sink;
use super::endpoint::Endpoint;
use super::liveness::Transmit;
use super::open::Opened;
use super::table::{FAR, Sessions, Slot};
use crate::crypto::siphash::siphash;
use crate::limits::{
    ACK_BLOCK_LEN, HEADER_LEN, MESSAGE_HEADER_LEN, PATH_AMPLIFICATION, PATH_CHANGE_INTERVAL_MS,
    PATH_CHANGES_PER_MINUTE, PATH_PING_INTERVAL_MS, PATH_PINGS, PATH_RETRY_MS, STRAY_PACKETS_BURST,
    STRAY_PACKETS_PER_S, TAG_LEN,
};
use crate::metrics::{Counter, Counters, DropReason};
use crate::time::{Nanos, TokenBucket};
use crate::wire::{ConnectionId, ControlMessage, Header};
use std::net::SocketAddr;

const PING_INTERVAL: Nanos = Nanos::from_ms(PATH_PING_INTERVAL_MS);
const RETRY: Nanos = Nanos::from_ms(PATH_RETRY_MS);
const CHANGE_INTERVAL: Nanos = Nanos::from_ms(PATH_CHANGE_INTERVAL_MS);
const MINUTE: Nanos = Nanos::from_ms(60_000);
/// Bytes of the datagram with a Ping, at most.
const PING_LEN: u32 = (HEADER_LEN + ACK_BLOCK_LEN + MESSAGE_HEADER_LEN + 8 + TAG_LEN) as u32;
/// A nonce is good in the period in which it was made and in the next: 2^32 ns, 4.3 s each.
const PERIOD_BITS: u32 = 32;

/// What is known of the way to a client besides its active address. Read only when a packet comes
/// from another one, and in control packets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route {
    /// Makes the nonces of this session.
    secret: [u64; 2],
    /// Packets from addresses that are neither active nor candidate: so many are opened.
    strays: TokenBucket,
    candidate: Option<SocketAddr>,
    /// Bytes of packets from the candidate that opened, and of Pings to it.
    received: u32,
    sent: u32,
    /// Pings sent to the candidate since it became one.
    pings: u8,
    /// When the next is due; after the last, when the candidate may be tried again.
    ping_at: Nanos,
    /// Sequence of the packet that made the active address active. Earlier Pongs are late.
    since: u64,
    /// Times of the last changes, a ring, and how many there were.
    changes: [Nanos; PATH_CHANGES_PER_MINUTE],
    changed: usize,
    /// The sink does not know the active address, and has to: it is not the one that the session
    /// was admitted with, and came from another table, or the sink had no room for it.
    is_untold: bool,
}

impl Route {
    /// Of a slot without a session.
    pub(super) const NONE: Self = Self {
        secret: [0; 2],
        strays: TokenBucket::full(0, Nanos(0)),
        candidate: None,
        received: 0,
        sent: 0,
        pings: 0,
        ping_at: Nanos(0),
        since: 0,
        changes: [Nanos(0); PATH_CHANGES_PER_MINUTE],
        changed: 0,
        is_untold: false,
    };

    /// Of a session that begins as `id` in a table with this `secret`.
    pub(super) fn new(secret: [u64; 2], id: ConnectionId, now: Nanos) -> Self {
        let word = |which| siphash(secret, &[u64::from(id.0), now.0, which]);
        Self { secret: [word(0), word(1)], ..Self::left_behind(now) }
    }

    /// Of a session that has gone to another table: how many strays are handed on.
    pub(super) fn left_behind(now: Nanos) -> Self {
        Self { strays: TokenBucket::full(STRAY_PACKETS_BURST, now), ..Self::NONE }
    }

    /// Of a session that has come from another table, whose sink may never have been heard.
    pub(super) fn arrived(self) -> Self {
        Self { is_untold: self.changed > 0, ..self }
    }

    /// Whether the active address is still to be told.
    #[inline]
    pub(super) fn is_untold(&self) -> bool {
        self.is_untold
    }

    /// Whether a packet from `from`, which is not the active address, may be looked at further.
    pub(super) fn allows(&mut self, from: SocketAddr, now: Nanos) -> bool {
        self.is_candidate(from)
            || self.strays.take(1, STRAY_PACKETS_PER_S, STRAY_PACKETS_BURST, now)
    }

    /// Everything but what is left for strangers.
    #[cfg(test)]
    pub(super) fn without_strays(&self) -> Self {
        Self { strays: TokenBucket::full(0, Nanos(0)), ..*self }
    }

    /// When the next Ping to the candidate is due; `FAR` without one, and while it has not sent
    /// enough for another.
    pub(super) fn ping_at(&self) -> Nanos {
        let affords = self.sent + PING_LEN <= self.received.saturating_mul(PATH_AMPLIFICATION);
        let waits = self.candidate.is_some() && self.pings < PATH_PINGS && affords;
        if waits { self.ping_at } else { FAR }
    }

    fn is_candidate(&self, from: SocketAddr) -> bool {
        self.candidate.is_some_and(|it| Endpoint::from(it) == Endpoint::from(from))
    }

    /// Whether the address may change now: not more than once a second and ten times a minute.
    fn may_change(&self, now: Nanos) -> bool {
        let place = |count: usize| self.changes[count % PATH_CHANGES_PER_MINUTE];
        let (all, changed) = (PATH_CHANGES_PER_MINUTE, self.changed);
        (changed == 0 || now.since(place(changed - 1)) >= CHANGE_INTERVAL)
            && (changed < all || now.since(place(changed)) >= MINUTE)
    }

    /// The nonce for `to` in the period of `now` or, with `before` = 1, in the one before.
    fn nonce(&self, to: SocketAddr, now: Nanos, before: u64) -> u64 {
        let [high, low, port] = Endpoint::from(to).words();
        let period = (now.0 >> PERIOD_BITS).wrapping_sub(before);
        siphash(self.secret, &[high, low, port, period])
    }

    /// A packet of `length` bytes from `from` has opened; `is_newest` says that its sequence is
    /// above all others. Returns the counter for what that led to.
    fn heard(
        &mut self,
        from: SocketAddr,
        length: usize,
        is_newest: bool,
        now: Nanos,
    ) -> Option<Counter> {
        let known = self.is_candidate(from);
        if known {
            self.received = self.received.saturating_add(length as u32);
        }
        let is_being_tried = known && (self.pings < PATH_PINGS || now < self.ping_at);
        if !is_newest || is_being_tried {
            return None;
        }
        if !self.may_change(now) {
            return Some(Counter::PathRefused);
        }
        if !known {
            (self.candidate, self.received, self.sent) = (Some(from), length as u32, 0);
        }
        (self.pings, self.ping_at) = (0, now);
        Some(Counter::PathCandidates)
    }
}

impl Sessions {
    /// Admits a datagram for `session`, which exists, although `from` is not its active address; or
    /// not. This is the only change before `open` besides counters: strangers can use up what is
    /// allowed to strangers.
    ///
    /// # Errors
    /// Why it is to be dropped; the caller counts it.
    #[cold]
    pub(super) fn admit_stray(
        &mut self,
        now: Nanos,
        session: ConnectionId,
        from: SocketAddr,
        header: Header,
        length: usize,
    ) -> Result<Admitted, DropReason> {
        let index = usize::from(session.slot());
        if !self.route[index].allows(from, now) {
            return Err(DropReason::Address);
        }
        self.ingress[index].check(now, header, length, &self.config.rules.rates)?;
        Ok(Admitted { session, header, is_stray: true })
    }

    /// Opens a datagram that `admit_stray` has admitted, and perhaps makes `from` a candidate.
    ///
    /// # Errors
    /// As `open`.
    #[cold]
    pub(super) fn open_stray<'a>(
        &mut self,
        now: Nanos,
        admitted: Admitted,
        from: &'a SocketAddr,
        datagram: &'a mut [u8],
        counters: &Counters,
    ) -> Result<Opened<'a>, DropReason> {
        let index = usize::from(admitted.session.slot());
        let is_newest = admitted.header.sequence > self.ingress[index].window.newest();
        let length = datagram.len();
        let opened = self.open(now, admitted, datagram)?;
        // An earlier packet of the same batch may have made it the active one.
        if self.ingress[index].endpoint != Endpoint::from(*from) {
            if let Some(counter) = self.route[index].heard(*from, length, is_newest, now) {
                counters.add(counter, 1);
            }
            self.due[index] = Nanos(0);
        }
        Ok(Opened { from: Some(from), ..opened })
    }

    /// A Pong with `nonce` came from `from` in the packet with `sequence`. If the nonce was sent
    /// there, that is the active address from now on, and nothing is known of the way to it.
    #[cold]
    pub(super) fn path_answered(
        &mut self,
        now: Nanos,
        slot: Slot,
        (from, sequence): (SocketAddr, u64),
        nonce: u64,
        counters: &Counters,
        sink: &mut impl Sink,
    ) {
        let index = usize::from(slot);
        let route = &mut self.route[index];
        let is_for_it = [0, 1].iter().any(|&before| route.nonce(from, now, before) == nonce);
        let is_active = self.ingress[index].endpoint == Endpoint::from(from);
        if !is_for_it || is_active || sequence < route.since {
            return;
        }
        if !route.may_change(now) {
            return counters.add(Counter::PathRefused, 1);
        }
        route.changes[route.changed % PATH_CHANGES_PER_MINUTE] = now;
        route.changed += 1;
        (route.since, route.candidate) = (sequence, None);
        self.ingress[index].endpoint = Endpoint::from(from);
        self.address[index] = from;
        self.restart_congestion(index, now);
        // What the client has not got at its former address need not wait for its turn.
        self.transfer[index].announce_at = now;
        self.due[index] = Nanos(0);
        counters.add(Counter::PathChanges, 1);
        self.tell_address(index, sink);
    }

    /// Tells where the client of the living session in `index` is now; if there is no room for
    /// that, in the next tick again.
    #[cold]
    pub(super) fn tell_address(&mut self, index: usize, sink: &mut impl Sink) {
        let is_told = sink.readdressed(index as Slot, self.address[index]);
        self.route[index].is_untold = !is_told;
    }

    /// A Ping to the candidate of the living session in `index`, if one is due. Acknowledges like
    /// any packet, but nobody relies on it: it may reach a stranger.
    pub(super) fn probe_path(
        &mut self,
        index: usize,
        now: Nanos,
        out: &mut [u8],
    ) -> Option<Transmit> {
        let route = &self.route[index];
        let to = route.candidate.filter(|_| route.ping_at() <= now)?;
        let nonce = route.nonce(to, now, 0);
        let unacked = self.unacked[index];
        let length =
            self.write_control(index, now, out, &[Some(ControlMessage::Ping { nonce })])?;
        debug_assert!(length <= PING_LEN as usize, "what is afforded is what is sent");
        self.unacked[index] = unacked;
        let route = &mut self.route[index];
        route.sent += length as u32;
        route.pings += 1;
        let wait = if route.pings < PATH_PINGS { PING_INTERVAL } else { RETRY };
        route.ping_at = now.plus(wait);
        Some(Transmit { slot: index as Slot, to, length })
    }
}
