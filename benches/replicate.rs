//! The phases diff and encode: 4,000 players on the map, each of whom sees about 50 others and has
//! acknowledged the snapshot before the last. Throughput is in viewers; the other phases of the
//! tick are not timed. Run with `cargo bench --bench replicate`.

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::{Duration, Instant};
use tidelock::config::InterestConfig;
use tidelock::exchange::{Meeting, Member, exchange};
use tidelock::limits::{DATAGRAM_MAX, SNAPSHOT_BUDGET};
use tidelock::metrics::Phase;
use tidelock::replicate::{BLOCK, Eye, Replicator, ViewerState, is_due};
use tidelock::state::{Kind, QuantizedState};
use tidelock::units::{EntityId, MAP_XY, Tick, TickRate};
use tidelock::wire::snapshot::OwnState;
use tidelock::world::{Index, Input, Row, Spawn, World, WorldConfig};

const PLAYERS: u16 = 4_000;
const VISIBLE: u32 = 50;
/// Ticks until everybody has acknowledged everything in sight.
const WARM_UP: u32 = 40;

struct Scene {
    world: World,
    member: Member<Index>,
    replicator: Replicator,
    rows: Vec<Row>,
    tick: Tick,
    random: u64,
    out: [u8; DATAGRAM_MAX],
}

impl Scene {
    fn new() -> Self {
        let capacity = usize::from(PLAYERS);
        let radius = InterestConfig::radius_for(VISIBLE, u32::from(PLAYERS));
        let index = Index::new(capacity, [radius; Kind::ALL.len()], 1.1);
        let (keeper, mut members) = exchange(1, capacity, 0, &index);
        (0..u32::from(PLAYERS)).for_each(|row| assert!(keeper.grant(row, 0)));
        let mut scene = Self {
            world: World::new(WorldConfig { capacity, rate: TickRate::DEFAULT }),
            member: members.remove(0),
            replicator: Replicator::new(PLAYERS.into(), PLAYERS.into(), TickRate::DEFAULT),
            rows: Vec::new(),
            tick: 0,
            random: 1,
            out: [0; DATAGRAM_MAX],
        };
        for index in 0..u32::from(PLAYERS) {
            let position = [scene.below(MAP_XY), scene.below(MAP_XY), 0.0];
            let id = EntityId::from_parts(index, 1);
            let spawn = Spawn { id, kind: Kind::Player, position, yaw: 0, faction: 0, seat: index };
            scene.rows.push(scene.world.spawn(spawn).expect("the world has room for all"));
        }
        for _ in 0..WARM_UP {
            scene.advance();
            scene.send(None);
        }
        scene
    }

    fn below(&mut self, bound: f32) -> f32 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.random >> 40) as f32 / (1 << 24) as f32 * bound
    }

    /// Everything of a tick before diff: half of the players walk, and now and then one turns.
    fn advance(&mut self) {
        self.tick += 1;
        for index in 0..self.rows.len() {
            let stands = index % 2 == 0;
            let turn = if stands { 0.0 } else { self.below(255.0) - 127.0 };
            let input =
                Input { move_x: turn as i8, move_y: 100 * i8::from(!stands), ..Input::default() };
            if self.tick == 1 || self.tick as usize % 32 == index % 32 {
                self.world.set_input(self.rows[index], self.tick, input);
            }
        }
        self.world.apply();
        self.world.advance();
        self.world.quantize(self.tick);
        self.world.publish(&mut self.member);
        self.world.index(self.member.page_mut());
        self.member.arrive();
        assert_eq!(self.member.poll(), Meeting::Met);
        for viewer in (0..PLAYERS).filter(|&viewer| is_due(viewer, self.tick)) {
            let row = self.rows[usize::from(viewer)];
            let columns = self.world.columns();
            let position = columns.position.map(|axis| axis[row as usize]);
            let row = columns.seats[row as usize];
            let eye = Eye { row, position, sight_squared: 1.0, far_every: 1, target: u32::MAX };
            let indexes = std::iter::once(self.member.page_of(0));
            self.replicator.select(viewer, eye, indexes, self.member.published());
        }
    }

    /// Diff and encode for everybody, in blocks as the shard does it, and the acknowledgments of
    /// the snapshots before. Returns the time that `timed` took.
    fn send(&mut self, timed: Option<Phase>) -> Duration {
        let mut total = Duration::ZERO;
        for first in (0..PLAYERS).step_by(BLOCK) {
            let block = first..(first + BLOCK as u16).min(PLAYERS);
            let start = Instant::now();
            for (place, viewer) in block.clone().enumerate() {
                self.replicator.diff(place, viewer, self.member.published());
            }
            let between = Instant::now();
            for (place, viewer) in block.clone().enumerate() {
                let state = self.viewer_state(viewer);
                let out = &mut self.out[..SNAPSHOT_BUDGET];
                let published = self.member.published();
                black_box(self.replicator.encode(place, viewer, published, &state, out));
            }
            total += match timed {
                Some(Phase::Diff) => between - start,
                Some(Phase::Encode) => between.elapsed(),
                _ => Duration::ZERO,
            };
            for viewer in block {
                self.replicator.acknowledge(viewer, u64::from(self.tick) - 1);
            }
        }
        total
    }

    /// Sequences are ticks here: one packet per viewer and tick.
    fn viewer_state(&self, viewer: u16) -> ViewerState {
        let columns = self.world.columns();
        let row = self.rows[usize::from(viewer)] as usize;
        let QuantizedState { yaw, animation, flags, health, mana, faction, effects, .. } =
            columns.quantized[row];
        let own = OwnState {
            id: columns.ids[row],
            position: columns.position.map(|axis| axis[row]),
            velocity: columns.velocity.map(|axis| axis[row]),
            yaw,
            animation,
            flags,
            health,
            mana,
            faction,
            effects,
        };
        let last_processed_input = columns.last_input[row];
        let sequence = self.tick.into();
        ViewerState { last_processed_input, own: Some(own), enemies: 0, sequence }
    }
}

/// Times one phase over whole ticks.
fn measure(mut group: BenchmarkGroup<'_, WallTime>, phase: Phase) {
    let mut scene = Scene::new();
    group.sample_size(10).throughput(Throughput::Elements(PLAYERS.into()));
    group.bench_function("4,000 viewers, 50 visible", |bencher| {
        bencher.iter_custom(|ticks| {
            let mut tick = || {
                scene.advance();
                scene.send(Some(phase))
            };
            (0..ticks).map(|_| tick()).sum()
        });
    });
    group.finish();
}

fn phases(criterion: &mut Criterion) {
    measure(criterion.benchmark_group("diff"), Phase::Diff);
    measure(criterion.benchmark_group("encode"), Phase::Encode);
}

criterion_group!(benches, phases);
criterion_main!(benches);
