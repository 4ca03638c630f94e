//! The floor on the server's own ports: io_uring, or recvmmsg and sendmmsg.

use super::{FloorArgs, FloorBackend, FloorCounts, Peers};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tidelock::host::clock::Clock;
use tidelock::net::{Backend, BindConfig, Port, PortConfig, SocketGroup, open_port};
use tidelock::time::Nanos;
use tidelock::units::TickRate;

/// Longest wait for a batch.
const WAIT: Nanos = Nanos::from_ms(2);
/// Datagrams worth waking up for.
const WORTH_WAKING: u32 = 64;

pub(super) fn serve(
    arguments: &FloorArgs,
    rate: TickRate,
    counts: &FloorCounts,
    announce: &dyn Fn(u16),
) -> Result<(), String> {
    let failed = |what: &str, error: &dyn std::fmt::Display| format!("floor: {what}: {error}");
    let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
    let group = SocketGroup::bind(&BindConfig::new(address, 1))
        .map_err(|error| failed("cannot bind", &error))?;
    let socket = group.socket(0).ok_or("floor: a group has a first socket")?;
    let backend = match arguments.backend {
        FloorBackend::Mmsg => Backend::Mmsg,
        FloorBackend::Uring | FloorBackend::Glommio => Backend::Uring,
    };
    let port = open_port(socket, backend, &PortConfig::default())
        .map_err(|error| failed("cannot open the port", &error))?;
    announce(group.local_address().port());
    run(port, arguments, rate, counts).map_err(|error| failed("the port broke", &error))
}

fn run(
    mut port: Box<dyn Port>,
    arguments: &FloorArgs,
    rate: TickRate,
    counts: &FloorCounts,
) -> std::io::Result<()> {
    let clock = Clock::start();
    let mut peers = Peers::new(arguments.players);
    for tick in 1u64.. {
        let start = Nanos(rate.start_ns(tick));
        loop {
            let left = start.since(clock.now());
            let wait = Duration::from_nanos(left.min(WAIT).0);
            let report = port.receive(WORTH_WAKING, wait, &mut |batch| {
                for datagram in batch {
                    peers.note(datagram.payload, datagram.from);
                }
            })?;
            FloorCounts::add(&counts.received, report.datagrams);
            if left == Nanos(0) && !report.more {
                break;
            }
        }
        let mut queued = 0;
        for peer in peers.known() {
            if queued == port.send_capacity() {
                FloorCounts::add(&counts.sent, port.flush()?.sent);
                queued = 0;
            }
            // One slot for all: nothing is written, as nothing is said.
            port.send_push(0, arguments.bytes, peer);
            queued += 1;
        }
        FloorCounts::add(&counts.sent, port.flush()?.sent);
        let late = clock.now() > Nanos(rate.start_ns(tick + 1));
        FloorCounts::add(&counts.overruns, u64::from(late));
    }
    Ok(())
}
