//! Snapshots, good and bad: all or nothing, and acknowledged only when applied.

use super::*;
use crate::client::Breach;
use crate::state::{Kind, QuantizedState};

fn at(x: u32) -> QuantizedState {
    QuantizedState { x, y: 70_000, yaw: 9, ..QuantizedState::DEFAULT }
}

fn entity(n: u32) -> EntityId {
    EntityId::from_parts(n, 1)
}

fn full(slot: u8, n: u32, state: &QuantizedState) -> (u8, u8, EntryBody) {
    (slot, 0, EntryBody::full(entity(n), Kind::Npc, state))
}

fn delta(slot: u8, age: u8, now: &QuantizedState, base: &QuantizedState) -> (u8, u8, EntryBody) {
    (slot, age, EntryBody::delta(now, base).unwrap())
}

/// Everything that a snapshot can change.
fn picture(pair: &Pair) -> (u32, u32, Option<OwnState>, Vec<super::super::Seen>) {
    let world = pair.client.world();
    let seen = world.entities().collect();
    (world.tick(), world.last_processed_input(), world.own().copied(), seen)
}

#[test]
fn entities_appear_move_and_disappear() {
    let mut pair = Pair::in_world();
    pair.say(&body(2, &[], &[full(0, 5, &at(100)), full(127, 6, &at(200))])).unwrap();
    pair.say(&body(3, &[], &[delta(0, 1, &at(101), &at(100))])).unwrap();
    pair.say(&body(5, &[127], &[delta(0, 2, &at(103), &at(101))])).unwrap();
    let seen: Vec<_> = pair.client.world().entities().collect();
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].slot, seen[0].entity, seen[0].kind), (0, entity(5), Kind::Npc));
    assert_eq!(seen[0].state, at(103));
    let statistics = pair.client.statistics();
    assert_eq!((statistics.snapshots, statistics.missed_ticks), (4, 1));
    assert_eq!((statistics.entries, statistics.full_entries, statistics.age_sum), (4, 2, 3));
}

#[test]
fn a_delta_may_refer_to_any_state_since_the_last_baseline_and_to_none_before() {
    let mut pair = Pair::in_world();
    pair.say(&body(2, &[], &[full(3, 5, &at(100))])).unwrap();
    for tick in 3..=10 {
        pair.say(&body(tick, &[], &[delta(3, (tick - 2) as u8, &at(tick), &at(100))])).unwrap();
    }
    pair.say(&body(11, &[], &[delta(3, 4, &at(50), &at(7))])).unwrap();
    assert_eq!(pair.client.world().seen(3).unwrap().state, at(50));
    let forgotten = body(12, &[], &[delta(3, 6, &at(51), &at(6))]);
    assert_eq!(pair.say(&forgotten), Err(ClientError::NoBaseline));
    pair.say(&body(12, &[], &[delta(3, 5, &at(51), &at(7))])).unwrap();
    assert_eq!(pair.client.world().seen(3).unwrap().state, at(51));
}

#[test]
fn an_entity_described_in_full_again_keeps_its_earlier_states() {
    let mut pair = Pair::in_world();
    for tick in 2..=6 {
        pair.say(&body(tick, &[], &[full(3, 5, &at(tick))])).unwrap();
    }
    pair.say(&body(7, &[], &[delta(3, 5, &at(70), &at(2))])).unwrap();
    assert_eq!(pair.client.world().seen(3).unwrap().state, at(70));
    pair.say(&body(8, &[], &[full(3, 9, &at(1))])).unwrap();
    let of_the_former = body(9, &[], &[delta(3, 2, &at(71), &at(70))]);
    assert_eq!(pair.say(&of_the_former), Err(ClientError::NoBaseline), "another entity");
}

#[test]
fn an_older_snapshot_is_discarded_and_not_acknowledged() {
    let mut pair = Pair::in_world();
    let late = pair.server.snapshot(&body(2, &[], &[full(0, 5, &at(1))]));
    let late_sequence = pair.server.sequence;
    pair.say(&body(3, &[], &[full(1, 6, &at(2))])).unwrap();
    assert_eq!(pair.deliver(&late), Ok(Event::Stale));
    assert!(pair.client.world().seen(0).is_none());
    let acks = pair.acks();
    assert!(acks.acknowledges(pair.server.sequence) && !acks.acknowledges(late_sequence));
    assert_eq!(pair.client.statistics().stale_snapshots, 1);
    assert_eq!(pair.deliver(&late), Err(ClientError::Replay), "and never again");
}

#[test]
fn removing_an_empty_slot_is_normal_and_a_removed_slot_takes_no_delta() {
    let mut pair = Pair::in_world();
    pair.say(&body(2, &[1, 2, 3], &[full(9, 5, &at(1))])).unwrap();
    let after_removal = body(3, &[9], &[delta(9, 1, &at(2), &at(1))]);
    assert_eq!(pair.say(&after_removal), Err(ClientError::EmptySlot));
    pair.say(&body(3, &[9], &[full(9, 6, &at(4))])).unwrap();
    assert_eq!(pair.client.world().seen(9).unwrap().entity, entity(6));
}

#[test]
fn each_kind_of_malformed_snapshot_has_its_counter_changes_nothing_and_is_not_acknowledged() {
    let base = at(100);
    let good = |tick| body(tick, &[], &[full(0, 5, &base), full(1, 6, &base)]);
    let with = |position: usize, value: u8| {
        let mut bytes = good(3);
        bytes[position] = value;
        bytes
    };
    let mut nan = good(3);
    nan[16..20].copy_from_slice(&f32::NAN.to_le_bytes());
    let twice = body(3, &[], &[full(0, 5, &base), delta(0, 1, &at(1), &base)]);
    // 52 bytes of head and own state, then slot and mask.
    let mut nothing_changed = body(3, &[], &[delta(0, 1, &at(1), &base)]);
    nothing_changed.truncate(53);
    nothing_changed.push(0);
    let mut long_varint = body(3, &[], &[delta(0, 1, &at(1), &base)]);
    long_varint.truncate(53);
    long_varint.extend([0x01, 0x80, 0x00, 0x00]);
    let edge = QuantizedState { x: 524_287, ..base };
    let outside = QuantizedState { x: 524_288, ..base };
    let cases: [(ClientError, Vec<u8>); 12] = [
        (ClientError::SnapshotSyntax, good(3)[..40].to_vec()),
        (ClientError::SnapshotSyntax, [good(3), vec![0]].concat()),
        (ClientError::SnapshotSyntax, long_varint),
        (ClientError::SnapshotReserved, with(8, 0x81)),
        (ClientError::SnapshotRange, nan),
        (ClientError::SnapshotRange, with(9, 64)),
        (ClientError::SnapshotRange, body(3, &[], &[delta(2, 1, &outside, &edge)])),
        (ClientError::SnapshotForm, nothing_changed),
        (ClientError::SlotTwice, twice),
        (ClientError::EmptySlot, body(3, &[], &[full(7, 8, &base), delta(77, 1, &at(1), &base)])),
        (ClientError::NoBaseline, body(3, &[], &[full(7, 8, &base), delta(0, 2, &at(1), &base)])),
        (ClientError::NoBaseline, body(3, &[5], &[delta(0, 63, &at(1), &base)])),
    ];
    for (reason, bytes) in cases {
        let mut pair = Pair::in_world();
        pair.say(&body(2, &[], &[full(0, 5, &base), full(2, 7, &edge)])).unwrap();
        let before = picture(&pair);
        assert_eq!(pair.say(&bytes), Err(reason), "{bytes:?}");
        assert_eq!(picture(&pair), before, "{reason:?}");
        assert_eq!(pair.client.statistics().errors(reason), 1);
        let refused = pair.server.sequence;
        assert!(!pair.acks().acknowledges(refused), "{reason:?}");
        // The session goes on as if nothing had come.
        pair.say(&body(4, &[], &[delta(0, 2, &at(9), &base)])).unwrap();
        assert_eq!(pair.client.world().seen(0).unwrap().state, at(9));
    }
}

#[test]
fn faults_that_the_format_allows_are_reported() {
    let mut pair = Pair::in_world();
    let event = pair.say(&body(2, &[], &[full(4, 5, &at(1)), full(3, 5, &at(1))])).unwrap();
    let Event::Snapshot(applied) = event else { panic!() };
    assert_eq!(applied.breaches, Breach::DUPLICATE_ENTITY);
    let own_visible = (7, 0, EntryBody::full(own().id, Kind::Player, &at(1)));
    let Event::Snapshot(applied) = pair.say(&body(3, &[3], &[own_visible])).unwrap() else {
        panic!()
    };
    assert_eq!(applied.breaches, Breach::OWN_VISIBLE);
    let mut headless = body(4, &[], &[]);
    headless.drain(12..52);
    headless[8] = 0;
    let Event::Snapshot(applied) = pair.say(&headless).unwrap() else { panic!() };
    assert_eq!(applied.breaches, Breach::OWN_MISSING);
    let mut ahead = body(5, &[], &[]);
    ahead[4] = 200;
    let Event::Snapshot(applied) = pair.say(&ahead).unwrap() else { panic!() };
    assert_eq!(applied.breaches, Breach::INPUT_ORDER);
    assert_eq!(pair.client.statistics().breaches(Breach::INPUT_ORDER), 1);
}

#[test]
fn sealed_packets_that_are_not_genuine_change_nothing() {
    let mut pair = Pair::in_world();
    pair.say(&body(2, &[], &[full(0, 5, &at(1))])).unwrap();
    let genuine = pair.server.snapshot(&body(3, &[], &[delta(0, 1, &at(2), &at(1))]));
    let before = picture(&pair);
    for bit in 0..genuine.len() * 8 {
        let mut changed = genuine.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(pair.deliver(&changed).is_err(), "bit {bit}");
    }
    for len in 0..genuine.len() {
        assert!(pair.deliver(&genuine[..len]).is_err(), "{len} bytes");
    }
    assert_eq!(picture(&pair), before);
    assert!(
        matches!(pair.deliver(&genuine), Ok(Event::Snapshot(_))),
        "the genuine one still opens"
    );
}

#[test]
fn random_bytes_from_a_server_gone_mad_never_panic() {
    for seed in 0..30u64 {
        let mut entropy = Seeded(seed);
        let mut pair = Pair::in_world();
        let start = body(2, &[], &[full(0, 5, &at(1)), full(1, 6, &at(1)), full(64, 7, &at(1))]);
        pair.say(&start).unwrap();
        for round in 0..300u32 {
            // A genuine body with a few bytes changed reaches further than noise does.
            let mut bytes = body(
                3 + round,
                &[2, 3],
                &[full(9, 8, &at(1)), full(0, 9, &at(4)), full(1, 1, &at(3))],
            );
            for _ in 0..entropy.next() % 4 {
                let position = entropy.next() as usize % bytes.len();
                bytes[position] = entropy.next() as u8;
            }
            bytes.truncate(bytes.len() - (entropy.next() % 3) as usize);
            let _ = pair.say(&bytes);
            let channel = Channel::ALL[entropy.next() as usize % 4];
            let noise: Vec<u8> = (0..entropy.next() % 64).map(|_| entropy.next() as u8).collect();
            let datagram = pair.server.seal(channel, None, &noise);
            let _ = pair.deliver(&datagram);
            let _ = pair.deliver(&noise);
            pair.drain();
        }
        println!("seed {seed}: {} errors", pair.client.statistics().errors_total());
        assert!(pair.client.statistics().errors_total() > 200);
    }
}

#[test]
fn a_false_acknowledgment_discards_the_packet() {
    let mut pair = Pair::in_world();
    let lie = AckBlock { largest: 1 << 40, bitmap: 0, delay: 0 };
    let datagram = pair.server.seal(Channel::Control, Some(lie), &[]);
    assert_eq!(pair.deliver(&datagram), Err(ClientError::FalseAck));
}

#[test]
fn fifty_moving_entities_fit_into_24_kib_and_settle() {
    let mut pair = Pair::in_world();
    let entries: Vec<_> = (0..50).map(|n| full(n, u32::from(n) + 1, &at(1))).collect();
    pair.say(&body(2, &[], &entries)).unwrap();
    let mut settled = 0;
    for tick in 3..200u32 {
        let age = tick.saturating_sub(2).min(3) as u8;
        let base = if tick - u32::from(age) == 2 { at(1) } else { at(tick - u32::from(age)) };
        let entries: Vec<_> = (0..50).map(|n| delta(n, age, &at(tick), &base)).collect();
        pair.say(&body(tick, &[], &entries)).unwrap();
        if tick == 20 {
            settled = pair.client.memory_bytes();
        }
    }
    println!("{settled} bytes");
    assert_eq!(pair.client.memory_bytes(), settled);
    assert!(settled <= 24 * 1024, "{settled} bytes");
}

#[test]
fn who_is_an_enemy_holds_until_the_next_word_about_it() {
    let mut pair = Pair::in_world();
    let say = |pair: &mut Pair, tick, relations| {
        let head = SnapshotHead { tick, own: Some(own()), relations, ..SnapshotHead::default() };
        let mut out = [0; 64];
        let len = head.write(&mut out);
        pair.say(&out[..len]).unwrap();
    };
    let enemies = |pair: &Pair| {
        let world = pair.client.world();
        (0..=u8::MAX).filter(|&faction| world.is_enemy(faction)).collect::<Vec<_>>()
    };
    assert_eq!(enemies(&pair), [0; 0]);
    say(&mut pair, 2, Some(1 << 63 | 1 << 5));
    assert_eq!(enemies(&pair), [5, 63]);
    say(&mut pair, 3, None);
    assert_eq!(enemies(&pair), [5, 63]);
    say(&mut pair, 4, Some(0));
    assert_eq!((enemies(&pair), pair.client.world().enemies()), (Vec::new(), 0));
}

#[test]
fn only_what_turns_about_all_axes_can_be_tilted_later() {
    let tilted = QuantizedState { pitch: -900, roll: 5, ..at(1) };
    for (kind, expected) in [
        (Kind::Vehicle, Ok(tilted)),
        (Kind::Projectile, Ok(tilted)),
        (Kind::Npc, Err(ClientError::SnapshotForm)),
    ] {
        let mut pair = Pair::in_world();
        let entry = (3, 0, EntryBody::full(entity(5), kind, &at(1)));
        pair.say(&body(2, &[], &[entry])).unwrap();
        let said = pair.say(&body(3, &[], &[delta(3, 1, &tilted, &at(1))]));
        let state = said.map(|_| pair.client.world().seen(3).unwrap().state);
        assert_eq!(state, expected, "{kind:?}");
    }
}
