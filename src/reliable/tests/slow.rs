//! Slow paths, and allowances that are short.

use super::*;

/// A server and a client whose packets all take `way_ms`.
struct Path {
    hosts: [Host; 2],
    /// When each arrives, milliseconds, and at whom.
    under_way: VecDeque<(u64, usize, Sent)>,
    way_ms: u64,
    ms: u64,
}

impl Path {
    fn new(way_ms: u64) -> Self {
        let hosts = [Host::new(Side::Server, [0; 2]), Host::new(Side::Client, [0; 2])];
        Self { hosts, under_way: VecDeque::new(), way_ms, ms: 0 }
    }

    fn is_open(&self) -> bool {
        self.hosts.iter().all(|host| host.endpoint.is_open())
    }

    /// Twenty milliseconds: a packet each way.
    fn step(&mut self) {
        let Self { hosts, under_way, way_ms, ms } = self;
        *ms += 20;
        let now = Nanos::from_ms(*ms);
        for (from, host) in hosts.iter_mut().enumerate() {
            let packet = host.packet(now).unwrap_or_else(|| {
                host.sequence += 1;
                (host.sequence, host.acks(), Packet::Empty)
            });
            under_way.push_back((*ms + *way_ms, 1 - from, packet));
            assert!(!host.endpoint.has_failed(now), "{way_ms} ms: lost after {ms} ms");
        }
        while under_way.front().is_some_and(|first| first.0 <= *ms) {
            let (_, to, packet) = under_way.pop_front().expect("looked at");
            hosts[to].handle(now, packet);
        }
    }
}

#[test]
fn delivery_opens_on_any_path_on_which_a_session_lives() {
    for way_ms in [10, 900, 1_400, 1_800, 3_000, 6_000, 7_000] {
        let mut path = Path::new(way_ms);
        while !path.is_open() {
            assert!(path.ms <= 16_000 + 4 * way_ms, "{way_ms} ms each way: never");
            path.step();
        }
    }
}

#[test]
fn messages_arrive_on_a_path_that_is_slower_than_the_longest_patience() {
    for way_ms in [10, 900, 1_400, 1_900, 2_600, 3_800] {
        let mut path = Path::new(way_ms);
        while !path.is_open() {
            path.step();
        }
        for number in 0..20 {
            path.hosts[0].push(Lane::Ordered, &[number; 40]).expect("few");
            (0..50).for_each(|_| path.step());
        }
        (0..4 * way_ms / 20).for_each(|_| path.step());
        let Path { hosts: [server, client], .. } = path;
        assert_eq!(client.delivered[0].len(), 20, "{way_ms} ms each way");
        assert_eq!(server.endpoint.unacknowledged(), 0, "{way_ms} ms each way");
    }
}

#[test]
fn a_late_acknowledgment_spares_what_is_to_be_sent_again() {
    let mut host = greeted([0; 2]);
    host.endpoint.hello_sent(1, Nanos(0));
    host.sequence = 1;
    host.endpoint.acknowledged(&mut host.pool, 1, Nanos::from_ms(20));
    host.push(Lane::Ordered, b"late").expect("open");
    let (first, ..) = host.packet(Nanos::from_ms(20)).expect("a packet");
    // Thought lost; no packet has left since.
    for newer in 1..=3 {
        host.endpoint.acknowledged(&mut host.pool, first + newer, Nanos::from_ms(40));
    }
    host.endpoint.acknowledged(&mut host.pool, first, Nanos::from_ms(41));
    assert!(host.packet(Nanos::from_ms(41)).is_none(), "it has arrived");
    assert_eq!((host.endpoint.unacknowledged(), host.pool.used()), (0, 0));
}

#[test]
fn short_messages_do_not_starve_a_long_one() {
    let mut host = greeted([0; 2]);
    host.endpoint.hello_sent(1, Nanos(0));
    host.sequence = 1;
    host.endpoint.acknowledged(&mut host.pool, 1, Nanos::from_ms(20));
    let pace = Pace { fresh: 6_000, again: 2_000 };
    host.push(Lane::Ordered, &[1; 8_000]).expect("room");
    let (mut parts, mut short) = (BTreeSet::new(), 0);
    for ms in 20..4_000 {
        let now = Nanos::from_ms(ms);
        if ms % 10 == 0 {
            _ = host.push(Lane::Unordered, &[2; 100]);
        }
        while let Some(load) = host.endpoint.prepare(&mut host.pool, now, pace) {
            host.sequence += 1;
            let (sequence, mut out) = (host.sequence, [0; 1_144]);
            let filled = host.endpoint.fill(&mut host.pool, load, sequence, now, pace, &mut out);
            match load.part {
                Some(part) => _ = parts.insert(part.offset),
                None => short += filled.fresh,
            }
            host.endpoint.acknowledged(&mut host.pool, sequence, now);
        }
    }
    assert_eq!(parts.len(), 8, "{short} short ones went before");
    assert!(short > 50, "{short}");
}
