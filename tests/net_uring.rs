//! What only the io_uring backend promises.

mod loopback;

use loopback::{SMALL, backends, collect, peer, port_on};
use std::time::Duration;
use tidelock::net::{Backend, PortConfig};

/// io_uring, unless this machine has been declared not to have it.
fn uring() -> Option<Backend> {
    backends().into_iter().find(|&backend| backend == Backend::Uring)
}

#[test]
fn a_flush_is_one_system_call_per_full_submission_queue() {
    let Some(backend) = uring() else { return };
    let sink = peer("127.0.0.1").local_addr().unwrap();
    for (entries, datagrams, calls) in
        [(4096, 1, 1), (4096, 4096, 1), (256, 1000, 4), (256, 256, 1)]
    {
        let config = PortConfig { submission_entries: entries, ..SMALL };
        let (mut port, _group) = port_on(backend, "127.0.0.1", &config);
        // The receive is armed, so that only sends are queued below.
        port.receive(0, Duration::ZERO, &mut |_| {}).unwrap();
        for slot in 0..datagrams {
            port.send_push(slot, 60, sink);
        }
        let report = port.flush().unwrap();
        assert_eq!((report.sent, report.system_calls), (datagrams as u64, calls));
    }
}

#[test]
fn running_out_of_buffers_is_counted_and_an_idle_poll_makes_no_system_call() {
    let Some(backend) = uring() else { return };
    let config = PortConfig { receive_buffers: 16, ..SMALL };
    let (mut port, _group) = port_on(backend, "127.0.0.1", &config);
    let sender = peer("127.0.0.1");
    (0..100).for_each(|_| drop(sender.send_to(&[1; 60], port.local_address())));
    let (got, sum) = collect(&mut *port, 100);
    assert_eq!((got.len(), sum.kernel_drops), (100, 0));
    assert!(sum.rearmed >= 5, "{} re-arms for 100 datagrams and 16 buffers", sum.rearmed);

    port.receive(0, Duration::ZERO, &mut |_| {}).unwrap();
    for _ in 0..10 {
        assert_eq!(port.receive(0, Duration::ZERO, &mut |_| {}).unwrap().system_calls, 0);
    }
}

#[test]
fn a_port_closed_with_a_receive_in_flight_and_datagrams_waiting_frees_its_buffers_safely() {
    let Some(backend) = uring() else { return };
    let sender = peer("127.0.0.1");
    // The kernel frees a ring some time after it is closed; small ones keep a hundred of them below
    // the locked-memory limit of an ordinary user.
    let config = PortConfig { submission_entries: 64, ..SMALL };
    for round in 0..50u8 {
        let (mut port, group) = port_on(backend, "127.0.0.1", &config);
        port.receive(0, Duration::ZERO, &mut |_| {}).unwrap();
        (0..20).for_each(|_| drop(sender.send_to(&[round; 60], port.local_address())));
        drop(port);
        // What the first port did not take is still in the socket for the next.
        let socket = group.socket(0).unwrap();
        let mut next = tidelock::net::open_port(socket, backend, &config).unwrap();
        let (got, _) = collect(&mut *next, 20);
        assert!(got.iter().all(|(_, payload)| *payload == [round; 60]));
        assert!(got.len() <= 20);
    }
}

#[test]
fn refusals_of_a_send_are_counted_while_thousands_of_receives_wait() {
    let Some(backend) = uring() else { return };
    let config = PortConfig { receive_buffers: 4096, ..SMALL };
    let (mut port, _group) = port_on(backend, "127.0.0.1", &config);
    let sender = peer("127.0.0.1");
    (0..3000).for_each(|_| drop(sender.send_to(&[1; 60], port.local_address())));
    for slot in 0..4000 {
        port.send_push(slot, 60, "127.0.0.1:0".parse().unwrap());
    }
    // The first flush happens before any receive: nothing is armed. The second between receives.
    let report = port.flush().unwrap();
    assert_eq!((report.sent, report.refused), (0, 4000));
    let (got, _) = collect(&mut *port, 3000);
    assert_eq!(got.len(), 3000);
    (0..3000).for_each(|_| drop(sender.send_to(&[2; 60], port.local_address())));
    (0..4000).for_each(|slot| port.send_push(slot, 60, "127.0.0.1:0".parse().unwrap()));
    assert_eq!(port.flush().unwrap().refused, 4000);
    assert_eq!(collect(&mut *port, 3000).0.len(), 3000);
}
