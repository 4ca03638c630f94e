//! The two system calls that move many datagrams at once, with safe faces: `recvmmsg` into owned
//! buffers, `sendmmsg` from borrowed ones. Used by [`MmsgPort`](super::MmsgPort) and by `sourced`.
#![allow(unsafe_code)]

use crate::limits::DATAGRAM_MAX;
use crate::net::address::{RawAddress, decode};
use crate::net::receive::{BATCH, CONTROL_DROPS, CONTROL_PKTINFO, Control, ReceiveReport};
use crate::net::send::{SendReport, Slot};
use std::io;
use std::mem::{MaybeUninit, take};
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// Room for every control message that a socket of ours may attach.
const CONTROL_ROOM: usize = CONTROL_DROPS + CONTROL_PKTINFO;

/// What the kernel tells about one datagram.
struct Envelope {
    from: RawAddress,
    control: ControlRoom,
    control_len: usize,
    payload_len: usize,
    truncated: bool,
}

/// Aligned as the kernel aligns control messages.
#[repr(C, align(8))]
struct ControlRoom([u8; CONTROL_ROOM]);

/// Buffers for one batch of received datagrams, 64 of them.
pub(in crate::net) struct ReceiveVector {
    payloads: Box<[Slot]>,
    envelopes: Box<[Envelope]>,
}

/// One received datagram, still in its buffer.
pub(in crate::net) struct Received<'a> {
    pub(in crate::net) payload: &'a mut [u8],
    /// `None` if the kernel reported an address of no known family.
    pub(in crate::net) from: Option<SocketAddr>,
    pub(in crate::net) control: Control,
    /// The datagram was longer than its buffer of 1,200 bytes.
    pub(in crate::net) truncated: bool,
}

impl ReceiveVector {
    pub(in crate::net) fn new() -> Self {
        let envelope = |_| Envelope {
            from: RawAddress::EMPTY,
            control: ControlRoom([0; CONTROL_ROOM]),
            control_len: 0,
            payload_len: 0,
            truncated: false,
        };
        Self {
            payloads: (0..BATCH).map(|_| Slot([0; DATAGRAM_MAX])).collect(),
            envelopes: (0..BATCH).map(envelope).collect(),
        }
    }

    /// Takes up to 64 datagrams from `socket` without waiting; returns how many. Fails with
    /// `WouldBlock` if there are none.
    pub(in crate::net) fn fill(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        let mut parts = [const { MaybeUninit::<libc::iovec>::uninit() }; BATCH];
        let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; BATCH];
        let buffers = self.payloads.iter_mut().zip(&mut self.envelopes);
        for ((part, header), (payload, envelope)) in parts.iter_mut().zip(&mut headers).zip(buffers)
        {
            let part = part.write(libc::iovec {
                iov_base: payload.0.as_mut_ptr().cast(),
                iov_len: DATAGRAM_MAX,
            });
            let part = std::slice::from_mut(part);
            header.write(mmsghdr(envelope.from.bytes_mut(), part, &mut envelope.control.0));
        }
        // SAFETY: recvmmsg(2) reads `vlen` headers and writes through each: up to `msg_namelen`
        // bytes of address, `iov_len` bytes of payload, `msg_controllen` bytes of control data, and
        // back into the header. All 64 headers are initialized above and point into arrays of
        // exactly these sizes, which are exclusively borrowed by `self` or live on this stack frame
        // until after the call. A null timeout is allowed; MSG_DONTWAIT makes the call return at
        // once.
        let taken = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr().cast(),
                BATCH as u32,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        if taken < 0 {
            return Err(io::Error::last_os_error());
        }
        let taken = (taken as usize).min(BATCH);
        for (header, envelope) in headers[..taken].iter().zip(&mut self.envelopes) {
            // SAFETY: every header was initialized above, and the kernel wrote plain integers into
            // it.
            let header = unsafe { header.assume_init_ref() };
            envelope.payload_len = (header.msg_len as usize).min(DATAGRAM_MAX);
            envelope.control_len = header.msg_hdr.msg_controllen.min(CONTROL_ROOM);
            envelope.truncated = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
        }
        Ok(taken)
    }

    /// Takes what `socket` holds, up to `limit` datagrams and one batch more, and calls `deliver`
    /// with the number of datagrams in each batch. Stops at the first batch that is not full.
    pub(in crate::net) fn drain(
        &mut self,
        socket: BorrowedFd<'_>,
        limit: u64,
        report: &mut ReceiveReport,
        mut deliver: impl FnMut(&mut Self, usize, &mut ReceiveReport),
    ) -> io::Result<()> {
        let mut taken = 0;
        while taken < limit {
            report.system_calls += 1;
            let count = match self.fill(socket) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if is_broken(&error) => return Err(error),
                // An interruption, or an error that a peer's host reported: the call consumed it.
                Err(_) => {
                    taken += 1;
                    continue;
                }
            };
            taken += count as u64;
            deliver(self, count, report);
            if count < BATCH {
                return Ok(());
            }
        }
        report.more = true;
        Ok(())
    }

    /// The first `count` datagrams, as left by the last [`fill`](Self::fill).
    pub(in crate::net) fn received(&mut self, count: usize) -> impl Iterator<Item = Received<'_>> {
        let filled = self.payloads.iter_mut().zip(&self.envelopes).take(count);
        filled.map(|(payload, envelope)| Received {
            payload: &mut payload.0[..envelope.payload_len],
            from: decode(envelope.from.bytes()),
            control: Control::parse(&envelope.control.0[..envelope.control_len]),
            truncated: envelope.truncated,
        })
    }
}

/// A message header over the given parts.
fn mmsghdr(name: &mut [u8], parts: &mut [libc::iovec], control: &mut [u8]) -> libc::mmsghdr {
    // SAFETY: `mmsghdr` is a C structure of integers and raw pointers (and padding on some
    // targets), for all of which zero bytes are a valid value.
    let mut header: libc::mmsghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    header.msg_hdr.msg_name = name.as_mut_ptr().cast();
    header.msg_hdr.msg_namelen = name.len() as libc::socklen_t;
    header.msg_hdr.msg_iov = parts.as_mut_ptr();
    header.msg_hdr.msg_iovlen = parts.len() as _;
    header.msg_hdr.msg_control = control.as_mut_ptr().cast();
    header.msg_hdr.msg_controllen = control.len() as _;
    header
}

/// What the kernel is handed at a time, borrowed for as long as the call takes: one datagram, or
/// several that `control` asks it to cut apart again.
pub(in crate::net) struct Message<'a, P> {
    /// The datagrams' payloads in order, at most [`SEGMENTS_MAX`].
    pub(in crate::net) payloads: P,
    pub(in crate::net) to: &'a [u8],
    /// Control messages, or nothing.
    pub(in crate::net) control: &'a [u8],
}

/// Datagrams handed over by one system call.
const SEND_BATCH: usize = 256;

/// Datagrams that the kernel cuts one message into, at most (`UDP_MAX_SEGMENTS` of Linux 4.18; it
/// has only grown since).
pub(in crate::net) const SEGMENTS_MAX: usize = 64;

const _: () = assert!(SEGMENTS_MAX <= SEND_BATCH, "every message fits an empty batch");

/// After this many refusals in a row for want of buffer space the rest of the batch is given up:
/// each further attempt would be a system call of its own, on the thread that has a tick to finish.
const REFUSALS_IN_A_ROW: u32 = 8;

/// Sends `count` messages, the `n`-th being `message(n)`. A message that the kernel refuses is
/// skipped and its datagrams counted; only a socket that cannot be used at all is an error.
pub(in crate::net) fn send_all<'a, P>(
    socket: BorrowedFd<'_>,
    count: usize,
    message: impl Fn(usize) -> Message<'a, P>,
) -> io::Result<SendReport>
where
    P: ExactSizeIterator<Item = &'a [u8]>,
{
    let datagrams = |of: Range<usize>| of.map(|n| message(n).payloads.len() as u64).sum::<u64>();
    let mut report = SendReport::default();
    let (mut done, mut refusals) = (0, 0);
    while done < count {
        let batch = (count - done).min(SEND_BATCH);
        let result = send_batch(socket, batch, |index| message(done + index));
        report.system_calls += 1;
        match result {
            Ok(sent) => {
                report.sent += datagrams(done..done + sent);
                done += sent;
                refusals = 0;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if is_broken(&error) => return Err(error),
            // The error belongs to the first message of the batch; the others were not looked at.
            Err(error) => {
                report.refused += datagrams(done..done + 1);
                done += 1;
                let full = error.kind() == io::ErrorKind::WouldBlock;
                refusals = if full { refusals + 1 } else { 0 };
                if refusals == REFUSALS_IN_A_ROW {
                    report.refused += datagrams(done..count);
                    break;
                }
            }
        }
    }
    Ok(report)
}

/// One `sendmmsg` of the first of `count` messages, up to [`SEND_BATCH`] datagrams; how many
/// messages the kernel took, at least one.
fn send_batch<'a, P>(
    socket: BorrowedFd<'_>,
    count: usize,
    message: impl Fn(usize) -> Message<'a, P>,
) -> io::Result<usize>
where
    P: ExactSizeIterator<Item = &'a [u8]>,
{
    const NOTHING: libc::iovec = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
    let mut parts = [NOTHING; SEND_BATCH];
    let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; SEND_BATCH];
    let (mut free, mut filled) = (&mut parts[..], 0);
    for (index, header) in headers.iter_mut().take(count).enumerate() {
        let Message { payloads, to, control } = message(index);
        let length = payloads.len();
        if length > free.len() {
            break;
        }
        let (own, rest) = take(&mut free).split_at_mut(length);
        free = rest;
        for (part, payload) in own.iter_mut().zip(payloads) {
            let iov_base = payload.as_ptr().cast_mut().cast();
            *part = libc::iovec { iov_base, iov_len: payload.len() };
        }
        filled += 1;
        let header = header.write(mmsghdr(&mut [], own, &mut []));
        header.msg_hdr.msg_name = to.as_ptr().cast_mut().cast();
        header.msg_hdr.msg_namelen = to.len() as libc::socklen_t;
        header.msg_hdr.msg_control = control.as_ptr().cast_mut().cast();
        header.msg_hdr.msg_controllen = control.len() as _;
    }
    // SAFETY: sendmmsg(2) reads `vlen` headers and what they point to, and writes only `msg_len` of
    // each header. The first `filled` headers are initialized above; their parts live on this stack
    // frame, and payloads, addresses and control data are borrowed for 'a, which outlives the call.
    // Without MSG_ZEROCOPY the kernel has copied everything when the call returns.
    let sent = unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr().cast(),
            filled as u32,
            libc::MSG_DONTWAIT,
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(sent as usize) }
}

/// Waits until `socket` has something to read, `timeout` has passed or a signal came.
pub(in crate::net) fn wait_readable(socket: BorrowedFd<'_>, timeout: Duration) -> io::Result<()> {
    let mut poll = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let timeout = libc::timespec {
        tv_sec: timeout.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    };
    // SAFETY: ppoll(2) reads and writes one `pollfd`, reads the timespec, and accepts a null signal
    // mask; both structures live on this stack frame.
    let ready = unsafe { libc::ppoll(&mut poll, 1, &timeout, std::ptr::null()) };
    if ready >= 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) }
}

/// Whether an error means that the socket itself is of no use, as against one datagram that failed
/// or an ICMP message that some peer's host sent back.
pub(in crate::net) fn is_broken(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EBADF | libc::ENOTSOCK | libc::EFAULT | libc::ENOSYS | libc::EOPNOTSUPP)
    )
}
