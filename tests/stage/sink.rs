//! The port of a shard on the stage: nothing comes of it, and what is sent is counted.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tidelock::limits::DATAGRAM_MAX;
use tidelock::net::{Backend, Port, ReceiveHandler, ReceiveReport, SendReport};

/// A port that hands out nothing and keeps, of everything sent, the sequence and the size.
pub(crate) struct Sink {
    slots: Vec<[u8; DATAGRAM_MAX]>,
    /// Newest sequence per player; the port number of its address is the player.
    pub(crate) newest: Vec<u64>,
    /// The 64 sequences before it, as an acknowledgment names them.
    pub(crate) before: Vec<u64>,
    /// Payload bytes sent.
    pub(crate) bytes: u64,
    /// Datagrams with the players they are for, where a test asked for them.
    pub(crate) captured: Option<Vec<(usize, Vec<u8>)>>,
    /// Datagrams since the last flush.
    queued: u64,
    queued_bytes: u64,
}

impl Sink {
    pub(super) fn new(players: usize) -> Self {
        Self {
            slots: vec![[0; DATAGRAM_MAX]; players + 64],
            newest: vec![0; players],
            before: vec![0; players],
            bytes: 0,
            captured: None,
            queued: 0,
            queued_bytes: 0,
        }
    }
}

impl Port for Sink {
    fn receive(&mut self, _: u32, _: Duration, _: ReceiveHandler<'_>) -> io::Result<ReceiveReport> {
        Ok(ReceiveReport::default())
    }

    fn send_capacity(&self) -> usize {
        self.slots.len()
    }

    fn send_buffer(&mut self, slot: usize) -> &mut [u8; DATAGRAM_MAX] {
        &mut self.slots[slot]
    }

    fn send_push(&mut self, slot: usize, len: usize, to: SocketAddr) {
        let sequence = self.slots[slot][6..14].try_into().map(u64::from_le_bytes);
        let player = usize::from(to.port()) - 1;
        let sequence = sequence.expect("eight bytes");
        // Those that nobody was sent stay unnamed: to acknowledge them is a lie.
        let ahead = sequence - self.newest[player].min(sequence);
        let named = self.before[player] << 1 | u64::from(self.newest[player] > 0);
        self.before[player] = if ahead > 64 { 0 } else { named << (ahead.max(1) - 1) };
        self.newest[player] = sequence;
        if let Some(captured) = &mut self.captured {
            captured.push((player, self.slots[slot][..len].to_vec()));
        }
        self.bytes += len as u64;
        self.queued += 1;
        self.queued_bytes += len as u64;
    }

    fn flush(&mut self) -> io::Result<SendReport> {
        let (sent, bytes) = (self.queued, self.queued_bytes);
        (self.queued, self.queued_bytes) = (0, 0);
        Ok(SendReport { sent, bytes, ..SendReport::default() })
    }

    fn kernel_drops(&self) -> u64 {
        0
    }

    fn backend(&self) -> Backend {
        Backend::Mmsg
    }

    fn local_address(&self) -> SocketAddr {
        super::address(0)
    }
}
