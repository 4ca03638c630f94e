//! The fallback backend: `recvmmsg` and `sendmmsg` with `ppoll`. Works on every kernel and in every
//! container; costs a system call per 64 datagrams in and 256 out.
//!
//! `vector` owns the system calls; this file is the [`Port`] made of them.

pub(in crate::net) mod vector;

use super::receive::{BATCH, Datagram, KernelDrops, ReceiveReport};
use super::send::{Outbox, SendReport};
use super::socket::BoundSocket;
use super::{Backend, Port, PortConfig, ReceiveHandler};
use crate::limits::DATAGRAM_MAX;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;
use vector::{Message, ReceiveVector, send_all, wait_readable};

/// A port over `recvmmsg` and `sendmmsg`.
pub struct MmsgPort {
    socket: BoundSocket,
    inbox: ReceiveVector,
    outbox: Outbox,
    drops: KernelDrops,
    /// Datagrams taken by one call of `receive`, at most.
    limit: u64,
}

impl MmsgPort {
    /// A port on `socket`. All memory it will ever use is allocated here.
    pub fn new(socket: BoundSocket, config: &PortConfig) -> Self {
        Self {
            inbox: ReceiveVector::new(),
            outbox: Outbox::new(config.send_slots, socket.family()),
            drops: KernelDrops::default(),
            limit: u64::from(config.receive_buffers).max(1),
            socket,
        }
    }

    /// Takes what the kernel holds, up to the limit, in batches.
    fn drain(&mut self, report: &mut ReceiveReport, handler: ReceiveHandler<'_>) -> io::Result<()> {
        let (socket, drops) = (self.socket.as_fd(), &mut self.drops);
        self.inbox.drain(socket, self.limit, report, |inbox, count, report| {
            let mut batch: [Datagram<'_>; BATCH] = std::array::from_fn(|_| Datagram::vacant());
            let mut filled = 0;
            for received in inbox.received(count) {
                if let Some(running) = received.control.drops {
                    report.kernel_drops += drops.observe(running);
                }
                let Some(from) = received.from else { continue };
                if report.accepts(received.payload.len(), received.truncated) {
                    batch[filled] = Datagram { payload: received.payload, from };
                    filled += 1;
                }
            }
            if filled > 0 {
                handler(&mut batch[..filled]);
            }
        })
    }
}

impl Port for MmsgPort {
    fn receive(
        &mut self,
        min: u32,
        timeout: Duration,
        handler: ReceiveHandler<'_>,
    ) -> io::Result<ReceiveReport> {
        let mut report = ReceiveReport::default();
        self.drain(&mut report, handler)?;
        if report.datagrams >= u64::from(min) || timeout.is_zero() || report.more {
            return Ok(report);
        }
        // A wake-up costs as much as half a datagram: whoever asks for several sleeps through.
        if min > 1 {
            std::thread::sleep(timeout);
        } else {
            wait_readable(self.socket.as_fd(), timeout)?;
        }
        report.system_calls += 1;
        self.drain(&mut report, handler)?;
        Ok(report)
    }

    fn send_capacity(&self) -> usize {
        self.outbox.capacity()
    }

    fn send_buffer(&mut self, slot: usize) -> &mut [u8; DATAGRAM_MAX] {
        self.outbox.buffer(slot)
    }

    fn send_push(&mut self, slot: usize, len: usize, to: SocketAddr) {
        self.outbox.push(slot, len, to);
    }

    fn flush(&mut self) -> io::Result<SendReport> {
        let outbox = &self.outbox;
        let result = send_all(self.socket.as_fd(), outbox.len(), |index| {
            let (payload, to) = outbox.queued(index);
            Message { payloads: std::iter::once(payload), to: to.as_bytes(), control: &[] }
        });
        let bytes = self.outbox.bytes();
        self.outbox.clear();
        result.map(|report| SendReport { bytes, ..report })
    }

    fn kernel_drops(&self) -> u64 {
        self.drops.total()
    }

    fn backend(&self) -> Backend {
        Backend::Mmsg
    }

    fn local_address(&self) -> SocketAddr {
        self.socket.local_address()
    }
}
