//! Each reason, provoked for real: a viewer, a few entities, and what happens to them.

use super::super::*;
use super::*;
use crate::exchange::{Meeting, Member, exchange};
use crate::limits::SNAPSHOT_BUDGET;
use crate::state::flags;
use crate::wire::snapshot::OwnState;
use crate::world::{Attributes, Input, Row, Spawn, World, WorldConfig};
use std::collections::BTreeSet;

const RATE: TickRate = TickRate::DEFAULT;
/// Selected in ticks 4, 8, 12 and so on.
const VIEWER: u16 = 0;
const CENTRE: f32 = 400_000.0;
/// Of players, centimetres.
const RADIUS: f32 = 9_000.0;

/// A viewer at the centre and whoever the test puts around it.
struct Scene {
    world: World,
    member: Member<Index>,
    replicator: Replicator,
    tick: Tick,
    /// Whether the viewer gets an acknowledgment through.
    hears: bool,
    /// Whether its session takes snapshots.
    sends: bool,
    budget: usize,
    last: Vec<u8>,
}

impl Scene {
    /// With somebody at each of `distances` east of the viewer; ids follow from the place in it.
    fn new(distances: &[f32]) -> Self {
        let rows = distances.len() + 4;
        let mut radius = Kind::ALL.map(Kind::radius);
        radius[Kind::Player as usize] = RADIUS;
        let index = Index::new(rows, radius, 1.1);
        let (keeper, mut members) = exchange(1, rows, 0, &index);
        (0..rows as u32).for_each(|row| assert!(keeper.grant(row, 0)));
        let mut scene = Self {
            world: World::new(WorldConfig { capacity: rows, rate: RATE }),
            member: members.remove(0),
            replicator: Replicator::new(1, rows, RATE),
            tick: 0,
            hears: true,
            sends: true,
            budget: SNAPSHOT_BUDGET,
            last: Vec::new(),
        };
        scene.spawn(rows as u32 - 1, 0.0);
        for (place, &distance) in distances.iter().enumerate() {
            scene.spawn(place as u32, distance);
        }
        scene
    }

    fn own(&self) -> EntityId {
        id(self.member.rows() as u32 - 1)
    }

    fn spawn(&mut self, index: u32, distance: f32) -> Row {
        self.spawn_at(index, index, distance)
    }

    fn spawn_at(&mut self, seat: u32, index: u32, distance: f32) -> Row {
        let spawn = Spawn {
            id: id(index),
            kind: Kind::Player,
            position: [CENTRE + distance, CENTRE, 0.0],
            yaw: 0,
            faction: 0,
            seat,
        };
        self.world.spawn(spawn).expect("there is room")
    }

    fn row(&self, index: u32) -> Row {
        self.world.row_of(id(index)).expect("it lives")
    }

    /// Changes something about an entity that does not move it.
    fn poke(&mut self, index: u32, health: u8) {
        self.world.set_attributes(self.row(index), Attributes { health, ..Attributes::SPAWNED });
    }

    fn hide(&mut self, index: u32) {
        let flags = flags::IS_ALIVE | flags::IS_INVISIBLE;
        self.world.set_attributes(self.row(index), Attributes { flags, ..Attributes::SPAWNED });
    }

    fn eye(&self) -> Eye {
        let row = self.world.row_of(self.own()).expect("it lives") as usize;
        let columns = self.world.columns();
        Eye {
            row: columns.seats[row],
            position: columns.position.map(|axis| axis[row]),
            sight_squared: 1.0,
            far_every: 1,
            target: u32::MAX,
        }
    }

    /// One tick. What was sent before has been acknowledged by now, if the viewer hears.
    fn tick(&mut self) {
        if self.hears {
            self.replicator.acknowledge(VIEWER, self.tick.into());
        }
        self.tick += 1;
        self.world.apply();
        self.world.advance();
        self.world.quantize(self.tick);
        self.world.publish(&mut self.member);
        self.world.index(self.member.page_mut());
        self.member.arrive();
        assert_eq!(self.member.poll(), Meeting::Met);
        let (eye, published) = (self.eye(), self.member.published());
        if is_due(VIEWER, self.tick) {
            let indexes = std::iter::once(self.member.page_of(0));
            self.replicator.select(VIEWER, eye, indexes, published);
        }
        self.replicator.diff(0, VIEWER, published);
        if self.sends {
            let own = OwnState {
                id: self.own(),
                position: eye.position,
                health: 255,
                mana: 255,
                ..OwnState::default()
            };
            let sequence = self.tick.into();
            let state =
                ViewerState { last_processed_input: 0, own: Some(own), enemies: 0, sequence };
            let mut out = vec![0; self.budget];
            let len = self.replicator.encode(0, VIEWER, published, &state, &mut out);
            out.truncate(len);
            self.last = out;
        }
    }

    fn ticks(&mut self, count: usize) {
        (0..count).for_each(|_| self.tick());
    }

    fn explain(&mut self, asked: Option<EntityId>) -> Explanation {
        let mut explanation = Explanation::default();
        let (eye, published) = (self.eye(), self.member.published());
        let indexes = std::iter::once(self.member.page_of(0));
        self.replicator.explain(VIEWER, eye, indexes, published, asked, &mut explanation);
        explanation
    }

    /// What is said of one entity. If it has a slot, the same must be said when all are listed.
    fn of(&mut self, index: u32) -> Explained {
        let only = self.explain(Some(id(index)));
        let [only] = only.entities() else { panic!("one was asked for") };
        let all = self.explain(None);
        let listed = all.entities().iter().find(|it| it.slot == only.slot);
        assert!(only.slot.is_none() || listed == Some(only), "{only:?}, but {listed:?}");
        assert_eq!(only.entity, id(index));
        *only
    }

    fn why(&mut self, index: u32) -> Reason {
        self.of(index).reason
    }
}

fn id(index: u32) -> EntityId {
    EntityId::from_parts(index, 1)
}

#[test]
fn what_was_told_and_acknowledged_is_told_again_only_when_it_changes_and_its_turn_has_come() {
    let mut scene = Scene::new(&[2_000.0, 8_000.0]);
    scene.ticks(4);
    let near = scene.of(0);
    assert_eq!((near.reason, near.told_age, near.acknowledged_age), (Reason::Told, Some(0), None));
    assert_eq!((near.tier, near.kind), (Some(Tier::Near), Some(Kind::Player)));
    assert_eq!(scene.of(1).tier, Some(Tier::Far));
    assert!((near.distance.expect("a distance") - 2_000.0).abs() < 3.0);
    scene.ticks(2);
    let near = scene.of(0);
    assert_eq!(near.reason, Reason::NothingNew);
    assert_eq!(
        (near.told_age, near.acknowledged_age, near.changed_age),
        (Some(2), Some(2), Some(5))
    );
    // A second later it changes in every tick; the pace is that of what stands still.
    scene.ticks(60);
    let pace = scene.of(0).pace_hz.expect("it has a slot");
    assert!((5.0..=8.0).contains(&pace), "{pace}");
    let (mut health, mut told, mut promised) = (0_u8, 0, None);
    for _ in 0..60 {
        health = health.wrapping_add(1);
        scene.poke(0, health);
        scene.tick();
        match scene.why(0) {
            Reason::Told => {
                assert!(promised.is_none_or(|ticks| ticks == 1), "{promised:?}");
                promised = None;
                told += 1;
            }
            Reason::NotItsTurn { ticks } => {
                assert!(promised.is_none_or(|before| before == ticks + 1), "{promised:?}");
                promised = Some(ticks);
            }
            other => panic!("{other:?}"),
        }
    }
    assert!((5..=8).contains(&told), "{told}");
}

#[test]
fn a_change_that_was_taken_back_is_nothing_new() {
    let mut scene = Scene::new(&[2_000.0]);
    scene.ticks(20);
    scene.hears = false;
    scene.poke(0, 7);
    while scene.why(0) != Reason::Told {
        scene.tick();
    }
    scene.poke(0, 255);
    for _ in 0..12 {
        scene.tick();
        assert_eq!(scene.why(0), Reason::NothingNew);
    }
    assert!(scene.of(0).changed_age < scene.of(0).acknowledged_age);
}

#[test]
fn who_does_not_fit_the_budget_is_said_to_wait_and_how_urgently() {
    let distances: Vec<_> = (0..60).map(|place| 500.0 + 10.0 * place as f32).collect();
    let mut scene = Scene::new(&distances);
    scene.budget = SNAPSHOT_ROOM_MIN;
    scene.ticks(4);
    let explanation = scene.explain(None);
    let told = explanation.entities().iter().filter(|it| it.reason == Reason::Told).count();
    let waiting = explanation.entities().iter().filter_map(|it| match it.reason {
        Reason::NoRoom { urgency } => Some((it.urgency, urgency)),
        _ => None,
    });
    let waiting: Vec<_> = waiting.collect();
    assert!(told > 3 && told + waiting.len() == 60, "{told} told, {} wait", waiting.len());
    assert!(waiting.iter().all(|&(all, urgency)| all == Some(urgency) && urgency > 7.0));
    assert_eq!((explanation.visible, explanation.budget), (60, SNAPSHOT_ROOM_MIN as u32));
    assert_eq!(explanation.bytes as usize, scene.last.len());
    // Their time comes, and then there is nothing left to say.
    scene.ticks(60);
    let explanation = scene.explain(None);
    assert!(explanation.entities().iter().all(|it| it.reason == Reason::NothingNew));
}

#[test]
fn without_a_snapshot_nobody_is_said_to_lack_room() {
    let mut scene = Scene::new(&[2_000.0]);
    scene.ticks(5);
    scene.sends = false;
    scene.poke(0, 1);
    scene.ticks(12);
    assert_eq!(scene.why(0), Reason::NoSnapshot);
    let explanation = scene.explain(None);
    assert_eq!((explanation.snapshot_tick, explanation.tick), (5, 17));
}

#[test]
fn the_viewer_and_the_header_are_those_of_the_tick() {
    let mut scene = Scene::new(&[2_000.0]);
    let own = scene.own();
    scene.ticks(9);
    assert_eq!(scene.why(own.index()), Reason::Own);
    let explanation = scene.explain(None);
    assert_eq!((explanation.entity, explanation.tick, explanation.snapshot_tick), (own, 9, 9));
    assert_eq!((explanation.acknowledged_tick, explanation.visible), (8, 1));
    assert_eq!((explanation.removals, explanation.entities().len()), (0, 1));
    assert!((explanation.position[0] - CENTRE).abs() < 2.0);
}

#[test]
fn who_hides_is_hidden_with_a_slot_and_without_one() {
    let mut scene = Scene::new(&[2_000.0]);
    scene.ticks(8);
    scene.hears = false;
    scene.hide(0);
    scene.tick();
    let hidden = scene.of(0);
    assert_eq!((hidden.reason, hidden.slot.is_some()), (Reason::Hidden, true));
    scene.ticks(3);
    assert_eq!(scene.why(0), Reason::Leaving { ticks: 0 });
    scene.ticks(2);
    let leaving = scene.of(0);
    assert_eq!((leaving.reason, leaving.slot.is_some()), (Reason::Leaving { ticks: 2 }, true));
    assert_eq!(scene.explain(None).removals, 1);
    scene.hears = true;
    scene.tick();
    let hidden = scene.of(0);
    assert_eq!((hidden.reason, hidden.slot), (Reason::Hidden, None));
}

#[test]
fn who_is_too_far_away_is_out_of_sight_until_the_next_selection_finds_him() {
    let mut scene = Scene::new(&[RADIUS + 40.0]);
    scene.ticks(8);
    let Reason::OutOfSight { distance, radius } = scene.why(0) else { panic!("in sight") };
    assert!((distance - RADIUS - 40.0).abs() < 3.0 && radius == RADIUS, "{distance}, {radius}");
    let row = scene.row(0);
    let mut sequence = 0;
    let mut walk_in = |scene: &mut Scene| {
        sequence += 1;
        let input = Input { move_x: -127, move_y: 0, yaw: 0, buttons: 0 };
        scene.world.set_input(row, sequence, input);
        scene.tick();
    };
    while matches!(scene.why(0), Reason::OutOfSight { .. }) {
        walk_in(&mut scene);
    }
    while let Reason::NotYetSelected { ticks } = scene.why(0) {
        assert_eq!(ticks, 4 - scene.tick % 4);
        walk_in(&mut scene);
    }
    assert_eq!((scene.why(0), scene.tick % 4), (Reason::Told, 0));
}

#[test]
fn in_a_crowd_the_farthest_are_crowded_out_and_then_wait_for_a_slot() {
    let distances: Vec<_> = (0..=VISIBLE_MAX).map(|place| 500.0 + 10.0 * place as f32).collect();
    let mut scene = Scene::new(&distances);
    scene.ticks(8);
    let last = VISIBLE_MAX as u32;
    let Reason::Crowded { farthest } = scene.why(last) else { panic!("{:?}", scene.why(last)) };
    assert!((farthest - 500.0 - 10.0 * (VISIBLE_MAX - 1) as f32).abs() < 3.0, "{farthest}");
    // One of the crowd is gone: there is a place for the last, but not yet a slot.
    scene.hears = false;
    let row = scene.row(5);
    scene.world.despawn(row);
    scene.member.vacate(5);
    scene.tick();
    let all = scene.explain(None);
    let gone = all.entities().iter().find(|it| it.reason == Reason::Gone).expect("its slot");
    assert_eq!((gone.entity, gone.kind, gone.distance), (EntityId::NONE, None, None));
    assert_eq!(scene.why(5), Reason::Nowhere);
    scene.ticks(4);
    assert_eq!(scene.why(last), Reason::NoSlot);
    scene.hears = true;
    scene.ticks(8);
    assert!(scene.of(last).slot.is_some());
}

#[test]
fn a_slot_is_never_explained_by_who_came_to_its_row_later() {
    let mut scene = Scene::new(&[2_000.0]);
    scene.ticks(8);
    scene.hears = false;
    let row = scene.row(0);
    scene.world.despawn(row);
    scene.spawn_at(0, 1, RADIUS * 2.0);
    for _ in 0..6 {
        scene.tick();
        let all = scene.explain(None);
        let [slot] = all.entities() else { panic!("one slot: {:?}", all.entities()) };
        assert_eq!((slot.entity, slot.distance), (EntityId::NONE, None), "{slot:?}");
        assert_eq!(scene.why(0), Reason::Nowhere);
        assert!(matches!(scene.why(1), Reason::OutOfSight { .. }));
    }
}

#[test]
fn to_explain_changes_nothing_that_is_sent_later() {
    let run = |curious: bool| {
        let distances: Vec<_> = (0..140).map(|place| 300.0 + 70.0 * place as f32).collect();
        let mut scene = Scene::new(&distances);
        let mut sent = Vec::new();
        for tick in 0..80 {
            for index in 0..140 {
                if (index * 7 + tick) % 11 == 0 {
                    scene.poke(index, (tick * 3) as u8);
                }
            }
            scene.tick();
            if curious {
                (0..144).for_each(|index| _ = scene.why(index));
            }
            sent.push(scene.last.clone());
        }
        sent
    };
    assert_eq!(run(false), run(true));
}

#[test]
fn every_reason_has_a_name_and_words_of_its_own() {
    let ticks = 1;
    let reasons = [
        Reason::Told,
        Reason::NothingNew,
        Reason::NotItsTurn { ticks },
        Reason::NoRoom { urgency: 1.5 },
        Reason::NoSnapshot,
        Reason::Gone,
        Reason::Hidden,
        Reason::Leaving { ticks },
        Reason::Own,
        Reason::OutOfSight { distance: 12_345.0, radius: 10_000.0 },
        Reason::Crowded { farthest: 950.0 },
        Reason::NoSlot,
        Reason::NotYetSelected { ticks: 3 },
        Reason::Nowhere,
    ];
    let distinct = |words: Vec<String>| words.into_iter().collect::<BTreeSet<_>>().len();
    assert_eq!(distinct(reasons.iter().map(|it| it.name().to_owned()).collect()), reasons.len());
    assert_eq!(distinct(reasons.iter().map(Reason::to_string).collect()), reasons.len());
    let said = Reason::OutOfSight { distance: 12_340.0, radius: 10_000.0 }.to_string();
    assert_eq!(said, "out of sight: 123.4 m away, seen within 100.0 m");
    assert!(Reason::NotItsTurn { ticks }.to_string().ends_with("in 1 tick"));
}
