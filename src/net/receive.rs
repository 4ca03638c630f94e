//! Phase receive: what a batch of datagrams looks like to the rest of the server, and what is
//! counted about it. The mechanisms that fill a batch are `uring` and `mmsg`.
//!
//! Nothing here touches a socket; control messages are parsed from bytes.

use crate::limits::DATAGRAM_MAX;
use crate::metrics::{Counter, Counters, DropReason};
use std::net::{Ipv4Addr, SocketAddr};

/// Datagrams handed to a handler at a time, at most: enough to hide the cost of the call, few
/// enough that their first cache lines stay in the nearest cache while several passes go over them.
pub const BATCH: usize = 64;

/// One datagram in the receive buffer that the kernel filled. It may be changed in place (opened,
/// decompressed); the buffer goes back to the kernel when the handler returns.
#[derive(Debug)]
pub struct Datagram<'a> {
    /// The UDP payload, 0 to 1,200 bytes.
    pub payload: &'a mut [u8],
    /// The sender. IPv4 peers of a dual-stack socket appear as IPv4.
    pub from: SocketAddr,
}

const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

impl Datagram<'_> {
    /// A place in a batch that is not filled yet.
    pub(super) fn vacant() -> Self {
        Self { payload: &mut [], from: NOWHERE }
    }
}

/// What one call of [`Port::receive`](super::Port::receive) saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiveReport {
    /// Datagrams handed to the handler.
    pub datagrams: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Datagrams of more than 1,200 bytes, dropped.
    pub oversized: u64,
    /// Datagrams the kernel is newly known to have dropped because the socket buffer was full.
    pub kernel_drops: u64,
    /// Times the receive had to be armed again (io_uring only).
    pub rearmed: u64,
    /// System calls made.
    pub system_calls: u64,
    /// True if the call stopped at its own limit: the kernel holds more, poll again.
    pub more: bool,
}

impl ReceiveReport {
    /// Adds this report to the counters of the thread.
    pub fn record(&self, counters: &Counters) {
        counters.add(Counter::PacketsIn, self.datagrams + self.oversized);
        counters.add(Counter::BytesIn, self.bytes);
        counters.add(Counter::KernelDrops, self.kernel_drops);
        counters.add(Counter::ReceiveRearmed, self.rearmed);
        counters.drop_many(DropReason::Size, self.oversized);
    }

    /// Counts one datagram of `len` bytes and tells whether it may be handed on.
    pub(super) fn accepts(&mut self, len: usize, truncated: bool) -> bool {
        if truncated || len > DATAGRAM_MAX {
            self.oversized += 1;
            return false;
        }
        self.datagrams += 1;
        self.bytes += len as u64;
        true
    }
}

/// Follows the kernel's running total of dropped datagrams (SO_RXQ_OVFL). It is 32 bits wide,
/// wraps, and is attached to datagrams only once something was dropped.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct KernelDrops {
    last: u32,
    total: u64,
}

impl KernelDrops {
    /// Takes the running total that came with a datagram; returns how many drops are new.
    ///
    /// Datagrams arrive in the order in which they were queued, so the total never goes back; a
    /// difference in the upper half of the range would be 2^31 drops between two datagrams and is
    /// taken as noise.
    pub(super) fn observe(&mut self, running: u32) -> u64 {
        let new = running.wrapping_sub(self.last);
        if new > u32::MAX / 2 {
            return 0;
        }
        self.last = running;
        self.total += u64::from(new);
        u64::from(new)
    }

    pub(super) fn total(self) -> u64 {
        self.total
    }
}

/// Bytes of a control message header, rounded up to the alignment of the data behind it.
pub(super) const CONTROL_HEADER: usize = align(size_of::<libc::cmsghdr>());
/// Bytes of control data needed for one drop total.
pub(super) const CONTROL_DROPS: usize = CONTROL_HEADER + align(size_of::<u32>());
/// Bytes of control data needed for one `in_pktinfo`.
pub(super) const CONTROL_PKTINFO: usize = CONTROL_HEADER + align(size_of::<libc::in_pktinfo>());
/// Bytes of control data needed for the length of a segment.
pub(super) const CONTROL_SEGMENT: usize = CONTROL_HEADER + align(size_of::<u16>());

const fn align(len: usize) -> usize {
    len.next_multiple_of(size_of::<usize>())
}

/// The control messages that came with a datagram, as far as they concern us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Control {
    /// The kernel's running total of drops.
    pub(super) drops: Option<u32>,
    /// The local address the datagram was sent to.
    pub(super) local: Option<Ipv4Addr>,
}

impl Control {
    /// Parses control data as the kernel wrote it. Stops at the first message that does not fit.
    pub(super) fn parse(mut data: &[u8]) -> Self {
        let mut control = Self::default();
        while let Some((len, level, kind, body)) = first_message(data) {
            match (level, kind) {
                (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                    control.drops = body.first_chunk().map(|b| u32::from_ne_bytes(*b));
                }
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    // in_pktinfo: interface index, routing destination, destination in the header.
                    let address: Option<&[u8; 4]> = body.get(8..).and_then(|b| b.first_chunk());
                    control.local = address.map(|b| Ipv4Addr::from(*b));
                }
                _ => {}
            }
            let Some(rest) = data.get(align(len)..) else { break };
            data = rest;
        }
        control
    }
}

/// Length, level, kind and body of the first control message.
fn first_message(data: &[u8]) -> Option<(usize, i32, i32, &[u8])> {
    const WORD: usize = size_of::<usize>();
    let len = usize::from_ne_bytes(*data.first_chunk()?);
    let level = i32::from_ne_bytes(*data.get(WORD..)?.first_chunk()?);
    let kind = i32::from_ne_bytes(*data.get(WORD + 4..)?.first_chunk()?);
    Some((len, level, kind, data.get(CONTROL_HEADER..len)?))
}

/// Writes a control message that asks for `source` as the source address of a datagram.
pub(super) fn write_source(source: Ipv4Addr, out: &mut [u8; CONTROL_PKTINFO]) {
    out.fill(0);
    write_head(size_of::<libc::in_pktinfo>(), libc::IPPROTO_IP, libc::IP_PKTINFO, out);
    out[CONTROL_HEADER + 4..CONTROL_HEADER + 8].copy_from_slice(&source.octets());
}

/// Writes a control message that asks the kernel to cut a message into datagrams of `len` bytes.
pub(super) fn write_segment(len: u16, out: &mut [u8; CONTROL_SEGMENT]) {
    out.fill(0);
    write_head(size_of::<u16>(), libc::SOL_UDP, libc::UDP_SEGMENT, out);
    out[CONTROL_HEADER..CONTROL_HEADER + 2].copy_from_slice(&len.to_ne_bytes());
}

/// Writes the header of a control message that has `len` bytes of data.
fn write_head(len: usize, level: i32, kind: i32, out: &mut [u8]) {
    const WORD: usize = size_of::<usize>();
    out[..WORD].copy_from_slice(&(CONTROL_HEADER + len).to_ne_bytes());
    out[WORD..WORD + 4].copy_from_slice(&level.to_ne_bytes());
    out[WORD + 4..WORD + 8].copy_from_slice(&kind.to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: i32, level: i32, body: &[u8]) -> Vec<u8> {
        let mut out = (CONTROL_HEADER + body.len()).to_ne_bytes().to_vec();
        out.extend(level.to_ne_bytes());
        out.extend(kind.to_ne_bytes());
        out.extend(body);
        out.resize(align(out.len()), 0);
        out
    }

    #[test]
    fn kernel_drops_survive_the_wrap_of_their_counter() {
        let mut drops = KernelDrops::default();
        assert_eq!(drops.observe(3), 3);
        assert_eq!(drops.observe(3), 0);
        drops.last = u32::MAX - 1;
        assert_eq!(drops.observe(2), 4);
        assert_eq!(drops.observe(1), 0, "a total that goes back is not four billion drops");
        assert_eq!(drops.total(), 7);
    }

    #[test]
    fn both_control_messages_are_found_in_either_order() {
        let drops = message(libc::SO_RXQ_OVFL, libc::SOL_SOCKET, &77u32.to_ne_bytes());
        let mut info = [0; CONTROL_PKTINFO];
        write_source(Ipv4Addr::new(127, 1, 2, 3), &mut info);
        info[CONTROL_HEADER + 8..CONTROL_HEADER + 12].copy_from_slice(&[127, 4, 5, 6]);
        let want = Control { drops: Some(77), local: Some(Ipv4Addr::new(127, 4, 5, 6)) };
        assert_eq!(Control::parse(&[&drops[..], &info[..]].concat()), want);
        assert_eq!(Control::parse(&[&info[..], &drops[..]].concat()), want);
    }

    #[test]
    fn damaged_control_data_is_ignored_and_never_panics() {
        let good = message(libc::SO_RXQ_OVFL, libc::SOL_SOCKET, &77u32.to_ne_bytes());
        assert!((0..CONTROL_HEADER + 4).all(|len| Control::parse(&good[..len]).drops.is_none()));
        for len in [0usize, 1, 15, 16, 17, 1 << 20, usize::MAX] {
            let mut bad = good.clone();
            bad[..8].copy_from_slice(&len.to_ne_bytes());
            assert_eq!(Control::parse(&bad).drops, None, "length field {len}");
        }
    }
}
