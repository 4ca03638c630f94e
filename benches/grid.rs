//! The phases index and select: building the grid, and asking it what a viewer sees, beside brute
//! force and beside a k-d tree (`kiddo`), for crowds of several shapes. Throughput is in entities
//! for index and in queries for select. Run with `cargo bench --bench grid`.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kiddo::{ImmutableKdTree, SquaredEuclidean};
use std::f32::consts::PI;
use std::hint::black_box;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};
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
        // Twenty clusters, normally distributed with a deviation of 100 m.
        let mut cluster = Seeded(1000 + random.below(19.99) as u64);
        cluster.below(1.0);
        let mut axis = |centre: f32| {
            let deviations: f32 = (0..12).map(|_| random.below(1.0)).sum();
            centre + 10_000.0 * (deviations - 6.0)
        };
        let mut centre = || 70_000.0 + cluster.below(MAP_XY - 140_000.0);
        [axis(centre()), axis(centre()), 0.0]
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
    world_seen(count, 50.0, 1.1, place)
}

fn world_seen(
    count: u32,
    visible: f32,
    leave_factor: f32,
    place: fn(&mut Seeded) -> [f32; 3],
) -> (World, Index, f32) {
    let radius = (visible / count as f32 / PI).sqrt() * MAP_XY;
    let capacity = count as usize;
    let mut world = World::new(WorldConfig { capacity, rate: TickRate::DEFAULT });
    let mut random = Seeded(1);
    for index in 0..count {
        let id = EntityId::from_parts(index, 1);
        let position = place(&mut random);
        let spawn = Spawn { id, kind: Kind::Player, position, yaw: 0, faction: 0, seat: index };
        world.spawn(spawn).expect("the world has room for all");
    }
    let mut index = Index::new(capacity, [radius; Kind::COUNT], leave_factor);
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
            // Viewers far apart, so that no query warms the caches for the next.
            let scattered: Vec<u32> = (0..count).map(|i| i * 617 % count).collect();
            let mut viewers = scattered.iter().cycle();
            let mut query = || {
                let at = viewers.next().map_or(0, |row| *row as usize);
                found.clear();
                index.visible([x[at], y[at], z[at]], &held, &mut found);
                found.rows().len()
            };
            group.bench_function(BenchmarkId::new(format!("grid/{name}"), count), |b| {
                b.iter(|| black_box(query()));
            });
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

/// The grid and a k-d tree over the same players, to be asked the same question: the 128 nearest
/// within the radius, with no second radius for those that are held.
struct Match {
    name: &'static str,
    world: World,
    index: Index,
    radius: f32,
    /// The map of this bench is flat, so the tree need not look at heights. The grid does.
    points: Vec<[f32; 2]>,
    tree: ImmutableKdTree<f32, 2>,
    nobody: HeldSet,
    found: Nearest,
}

const PLAYERS: u32 = 10_000;
const MATCHES: [(&str, f32, usize); 4] = [
    ("uniform_50", 50.0, 0),
    ("uniform_100", 100.0, 0),
    ("clustered", 50.0, 1),
    ("one_cell", 50.0, 2),
];

impl Match {
    fn new((name, visible, shape): (&'static str, f32, usize)) -> Self {
        let (world, index, radius) = world_seen(PLAYERS, visible, 1.0, SHAPES[shape].1);
        let [x, y, _] = world.columns().position;
        let points: Vec<[f32; 2]> = x.iter().zip(y).map(|(x, y)| [*x, *y]).collect();
        let tree = build(&points);
        let nobody = HeldSet::new(PLAYERS as usize);
        Self { name, world, index, radius, points, tree, nobody, found: Nearest::new() }
    }

    fn rebuild_grid(&mut self) {
        self.world.index(&mut self.index);
    }

    fn rebuild_tree(&mut self) {
        self.tree = build(&self.points);
    }

    /// Everybody asks the grid; gives how many were found.
    fn ask_grid(&mut self) -> usize {
        (0..self.points.len()).map(|viewer| self.grid_query(viewer)).sum()
    }

    /// Everybody asks the tree.
    fn ask_tree(&self) -> usize {
        (0..self.points.len()).map(|viewer| self.tree_query(viewer).len()).sum()
    }

    fn grid_query(&mut self, viewer: usize) -> usize {
        let [x, y] = self.points[viewer];
        self.found.clear();
        self.index.visible([x, y, 0.0], &self.nobody, &mut self.found);
        self.found.len()
    }

    fn tree_query(&self, viewer: usize) -> Vec<(f32, u32)> {
        let most = NonZeroUsize::new(VISIBLE_MAX).expect("positive");
        let query = self.tree.query(&self.points[viewer]);
        let nearest = query.nearest_n::<SquaredEuclidean<f32>>(most);
        let found = nearest.within(self.radius * self.radius).execute();
        found.into_iter().map(|one| (one.distance, one.item)).collect()
    }

    /// Both find the same for everybody, up to ties at the limit and to rounding at the radius.
    fn check(&mut self) {
        for viewer in 0..self.points.len() {
            self.grid_query(viewer);
            let squares = self.found.distances_squared().iter().copied();
            let mut ours: Vec<_> = squares.zip(self.found.rows().iter().copied()).collect();
            ours.sort_by(|a, b| a.partial_cmp(b).expect("no NaN"));
            let mut theirs = self.tree_query(viewer);
            theirs.sort_by(|a, b| a.partial_cmp(b).expect("no NaN"));
            let radius_squared = self.radius * self.radius;
            let last = |list: &[(f32, u32)]| list.last().map_or(0.0, |one| one.0);
            let limit = last(&ours).min(last(&theirs)).min(radius_squared) * (1.0 - 1e-5);
            let inner = |list: &[(f32, u32)]| {
                let mut rows: Vec<u32> = list.iter().filter(|o| o.0 < limit).map(|o| o.1).collect();
                rows.sort_unstable();
                rows
            };
            assert_eq!(inner(&ours), inner(&theirs), "{}: viewer {viewer}", self.name);
            let edge = last(&ours).max(last(&theirs)) > radius_squared * (1.0 - 1e-5);
            assert!(edge || ours.len() == theirs.len(), "{}: viewer {viewer}", self.name);
        }
    }
}

fn build(points: &[[f32; 2]]) -> ImmutableKdTree<f32, 2> {
    ImmutableKdTree::new_from_slice(points).expect("no more than a bucket of equal places")
}

fn kd_tree(c: &mut Criterion) {
    for shape in MATCHES {
        let mut game = Match::new(shape);
        game.check();
        let name = game.name;
        let players = Throughput::Elements(u64::from(PLAYERS));
        let mut group = c.benchmark_group("index");
        group.throughput(players.clone()).sample_size(10);
        group.bench_function(format!("all_by_grid/{name}"), |b| b.iter(|| game.rebuild_grid()));
        group.bench_function(format!("all_by_kiddo/{name}"), |b| b.iter(|| game.rebuild_tree()));
        group.finish();
        let mut group = c.benchmark_group("select");
        group.throughput(players).sample_size(10);
        group.bench_function(format!("all_by_grid/{name}"), |b| b.iter(|| game.ask_grid()));
        group.bench_function(format!("all_by_kiddo/{name}"), |b| b.iter(|| game.ask_tree()));
        group.finish();
    }
    println!("\nThe same in turn, medians of 9 rounds: kiddo against grid, ns per player");
    println!("{:12} {:>16} {:>18} {:>18}", "", "build", "one query", "both");
    for shape in MATCHES {
        compare(&mut Match::new(shape));
    }
}

/// Grid and tree in turn, so that whatever else the machine does hits both.
fn compare(game: &mut Match) {
    let mut times: [Vec<f64>; 4] = Default::default();
    for _ in 0..9 {
        let tasks: [fn(&mut Match) -> usize; 4] = [
            |game| (game.rebuild_grid(), 0).1,
            |game| (game.rebuild_tree(), 0).1,
            |game| game.ask_grid(),
            |game| game.ask_tree(),
        ];
        for (task, times) in tasks.into_iter().zip(&mut times) {
            let start = Instant::now();
            black_box(task(game));
            times.push(start.elapsed().as_nanos() as f64 / f64::from(PLAYERS));
        }
    }
    let [grid_build, tree_build, grid_query, tree_query] = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    });
    let pair = |tree: f64, grid: f64| format!("{tree:.0} / {grid:.0} = {:.1}×", tree / grid);
    println!(
        "{:12} {:>18} {:>20} {:>20}",
        game.name,
        pair(tree_build, grid_build),
        pair(tree_query, grid_query),
        pair(tree_build + tree_query, grid_build + grid_query)
    );
}

criterion_group! {
    name = grid;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(400));
    targets = index, select, kd_tree
}
criterion_main!(grid);
