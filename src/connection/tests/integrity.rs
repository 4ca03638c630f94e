//! The integrity check: asked at its pace, repeated until answered, scored and never decisive.

use super::*;
use crate::connection::{IntegrityPace, Scorer, Scorers};
use crate::crypto::integrity::{Examiner, KeyTable};
use crate::wire::{INTEGRITY_LEN, IntegrityRole};
use std::sync::Arc;

const EXPORTER: [u8; 32] = [0x42; 32];

fn table() -> Arc<KeyTable> {
    let keys = (0..16).map(|i| [i; 32]).collect();
    Arc::new(KeyTable::new(1001, keys).expect("sixteen keys"))
}

/// A table of sessions that asks every 20 s and waits for 5, and a player whose build has keys.
fn scene() -> (Bench, Peer) {
    let mut bench = Bench::new(4);
    bench.sessions.config.rules.integrity = IntegrityPace { interval_s: 20, patience_s: 5 };
    let mut peer = Peer::new(1);
    let mut admission = peer.admission(bench.now);
    admission.examiner = Some(Examiner::new(table(), EXPORTER, [7; 32]));
    bench.sessions.admit_session(admission).expect("the slot is free");
    for packet in [peer.crypto_test(), peer.enter()] {
        bench.deliver(&peer, &packet);
    }
    bench.poll(&peer);
    bench.sink.0.clear();
    (bench, peer)
}

impl Bench {
    /// Lets time pass, a tick at a time; the client keeps the session alive and the questions are
    /// collected, with the second in which each came.
    fn questions(&mut self, peer: &mut Peer, seconds: u64) -> Vec<(u64, u16, [u8; INTEGRITY_LEN])> {
        let start = self.now;
        let mut all = Vec::new();
        for tick in 1..=seconds * 10 {
            self.advance_ms(100);
            if tick % 10 == 0 {
                let packet = peer.control(ControlMessage::Ack);
                self.deliver(peer, &packet);
            }
            for message in self.poll(peer).iter().flat_map(Heard::control) {
                if let ControlMessage::CheckIntegrity { index, role, bytes } = message {
                    assert_eq!(role, IntegrityRole::Question);
                    all.push((self.now.since(start).as_ms() / 1_000, index, bytes));
                }
            }
        }
        all
    }

    fn answer(&mut self, peer: &mut Peer, index: u16, bytes: [u8; INTEGRITY_LEN]) {
        let role = IntegrityRole::Answer;
        let packet = peer.control(ControlMessage::CheckIntegrity { index, role, bytes });
        self.deliver(peer, &packet);
    }

    fn score(&self) -> u32 {
        let mut sheet = Scorers::default();
        self.sessions.worst(self.now, &mut sheet);
        sheet.lines().first().map_or(0, |Scorer { score, .. }| *score)
    }

    fn tally(&self) -> [u64; 4] {
        let passed = [Counter::IntegrityAsked, Counter::IntegrityPassed];
        let [asked, passed] = passed.map(|counter| self.read(counter));
        let unanswered = self.read(Counter::IntegrityUnanswered);
        [asked, passed, unanswered, self.dropped(DropReason::Integrity)]
    }
}

#[test]
fn an_honest_client_is_asked_at_the_pace_and_passes() {
    let (mut bench, mut peer) = scene();
    let mut asked = Vec::new();
    for _ in 0..200 {
        for (_, index, nonce) in bench.questions(&mut peer, 1) {
            asked.push(nonce);
            let answer = table().answer(&EXPORTER, &nonce, index).expect("a key");
            bench.answer(&mut peer, index, answer);
            // The second is late: the question is answered.
            bench.answer(&mut peer, index, answer);
        }
    }
    assert!((9..=10).contains(&asked.len()), "200 s at one each 20 s: {}", asked.len());
    let count = asked.len() as u64;
    assert_eq!(bench.tally(), [count, count, 0, 0]);
    asked.sort_unstable();
    asked.dedup();
    assert_eq!(asked.len() as u64, count, "no nonce comes twice");
    assert_eq!((bench.score(), bench.counters.dropped_total()), (0, 0));
}

#[test]
fn a_question_is_repeated_until_patience_ends_and_then_it_is_unanswered() {
    let (mut bench, mut peer) = scene();
    let asked = bench.questions(&mut peer, 24);
    let (second, index, nonce) = asked[0];
    let same = asked.iter().filter(|it| (it.1, it.2) == (index, nonce)).count();
    assert!((4..=5).contains(&same), "once a second for five: {same}");
    assert!(asked.iter().take(same).all(|it| it.0 < second + 5));
    assert_eq!(bench.tally()[2], 1);
    assert_eq!(bench.read(Counter::Violations), 0);
}

#[test]
fn wrong_answers_cost_and_forged_ones_of_other_questions_do_not_help() {
    let (mut bench, mut peer) = scene();
    let mut wrong = 0;
    while wrong < 3 {
        let asked = bench.questions(&mut peer, 1);
        let Some(&(_, index, nonce)) = asked.first() else { continue };
        // An answer under another index is to a question that nobody asked.
        let other = table().answer(&EXPORTER, &nonce, (index + 1) % 16).expect("a key");
        bench.answer(&mut peer, (index + 1) % 16, other);
        assert_eq!(bench.dropped(DropReason::Integrity), wrong);
        let before = bench.score();
        let forged = match wrong {
            0 => [0; INTEGRITY_LEN],
            1 => table().answer(&[0x43; 32], &nonce, index).expect("a key"),
            _ => other,
        };
        bench.answer(&mut peer, index, forged);
        wrong += 1;
        assert_eq!(bench.dropped(DropReason::Integrity), wrong);
        assert_eq!(bench.score(), before + 10);
    }
    assert_eq!(bench.tally()[1], 0);
}

#[test]
fn integrity_alone_never_ends_a_session_and_counts_where_there_is_more() {
    let (mut bench, mut peer) = scene();
    bench.sessions.config.rules.integrity = IntegrityPace { interval_s: 1, patience_s: 1 };
    bench.sessions.config.rules.scores.decay_per_s = 0;
    bench.questions(&mut peer, 300);
    assert!(bench.tally()[2] > 100, "{:?}", bench.tally());
    assert_eq!((bench.score(), bench.read(Counter::Violations)), (50, 0));
    // Ten bad messages alone are 50: together it is enough.
    for round in 0..10 {
        assert_eq!(bench.read(Counter::Violations), 0, "round {round}");
        let packet = peer.packet(Channel::Unreliable, &[1, 0, 99]);
        bench.deliver(&peer, &packet);
    }
    assert_eq!(bench.events(), [Event::Closed(1, CloseReason::Violation)]);
}

#[test]
fn a_session_that_is_over_the_limit_by_an_unanswered_question_ends() {
    let (mut bench, mut peer) = scene();
    bench.sessions.config.rules.scores.decay_per_s = 0;
    for _ in 0..18 {
        let packet = peer.packet(Channel::Unreliable, &[1, 0, 99]);
        bench.deliver(&peer, &packet);
    }
    assert_eq!(bench.score(), 90);
    bench.questions(&mut peer, 60);
    assert_eq!(bench.read(Counter::Violations), 1);
    assert_eq!(bench.events(), [Event::Closed(1, CloseReason::Violation)]);
}

#[test]
fn nobody_is_asked_without_keys_for_his_build_or_before_his_keys_are_proven() {
    let mut bench = Bench::new(4);
    let mut peer = bench.entered(1);
    assert_eq!(bench.questions(&mut peer, 200), []);
    // An answer that nobody asked for is no fault: it may be late.
    bench.answer(&mut peer, 3, [1; INTEGRITY_LEN]);
    assert_eq!((bench.counters.dropped_total(), bench.tally()), (0, [0; 4]));
    let mut bench = Bench::new(4);
    bench.sessions.config.rules.integrity = IntegrityPace { interval_s: 1, patience_s: 1 };
    let peer = Peer::new(1);
    let mut admission = peer.admission(bench.now);
    admission.examiner = Some(Examiner::new(table(), EXPORTER, [7; 32]));
    bench.sessions.admit_session(admission).expect("the slot is free");
    for _ in 0..40 {
        bench.advance_ms(100);
        assert_eq!(bench.poll(&peer).len(), 0);
    }
    assert_eq!(bench.tally(), [0; 4]);
}

#[test]
fn a_client_does_not_ask_and_a_server_does_not_answer() {
    let (mut bench, mut peer) = scene();
    let (index, role, bytes) = (1, IntegrityRole::Question, [1; INTEGRITY_LEN]);
    let packet = peer.control(ControlMessage::CheckIntegrity { index, role, bytes });
    bench.deliver(&peer, &packet);
    assert_eq!(bench.dropped(DropReason::Unexpected), 1);
}

#[test]
fn an_open_question_goes_along_to_another_table() {
    let (mut bench, mut peer) = scene();
    let (index, nonce) = loop {
        let asked = bench.questions(&mut peer, 1);
        if let Some(&(_, index, nonce)) = asked.first() {
            break (index, nonce);
        }
    };
    let mut other = Bench::on_socket(SOCKET + 1, 4);
    other.sessions.config.rules.integrity = IntegrityPace { interval_s: 20, patience_s: 5 };
    other.now = bench.now;
    let id = ConnectionId::from_parts(SOCKET + 1, 2, 0x99);
    let handed = bench.sessions.hand_over(1, id, bench.now).expect("it may go");
    other.sessions.take_over(handed, other.now).expect("there is room");
    peer.id = id;
    let answer = table().answer(&EXPORTER, &nonce, index).expect("a key");
    other.answer(&mut peer, index, answer);
    assert_eq!(other.tally(), [0, 1, 0, 0]);
}
