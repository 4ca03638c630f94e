//! Datagrams on their way, ordered by the time at which they arrive: a fixed arena and a heap of
//! its slots. Allocates at its construction only. Called by `relay`.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use tidelock::limits::DATAGRAM_MAX;
use tidelock::time::Nanos;

/// Under which address and port the server knows a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Way {
    /// Which of the client's addresses.
    pub(super) turn: u8,
    /// Which of the relay's ports.
    pub(super) port: u8,
}

/// Whose datagram it is, and where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parcel {
    pub(super) client: u32,
    pub(super) way: Way,
    /// To the server.
    pub(super) upwards: bool,
}

struct Slot {
    parcel: Parcel,
    len: usize,
    payload: [u8; DATAGRAM_MAX],
}

/// A bounded queue.
pub(super) struct Queue {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// When, in which order it was pushed, and where it is.
    order: BinaryHeap<Reverse<(Nanos, u64, u32)>>,
    pushed: u64,
}

impl Queue {
    pub(super) fn new(capacity: usize) -> Self {
        let parcel = Parcel { client: 0, way: Way::default(), upwards: true };
        Self {
            slots: (0..capacity)
                .map(|_| Slot { parcel, len: 0, payload: [0; DATAGRAM_MAX] })
                .collect(),
            free: (0..capacity as u32).rev().collect(),
            order: BinaryHeap::with_capacity(capacity),
            pushed: 0,
        }
    }

    /// Takes a copy of `payload`, due at `at`; false if there is no room, or it is no datagram.
    pub(super) fn push(&mut self, at: Nanos, parcel: Parcel, payload: &[u8]) -> bool {
        if payload.len() > DATAGRAM_MAX {
            return false;
        }
        let Some(place) = self.free.pop() else { return false };
        let slot = &mut self.slots[place as usize];
        (slot.parcel, slot.len) = (parcel, payload.len());
        slot.payload[..payload.len()].copy_from_slice(payload);
        self.order.push(Reverse((at, self.pushed, place)));
        self.pushed += 1;
        true
    }

    /// The earliest that is due at `now`.
    pub(super) fn pop_due(&mut self, now: Nanos) -> Option<(Parcel, &[u8])> {
        let &Reverse((at, _, place)) = self.order.peek()?;
        if at > now {
            return None;
        }
        self.order.pop();
        // Nothing is pushed while the caller holds the slice.
        self.free.push(place);
        let slot = &self.slots[place as usize];
        Some((slot.parcel, &slot.payload[..slot.len]))
    }

    /// When the earliest is due.
    pub(super) fn next_due(&self) -> Option<Nanos> {
        self.order.peek().map(|&Reverse((at, ..))| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_leave_in_the_order_of_their_times_and_ties_as_they_came() {
        let parcel = |client| Parcel { client, way: Way::default(), upwards: true };
        let mut queue = Queue::new(4);
        for (at, client) in [(30, 0), (10, 1), (20, 2), (10, 3)] {
            assert!(queue.push(Nanos(at), parcel(client), &[client as u8]));
        }
        assert!(!queue.push(Nanos(0), parcel(9), b"no room"));
        let mut left = Vec::new();
        for now in [9, 10, 25, 30] {
            while let Some((parcel, payload)) = queue.pop_due(Nanos(now)) {
                assert_eq!(payload, [parcel.client as u8]);
                left.push((now, parcel.client));
            }
        }
        assert_eq!(left, [(10, 1), (10, 3), (25, 2), (30, 0)]);
        assert_eq!(queue.next_due(), None);
        assert!(queue.push(Nanos(1), parcel(1), b"again"), "the slots are free again");
        assert!(!queue.push(Nanos(1), parcel(1), &[0; DATAGRAM_MAX + 1]));
    }
}
