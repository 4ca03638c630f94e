//! A client's socket that speaks for thousands of hosts: each datagram leaves from a chosen source
//! address of 127/8, and each one received says which of them it was for. All of 127/8 belongs to
//! the loopback interface, so no address has to be configured.
//!
//! For the load generator. Not a [`Port`](super::Port): a server never chooses its source. Two
//! datagrams of different sources have different addresses but the same source port, that of the
//! one bound socket.

use super::address::{Family, RawAddress};
use super::mmsg::vector::{Message, ReceiveVector, send_all, wait_readable};
use super::receive::{BATCH, CONTROL_PKTINFO, KernelDrops, ReceiveReport, write_source};
use super::send::{Outbox, SendReport};
use super::socket::{BoundSocket, BufferWarning, bind_alone};
use super::steer;
use crate::limits::DATAGRAM_MAX;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

/// Whose addresses a [`SourcedPort`] speaks from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sources {
    /// Each datagram names its source in 127/8. Reaches servers on loopback only.
    Loopback,
    /// The kernel chooses, all datagrams have one source. Reaches any server of the family of this
    /// address, which is bound (unspecified: any).
    Plain(IpAddr),
}

/// What a [`SourcedPort`] is made of.
#[derive(Clone, Copy, Debug)]
pub struct SourcedConfig {
    /// Which source addresses.
    pub sources: Sources,
    /// Port to bind; 0 takes a free one.
    pub port: u16,
    /// Bytes of datagrams the socket may hold for us, kernel overhead included.
    pub receive_buffer: usize,
    /// Slots of the send arena.
    pub send_slots: usize,
}

/// One received datagram. The buffer is used again when the handler returns.
#[derive(Debug)]
pub struct SourcedDatagram<'a> {
    /// The UDP payload, 0 to 1,200 bytes.
    pub payload: &'a mut [u8],
    /// The sender.
    pub from: SocketAddr,
    /// The local address it was sent to; unspecified in plain mode.
    pub local: Ipv4Addr,
}

/// A client's UDP socket that sends from, and tells apart, thousands of local addresses. Batches of
/// 64 datagrams in and 256 out per system call; allocates only when it is bound.
pub struct SourcedPort {
    socket: BoundSocket,
    chosen: bool,
    inbox: ReceiveVector,
    outbox: Outbox,
    /// The source of each queued datagram, in the order of the queue, as a control message.
    sources: Vec<SourceMessage>,
    drops: KernelDrops,
    warnings: Vec<BufferWarning>,
}

/// Aligned as the kernel aligns control messages.
#[repr(C, align(8))]
struct SourceMessage([u8; CONTROL_PKTINFO]);

/// Datagrams taken by one call of `receive`, at most: eight batches. A load generator that is
/// behind must go on sending in time, and look at arrivals in between.
const RECEIVE_LIMIT: u64 = 8 * BATCH as u64;

impl SourcedPort {
    /// Binds a socket and allocates everything.
    pub fn bind(config: &SourcedConfig) -> io::Result<Self> {
        let (ip, chosen) = match config.sources {
            Sources::Loopback => (IpAddr::V4(Ipv4Addr::UNSPECIFIED), true),
            Sources::Plain(ip) => (ip, false),
        };
        let address = SocketAddr::new(ip, config.port);
        let (socket, warnings) =
            bind_alone(address, config.receive_buffer, (config.send_slots * 2048).max(1 << 20))?;
        if chosen {
            steer::report_local_address(&socket)?;
        }
        Ok(Self {
            chosen,
            inbox: ReceiveVector::new(),
            outbox: Outbox::new(config.send_slots, Family::of(address)),
            sources: Vec::with_capacity(if chosen { config.send_slots } else { 0 }),
            drops: KernelDrops::default(),
            warnings,
            socket,
        })
    }

    /// Hands what has arrived to `handler`, in batches of at most [`BATCH`]. If nothing has, waits
    /// for the first datagram for `timeout` (zero: polls).
    ///
    /// On loopback, sleeping a little and then polling is kinder than waiting here: a thread that
    /// waits is woken by whoever sends, and the server would pay for it (about 700 ns for each
    /// datagram in a profile of an echo on Linux 6.18).
    pub fn receive(
        &mut self,
        timeout: Duration,
        handler: &mut dyn FnMut(&mut [SourcedDatagram<'_>]),
    ) -> io::Result<ReceiveReport> {
        let mut report = ReceiveReport::default();
        self.drain(&mut report, handler)?;
        if report.datagrams == 0 && !timeout.is_zero() {
            report.system_calls += 1;
            wait_readable(self.socket.as_fd(), timeout)?;
            self.drain(&mut report, handler)?;
        }
        Ok(report)
    }

    fn drain(
        &mut self,
        report: &mut ReceiveReport,
        handler: &mut dyn FnMut(&mut [SourcedDatagram<'_>]),
    ) -> io::Result<()> {
        let (socket, drops) = (self.socket.as_fd(), &mut self.drops);
        self.inbox.drain(socket, RECEIVE_LIMIT, report, |inbox, count, report| {
            let vacant = |_| SourcedDatagram {
                payload: &mut [],
                from: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0),
                local: Ipv4Addr::UNSPECIFIED,
            };
            let mut batch: [SourcedDatagram<'_>; BATCH] = std::array::from_fn(vacant);
            let mut filled = 0;
            for received in inbox.received(count) {
                if let Some(running) = received.control.drops {
                    report.kernel_drops += drops.observe(running);
                }
                let Some(from) = received.from else { continue };
                if report.accepts(received.payload.len(), received.truncated) {
                    let local = received.control.local.unwrap_or(Ipv4Addr::UNSPECIFIED);
                    batch[filled] = SourcedDatagram { payload: received.payload, from, local };
                    filled += 1;
                }
            }
            if filled > 0 {
                handler(&mut batch[..filled]);
            }
        })
    }

    /// Slots of the send arena, and datagrams that can be pushed between two flushes.
    pub fn send_capacity(&self) -> usize {
        self.outbox.capacity()
    }

    /// Slot `slot` of the arena, to be written before it is pushed.
    pub fn send_buffer(&mut self, slot: usize) -> &mut [u8; DATAGRAM_MAX] {
        self.outbox.buffer(slot)
    }

    /// Queues the first `len` bytes of `slot`, to leave from `source` for `to`. Plain mode ignores
    /// `source`.
    ///
    /// # Panics
    /// If `slot` or `len` is out of range, or more than `send_capacity()` datagrams are queued.
    pub fn send_push(&mut self, slot: usize, len: usize, source: Ipv4Addr, to: SocketAddr) {
        self.outbox.push(slot, len, to);
        if self.chosen {
            let mut message = SourceMessage([0; CONTROL_PKTINFO]);
            write_source(source, &mut message.0);
            self.sources.push(message);
        }
    }

    /// Hands all queued datagrams to the kernel, 256 per system call, and empties the queue. Never
    /// waits: what the kernel does not take at once is refused, and lost.
    pub fn flush(&mut self) -> io::Result<SendReport> {
        let (outbox, sources) = (&self.outbox, &self.sources);
        let result = send_all(self.socket.as_fd(), outbox.len(), |index| {
            let (payload, to): (&[u8], &RawAddress) = outbox.queued(index);
            let control = sources.get(index).map_or(&[][..], |source| &source.0);
            Message { payload, to: to.as_bytes(), control }
        });
        let bytes = self.outbox.bytes();
        self.outbox.clear();
        self.sources.clear();
        result.map(|report| SendReport { bytes, ..report })
    }

    /// Datagrams that the kernel is known to have dropped because the socket buffer was full.
    pub fn kernel_drops(&self) -> u64 {
        self.drops.total()
    }

    /// The bound address.
    pub fn local_address(&self) -> SocketAddr {
        self.socket.local_address()
    }

    /// Buffers that came out smaller than wished.
    pub fn warnings(&self) -> &[BufferWarning] {
        &self.warnings
    }
}
