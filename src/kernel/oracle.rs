//! Tests only: grid and selection against brute force, over every shape of crowd that has ever
//! broken a spatial index. The seed is part of every failure.

use super::grid::Grid;
use super::lanes::samples::Seeded;
use super::nearest::{HeldSet, Nearest, Probe, distance_squared};
use super::{EDGE_XY, EDGE_Z};
use crate::limits::VISIBLE_MAX;
use crate::state::Kind;
use crate::units::{EntityId, MAP_XY};

struct Entity {
    id: EntityId,
    kind: Option<Kind>,
    position: [f32; 3],
}

/// Entities in a grid, beside the grid; query and oracle.
struct Scene {
    name: &'static str,
    seed: u64,
    entities: Vec<Entity>,
    radius: [f32; Kind::COUNT],
    grid: Grid,
    held: HeldSet,
    left_out: Option<u32>,
    everybody: bool,
    nearest: Nearest,
}

const OFFSET: u32 = 1000;
const LEAVE_FACTOR: f32 = 1.1;

impl Scene {
    fn new(
        name: &'static str,
        seed: u64,
        radius: [f32; Kind::COUNT],
        entities: Vec<Entity>,
    ) -> Self {
        let grid = Grid::new(entities.len(), radius);
        let held = HeldSet::new(entities.len() + OFFSET as usize);
        let nearest = Nearest::new();
        let (left_out, everybody) = (None, false);
        let mut scene =
            Self { name, seed, entities, radius, grid, held, left_out, everybody, nearest };
        scene.rebuild();
        scene
    }

    fn rebuild(&mut self) {
        let ids: Vec<_> = self.entities.iter().map(|entity| entity.id).collect();
        let axis = |axis: usize| -> Vec<f32> {
            self.entities.iter().map(|entity| entity.position[axis]).collect()
        };
        let (x, y, z) = (axis(0), axis(1), axis(2));
        let seats: Vec<_> = (OFFSET..).take(ids.len()).collect();
        self.grid.rebuild(&ids, &seats, [&x, &y, &z], |row| self.entities[row].kind);
    }

    fn squares(&self, kind: Kind) -> (f32, f32) {
        let radius = self.radius[kind as usize];
        (radius * radius, (radius * LEAVE_FACTOR) * (radius * LEAVE_FACTOR))
    }

    /// What brute force finds: (bits of d², id, row), in order.
    fn oracle(&self, viewer: [f32; 3]) -> Vec<(u32, u32, u32)> {
        let mut all = Vec::new();
        for (row, entity) in (OFFSET..).zip(&self.entities) {
            let Some(kind) = entity.kind else { continue };
            let (enter, leave) = self.squares(kind);
            let squared = distance_squared(entity.position, viewer);
            let seen = squared <= enter || (squared <= leave && self.held.holds(row));
            if seen && self.left_out != Some(row) {
                all.push((squared.to_bits(), entity.id.0, row));
            }
        }
        all.sort_unstable();
        all.truncate(VISIBLE_MAX);
        all
    }

    fn query(&mut self, viewer: [f32; 3]) {
        self.nearest.clear();
        self.left_out.iter().for_each(|&row| self.nearest.leave_out(row));
        for kind in Kind::ALL {
            let (enter_squared, leave_squared) = self.squares(kind);
            let probe = Probe { viewer, enter_squared, leave_squared, everybody: self.everybody };
            self.grid.gather(kind, &probe, &self.held, &mut self.nearest);
        }
        self.nearest.finish();
    }

    /// Compares one query with the oracle; gives what was found.
    fn check(&mut self, viewer: [f32; 3]) -> usize {
        self.query(viewer);
        let expected = self.oracle(viewer);
        let rows = self.nearest.rows().iter().copied();
        let squares = self.nearest.distances_squared().iter().map(|squared| squared.to_bits());
        let mut found: Vec<_> = squares
            .zip(rows)
            .map(|(squared, row)| (squared, self.entities[(row - OFFSET) as usize].id.0, row))
            .collect();
        found.sort_unstable();
        let Self { name, seed, .. } = self;
        assert_eq!(found, expected, "{name}, seed {seed}, viewer {viewer:?}");
        found.len()
    }

    /// Holds what the last query found, and some that it did not.
    fn hold_found(&mut self, random: &mut Seeded) {
        self.held = HeldSet::new(self.entities.len() + OFFSET as usize);
        self.nearest.rows().iter().for_each(|&row| self.held.hold(row));
        for _ in 0..self.entities.len() / 4 {
            self.held.hold(OFFSET + random.below(self.entities.len() as u64) as u32);
        }
    }
}

type Place = fn(&mut Seeded) -> [f32; 3];

const PLACES: [(&str, Place); 10] = [
    ("uniform", |random| {
        [random.float(0.0, EDGE_XY), random.float(0.0, EDGE_XY), random.float(0.0, EDGE_Z)]
    }),
    ("clustered", |random| {
        let centre = 100_000.0 * (1 + random.below(4)) as f32;
        let spread = random.float(0.0, 30_000.0);
        [centre + random.float(-spread, spread), centre + random.float(-spread, spread), 0.0]
    }),
    ("one cell", |random| [random.float(4e5, 4.001e5), random.float(4e5, 4.001e5), 0.0]),
    ("one point", |_| [123_456.7, 345_678.9, 12.0]),
    ("two metres", |random| [random.float(4e5, 4.002e5), random.float(4e5, 4.002e5), 0.0]),
    ("a queue along a wall", |random| [random.float(4e5, 4.05e5), 0.0, 0.0]),
    ("a tower", |random| [5e5, random.float(4e5, 4.05e5), random.float(0.0, EDGE_Z)]),
    ("edges of the map", |random| {
        let mut side = || [0.0, EDGE_XY, random.float(0.0, EDGE_XY)][random.below(3) as usize];
        [side(), side(), 0.0]
    }),
    ("borders of cells", |random| {
        let mut border = || {
            let at = random.below(129) as f32 * (MAP_XY / [25.0, 128.0][random.below(2) as usize]);
            let bits = at.clamp(1.0, EDGE_XY - 1.0).to_bits();
            f32::from_bits(bits + random.below(3) as u32 - 1)
        };
        [border(), border(), 0.0]
    }),
    ("a lattice full of ties", |random| {
        [3e5 + 500.0 * random.below(20) as f32, 3e5 + 500.0 * random.below(20) as f32, 0.0]
    }),
];

fn entities(
    random: &mut Seeded,
    count: usize,
    place: Place,
    mut kind: impl FnMut(&mut Seeded) -> Option<Kind>,
) -> Vec<Entity> {
    // Ids in no order, generations up to the highest bit.
    let mut indices: Vec<u32> = (0..count as u32).collect();
    for i in (1..count).rev() {
        indices.swap(i, random.below(i as u64 + 1) as usize);
    }
    indices
        .into_iter()
        .map(|index| Entity {
            id: EntityId::from_parts(index, 1 + random.below(4095) as u32),
            kind: kind(random),
            position: place(random),
        })
        .collect()
}

fn viewers(random: &mut Seeded, scene: &Scene) -> Vec<[f32; 3]> {
    let mut viewers = vec![[0.0; 3], [EDGE_XY, EDGE_XY, EDGE_Z], [0.0, EDGE_XY, 0.0]];
    for (_, place) in PLACES {
        viewers.push(place(random));
    }
    for _ in 0..4.min(scene.entities.len()) {
        let entity = random.below(scene.entities.len() as u64) as usize;
        let [x, y, z] = scene.entities[entity].position;
        viewers.push([x, y, z]);
        // Exactly at the radius, as far as the arithmetic can say it.
        let radius = scene.radius[random.below(8) as usize];
        viewers.push([x + radius, y, z]);
        viewers.push([x, y - radius * LEAVE_FACTOR, z]);
    }
    viewers
}

fn check_scenes(
    counts: &[usize],
    seeds: std::ops::Range<u64>,
    radius: [f32; Kind::COUNT],
    kind: impl Fn(&mut Seeded) -> Option<Kind> + Copy,
) {
    for seed in seeds {
        for &count in counts {
            for (name, place) in PLACES {
                let mut random = Seeded(seed);
                let entities = entities(&mut random, count, place, kind);
                let mut scene = Scene::new(name, seed, radius, entities);
                scene.everybody = count > Grid::heap(count);
                for viewer in viewers(&mut random, &scene) {
                    scene.check(viewer);
                    scene.hold_found(&mut random);
                    let step = random.float(0.0, scene.radius[0] * 0.2);
                    scene.check([viewer[0] + step, viewer[1] - step, viewer[2]]);
                    // Somebody who would be found, if anybody is.
                    let found = scene.nearest.rows();
                    scene.left_out =
                        found.get(random.below(128) as usize % found.len().max(1)).copied();
                    scene.check(viewer);
                    scene.left_out = None;
                }
            }
        }
    }
}

#[test]
fn queries_are_exact_for_every_small_crowd() {
    let counts: Vec<usize> = (0..=33).collect();
    let player = |_: &mut Seeded| Some(Kind::Player);
    check_scenes(&counts, 0..4, Kind::ALL.map(Kind::radius), player);
}

#[test]
fn queries_are_exact_for_crowds_beyond_what_one_viewer_can_see() {
    let player = |_: &mut Seeded| Some(Kind::Player);
    check_scenes(&[129, 257, 700, 3000], 10..14, Kind::ALL.map(Kind::radius), player);
}

#[test]
fn queries_are_exact_for_mixed_kinds_and_rows_that_are_not_listed() {
    let mixed = |random: &mut Seeded| Kind::from_wire(random.below(10) as u8);
    check_scenes(&[40, 500, 2000], 20..24, Kind::ALL.map(Kind::radius), mixed);
}

#[test]
fn queries_are_exact_for_any_radius() {
    let player = |_: &mut Seeded| Some(Kind::Player);
    for radius in [0.5, 100.0, 6_400.0, 32_700.0, 409_600.0, 2_000_000.0] {
        check_scenes(&[600], 30..32, [radius; Kind::COUNT], player);
    }
}

#[test]
fn a_grid_shows_the_last_rebuild_only() {
    let mut random = Seeded(40);
    let player = |_: &mut Seeded| Some(Kind::Player);
    let crowd = entities(&mut random, 500, PLACES[1].1, player);
    let radius = Kind::ALL.map(Kind::radius);
    let mut scene = Scene::new("walking crowd", 40, radius, crowd);
    for _ in 0..20 {
        for entity in &mut scene.entities {
            entity.position[0] = (entity.position[0] + 5000.0).min(EDGE_XY);
            entity.kind = Kind::from_wire(random.below(9) as u8);
        }
        scene.rebuild();
        let viewer = scene.entities[7].position;
        scene.check(viewer);
    }
    scene.entities.iter_mut().for_each(|entity| entity.kind = None);
    scene.rebuild();
    assert_eq!(scene.check([4e5, 4e5, 0.0]), 0);
}

#[test]
fn what_a_query_passes_does_not_grow_with_the_crowd() {
    let player = |_: &mut Seeded| Some(Kind::Player);
    // Of a tower all is read: cells have no height.
    for (name, place) in PLACES.into_iter().filter(|(name, _)| *name != "a tower") {
        let mut most = 0;
        for count in [1000, 2000, 4000, 8000, 16_000] {
            let mut random = Seeded(60);
            let crowd = entities(&mut random, count, place, player);
            let mut scene = Scene::new(name, 60, Kind::ALL.map(Kind::radius), crowd);
            for at in (0..count).step_by(count / 100) {
                scene.query(scene.entities[at].position);
                most = most.max(scene.nearest.passed());
            }
        }
        println!("{name}: {most}");
        assert!(most <= 2 * Grid::heap(16_000), "{name}: {most} passed");
    }
}

#[test]
fn of_a_heap_everybody_is_found_who_is_asked_for_and_else_the_first_rows() {
    let heap = Grid::heap(0) as u32;
    let mut random = Seeded(90);
    let player = |_: &mut Seeded| Some(Kind::Player);
    let place: Place = |_| [3e5, 3e5, 0.0];
    let crowd = entities(&mut random, 3 * heap as usize, place, player);
    let mut scene = Scene::new("heap", 90, Kind::ALL.map(Kind::radius), crowd);
    scene.query([3e5, 3e5, 0.0]);
    assert_eq!(scene.nearest.len(), VISIBLE_MAX);
    assert_eq!(scene.nearest.passed(), heap as usize);
    assert!(scene.nearest.rows().iter().all(|row| (OFFSET..OFFSET + heap).contains(row)));
    scene.everybody = true;
    scene.check([3e5, 3e5, 0.0]);
    scene.check([3e5 + 1.0, 3e5, 7.0]);
    // The rest of the world is none the wiser.
    let (mut rows, all) = (scene.grid.rows_by_place(Kind::Player), OFFSET..OFFSET + 3 * heap);
    rows.sort_unstable();
    assert!(rows.into_iter().eq(all));
}

#[test]
fn several_grids_asked_in_turn_answer_like_one() {
    for seed in 50..60 {
        let mut random = Seeded(seed);
        let player = |_: &mut Seeded| Some(Kind::Player);
        let all = entities(&mut random, 900, PLACES[seed as usize % 10].1, player);
        let radius = Kind::ALL.map(Kind::radius);
        let viewer = all[0].position;
        let mut whole = Scene::new("whole", seed, radius, all);
        whole.check(viewer);
        let mut expected = whole.nearest.rows().to_vec();
        expected.sort_unstable();
        let mut nearest = Nearest::new();
        for (shard, part) in whole.entities.chunks(300).enumerate() {
            let ids: Vec<_> = part.iter().map(|entity| entity.id).collect();
            let [x, y, z] =
                [0, 1, 2].map(|axis| part.iter().map(|e| e.position[axis]).collect::<Vec<_>>());
            let mut grid = Grid::new(part.len(), radius);
            let first = OFFSET + 300 * shard as u32;
            let seats: Vec<_> = (first..).take(part.len()).collect();
            grid.rebuild(&ids, &seats, [&x, &y, &z], |row| part[row].kind);
            let (enter_squared, leave_squared) = whole.squares(Kind::Player);
            let probe = Probe { viewer, enter_squared, leave_squared, everybody: false };
            grid.gather(Kind::Player, &probe, &whole.held, &mut nearest);
            nearest.finish();
        }
        let mut found = nearest.rows().to_vec();
        found.sort_unstable();
        assert_eq!(found, expected, "seed {seed}");
    }
}

#[test]
fn rows_by_place_are_the_rows_of_the_kind() {
    let mut random = Seeded(70);
    let mixed = |random: &mut Seeded| Kind::from_wire(random.below(6) as u8 * 2);
    let crowd = entities(&mut random, 700, PLACES[0].1, mixed);
    let scene = Scene::new("mixed", 70, Kind::ALL.map(Kind::radius), crowd);
    for kind in Kind::ALL {
        let mut rows = scene.grid.rows_by_place(kind);
        rows.sort_unstable();
        let of_kind = (0..700).filter(|&row| scene.entities[row as usize].kind == Some(kind));
        let of_kind = of_kind.map(|row| row + OFFSET);
        assert_eq!(rows, of_kind.collect::<Vec<u32>>(), "{kind:?}");
    }
}

#[test]
fn a_crowd_is_cut_the_same_however_often_the_grid_was_rebuilt() {
    let mut random = Seeded(80);
    let player = |_: &mut Seeded| Some(Kind::Player);
    let crowd = entities(&mut random, 3000, PLACES[1].1, player);
    let mut scene = Scene::new("clustered", 80, Kind::ALL.map(Kind::radius), crowd);
    let first = scene.grid.rows_by_place(Kind::Player);
    for _ in 0..5 {
        scene.rebuild();
        assert_eq!(scene.grid.rows_by_place(Kind::Player), first);
    }
}

#[test]
fn a_held_set_is_a_set_and_ignores_rows_it_has_no_room_for() {
    let mut held = HeldSet::new(3);
    [0, 2, 2, 3, u32::MAX].into_iter().for_each(|row| held.hold(row));
    assert_eq!(
        [0, 1, 2, 3, u32::MAX].map(|row| held.holds(row)),
        [true, false, true, false, false]
    );
    [2, 7].into_iter().for_each(|row| held.release(row));
    assert_eq!([0, 1, 2].map(|row| held.holds(row)), [true, false, false]);
}
