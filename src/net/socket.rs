//! Binding a port: the group of sockets in order, their buffers, their options, the lock.
//!
//! Called once at start. Everything that can go wrong here is an operator's problem and comes back
//! as one error that names cause and fix; a buffer that is smaller than wished is a warning value,
//! and printing it is the caller's business.

use super::address::Family;
use super::lock::{LockError, PortLock};
use super::steer;
use crate::limits::SOCKETS_MAX;
use socket2::{Domain, Protocol, Socket, Type};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// What to bind.
#[derive(Clone, Debug)]
pub struct BindConfig {
    /// Address and port. Port 0 takes a free one. An unspecified IPv6 address serves IPv4 too.
    pub address: SocketAddr,
    /// Sockets in the group: the gate and one per shard, 1 to 256.
    pub sockets: usize,
    /// Bytes of datagrams each socket may hold for us. The kernel grants twice as much and counts
    /// its own overhead: a datagram of 60 bytes takes 832 of them, one of 400 takes 1,280.
    pub receive_buffer: usize,
    /// Bytes of datagrams each socket may have on their way out.
    pub send_buffer: usize,
    /// Whether the kernel is asked to bring every datagram to the socket that its byte 0 names.
    pub steer: bool,
}

impl BindConfig {
    /// `sockets` sockets on `address` with buffers for thousands of players.
    pub fn new(address: SocketAddr, sockets: usize) -> Self {
        Self { address, sockets, receive_buffer: 16 << 20, send_buffer: 4 << 20, steer: true }
    }
}

/// A bound UDP socket. Cheap to clone: all clones are the same socket.
#[derive(Clone, Debug)]
pub struct BoundSocket {
    socket: Arc<Socket>,
    address: SocketAddr,
}

impl BoundSocket {
    /// The address it is bound to, with the actual port.
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn family(&self) -> Family {
        Family::of(self.address)
    }
}

impl AsFd for BoundSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// All sockets of one port. Keep it as long as the server runs: closing one member of the group
/// would renumber the others and send their datagrams to the wrong shards, so the group holds a
/// share of each.
#[derive(Debug)]
pub struct SocketGroup {
    sockets: Vec<BoundSocket>,
    unsteered: Option<Unsteered>,
    warnings: Vec<BufferWarning>,
    _lock: PortLock,
}

impl SocketGroup {
    /// Binds the group of `config`: takes the lock of the port, binds the sockets in order,
    /// attaches the steering program. A program that is refused is no error, see
    /// [`unsteered`](Self::unsteered).
    pub fn bind(config: &BindConfig) -> Result<Self, BindError> {
        Self::bind_with(config, steer::attach)
    }

    fn bind_with(
        config: &BindConfig,
        attach: impl FnOnce(&BoundSocket) -> io::Result<()>,
    ) -> Result<Self, BindError> {
        if !(1..=SOCKETS_MAX).contains(&config.sockets) {
            return Err(BindError::Count(config.sockets));
        }
        let fail = |source| BindError::of(config.address, source);
        let early = (config.address.port() != 0)
            .then(|| PortLock::acquire(config.address.port()))
            .transpose()
            .map_err(BindError::Lock)?;
        // The first member binds *without* SO_REUSEPORT and sets it afterwards: bound that way, a
        // port that anybody already has is an error, even if the other has SO_REUSEPORT set, and a
        // free port asked for with 0 is really free.
        let first = bind_one(config.address, false).map_err(fail)?;
        first.socket.set_reuse_port(true).map_err(fail)?;
        let address = first.address;
        let lock = match early {
            Some(lock) => lock,
            None => PortLock::acquire(address.port()).map_err(BindError::Lock)?,
        };
        let mut sockets = vec![first];
        for _ in 1..config.sockets {
            sockets.push(bind_one(address, true).map_err(fail)?);
        }
        let unsteered = match config.steer {
            _ if config.sockets == 1 => None,
            true => attach(&sockets[0]).err().map(|error| Unsteered::Refused(error.to_string())),
            false => Some(Unsteered::Unwanted),
        };
        let mut warnings = Vec::new();
        for socket in &sockets {
            steer::report_drops(socket).map_err(fail)?;
            size_buffers(socket, config.receive_buffer, config.send_buffer, &mut warnings)
                .map_err(fail)?;
        }
        Ok(Self { sockets, unsteered, warnings, _lock: lock })
    }

    /// Socket `index`: 0 is the gate, 1 and up are the shards.
    pub fn socket(&self, index: usize) -> Option<BoundSocket> {
        self.sockets.get(index).cloned()
    }

    /// Sockets in the group.
    pub fn len(&self) -> usize {
        self.sockets.len()
    }

    /// Never true; a group has at least one socket.
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    /// The address all of them are bound to, with the actual port.
    pub fn local_address(&self) -> SocketAddr {
        self.sockets[0].address
    }

    /// Why the kernel does not bring datagrams to the sockets that they name; `None` if it does.
    pub fn unsteered(&self) -> Option<&Unsteered> {
        self.unsteered.as_ref()
    }

    /// Buffers that came out smaller than wished.
    pub fn warnings(&self) -> &[BufferWarning] {
        &self.warnings
    }
}

/// A lone socket outside any group, for clients: `address` with port 0 takes a free port.
pub(super) fn bind_alone(
    address: SocketAddr,
    receive_buffer: usize,
    send_buffer: usize,
) -> io::Result<(BoundSocket, Vec<BufferWarning>)> {
    let socket = bind_one(address, false)?;
    steer::report_drops(&socket)?;
    let mut warnings = Vec::new();
    size_buffers(&socket, receive_buffer, send_buffer, &mut warnings)?;
    Ok((socket, warnings))
}

/// Binds one socket; `member` joins the group of those already bound to the address.
fn bind_one(address: SocketAddr, member: bool) -> io::Result<BoundSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    if member {
        socket.set_reuse_port(true)?;
    }
    steer::never_fragment(&socket, address.is_ipv6())?;
    socket.bind(&address.into())?;
    let unexpected = || io::Error::other("the kernel reports an address that is not an IP address");
    let address = socket.local_addr()?.as_socket().ok_or_else(unexpected)?;
    Ok(BoundSocket { socket: Arc::new(socket), address })
}

/// Asks for both buffers, with privilege if we have it, and reads back what we got.
fn size_buffers(
    bound: &BoundSocket,
    receive: usize,
    send: usize,
    warnings: &mut Vec<BufferWarning>,
) -> io::Result<()> {
    let socket = &bound.socket;
    if steer::force_receive_buffer(bound, receive).is_err() {
        socket.set_recv_buffer_size(receive.min(i32::MAX as usize))?;
    }
    if steer::force_send_buffer(bound, send).is_err() {
        socket.set_send_buffer_size(send.min(i32::MAX as usize))?;
    }
    // The kernel reports twice what it grants: the other half is its own bookkeeping (socket(7)).
    let granted = [
        (BufferKind::Receive, receive, socket.recv_buffer_size()? / 2),
        (BufferKind::Send, send, socket.send_buffer_size()? / 2),
    ];
    for (kind, wished, granted) in granted {
        let warning = BufferWarning { kind, wished, granted };
        // The sockets of a group are all treated alike: one warning for all.
        if granted < wished && !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
    Ok(())
}

/// Why the sockets of a group get each other's datagrams. Prints as a warning: cause, consequence,
/// and what mends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsteered {
    /// The configuration says so.
    Unwanted,
    /// The kernel refused the program, for this reason.
    Refused(String),
}

impl fmt::Display for Unsteered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unwanted => f.write_str("net.steering is \"off\"")?,
            Self::Refused(error) => write!(
                f,
                "the kernel refused the steering program ({error}); it takes Linux 4.5 and a \
                 seccomp filter that allows setsockopt SO_ATTACH_REUSEPORT_CBPF"
            )?,
        }
        f.write_str(
            ": datagrams arrive at any socket of the port, and each thread hands on what belongs \
             to others (counted as `forwarded`; as `queue_full` what finds no room). That costs \
             CPU time and a millisecond or two; the gate has no lower priority then, and a flood \
             of handshakes reaches the shards, too",
        )
    }
}

/// Which buffer of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BufferKind {
    /// Datagrams that wait for us.
    Receive,
    /// Datagrams on their way out.
    Send,
}

/// A socket buffer smaller than wished. Prints as one sentence with the command that mends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferWarning {
    /// Which buffer.
    pub kind: BufferKind,
    /// Bytes asked for.
    pub wished: usize,
    /// Bytes granted.
    pub granted: usize,
}

impl BufferWarning {
    /// The command that raises the limit far enough.
    pub fn sysctl(&self) -> String {
        let name = match self.kind {
            BufferKind::Receive => "rmem_max",
            BufferKind::Send => "wmem_max",
        };
        format!("sysctl -w net.core.{name}={}", self.wished)
    }
}

impl fmt::Display for BufferWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            BufferKind::Receive => "receive",
            BufferKind::Send => "send",
        };
        write!(
            f,
            "the socket {kind} buffer is {} bytes instead of {}: bursts may be lost. As root: {}",
            self.granted,
            self.wished,
            self.sysctl()
        )
    }
}

/// Why a port could not be bound.
#[derive(Debug)]
pub enum BindError {
    /// Another server holds the port.
    Lock(LockError),
    /// The port is taken by something that is no server of ours.
    InUse(SocketAddr),
    /// The address is not one of this host.
    NoSuchAddress(SocketAddr),
    /// Ports below 1,024 need a privilege.
    Privileged(SocketAddr),
    /// Not 1 to 256 sockets.
    Count(usize),
    /// Anything else.
    Other(SocketAddr, io::Error),
}

impl BindError {
    fn of(address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse(address),
            io::ErrorKind::AddrNotAvailable => Self::NoSuchAddress(address),
            io::ErrorKind::PermissionDenied if address.port() < 1024 => Self::Privileged(address),
            _ => Self::Other(address, source),
        }
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lock(error) => error.fmt(f),
            Self::InUse(address) => write!(
                f,
                "UDP {address} is in use by another program. `ss -ulpn` names it; stop it or \
                 choose another port."
            ),
            Self::NoSuchAddress(address) => write!(
                f,
                "{} is not an address of this host. Use one that `ip address` lists, or 0.0.0.0.",
                address.ip()
            ),
            Self::Privileged(address) => write!(
                f,
                "port {} is below 1024 and needs the capability CAP_NET_BIND_SERVICE. Choose a \
                 higher port.",
                address.port()
            ),
            Self::Count(sockets) => {
                write!(f, "{sockets} sockets on one port: there can be 1 to {SOCKETS_MAX}.")
            }
            Self::Other(address, source) => write!(f, "cannot bind UDP {address}: {source}"),
        }
    }
}

impl std::error::Error for BindError {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, UdpSocket};

    fn config(sockets: usize) -> BindConfig {
        BindConfig::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), sockets)
    }

    fn refuse(_: &BoundSocket) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    /// Sends 64 datagrams for socket 1 from different ports; how many came to each socket.
    fn spread(group: &SocketGroup) -> Vec<usize> {
        for _ in 0..64 {
            let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            sender.send_to(&[1; 40], group.local_address()).unwrap();
        }
        let received = |socket: &BoundSocket| {
            socket.socket.set_nonblocking(true).unwrap();
            let mut buffer = [std::mem::MaybeUninit::uninit(); 64];
            std::iter::from_fn(|| socket.socket.recv(&mut buffer).ok()).count()
        };
        group.sockets.iter().map(received).collect()
    }

    #[test]
    fn a_refused_steering_program_is_a_warning_and_every_socket_gets_datagrams() {
        let group = SocketGroup::bind_with(&config(3), refuse).unwrap();
        let text = group.unsteered().expect("it was refused").to_string();
        for part in ["permission denied", "seccomp", "forwarded", "queue_full"] {
            assert!(text.contains(part), "{text}");
        }
        let spread = spread(&group);
        assert!(spread.iter().sum::<usize>() == 64 && spread.iter().all(|&n| n > 0), "{spread:?}");
    }

    #[test]
    fn steering_can_be_switched_off_and_one_socket_needs_none() {
        let off = SocketGroup::bind(&BindConfig { steer: false, ..config(2) }).unwrap();
        assert_eq!(off.unsteered(), Some(&Unsteered::Unwanted));
        assert!(Unsteered::Unwanted.to_string().contains("net.steering"));
        let alone = SocketGroup::bind(&BindConfig { steer: false, ..config(1) }).unwrap();
        assert_eq!(alone.unsteered(), None);
        let steered = SocketGroup::bind(&config(3)).unwrap();
        assert_eq!((steered.unsteered(), spread(&steered)), (None, vec![0, 64, 0]));
    }
}
