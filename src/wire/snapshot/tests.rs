//! What the format promises: round trips, and an error for everything else.

use super::*;
use crate::state::{Kind, QuantizedState};
use crate::units::{STEPS_XY, STEPS_Z};
use proptest::prelude::*;

fn any_state() -> impl Strategy<Value = QuantizedState> {
    let place = (0..STEPS_XY, 0..STEPS_XY, 0..STEPS_Z as u16, any::<u16>());
    let rest = (any::<[i16; 3]>(), any::<[u8; 4]>(), any::<u32>());
    let side = (any::<u8>(), any::<[i16; 2]>());
    (place, rest, any::<u8>(), side).prop_map(|((x, y, z, yaw), rest, keep, (faction, tilt))| {
        let (velocity, bytes, effects) = rest;
        let full = QuantizedState {
            x,
            y,
            z,
            yaw,
            velocity,
            animation: bytes[0],
            flags: bytes[1],
            health: bytes[2],
            mana: bytes[3],
            faction,
            effects,
            pitch: tilt[0],
            roll: tilt[1],
            ..QuantizedState::DEFAULT
        };
        match keep % 3 {
            0 => QuantizedState { velocity: [0; 3], effects: 0, faction: 0, ..full },
            1 => QuantizedState { effects: 0, faction: 0, pitch: 0, roll: 0, ..full },
            _ => full,
        }
    })
}

fn body_of(head: &SnapshotHead, removed: &[u8], entries: &[(u8, u8, EntryBody)]) -> Vec<u8> {
    let mut out = vec![0; 1200];
    let mut at = head.write(&mut out);
    out[at..at + removed.len()].copy_from_slice(removed);
    at += removed.len();
    for (slot, age, body) in entries {
        at += write_entry_head(*slot, *age, head.base_age, &mut out[at..]);
        out[at..at + body.as_slice().len()].copy_from_slice(body.as_slice());
        at += body.as_slice().len();
    }
    out.truncate(at);
    out
}

fn own_state() -> OwnState {
    OwnState {
        id: EntityId::from_parts(3, 4),
        position: [1.5, 2.5, 0.0],
        velocity: [-600.0, 0.0, 3.25],
        yaw: 40_000,
        animation: 1,
        flags: 5,
        health: 200,
        mana: 17,
        faction: 63,
        effects: 0xDEAD_BEEF,
    }
}

fn head(entries: u8) -> SnapshotHead {
    SnapshotHead {
        tick: 99,
        last_processed_input: 7,
        base_age: 2,
        removals: 2,
        entries,
        own: Some(own_state()),
        relations: Some(0x8000_0000_0000_0002),
    }
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(now in any_state(), base in any_state(), age in 1u8..=63) {
        let id = EntityId::from_parts(12, 9);
        let full = EntryBody::full(id, Kind::Vehicle, &now);
        prop_assert!(full.as_slice().len() <= ENTRY_MAX);
        let mut entries = vec![(5, 0, full)];
        let delta = EntryBody::delta(&now, &base);
        prop_assert!(delta.is_none_or(|delta| delta.as_slice().len() <= ENTRY_MAX));
        entries.extend(delta.map(|delta| (127, age, delta)));
        let bytes = body_of(&head(entries.len() as u8), &[0, 127], &entries);
        let mut reader = SnapshotReader::parse(&bytes).unwrap();
        prop_assert_eq!(*reader.head(), head(entries.len() as u8));
        prop_assert_eq!(reader.removed(), &[0, 127]);
        prop_assert_eq!(reader.next_entry().unwrap(), Some(EntryHead { slot: 5, age: 0 }));
        prop_assert_eq!(
            reader.read_full().unwrap(),
            FullEntry { id, kind: Kind::Vehicle, state: now }
        );
        if now != base {
            prop_assert_eq!(reader.next_entry().unwrap(), Some(EntryHead { slot: 127, age }));
            prop_assert_eq!(reader.read_delta(Kind::Vehicle, &base).unwrap(), now);
        }
        prop_assert_eq!(reader.next_entry().unwrap(), None);
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let Ok(mut reader) = SnapshotReader::parse(&bytes) else { return Ok(()) };
        while let Ok(Some(entry)) = reader.next_entry() {
            let sound = match entry.age {
                0 => reader.read_full().is_ok(),
                _ => reader.read_delta(Kind::Vehicle, &QuantizedState::DEFAULT).is_ok(),
            };
            if !sound {
                break;
            }
        }
    }
}

#[test]
fn equal_states_have_no_delta() {
    assert!(EntryBody::delta(&QuantizedState::DEFAULT, &QuantizedState::DEFAULT).is_none());
}

#[test]
fn a_step_in_each_direction_costs_three_bytes() {
    let base = QuantizedState { x: 65_536, y: 65_535, ..QuantizedState::DEFAULT };
    let now = QuantizedState { x: 65_535, y: 65_536, ..base };
    let delta = EntryBody::delta(&now, &base).unwrap();
    assert_eq!(delta.as_slice(), [mask::POSITION, 1, 2], "a quadrant's edge is no special case");
}

#[test]
fn what_seldom_changes_costs_ordinary_entries_nothing() {
    let base = QuantizedState { effects: 7, faction: 9, pitch: 5, ..QuantizedState::DEFAULT };
    let moved = QuantizedState { x: 8, y: 9, yaw: 70, ..base };
    assert_eq!(EntryBody::delta(&moved, &base).unwrap().as_slice().len(), 5);
    let rare = |now: &QuantizedState| EntryBody::delta(now, &base).unwrap().as_slice().to_vec();
    let burning = QuantizedState { effects: 0x0107, ..base };
    assert_eq!(rare(&burning), [mask::MORE, rare::EFFECTS, 7, 1, 0, 0]);
    let turncoat = QuantizedState { faction: 10, ..base };
    assert_eq!(rare(&turncoat), [mask::MORE, rare::FACTION, 10]);
    let tilted = QuantizedState { pitch: 4, roll: i16::MIN, ..base };
    assert_eq!(rare(&tilted), [mask::MORE, rare::TILT, 1, 0xFF, 0xFF, 3]);
    let all = QuantizedState { yaw: 1, health: 1, effects: 0, faction: 0, pitch: 6, ..base };
    let expected = [0x62, 2, 1, 255, rare::ALL, 0, 0, 0, 0, 0, 2, 0];
    assert_eq!(rare(&all), expected);
}

#[test]
fn a_second_mask_that_says_nothing_or_what_cannot_be_is_refused() {
    let read = |kind, body: &[u8]| {
        let bytes = [&body_of(&head(1), &[3, 4], &[])[..], &[9], body].concat();
        let mut reader = SnapshotReader::parse(&bytes).unwrap();
        reader.next_entry().unwrap().expect("one entry");
        reader.read_delta(kind, &QuantizedState::DEFAULT)
    };
    assert_eq!(read(Kind::Vehicle, &[mask::MORE, 0]), Err(SnapshotError::Form), "empty");
    for unknown in [0x08, 0x10, 0x20, 0x40, 0x80, 0x0A] {
        let body = [mask::MORE, unknown, 1, 1, 1, 1];
        assert_eq!(read(Kind::Vehicle, &body), Err(SnapshotError::Reserved), "{unknown:#x}");
    }
    for kind in Kind::ALL {
        let tilted = QuantizedState { pitch: 1, roll: -1, ..QuantizedState::DEFAULT };
        let expected = if matches!(kind, Kind::Projectile | Kind::Vehicle) {
            Ok(tilted)
        } else {
            Err(SnapshotError::Form)
        };
        assert_eq!(read(kind, &[mask::MORE, rare::TILT, 2, 1]), expected, "{kind:?}");
        let full = EntryBody::full(EntityId::from_parts(1, 1), kind, &tilted);
        let bytes = body_of(&head(1), &[3, 4], &[(9, 0, full)]);
        let mut reader = SnapshotReader::parse(&bytes).unwrap();
        reader.next_entry().unwrap().expect("one entry");
        let found = reader.read_full().map(|full| full.state);
        assert_eq!(found, expected, "{kind:?} in full");
    }
    // 40,000 is no difference of 16 bits.
    let wide = [mask::MORE, rare::TILT, 0x80, 0xF1, 0x04, 0];
    assert_eq!(read(Kind::Vehicle, &wide), Err(SnapshotError::Range));
}

#[test]
fn every_truncation_and_every_trailing_byte_is_an_error() {
    let plain = QuantizedState { x: 70_000, y: 9, yaw: 3, flags: 1, ..QuantizedState::DEFAULT };
    let state = QuantizedState { effects: 9, faction: 2, pitch: -700, roll: 1, ..plain };
    let delta = EntryBody::delta(&state, &QuantizedState::DEFAULT).unwrap();
    let whole = body_of(&head(1), &[3, 4], &[(9, 2, delta)]);
    let read = |bytes: &[u8]| -> Result<(), SnapshotError> {
        let mut reader = SnapshotReader::parse(bytes)?;
        while reader.next_entry()?.is_some() {
            reader.read_delta(Kind::Vehicle, &QuantizedState::DEFAULT)?;
        }
        Ok(())
    };
    assert_eq!(read(&whole), Ok(()));
    for len in 0..whole.len() {
        assert!(read(&whole[..len]).is_err(), "{len} of {} bytes", whole.len());
    }
    assert!(read(&[whole.as_slice(), &[0]].concat()).is_err());
}

#[test]
fn contradictions_are_refused() {
    let whole = body_of(&head(0), &[3, 4], &[]);
    let with = |at: usize, value: u8| {
        let mut bytes = whole.clone();
        bytes[at] = value;
        SnapshotReader::parse(&bytes).err()
    };
    assert_eq!(with(8, 0x07), Some(SnapshotError::Reserved), "unknown flag");
    assert_eq!(with(9, 64), Some(SnapshotError::Range), "age beyond the history");
    assert_eq!(with(11, 129), Some(SnapshotError::Range), "more entries than slots");
    assert_eq!(with(52, 3), Some(SnapshotError::Reserved), "who is on no side is no enemy");
    assert_eq!(with(60, 4), Some(SnapshotError::Range), "removals not increasing");
    assert_eq!(with(61, 128), Some(SnapshotError::Range), "a slot above 127");
    assert_eq!(with(47, 1), Some(SnapshotError::Reserved), "reserved byte of the own state");
    assert_eq!(with(46, 1), None, "the own faction");
    let mut nan = whole.clone();
    nan[16..20].copy_from_slice(&f32::NAN.to_le_bytes());
    assert_eq!(SnapshotReader::parse(&nan).err(), Some(SnapshotError::Read(ReadError::Value)));
}
