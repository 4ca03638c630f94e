//! The phases index and select: building the grid, and asking it what a viewer sees, beside brute
//! force, for crowds of three shapes. Throughput is in entities for index and in queries for
//! select. Run with `cargo bench --bench grid`.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Duration;
use tidelock::kernel::nearest::distance_squared;
use tidelock::limits::VISIBLE_MAX;
use tidelock::state::Kind;
use tidelock::units::{EntityId, MAP_XY, TickRate};
use tidelock::world::{HeldSet, Index, Nearest, Spawn, World, WorldConfig};

/// Places of `count` entities; the name says how they crowd.
type Shape = (&'static str, fn(&mut Seeded) -> [f32; 3]);

const SHAPES: [Shape; 4] = [
    ("uniform", |random| [random.below(MAP_XY), random.below(MAP_XY), 0.0]),
    ("clustered", |random| {
        // Ten camps of 300 m.
        let camp = 80_000.0 * (1.0 + random.below(9.99).floor());
        [camp + random.below(30_000.0), camp + random.below(30_000.0), 0.0]
    }),
    ("one_cell", |random| [4e5 + random.below(3_000.0), 4e5 + random.below(3_000.0), 0.0]),
    ("one_point", |_| [4e5, 4e5, 0.0]),
];

struct Seeded(u64);

impl Seeded {
    fn below(&mut self, bound: f32) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 40) as f32 / (1 << 24) as f32 * bound
    }
}

/// `count` players; the radius is such that a viewer among evenly spread players sees about 50.
fn world(count: u32, place: fn(&mut Seeded) -> [f32; 3]) -> (World, Index, f32) {
    let radius = (50.0 / count as f32 / std::f32::consts::PI).sqrt() * MAP_XY;
    let capacity = count as usize;
    let mut world = World::new(WorldConfig { capacity, rate: TickRate::DEFAULT });
    let mut random = Seeded(1);
    for index in 0..count {
        let id = EntityId::from_parts(index, 1);
        let position = place(&mut random);
        let spawn = Spawn { id, kind: Kind::Player, position, yaw: 0, faction: 0, seat: index };
        world.spawn(spawn).expect("the world has room for all");
    }
    let mut index = Index::new(capacity, [radius; Kind::COUNT], 1.1);
    world.index(&mut index);
    (world, index, radius)
}

fn index(c: &mut Criterion) {
    let mut group = c.benchmark_group("index");
    for count in [1_000, 10_000] {
        group.throughput(Throughput::Elements(u64::from(count)));
        for (name, place) in SHAPES {
            let (world, mut index, _) = world(count, place);
            group.bench_function(BenchmarkId::new(name, count), |b| {
                b.iter(|| world.index(&mut index));
            });
        }
    }
    group.finish();
}

fn select(c: &mut Criterion) {
    let mut group = c.benchmark_group("select");
    group.throughput(Throughput::Elements(1));
    for count in [1_000, 10_000] {
        for (name, place) in SHAPES {
            let (world, index, radius) = world(count, place);
            let [x, y, z] = world.columns().position;
            let mut held = HeldSet::new(count as usize);
            (0..count).step_by(2).for_each(|row| held.hold(row));
            let mut found = Nearest::new();
            // Once with viewers far apart, so that no query warms the caches for the next, and once
            // in the order of their cells, so that each does.
            let scattered: Vec<u32> = (0..count).map(|i| i * 617 % count).collect();
            let sorted = index.rows_by_place(Kind::Player).to_vec();
            for (order, viewers) in [("grid", &scattered), ("grid_by_place", &sorted)] {
                let mut viewers = viewers.iter().cycle();
                let mut query = || {
                    let at = viewers.next().map_or(0, |row| *row as usize);
                    found.clear();
                    index.visible([x[at], y[at], z[at]], &held, &mut found);
                    found.rows().len()
                };
                group.bench_function(BenchmarkId::new(format!("{order}/{name}"), count), |b| {
                    b.iter(|| black_box(query()));
                });
            }
            let mut viewers = scattered.iter().cycle();
            let mut all = Vec::new();
            let mut brute = |at: usize| {
                all.clear();
                for row in 0..count as usize {
                    let squared = distance_squared([x[row], y[row], z[row]], [x[at], y[at], z[at]]);
                    if squared <= radius * radius {
                        all.push((squared.to_bits(), row as u32));
                    }
                }
                if all.len() > VISIBLE_MAX {
                    all.select_nth_unstable(VISIBLE_MAX);
                    all.truncate(VISIBLE_MAX);
                }
                all.len()
            };
            group.bench_function(BenchmarkId::new(format!("brute/{name}"), count), |b| {
                b.iter(|| black_box(brute(viewers.next().map_or(0, |row| *row as usize))));
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = grid;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(400));
    targets = index, select
}
criterion_main!(grid);
