//! The exchange in one thread and in several: what is read is what was published, and nothing else.

use super::*;
use crate::state::{Kind, QuantizedState};
use crate::units::EntityId;
use std::thread;

fn row(entity: u32, tick: Tick) -> PublishedRow {
    PublishedRow {
        state: QuantizedState { x: tick, effects: entity, ..QuantizedState::DEFAULT },
        changed: tick,
        id: EntityId::from_parts(entity, 1),
        kind: Kind::Monster,
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
    let (keeper, members) = exchange(MEMBERS as usize, ROWS as usize, 0, &(0, 0));
    (0..ROWS).for_each(|row| assert!(keeper.grant(row, (row % MEMBERS) as usize)));
    thread::scope(|scope| {
        for mut member in members {
            scope.spawn(move || {
                let place = member.place() as u32;
                for tick in 1..=3_000 {
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
