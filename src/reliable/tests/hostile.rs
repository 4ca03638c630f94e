//! Peers that hoard, lie and shut their windows, and endpoints that move.

use super::*;
use crate::limits::{RELIABLE_BLOCKS_MIN, REORDER_MAX};

#[test]
fn a_gap_holds_no_more_than_its_share_and_not_for_ever() {
    let mut host = greeted([0; 2]);
    let mut kept = 0;
    for id in 1..256 {
        let taken = host.told(Lane::Ordered, id, &[1; 1_000]).expect("within the window");
        kept += u16::from(taken == Taken::Processed);
    }
    assert_eq!(usize::from(kept), REORDER_BYTES / 1_000);
    assert!(host.endpoint.held_bytes() <= REORDER_BYTES);
    assert!(host.endpoint.has_failed(Nanos::from_ms(60_000)) && host.delivered[0].is_empty());
    let mut host = greeted([0; 2]);
    let small = (1..256).filter(|&id| host.told(Lane::Ordered, id, &[1]) == Ok(Taken::Processed));
    assert_eq!(small.count(), usize::from(REORDER_MAX) - 1);
    assert_eq!(host.told(Lane::Ordered, 0, &[0]), Ok(Taken::Processed));
    assert_eq!(host.delivered[0].len(), usize::from(REORDER_MAX));
    assert_eq!((host.pool.used(), host.endpoint.due()), (0, Nanos(0)));
}

#[test]
fn ids_beyond_the_window_are_a_fault_and_old_ones_are_repetitions() {
    for lane in [Lane::Ordered, Lane::Unordered] {
        for first in [0_u16, 65_400] {
            let mut host = greeted([first; 2]);
            assert_eq!(host.told(lane, first.wrapping_add(256), &[]), Err(Fault::Window));
            assert_eq!(host.told(lane, first.wrapping_add(32_767), &[]), Err(Fault::Window));
            assert_eq!(host.told(lane, first.wrapping_sub(1), &[]), Ok(Taken::Processed));
            assert_eq!(host.told(lane, first.wrapping_add(32_768), &[]), Ok(Taken::Processed));
            assert!(host.delivered.iter().all(Vec::is_empty));
        }
    }
    let mut host = Host::new(Side::Server, [0; 2]);
    assert_eq!(host.told(Lane::Ordered, 0, &[]), Err(Fault::Early));
    assert_eq!(host.told_part(0, 0, 2_000, Nanos(0)), Err(Fault::Early));
}

#[test]
fn fragments_off_the_rules_are_faults_and_hold_nothing() {
    let mut host = greeted([0; 2]);
    let now = Nanos(0);
    for (offset, total, length) in [
        (0, 0, 0),
        (0, 0, 1),
        (0, 16_385, 1_024),
        (0, u32::MAX, 1_024),
        (1_023, 4_000, 1_024),
        (1_024, 4_000, 1_023),
        (1_024, 4_000, 1_025),
        (3_072, 4_000, 1_024),
        (4_096, 4_000, 0),
        (64_512, 4_000, 1_024),
        (0, 1_024, 1_023),
    ] {
        let told = host.told_bytes(0, offset, total, &vec![1; length], now);
        assert_eq!(told, Err(Fault::Part), "{offset} of {total}: {length}");
    }
    assert_eq!(host.pool.used(), 0);
}

#[test]
fn another_total_size_ends_the_set_and_repetitions_change_nothing() {
    let mut host = greeted([0; 2]);
    let now = Nanos(0);
    assert_eq!(host.told_part(0, 0, 5_000, now), Ok(Taken::Processed));
    let held = host.endpoint.held_bytes();
    for _ in 0..100 {
        assert_eq!(host.told_part(0, 0, 5_000, now), Ok(Taken::Processed));
        assert_eq!(host.endpoint.held_bytes(), held);
    }
    assert_eq!(host.told_part(0, 1_024, 5_001, now), Err(Fault::Part));
    assert_eq!((host.endpoint.held_bytes(), host.pool.used()), (0, 0));
}

#[test]
fn who_hoards_fragments_gets_two_sets_and_loses_its_session_after_ten_seconds() {
    let mut host = greeted([0; 2]);
    for id in 0..40 {
        for part in 0..15 {
            let taken = host.told_part(id, part * 1_024, 16_384, Nanos::from_ms(part.into()));
            let expected = if id < 2 { Taken::Processed } else { Taken::Refused };
            assert_eq!(taken, Ok(expected), "{id} {part}");
        }
    }
    assert_eq!(host.endpoint.held_bytes(), 2 * 15 * 1_024);
    assert!(!host.endpoint.has_failed(Nanos::from_ms(10_013)));
    assert!(host.endpoint.has_failed(Nanos::from_ms(10_014)));
    host.endpoint.clear(&mut host.pool);
    assert_eq!(host.pool.used(), 0);
}

#[test]
fn what_is_put_together_and_is_no_message_is_a_fault() {
    let mut host = greeted([0; 2]);
    assert_eq!(host.told_part(0, 0, 1_500, Nanos(0)), Ok(Taken::Processed));
    assert_eq!(host.told_part(0, 1_024, 1_500, Nanos(0)), Err(Fault::Part));
    let other = framed(9, 77, &[0; 1_000]);
    let told = host.told_bytes(0, 0, other.len() as u32, &other, Nanos(0));
    assert_eq!(told, Err(Fault::Part), "another id inside");
    assert_eq!((host.pool.used(), host.delivered[0].len()), (0, 0));
}

#[test]
fn a_long_message_that_must_wait_without_room_is_not_lost() {
    let mut host = greeted([0; 2]);
    for id in 2..4 {
        assert_eq!(host.told(Lane::Ordered, id, &[1; 12_000]), Ok(Taken::Processed));
    }
    let long = framed(9, 1, &[2; 16_000]);
    let parts: Vec<_> = long.chunks(1_024).enumerate().collect();
    let tell = |host: &mut Host, place: usize| {
        let (index, bytes) = parts[place];
        host.told_bytes(1, (index * 1_024) as u16, long.len() as u32, bytes, Nanos(0))
    };
    let last = parts.len() - 1;
    for place in 0..last {
        assert_eq!(tell(&mut host, place), Ok(Taken::Processed));
    }
    assert_eq!(tell(&mut host, last), Ok(Taken::Refused), "32 KiB wait already");
    assert_eq!(host.told(Lane::Ordered, 0, &[0]), Ok(Taken::Processed));
    assert_eq!(tell(&mut host, last), Ok(Taken::Processed));
    let lengths: Vec<_> = host.delivered[0].iter().map(Vec::len).collect();
    assert_eq!(lengths, [1, 16_000, 12_000, 12_000]);
    assert_eq!(host.pool.used(), 0);
}

#[test]
fn a_shut_window_costs_nothing_and_a_small_one_is_kept() {
    for (max_inflight, recv_bytes, max_message_kib) in [(0, 65_536, 16), (9, 0, 16), (9, 999, 0)] {
        let mut host = Host::new(Side::Server, [0; 2]);
        let hello = Side::Client.hello([0; 2]);
        let hello = Hello { max_inflight, recv_bytes, max_message_kib, ..hello };
        host.endpoint.hear(hello).expect("legal");
        host.endpoint.hello_sent(1, Nanos(0));
        host.endpoint.acknowledged(&mut host.pool, 1, Nanos(0));
        assert!(host.push(Lane::Ordered, &[1]).is_err());
        assert_eq!((host.pool.used(), host.endpoint.due()), (0, Nanos(u64::MAX)));
    }
    let mut host = Host::new(Side::Server, [0; 2]);
    let hello = Hello { max_inflight: 3, recv_bytes: 2_000, ..Side::Client.hello([0; 2]) };
    host.endpoint.hear(hello).expect("legal");
    assert_eq!(host.push(Lane::Ordered, &[1]), Err(SendError::Opening));
    host.endpoint.hello_sent(1, Nanos(0));
    host.endpoint.acknowledged(&mut host.pool, 1, Nanos(0));
    assert!((0..3).all(|_| host.push(Lane::Ordered, &[1]).is_ok()));
    assert_eq!(host.push(Lane::Ordered, &[1]), Err(SendError::Window));
    assert_eq!(host.endpoint.hear(hello), Ok(()), "hello may come twice");
    let other = Hello { max_inflight: 4, ..hello };
    assert_eq!(host.endpoint.hear(other), Err(Fault::Hello));
}

#[test]
fn no_more_messages_in_parts_are_on_their_way_than_the_other_side_puts_together() {
    let mut host = Host::new(Side::Client, [0; 2]);
    host.endpoint.hear(Side::Server.hello([0; 2])).expect("the first");
    host.endpoint.hello_sent(1, Nanos(0));
    host.sequence = 1;
    host.endpoint.acknowledged(&mut host.pool, 1, Nanos(0));
    (0..4).for_each(|_| _ = host.push(Lane::Unordered, &[5; 4_000]).expect("room"));
    let mut ids = BTreeSet::new();
    for ms in 0..200 {
        while let Some((.., Packet::Load(load, _))) = host.packet(Nanos::from_ms(ms)) {
            ids.insert(load.part.expect("a part").id);
        }
    }
    assert_eq!(ids, BTreeSet::from([0, 1]));
}

#[test]
fn an_endpoint_that_moves_to_another_pool_goes_on_where_it_was() {
    let mut host = greeted([0; 2]);
    host.endpoint.hello_sent(1, Nanos(0));
    host.sequence = 1;
    host.endpoint.acknowledged(&mut host.pool, 1, Nanos(0));
    host.push(Lane::Ordered, &[4; 5_000]).expect("room");
    host.told(Lane::Ordered, 1, b"second").expect("it waits");
    host.told_part(2, 0, 2_000, Nanos(0)).expect("half of the third");
    let (used, held) = (host.pool.used(), host.endpoint.held_bytes());
    let packed = host.endpoint.pack(&mut host.pool);
    assert_eq!(host.pool.used(), 0, "nothing stays behind");
    host.endpoint = Endpoint::unpack(packed, &mut host.pool);
    assert_eq!((host.pool.used(), host.endpoint.held_bytes()), (used, held));
    host.told(Lane::Ordered, 0, b"first").expect("its turn");
    assert_eq!(host.delivered[0], [b"first".to_vec(), b"second".to_vec()]);
    assert!(matches!(host.packet(Nanos(0)), Some((2, _, Packet::Load(..)))));
    let packed = host.endpoint.pack(&mut host.pool);
    let mut tiny = Pool::growing(4);
    let lost = Endpoint::unpack(packed, &mut tiny);
    assert!(lost.has_failed(Nanos(0)) && tiny.used() == 0, "no promise is broken in silence");
}

/// As many blocks of what was received as one session can hold for ever: two messages without their
/// last parts, and a full waiting room behind a message that never comes.
fn hoard(hoarder: &mut Host) {
    for id in [61, 62] {
        for part in 0..15 {
            hoarder.told_part(id, part * 1_024, 16_384, Nanos(0)).expect("legal");
        }
    }
    for id in 1..61 {
        hoarder.told(Lane::Ordered, id, &[1; 530]).expect("legal");
    }
}

#[test]
fn a_few_that_hoard_keep_nobody_from_what_an_honest_client_needs() {
    let mut pool = Pool::fixed(RELIABLE_BLOCKS_MIN, MESSAGE_MAX_TO_SERVER);
    let mut moving = greeted([0; 2]);
    moving.told(Lane::Ordered, 1, &[1; 900]).expect("it waits");
    moving.told_part(2, 0, 4_000, Nanos(0)).expect("it waits");
    let packed = moving.endpoint.pack(&mut moving.pool);
    let mut hoarders: Vec<Host> = (0..32).map(|_| greeted([0; 2])).collect();
    for hoarder in &mut hoarders {
        std::mem::swap(&mut hoarder.pool, &mut pool);
        hoard(hoarder);
        std::mem::swap(&mut hoarder.pool, &mut pool);
    }
    let mut honest = greeted([0; 2]);
    honest.pool = pool;
    for id in [3, 2] {
        assert_eq!(honest.told(Lane::Ordered, id, &[id as u8; 500]), Ok(Taken::Processed));
    }
    let long = framed(9, 1, &[1; 16_379]);
    for (part, bytes) in long.chunks(1_024).enumerate() {
        let taken = honest.told_bytes(1, (part * 1_024) as u16, 16_384, bytes, Nanos(0));
        assert_eq!(taken, Ok(Taken::Processed), "part {part}");
    }
    assert_eq!(honest.told(Lane::Ordered, 0, &[0]), Ok(Taken::Processed));
    let lengths: Vec<_> = honest.delivered[0].iter().map(Vec::len).collect();
    assert_eq!(lengths, [1, 16_379, 500, 500]);
    // Who comes from another shard keeps what it brings.
    let arrived = Endpoint::unpack(packed, &mut honest.pool);
    assert!(!arrived.has_failed(Nanos(0)));
    honest.endpoint.hello_sent(1, Nanos(0));
    honest.endpoint.acknowledged(&mut honest.pool, 1, Nanos(0));
    assert!(
        honest.push(Lane::Ordered, &[1; 16_000]).is_ok(),
        "what is to be sent has its own half"
    );
}

#[test]
fn a_message_in_parts_counts_whole_until_its_last_part_is_acknowledged() {
    let mut host = Host::new(Side::Server, [0; 2]);
    let hello = Hello { recv_bytes: 6_000, ..Side::Client.hello([0; 2]) };
    host.endpoint.hear(hello).expect("legal");
    host.endpoint.hello_sent(1, Nanos(0));
    host.endpoint.acknowledged(&mut host.pool, 1, Nanos(0));
    host.sequence = 1;
    host.push(Lane::Ordered, &[1; 5_000]).expect("room");
    let mut sequences = Vec::new();
    for ms in 0..100 {
        sequences.extend(host.packet(Nanos::from_ms(ms)).map(|packet| packet.0));
    }
    let last = sequences.pop().expect("five parts");
    for sequence in sequences {
        host.endpoint.acknowledged(&mut host.pool, sequence, Nanos::from_ms(100));
        assert_eq!(host.push(Lane::Ordered, &[2; 1_000]), Err(SendError::Window));
    }
    host.endpoint.acknowledged(&mut host.pool, last, Nanos::from_ms(100));
    assert_eq!(host.endpoint.unacknowledged(), 0);
    assert!(host.push(Lane::Ordered, &[2; 5_990]).is_ok());
}
