//! The phases apply, move and quantize at 10,000 entities: the scalar definition beside the
//! product. Throughput is in entities. Run with `cargo bench --bench kernels`.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Duration;
use tidelock::kernel::movement::{Body, Intent, WALK_SPEED, advance_one};
use tidelock::kernel::quantization::{Sample, posture_word, quantize_one, vitals_word};
use tidelock::state::{Kind, QuantizedState, flags};
use tidelock::units::{EntityId, GRAVITY, TickRate};
use tidelock::world::{Input, Spawn, World, WorldConfig};

const ENTITIES: u32 = 10_000;

/// Players all over the map, each walking its own way.
fn world() -> World {
    let mut world =
        World::new(WorldConfig { capacity: ENTITIES as usize, rate: TickRate::DEFAULT });
    for index in 0..ENTITIES {
        let place = |step: u32| (index.wrapping_mul(step) >> 12) as f32 / 1_048_576.0 * 819_000.0;
        let position = [place(2_654_435_769), place(1_779_033_703), 0.0];
        let id = EntityId::from_parts(index, 1);
        let spawn =
            Spawn { id, kind: Kind::Player, position, yaw: index as u16, faction: 0, seat: 0 };
        let row = world.spawn(spawn).expect("the world has room for all");
        world.set_input(row, 1, input(index));
    }
    world.apply();
    world.advance();
    world.quantize(1);
    world
}

fn input(index: u32) -> Input {
    Input { move_x: index as i8, move_y: (index >> 8) as i8, yaw: index as u16, buttons: 0 }
}

fn apply(c: &mut Criterion) {
    let mut group = c.benchmark_group("apply");
    group.throughput(Throughput::Elements(u64::from(ENTITIES)));
    let mut world = world();
    let mut sequence = 1;
    group.bench_function(BenchmarkId::new("set_input_and_apply", ENTITIES), |b| {
        b.iter(|| {
            sequence += 1;
            for row in 0..ENTITIES {
                world.set_input(row, sequence, input(row));
            }
            world.apply();
        });
    });
    group.finish();
}

fn moves(c: &mut Criterion) {
    let mut group = c.benchmark_group("move");
    group.throughput(Throughput::Elements(u64::from(ENTITIES)));
    let mut world = world();
    let [x, y, z] = world.columns().position;
    let mut bodies: Vec<_> = (0..ENTITIES as usize)
        .map(|row| {
            let body = Body { position: [x[row], y[row], z[row]], velocity: [0.0; 3] };
            let Input { move_x, move_y, .. } = input(row as u32);
            let wish = [f32::from(move_x), f32::from(move_y)];
            (body, Intent { wish, speed: WALK_SPEED, jump: 0.0, gravity: GRAVITY })
        })
        .collect();
    group.bench_function(BenchmarkId::new("scalar", ENTITIES), |b| {
        b.iter(|| {
            for (body, intent) in &mut bodies {
                *body = advance_one(*body, *intent, 1.0 / 60.0);
            }
            black_box(&mut bodies);
        });
    });
    group.bench_function(BenchmarkId::new("simd", ENTITIES), |b| b.iter(|| world.advance()));
    group.finish();
}

fn quantizes(c: &mut Criterion) {
    let mut group = c.benchmark_group("quantize");
    group.throughput(Throughput::Elements(u64::from(ENTITIES)));
    let mut world = world();
    let columns = world.columns();
    let samples: Vec<_> = (0..ENTITIES as usize)
        .map(|row| Sample {
            position: columns.position.map(|column| column[row]),
            velocity: columns.velocity.map(|column| column[row]),
            gravity: GRAVITY,
            heading: 0,
            posture: posture_word(0, flags::IS_ALIVE),
            vitals: vitals_word(255, 255, 0),
            effects: 0,
            tilt: 0,
        })
        .collect();
    let mut rows = vec![(QuantizedState::DEFAULT, 0_u32); ENTITIES as usize];
    let mut tick = 1;
    group.bench_function(BenchmarkId::new("scalar", ENTITIES), |b| {
        b.iter(|| {
            tick += 1;
            for (sample, (row, changed)) in samples.iter().zip(&mut rows) {
                let state = quantize_one(*sample);
                if state != *row {
                    *row = state;
                    *changed = tick;
                }
            }
            black_box(&mut rows);
        });
    });
    let mut tick = 1;
    group.bench_function(BenchmarkId::new("simd", ENTITIES), |b| {
        b.iter(|| {
            tick += 1;
            world.quantize(tick);
        });
    });
    group.finish();
}

criterion_group! {
    name = kernels;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = apply, moves, quantizes
}
criterion_main!(kernels);
