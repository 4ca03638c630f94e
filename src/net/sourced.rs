//! A client's socket that speaks for thousands of hosts: each datagram leaves from a chosen source
//! address of 127/8, and each one received says which of them it was for. All of 127/8 belongs to
//! the loopback interface, so no address has to be configured.
//!
//! For the load generator. Not a [`Port`](super::Port): a server never chooses its source. Two
//! datagrams of different sources have different addresses but the same source port, that of the
//! one bound socket.
//!
//! Datagrams that are queued one after the other, equally long and from one source, go through the
//! kernel as one message, which it cuts apart where it delivers them: the way through the stack is
//! most of the cost of a send on loopback (2.8 us for one alone, 0.8 us for one of eight). Whoever
//! receives them sees no difference.

use super::address::Family;
use super::mmsg::vector::{Message, ReceiveVector, SEGMENTS_MAX, send_all, wait_readable};
use super::receive::{
    BATCH, CONTROL_PKTINFO, CONTROL_SEGMENT, KernelDrops, ReceiveReport, write_segment,
    write_source,
};
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
    /// Longest run: 1 where the kernel cannot cut it apart again.
    run_max: usize,
    inbox: ReceiveVector,
    outbox: Outbox,
    /// What is queued, in the order of the queue.
    runs: Vec<Run>,
    drops: KernelDrops,
    warnings: Vec<BufferWarning>,
}

/// Queued datagrams that go through the kernel as one message.
struct Run {
    /// Place of the first in the queue, and how many they are.
    first: usize,
    count: usize,
    kin: Kin,
    /// Bytes of `control` in use.
    control_len: usize,
    control: RunControl,
}

/// What the datagrams of a run have in common.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Kin {
    source: Ipv4Addr,
    to: SocketAddr,
    len: usize,
    /// A server that steers by this byte among its sockets steers a run by that of the first.
    first_byte: u8,
}

/// Source address, then length of a segment. Aligned as the kernel aligns control messages.
#[repr(C, align(8))]
struct RunControl([u8; CONTROL_PKTINFO + CONTROL_SEGMENT]);

impl Run {
    fn new(first: usize, kin: Kin, chosen: bool) -> Self {
        let mut run = Self {
            first,
            count: 1,
            kin,
            control_len: if chosen { CONTROL_PKTINFO } else { 0 },
            control: RunControl([0; CONTROL_PKTINFO + CONTROL_SEGMENT]),
        };
        if let Some((out, _)) = run.control.0.split_first_chunk_mut() {
            write_source(kin.source, out);
        }
        run
    }

    /// Whether a datagram of `kin` may be the next one.
    fn takes(&self, kin: &Kin, run_max: usize) -> bool {
        let fits = self.count < run_max && (self.count + 1) * kin.len <= RUN_BYTES;
        self.kin == *kin && fits && kin.len > 0
    }

    /// Takes one more datagram in.
    fn grow(&mut self) {
        self.count += 1;
        if self.control_len == CONTROL_PKTINFO {
            if let Some((_, out)) = self.control.0.split_last_chunk_mut() {
                write_segment(self.kin.len as u16, out);
            }
            self.control_len += CONTROL_SEGMENT;
        }
    }
}

/// Longest message that UDP over IPv4 can carry, and the kernel cut.
const RUN_BYTES: usize = 65_507;

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
        // Only on loopback: a network card may be unable to do what cutting asks of it.
        let cuts = chosen && steer::cuts_segments(&socket);
        Ok(Self {
            chosen,
            run_max: if cuts { SEGMENTS_MAX } else { 1 },
            inbox: ReceiveVector::new(),
            outbox: Outbox::new(config.send_slots, Family::of(address)),
            runs: Vec::with_capacity(config.send_slots),
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
        let first = self.outbox.len();
        self.outbox.push(slot, len, to);
        let first_byte = self.outbox.buffer(slot)[0];
        let kin = Kin { source, to, len, first_byte };
        match self.runs.last_mut() {
            Some(run) if run.takes(&kin, self.run_max) => run.grow(),
            _ => self.runs.push(Run::new(first, kin, self.chosen)),
        }
    }

    /// Hands all queued datagrams to the kernel, 256 per system call, and empties the queue. Never
    /// waits: what the kernel does not take at once is refused, and lost.
    pub fn flush(&mut self) -> io::Result<SendReport> {
        let (outbox, runs) = (&self.outbox, &self.runs);
        let result = send_all(self.socket.as_fd(), runs.len(), |index| {
            let run = &runs[index];
            let queued = run.first..run.first + run.count;
            Message {
                payloads: queued.map(|place| outbox.queued(place).0),
                to: outbox.queued(run.first).1.as_bytes(),
                control: &run.control.0[..run.control_len],
            }
        });
        let bytes = self.outbox.bytes();
        self.outbox.clear();
        self.runs.clear();
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
