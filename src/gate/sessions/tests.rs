//! Slots and who has them, without a gate.

use super::*;
use proptest::prelude::*;

fn session(player: u64) -> Session {
    Session { player, answer: None }
}

fn farewell() -> Farewell {
    Farewell { address: ([127, 0, 0, 1], 1).into(), key: [0; 32], epoch: 0, former: None }
}

proptest! {
    #[test]
    fn a_live_slot_is_never_handed_out_and_its_generation_always_changes(
        steps in prop::collection::vec((any::<bool>(), any::<u16>(), 0..40usize), 0..400),
    ) {
        let mut sessions = Sessions::new(3, (4, 0), 12, [1, 2]);
        let mut live: Vec<ConnectionId> = Vec::new();
        let mut last = std::collections::BTreeMap::new();
        for (open, random, pick) in steps {
            if open {
                let id = sessions.candidate(0, |_| 99, random);
                prop_assert_eq!(id.is_none(), live.len() == 12);
                let Some(id) = id else { continue };
                let place = (id.socket(), id.slot());
                prop_assert!(live.iter().all(|&id| (id.socket(), id.slot()) != place));
                prop_assert_ne!(last.insert(place, id.generation()), Some(id.generation()));
                sessions.open(id, session(u64::from(random % 5)), farewell());
                live.push(id);
            } else if !live.is_empty() {
                let id = live.swap_remove(pick % live.len());
                prop_assert!(sessions.close(id).is_some());
                prop_assert!(sessions.close(id).is_none(), "closed only once");
            }
        }
    }
}

#[test]
fn sessions_spread_evenly_over_the_shards() {
    let mut sessions = Sessions::new(3, (4, 0), 12, [1, 2]);
    let mut sockets = Vec::new();
    for player in 0..6 {
        let id = sessions.candidate(0, |_| 99, 7).unwrap();
        sessions.open(id, session(player), farewell());
        sockets.push(id.socket());
    }
    assert_eq!(sockets, [1, 2, 3, 1, 2, 3]);
}

#[test]
fn a_foreign_or_outdated_id_names_nobody() {
    let mut sessions = Sessions::new(1, (4, 0), 4, [1, 2]);
    let id = sessions.candidate(0, |_| 99, 7).unwrap();
    sessions.open(id, session(1), farewell());
    for other in [
        ConnectionId::GATE,
        ConnectionId::from_parts(2, id.slot(), id.generation()),
        ConnectionId::from_parts(1, 9, id.generation()),
        ConnectionId::from_parts(1, id.slot(), id.generation() ^ 1),
    ] {
        assert_eq!(sessions.close(other), None, "{other:?}");
    }
    assert_eq!(sessions.close(id), Some(session(1)));
}

#[test]
fn slots_that_make_up_for_unevenness_take_no_more_sessions_than_the_limit() {
    let mut sessions = Sessions::new(2, (4, 0), 5, [1, 2]);
    let mut open = |player| {
        let id = sessions.candidate(0, |_| 99, 7)?;
        sessions.open(id, session(player), farewell());
        Some(id)
    };
    let ids: Vec<_> = (0..5).map(|player| open(player).expect("room")).collect();
    assert_eq!(open(5), None, "three slots are free, and no session is allowed");
    sessions.close(ids[0]);
    assert!(sessions.candidate(0, |_| 99, 7).is_some());
}

#[test]
fn the_newest_login_replaces_the_older_one_when_it_is_confirmed() {
    let mut sessions = Sessions::new(1, (8, 0), 8, [1, 2]);
    let mut open = || {
        let id = sessions.candidate(0, |_| 99, 7).unwrap();
        (id, sessions.open(id, session(42), farewell()))
    };
    let (first, replaced) = open();
    assert_eq!(replaced, None);
    let (second, replaced) = open();
    assert_eq!(replaced, Some(first), "an attempt given up");
    assert_eq!(sessions.confirm(first, 42), None, "too late");
    assert_eq!(sessions.confirm(second, 42), None);
    let third = sessions.candidate(0, |_| 99, 7).unwrap();
    assert_eq!(sessions.open(third, session(42), farewell()), None, "the old one plays on");
    assert_eq!(sessions.confirm(third, 42), Some(second));
    sessions.close(second);
    let fourth = sessions.candidate(0, |_| 99, 7).unwrap();
    sessions.open(fourth, session(42), farewell());
    assert_eq!(sessions.confirm(fourth, 42), Some(third));
}

#[test]
fn spare_slots_are_for_those_who_have_an_entity_there() {
    let mut sessions = Sessions::new(2, (4, 1), 8, [1, 2]);
    let mut join = |player| {
        let id = sessions.candidate(0, |_| 99, 7)?;
        sessions.open(id, session(player), farewell());
        sessions.confirm(id, player);
        Some(id)
    };
    let ids: Vec<_> = (0..6).map(|player| join(player).expect("room")).collect();
    assert_eq!(join(6), None);
    assert_eq!(sessions.reserve(ids[0], 1, 7), None, "nor does anybody move there");
    let heir = sessions.candidate_in(0, 7).expect("kept for him");
    sessions.open(heir, session(0), farewell());
    assert_eq!(sessions.candidate_in(0, 7), None);
    assert_eq!(sessions.confirm(heir, 0), Some(ids[0]));
    sessions.close(ids[0]);
    assert!(sessions.candidate_in(0, 7).is_some());
}

#[test]
fn a_slot_that_was_left_comes_back_whichever_of_two_shards_is_heard_first() {
    for left_is_first in [false, true] {
        let mut sessions = Sessions::new(2, (2, 0), 4, [1, 2]);
        let from = sessions.candidate(0, |_| 99, 7).expect("room");
        sessions.open(from, session(1), farewell());
        sessions.confirm(from, 1);
        let here = usize::from(from.socket()) - 1;
        let to = sessions.reserve(from, 1 - here, 7).expect("room");
        if left_is_first {
            sessions.release(from);
            assert!(sessions.lives(from) && sessions.room_in(here) == 1, "it is still his");
        }
        assert_eq!(sessions.moved(to), Some(()));
        assert_eq!(sessions.room_in(here), if left_is_first { 2 } else { 1 });
        sessions.release(from);
        sessions.release(from);
        assert_eq!((sessions.room_in(here), sessions.room_in(1 - here)), (2, 1));
        assert!(sessions.close(to).is_some());
        assert_eq!([0, 1].map(|shard| sessions.room_in(shard)), [2, 2]);
        let again = sessions.candidate(0, |_| 99, 7).expect("room");
        sessions.open(again, session(2), farewell());
        sessions.confirm(again, 2);
        let there = 2 - usize::from(again.socket());
        let to = sessions.reserve(again, there, 7).expect("room");
        sessions.moved(to);
        assert!(sessions.former(to).is_some(), "what was is forgotten");
    }
}
