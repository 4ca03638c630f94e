//! Budgets, scores and their settings: who goes too far is stopped, who does as the protocol says
//! is never hindered, and the neighbours notice nothing.

use super::*;
use crate::connection::{ClientRates, MessageBudgets, Scorer, Scorers, Scores};
use crate::limits::{INPUT_MESSAGES_PER_S, PING_MESSAGES_PER_S, VIOLATION_LIMIT};

fn bench_with(rules: Rules) -> Bench {
    let mut bench = Bench::new(4);
    let config = SessionsConfig {
        socket_index: SOCKET,
        capacity: 4,
        tick_hz: 60,
        seed: 9,
        path_secret: [1, 2],
        budget: BudgetRange::default(),
        rules,
        rekey: RekeyPolicy::default(),
    };
    bench.sessions = Sessions::new(config);
    bench
}

fn worst(bench: &Bench) -> Vec<Scorer> {
    let mut sheet = Scorers::default();
    bench.sessions.worst(bench.now, &mut sheet);
    sheet.lines().to_vec()
}

#[test]
fn a_flood_of_pings_is_dropped_beyond_its_budget_and_ends_its_session() {
    let mut bench = Bench::new(4);
    let mut flooder = bench.entered(1);
    let mut neighbour = bench.entered(2);
    let mut sent = 0;
    while bench.read(Counter::Violations) == 0 {
        assert!(sent < 1_000, "it goes on for ever");
        let packet = flooder.control(ControlMessage::Ping { nonce: sent });
        bench.deliver(&flooder, &packet);
        sent += 1;
        if sent % 10 == 0 {
            let packet = neighbour.input(sent as u32, 1);
            bench.deliver(&neighbour, &packet);
        }
    }
    assert_eq!(sent, u64::from(PING_MESSAGES_PER_S) + u64::from(VIOLATION_LIMIT));
    assert_eq!(bench.dropped(DropReason::MessageRate), u64::from(VIOLATION_LIMIT));
    assert_eq!(bench.counters.dropped_total(), u64::from(VIOLATION_LIMIT), "of nobody else");
    let inputs = bench.events().into_iter().filter(|it| matches!(it, Event::Input(2, ..))).count();
    assert_eq!(inputs as u64, (sent / 10).min(15), "the neighbour plays on, one per tick");
    assert!(bench.sessions.has_entered(2));
}

#[test]
fn a_hundred_messages_in_one_packet_cost_one_fault_and_are_not_all_read() {
    let mut bench = Bench::new(4);
    let mut peer = bench.entered(1);
    let one =
        |sequence: u32| write(|writer| put_input_frames(writer, sequence, &[frame(sequence)]));
    let many: Vec<u8> = (1..=70).flat_map(one).collect();
    let packet = peer.packet(Channel::Unreliable, &many);
    bench.deliver(&peer, &packet);
    let read = 1 + u64::from(INPUT_MESSAGES_PER_S);
    assert_eq!(bench.dropped(DropReason::MessageRate), 1);
    let taken = bench.events().len() as u64;
    assert_eq!(taken + bench.dropped(DropReason::InputRate), read, "those within the budget");
    assert_eq!(worst(&bench), [Scorer { player: 1_001, score: 1, violations: 1 }]);
    bench.advance_ms(1_000);
    let packet = peer.packet(Channel::Unreliable, &one(100));
    bench.deliver(&peer, &packet);
    assert_eq!(bench.events().len(), 1, "the next second is a new one");
}

#[test]
fn who_sends_what_the_protocol_says_never_meets_a_budget() {
    let mut bench = Bench::new(4);
    let mut peer = bench.accepted(1);
    for ms in 0..20_000u64 {
        let mut packets = Vec::new();
        if ms < 1_000 && ms % 250 == 0 {
            packets.push(peer.crypto_test());
        }
        if (1_000..5_000).contains(&ms) && ms % 100 == 0 {
            packets.push(peer.enter());
        }
        if ms >= 1_000 && ms % 25 == 0 {
            packets.push(peer.control(ControlMessage::Ack));
        }
        if ms >= 1_000 && ms % 500 == 0 {
            packets.push(peer.control(ControlMessage::Ping { nonce: ms }));
            packets.push(peer.control(ControlMessage::Pong { nonce: ms, clock_us: 0 }));
        }
        if ms >= 1_000 && ms % 17 == 0 {
            packets.push(peer.input(ms as u32 / 17, 3));
        }
        for packet in packets {
            bench.deliver(&peer, &packet);
        }
        bench.poll(&peer);
        bench.advance_ms(1);
    }
    assert_eq!(bench.counters.dropped_total(), 0);
    assert_eq!(worst(&bench), []);
}

#[test]
fn a_client_at_ten_times_the_rate_is_held_to_it_and_its_neighbour_is_not() {
    let mut bench = Bench::new(4);
    let (mut fast, mut calm) = (bench.entered(1), bench.entered(2));
    let (seconds, mut opened) = (10u64, bench.read(Counter::PacketsOpened));
    for ms in 0..seconds * 1_000 {
        // 1,200 packets a second, and 60.
        for _ in 0..if ms % 5 == 0 { 6 } else { 0 } {
            let packet = fast.input(1 + fast.sequence as u32, 1);
            bench.deliver(&fast, &packet);
        }
        if ms % 17 == 0 {
            let packet = calm.input(1 + calm.sequence as u32, 1);
            bench.deliver(&calm, &packet);
        }
        bench.advance_ms(1);
    }
    opened = bench.read(Counter::PacketsOpened) - opened;
    let calm_packets = (seconds * 1_000).div_ceil(17);
    let allowed = 240 + 120 * seconds;
    assert!((opened - calm_packets).abs_diff(allowed) <= 8, "{opened} opened");
    let refused = bench.dropped(DropReason::PacketRate);
    assert_eq!(refused + opened, 1_200 * seconds + calm_packets);
    let inputs = |event: &Event| matches!(event, Event::Input(2, ..));
    let of_calm = bench.events().iter().filter(|event| inputs(event)).count() as u64;
    assert_eq!(of_calm, calm_packets, "every input of the neighbour counts");
    assert_eq!(bench.read(Counter::Violations), 0, "anybody may have sent what did not open");
}

#[test]
fn what_violations_cost_is_a_setting() {
    let scores =
        Scores { limit: 10, message: 4, false_ack: 9, message_rate: 0, ..Scores::default() };
    let rules = Rules { scores, cool_down_s: 77, ..Rules::default() };
    let mut bench = bench_with(rules);
    let mut peer = bench.entered(1);
    for score in [4, 8] {
        let packet = peer.packet(Channel::Unreliable, &[1, 0, 99]);
        bench.deliver(&peer, &packet);
        assert_eq!(worst(&bench)[0].score, score);
    }
    bench.advance_ms(3_000);
    assert_eq!(worst(&bench)[0].score, 5, "the list shows what is left of it");
    let packet = peer.ack(1 << 40, 0);
    bench.deliver(&peer, &packet);
    assert_eq!(bench.events(), [Event::Closed(1, CloseReason::Violation)]);
    let reason = DisconnectReason::Violation;
    let told = bench.poll(&peer)[0].control();
    assert_eq!(told, [ControlMessage::Disconnect { reason, retry_s: 77 }]);
    assert_eq!(worst(&bench), [], "who has left is not listed");
}

#[test]
fn rates_and_budgets_are_settings() {
    let rates =
        ClientRates { packets_per_s: 60, packets_burst: 70, inputs_burst: 3, ..Default::default() };
    let messages = MessageBudgets { pings: 5, ..MessageBudgets::default() };
    let mut bench = bench_with(Rules { rates, messages, ..Rules::default() });
    let mut peer = bench.entered(1);
    for nonce in 0..10 {
        let packet = peer.control(ControlMessage::Ping { nonce });
        bench.deliver(&peer, &packet);
    }
    assert_eq!(bench.dropped(DropReason::MessageRate), 5);
    let packet = peer.input(8, 8);
    bench.deliver(&peer, &packet);
    assert_eq!((bench.events().len(), bench.dropped(DropReason::InputRate)), (3, 5));
    for _ in 0..100 {
        let packet = peer.control(ControlMessage::Ack);
        bench.deliver(&peer, &packet);
    }
    // 70, less the two of joining, ten Pings and one input.
    assert_eq!(bench.dropped(DropReason::PacketRate), 100 - (70 - 13));
}

#[test]
fn scores_and_budgets_go_along_to_another_table() {
    let mut bench = Bench::new(4);
    let mut peer = bench.entered(1);
    for nonce in 0..u64::from(PING_MESSAGES_PER_S) + 3 {
        let packet = peer.control(ControlMessage::Ping { nonce });
        bench.deliver(&peer, &packet);
    }
    let mut other = Bench::on_socket(SOCKET + 1, 4);
    let id = ConnectionId::from_parts(SOCKET + 1, 2, 0x99);
    let handed = bench.sessions.hand_over(1, id, bench.now).expect("it may go");
    other.sessions.take_over(handed, other.now).expect("there is room");
    assert_eq!(worst(&bench), []);
    assert_eq!(worst(&other)[0].score, 3);
    peer.id = id;
    let packet = peer.control(ControlMessage::Ping { nonce: 1 });
    other.deliver(&peer, &packet);
    assert_eq!(other.dropped(DropReason::MessageRate), 1, "the second has not passed");
}
