//! The world beside a model that is a map of entities, each advanced by the scalar definitions: any
//! sequence of spawns, despawns, inputs and ticks, under a printed seed.

mod beings;

use beings::{Entity, Seeded};
use std::collections::BTreeMap;
use tidelock::state::{Kind, QuantizedState, effects, flags};
use tidelock::units::{EntityId, TickRate};
use tidelock::world::{
    Attributes, Factions, HeldSet, Index, Input, Nearest, Orientation, Row, Spawn, SpawnError,
    World, WorldConfig, buttons,
};

const CAPACITY: usize = 70;

struct Run {
    seed: u64,
    random: Seeded,
    rate: TickRate,
    world: World,
    index: Index,
    model: BTreeMap<EntityId, Entity>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let rate = TickRate::from_hz([30, 60, 120][seed as usize % 3]).expect("a documented rate");
        let world = World::new(WorldConfig { capacity: CAPACITY, rate });
        let index = Index::new(CAPACITY, Kind::ALL.map(Kind::radius), 1.1);
        Self { seed, random: Seeded(seed), rate, world, index, model: BTreeMap::new() }
    }

    fn any_row(&mut self) -> Row {
        self.random.below(CAPACITY as u64 + 3) as Row
    }

    fn act(&mut self) {
        let seed = self.seed;
        match self.random.below(14) {
            0..2 => {
                let index = self.random.below(100) as u32;
                let id = EntityId::from_parts(index, 1 + self.random.below(4095) as u32);
                let spawn = self.random.spawn(id);
                let expected = if self.model.keys().any(|living| living.index() == index) {
                    Err(SpawnError::IdInUse)
                } else if self.model.len() == CAPACITY {
                    Err(SpawnError::Full)
                } else {
                    self.model.insert(id, Entity::new(spawn, self.world.tick() + 1));
                    Ok(())
                };
                assert_eq!(self.world.spawn(spawn).map(|_| ()), expected, "seed {seed}");
            }
            2 => {
                let row = self.any_row();
                let lived =
                    self.world.id_of(row).is_some_and(|id| self.model.remove(&id).is_some());
                assert_eq!(self.world.despawn(row), lived, "seed {seed}");
            }
            3 => {
                let row = self.any_row();
                let bits = self.random.next();
                let attributes = Attributes {
                    animation: bits as u8,
                    flags: (bits >> 8) as u8 & !flags::IS_INVISIBLE,
                    health: (bits >> 16) as u8,
                    mana: (bits >> 24) as u8,
                    effects: (bits >> 32) as u32 & !effects::INVISIBLE,
                };
                self.world.set_attributes(row, attributes);
                if let Some(entity) = self.entity_in(row) {
                    entity.attributes = attributes;
                }
            }
            4 => {
                let row = self.any_row();
                let bits = self.random.next();
                let (yaw, pitch, roll) = (bits as u16, (bits >> 16) as i16, (bits >> 32) as i16);
                self.world.set_orientation(row, Orientation { yaw, pitch, roll });
                if let Some(entity) = self.entity_in(row) {
                    entity.orientation.yaw = yaw;
                    if matches!(entity.kind, Kind::Projectile | Kind::Vehicle) {
                        entity.orientation = Orientation { yaw, pitch, roll };
                    }
                }
            }
            5 => {
                let (row, faction) = (self.any_row(), self.random.next() as u8);
                self.world.set_faction(row, faction);
                if let Some(entity) = self.entity_in(row) {
                    entity.faction = faction;
                }
            }
            _ => self.press(),
        }
    }

    /// An input for whoever lives in some row.
    fn press(&mut self) {
        let (seed, row) = (self.seed, self.any_row());
        let input = self.random.input();
        let ahead = self.random.below(5) as u32;
        let Some(entity) = self.entity_in(row) else {
            assert!(!self.world.set_input(row, ahead, input), "seed {seed}");
            return;
        };
        let sequence = (entity.newest + ahead).saturating_sub(2);
        let newer = sequence > entity.newest;
        if newer {
            entity.newest = sequence;
            entity.pending = Some(input);
        }
        assert_eq!(self.world.set_input(row, sequence, input), newer, "seed {seed}");
    }

    /// The seat of an entity is the index of its id here.
    fn id_at(&self, seat: u32) -> EntityId {
        let columns = self.world.columns();
        let living = columns.ids.iter().zip(columns.seats);
        let mut found = living.filter(|(id, s)| **id != EntityId::NONE && **s == seat);
        *found.next().expect("the index shows who lives").0
    }

    fn entity_in(&mut self, row: Row) -> Option<&mut Entity> {
        self.world.id_of(row).and_then(|id| self.model.get_mut(&id))
    }

    fn tick(&mut self) {
        let tick = self.world.tick() + 1;
        self.world.apply();
        self.world.advance();
        self.world.quantize(tick);
        self.world.index(&mut self.index);
        self.model.values_mut().for_each(|entity| entity.tick(tick, self.rate));
    }

    fn compare(&self) {
        let seed = self.seed;
        let columns = self.world.columns();
        assert_eq!(self.world.len(), self.model.len(), "seed {seed}");
        assert_eq!(self.world.rows(), columns.ids.len(), "seed {seed}");
        for (row, &id) in columns.ids.iter().enumerate() {
            if id == EntityId::NONE {
                let zero = QuantizedState { health: 0, mana: 0, ..QuantizedState::DEFAULT };
                assert_eq!(columns.quantized[row], zero, "seed {seed}: a dead row is zero");
                assert_eq!((columns.changed[row], columns.last_input[row]), (0, 0), "seed {seed}");
                assert!(columns.position.iter().all(|column| column[row].to_bits() == 0));
                continue;
            }
            let entity = &self.model[&id];
            assert_eq!(self.world.row_of(id), Some(row as Row), "seed {seed}");
            assert_eq!(columns.kinds[row], entity.kind, "seed {seed}");
            assert_eq!(self.world.faction(row as Row), entity.faction, "seed {seed}");
            let position = columns.position.map(|column| column[row].to_bits());
            let velocity = columns.velocity.map(|column| column[row].to_bits());
            assert_eq!(position, entity.body.position.map(f32::to_bits), "seed {seed}, {id:?}");
            assert_eq!(velocity, entity.body.velocity.map(f32::to_bits), "seed {seed}, {id:?}");
            assert_eq!(columns.quantized[row], entity.quantized, "seed {seed}, {id:?}");
            assert_eq!(columns.changed[row], entity.changed, "seed {seed}, {id:?}");
            assert_eq!(columns.last_input[row], entity.last_input, "seed {seed}, {id:?}");
        }
    }

    /// Fewer entities than a viewer can see, so the answer is simply everything within the radius.
    fn compare_visible(&mut self) {
        let mut found = Nearest::new();
        for viewer in self.model.values().map(|entity| entity.body.position) {
            found.clear();
            self.index.visible(viewer, &HeldSet::new(0), &mut found);
            let mut ids: Vec<_> = found.rows().iter().map(|&seat| self.id_at(seat)).collect();
            ids.sort_unstable();
            let near = self.model.iter().filter(|(_, entity)| {
                let squared =
                    tidelock::kernel::nearest::distance_squared(entity.body.position, viewer);
                squared <= entity.kind.radius() * entity.kind.radius()
            });
            let expected: Vec<_> = near.map(|(id, _)| *id).collect();
            assert_eq!(ids, expected, "seed {}, viewer {viewer:?}", self.seed);
        }
    }
}

#[test]
fn the_world_equals_its_model_after_every_tick() {
    for seed in 0..30 {
        let mut run = Run::new(seed);
        for _ in 0..150 {
            for _ in 0..run.random.below(40) {
                run.act();
            }
            run.tick();
            run.compare();
        }
        run.compare_visible();
    }
}

/// The same lives in other rows: what is born and what it does is the same, where it lies is not.
#[test]
fn the_hash_does_not_depend_on_the_layout_of_rows() {
    for seed in 0..10 {
        let mut hashes = Vec::new();
        for layout in 0..4_u32 {
            let mut random = Seeded(seed);
            let config = WorldConfig {
                capacity: [40, 47, 64, 300][layout as usize],
                rate: TickRate::DEFAULT,
            };
            let mut world = World::new(config);
            let mut spawns: Vec<_> =
                (0..40).map(|index| random.spawn(EntityId::from_parts(index, 1))).collect();
            match layout {
                1 => spawns.reverse(),
                2 => spawns.rotate_left(13),
                3 => (0..17).for_each(|index| {
                    let ghost = random_ghost(500 + index);
                    world.spawn(ghost).expect("there is room");
                }),
                _ => (),
            }
            for &spawn in &spawns {
                world.spawn(spawn).expect("there is room");
            }
            if layout == 3 {
                for index in 0..17 {
                    let row = world.row_of(EntityId::from_parts(500 + index, 1));
                    world.despawn(row.expect("the ghost lives"));
                }
            }
            let mut inputs = Seeded(!seed);
            let mut trail = vec![world.hash()];
            for tick in 1..=100 {
                for index in 0..40 {
                    let input = inputs.input();
                    let row = world.row_of(EntityId::from_parts(index, 1)).expect("nobody dies");
                    world.set_input(row, tick, input);
                }
                world.apply();
                world.advance();
                world.quantize(tick);
                trail.push(world.hash());
            }
            hashes.push(trail);
        }
        assert!(hashes.iter().all(|trail| *trail == hashes[0]), "seed {seed}");
        let mut distinct = hashes[0].clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), hashes[0].len(), "every tick looks different, seed {seed}");
    }
}

fn random_ghost(index: u32) -> Spawn {
    Seeded(u64::from(index)).spawn(EntityId::from_parts(index, 1))
}

#[test]
fn the_hash_notices_every_part_of_the_state() {
    let spawn = Spawn {
        id: EntityId::from_parts(1, 1),
        kind: Kind::Player,
        position: [1000.0, 2000.0, 0.0],
        yaw: 3,
        faction: 1,
        seat: 0,
    };
    let hash = |spawn: Spawn, input: Option<Input>, effects: u32| {
        let mut world = World::new(WorldConfig { capacity: 8, rate: TickRate::DEFAULT });
        let row = world.spawn(spawn).expect("an empty world has room");
        if let Some(input) = input {
            world.set_input(row, 1, input);
        }
        world.set_attributes(row, Attributes { effects, ..Attributes::SPAWNED });
        world.apply();
        world.hash()
    };
    let other = |change: fn(&mut Spawn)| {
        let mut spawn = spawn;
        change(&mut spawn);
        hash(spawn, None, 0)
    };
    let walk = Input { move_y: 1, yaw: 3, ..Input::default() };
    let changed = |change: fn(&mut World)| {
        let mut world = World::new(WorldConfig { capacity: 8, rate: TickRate::DEFAULT });
        world.spawn(Spawn { kind: Kind::Vehicle, ..spawn }).expect("an empty world has room");
        change(&mut world);
        world.apply();
        world.hash()
    };
    let mut hashes = vec![
        changed(|_| ()),
        changed(|world| world.set_faction(0, 9)),
        changed(|world| {
            world.set_orientation(0, Orientation { yaw: 3, pitch: 1, ..Orientation::default() });
        }),
        changed(|world| {
            world.set_orientation(0, Orientation { yaw: 3, roll: 1, ..Orientation::default() });
        }),
        changed(|world| {
            let mut factions = Factions::default();
            factions.set_enemies(1, 2, true);
            world.set_factions(factions);
        }),
        hash(spawn, None, 0),
        hash(spawn, None, 1),
        hash(spawn, Some(walk), 0),
        hash(spawn, Some(Input { move_y: 2, ..walk }), 0),
        hash(spawn, Some(Input { buttons: buttons::JUMP, ..walk }), 0),
        hash(spawn, Some(Input { buttons: buttons::SPRINT, ..walk }), 0),
        other(|spawn| spawn.id = EntityId::from_parts(1, 2)),
        other(|spawn| spawn.kind = Kind::Npc),
        other(|spawn| spawn.faction = 2),
        other(|spawn| spawn.yaw = 4),
        hash(spawn, Some(Input { buttons: buttons::ATTACK, ..walk }), 0),
        // A sixteenth of a step: the quantized state is the same.
        other(|spawn| spawn.position[0] += 0.0625),
        other(|spawn| spawn.position.swap(0, 1)),
    ];
    let count = hashes.len();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), count);
}

#[test]
fn what_cannot_live_is_refused_and_changes_nothing() {
    let mut world = World::new(WorldConfig { capacity: 1, rate: TickRate::DEFAULT });
    let empty = world.hash();
    let id = EntityId::from_parts(1, 1);
    let spawn = Spawn { id, kind: Kind::Player, position: [1.0; 3], yaw: 0, faction: 0, seat: 0 };
    assert_eq!(world.spawn(Spawn { id: EntityId::NONE, ..spawn }), Err(SpawnError::NoId));
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for axis in 0..3 {
            let mut position = [1.0; 3];
            position[axis] = bad;
            assert_eq!(world.spawn(Spawn { position, ..spawn }), Err(SpawnError::NotFinite));
        }
    }
    assert_eq!((world.hash(), world.len()), (empty, 0));
    assert_eq!(world.spawn(spawn), Ok(0));
    assert_eq!(world.spawn(spawn), Err(SpawnError::IdInUse));
    let second = EntityId::from_parts(2, 1);
    assert_eq!(world.spawn(Spawn { id: second, ..spawn }), Err(SpawnError::Full));
    assert!(world.despawn(0) && !world.despawn(0) && !world.despawn(Row::MAX));
    assert_eq!(world.hash(), empty);
}

#[test]
fn what_is_invisible_is_found_by_nobody() {
    let mut world = World::new(WorldConfig { capacity: 8, rate: TickRate::DEFAULT });
    let id = EntityId::from_parts(1, 1);
    let spawn = Spawn { id, kind: Kind::Player, position: [1.0; 3], yaw: 0, faction: 0, seat: 0 };
    let row = world.spawn(spawn).expect("an empty world has room");
    let mut found = Nearest::new();
    let mut index = Index::new(8, Kind::ALL.map(Kind::radius), 1.1);
    let mut held = HeldSet::new(8);
    held.hold(row);
    let (hidden, effect) = (flags::IS_INVISIBLE, effects::INVISIBLE);
    let cases =
        [(flags::IS_ALIVE, 0, 1), (hidden, 0, 0), (0, 0, 1), (0, effect, 0), (0, !effect, 1)];
    for (flags, effects, seen) in cases {
        world.set_attributes(row, Attributes { flags, effects, ..Attributes::SPAWNED });
        world.index(&mut index);
        found.clear();
        index.visible([1.0; 3], &held, &mut found);
        assert_eq!(found.len(), seen, "flags {flags:#x}");
    }
    found.clear();
    index.visible([f32::NAN; 3], &held, &mut found);
    assert!(found.is_empty(), "a viewer that is nowhere sees nothing");
}

/// A replay must not depend on the build: any width of lanes, any target, debug or release. The
/// number changes only when the rules of movement or the definition of the hash change.
#[test]
fn a_known_run_has_the_known_hash_on_every_build() {
    let mut random = Seeded(0xC0FFEE);
    let mut world = World::new(WorldConfig { capacity: 100, rate: TickRate::DEFAULT });
    for index in 0..100 {
        let spawn = random.spawn(EntityId::from_parts(index, 1));
        world.spawn(spawn).expect("there is room");
    }
    for tick in 1..=600 {
        for row in 0..100 {
            if random.below(50) > 0 {
                world.set_input(row, tick, random.input());
            }
        }
        world.apply();
        world.advance();
        world.quantize(tick);
    }
    assert_eq!(world.hash(), 0x08EF_E1C4_E81E_0DFB, "{:#018X}", world.hash());
}
