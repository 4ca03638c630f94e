//! The exchange in one thread and in several: what is read is what was published, and nothing else.

use super::*;
use crate::state::{Kind, QuantizedState, Stir, Trail};
use crate::units::EntityId;
use std::thread;

fn row(entity: u32, tick: Tick) -> PublishedRow {
    PublishedRow {
        state: QuantizedState { x: tick, effects: entity, ..QuantizedState::DEFAULT },
        changed: tick,
        id: EntityId::from_parts(entity, 1),
        trail: Trail { since: 1, ..Trail::NONE },
        kind: Kind::Monster,
        stir: Stir::Moving,
        host: 0,
    }
}

fn met<P>(member: &mut Member<P>) {
    while member.poll() == Meeting::Waiting {
        thread::yield_now();
    }
}

#[test]
fn the_history_returns_every_tick_within_reach_and_refuses_the_others() {
    let (keeper, mut members) = exchange(1, 3, 0, &());
    let mut member = members.remove(0);
    assert!(keeper.grant(1, 0));
    for tick in 1..=200 {
        member.publish(1, &row(7, tick));
        assert!(member.arrive());
        met(&mut member);
        let published = member.published();
        assert_eq!((published.tick(), published.rows()), (tick, 3));
        for age in 0..=HISTORY_REACH.min(tick - 1) {
            assert_eq!(published.state(1, tick - age).x, tick - age);
        }
        assert_eq!((published.changed()[1], published.kind(1)), (tick, Kind::Monster));
        assert_eq!(published.id(0), EntityId::NONE);
    }
    let out_of_reach = std::panic::AssertUnwindSafe(|| member.published().state(1, 137).x);
    assert!(std::panic::catch_unwind(out_of_reach).is_err());
}

#[test]
fn a_row_without_its_occupant_says_since_when() {
    let (keeper, mut members) = exchange(1, 2, 40, &());
    let mut member = members.remove(0);
    assert!(keeper.grant(0, 0));
    for tick in 41..=44 {
        member.publish(0, &row(7, tick));
        if tick == 44 {
            member.vacate(0);
        }
        member.arrive();
        met(&mut member);
        let since = if tick == 44 { 44 } else { 1 };
        let published = member.published();
        let told = [0, 1].map(|row| published.trail(row).since);
        assert_eq!(told, [since, 41], "tick {tick}");
    }
    // Whoever selected in the tick before cannot take the empty row for its entity.
    let (_, mut members) = keeper.succeed(&());
    let mut successor = members.remove(0);
    successor.inherit(&member);
    successor.arrive();
    met(&mut successor);
    let published = successor.published();
    assert!([0, 1].iter().all(|&row| published.trail(row).since == published.tick()));
}

#[test]
fn a_row_that_is_not_ours_stays_as_it_is() {
    let (keeper, mut members) = exchange(2, 2, 0, &0);
    assert!(keeper.grant(0, 0) && !keeper.grant(0, 1), "granted once");
    for member in &mut members {
        member.publish(0, &row(member.place() as u32 + 1, 1));
        member.publish(1, &row(9, 1));
        *member.page_mut() = member.place() * 10;
        member.arrive();
    }
    for member in &mut members {
        met(member);
        assert_eq!(member.published().id(0), EntityId::from_parts(1, 1));
        assert_eq!(member.published().id(1), EntityId::NONE, "nobody owns it");
        assert_eq!((*member.page_of(0), *member.page_of(1)), (0, 10));
    }
}

#[test]
fn a_vacated_row_is_empty_in_two_ticks_and_then_free() {
    let (keeper, mut members) = exchange(1, 1, 0, &());
    let member = &mut members[0];
    keeper.grant(0, 0);
    let tick = |member: &mut Member<()>| {
        member.arrive();
        met(member);
    };
    for number in 1..=2 {
        member.publish(0, &row(1, number));
        tick(member);
    }
    member.vacate(0);
    tick(member);
    assert_eq!(member.published().id(0), EntityId::NONE);
    assert!(!keeper.grant(0, 0), "its other page still shows it");
    tick(member);
    assert_eq!(member.published().id(0), EntityId::NONE);
    assert!(keeper.grant(0, 0));
}

#[test]
fn a_row_handed_over_keeps_its_history() {
    let (keeper, mut members) = exchange(2, 1, 0, &());
    keeper.grant(0, 0);
    let mut owner = 0;
    for tick in 1..=20 {
        members[owner].publish(0, &row(1, tick));
        if tick == 10 {
            members[owner].hand_over(0, 1);
            owner = 1;
        }
        members.iter_mut().for_each(|member| _ = member.arrive());
        members.iter_mut().for_each(met);
    }
    let published = members[0].published();
    assert!((1..=20).all(|tick| published.state(0, tick).x == tick));
}

#[test]
fn closing_wakes_who_waits_and_names_the_last_tick_that_all_have_met_at() {
    let (keeper, mut members) = exchange(3, 1, 40, &());
    members.iter_mut().for_each(|member| _ = member.arrive());
    members.iter_mut().for_each(met);
    members[0].arrive();
    assert_eq!((keeper.arrived(0), keeper.arrived(2)), (42, 41));
    assert_eq!(members[0].poll(), Meeting::Waiting);
    assert_eq!(keeper.close(), 41);
    assert_eq!(members[0].poll(), Meeting::Closed);
    members[2].arrive();
    assert_eq!((members[2].poll(), members[2].tick()), (Meeting::Closed, 41));
}

#[test]
fn between_arrival_and_meeting_nothing_can_be_read_or_written() {
    let (_, mut members) = exchange(2, 1, 0, &());
    let member = &mut members[0];
    member.arrive();
    type Attempt = fn(&mut Member<()>);
    let attempts: [Attempt; 4] = [
        |member| _ = member.published(),
        |member| *member.page_mut() = (),
        |member| member.publish(0, &PublishedRow::EMPTY),
        |member| _ = member.arrive(),
    ];
    for attempt in attempts {
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| attempt(member)));
        assert!(caught.is_err());
    }
}

/// Every member writes its rows and reads everybody's, on threads that run as they like: what is
/// read is exactly what was written for that tick.
#[test]
fn threads_read_exactly_what_was_published_for_the_tick() {
    const MEMBERS: u32 = 3;
    const ROWS: u32 = 12;
    // An interpreter that checks every access is a thousand times slower.
    const TICKS: u32 = if cfg!(miri) { 70 } else { 3_000 };
    let (keeper, members) = exchange(MEMBERS as usize, ROWS as usize, 0, &(0, 0));
    (0..ROWS).for_each(|row| assert!(keeper.grant(row, (row % MEMBERS) as usize)));
    thread::scope(|scope| {
        for mut member in members {
            scope.spawn(move || {
                let place = member.place() as u32;
                for tick in 1..=TICKS {
                    (place..ROWS).step_by(MEMBERS as usize).for_each(|own| {
                        member.publish(own, &row(own + 1, tick));
                    });
                    *member.page_mut() = (place, tick);
                    member.arrive();
                    met(&mut member);
                    let published = member.published();
                    for other in 0..MEMBERS {
                        assert_eq!(*member.page_of(other as usize), (other, tick));
                    }
                    for any in 0..ROWS {
                        let oldest = tick.saturating_sub(HISTORY_REACH).max(1);
                        assert_eq!(published.state(any, oldest).x, oldest);
                        assert_eq!(published.changed()[any as usize], tick);
                    }
                }
            });
        }
    });
}

#[test]
fn survivors_go_on_with_their_history_and_without_the_rows_of_the_lost() {
    let (keeper, mut members) = exchange(3, 6, 0, &());
    (0..6).for_each(|seat| assert!(keeper.grant(seat, seat as usize % 3)));
    let publish = |member: &mut Member<()>, tick: Tick| {
        let place = member.place() as u32;
        [place, place + 3].into_iter().for_each(|seat| member.publish(seat, &row(seat + 1, tick)));
    };
    for tick in 1..=100 {
        members.iter_mut().for_each(|member| publish(member, tick));
        members.iter_mut().for_each(|member| _ = member.arrive());
        members.iter_mut().for_each(met);
    }
    // Member 1 stalls. The others have published tick 101 already, and row 5 was given up in it.
    members[2].vacate(5);
    for survivor in [0, 2] {
        publish(&mut members[survivor], 101);
        members[survivor].arrive();
    }
    let (successor, mut heirs) = keeper.succeed(&());
    assert!((0..3).all(|place| heirs[place].tick() == 100 && successor.is_free(place as u32)));
    let unread = std::panic::AssertUnwindSafe(|| heirs[0].published().state(0, 100).x);
    assert!(std::panic::catch_unwind(unread).is_err(), "not before the first meeting");
    for survivor in [0, 2] {
        assert_eq!(members[survivor].poll(), Meeting::Closed);
        heirs[survivor].inherit(&members[survivor]);
        publish(&mut heirs[survivor], 101);
    }
    heirs.iter_mut().for_each(|member| _ = member.arrive());
    heirs.iter_mut().for_each(met);
    let published = heirs[1].published();
    for tick in 101 - HISTORY_REACH..=101 {
        assert_eq!((published.state(0, tick).x, published.state(2, tick).x), (tick, tick));
    }
    let living = (0..6).filter(|&seat| published.id(seat) != EntityId::NONE);
    assert_eq!(living.collect::<Vec<_>>(), [0, 2, 3], "1 and 4 are lost, 5 was given up");
    // Who stalled wakes up, works on in the old exchange, and is seen by nobody.
    assert_eq!(members[1].published().state(0, 100).x, 100);
    publish(&mut members[1], 101);
    assert!(!members[1].arrive());
    assert_eq!(members[1].poll(), Meeting::Closed);
}

#[test]
fn nobody_meets_before_everybody_arrived() {
    let barrier = Barrier::new(3);
    assert!(!barrier.arrive(1) && !barrier.arrive(1));
    assert_eq!(barrier.poll(1), Meeting::Waiting);
    assert!(barrier.arrive(1), "the last one knows it");
    assert_eq!((barrier.poll(1), barrier.poll(2)), (Meeting::Met, Meeting::Waiting));
}

#[test]
fn after_closing_all_agree_on_the_last_meeting() {
    let barrier = Barrier::new(2);
    barrier.arrive(1);
    barrier.arrive(1);
    barrier.arrive(2);
    assert_eq!(barrier.close(), 1);
    assert!(!barrier.arrive(2), "too late");
    assert_eq!((barrier.poll(1), barrier.poll(2)), (Meeting::Met, Meeting::Closed));
    assert_eq!(barrier.close(), 1);
}

#[test]
fn one_member_meets_itself() {
    let barrier = Barrier::new(1);
    assert!((1..100).all(|round| barrier.arrive(round) && barrier.poll(round) == Meeting::Met));
}

#[test]
fn ticks_may_pass_the_end_of_their_range() {
    let base = Tick::MAX - 2;
    let (keeper, mut members) = exchange(2, 1, base, &0);
    assert!(keeper.grant(0, 0));
    for round in 1..=70 {
        let tick = base.wrapping_add(round);
        members[0].publish(0, &row(1, tick));
        members.iter_mut().for_each(|member| *member.page_mut() = tick);
        members.iter_mut().for_each(|member| _ = member.arrive());
        members.iter_mut().for_each(met);
        assert_eq!((members[1].tick(), *members[1].page_of(0)), (tick, tick));
        let oldest = tick.wrapping_sub(HISTORY_REACH.min(round - 1));
        assert_eq!(members[1].published().state(0, oldest).x, oldest);
    }
    assert_eq!(keeper.close(), base.wrapping_add(70));
}

#[test]
fn a_row_vacated_twice_is_let_go_of_once() {
    let (keeper, mut members) = exchange(1, 1, 0, &());
    let member = &mut members[0];
    let tick = |member: &mut Member<()>| {
        member.arrive();
        met(member);
    };
    assert!(keeper.grant(0, 0));
    member.vacate(0);
    member.vacate(0);
    tick(member);
    member.vacate(0);
    tick(member);
    assert!(keeper.grant(0, 0), "free after two ticks");
    for number in 3..=6 {
        member.publish(0, &row(5, number));
        tick(member);
        assert_eq!(member.published().id(0), EntityId::from_parts(5, 1), "the new occupant stays");
        assert!(member.owns(0) && !keeper.grant(0, 0));
    }
    member.vacate(0);
    tick(member);
    tick(member);
    assert!(keeper.is_free(0), "and can leave again");
}

#[test]
fn a_row_is_handed_over_by_its_owner_and_not_while_it_is_given_up() {
    let (keeper, mut members) = exchange(2, 2, 0, &());
    assert!(keeper.grant(0, 0) && keeper.grant(1, 0));
    assert!(!members[1].hand_over(0, 0), "not its own");
    members[0].vacate(0);
    assert!(!members[0].hand_over(0, 1), "it is about to be empty");
    members[0].publish(1, &row(1, 1));
    assert!(members[0].hand_over(1, 1) && !members[0].hand_over(1, 1));
    members[0].vacate(1);
    members[0].publish(1, &row(9, 1));
    for _ in 0..2 {
        members.iter_mut().for_each(|member| _ = member.arrive());
        members.iter_mut().for_each(met);
        assert!(members[1].owns(1), "neither vacated nor written by who gave it away");
        members[1].publish(1, &row(1, 1));
    }
    assert_eq!(members[1].published().id(1), EntityId::from_parts(1, 1));
    assert!(keeper.is_free(0));
}

#[test]
fn nobody_but_a_member_is_given_a_row() {
    let (keeper, mut members) = exchange(1, 1, 0, &());
    let caught = |attempt: &mut dyn FnMut()| {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(attempt)).is_err()
    };
    // 255 and 256 would be the gate and the first member in the byte of an owner.
    for stranger in [1, 255, 256] {
        assert!(caught(&mut || _ = keeper.grant(0, stranger)));
    }
    assert!(caught(&mut || _ = keeper.grant(1, 0)), "no such row");
    assert!(keeper.is_free(0) && keeper.grant(0, 0));
    assert!(caught(&mut || _ = members[0].hand_over(0, 255)));
    assert!(members[0].owns(0));
}

#[test]
fn a_member_that_is_dropped_leaves_the_others_what_was_met() {
    let (keeper, mut members) = exchange(2, 1, 0, &0);
    assert!(keeper.grant(0, 1));
    members[1].publish(0, &row(3, 1));
    members.iter_mut().for_each(|member| _ = member.arrive());
    members.iter_mut().for_each(met);
    let mut dropped = members.pop().expect("two members");
    *dropped.page_mut() = 7;
    dropped.publish(0, &row(4, 2));
    drop(dropped);
    let survivor = &mut members[0];
    assert_eq!(survivor.published().id(0), EntityId::from_parts(3, 1));
    assert_eq!(*survivor.page_of(1), 0);
    survivor.arrive();
    assert_eq!((survivor.poll(), survivor.tick(), keeper.close()), (Meeting::Closed, 1, 1));
}

#[test]
fn what_was_given_up_is_inherited_once_and_a_row_granted_anew_is_not_given_up() {
    let (keeper, mut members) = exchange(1, 2, Tick::MAX - 20, &());
    assert!(keeper.grant(0, 0) && keeper.grant(1, 0));
    let tick = |member: &mut Member<()>| {
        member.arrive();
        met(member);
    };
    for _ in 0..40 {
        let next = members[0].tick().wrapping_add(1);
        (0..2).for_each(|seat| members[0].publish(seat, &row(seat + 1, next)));
        tick(&mut members[0]);
    }
    members[0].vacate(0);
    members[0].vacate(1);
    let (successor, mut heirs) = keeper.succeed(&());
    let heir = &mut heirs[0];
    assert!(successor.grant(0, 0), "the gate was faster than the heir");
    heir.inherit(&members[0]);
    heir.inherit(&members[0]);
    for _ in 0..3 {
        heir.publish(0, &row(9, heir.tick().wrapping_add(1)));
        tick(heir);
        assert_eq!(heir.published().id(0), EntityId::from_parts(9, 1));
        assert_eq!(heir.published().id(1), EntityId::NONE);
    }
    assert!(heir.owns(0) && successor.grant(1, 0));
    let oldest = heir.tick().wrapping_sub(30);
    assert_eq!(heir.published().state(1, oldest).x, oldest, "the history passes the end as well");
    heir.publish(1, &row(7, 1));
    tick(heir);
    assert_eq!(heir.published().id(1), EntityId::from_parts(7, 1), "given up once");
}

#[test]
fn a_row_that_was_given_up_is_taken_back_only_once_it_was_shown_as_empty() {
    let (keeper, mut members) = exchange(1, 2, 0, &());
    let mut member = members.remove(0);
    assert!(keeper.grant(0, 0) && keeper.grant(1, 0));
    member.publish(0, &row(7, 1));
    member.arrive();
    met(&mut member);
    member.vacate(0);
    member.vacate(1);
    for _ in 0..2 {
        assert_eq!(member.reclaim(0), Reclaim::Later);
        member.arrive();
        met(&mut member);
        assert_eq!(member.published().id(0), EntityId::NONE);
    }
    assert_eq!(member.reclaim(0), Reclaim::Done);
    assert!(member.owns(0) && !keeper.is_free(0));
    member.publish(0, &row(7, 4));
    member.arrive();
    met(&mut member);
    assert_eq!(member.published().id(0), EntityId::from_parts(7, 1));
    let (_, mut others) = exchange(2, 1, 0, &());
    assert_eq!(others[0].reclaim(0), Reclaim::Done, "it is nobody's");
    assert_eq!(others[1].reclaim(0), Reclaim::Taken);
}
