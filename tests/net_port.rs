//! The promises of `trait Port`, kept by every backend on real sockets.

mod loopback;

use loopback::{SMALL, backends, collect, group_of, pattern, peer, port_on};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tidelock::limits::DATAGRAM_MAX;
use tidelock::net::{BATCH, Backend, PortConfig, open_port};

fn for_each_backend(test: impl Fn(Backend)) {
    for backend in backends() {
        println!("backend: {}", backend.name());
        test(backend);
    }
}

#[test]
fn datagrams_of_many_sources_arrive_whole_with_their_addresses() {
    for_each_backend(|backend| {
        for (listen, reach) in [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("::", "127.0.0.1")] {
            let (mut port, _group) = port_on(backend, listen, &SMALL);
            let target = SocketAddr::new(reach.parse().unwrap(), port.local_address().port());
            let peers: Vec<_> = (0..20).map(|_| peer(reach)).collect();
            let mut sent = Vec::new();
            for round in 0..10u64 {
                for (index, peer) in peers.iter().enumerate() {
                    let payload = pattern(round * 100 + index as u64, 1 + (round * 133) as usize);
                    peer.send_to(&payload, target).unwrap();
                    sent.push((peer.local_addr().unwrap(), payload));
                }
            }
            let (mut got, report) = collect(&mut *port, sent.len());
            assert_eq!(report.datagrams, sent.len() as u64);
            assert_eq!(report.bytes, sent.iter().map(|(_, p)| p.len() as u64).sum::<u64>());
            got.sort();
            sent.sort();
            assert!(got == sent, "{listen}: what arrived is not what was sent");
        }
    });
}

#[test]
fn a_handler_gets_at_most_one_batch_at_a_time_and_may_write_into_it() {
    for_each_backend(|backend| {
        let (mut port, _group) = port_on(backend, "127.0.0.1", &SMALL);
        let sender = peer("127.0.0.1");
        for index in 0..150u8 {
            sender.send_to(&[index; 30], port.local_address()).unwrap();
        }
        let (mut seen, mut largest) = (0u64, 0);
        let end = Instant::now() + Duration::from_secs(2);
        while seen < 150 && Instant::now() < end {
            let report = port
                .receive(1, Duration::from_millis(50), &mut |batch| {
                    largest = largest.max(batch.len());
                    for datagram in batch.iter_mut() {
                        assert_eq!(datagram.payload.len(), 30);
                        assert!(datagram.payload.iter().all(|&b| b == datagram.payload[0]));
                        datagram.payload.fill(0xEE);
                    }
                })
                .unwrap();
            seen += report.datagrams;
        }
        assert_eq!(seen, 150);
        assert!(largest > 1 && largest <= BATCH, "largest batch {largest}");
    });
}

#[test]
fn empty_and_largest_datagrams_are_handed_on_and_longer_ones_dropped_and_counted() {
    for_each_backend(|backend| {
        let (mut port, _group) = port_on(backend, "127.0.0.1", &SMALL);
        let sender = peer("127.0.0.1");
        let sizes = [0, 1, 29, 30, 1199, DATAGRAM_MAX, 1201, 0, 1500, 9000, 65_000, 60];
        for &size in &sizes {
            sender.send_to(&pattern(size as u64, size), port.local_address()).unwrap();
        }
        let fit: Vec<usize> = sizes.into_iter().filter(|&s| s <= DATAGRAM_MAX).collect();
        let (got, report) = collect(&mut *port, fit.len());
        assert_eq!(got.iter().map(|(_, p)| p.len()).collect::<Vec<_>>(), fit, "order of arrival");
        assert!(got.iter().all(|(_, p)| *p == pattern(p.len() as u64, p.len())));
        assert_eq!((report.datagrams, report.oversized), (fit.len() as u64, 4));
    });
}

#[test]
fn a_flush_of_thousands_delivers_each_datagram_to_its_own_destination() {
    for_each_backend(|backend| {
        let (mut port, _group) = port_on(backend, "127.0.0.1", &SMALL);
        let peers: Vec<_> = (0..50).map(|_| peer("127.0.0.1")).collect();
        // Few enough per peer for its default receive buffer.
        let total = 3000;
        for slot in 0..total {
            let to = peers[slot % peers.len()].local_addr().unwrap();
            let payload = pattern(slot as u64, 30 + slot % 400);
            port.send_buffer(slot)[..payload.len()].copy_from_slice(&payload);
            port.send_push(slot, payload.len(), to);
        }
        let report = port.flush().unwrap();
        assert_eq!((report.sent, report.refused), (total as u64, 0));
        let mut buffer = [0; 2048];
        for (index, peer) in peers.iter().enumerate() {
            for slot in (index..total).step_by(peers.len()) {
                let (len, from) = peer.recv_from(&mut buffer).unwrap();
                assert_eq!(from, port.local_address());
                assert_eq!(buffer[..len], pattern(slot as u64, 30 + slot % 400), "slot {slot}");
            }
        }
        assert_eq!(port.flush().unwrap().sent, 0, "the queue is empty after a flush");
    });
}

#[test]
fn the_arena_may_be_rewritten_as_soon_as_flush_returns() {
    for_each_backend(|backend| {
        let (mut port, _group) = port_on(backend, "127.0.0.1", &SMALL);
        let peer = peer("127.0.0.1");
        for round in 0..100u8 {
            port.send_buffer(0)[..64].fill(round);
            port.send_push(0, 64, peer.local_addr().unwrap());
            assert_eq!(port.flush().unwrap().sent, 1);
            port.send_buffer(0)[..64].fill(0xFF);
        }
        let mut buffer = [0; 128];
        for round in 0..100u8 {
            assert_eq!(peer.recv(&mut buffer).unwrap(), 64);
            assert_eq!(buffer[..64], [round; 64]);
        }
    });
}

#[test]
fn one_slot_can_go_to_many_and_an_ipv4_peer_is_reached_from_an_ipv6_socket() {
    for_each_backend(|backend| {
        let (mut port, _group) = port_on(backend, "::", &SMALL);
        let peers = [peer("127.0.0.1"), peer("::1"), peer("127.0.0.1")];
        port.send_buffer(7)[..3].copy_from_slice(b"all");
        for peer in &peers {
            port.send_push(7, 3, peer.local_addr().unwrap());
        }
        assert_eq!(port.flush().unwrap().sent, 3);
        let mut buffer = [0; 16];
        assert!(peers.iter().all(|peer| peer.recv(&mut buffer).unwrap() == 3));
    });
}

#[test]
fn a_closed_port_at_the_other_end_does_not_disturb_the_others() {
    for_each_backend(|backend| {
        let (mut port, _group) = port_on(backend, "127.0.0.1", &SMALL);
        let alive = peer("127.0.0.1");
        let dead = peer("127.0.0.1").local_addr().unwrap();
        for round in 0..20u8 {
            for slot in 0..10 {
                port.send_buffer(slot)[0] = round;
                let to = if slot % 2 == 0 { dead } else { alive.local_addr().unwrap() };
                port.send_push(slot, 40, to);
            }
            let report = port.flush().unwrap();
            assert_eq!(report.sent + report.refused, 10);
            alive.send_to(&[round; 40], port.local_address()).unwrap();
            let (got, _) = collect(&mut *port, 1);
            assert_eq!(got, [(alive.local_addr().unwrap(), vec![round; 40])]);
        }
        let mut buffer = [0; 64];
        assert!((0..100).all(|_| alive.recv(&mut buffer).unwrap() == 40));
    });
}

#[test]
fn a_datagram_that_the_kernel_refuses_is_counted_and_the_rest_still_leaves() {
    for_each_backend(|backend| {
        let (mut port, _group) = port_on(backend, "127.0.0.1", &SMALL);
        let alive = peer("127.0.0.1");
        let impossible: [SocketAddr; 3] =
            ["127.0.0.1:0", "[::1]:9", "255.255.255.255:9"].map(|text| text.parse().unwrap());
        for slot in 0..40 {
            let to = match slot % 4 {
                3 => alive.local_addr().unwrap(),
                bad => impossible[bad],
            };
            port.send_push(slot, 40, to);
        }
        let report = port.flush().unwrap();
        assert_eq!((report.sent, report.refused), (10, 30));
        let mut buffer = [0; 64];
        assert!((0..10).all(|_| alive.recv(&mut buffer).unwrap() == 40));
    });
}

#[test]
fn waiting_ends_with_the_first_datagram_or_the_timeout_and_a_poll_never_waits() {
    for_each_backend(|backend| {
        let (mut port, _group) = port_on(backend, "127.0.0.1", &SMALL);
        let start = Instant::now();
        for _ in 0..100 {
            let report = port.receive(64, Duration::ZERO, &mut |_| {}).unwrap();
            assert_eq!(report.datagrams, 0);
            port.receive(0, Duration::from_secs(60), &mut |_| {}).unwrap();
        }
        assert!(start.elapsed() < Duration::from_secs(1), "a poll waited");
        for min in [1, 64] {
            let start = Instant::now();
            port.receive(min, Duration::from_millis(30), &mut |_| {}).unwrap();
            let waited = start.elapsed();
            assert!(waited >= Duration::from_millis(29), "{waited:?}");
            assert!(waited < Duration::from_millis(500), "{waited:?}");
        }
        let target = port.local_address();
        let sender = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            peer("127.0.0.1").send_to(&[1; 30], target).unwrap();
        });
        let start = Instant::now();
        let report = port.receive(1, Duration::from_secs(20), &mut |_| {}).unwrap();
        assert!(start.elapsed() < Duration::from_secs(10), "the first datagram did not wake us");
        assert_eq!(report.datagrams, 1);
        sender.join().unwrap();
    });
}

#[test]
fn a_batching_wait_takes_everything_that_came_meanwhile() {
    for_each_backend(|backend| {
        let (mut port, _group) = port_on(backend, "127.0.0.1", &SMALL);
        let target = port.local_address();
        let sender = std::thread::spawn(move || {
            let peer = peer("127.0.0.1");
            for _ in 0..60 {
                peer.send_to(&[1; 30], target).unwrap();
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        let (mut seen, mut calls) = (0, 0);
        while seen < 60 && calls < 1000 {
            seen += port.receive(64, Duration::from_millis(5), &mut |_| {}).unwrap().datagrams;
            calls += 1;
        }
        sender.join().unwrap();
        assert_eq!(seen, 60);
        assert!(calls < 30, "{calls} wake-ups for 60 datagrams");
    });
}

#[test]
fn what_the_kernel_drops_is_known_after_the_next_datagram() {
    for_each_backend(|backend| {
        let address = "127.0.0.1:0".parse().unwrap();
        let mut bind = tidelock::net::BindConfig::new(address, 1);
        bind.receive_buffer = 8 * 1024;
        let group = tidelock::net::SocketGroup::bind(&bind).unwrap();
        let mut port = open_port(group.socket(0).unwrap(), backend, &SMALL).unwrap();
        let sender = peer("127.0.0.1");
        let mut sent = 0;
        let mut received = 0;
        for _ in 0..3 {
            for _ in 0..200 {
                sender.send_to(&[9; 60], port.local_address()).unwrap();
                sent += 1;
            }
            let (got, _) = collect(&mut *port, 200);
            received += got.len();
        }
        // The drops of the last round are reported with the next datagram that fits.
        sender.send_to(&[9; 60], port.local_address()).unwrap();
        received += collect(&mut *port, 1).0.len();
        sent += 1;
        assert!(received < sent, "a buffer of 8 KiB cannot hold 200 datagrams");
        assert_eq!(port.kernel_drops(), (sent - received) as u64);
    });
}

#[test]
fn more_datagrams_than_buffers_are_all_delivered_because_the_kernel_holds_them() {
    for_each_backend(|backend| {
        let config = PortConfig { receive_buffers: 16, ..SMALL };
        let (mut port, _group) = port_on(backend, "127.0.0.1", &config);
        let sender = peer("127.0.0.1");
        for round in 0..5u64 {
            for index in 0..300 {
                sender.send_to(&pattern(round << 32 | index, 50), port.local_address()).unwrap();
            }
            let (got, _) = collect(&mut *port, 300);
            assert_eq!(got.len(), 300);
            for (index, (_, payload)) in got.iter().enumerate() {
                assert!(*payload == pattern(round << 32 | index as u64, 50), "order is kept");
            }
        }
        assert_eq!(port.kernel_drops(), 0);
    });
}

#[test]
fn a_flood_holds_a_thread_for_no_longer_than_the_limit_of_one_call() {
    for_each_backend(|backend| {
        let config = PortConfig { receive_buffers: 64, ..SMALL };
        let (mut port, _group) = port_on(backend, "127.0.0.1", &config);
        let sender = peer("127.0.0.1");
        (0..200).for_each(|_| drop(sender.send_to(&[5; 40], port.local_address())));
        let report = port.receive(0, Duration::ZERO, &mut |_| {}).unwrap();
        assert_eq!((report.datagrams, report.more), (64, true));
        assert_eq!(collect(&mut *port, 136).0.len(), 136);
        assert!(!port.receive(0, Duration::ZERO, &mut |_| {}).unwrap().more);
    });
}

#[test]
fn steering_sends_byte_zero_to_the_socket_of_that_index_whatever_the_source() {
    for_each_backend(|backend| {
        for (listen, reach) in [("127.0.0.1", "127.0.0.1"), ("::", "127.0.0.1"), ("::1", "::1")] {
            let group = group_of(3, listen);
            let mut ports: Vec<_> = (0..3)
                .map(|index| open_port(group.socket(index).unwrap(), backend, &SMALL).unwrap())
                .collect();
            let target = SocketAddr::new(reach.parse().unwrap(), group.local_address().port());
            for source in 0..30u8 {
                let peer = peer(reach);
                for index in 0..3 {
                    peer.send_to(&[index, source, 3, 4], target).unwrap();
                }
                peer.send_to(&[], target).unwrap();
                peer.send_to(&[200, source], target).unwrap();
            }
            let mut strays = 0;
            for (index, port) in ports.iter_mut().enumerate() {
                let (got, _) = collect(&mut **port, 90);
                let of = |kind: u8| got.iter().filter(|(_, p)| p.first() == Some(&kind)).count();
                assert_eq!(of(index as u8), 30, "socket {index}");
                let empty = got.iter().filter(|(_, p)| p.is_empty()).count();
                assert_eq!(empty, if index == 0 { 30 } else { 0 }, "empty ones go to the gate");
                strays += of(200);
                assert_eq!(got.len(), 30 + of(200) + empty, "socket {index} got a foreign index");
            }
            assert_eq!(strays, 30, "an index beyond the group arrives somewhere, by hash");
        }
    });
}
