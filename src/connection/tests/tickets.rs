//! Resume tickets on their way to the client.

use super::*;
use crate::wire::{PublicToken, SEALED_TOKEN_LEN, TOKEN_NONCE_LEN, read_resume_ticket};

fn token(number: u8) -> PublicToken {
    PublicToken {
        kind: 2,
        key_id: 7,
        nonce: [number; TOKEN_NONCE_LEN],
        expiry_s: 1_000 + u64::from(number),
        sealed: [number; SEALED_TOKEN_LEN],
    }
}

/// The tickets in what was heard, and the sequences of the packets that carried them.
fn tickets(heard: &[Heard]) -> Vec<(u64, PublicToken)> {
    let carried = heard.iter().flat_map(|packet| {
        let of_kind = |(kind, body): &(u8, Vec<u8>)| {
            (*kind == 15).then(|| read_resume_ticket(body).expect("a ticket"))
        };
        packet.messages.iter().filter_map(of_kind).map(|token| (packet.header.sequence, token))
    });
    carried.collect()
}

/// What is heard of tickets in each of `count` ticks, while snapshots go on.
fn listen(bench: &mut Bench, peer: &Peer, count: u64) -> Vec<(u64, u64, PublicToken)> {
    let start = bench.now;
    let mut all = Vec::new();
    for _ in 0..count {
        let heard = bench.poll(peer);
        let ms = bench.now.since(start).as_ms();
        all.extend(tickets(&heard).into_iter().map(|(sequence, token)| (ms, sequence, token)));
        bench.snapshot(peer.id.slot());
        bench.advance_ms(10);
    }
    all
}

#[test]
fn a_ticket_is_repeated_in_growing_intervals_until_it_is_acknowledged() {
    let mut bench = Bench::new(2);
    let mut peer = bench.entered(1);
    assert!(bench.sessions.offer_ticket(peer.id, token(1)));
    let sent = listen(&mut bench, &peer, 400);
    let at: Vec<_> = sent.iter().map(|(ms, _, _)| *ms).collect();
    assert_eq!(at, [0, 250, 750, 1_750, 2_750, 3_750]);
    assert!(sent.iter().all(|(_, _, it)| *it == token(1)));
    let (_, last, _) = *sent.last().expect("six were sent");
    let packet = peer.ack(last, 0);
    bench.deliver(&peer, &packet);
    assert_eq!(listen(&mut bench, &peer, 400), []);
    assert!(bench.sessions.offer_ticket(peer.id, token(2)), "a new one starts over");
    assert_eq!(listen(&mut bench, &peer, 20)[0].2, token(2));
}

#[test]
fn a_ticket_is_acknowledged_on_a_path_that_is_slower_than_its_repetitions() {
    for round_trip_ms in [20, 900, 1_100, 1_900, 3_500] {
        let mut bench = Bench::new(2);
        let mut peer = bench.entered(1);
        bench.sessions.offer_ticket(peer.id, token(1));
        let mut under_way = std::collections::VecDeque::new();
        let mut last = 0;
        for ms in (0..12_000).step_by(10) {
            for (_, sequence, _) in listen(&mut bench, &peer, 1) {
                under_way.push_back((ms + round_trip_ms, sequence));
                last = ms;
            }
            while let Some((_, sequence)) = under_way.pop_front_if(|first| first.0 <= ms) {
                let packet = peer.ack(sequence, 0);
                bench.deliver(&peer, &packet);
            }
        }
        assert!(last <= round_trip_ms + 1_000, "{round_trip_ms} ms: still sent after {last} ms");
    }
}

#[test]
fn a_newer_ticket_takes_the_place_of_one_that_waits() {
    let mut bench = Bench::new(2);
    let peer = bench.entered(1);
    bench.sessions.offer_ticket(peer.id, token(1));
    bench.sessions.offer_ticket(peer.id, token(2));
    let sent = listen(&mut bench, &peer, 100);
    assert!(!sent.is_empty() && sent.iter().all(|(_, _, it)| *it == token(2)));
}

#[test]
fn a_ticket_that_waits_goes_with_its_session_to_another_table() {
    let (mut old, mut new) = (Bench::new(2), Bench::on_socket(9, 2));
    let mut peer = old.entered(1);
    old.sessions.offer_ticket(peer.id, token(1));
    let to = ConnectionId::from_parts(9, 0, 5);
    let handed = old.sessions.hand_over(1, to, old.now).expect("it may go");
    assert!(!old.sessions.offer_ticket(peer.id, token(2)), "it is not here any more");
    let slot = new.sessions.take_over(handed, new.now).expect("vacant");
    let mut out = [0; DATAGRAM_MAX];
    let Bench { sessions, counters, sink, now } = &mut new;
    let mut heard = Vec::new();
    while let Some(transmit) = sessions.poll_control(*now, &mut out, counters, sink) {
        assert_eq!(transmit.slot, slot);
        heard.push(peer.open(&out[..transmit.length]));
        *now = now.plus(Nanos::from_ms(10));
    }
    *now = now.plus(Nanos::from_ms(10));
    while let Some(transmit) = sessions.poll_control(*now, &mut out, counters, sink) {
        heard.push(peer.open(&out[..transmit.length]));
    }
    assert_eq!(tickets(&heard).len(), 1, "beside the Moved");
    peer.id = to;
}

#[test]
fn a_ticket_ends_with_its_session() {
    let mut bench = Bench::new(2);
    let peer = bench.entered(1);
    bench.sessions.offer_ticket(peer.id, token(1));
    bench.sessions.disconnect(1, DisconnectReason::Maintenance, &bench.counters);
    for _ in 0..30 {
        let heard = bench.poll(&peer);
        assert_eq!(tickets(&heard), []);
        bench.advance_ms(10);
    }
    assert!(!bench.sessions.offer_ticket(peer.id, token(1)));
    let next = bench.entered(1);
    assert_eq!(listen(&mut bench, &next, 50), [], "who comes next has no part in it");
}
