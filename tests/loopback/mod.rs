//! Shared by the tests of `net`: a port on loopback, plain peers, a collector.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};
use tidelock::net::{
    Backend, BindConfig, IoChoice, Port, PortConfig, ReceiveReport, SocketGroup, choose_backend,
    open_port,
};

pub(crate) const SMALL: PortConfig =
    PortConfig { receive_buffers: 256, send_slots: 4096, submission_entries: 4096 };

/// The backends under test. io_uring may only be left out on purpose.
#[expect(clippy::disallowed_methods, reason = "the test environment speaks through a variable")]
pub(crate) fn backends() -> Vec<Backend> {
    match choose_backend(IoChoice::Uring, &SMALL) {
        Ok(_) => vec![Backend::Uring, Backend::Mmsg],
        Err(_) if std::env::var_os("TIDELOCK_TEST_NO_URING").is_some() => vec![Backend::Mmsg],
        Err(error) => panic!(
            "NOT TESTED: {error}\nSet TIDELOCK_TEST_NO_URING=1 to test only mmsg on this machine."
        ),
    }
}

/// A group of one socket on a free port of `ip`.
pub(crate) fn group_of(sockets: usize, ip: &str) -> SocketGroup {
    let address = SocketAddr::new(ip.parse().unwrap(), 0);
    SocketGroup::bind(&BindConfig::new(address, sockets)).unwrap()
}

/// A port on a free port of `ip`, with the group that keeps it alive.
pub(crate) fn port_on(
    backend: Backend,
    ip: &str,
    config: &PortConfig,
) -> (Box<dyn Port>, SocketGroup) {
    let group = group_of(1, ip);
    (open_port(group.socket(0).unwrap(), backend, config).unwrap(), group)
}

/// A plain socket on a free port of `ip`.
pub(crate) fn peer(ip: &str) -> UdpSocket {
    let socket = UdpSocket::bind((ip, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    socket
}

/// Receives until `want` datagrams came, none came for 150 ms, or two seconds passed; the sum of
/// all reports beside them.
pub(crate) fn collect(
    port: &mut dyn Port,
    want: usize,
) -> (Vec<(SocketAddr, Vec<u8>)>, ReceiveReport) {
    let (mut got, mut sum) = (Vec::new(), ReceiveReport::default());
    let end = Instant::now() + Duration::from_secs(2);
    while got.len() < want && Instant::now() < end {
        let report = port
            .receive(1, Duration::from_millis(150), &mut |batch| {
                got.extend(batch.iter().map(|d| (d.from, d.payload.to_vec())));
            })
            .unwrap();
        if report.datagrams + report.oversized == 0 && report.rearmed == 0 {
            break;
        }
        sum.datagrams += report.datagrams;
        sum.bytes += report.bytes;
        sum.oversized += report.oversized;
        sum.kernel_drops += report.kernel_drops;
        sum.rearmed += report.rearmed;
    }
    (got, sum)
}

/// Bytes that tell one datagram from all others of a test.
pub(crate) fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}
