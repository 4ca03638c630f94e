//! The promise of replication: over a network that loses, repeats and reorders, a viewer never
//! holds a state that was not, and holds exactly what it should see soon after the faults end.
//!
//! The model client below is written from the description of the protocol, not from `client`: it
//! keeps every state it ever received and is as simple as can be.

use super::*;
use crate::exchange::{Meeting, Member, exchange};
use crate::limits::{SNAPSHOT_BUDGET, VISIBLE_MAX};
use crate::state::{Kind, QuantizedState};
use crate::units::{EntityId, Tick, TickRate};
use crate::wire::snapshot::{OwnState, SnapshotReader};
use crate::world::{Input, Spawn, World, WorldConfig};
use std::collections::{BTreeMap, HashMap};

/// SplitMix64, so that a failing seed replays.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % sides
    }
}

/// What the network may do, in percent and ticks.
#[derive(Clone, Copy, Debug)]
struct Faults {
    loss: u64,
    duplication: u64,
    delay: u64,
}

const NONE: Faults = Faults { loss: 0, duplication: 0, delay: 0 };

/// Packets on their way, by tick of arrival.
#[derive(Default)]
struct Wire<T>(BTreeMap<(Tick, u64), T>, u64);

impl<T: Clone> Wire<T> {
    fn send(&mut self, tick: Tick, item: &T, faults: Faults, dice: &mut Dice) {
        let copies = 1 + u64::from(dice.roll(100) < faults.duplication);
        for _ in 0..copies {
            if dice.roll(100) >= faults.loss {
                self.1 += 1;
                let arrival = tick + dice.roll(faults.delay + 1) as Tick;
                self.0.insert((arrival, self.1), item.clone());
            }
        }
    }

    fn receive(&mut self, tick: Tick) -> Vec<T> {
        let later = self.0.split_off(&(tick + 1, 0));
        std::mem::replace(&mut self.0, later).into_values().collect()
    }
}

#[derive(Default)]
struct ModelClient {
    newest: Tick,
    occupant: HashMap<u8, (EntityId, Kind)>,
    states: HashMap<u8, BTreeMap<Tick, QuantizedState>>,
}

impl ModelClient {
    /// Applies a snapshot; tells whether it may be acknowledged.
    fn apply(&mut self, body: &[u8], truth: &Truth) -> bool {
        let mut reader = SnapshotReader::parse(body).expect("our own encoder's bytes");
        let head = *reader.head();
        if head.tick <= self.newest {
            return false;
        }
        self.newest = head.tick;
        for slot in reader.removed() {
            self.occupant.remove(slot);
            self.states.remove(slot);
        }
        while let Some(entry) = reader.next_entry().expect("well-formed") {
            let state = if entry.age == 0 {
                let full = reader.read_full().expect("well-formed");
                let known = self.occupant.insert(entry.slot, (full.id, full.kind));
                if known.is_none_or(|(id, _)| id != full.id) {
                    self.states.remove(&entry.slot);
                }
                full.state
            } else {
                let base = head.tick - Tick::from(entry.age);
                let base = self.states[&entry.slot].get(&base).expect("a state we acknowledged");
                let (_, kind) = self.occupant[&entry.slot];
                reader.read_delta(kind, base).expect("well-formed")
            };
            self.states.entry(entry.slot).or_default().insert(head.tick, state);
            let (id, _) = self.occupant[&entry.slot];
            assert_eq!(truth.get(&(head.tick, id)), Some(&state), "a state that never was");
        }
        let mut ids: Vec<_> = self.occupant.values().map(|(id, _)| id).collect();
        ids.sort_unstable();
        assert!(ids.windows(2).all(|pair| pair[0] != pair[1]), "one entity in two slots");
        true
    }

    fn view(&self) -> BTreeMap<EntityId, QuantizedState> {
        let newest = |slot| *self.states[slot].last_key_value().expect("never empty").1;
        self.occupant.iter().map(|(slot, (id, _))| (*id, newest(slot))).collect()
    }
}

type Truth = HashMap<(Tick, EntityId), QuantizedState>;

struct Scene {
    dice: Dice,
    world: World,
    member: Member<Index>,
    replicator: Replicator,
    players: Vec<EntityId>,
    clients: Vec<ModelClient>,
    down: Vec<Wire<(u64, Vec<u8>)>>,
    up: Vec<Wire<u64>>,
    sequence: u64,
    generation: u32,
    truth: Truth,
    spread: u64,
}

const PLAYERS: usize = 12;
const OTHERS: u32 = 160;

impl Scene {
    fn new(seed: u64, spread: u64) -> Self {
        let rows = PLAYERS + OTHERS as usize;
        let index = Index::new(rows, Kind::ALL.map(Kind::radius), 1.1);
        let (keeper, mut members) = exchange(1, rows, 0, &index);
        (0..rows as u32).for_each(|row| assert!(keeper.grant(row, 0)));
        let member = members.remove(0);
        let mut scene = Self {
            dice: Dice(seed),
            world: World::new(WorldConfig { capacity: rows, rate: TickRate::DEFAULT }),
            member,
            replicator: Replicator::new(PLAYERS, rows, TickRate::DEFAULT),
            players: Vec::new(),
            clients: (0..PLAYERS).map(|_| ModelClient::default()).collect(),
            down: (0..PLAYERS).map(|_| Wire::default()).collect(),
            up: (0..PLAYERS).map(|_| Wire::default()).collect(),
            sequence: 0,
            generation: 1,
            truth: HashMap::new(),
            spread,
        };
        for index in 0..PLAYERS as u32 + OTHERS {
            let kind = if (index as usize) < PLAYERS { Kind::Player } else { Kind::Monster };
            scene.spawn(index, kind);
        }
        scene.players = (0..PLAYERS as u32).map(|index| EntityId::from_parts(index, 1)).collect();
        scene
    }

    fn spawn(&mut self, index: u32, kind: Kind) {
        let mut place = || 400_000.0 + self.dice.roll(self.spread) as f32;
        let position = [place(), place(), 0.0];
        let id = EntityId::from_parts(index, self.generation);
        self.world
            .spawn(Spawn { id, kind, position, yaw: 0, faction: 0, seat: index })
            .expect("there is room");
    }

    /// A tick in which some entities change course; now and then one dies and another takes its
    /// row.
    fn lively_tick(&mut self, tick: Tick, faults: Faults) {
        for row in 0..self.world.rows() as u32 {
            if self.dice.roll(8) == 0 {
                let mut axis = || self.dice.roll(255) as i64 as i8;
                let input = Input { move_x: axis(), move_y: axis(), yaw: tick as u16, buttons: 0 };
                self.world.set_input(row, tick, input);
            }
        }
        if self.dice.roll(3) == 0 {
            let index = PLAYERS as u32 + self.dice.roll(u64::from(OTHERS)) as u32;
            let row = (0..self.world.rows() as u32)
                .find(|&row| self.world.id_of(row).is_some_and(|id| id.index() == index));
            self.world.despawn(row.expect("each index lives"));
            self.generation += 1;
            self.spawn(index, Kind::Monster);
        }
        self.tick(tick, faults);
    }

    /// Everybody stands still from the next tick on.
    fn calm_down(&mut self, tick: Tick) {
        for row in 0..self.world.rows() as u32 {
            self.world.set_input(row, tick, Input::default());
        }
    }

    fn tick(&mut self, tick: Tick, faults: Faults) {
        self.world.apply();
        self.world.advance();
        self.world.quantize(tick);
        self.world.publish(&mut self.member);
        self.world.index(self.member.page_mut());
        self.member.arrive();
        assert_eq!(self.member.poll(), Meeting::Met);
        let columns = self.world.columns();
        for (row, id) in columns.ids.iter().enumerate() {
            self.truth.insert((tick, *id), columns.quantized[row]);
        }
        for viewer in 0..PLAYERS {
            for sequence in self.up[viewer].receive(tick) {
                self.replicator.acknowledge(viewer as u16, sequence);
            }
            let body = self.snapshot(viewer as u16, tick);
            self.down[viewer].send(tick, &(self.sequence, body), faults, &mut self.dice);
            for (sequence, body) in self.down[viewer].receive(tick) {
                if self.clients[viewer].apply(&body, &self.truth) {
                    self.up[viewer].send(tick, &sequence, faults, &mut self.dice);
                }
            }
        }
    }

    fn snapshot(&mut self, viewer: u16, tick: Tick) -> Vec<u8> {
        let row = self.world.row_of(self.players[usize::from(viewer)]).expect("players live");
        let columns = self.world.columns();
        let position = columns.position.map(|axis| axis[row as usize]);
        if is_due(viewer, tick) {
            let row = columns.seats[row as usize];
            let eye = Eye { row, position, sight_squared: 1.0, far_every: 1, target: u32::MAX };
            let indexes = std::iter::once(self.member.page_of(0));
            self.replicator.select(viewer, eye, indexes, self.member.published());
        }
        self.sequence += 1;
        let own = OwnState {
            id: self.players[usize::from(viewer)],
            position,
            health: 255,
            mana: 255,
            ..OwnState::default()
        };
        let state = ViewerState {
            last_processed_input: 0,
            own: Some(own),
            enemies: 0,
            sequence: self.sequence,
        };
        let mut out = [0; SNAPSHOT_BUDGET];
        let published = self.member.published();
        self.replicator.diff(0, viewer, published);
        let len = self.replicator.encode(0, viewer, published, &state, &mut out);
        out[..len].to_vec()
    }

    /// Everything that `viewer` must see, by brute force: nobody moves, so there is no doubt at the
    /// edge.
    fn expected(&self, viewer: usize) -> BTreeMap<EntityId, QuantizedState> {
        let columns = self.world.columns();
        let at = |row: usize| columns.position.map(|axis| axis[row]);
        let own = self.world.row_of(self.players[viewer]).expect("players live") as usize;
        let squared = |row: usize| -> f32 {
            at(row).iter().zip(at(own)).map(|(a, b)| (a - b) * (a - b)).sum()
        };
        (0..columns.ids.len())
            .filter(|&row| row != own && squared(row) <= columns.kinds[row].radius().powi(2))
            .map(|row| (columns.ids[row], columns.quantized[row]))
            .collect()
    }
}

#[test]
fn a_viewer_holds_only_what_was_and_converges_when_the_faults_end() {
    for seed in 0..12 {
        let faults = Faults { loss: seed * 4, duplication: seed * 4, delay: seed % 9 };
        println!("seed {seed}: {faults:?}");
        let mut scene = Scene::new(seed, 140_000);
        let stormy = 240;
        for tick in 1..=stormy {
            scene.lively_tick(tick, faults);
        }
        scene.calm_down(stormy + 1);
        for tick in stormy + 1..=stormy + 120 {
            scene.tick(tick, NONE);
        }
        for viewer in 0..PLAYERS {
            let (view, expected) = (scene.clients[viewer].view(), scene.expected(viewer));
            assert!(expected.len() >= 8 && expected.len() <= VISIBLE_MAX, "{}", expected.len());
            for (id, state) in &expected {
                assert_eq!(view.get(id), Some(state), "seed {seed}, viewer {viewer}, {id:?}");
            }
            // Between the enter and the leave radius an entity may still be held, in its true
            // state.
            for (id, state) in view.iter().filter(|(id, _)| !expected.contains_key(*id)) {
                assert_eq!(scene.truth.get(&(stormy + 120, *id)), Some(state), "a ghost: {id:?}");
            }
        }
    }
}

#[test]
fn a_crowd_beyond_all_slots_and_budgets_is_seen_in_turns() {
    let mut scene = Scene::new(5, 2_000);
    for tick in 1..=200 {
        scene.lively_tick(tick, Faults { loss: 10, duplication: 5, delay: 3 });
    }
    let tally = scene.replicator.take_tally();
    assert!(tally.deferred > 0, "the budget was never reached: {tally:?}");
    scene.calm_down(201);
    for tick in 201..=320 {
        scene.tick(tick, NONE);
    }
    for client in &scene.clients {
        let view = client.view();
        assert!(view.len() == VISIBLE_MAX, "{} seen", view.len());
        assert!(view.iter().all(|(id, state)| scene.truth.get(&(320, *id)) == Some(state)));
    }
}

#[test]
fn what_many_viewers_need_is_encoded_once() {
    let mut scene = Scene::new(6, 140_000);
    for tick in 1..=60 {
        scene.lively_tick(tick, NONE);
    }
    scene.replicator.take_tally();
    for tick in 61..=120 {
        scene.lively_tick(tick, NONE);
    }
    let tally = scene.replicator.take_tally();
    assert!(tally.encoded * 4 < tally.sent, "12 viewers, one encoding: {tally:?}");
}

#[test]
fn nobody_is_told_about_himself() {
    let mut scene = Scene::new(7, 1_000);
    for tick in 1..=30 {
        scene.lively_tick(tick, NONE);
    }
    for (viewer, client) in scene.clients.iter().enumerate() {
        assert!(!client.view().contains_key(&scene.players[viewer]));
    }
}
