//! Phase send: the arena that datagrams are written into and the queue of those to hand over.
//!
//! Backend-independent and safe: `uring` and `mmsg` read the queue and tell the kernel about it.

use super::address::{Family, RawAddress};
use crate::limits::DATAGRAM_MAX;
use crate::metrics::{Counter, Counters, DropReason};
use std::net::SocketAddr;

/// What one call of [`Port::flush`](super::Port::flush) did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendReport {
    /// Datagrams that the kernel took.
    pub sent: u64,
    /// Payload bytes of all datagrams offered to it.
    pub bytes: u64,
    /// Datagrams that it refused: full socket buffer, no route, a firewall. They are lost.
    pub refused: u64,
    /// System calls made.
    pub system_calls: u64,
}

impl SendReport {
    /// Adds this report to the counters of the thread.
    pub fn record(&self, counters: &Counters) {
        counters.add(Counter::PacketsOut, self.sent);
        counters.add(Counter::BytesOut, self.bytes);
        counters.drop_many(DropReason::SendRefused, self.refused);
    }
}

/// One datagram's place in the arena. Aligned so that no two share a cache line.
#[repr(C, align(64))]
pub(super) struct Slot(pub(super) [u8; DATAGRAM_MAX]);

/// A datagram to hand over: slot, length, destination.
pub(super) struct Outgoing {
    pub(super) slot: u32,
    pub(super) len: u32,
    pub(super) to: RawAddress,
}

/// Slots and queue. Both are allocated once; the queue never outgrows the number of slots.
pub(super) struct Outbox {
    slots: Box<[Slot]>,
    queue: Vec<Outgoing>,
    family: Family,
}

impl Outbox {
    pub(super) fn new(slots: usize, family: Family) -> Self {
        Self {
            slots: (0..slots).map(|_| Slot([0; DATAGRAM_MAX])).collect(),
            queue: Vec::with_capacity(slots),
            family,
        }
    }

    pub(super) fn capacity(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn buffer(&mut self, slot: usize) -> &mut [u8; DATAGRAM_MAX] {
        &mut self.slots[slot].0
    }

    /// Queues the first `len` bytes of `slot`. The bounds are the caller's own bookkeeping, never a
    /// peer's.
    pub(super) fn push(&mut self, slot: usize, len: usize, to: SocketAddr) {
        assert!(slot < self.slots.len() && len <= DATAGRAM_MAX, "slot {slot}, {len} bytes");
        assert!(self.queue.len() < self.slots.len(), "at most one datagram per slot and flush");
        let to = RawAddress::encode(to, self.family);
        self.queue.push(Outgoing { slot: slot as u32, len: len as u32, to });
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Payload and destination of the queued datagram `index`.
    pub(super) fn queued(&self, index: usize) -> (&[u8], &RawAddress) {
        let outgoing = &self.queue[index];
        (&self.slots[outgoing.slot as usize].0[..outgoing.len as usize], &outgoing.to)
    }

    /// Payload bytes of everything queued.
    pub(super) fn bytes(&self) -> u64 {
        self.queue.iter().map(|outgoing| u64::from(outgoing.len)).sum()
    }

    pub(super) fn clear(&mut self) {
        self.queue.clear();
    }
}
