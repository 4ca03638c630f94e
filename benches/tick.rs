//! The whole tick without sockets, authenticated encryption in both directions included: receive
//! the inputs of all players, move them, send each its snapshot.
//!
//! A shard has at most 4,096 sessions, so 10,000 players are three shards of one world, one after
//! the other on one core. Making the players' own packets is not timed.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::{Duration, Instant};

#[path = "../tests/stage/mod.rs"]
mod stage;
use stage::Stage;
use tidelock::config::SpawnRule;

fn whole_tick(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tick");
    group.sample_size(10).measurement_time(Duration::from_secs(5));
    // The same players on more shards: what lockstep costs, as CPU time, one shard after the other.
    let scaling = [1, 2, 4, 8].map(|shards| (4_000, shards, 50));
    let sizes = [(1_000, 1, 50), (5_000, 2, 50), (10_000, 3, 50), (10_000, 3, 100)];
    for (players, shards, visible) in sizes.into_iter().chain(scaling) {
        let mut stage = Stage::new(SpawnRule::Uniform, players, visible, shards);
        group.throughput(Throughput::Elements(players as u64));
        let name = format!("{players} players, {shards} shards, {visible} visible");
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|ticks| {
                let mut total = Duration::ZERO;
                for _ in 0..ticks {
                    stage.prepare_inputs();
                    let start = Instant::now();
                    stage.take_in();
                    stage.tick();
                    total += start.elapsed();
                }
                black_box(total)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, whole_tick);
criterion_main!(benches);
