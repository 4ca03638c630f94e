//! Sockets and rings behind one trait. Knows nothing of what the bytes mean.
//!
//! # Life of a port
//! 1. On the main thread, [`SocketGroup::bind`] locks the port, binds the gate's socket (index 0)
//!    and one socket per shard in order, and attaches the steering program (`steer`). Print its
//!    [`warnings`](SocketGroup::warnings), mind whether it is
//!    [`unsteered`](SocketGroup::unsteered); keep the group until the server ends.
//! 2. On the thread that will use it, [`open_port`] turns a [`BoundSocket`] into a [`Port`] (an
//!    io_uring ring belongs to one thread, so its port cannot be sent to another).
//! 3. [`Port::receive`] hands out batches of at most [`BATCH`] datagrams, in place and mutable.
//!    [`Port::send_buffer`] / [`Port::send_push`] fill the arena, [`Port::flush`] hands it all
//!    over.
//!
//! Every call returns a report; [`ReceiveReport::record`] and [`SendReport::record`] add it to the
//! counters of the thread. A port allocates only when it is opened. `limits::DATAGRAM_MAX` bounds
//! every datagram; longer ones are dropped and counted, shorter ones (even empty ones) are handed
//! on: what is too short is the protocol's business.

mod address;
mod lock;
mod mmsg;
mod probe;
mod receive;
mod send;
mod socket;
mod sourced;
mod steer;
mod uring;

pub use lock::{LockError, PortLock};
pub use mmsg::MmsgPort;
pub use probe::{Chosen, IoChoice, UringUnavailable, choose_backend};
pub use receive::{BATCH, Datagram, ReceiveReport};
pub use send::SendReport;
pub use socket::{
    BindConfig, BindError, BoundSocket, BufferKind, BufferWarning, SocketGroup, Unsteered,
};
pub use sourced::{SourcedConfig, SourcedDatagram, SourcedPort, Sources};
pub use uring::UringPort;

use crate::limits::DATAGRAM_MAX;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// Gets the datagrams of a port, 1 to [`BATCH`] at a time.
pub type ReceiveHandler<'a> = &'a mut dyn FnMut(&mut [Datagram<'_>]);

/// One UDP socket of a server, whatever mechanism moves its datagrams.
pub trait Port {
    /// Hands the datagrams that have arrived to `handler`, in order of arrival, in batches.
    ///
    /// `min` and `timeout` say how to wait if fewer than `min` are there:
    /// * `min` 0, or a zero `timeout`: not at all (poll);
    /// * `min` 1: until the first arrives or `timeout` has passed;
    /// * `min` above 1: batch. The call prefers one late wake-up to many early ones and may sleep
    ///   for the whole `timeout` even if `min` datagrams arrive meanwhile. Keep the timeout to a
    ///   millisecond or two, and the socket buffer large enough for it.
    ///
    /// A signal may end the wait early. One call takes at most [`PortConfig::receive_buffers`]
    /// datagrams per drain (before and after the wait) and says in [`ReceiveReport::more`] if it
    /// stopped for that. Errors of single datagrams and of peers never surface; an `Err` means the
    /// port is of no use anymore.
    fn receive(
        &mut self,
        min: u32,
        timeout: Duration,
        handler: ReceiveHandler<'_>,
    ) -> io::Result<ReceiveReport>;

    /// Slots of the send arena, and datagrams that can be pushed between two flushes.
    fn send_capacity(&self) -> usize;

    /// Slot `slot` of the arena, to be written before it is pushed. Keeps what was last written
    /// into it. Slots are used again after every flush: small batches from few slots stay in the
    /// cache.
    fn send_buffer(&mut self, slot: usize) -> &mut [u8; DATAGRAM_MAX];

    /// Queues the first `len` bytes of `slot` for `to`. One slot may be pushed for several
    /// destinations.
    ///
    /// # Panics
    /// If `slot` or `len` is out of range, or more than `send_capacity()` datagrams are queued.
    fn send_push(&mut self, slot: usize, len: usize, to: SocketAddr);

    /// Hands all queued datagrams to the kernel and empties the queue. Never waits: what the kernel
    /// does not take at once is counted as refused and lost, as UDP may lose it anywhere.
    fn flush(&mut self) -> io::Result<SendReport>;

    /// Datagrams that the kernel is known to have dropped on this socket because its buffer was
    /// full.
    fn kernel_drops(&self) -> u64;

    /// The mechanism.
    fn backend(&self) -> Backend;

    /// The bound address.
    fn local_address(&self) -> SocketAddr;
}

/// The mechanism that moves datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// io_uring: multishot receive into a provided-buffer ring, one submission for all sends.
    Uring,
    /// recvmmsg and sendmmsg.
    Mmsg,
}

impl Backend {
    /// The word used in options and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uring => "uring",
            Self::Mmsg => "mmsg",
        }
    }
}

/// Memory of a port.
#[derive(Clone, Copy, Debug)]
pub struct PortConfig {
    /// Datagrams that can be received without us looking, at 1,280 bytes each (io_uring: the
    /// provided buffers, rounded up to a power of two; mmsg: only the bound of one drain). Two
    /// ticks of input keep the receive armed; fewer lose nothing, since the socket holds the rest.
    pub receive_buffers: u16,
    /// Slots of the send arena, at 1,216 bytes each.
    pub send_slots: usize,
    /// Entries of the submission queue, that is, datagrams per system call (io_uring only). A power
    /// of two up to 16,384.
    pub submission_entries: u32,
}

impl Default for PortConfig {
    fn default() -> Self {
        Self { receive_buffers: 4096, send_slots: 4096, submission_entries: 4096 }
    }
}

/// Opens a port on `socket` with the given mechanism. Call it on the thread that will use the port.
pub fn open_port(
    socket: BoundSocket,
    backend: Backend,
    config: &PortConfig,
) -> io::Result<Box<dyn Port>> {
    match backend {
        Backend::Uring => Ok(Box::new(UringPort::new(socket, config)?)),
        Backend::Mmsg => Ok(Box::new(MmsgPort::new(socket, config))),
    }
}
