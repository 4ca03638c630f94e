//! Raw socket options: the steering program of a port, and the options `socket2` does not know.
//!
//! Steering: the sockets of one port form an SO_REUSEPORT group in the order in which they were
//! bound. The two-instruction classic BPF program `A = payload byte 0; return A` picks the socket:
//! 0 is the gate, 1 and up are the shards. What it does at its edges:
//! * an empty datagram has no byte 0, the load fails, the program returns 0: it goes to the gate;
//! * a byte 0 that is no index of the group makes the kernel fall back to its hash of addresses and
//!   ports: the datagram arrives at *some* socket, whose owner sees a foreign index and drops it.
//!   Nobody gains by that: a flood of byte 0 = 1 reaches a shard all the same, and fails there at
//!   the slot check.
//!
//! Where the program is refused (seccomp, old kernels) or not wanted, the kernel picks every socket
//! by its hash of addresses and ports, and whoever gets a datagram for another hands it on.
//!
//! Called by `socket`, once per port, after the whole group is bound.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Attaches the steering program to the group that `socket` belongs to.
pub(super) fn attach(socket: &impl AsFd) -> io::Result<()> {
    /// Load an absolute byte of the packet into the accumulator. Offset 0 is the first payload
    /// byte: for a reuseport program the kernel has already pulled the UDP header.
    const LOAD_BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
    const RETURN_A: u16 = (libc::BPF_RET | libc::BPF_A) as u16;
    let mut program = [
        libc::sock_filter { code: LOAD_BYTE, jt: 0, jf: 0, k: 0 },
        libc::sock_filter { code: RETURN_A, jt: 0, jf: 0, k: 0 },
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: SO_ATTACH_REUSEPORT_CBPF takes a `struct sock_fprog` (socket(7)). It and the
    // instructions it points to live until the end of this function, and the kernel copies both
    // during the call.
    unsafe { set(socket, libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF, &filter) }
}

/// Makes the kernel attach its running total of dropped datagrams to those that follow a drop.
pub(super) fn report_drops(socket: &impl AsFd) -> io::Result<()> {
    set_int(socket, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1)
}

/// Makes the kernel attach the local address a datagram was sent to (IPv4).
pub(super) fn report_local_address(socket: &impl AsFd) -> io::Result<()> {
    set_int(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)
}

/// Forbids fragmentation and makes the kernel ignore what ICMP says about the path: our datagrams
/// fit every path with an MTU of 1,280, and a forged ICMP message must not be able to have them
/// fragmented. Saves the kernel the choice of an identification per datagram as well.
pub(super) fn never_fragment(socket: &impl AsFd, ipv6: bool) -> io::Result<()> {
    if ipv6 {
        set_int(socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_PROBE)?;
    }
    // Also for the IPv4 side of a dual-stack socket.
    set_int(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE)
}

/// Sets the receive buffer beyond the system's limit; needs CAP_NET_ADMIN.
pub(super) fn force_receive_buffer(socket: &impl AsFd, bytes: usize) -> io::Result<()> {
    let bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
    set_int(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, bytes)
}

/// Sets the send buffer beyond the system's limit; needs CAP_NET_ADMIN.
pub(super) fn force_send_buffer(socket: &impl AsFd, bytes: usize) -> io::Result<()> {
    let bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
    set_int(socket, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, bytes)
}

/// Whether the kernel cuts a message into datagrams when a control message says how long they are:
/// Linux 4.18. An older one would ignore that and send one long datagram.
pub(super) fn cuts_segments(socket: &impl AsFd) -> bool {
    set_int(socket, libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok()
}

fn set_int(socket: &impl AsFd, level: i32, option: i32, value: i32) -> io::Result<()> {
    // SAFETY: all options passed here take an `int` (socket(7), ip(7)), which holds no pointer.
    unsafe { set(socket, level, option, &value) }
}

/// # Safety
/// `T` must be the type that `option` takes, and what it points to must be alive during the call.
unsafe fn set<T>(socket: &impl AsFd, level: i32, option: i32, value: &T) -> io::Result<()> {
    // SAFETY: the descriptor is open because it is borrowed; `value` is readable for its size; that
    // it has the type `option` wants is the caller's promise.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
