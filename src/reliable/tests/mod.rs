//! Two endpoints on a network that loses, repeats and reorders, against a model that knows what was
//! sent.

mod hostile;
mod slow;

use super::*;
use crate::limits::{FRAGMENT_LEN, REORDER_BYTES};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

const PACE: Pace = Pace { fresh: 200_000, again: 100_000 };

/// `length u16 | type | id | body`, as the wire has it.
fn framed(kind: u8, id: u16, body: &[u8]) -> Vec<u8> {
    let length = (body.len() + 3) as u16;
    let [a, b] = length.to_le_bytes();
    let [c, d] = id.to_le_bytes();
    [&[a, b, kind, c, d], body].concat()
}

fn parse(bytes: &[u8]) -> Option<(u8, u16, &[u8])> {
    let length = u16::from_le_bytes(bytes.get(..2)?.try_into().ok()?);
    let whole = bytes.len() == usize::from(length) + 2 && length >= 3;
    whole.then(|| (bytes[2], u16::from_le_bytes([bytes[3], bytes[4]]), &bytes[5..]))
}

/// All messages of a packet.
fn each(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut all = Vec::new();
    while let Some(length) = bytes.get(..2) {
        let length = usize::from(u16::from_le_bytes([length[0], length[1]])) + 2;
        let (one, rest) = bytes.split_at(length);
        all.push(one);
        bytes = rest;
    }
    all
}

/// A packet under way.
#[derive(Clone, Debug)]
enum Packet {
    Hello(Hello),
    Load(Load, Vec<u8>),
    /// Nothing but acknowledgments.
    Empty,
}

/// A packet with its sequence and what it acknowledges.
type Sent = (u64, Vec<u64>, Packet);

/// One end: sequences, what it processed, and what it delivered.
struct Host {
    endpoint: Endpoint,
    pool: Pool,
    sequence: u64,
    processed: BTreeSet<u64>,
    known: BTreeSet<u64>,
    delivered: [Vec<Vec<u8>>; 2],
    again: u64,
    fresh: u64,
}

impl Host {
    fn new(side: Side, first_ids: [u16; 2]) -> Self {
        Self {
            endpoint: Endpoint::new(side, side.hello(first_ids), Nanos(0)),
            pool: Pool::growing(4_096),
            sequence: 0,
            processed: BTreeSet::new(),
            known: BTreeSet::new(),
            delivered: Default::default(),
            again: 0,
            fresh: 0,
        }
    }

    fn push(&mut self, lane: Lane, body: &[u8]) -> Result<u16, SendError> {
        let id = self.endpoint.next_id(lane);
        let message = framed(9, id, body);
        self.endpoint.push(&mut self.pool, lane, false, [&message[..5], &message[5..]])
    }

    /// The next packet with the sequences that it acknowledges.
    fn packet(&mut self, now: Nanos) -> Option<Sent> {
        let packet = if let Some(hello) = self.endpoint.hello_due(now) {
            self.endpoint.hello_sent(self.sequence + 1, now);
            Packet::Hello(hello)
        } else if let Some(load) = self.endpoint.prepare(&mut self.pool, now, PACE) {
            let mut out = vec![0; if load.part.is_some() { 1_144 } else { 1_152 }];
            let sequence = self.sequence + 1;
            let filled = self.endpoint.fill(&mut self.pool, load, sequence, now, PACE, &mut out);
            out.truncate(filled.length);
            self.fresh += u64::from(filled.fresh);
            self.again += u64::from(filled.again);
            Packet::Load(load, out)
        } else {
            return None;
        };
        self.sequence += 1;
        Some((self.sequence, self.acks(), packet))
    }

    fn acks(&self) -> Vec<u64> {
        self.processed.iter().rev().take(65).copied().collect()
    }

    fn handle(&mut self, now: Nanos, (sequence, acks, packet): Sent) {
        if self.processed.contains(&sequence) {
            return;
        }
        for &ack in acks.iter().rev() {
            if self.known.insert(ack) {
                self.endpoint.acknowledged(&mut self.pool, ack, now);
            }
        }
        let taken = match packet {
            Packet::Hello(hello) => self.endpoint.hear(hello).map(|()| Taken::Processed),
            Packet::Empty => Ok(Taken::Processed),
            Packet::Load(load, bytes) => self.load(now, load, &bytes),
        };
        if taken.expect("both ends are correct") == Taken::Processed {
            self.processed.insert(sequence);
        }
    }

    fn load(&mut self, now: Nanos, load: Load, bytes: &[u8]) -> Result<Taken, Fault> {
        let Self { endpoint, pool, delivered, .. } = self;
        let mut deliver = |message: Delivered<'_>| {
            assert_eq!(message.kind, 9);
            delivered[message.lane as usize].push(message.body.to_vec());
        };
        let Load { lane, is_compressed, part, .. } = load;
        if let Some(part) = part {
            let fragment = Fragment { lane, part, is_compressed, bytes };
            return endpoint.accept_part(pool, fragment, now, |_, it| parse(it), &mut deliver);
        }
        let mut all = Taken::Processed;
        for message in each(bytes) {
            let (kind, id, body) = parse(message).expect("a message");
            let message = Delivered { lane, kind, is_compressed, body };
            let taken = endpoint.accept(pool, id, message, now, &mut deliver)?;
            all = if taken == Taken::Refused { taken } else { all };
        }
        Ok(all)
    }

    /// Messages that were delivered, for hosts that are told directly.
    fn told(&mut self, lane: Lane, id: u16, body: &[u8]) -> Result<Taken, Fault> {
        let message = framed(9, id, body);
        let load = Load { at: 0, lane, is_compressed: false, part: None };
        self.load(Nanos(0), load, &message)
    }

    fn told_part(&mut self, id: u16, offset: u16, total: u32, now: Nanos) -> Result<Taken, Fault> {
        let length = (total as usize).saturating_sub(offset.into()).min(FRAGMENT_LEN);
        self.told_bytes(id, offset, total, &vec![7; length], now)
    }

    fn told_bytes(
        &mut self,
        id: u16,
        offset: u16,
        total: u32,
        bytes: &[u8],
        now: Nanos,
    ) -> Result<Taken, Fault> {
        let part = Some(Part { id, offset, total });
        let load = Load { at: 0, lane: Lane::Ordered, is_compressed: false, part };
        self.load(now, load, bytes)
    }
}

/// A server that has heard a client's hello.
fn greeted(first_ids: [u16; 2]) -> Host {
    let mut host = Host::new(Side::Server, [0; 2]);
    host.endpoint.hear(Side::Client.hello(first_ids)).expect("the first");
    host
}

/// What becomes of packet number `count`: copies, and rounds until they arrive. The bytes decide,
/// and how often they were all used, lest one message meets the same byte for ever.
fn draw(fate: &[u8], count: u64) -> (u64, u64) {
    let byte = |at: u64| u64::from(fate[at as usize % fate.len()]);
    let mixed = (count << 8 | byte(count)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ mixed >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 20;
    let (lost, repeated) = (byte(0) % 20, byte(1) % 40);
    let copies = match mixed % 100 {
        it if it < lost => 0,
        it if it < lost + repeated => 2,
        _ => 1,
    };
    (copies, (mixed >> 10) % (1 + byte(2) % 16))
}

/// Lets two endpoints talk through the weather that `fate` makes, and checks every promise.
fn play(fate: &[u8], sizes: &[(usize, bool)], first_ids: [u16; 2], rounds: u64) -> [Host; 2] {
    let mut hosts = [Host::new(Side::Server, first_ids), Host::new(Side::Client, first_ids)];
    let mut to_send = [sizes.to_vec(), sizes.to_vec()].map(VecDeque::from);
    let mut sent: [[Vec<Vec<u8>>; 2]; 2] = Default::default();
    let mut under_way = BTreeMap::new();
    let mut count = 0_u64;
    for round in 0..rounds {
        let now = Nanos::from_ms(round * 10);
        for from in 0..2 {
            while let Some(&(length, ordered)) = to_send[from].front() {
                let lane = if ordered { Lane::Ordered } else { Lane::Unordered };
                let number = sent[from].iter().map(Vec::len).sum::<usize>();
                let cap = if from == 0 { 65_531 } else { 16_379 };
                let length = length.min(cap).max(8);
                let body: Vec<u8> = (0..length).map(|i| (i * 7 + number) as u8).collect();
                let body = [&(number as u64).to_le_bytes(), &body[8..]].concat();
                if hosts[from].push(lane, &body).is_err() {
                    break;
                }
                sent[from][lane as usize].push(body);
                to_send[from].pop_front();
            }
            let mut packets: Vec<_> = (0..2).filter_map(|_| hosts[from].packet(now)).collect();
            if packets.is_empty() {
                hosts[from].sequence += 1;
                packets.push((hosts[from].sequence, hosts[from].acks(), Packet::Empty));
            }
            for packet in packets {
                count += 10;
                let (copies, delay) = draw(fate, count);
                let copies = if round > rounds / 2 { 1 } else { copies };
                for copy in 0..copies {
                    let (count, at) = (count + copy, round + 1 + delay + 3 * copy);
                    under_way.insert((at, count), (1 - from, packet.clone()));
                }
            }
        }
        while let Some(arrived) = under_way.first_entry().filter(|first| first.key().0 <= round) {
            let (to, packet) = arrived.remove();
            hosts[to].handle(now, packet);
        }
        for (from, sent) in sent.iter().enumerate() {
            let got = &hosts[1 - from].delivered;
            assert!(got[0].len() <= sent[0].len() && got[0] == sent[0][..got[0].len()], "FIFO");
            assert!(!hosts[from].endpoint.has_failed(now), "round {round}");
            assert!(hosts[from].endpoint.held_bytes() <= REORDER_BYTES + 4 * 65_536);
        }
    }
    for (from, mut sent) in sent.into_iter().enumerate() {
        let mut got = hosts[1 - from].delivered.clone();
        assert!(to_send[from].is_empty(), "everything was taken over");
        assert_eq!(got[0], sent[0], "ordered: all, once, in order");
        got[1].sort();
        sent[1].sort();
        assert_eq!(got[1], sent[1], "unordered: all, once");
        assert_eq!(hosts[from].endpoint.unacknowledged(), 0);
    }
    assert!(hosts.iter().all(|host| host.pool.used() == 0), "all memory is given back");
    hosts
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 200, ..ProptestConfig::with_cases(24) })]
    #[test]
    fn every_message_arrives_once_and_the_ordered_ones_in_order(
        fate in prop::collection::vec(any::<u8>(), 20..400),
        sizes in prop::collection::vec(
            (prop_oneof![4 => 8..200_usize, 1 => 1_000..6_000_usize], any::<bool>()), 1..120),
        first in any::<[u16; 2]>(),
    ) {
        play(&fate, &sizes, first, 3_000);
    }
}

#[test]
fn the_longest_messages_and_a_full_window_arrive() {
    let sizes = [(65_531, true), (40_000, false), (1_147, true), (1_148, true), (65_531, true)];
    play(&[15, 17, 10, 99, 255, 130, 43], &sizes, [65_530, 65_000], 6_000);
    play(&[0, 0, 0], &[(60, true); 700], [65_500, 0], 2_000);
}

#[test]
fn what_is_not_lost_is_not_sent_again() {
    for host in play(&[0, 0, 0], &[(100, true); 200], [0; 2], 1_000) {
        assert_eq!((host.fresh, host.again), (200, 0));
    }
}

#[test]
fn three_newer_acknowledgments_are_faster_than_the_timeout() {
    let mut host = greeted([0; 2]);
    host.endpoint.hello_sent(1, Nanos(0));
    host.sequence = 1;
    host.endpoint.acknowledged(&mut host.pool, 1, Nanos::from_ms(20));
    host.push(Lane::Ordered, b"lost").expect("open");
    let now = Nanos::from_ms(30);
    let (first, ..) = host.packet(now).expect("a packet");
    assert!(host.packet(now).is_none(), "it is on its way");
    for newer in 1..=3 {
        assert!(host.packet(Nanos::from_ms(40)).is_none(), "{newer} is not enough");
        host.endpoint.acknowledged(&mut host.pool, first + newer, Nanos::from_ms(40));
    }
    assert!(matches!(host.packet(Nanos::from_ms(40)), Some((2.., _, Packet::Load(..)))));
}

#[test]
fn what_is_never_acknowledged_is_sent_ten_times_with_growing_patience() {
    let mut host = greeted([0; 2]);
    host.endpoint.hello_sent(1, Nanos(0));
    host.endpoint.acknowledged(&mut host.pool, 1, Nanos::from_ms(20));
    host.push(Lane::Unordered, b"in vain").expect("open");
    let mut times = Vec::new();
    let mut now = Nanos(0);
    while !host.endpoint.has_failed(now) {
        if host.packet(now).is_some() {
            times.push(now.as_ms());
        }
        now = now.plus(Nanos::from_ms(1));
    }
    let gaps: Vec<u64> = times.windows(2).map(|two| two[1] - two[0]).collect();
    let expected = [250, 375, 563, 844, 1_266, 1_899, 2_000, 2_000, 2_000];
    assert_eq!(gaps.len(), expected.len(), "{times:?}");
    for (gap, expected) in gaps.iter().zip(expected) {
        assert!(gap.abs_diff(expected) <= 2, "{gaps:?}");
    }
}

#[test]
fn who_gives_a_message_up_is_due_so_that_the_session_ends() {
    let mut host = greeted([0; 2]);
    host.endpoint.hello_sent(1, Nanos(0));
    host.endpoint.acknowledged(&mut host.pool, 1, Nanos::from_ms(20));
    host.push(Lane::Ordered, b"in vain").expect("open");
    let mut now = Nanos(0);
    while !host.endpoint.has_failed(now) {
        // As sessions do: nobody asks before it is due.
        now = now.max(host.endpoint.due());
        assert!(now < Nanos::from_ms(30_000), "it was never given up");
        host.packet(now);
    }
    assert!(host.endpoint.due() <= now, "a promise is broken, and nobody will ask");
}

#[test]
fn repetitions_keep_to_their_allowance() {
    let mut host = greeted([0; 2]);
    host.endpoint.hello_sent(1, Nanos(0));
    host.endpoint.acknowledged(&mut host.pool, 1, Nanos(0));
    while host.push(Lane::Unordered, &[0; 900]).is_ok() {}
    let pace = Pace { fresh: 1_000_000, again: 2_000 };
    let (mut fresh, mut again, mut sequence) = (0, 0, 1);
    for ms in 0..5_000 {
        let now = Nanos::from_ms(ms);
        while let Some(load) = host.endpoint.prepare(&mut host.pool, now, pace) {
            sequence += 1;
            let mut out = [0; 1_152];
            let filled = host.endpoint.fill(&mut host.pool, load, sequence, now, pace, &mut out);
            assert!(filled.length > 900);
            let bytes = filled.length * usize::from(filled.fresh > 0);
            (fresh, again) = (fresh + bytes, again + filled.length - bytes);
        }
    }
    assert!(fresh > 60_000, "{fresh}");
    assert!((9_000..=11_300).contains(&again), "{again} bytes again in five seconds");
}
