//! Benchmarks at a table: answered only where that is wanted, and never with more than was sent.

use super::*;
use crate::limits::{BENCHMARK_MAX, BENCHMARK_MIN};
use crate::wire::{BenchmarkAnswer, BenchmarkRequest};

fn ask(peer: &mut Peer, nonce: u64, length: usize) -> Vec<u8> {
    let request = BenchmarkRequest { nonce, length: length as u16 };
    peer.packet(Channel::Unreliable, &write(|writer| request.put(writer)))
}

#[test]
fn a_benchmark_is_answered_with_as_many_bytes_and_two_times() {
    let mut bench = Bench::new(4);
    bench.sessions.answer_benchmarks(true);
    let mut peer = bench.confirmed(1);
    for length in [BENCHMARK_MIN, 25, 500, BENCHMARK_MAX] {
        let question = ask(&mut peer, 77, length);
        bench.deliver(&peer, &question);
        let received_us = bench.now.as_us();
        bench.advance_ms(9);
        let heard = bench.poll(&peer);
        let [answer] = &heard[..] else { panic!("{} packets for {length}", heard.len()) };
        let [(kind, body)] = &answer.messages[..] else { panic!("{length}") };
        assert_eq!((answer.header.channel, *kind), (Channel::Unreliable, 0));
        let answered_us = received_us + 9_000;
        let length = length as u16;
        let expected = BenchmarkAnswer { nonce: 77, received_us, answered_us, length };
        assert_eq!(BenchmarkAnswer::read(body), Ok(expected));
    }
    assert_eq!(bench.read(Counter::BenchmarksAnswered), 4);
    assert_eq!(bench.counters.dropped_total(), 0);
}

#[test]
fn of_many_benchmarks_in_a_tick_one_is_answered() {
    let mut bench = Bench::new(4);
    bench.sessions.answer_benchmarks(true);
    let mut peer = bench.confirmed(1);
    for nonce in 0..20 {
        let question = ask(&mut peer, nonce, BENCHMARK_MAX);
        bench.deliver(&peer, &question);
    }
    let heard = bench.poll(&peer);
    let answers: Vec<_> = heard.iter().flat_map(|heard| &heard.messages).collect();
    assert_eq!(answers.len(), 1);
    assert_eq!(BenchmarkAnswer::read(&answers[0].1).map(|answer| answer.nonce), Ok(19));
    assert_eq!(bench.dropped(DropReason::Benchmark), 19);
}

#[test]
fn where_benchmarks_are_off_they_are_dropped_and_no_fault() {
    let mut bench = Bench::new(4);
    let mut peer = bench.confirmed(1);
    for _ in 0..100 {
        let question = ask(&mut peer, 7, BENCHMARK_MAX);
        bench.deliver(&peer, &question);
        bench.advance_ms(17);
    }
    assert!(bench.sessions.is_established(1), "it is no violation");
    assert_eq!(bench.dropped(DropReason::Benchmark), 100);
    assert_eq!(bench.read(Counter::BenchmarksAnswered), 0);
}

#[test]
fn a_benchmark_too_short_or_too_long_is_malformed() {
    let mut bench = Bench::new(4);
    bench.sessions.answer_benchmarks(true);
    let mut peer = bench.confirmed(1);
    for length in [8, BENCHMARK_MIN - 1, BENCHMARK_MAX + 1] {
        let question = ask(&mut peer, 7, length);
        bench.deliver(&peer, &question);
    }
    assert_eq!(bench.dropped(DropReason::Malformed), 3);
}

#[test]
fn a_player_who_asks_for_its_entity_again_is_heard() {
    let mut bench = Bench::new(4);
    let mut peer = bench.confirmed(1);
    for _ in 0..3 {
        let enter = peer.enter();
        bench.deliver(&peer, &enter);
    }
    let expected = [Event::Enter(1), Event::EnterAgain(1), Event::EnterAgain(1)];
    assert_eq!(bench.events(), expected);
}

#[test]
fn frames_of_three_bytes_are_inputs_like_others() {
    let mut bench = Bench::new(4);
    let mut peer = bench.entered(1);
    let frames = [127, -18].map(|move_x| InputFrame { move_x, yaw: 512, ..Default::default() });
    let body = write(|writer| crate::wire::put_shortest_input_frames(writer, 2, &frames));
    assert_eq!((body[2], body.len()), (1, 3 + 5 + 6));
    let packet = peer.packet(Channel::Unreliable, &body);
    bench.deliver(&peer, &packet);
    let inputs = [Event::Input(1, 1, frames[1]), Event::Input(1, 2, frames[0])];
    assert_eq!(bench.events(), inputs);
    let out_of_range = peer.packet(Channel::Unreliable, &[9, 0, 1, 3, 0, 0, 0, 1, 0x80, 0, 0]);
    bench.deliver(&peer, &out_of_range);
    assert_eq!(bench.dropped(DropReason::InputRange), 1);
}
