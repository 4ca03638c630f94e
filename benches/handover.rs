//! What handing players over costs: 3,000 of them on two shards of one world, without sockets, one
//! shard after the other on one core, so that a tick is the work of both.
//!
//! Short blocks of ticks with no hand-overs, 100 and 600 a second take turns, and neighbours are
//! compared: a shared host is faster in one second than in the next by more than all this costs.
//! The cost of one hand-over comes from the last kind: everything that it entails is in it, also
//! passing on what its client sends to the former shard until it hears of the new one. Run with
//! `cargo bench --bench handover`.

use std::time::{Duration, Instant};

#[path = "../tests/stage/mod.rs"]
mod stage;
use stage::Stage;
use stage::travel::Travel;
use tidelock::config::SpawnRule;
use tidelock::metrics::Counter;
use tidelock::units::TickRate;

const PLAYERS: usize = 3_000;
const SHARDS: usize = 2;
/// Hand-overs in three ticks: none, 100 a second, 600 a second.
const PER_THREE_TICKS: [usize; 3] = [0, 5, 30];
/// Ticks of one kind that are timed before it is the next kind's turn.
const BLOCK: usize = 30;
/// Times that each kind has its turn.
const ROUNDS: usize = 48;
/// Ticks at the beginning of a block that are not timed: hand-overs get under way.
const WARM_UP: usize = 12;
/// Ticks until a client has heard of its new id, at most: 133 ms.
const HEARS_WITHIN: u64 = 8;

/// One tick; gives how long the shards took.
fn tick(stage: &mut Stage, travel: &mut Travel, departures: usize) -> Duration {
    for _ in 0..departures {
        let from = travel.departed as usize % SHARDS;
        travel.depart(stage, Some(from));
    }
    stage.prepare_inputs();
    let start = Instant::now();
    stage.take_in();
    // Mail of the gate, and what was handed on.
    stage.exchange_mail();
    stage.exchange_mail();
    stage.tick();
    let took = start.elapsed();
    travel.pass_tick(stage);
    took
}

/// A block with so many hand-overs; ends when everybody has arrived and has heard of it. Gives the
/// times in order.
fn block(stage: &mut Stage, travel: &mut Travel, per_three: usize) -> Vec<Duration> {
    let mut times = Vec::with_capacity(BLOCK);
    for now in 0..WARM_UP + BLOCK {
        let departures = (now + 1) * per_three / 3 - now * per_three / 3;
        let took = tick(stage, travel, departures);
        if now >= WARM_UP {
            times.push(took);
        }
    }
    while !travel.is_over() {
        tick(stage, travel, 0);
    }
    times.sort_unstable();
    times
}

/// What so large a share of `times`, which are in order, does not exceed, in ms.
fn quantile_ms(times: &[Duration], share: f64) -> f64 {
    let place = ((times.len() as f64 * share) as usize).min(times.len() - 1);
    times[place].as_secs_f64() * 1e3
}

/// Median over the rounds.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    // Without the argument that `cargo bench` gives it is only asked whether it works.
    let rounds = if std::env::args().any(|argument| argument == "--bench") { ROUNDS } else { 1 };
    let mut stage = Stage::new(SpawnRule::Uniform, PLAYERS, 50, SHARDS);
    let mut travel = Travel::new(1, HEARS_WITHIN);
    let mut blocks = PER_THREE_TICKS.map(|_| Vec::with_capacity(rounds));
    for round in 0..rounds {
        // Nobody is always first.
        for turn in 0..PER_THREE_TICKS.len() {
            let kind = (round + turn) % PER_THREE_TICKS.len();
            blocks[kind].push(block(&mut stage, &mut travel, PER_THREE_TICKS[kind]));
        }
    }
    let counters = stage.desks.iter().map(|desk| desk.shard.counters());
    let handed_over: u64 = counters.map(|counters| counters.read(Counter::HandedOver)).sum();
    assert_eq!(handed_over, travel.departed, "everybody who was sent off has gone");
    println!("{PLAYERS} players on {SHARDS} shards, {} ticks each, ms:", rounds * BLOCK);
    println!("hand-overs/s     p50     p99     max  overruns");
    let period = Duration::from_nanos(TickRate::DEFAULT.start_ns(1));
    for (blocks, per_three) in blocks.iter().zip(PER_THREE_TICKS) {
        let mut times = blocks.concat();
        times.sort_unstable();
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| quantile_ms(&times, share));
        let overruns = times.iter().filter(|took| **took > period).count();
        println!("{:12} {p50:7.3} {p99:7.3} {max:7.3} {overruns:9}", per_three * 20);
    }
    let [none, some, many] =
        blocks.map(|kind| kind.iter().map(|block| quantile_ms(block, 0.5)).collect::<Vec<_>>());
    let ratios = some.iter().zip(&none).map(|(some, none)| some / none);
    println!("100 a second ÷ none: {:.3}, median of neighbouring blocks", median(ratios.collect()));
    let per_tick = PER_THREE_TICKS[2] as f64 / 3.0;
    let costs = many.iter().zip(&none).map(|(many, none)| (many - none) * 1e6 / per_tick);
    match median(costs.collect()) {
        cost if cost > 0.0 => {
            println!("one hand-over: {cost:.0} ns, median of neighbouring blocks")
        }
        _ => println!("one hand-over: less than what blocks of ticks differ by on this host"),
    }
}
