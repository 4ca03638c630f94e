//! A client goes on from another address, or somebody pretends that it does.

use super::*;
use std::collections::BTreeMap;

const SLOT: Slot = 1;
const OLD: DropReason = DropReason::Replay;

fn elsewhere(number: u16) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, number as u8], 50_000 + number))
}

impl Bench {
    /// Everything that is due now, whoever gets it: where it goes, its bytes, and its messages.
    fn sends(&mut self, peer: &Peer) -> Vec<(SocketAddr, usize, Vec<ControlMessage>)> {
        let mut out = [0; DATAGRAM_MAX];
        let mut all = Vec::new();
        let Self { sessions, counters, sink, now } = self;
        while let Some(transmit) = sessions.poll_control(*now, &mut out, counters, sink) {
            let heard = peer.open(&out[..transmit.length]);
            all.push((transmit.to, transmit.length, heard.control()));
        }
        all
    }

    /// The nonces of the Pings that `to` gets now.
    fn asks(&mut self, peer: &Peer, to: SocketAddr) -> Vec<u64> {
        let sent = self.sends(peer).into_iter().filter(|(address, ..)| *address == to);
        let nonces = sent.flat_map(|(.., messages)| messages).filter_map(|message| match message {
            ControlMessage::Ping { nonce } => Some(nonce),
            _ => None,
        });
        nonces.collect()
    }

    fn pong(&mut self, peer: &mut Peer, from: SocketAddr, nonce: u64) {
        let pong = peer.control(ControlMessage::Pong { nonce, clock_us: 1 });
        self.deliver_from(from, &pong);
    }

    /// An input from `from`, the question that follows, and the answer from there.
    fn moves(&mut self, peer: &mut Peer, from: SocketAddr) {
        let input = peer.input(peer.sequence as u32, 1);
        self.deliver_from(from, &input);
        for nonce in self.asks(peer, from) {
            self.pong(peer, from, nonce);
        }
    }

    fn home(&self) -> SocketAddr {
        self.sessions.address(SLOT).expect("a session")
    }
}

#[test]
fn a_new_address_is_told_again_until_there_is_room_for_that() {
    let mut bench = Bench::new(4);
    let mut peer = bench.entered(SLOT);
    bench.sink.1 = true;
    bench.moves(&mut peer, elsewhere(1));
    assert_eq!(bench.home(), elsewhere(1), "the client is served there");
    for _ in 0..3 {
        bench.sends(&peer);
    }
    let is_news = |event: &Event| matches!(event, Event::Readdressed(..));
    assert!(!bench.events().iter().any(is_news));
    bench.sink.1 = false;
    bench.sends(&peer);
    bench.sends(&peer);
    let told: Vec<_> = bench.events().into_iter().filter(is_news).collect();
    assert_eq!(told, [Event::Readdressed(SLOT, elsewhere(1))], "once");
}

#[test]
fn a_client_at_another_address_is_served_there_as_soon_as_it_has_proved_it() {
    let mut bench = Bench::new(4);
    let mut peer = bench.entered(SLOT);
    let (old, new) = (peer.address, elsewhere(1));
    let input = peer.input(1, 1);
    bench.deliver_from(new, &input);
    assert_eq!(bench.events(), [Event::Input(SLOT, 1, frame(1))], "its inputs count at once");
    let ping = peer.control(ControlMessage::Ping { nonce: 5 });
    bench.deliver_from(new, &ping);
    let sent = bench.sends(&peer);
    let [(to, _, asked), (other, _, answered)] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!((*to, *other), (new, old), "a question there, an answer where the client was");
    let [ControlMessage::Ping { nonce }] = asked[..] else { panic!("{asked:?}") };
    assert!(matches!(answered[..], [ControlMessage::Pong { nonce: 5, .. }]), "{answered:?}");
    assert_eq!(bench.home(), old);
    bench.pong(&mut peer, new, nonce);
    assert_eq!(bench.events(), [Event::Readdressed(SLOT, new)]);
    assert_eq!(bench.home(), new);
    peer.address = new;
    let input = peer.input(2, 1);
    bench.deliver(&peer, &input);
    assert_eq!(bench.events(), [Event::Input(SLOT, 2, frame(2))]);
    let counted = [Counter::PathCandidates, Counter::PathChanges, Counter::PathRefused];
    assert_eq!(counted.map(|counter| bench.read(counter)), [1, 1, 0]);
    assert_eq!(bench.counters.dropped_total(), 0);
    assert!(bench.sessions.disconnect(SLOT, DisconnectReason::Full, &bench.counters));
    assert_eq!(bench.poll(&peer).len(), 1, "goodbyes go there, too");
}

#[test]
fn a_client_that_moves_before_its_keys_are_confirmed_gets_its_answer_there() {
    let mut bench = Bench::new(4);
    let mut peer = bench.accepted(SLOT);
    let test = peer.crypto_test();
    bench.deliver_from(elsewhere(1), &test);
    assert!(bench.asks(&peer, peer.address).is_empty(), "the answer goes where it was");
    // Both packets left in one tick, so the question went as well.
    let test = peer.crypto_test();
    bench.deliver_from(elsewhere(1), &test);
    bench.advance_ms(100);
    let nonce = bench.asks(&peer, elsewhere(1));
    bench.pong(&mut peer, elsewhere(1), nonce[0]);
    assert_eq!((bench.home(), bench.sessions.stage(SLOT)), (elsewhere(1), Some(Stage::Confirmed)));
}

#[test]
fn a_copied_packet_draws_pings_to_its_source_and_nothing_else() {
    let mut bench = Bench::new(4);
    let mut peer = bench.entered(SLOT);
    let thief = elsewhere(9);
    let (mut stolen, mut given, mut questions) = (0, 0, 0);
    for tick in 0..3_000 {
        let input = peer.input(tick + 1, 3);
        // Every tenth copy is there before the original.
        if tick % 10 == 0 {
            bench.deliver_from(thief, &input);
            stolen += input.len();
        }
        bench.deliver(&peer, &input);
        for (to, length, messages) in bench.sends(&peer) {
            if to == thief {
                assert!(matches!(messages[..], [ControlMessage::Ping { .. }]));
                (given, questions) = (given + length, questions + 1);
                // The client hears it as well, and its answer does not come from there.
                let [ControlMessage::Ping { nonce }] = messages[..] else { panic!() };
                let home = peer.address;
                bench.pong(&mut peer, home, nonce);
            }
        }
        assert!(given <= 3 * stolen, "{given} bytes for {stolen} in tick {tick}");
        bench.advance_ms(17);
    }
    assert_eq!(bench.home(), peer.address);
    assert_eq!(bench.read(Counter::PathChanges), 0);
    // 51 s of it: three questions each 700 ms at most.
    assert!((100..=3 * (51_000 / 700 + 1)).contains(&questions), "{questions}");
    let inputs = bench.events().iter().filter(|it| matches!(it, Event::Input(..))).count();
    assert_eq!(inputs, 3_000, "nothing is lost by it");
}

#[test]
fn an_address_that_has_sent_little_is_asked_as_often_as_three_times_that_allows() {
    let mut bench = Bench::new(4);
    let mut peer = bench.entered(SLOT);
    let new = elsewhere(1);
    let asked = |bench: &mut Bench, peer: &Peer| -> usize {
        (0..100)
            .map(|_| {
                bench.advance_ms(16);
                bench.sends(peer).iter().filter(|(to, ..)| *to == new).count()
            })
            .sum()
    };
    // 30 bytes pay for one question of 59, the next 30 for two more.
    let smallest = peer.packet(Channel::Unreliable, &[]);
    assert_eq!(smallest.len(), 30);
    bench.deliver_from(new, &smallest);
    assert_eq!(asked(&mut bench, &peer), 1);
    let smallest = peer.packet(Channel::Unreliable, &[]);
    bench.deliver_from(new, &smallest);
    assert_eq!(asked(&mut bench, &peer), 2);
    assert_eq!(asked(&mut bench, &peer), 0, "three, and then it is silent");
}

#[test]
fn a_pong_counts_only_from_the_address_that_was_asked_and_with_its_nonce() {
    let mut bench = Bench::new(4);
    let mut other = bench.entered(2);
    let mut peer = bench.entered(SLOT);
    let (home, victim) = (peer.address, elsewhere(1));
    let input = peer.input(1, 1);
    // Sent by the client itself, under a source that is not its own.
    bench.deliver_from(victim, &input);
    let nonces = bench.asks(&peer, victim);
    assert_eq!(nonces.len(), 1);
    for from in [home, elsewhere(2), elsewhere(3)] {
        bench.pong(&mut peer, from, nonces[0]);
        assert_eq!(bench.home(), home, "{from}");
    }
    for wrong in [0, 1, u64::MAX, nonces[0] ^ 1, nonces[0].swap_bytes(), bench.now.0] {
        bench.pong(&mut peer, victim, wrong);
        assert_eq!(bench.home(), home, "{wrong}");
    }
    bench.pong(&mut other, victim, nonces[0]);
    assert_eq!(bench.sessions.address(2), Some(other.address), "another session");
    // Much later it is worth nothing, even to the right one.
    bench.advance_ms(9_000);
    bench.pong(&mut peer, victim, nonces[0]);
    assert_eq!((bench.home(), bench.read(Counter::PathChanges)), (home, 0));
}

#[test]
fn a_copy_that_displaces_the_candidate_does_not_keep_the_client_away() {
    let mut bench = Bench::new(4);
    let mut peer = bench.entered(SLOT);
    let (new, thief) = (elsewhere(1), elsewhere(9));
    let input = peer.input(1, 1);
    bench.deliver_from(new, &input);
    let nonce = bench.asks(&peer, new)[0];
    // The copy of the next packet is faster than the packet.
    let input = peer.input(2, 1);
    bench.deliver_from(thief, &input);
    bench.deliver_from(new, &input);
    assert_eq!(bench.asks(&peer, thief).len(), 1);
    bench.pong(&mut peer, new, nonce);
    assert_eq!(bench.home(), new);
}

#[test]
fn a_packet_that_comes_late_or_again_makes_no_candidate() {
    let mut bench = Bench::new(4);
    let mut peer = bench.entered(SLOT);
    let (late, newest) = (peer.input(1, 1), peer.input(2, 1));
    bench.deliver(&peer, &newest);
    bench.deliver_from(elsewhere(1), &newest);
    assert_eq!(bench.dropped(OLD), 1);
    bench.events();
    bench.deliver_from(elsewhere(1), &late);
    assert_eq!(bench.read(Counter::PacketsOpened), 4, "it is the client's, wherever it was");
    assert!(bench.asks(&peer, elsewhere(1)).is_empty());
    assert_eq!(bench.read(Counter::PathCandidates), 0);
    let newer = peer.input(3, 1);
    let mut batch = Batch::default();
    batch.push(elsewhere(1), &newer);
    batch.push(elsewhere(2), &newer);
    bench.deliver_batch(&mut batch);
    assert_eq!((bench.dropped(OLD), bench.read(Counter::PathCandidates)), (2, 1));
}

#[test]
fn twenty_packets_a_second_from_elsewhere_are_opened_and_the_others_cost_no_cryptography() {
    let mut bench = Bench::new(4);
    let mut peer = bench.entered(SLOT);
    let forged = {
        let mut bytes = peer.input(1, 1);
        bytes[40] ^= 1;
        bytes
    };
    for second in 0..5 {
        for n in 0..1_000 {
            bench.deliver_from(elsewhere(n % 250), &forged);
            bench.advance_ms(1);
        }
        let tried = bench.sessions.failed_opens[usize::from(SLOT)];
        let limit = 20 + 20 * (second + 1);
        assert!((limit - 1..=limit).contains(&tried), "{tried} after {second} s");
    }
    let dropped = bench.dropped(DropReason::Address) + bench.dropped(DropReason::Open);
    assert_eq!(dropped, 5_000);
    bench.deliver(&peer, &forged);
    let tried = bench.sessions.failed_opens[usize::from(SLOT)];
    assert_eq!(bench.dropped(DropReason::Open), tried);
    assert!(tried >= 120, "the active address has no such limit");
    bench.advance_ms(100);
    bench.moves(&mut peer, elsewhere(300));
    assert_eq!(bench.home(), elsewhere(300), "a real client comes through");
}

#[test]
fn the_address_changes_once_a_second_and_ten_times_a_minute_at_most() {
    let mut bench = Bench::new(4);
    let mut peer = bench.entered(SLOT);
    let mut changes: Vec<u64> = Vec::new();
    // Two minutes of a client that is somewhere else every tenth of a second.
    for step in 0..1_200 {
        let before = bench.home();
        bench.moves(&mut peer, elsewhere(step % 200));
        if bench.home() != before {
            changes.push(bench.now.as_ms());
        }
        bench.advance_ms(100);
    }
    assert!(changes.windows(2).all(|pair| pair[1] - pair[0] >= 1_000), "{changes:?}");
    assert!(changes.windows(11).all(|all| all[10] - all[0] >= 60_000), "{changes:?}");
    assert_eq!(changes.len(), 20, "and not less: {changes:?}");
    assert_eq!(bench.read(Counter::PathChanges), 20);
    assert!(bench.read(Counter::PathRefused) > 500);
    assert!(bench.sessions.stage(SLOT).is_some(), "it is no violation");
}

#[test]
fn two_candidates_may_answer_in_one_second_and_the_second_waits_for_the_next() {
    let mut bench = Bench::new(4);
    let mut peer = bench.entered(SLOT);
    let mut nonces = Vec::new();
    for number in [1, 2] {
        let input = peer.input(number.into(), 1);
        bench.deliver_from(elsewhere(number), &input);
        nonces.extend(bench.asks(&peer, elsewhere(number)));
    }
    bench.pong(&mut peer, elsewhere(1), nonces[0]);
    bench.pong(&mut peer, elsewhere(2), nonces[1]);
    assert_eq!((bench.home(), bench.read(Counter::PathRefused)), (elsewhere(1), 2));
    bench.advance_ms(1_000);
    bench.pong(&mut peer, elsewhere(2), nonces[1]);
    assert_eq!(bench.home(), elsewhere(2), "the nonce is good for some seconds");
}

#[test]
fn a_pong_that_is_older_than_the_last_change_is_late() {
    let mut bench = Bench::new(4);
    let mut peer = bench.entered(SLOT);
    let input = peer.input(1, 1);
    bench.deliver_from(elsewhere(1), &input);
    let nonce = bench.asks(&peer, elsewhere(1))[0];
    let late = peer.control(ControlMessage::Pong { nonce, clock_us: 1 });
    bench.moves(&mut peer, elsewhere(2));
    assert_eq!(bench.home(), elsewhere(2));
    bench.advance_ms(1_100);
    bench.deliver_from(elsewhere(1), &late);
    assert_eq!(bench.home(), elsewhere(2), "it left before the client went on");
}

#[test]
fn nothing_is_known_of_a_new_path() {
    let mut bench = Bench::new(4);
    let mut peer = bench.entered(SLOT);
    for _ in 0..40 {
        let sequence = bench.snapshot(SLOT);
        bench.advance_ms(80);
        let ack = peer.ack(sequence, 0);
        bench.deliver(&peer, &ack);
    }
    let before = bench.sessions.path(SLOT).expect("a session");
    assert!(before.rtt >= Nanos::from_ms(79), "{before:?}");
    bench.moves(&mut peer, elsewhere(1));
    let after = bench.sessions.path(SLOT).expect("a session");
    let budget = BudgetRange::default().start();
    assert_eq!(after, PathState { budget, ..PathState::default() });
}

#[test]
fn a_client_that_goes_back_is_found_there() {
    let mut bench = Bench::new(4);
    let mut peer = bench.entered(SLOT);
    for (round, home) in [elsewhere(1), peer.address, elsewhere(1)].into_iter().enumerate() {
        bench.moves(&mut peer, home);
        assert_eq!(bench.home(), home, "{round}");
        bench.advance_ms(1_000);
    }
}

/// A generator for what the network and its thieves do.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % limit
    }
}

#[test]
fn whatever_is_copied_delayed_or_turned_round_nobody_but_the_client_is_served() {
    for seed in 0..60 {
        let mut dice = Dice(seed);
        let mut bench = Bench::new(4);
        let mut peer = bench.entered(SLOT);
        let mut home = peer.address;
        let mut past: Vec<Vec<u8>> = Vec::new();
        // By address: bytes from there, bytes of questions to it.
        let mut traffic: BTreeMap<SocketAddr, (usize, usize)> = BTreeMap::new();
        let mut proved = vec![home];
        let mut moved_at = bench.now;
        for tick in 0..1_500 {
            if dice.below(400) == 0 {
                home = elsewhere(100 + dice.below(5) as u16);
                moved_at = bench.now;
            }
            let mut packets = vec![peer.input(tick + 1, 1)];
            for (to, length, messages) in bench.sends(&peer) {
                if !proved.contains(&to) {
                    traffic.entry(to).or_default().1 += length;
                    let (from, asked) = traffic[&to];
                    assert!(asked <= 3 * from, "seed {seed}, tick {tick}: {asked} for {from}");
                }
                // Whoever hears it hands it to the client, who answers from where it is.
                for message in messages {
                    if let ControlMessage::Ping { nonce } = message {
                        packets.push(peer.control(ControlMessage::Pong { nonce, clock_us: 1 }));
                        if to == home {
                            proved.push(to);
                        }
                    }
                }
            }
            for packet in packets {
                // Pongs of a thief are worth something only where their questions went.
                let is_faster = dice.below(3) == 0 && packet.len() != 49;
                let thief = elsewhere(dice.below(20) as u16);
                if is_faster {
                    traffic.entry(thief).or_default().0 += packet.len();
                    bench.deliver_from(thief, &packet);
                }
                traffic.entry(home).or_default().0 += packet.len();
                bench.deliver_from(home, &packet);
                past.push(packet);
            }
            if dice.below(4) == 0 {
                let old = &past[dice.below(past.len() as u64) as usize];
                bench.deliver_from(elsewhere(dice.below(120) as u16), old);
            }
            assert!(proved.contains(&bench.home()), "seed {seed}, tick {tick}");
            bench.advance_ms(16);
        }
        if bench.now.since(moved_at) > Nanos::from_ms(8_000) {
            assert_eq!(bench.home(), home, "seed {seed}: in the end it is found");
        }
        assert!(bench.sessions.stage(SLOT).is_some(), "seed {seed}");
    }
}
