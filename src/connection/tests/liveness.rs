//! What time alone brings about.

use super::*;

#[test]
fn a_silent_client_is_pinged_after_5_s_and_gone_after_15() {
    let mut bench = Bench::new(2);
    let peer = bench.entered(1);
    let start = bench.now;
    let mut pings = Vec::new();
    let mut goodbyes = Vec::new();
    for _ in 0..1_600 {
        bench.advance_ms(10);
        let ms = bench.now.since(start).as_ms();
        for heard in bench.poll(&peer) {
            for message in heard.control() {
                match message {
                    ControlMessage::Ping { .. } => pings.push(ms),
                    ControlMessage::Disconnect { reason, .. } => {
                        assert_eq!(reason, DisconnectReason::TimedOut);
                        goodbyes.push(ms);
                    }
                    other => panic!("{other:?} at {ms}"),
                }
            }
        }
        assert_eq!(bench.sessions.len(), usize::from(ms < 15_000), "at {ms} ms");
    }
    assert_eq!(pings, [5_000, 10_000]);
    assert_eq!(goodbyes, [15_000, 15_050, 15_100]);
    assert_eq!(bench.events(), [Event::Closed(1, CloseReason::TimedOut)]);
    assert_eq!((bench.read(Counter::TimedOut), bench.read(Counter::Closed)), (1, 1));
}

#[test]
fn any_packet_that_opens_keeps_a_session_alive_and_no_other_does() {
    let mut bench = Bench::new(2);
    let mut peer = bench.entered(1);
    bench.snapshot(1);
    for _ in 0..20 {
        bench.advance_ms(4_900);
        let packet = peer.packet(Channel::Unreliable, &[]);
        bench.deliver(&peer, &packet);
        assert!(bench.poll(&peer).is_empty(), "an empty packet asks for nothing");
    }
    assert_eq!(bench.sessions.len(), 1);
    let mut forged = peer.packet(Channel::Unreliable, &[]);
    forged[14] ^= 1;
    for _ in 0..4 {
        bench.advance_ms(4_900);
        bench.deliver(&peer, &forged);
        bench.poll(&peer);
    }
    assert_eq!(bench.events(), [Event::Closed(1, CloseReason::TimedOut)]);
}

#[test]
fn a_session_that_proves_nothing_is_gone_after_5_s_without_a_word() {
    let mut bench = Bench::new(2);
    let peer = bench.accepted(1);
    bench.advance_ms(4_999);
    assert!(bench.poll(&peer).is_empty());
    assert_eq!(bench.sessions.len(), 1);
    bench.advance_ms(1);
    assert!(bench.poll(&peer).is_empty());
    assert_eq!(bench.events(), [Event::Closed(1, CloseReason::Unconfirmed)]);
    assert!(bench.sessions.is_empty());
}

#[test]
fn a_disconnect_is_sent_exactly_three_times_50_ms_apart() {
    let mut bench = Bench::new(2);
    let peer = bench.entered(1);
    assert!(bench.sessions.disconnect(1, DisconnectReason::Maintenance, &bench.counters));
    let start = bench.now;
    let mut sent = Vec::new();
    let mut sequences = Vec::new();
    for _ in 0..500 {
        for heard in bench.poll(&peer) {
            let reason = DisconnectReason::Maintenance;
            assert_eq!(
                heard.control(),
                [ControlMessage::Disconnect { reason, retry_s: reason.retry_s() }]
            );
            sent.push(bench.now.since(start).as_ms());
            sequences.push(heard.header.sequence);
        }
        bench.advance_ms(1);
    }
    assert_eq!(sent, [0, 50, 100]);
    assert!(sequences.windows(2).all(|pair| pair[0] < pair[1]), "never one sequence twice");
    assert_eq!(bench.events(), [], "the caller knows what it did");
    assert!(bench.sessions.keys[1].is_none(), "the keys are gone with the last word");
}

#[test]
fn a_ping_is_answered_once_with_its_nonce() {
    let mut bench = Bench::new(2);
    let mut peer = bench.entered(1);
    for nonce in [1, 2, 3] {
        let packet = peer.control(ControlMessage::Ping { nonce });
        bench.deliver(&peer, &packet);
    }
    let heard = bench.poll(&peer);
    let clock_us = bench.now.as_us();
    assert_eq!(heard.len(), 1, "a flood of Pings is not amplified");
    assert_eq!(heard[0].control(), [ControlMessage::Pong { nonce: 3, clock_us }]);
    assert!(bench.poll(&peer).is_empty());
}

#[test]
fn what_asks_for_an_acknowledgment_gets_one_after_25_ms_or_with_the_second_packet() {
    let mut bench = Bench::new(2);
    let mut peer = bench.confirmed(1);
    bench.advance_ms(1_000);
    let input = |bench: &mut Bench, peer: &mut Peer| {
        let packet = peer.input(1, 1);
        bench.deliver(peer, &packet);
    };
    input(&mut bench, &mut peer);
    bench.advance_ms(24);
    assert!(bench.poll(&peer).is_empty());
    bench.advance_ms(1);
    let heard = bench.poll(&peer);
    let block = heard[0].ack.expect("that is what it is for");
    assert_eq!((heard.len(), heard[0].messages.len()), (1, 0));
    assert_eq!((block.largest, block.delay), (peer.sequence, 25_000 / 32));
    assert!(bench.poll(&peer).is_empty());
    input(&mut bench, &mut peer);
    input(&mut bench, &mut peer);
    assert_eq!(bench.poll(&peer).len(), 1);
    input(&mut bench, &mut peer);
    bench.snapshot(1);
    bench.advance_ms(100);
    assert!(bench.poll(&peer).is_empty(), "a snapshot carries it");
    let packet = peer.ack(1, 0);
    bench.deliver(&peer, &packet);
    let packet = peer.control(ControlMessage::Ack);
    bench.deliver(&peer, &packet);
    bench.advance_ms(1_000);
    assert!(bench.poll(&peer).is_empty(), "acknowledgments are not acknowledged");
}

#[test]
fn a_direction_that_has_used_up_its_sequences_ends_the_session() {
    let mut bench = Bench::new(2);
    let peer = bench.entered(1);
    bench.sessions.flow[1].sent.exhaust();
    let mut out = [0; DATAGRAM_MAX];
    assert_eq!(bench.sessions.begin(1, Channel::Unreliable, bench.now, &mut out), None);
    assert!(bench.poll(&peer).is_empty(), "not even a goodbye could be sent");
    assert_eq!(bench.events(), [Event::Closed(1, CloseReason::Exhausted)]);
    assert!(bench.sessions.keys[1].is_none());
}

#[test]
fn one_poll_serves_every_session_that_is_due_and_no_other() {
    let mut bench = Bench::new(200);
    let mut peers: Vec<Peer> = (0..200).map(Peer::new).collect();
    let mut expected = Vec::new();
    for (slot, peer) in peers.iter_mut().enumerate() {
        bench.sessions.admit_session(peer.admission(bench.now)).expect("free");
        if slot % 3 == 0 || slot > 190 {
            let packet = peer.crypto_test();
            bench.deliver(peer, &packet);
            expected.push(slot);
        }
    }
    let mut out = [0; DATAGRAM_MAX];
    let mut served = Vec::new();
    let Bench { sessions, counters, sink, now } = &mut bench;
    while let Some(transmit) = sessions.poll_control(*now, &mut out, counters, sink) {
        let slot = usize::from(transmit.slot);
        let heard = peers[slot].open(&out[..transmit.length]);
        assert_eq!(heard.control(), [ControlMessage::CryptoTestAck(TEST_BYTES)]);
        served.push(slot);
    }
    assert_eq!(served, expected);
}
