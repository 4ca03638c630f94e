//! One socket of a simulated server: what has arrived waits here as in a kernel's buffer, and what
//! is sent is there for the network to collect. Knows nothing of delay or loss.

use crate::limits::DATAGRAM_MAX;
use crate::net::{BATCH, Backend, Datagram, Port, ReceiveHandler, ReceiveReport, SendReport};
use std::collections::VecDeque;
use std::io::Result;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// A datagram and the other end of its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    /// Who sent it, or who is to get it.
    pub peer: SocketAddr,
    /// Its payload.
    pub bytes: Vec<u8>,
}

/// See the module.
#[derive(Debug)]
pub struct SimPort {
    address: SocketAddr,
    /// Datagrams that the buffer holds; what comes beyond that is dropped and counted.
    room: usize,
    incoming: VecDeque<Parcel>,
    outgoing: Vec<Parcel>,
    arena: Vec<[u8; DATAGRAM_MAX]>,
    queued: u64,
    queued_bytes: u64,
    drops: u64,
    reported: u64,
}

impl SimPort {
    /// A socket at `address` that holds `room` datagrams until they are received, and sends up to
    /// `slots` at a time.
    pub fn new(address: SocketAddr, room: usize, slots: usize) -> Self {
        Self {
            address,
            room,
            incoming: VecDeque::new(),
            outgoing: Vec::new(),
            arena: vec![[0; DATAGRAM_MAX]; slots],
            queued: 0,
            queued_bytes: 0,
            drops: 0,
            reported: 0,
        }
    }

    /// A datagram of at most 1,200 bytes arrives from `peer`.
    pub fn deliver(&mut self, peer: SocketAddr, bytes: Vec<u8>) {
        if self.incoming.len() < self.room {
            self.incoming.push_back(Parcel { peer, bytes });
        } else {
            self.drops += 1;
        }
    }

    /// What was sent since the last call, in order.
    pub fn collect(&mut self) -> Vec<Parcel> {
        std::mem::take(&mut self.outgoing)
    }
}

impl Port for SimPort {
    fn receive(
        &mut self,
        _min: u32,
        _timeout: Duration,
        handler: ReceiveHandler<'_>,
    ) -> Result<ReceiveReport> {
        let mut report =
            ReceiveReport { kernel_drops: self.drops - self.reported, ..ReceiveReport::default() };
        self.reported = self.drops;
        while !self.incoming.is_empty() {
            let count = self.incoming.len().min(BATCH);
            let mut batch: Vec<_> = self.incoming.drain(..count).collect();
            report.datagrams += count as u64;
            report.bytes += batch.iter().map(|parcel| parcel.bytes.len() as u64).sum::<u64>();
            let mut datagrams: Vec<_> = batch
                .iter_mut()
                .map(|Parcel { peer, bytes }| Datagram { payload: bytes, from: *peer })
                .collect();
            handler(&mut datagrams);
        }
        Ok(report)
    }

    fn send_capacity(&self) -> usize {
        self.arena.len()
    }

    fn send_buffer(&mut self, slot: usize) -> &mut [u8; DATAGRAM_MAX] {
        &mut self.arena[slot]
    }

    fn send_push(&mut self, slot: usize, len: usize, to: SocketAddr) {
        assert!(self.queued < self.arena.len() as u64, "at most one datagram per slot and flush");
        let bytes = self.arena[slot][..len].to_vec();
        self.outgoing.push(Parcel { peer: to, bytes });
        self.queued += 1;
        self.queued_bytes += len as u64;
    }

    fn flush(&mut self) -> Result<SendReport> {
        let (sent, bytes) = (self.queued, self.queued_bytes);
        (self.queued, self.queued_bytes) = (0, 0);
        Ok(SendReport { sent, bytes, ..SendReport::default() })
    }

    fn kernel_drops(&self) -> u64 {
        self.drops
    }

    fn backend(&self) -> Backend {
        Backend::Mmsg
    }

    fn local_address(&self) -> SocketAddr {
        self.address
    }
}

/// The port of every simulated server.
pub(crate) const SERVER: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 3565);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_buffer_drops_what_comes_and_says_so_once() {
        let mut port = SimPort::new(SERVER, 2, 1);
        (0..5).for_each(|n| port.deliver(SERVER, vec![n]));
        let mut got = Vec::new();
        let mut take = |datagrams: &mut [Datagram<'_>]| {
            got.extend(datagrams.iter().map(|datagram| datagram.payload[0]));
        };
        let report = port.receive(0, Duration::ZERO, &mut take).expect("it does not fail");
        assert_eq!((report.datagrams, report.kernel_drops), (2, 3));
        let report = port.receive(0, Duration::ZERO, &mut take).expect("it does not fail");
        assert_eq!((report.datagrams, report.kernel_drops, got), (0, 0, vec![0, 1]));
    }
}
