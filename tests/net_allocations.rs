//! A port allocates when it is opened and never again: no receive and no flush of a warm port
//! touches the heap, whatever arrives.

mod counting;
mod loopback;

use counting::allocations;
use loopback::{SMALL, backends, peer, port_on};
use std::net::Ipv4Addr;
use std::time::Duration;
use tidelock::net::{Port, PortConfig, SourcedConfig, SourcedPort, Sources};

/// Datagrams in, datagrams out, one of each kind that can occur.
fn round(port: &mut dyn Port, sender: &std::net::UdpSocket) -> u64 {
    let closed = "127.0.0.1:1".parse().unwrap();
    let unreachable = "127.0.0.1:0".parse().unwrap();
    let here = sender.local_addr().unwrap();
    for size in [60, 0, 1200, 1201, 60] {
        (0..20).for_each(|_| drop(sender.send_to(&[1; 2000][..size], port.local_address())));
    }
    let mut seen = 0;
    for (min, timeout) in [(1, 2_000), (64, 200), (0, 0)] {
        let timeout = Duration::from_micros(timeout);
        let report = port.receive(min, timeout, &mut |batch| seen += batch.len() as u64).unwrap();
        assert_eq!(report.kernel_drops, 0);
    }
    for slot in 0..300 {
        let to = [here, closed, unreachable][slot % 3];
        port.send_push(slot, 100, to);
    }
    assert_eq!(port.flush().unwrap().refused, 100);
    seen
}

#[test]
fn a_warm_port_receives_and_flushes_without_allocating() {
    for backend in backends() {
        // Few buffers and a short submission queue, so that re-arming and full queues occur as
        // well.
        let config = PortConfig { receive_buffers: 32, submission_entries: 64, ..SMALL };
        let (mut port, _group) = port_on(backend, "127.0.0.1", &config);
        let sender = peer("127.0.0.1");
        let mut seen = 0;
        (0..10).for_each(|_| seen += round(&mut *port, &sender));
        let count = allocations(|| (0..100).for_each(|_| seen += round(&mut *port, &sender)));
        assert!(seen > 110 * 50, "{}: only {seen} datagrams arrived", backend.name());
        assert_eq!(count, 0, "{}", backend.name());
    }
}

#[test]
fn a_warm_sourced_port_does_not_allocate_either() {
    let mut port = SourcedPort::bind(&SourcedConfig {
        sources: Sources::Loopback,
        port: 0,
        receive_buffer: 1 << 20,
        send_slots: 300,
    })
    .unwrap();
    let to = (Ipv4Addr::new(127, 3, 2, 1), port.local_address().port()).into();
    let mut echo = || {
        for slot in 0..300 {
            port.send_push(slot, 100, Ipv4Addr::new(127, 1, 1, slot as u8), to);
        }
        assert_eq!(port.flush().unwrap().sent, 300);
        let wait = Duration::from_millis(100);
        assert_eq!(port.receive(wait, &mut |_| {}).unwrap().datagrams, 300);
    };
    echo();
    assert_eq!(allocations(|| (0..50).for_each(|_| echo())), 0);
}
