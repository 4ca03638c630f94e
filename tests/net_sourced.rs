//! The load generator's socket: many source addresses on one bound port.

mod loopback;

use loopback::{SMALL, backends, pattern, peer, port_on};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use tidelock::net::{SourcedConfig, SourcedPort, Sources};

const CONFIG: SourcedConfig = SourcedConfig {
    sources: Sources::Loopback,
    port: 0,
    receive_buffer: 8 << 20,
    send_slots: 2048,
};

/// Client `index`'s address in 127/8.
fn source(index: usize) -> Ipv4Addr {
    Ipv4Addr::from(0x7F01_0001 + index as u32 * 257)
}

#[test]
fn two_thousand_sources_on_one_port_are_told_apart_in_both_directions() {
    for backend in backends() {
        let (mut server, _group) = port_on(backend, "127.0.0.1", &SMALL);
        let mut client = SourcedPort::bind(&CONFIG).unwrap();
        let port = client.local_address().port();
        for index in 0..2000 {
            let payload = pattern(index as u64, 40);
            client.send_buffer(index)[..40].copy_from_slice(&payload);
            client.send_push(index, 40, source(index), server.local_address());
        }
        let report = client.flush().unwrap();
        assert_eq!((report.sent, report.refused, report.bytes), (2000, 0, 80_000));
        assert!(report.system_calls <= 2000 / 64, "{} system calls", report.system_calls);

        let (got, _) = loopback::collect(&mut *server, 2000);
        let by_source: HashMap<_, _> = got.into_iter().collect();
        for index in 0..2000 {
            let from = SocketAddr::new(IpAddr::V4(source(index)), port);
            assert_eq!(by_source[&from], pattern(index as u64, 40), "client {index}");
        }

        for (slot, (&to, payload)) in by_source.iter().enumerate() {
            server.send_buffer(slot)[..40].copy_from_slice(payload);
            server.send_push(slot, 40, to);
        }
        assert_eq!(server.flush().unwrap().sent, 2000);
        let (mut seen, mut calls) = (HashMap::new(), 0);
        while seen.len() < 2000 && calls < 20 {
            calls += 1;
            let report = client.receive(Duration::from_millis(200), &mut |batch| {
                for datagram in batch {
                    assert_eq!(datagram.from, server.local_address());
                    seen.insert(datagram.local, datagram.payload.to_vec());
                }
            });
            assert_eq!(report.unwrap().kernel_drops, 0);
        }
        assert!((0..2000).all(|index| seen[&source(index)] == pattern(index as u64, 40)));
    }
}

#[test]
fn a_run_from_one_source_arrives_as_the_datagrams_it_is_made_of() {
    for backend in backends() {
        let (mut server, _group) = port_on(backend, "127.0.0.1", &SMALL);
        let mut client = SourcedPort::bind(&CONFIG).unwrap();
        // Runs of 40, one of full datagrams that no single message could carry, an odd length and
        // another first byte in the middle, and an empty datagram.
        let lengths = [vec![78; 40], vec![1200; 60], vec![78, 77, 78, 0, 0, 78]].concat();
        let mut sent = Vec::new();
        for (slot, &len) in lengths.iter().enumerate() {
            let mut payload = pattern(slot as u64, len);
            payload.iter_mut().take(1).for_each(|first| *first = u8::from(slot == 20));
            client.send_buffer(slot)[..len].copy_from_slice(&payload);
            client.send_push(slot, len, source(slot / 10 * 10 % 30), server.local_address());
            sent.push(payload);
        }
        let report = client.flush().unwrap();
        assert_eq!((report.sent, report.refused), (lengths.len() as u64, 0));
        let (got, _) = loopback::collect(&mut *server, lengths.len());
        let port = client.local_address().port();
        for (slot, (from, payload)) in got.into_iter().enumerate() {
            let expected = SocketAddr::new(source(slot / 10 * 10 % 30).into(), port);
            assert_eq!((from, &payload), (expected, &sent[slot]), "datagram {slot}");
        }
    }
}

#[test]
fn plain_mode_speaks_from_one_address_of_either_family() {
    for ip in ["127.0.0.1", "::1", "0.0.0.0"] {
        let bound: IpAddr = ip.parse().unwrap();
        let config = SourcedConfig { sources: Sources::Plain(bound), ..CONFIG };
        let mut client = SourcedPort::bind(&config).unwrap();
        let server = peer(if bound.is_ipv6() { "::1" } else { "127.0.0.1" });
        client.send_buffer(0)[..3].copy_from_slice(b"abc");
        client.send_push(0, 3, Ipv4Addr::new(127, 9, 9, 9), server.local_addr().unwrap());
        assert_eq!(client.flush().unwrap().sent, 1);
        let mut buffer = [0; 16];
        let (len, from) = server.recv_from(&mut buffer).unwrap();
        assert_eq!((len, from.port()), (3, client.local_address().port()));
        assert_ne!(from.ip().to_string(), "127.9.9.9");
        server.send_to(&buffer[..len], from).unwrap();
        let mut seen = 0;
        let wait = Duration::from_secs(2);
        client
            .receive(wait, &mut |batch| {
                assert_eq!(batch[0].payload, b"abc");
                assert_eq!(batch[0].local, Ipv4Addr::UNSPECIFIED);
                seen += batch.len();
            })
            .unwrap();
        assert_eq!(seen, 1);
    }
}

#[test]
fn drops_of_a_full_buffer_are_counted_with_the_next_datagram() {
    let config = SourcedConfig { receive_buffer: 8 * 1024, ..CONFIG };
    let mut client = SourcedPort::bind(&config).unwrap();
    let server = peer("127.0.0.1");
    let to = SocketAddr::new(IpAddr::V4(source(5)), client.local_address().port());
    let mut seen = 0;
    for count in [300, 1] {
        (0..count).for_each(|_| assert_eq!(server.send_to(&[7; 60], to).unwrap(), 60));
        let wait = Duration::from_millis(200);
        seen += client.receive(wait, &mut |_| {}).unwrap().datagrams;
    }
    assert!(seen < 301 && client.kernel_drops() == 301 - seen, "{seen} seen");
}
