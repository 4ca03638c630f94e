//! What sessions make of packets that open: stages, inputs, acknowledgments, violations.

use super::*;
use crate::limits::{CLIENT_PACKETS_BURST, FAILED_OPENS_MAX, INPUT_BUCKET, SKIP_MAX};

fn seen(bench: &mut Bench) -> Vec<u32> {
    let input = |event| match event {
        Event::Input(_, sequence, frame) => {
            assert_eq!(frame, super::frame(sequence));
            Some(sequence)
        }
        _ => None,
    };
    bench.events().into_iter().filter_map(input).collect()
}

#[test]
fn a_session_becomes_confirmed_then_entered_and_each_is_told_once() {
    let mut bench = Bench::new(2);
    let mut peer = bench.accepted(1);
    assert!(!bench.sessions.is_established(1));
    for round in 0..3 {
        let packet = peer.crypto_test();
        bench.deliver(&peer, &packet);
        let heard = bench.poll(&peer);
        assert_eq!(heard.len(), 1, "every CryptoTest is answered, round {round}");
        assert_eq!(heard[0].control(), [ControlMessage::CryptoTestAck(TEST_BYTES)]);
    }
    assert_eq!(bench.events(), [Event::Confirmed(1)]);
    assert!(bench.sessions.is_established(1) && !bench.sessions.has_entered(1));
    for _ in 0..3 {
        let packet = peer.enter();
        bench.deliver(&peer, &packet);
    }
    let events = [Event::Enter(1), Event::EnterAgain(1), Event::EnterAgain(1)];
    assert_eq!(bench.events(), events);
    assert!(bench.sessions.has_entered(1));
    assert_eq!(bench.read(Counter::Confirmed), 1);
    assert_eq!(bench.counters.dropped_total(), 0);
}

#[test]
fn nothing_but_the_key_confirmation_counts_before_the_key_confirmation() {
    let mut bench = Bench::new(2);
    let mut peer = bench.accepted(1);
    for packet in [peer.enter(), peer.input(1, 1), peer.control(ControlMessage::Ping { nonce: 1 })]
    {
        bench.deliver(&peer, &packet);
    }
    assert_eq!(bench.events(), [Event::Confirmed(1)], "its first packet opened all the same");
    assert_eq!(bench.dropped(DropReason::Unexpected), 3);
    assert_eq!(bench.sessions.stage(1), Some(Stage::Unconfirmed));
}

#[test]
fn inputs_that_overtake_the_wish_to_enter_are_no_fault_and_move_nobody() {
    let mut bench = Bench::new(2);
    let mut peer = bench.confirmed(1);
    let packet = peer.input(3, 3);
    bench.deliver(&peer, &packet);
    assert_eq!(bench.events(), []);
    assert_eq!(bench.counters.dropped_total(), 0);
}

#[test]
fn repeated_frames_reach_the_world_once_and_in_order() {
    let mut bench = Bench::new(2);
    let mut peer = bench.entered(1);
    for (newest, count, expected) in [
        (1, 1, &[1][..]),
        (3, 3, &[2, 3]),
        (3, 3, &[]),
        (2, 2, &[]),
        (10, 3, &[8, 9, 10]),
        (12, 8, &[11, 12]),
    ] {
        let packet = peer.input(newest, count);
        bench.deliver(&peer, &packet);
        assert_eq!(seen(&mut bench), expected, "newest {newest}");
        bench.advance_ms(50);
    }
    assert_eq!(bench.counters.dropped_total(), 0);
}

#[test]
fn frame_sequences_wrap_around() {
    let mut bench = Bench::new(2);
    let mut peer = bench.entered(1);
    for newest in [0x7FFF_FFFF, 0xFFFF_FFFE] {
        let packet = peer.input(newest, 1);
        bench.deliver(&peer, &packet);
    }
    bench.events();
    let packet = peer.input(1, 4);
    bench.deliver(&peer, &packet);
    assert_eq!(seen(&mut bench), [0xFFFF_FFFF, 0, 1]);
}

#[test]
fn inputs_beyond_one_per_tick_are_discarded_and_counted() {
    let mut bench = Bench::new(2);
    let mut peer = bench.entered(1);
    let mut taken = 0;
    for i in 1..=100 {
        let packet = peer.input(i, 1);
        bench.deliver(&peer, &packet);
        taken += seen(&mut bench).len();
    }
    assert_eq!(taken, INPUT_BUCKET as usize);
    assert_eq!(bench.dropped(DropReason::InputRate), 100 - u64::from(INPUT_BUCKET));
    bench.advance_ms(100);
    let packet = peer.input(108, 8);
    bench.deliver(&peer, &packet);
    assert_eq!(seen(&mut bench).len(), 6, "a tenth of a second is worth six ticks");
}

#[test]
fn frames_out_of_range_and_bodies_that_do_not_parse_are_told_apart_and_scored() {
    let mut bench = Bench::new(2);
    let mut peer = bench.entered(1);
    let bodies: [&[u8]; 4] = [
        &[14, 0, 0, 1, 0, 0, 0, 1, 0x80, 0, 0, 0, 0, 0, 0, 0],
        &[12, 0, 0, 1, 0, 0, 0, 1, 0x80, 0, 0, 0, 0, 0],
        &[12, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0x10, 0],
        &[0, 0],
    ];
    for body in bodies {
        let packet = peer.packet(Channel::Unreliable, body);
        bench.deliver(&peer, &packet);
    }
    assert_eq!(bench.dropped(DropReason::Malformed), 2);
    assert_eq!(bench.dropped(DropReason::InputRange), 2);
    assert_eq!(bench.events(), []);
}

#[test]
fn what_stands_before_a_bad_message_counts_and_what_follows_it_does_not() {
    let mut bench = Bench::new(2);
    let mut peer = bench.confirmed(1);
    let plaintext = write(|writer| {
        put_enter_to_world(writer);
        writer.slice(&[2, 0, 3, 9]);
        put_input_frames(writer, 1, &[frame(1)]);
    });
    let packet = peer.packet(Channel::Unreliable, &plaintext);
    bench.deliver(&peer, &packet);
    assert_eq!(bench.events(), [Event::Enter(1)]);
    assert_eq!(bench.dropped(DropReason::Malformed), 1);
    assert_eq!(bench.poll(&peer).len(), 0, "what was not processed is not acknowledged");
    let sequence = peer.sequence;
    let ping = peer.control(ControlMessage::Ping { nonce: 5 });
    bench.deliver(&peer, &ping);
    let block = bench.poll(&peer)[0].ack.expect("every packet acknowledges");
    assert!(block.acknowledges(sequence + 1) && !block.acknowledges(sequence));
}

#[test]
fn channels_and_flags_that_nobody_negotiated_are_violations() {
    let mut bench = Bench::new(2);
    let mut peer = bench.entered(1);
    let plaintext = write(|writer| writer.slice(&[3, 0, 16, 1, 0]));
    // Type 16 on Control is Moved, which only a server says.
    for channel in Channel::ALL {
        let packet = peer.packet(channel, &plaintext);
        bench.deliver(&peer, &packet);
    }
    for flag in [Flags::FRAGMENT, Flags::COMPRESSED, Flags::RELIABLE_HANDSHAKE] {
        let mut header = peer.header(Channel::Unreliable);
        header.flags = header.flags.with(flag);
        let packet = peer.seal(header, &write(put_enter_to_world));
        bench.deliver(&peer, &packet);
    }
    assert_eq!(bench.dropped(DropReason::Unexpected), 7);
    assert_eq!(bench.events(), []);
}

#[test]
fn twenty_violations_at_once_end_a_session_with_a_word() {
    let mut bench = Bench::new(2);
    let mut peer = bench.entered(1);
    for _ in 0..20 {
        assert_eq!(bench.events(), []);
        let packet = peer.packet(Channel::Unreliable, &[1, 0, 99]);
        bench.deliver(&peer, &packet);
    }
    assert_eq!(bench.events(), [Event::Closed(1, CloseReason::Violation)]);
    assert_eq!((bench.read(Counter::Violations), bench.read(Counter::Closed)), (1, 1));
    let heard = bench.poll(&peer);
    let reason = DisconnectReason::Violation;
    assert_eq!(
        heard[0].control(),
        [ControlMessage::Disconnect { reason, retry_s: reason.retry_s() }]
    );
    let packet = peer.packet(Channel::Unreliable, &[1, 0, 99]);
    bench.deliver(&peer, &packet);
    assert_eq!(bench.dropped(DropReason::UnknownConnection), 1);
}

#[test]
fn acknowledgments_name_each_packet_once() {
    let mut bench = Bench::new(2);
    let mut peer = bench.entered(1);
    let first = bench.snapshot(1);
    let rest: Vec<u64> = (0..4).map(|_| bench.snapshot(1)).collect();
    for (largest, bitmap, expected) in [
        (rest[1], 1, &[rest[0], rest[1]][..]),
        (rest[1], 1, &[]),
        (rest[0], 1, &[first]),
        (rest[3], 0, &[rest[3]]),
    ] {
        let packet = peer.ack(largest, bitmap);
        bench.deliver(&peer, &packet);
        let expected: Vec<_> = expected.iter().map(|&s| Event::Acked(1, s)).collect();
        assert_eq!(bench.events(), expected);
    }
}

#[test]
fn acknowledging_what_was_never_sent_is_a_violation_and_changes_nothing_else() {
    let mut bench = Bench::new(2);
    let mut peer = bench.entered(1);
    let newest = bench.snapshot(1);
    let before = bench.sessions.flow[1].clone();
    let block = AckBlock { largest: newest + 1, bitmap: 3, delay: 0 };
    let mut header = peer.header(Channel::Unreliable);
    header.flags = header.flags.with(Flags::ACKNOWLEDGMENT);
    let lie = write(|writer| {
        block.write(writer);
        put_input_frames(writer, 1, &[frame(1)]);
    });
    let packet = peer.seal(header, &lie);
    bench.deliver(&peer, &packet);
    assert_eq!(bench.events(), [], "neither acknowledgments nor messages count");
    assert_eq!(bench.dropped(DropReason::FalseAck), 1);
    assert_eq!(format!("{:?}", bench.sessions.flow[1]), format!("{before:?}"));
    let packet = peer.ack(1, 1);
    bench.deliver(&peer, &packet);
    assert_eq!(bench.dropped(DropReason::FalseAck), 2, "sequence 0 was never sent, either");
    assert_eq!(bench.events(), [Event::Closed(1, CloseReason::Violation)], "two lies are enough");
}

#[test]
fn an_optimistic_client_is_found_out() {
    let mut bench = Bench::new(2);
    let mut peer = bench.entered(1);
    for round in 0..=SKIP_MAX / 8 {
        bench.advance_ms(20);
        let largest = (0..8).map(|_| bench.snapshot(1)).last().expect("eight packets");
        let bitmap = if largest > 64 { u64::MAX } else { (1 << (largest - 1)) - 1 };
        let packet = peer.ack(largest, bitmap);
        bench.deliver(&peer, &packet);
        if bench.dropped(DropReason::FalseAck) > 0 {
            assert!(round >= 100, "no sequence is left out this early");
            return;
        }
    }
    panic!("a sequence is left out within {SKIP_MAX}");
}

#[test]
fn a_client_that_leaves_is_gone_at_once_and_the_rest_of_its_packet_with_it() {
    let mut bench = Bench::new(2);
    let mut peer = bench.entered(1);
    let leave = ControlMessage::Disconnect { reason: DisconnectReason::Left, retry_s: 0 };
    let plaintext = write(|writer| {
        leave.write(writer);
        ControlMessage::Ping { nonce: 1 }.write(writer);
    });
    let packet = peer.packet(Channel::Control, &plaintext);
    bench.deliver(&peer, &packet);
    let closed = Event::Closed(1, CloseReason::Peer(DisconnectReason::Left));
    assert_eq!(bench.events(), [closed]);
    assert!(bench.sessions.is_empty() && bench.sessions.stage(1).is_none());
    assert!(bench.poll(&peer).is_empty(), "nobody listens");
    let again = peer.control(leave);
    bench.deliver(&peer, &again);
    assert_eq!(bench.dropped(DropReason::UnknownConnection), 1);
    assert_eq!(bench.read(Counter::Closed), 1);
}

#[test]
fn a_flood_is_cut_off_before_it_is_opened() {
    let mut bench = Bench::new(2);
    let mut peer = bench.confirmed(1);
    let before = bench.read(Counter::PacketsOpened);
    for _ in 0..1_000 {
        let packet = peer.packet(Channel::Unreliable, &[]);
        bench.deliver(&peer, &packet);
    }
    let opened = bench.read(Counter::PacketsOpened) - before;
    assert_eq!(opened, u64::from(CLIENT_PACKETS_BURST) - 1, "one went into the confirmation");
    assert_eq!(bench.dropped(DropReason::PacketRate), 1_000 - opened);
    let mut forged = peer.packet(Channel::Unreliable, &[]);
    forged[14] ^= 1;
    bench.deliver(&peer, &forged);
    assert_eq!(bench.dropped(DropReason::Open), 0, "nobody pays for opening what is too much");
    bench.advance_ms(1_000);
    for _ in 0..100 {
        let packet = peer.packet(Channel::Control, &[1, 0, 7].repeat(380));
        bench.deliver(&peer, &packet);
    }
    assert!(bench.dropped(DropReason::ByteRate) > 30);
    assert_eq!(bench.events(), [], "a flood is cut off, not punished");
}

#[test]
fn too_many_forgeries_wear_a_key_out() {
    let mut bench = Bench::new(2);
    let mut peer = bench.entered(1);
    bench.sessions.failed_opens[1] = FAILED_OPENS_MAX - 1;
    assert!(bench.poll(&peer).is_empty());
    let mut forged = peer.input(1, 1);
    forged[20] ^= 1;
    bench.deliver(&peer, &forged);
    assert_eq!(bench.events(), [], "the forgery itself reaches nobody");
    let heard = bench.poll(&peer);
    let reason = DisconnectReason::Exhausted;
    assert_eq!(
        heard[0].control(),
        [ControlMessage::Disconnect { reason, retry_s: reason.retry_s() }]
    );
    assert_eq!(bench.events(), [Event::Closed(1, CloseReason::Exhausted)]);
}
