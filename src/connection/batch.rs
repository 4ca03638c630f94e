//! Up to 64 received datagrams that pass admit, open and decode together, phase by phase.
//!
//! Three passes over a batch instead of three steps per datagram: the shard reads the clock four
//! times per batch and knows what each phase costs, and the processor overlaps the cache misses of
//! one pass. The datagrams are copied in back to back, because the buffers of a receive ring are
//! only lent. Owns bytes, no session. Called by the shard.

use super::admit::Admitted;
use crate::limits::{BATCH_MAX, DATAGRAM_MAX};
use crate::wire::ConnectionId;
use std::net::SocketAddr;

/// Datagrams on their way from the socket into the table.
pub struct Batch {
    bytes: Box<[u8]>,
    used: usize,
    entries: Vec<Entry>,
    /// Bit i: entry i has passed every phase so far.
    alive: u64,
}

/// One datagram of a batch.
pub(super) struct Entry {
    pub(super) from: SocketAddr,
    start: u32,
    length: u32,
    /// The session that another shard says it is for; 0 for what comes from the socket.
    pub(super) forwarded_to: ConnectionId,
    pub(super) admitted: Option<Admitted>,
}

const _: () = assert!(BATCH_MAX <= 64, "one bit each");

impl Default for Batch {
    fn default() -> Self {
        Self {
            bytes: vec![0; BATCH_MAX * (DATAGRAM_MAX + 1)].into_boxed_slice(),
            used: 0,
            entries: Vec::with_capacity(BATCH_MAX),
            alive: 0,
        }
    }
}

impl Batch {
    /// Copies `datagram` in. Of one that is too long only its being too long is kept; admit refuses
    /// it.
    ///
    /// # Panics
    /// When the batch is full: look at `is_full` after every push.
    #[inline]
    pub fn push(&mut self, from: SocketAddr, datagram: &[u8]) {
        self.add(ConnectionId::GATE, from, datagram);
    }

    /// As `push`, for a datagram that another shard has forwarded to the session `to`.
    ///
    /// # Panics
    /// When the batch is full.
    pub fn push_forwarded(&mut self, to: ConnectionId, from: SocketAddr, datagram: &[u8]) {
        self.add(to, from, datagram);
    }

    #[inline]
    fn add(&mut self, forwarded_to: ConnectionId, from: SocketAddr, datagram: &[u8]) {
        assert!(!self.is_full(), "a full batch is to be handled first");
        let kept = &datagram[..datagram.len().min(DATAGRAM_MAX + 1)];
        self.bytes[self.used..][..kept.len()].copy_from_slice(kept);
        self.alive |= 1 << self.entries.len();
        let (start, length) = (self.used as u32, kept.len() as u32);
        self.entries.push(Entry { from, start, length, forwarded_to, admitted: None });
        self.used += kept.len();
    }

    /// Datagrams in the batch, dropped ones included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is nothing to handle.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether the batch has to be handled before the next push.
    pub fn is_full(&self) -> bool {
        self.entries.len() == BATCH_MAX
    }

    /// Makes room.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        (self.used, self.alive) = (0, 0);
    }

    /// Shows every datagram still alive to `pass`, in the order of arrival, and drops those for
    /// which it fails.
    #[inline]
    pub(super) fn retain(&mut self, mut pass: impl FnMut(&mut Entry, &mut [u8]) -> bool) {
        let mut rest = self.alive;
        while rest != 0 {
            let index = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            let entry = &mut self.entries[index];
            let datagram = &mut self.bytes[entry.start as usize..][..entry.length as usize];
            if !pass(entry, datagram) {
                self.alive &= !(1 << index);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_keeps_order_bytes_and_only_the_living() {
        let from = "127.0.0.1:1".parse().expect("a literal address");
        let mut batch = Batch::default();
        for i in 0..BATCH_MAX {
            assert!(!batch.is_full());
            batch.push(from, &vec![i as u8; if i % 7 == 0 { 60_000 } else { i }]);
        }
        assert!(batch.is_full());
        let mut seen = Vec::new();
        batch.retain(|_, datagram| datagram.len() % 2 == 0);
        batch.retain(|_, datagram| {
            assert!(datagram.iter().all(|&byte| usize::from(byte) == datagram.len()));
            seen.push(datagram.len());
            true
        });
        let expected: Vec<_> = (0..BATCH_MAX).filter(|i| i % 2 == 0 && i % 7 != 0).collect();
        assert_eq!(seen, expected, "too long ones are odd: {}", DATAGRAM_MAX + 1);
        batch.clear();
        assert!(batch.is_empty());
        batch.retain(|_, _| panic!("nothing is left"));
    }
}
