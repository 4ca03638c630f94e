//! The default backend: one io_uring per port.
//!
//! Receive: one multishot `recvmsg` that stays armed and fills provided buffers (`buffers`), one
//! completion per datagram; it is armed again when the kernel ends it (no buffer was free, an empty
//! datagram, an error some peer's host sent). Send: one `send` with an address per datagram, as
//! many as the submission queue holds in one system call, no completion for those that succeed.
//!
//! The ring runs completions only when this thread enters it (DEFER_TASKRUN), so nothing here is
//! concurrent with the kernel: it reads and writes our memory during our system calls. And only the
//! thread that made the ring may enter it (SINGLE_ISSUER): [`UringPort`] is not `Send`.
#![allow(unsafe_code)]

mod buffers;

use super::mmsg::vector::is_broken;
use super::receive::{BATCH, Control, Datagram, KernelDrops, ReceiveReport};
use super::send::{Outbox, SendReport};
use super::socket::BoundSocket;
use super::{Backend, Port, PortConfig, ReceiveHandler, address};
use crate::limits::DATAGRAM_MAX;
use buffers::{BufferRing, CONTROL_ROOM, NAME_ROOM, PAYLOAD_AT};
use io_uring::types::{CancelBuilder, Fixed, RecvMsgOut, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue, opcode, squeue};
use std::collections::VecDeque;
use std::io;
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

/// The only registered file: our socket.
const SOCKET: Fixed = Fixed(0);
/// The only buffer group.
const GROUP: u16 = 0;
/// User data of the receive.
const RECEIVE: u64 = 1;
/// User data of every send; only failures complete.
const SEND: u64 = 2;
/// System calls without progress before a submission is given up. A submission stalls only while
/// the kernel is out of memory.
const STALLS_MAX: u32 = 1000;
/// Datagrams that the kernel takes from a socket before it lets others have a turn: fewer mean that
/// the socket was empty.
const ROUND: u64 = 32;
/// Rounds of a drain that bring nothing (the receive ends at once, again and again) before it
/// stops.
const BARREN_MAX: u32 = 8;

/// A port over io_uring.
pub struct UringPort {
    ring: IoUring,
    buffers: ManuallyDrop<BufferRing>,
    /// What the receive is armed with: the kernel reads the room for address and control data from
    /// it.
    template: Box<libc::msghdr>,
    outbox: Outbox,
    socket: BoundSocket,
    /// Completed receives that were not handed over yet, oldest first. Each holds a buffer, so
    /// there are never more than buffers.
    arrivals: VecDeque<Arrival>,
    /// The kernel has our receive, or the submission queue does.
    armed: bool,
    /// Times the receive ran out of buffers that no report has told yet.
    starved: u64,
    /// The errno of a receive that can never work.
    broken: Option<i32>,
    drops: KernelDrops,
    enter_flags: EnterFlags,
    /// The kernel ties the ring to this thread; so does the compiler.
    _not_send: PhantomData<*mut ()>,
}

/// A buffer that a completion handed over, and how much of it is filled.
#[derive(Clone, Copy)]
struct Arrival {
    buffer: u16,
    len: u32,
}

impl UringPort {
    /// A port on `socket`, bound to the calling thread. All memory it will ever use is allocated
    /// here.
    ///
    /// # Errors
    /// What the kernel says if it lacks something: `ENOSYS`, `EPERM` (forbidden), `EINVAL` (older
    /// than 6.1), `ENOMEM` (locked-memory limit).
    pub fn new(socket: BoundSocket, config: &PortConfig) -> io::Result<Self> {
        let buffers = BufferRing::new(config.receive_buffers)?;
        let sends = config.submission_entries.clamp(1, 1 << 14).next_power_of_two();
        let ring = build_ring(sends, u32::from(buffers.count()) + sends + 1)?;
        let enter_flags = match ring.params().is_feature_no_iowait() {
            true => EnterFlags::NO_IOWAIT,
            false => EnterFlags::empty(),
        };
        if !ring.params().is_feature_skip_cqe_on_success() || !ring.params().is_feature_ext_arg() {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let submitter = ring.submitter();
        submitter.register_files(&[socket.as_fd().as_raw_fd()])?;
        // SAFETY: the descriptors and buffers live in one allocation that is freed only after the
        // ring has no request left (see `Drop`), and `count` is its actual number of descriptors.
        unsafe {
            let (address, count) = (buffers.address(), buffers.count());
            submitter.register_buf_ring_with_flags(address, count, GROUP, 0)?;
        }
        // SAFETY: `msghdr` is a C structure of integers and raw pointers, for which zero bytes are
        // valid.
        let mut template: Box<libc::msghdr> =
            Box::new(unsafe { MaybeUninit::zeroed().assume_init() });
        template.msg_namelen = NAME_ROOM as libc::socklen_t;
        template.msg_controllen = CONTROL_ROOM as _;
        Ok(Self {
            arrivals: VecDeque::with_capacity(usize::from(buffers.count())),
            buffers: ManuallyDrop::new(buffers),
            outbox: Outbox::new(config.send_slots, socket.family()),
            ring,
            template,
            socket,
            armed: false,
            starved: 0,
            broken: None,
            drops: KernelDrops::default(),
            enter_flags,
            _not_send: PhantomData,
        })
    }

    /// Puts the receive into the submission queue unless the kernel still has it.
    fn arm(&mut self) {
        if self.armed {
            return;
        }
        let entry =
            opcode::RecvMsgMulti::new(SOCKET, &*self.template, GROUP).build().user_data(RECEIVE);
        // SAFETY: the entry points to the message header in its box, which lives as long as the
        // ring; the buffers it names live until the kernel has let go of it (see `Drop`).
        self.armed = unsafe { self.ring.submission().push(&entry) }.is_ok();
    }

    /// One system call: submits what is queued; runs what the kernel deferred and, if `wait` says
    /// so, waits for a number of completions or a time.
    fn enter(&mut self, wait: Option<(u32, Duration)>) -> io::Result<()> {
        let (submitter, mut queue, _) = self.ring.split();
        queue.sync();
        let (min, timeout) = wait.unwrap_or((0, Duration::ZERO));
        let timeout = Timespec::new().sec(timeout.as_secs()).nsec(timeout.subsec_nanos());
        let args = SubmitArgs::new().timespec(&timeout);
        let flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG | self.enter_flags;
        // SAFETY: EXT_ARG says that the argument is a `SubmitArgs`, which it is; it and the
        // timespec it points to live on this stack frame. What the queued entries point to is
        // argued where they are pushed.
        let result = unsafe { submitter.enter(queue.len() as u32, min, flags.bits(), Some(&args)) };
        match result {
            Ok(_) => Ok(()),
            // The time is up; a signal; the kernel is short of memory or has completions we did not
            // read.
            Err(error) => match error.raw_os_error() {
                Some(libc::ETIME | libc::EINTR | libc::EAGAIN | libc::EBUSY) => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// Submits everything queued without running what the kernel deferred: the receives of the next
    /// tick are not the business of a flush. Returns the number of system calls.
    fn submit_all(&mut self) -> io::Result<u64> {
        for calls in 0.. {
            let (submitter, mut queue, _) = self.ring.split();
            queue.sync();
            if queue.is_empty() {
                return Ok(calls);
            }
            if calls >= u64::from(STALLS_MAX) {
                break;
            }
            let queued = queue.len() as u32;
            // SAFETY: no flags, no argument. What the queued entries point to is argued where they
            // are pushed.
            let result = unsafe { submitter.enter::<libc::sigset_t>(queued, 0, 0, None) };
            match result.err().and_then(|error| error.raw_os_error()) {
                None | Some(libc::EINTR | libc::EAGAIN | libc::EBUSY) => {}
                Some(errno) => return Err(io::Error::from_raw_os_error(errno)),
            }
        }
        // The entries that are left would send whatever their slots hold later. This port must not
        // go on.
        Err(io::Error::from_raw_os_error(libc::ENOMEM))
    }

    /// Empties the completion queue: receives are kept for later. Returns how many sends failed.
    fn reap(&mut self) -> u64 {
        let mut refused = 0;
        for completion in self.ring.completion() {
            if completion.user_data() == SEND {
                refused += 1;
                continue;
            }
            let (result, flags) = (completion.result(), completion.flags());
            match (cqueue::buffer_select(flags), u32::try_from(result)) {
                (Some(buffer), len) => {
                    self.arrivals.push_back(Arrival { buffer, len: len.unwrap_or(0) });
                }
                (None, Err(_)) if result == -libc::ENOBUFS => self.starved += 1,
                (None, Err(_)) => {
                    let errno = -result;
                    let error = io::Error::from_raw_os_error(errno);
                    // EINVAL: this kernel knows no multishot recvmsg.
                    if errno == libc::EINVAL || is_broken(&error) {
                        self.broken = Some(errno);
                    }
                }
                (None, Ok(_)) => {}
            }
            if !cqueue::more(flags) {
                self.armed = false;
            }
        }
        refused
    }

    /// Takes what has arrived, at most as many datagrams as there are buffers. Enters the kernel as
    /// long as that promises a full round more; what trickles in meanwhile waits for the next call.
    /// Begins by entering unless the caller just did.
    fn drain(
        &mut self,
        mut enter: bool,
        report: &mut ReceiveReport,
        handler: ReceiveHandler<'_>,
    ) -> io::Result<()> {
        let mut left = u64::from(self.buffers.count());
        let mut barren = 0;
        loop {
            let before = left;
            self.reap();
            report.rearmed += std::mem::take(&mut self.starved);
            while !self.arrivals.is_empty() && left > 0 {
                left -= self.hand_over(left, report, handler);
            }
            if let Some(errno) = self.broken {
                return Err(io::Error::from_raw_os_error(errno));
            }
            let ended = !self.armed;
            self.arm();
            let took = before - left;
            report.more = left == 0;
            barren = if took == 0 { barren + 1 } else { 0 };
            if report.more || barren == BARREN_MAX || !(enter || ended || took >= ROUND) {
                return Ok(());
            }
            enter = false;
            let queue = self.ring.submission();
            if queue.is_empty() && !queue.taskrun() && !queue.cq_overflow() {
                return Ok(());
            }
            drop(queue);
            report.system_calls += 1;
            self.enter(None)?;
        }
    }

    /// Gives one batch of arrivals to the handler and their buffers back to the kernel; how many it
    /// were.
    fn hand_over(
        &mut self,
        limit: u64,
        report: &mut ReceiveReport,
        handler: ReceiveHandler<'_>,
    ) -> u64 {
        let count = self.arrivals.len().min(BATCH).min(limit as usize);
        let mut batch: [Datagram<'_>; BATCH] = std::array::from_fn(|_| Datagram::vacant());
        let mut filled = 0;
        for arrival in self.arrivals.iter().take(count) {
            // SAFETY: an arrival exists because a completion handed its buffer over, and the kernel
            // does not touch the buffer again before it is put back, which happens below, when the
            // batch is gone. No two arrivals name one buffer, for the same reason: it is lent out
            // once at a time.
            let bytes = unsafe { &mut *self.buffers.filled(arrival.buffer, arrival.len as usize) };
            let Ok(message) = RecvMsgOut::parse(bytes, &self.template) else { continue };
            let truncated = message.is_payload_truncated();
            let len = message.payload_data().len();
            if !message.control_data().is_empty()
                && let Some(running) = Control::parse(message.control_data()).drops
            {
                report.kernel_drops += self.drops.observe(running);
            }
            let Some(from) = address::decode(message.name_data()) else { continue };
            if report.accepts(len, truncated) {
                batch[filled] =
                    Datagram { payload: &mut bytes[PAYLOAD_AT..PAYLOAD_AT + len], from };
                filled += 1;
            }
        }
        if filled > 0 {
            handler(&mut batch[..filled]);
        }
        for arrival in self.arrivals.drain(..count) {
            self.buffers.put_back(arrival.buffer);
        }
        self.buffers.publish();
        count as u64
    }

    /// Queues sends from the outbox, beginning with datagram `from`, until the submission queue is
    /// full; returns the first that is left.
    ///
    /// Why the arena may be rewritten when `flush` has returned: `flush` returns `Ok` only when the
    /// kernel has consumed every entry. A send is tried while its entry is consumed, and completes
    /// there and then, because nothing can defer it: MSG_DONTWAIT makes the request NOWAIT
    /// (`io_sendmsg_prep` in the kernel's io_uring/net.c), so that it fails with EAGAIN where
    /// another would be parked until the socket is writable, and it is neither forced to a worker
    /// nor linked nor drained. And a send that is no zero-copy send has copied its bytes into the
    /// packet, and its address into the request, when it completes.
    fn queue_sends(&mut self, from: usize) -> usize {
        let mut queue = self.ring.submission();
        for index in from..self.outbox.len() {
            let (payload, to) = self.outbox.queued(index);
            let to = to.as_bytes();
            let entry = opcode::Send::new(SOCKET, payload.as_ptr(), payload.len() as u32)
                .dest_addr(to.as_ptr().cast())
                .dest_addr_len(to.len() as libc::socklen_t)
                .flags(libc::MSG_DONTWAIT)
                .build()
                .flags(squeue::Flags::SKIP_SUCCESS)
                .user_data(SEND);
            // SAFETY: payload and address lie in boxed memory of the outbox, which lives as long as
            // the ring and is not written before `flush` returns; after that the kernel does not
            // read it (see the function).
            if unsafe { queue.push(&entry) }.is_err() {
                return index;
            }
        }
        self.outbox.len()
    }
}

/// A ring for `sends` submissions and room for `completions`.
fn build_ring(sends: u32, completions: u32) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_submit_all()
        .setup_clamp()
        .setup_cqsize(completions.next_power_of_two());
    // Linux 6.6 can leave out one indirection per submission.
    let direct = builder.clone().setup_no_sqarray().build(sends);
    match direct {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => builder.build(sends),
        result => result,
    }
}

impl Port for UringPort {
    fn receive(
        &mut self,
        min: u32,
        timeout: Duration,
        handler: ReceiveHandler<'_>,
    ) -> io::Result<ReceiveReport> {
        let mut report = ReceiveReport::default();
        let wait = min > 0 && !timeout.is_zero() && self.arrivals.is_empty();
        if wait {
            // Returns at once if enough is there already, so that a poll before it would be wasted.
            self.arm();
            report.system_calls += 1;
            self.enter(Some((min, timeout)))?;
        }
        self.drain(!wait, &mut report, handler)?;
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
        let mut report = SendReport { bytes: self.outbox.bytes(), ..SendReport::default() };
        let mut next = 0;
        while next < self.outbox.len() {
            next = self.queue_sends(next);
            report.system_calls += self.submit_all()?;
            report.refused += self.reap();
        }
        report.sent = self.outbox.len() as u64 - report.refused;
        self.outbox.clear();
        Ok(report)
    }

    fn kernel_drops(&self) -> u64 {
        self.drops.total()
    }

    fn backend(&self) -> Backend {
        Backend::Uring
    }

    fn local_address(&self) -> SocketAddr {
        self.socket.local_address()
    }
}

impl Drop for UringPort {
    fn drop(&mut self) {
        // The receive must be gone before its buffers are: cancel it and wait for that. ENOENT:
        // there was none. Should the kernel fail to say so, the buffers are leaked rather than
        // freed under it.
        let cancelled = self.ring.submitter().register_sync_cancel(None, CancelBuilder::any());
        let gone = match &cancelled {
            Ok(()) => true,
            Err(error) => error.raw_os_error() == Some(libc::ENOENT),
        };
        if gone {
            // SAFETY: dropped once, here, and not used afterwards.
            unsafe { ManuallyDrop::drop(&mut self.buffers) };
        }
    }
}
