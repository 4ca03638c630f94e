//! The world does not depend on how many shards compute it, on who is handed over to whom, nor on
//! the build: not on the width of the processor's vectors, nor on there being any.
//!
//! What the worlds came to is written down in `vectors/world_hashes.json`, and every build is held
//! to it: the usual one (x86-64-v3), one for x86-64-v4, and one whose kernels are scalar.
//! `scripts/check.sh` makes all three. A change of the rules of the world changes the hashes; then,
//! and only then, write them down anew and look at the difference:
//!
//! ```sh
//! TIDELOCK_WRITE_WORLD_HASHES=1 cargo test --test shard_determinism written_down
//! ```

mod stage;

use serde_json::{Value, json};
use stage::travel::Travel;
use stage::{Setup, Stage};
use tidelock::config::{InterestConfig, SpawnRule};
use tidelock::metrics::{Counter, DropReason};
use tidelock::state::Kind;
use tidelock::units::EntityId;
use tidelock::world::{Spawn, hash_of};

const PLAYERS: usize = 150;
const NPCS: usize = 30;
const TICKS: usize = 240;
/// Ticks between two hashes that are written down.
const EVERY: usize = 24;
/// Seeds of the worlds that are written down.
const SEEDS: [u64; 2] = [1, 0xC0FFEE];

const WRITTEN: &str = include_str!("vectors/world_hashes.json");
/// Set it to write the hashes down anew.
const WRITE: &str = "TIDELOCK_WRITE_WORLD_HASHES";

/// How a run went.
#[derive(Debug, PartialEq)]
struct Run {
    /// The hash of the whole world after each tick.
    trail: Vec<u64>,
    /// Pairs of a viewer and an entity that it saw.
    seen: u64,
    /// Effects that entities had on others.
    hits: u64,
    handed_over: u64,
    forwarded: u64,
}

/// Everybody close together, so that they hit each other, players and NPCs, across shards.
fn crowd(seed: u64, shards: usize) -> Stage {
    let (players, seats) = (PLAYERS, PLAYERS + NPCS);
    let player = InterestConfig::radius_for(20, PLAYERS as u32);
    let interest = InterestConfig { player, ..InterestConfig::default() };
    let spawn = SpawnRule::Plaza;
    let setup = Setup { seed, spawn, interest, players, seats, shards, captures: false };
    let mut stage = Stage::build(setup);
    for npc in 0..NPCS {
        let (seat, place) = ((PLAYERS + npc) as u32, npc % shards);
        assert!(stage.keeper.grant(seat, place));
        let position = [405_000.0 + 300.0 * npc as f32, 414_000.0 - 300.0 * npc as f32, 0.0];
        let id = EntityId::from_parts(seat, 1);
        let spawn = Spawn { id, kind: Kind::Npc, position, yaw: 0, faction: 0, seat };
        stage.desks[place].shard.world_mut().spawn(spawn).expect("there is room");
    }
    stage
}

fn run(seed: u64, shards: usize, ticks: usize) -> Run {
    run_with(seed, shards, ticks, |_| 0)
}

/// With more than one shard, a player goes to another shard in every second tick. Datagrams come to
/// the socket that is so many beyond the right one in each tick.
fn run_with(seed: u64, shards: usize, ticks: usize, astray: impl Fn(usize) -> usize) -> Run {
    let mut stage = crowd(seed, shards);
    let mut travel = Travel::new(seed, 40);
    let trail = (0..ticks).map(|tick| {
        if shards > 1 && tick % 2 == 0 {
            travel.depart(&mut stage, None);
        }
        stage.astray = astray(tick);
        stage.prepare_inputs();
        stage.take_in();
        // From the wrong socket to the former shard, and on to where the player is now.
        (0..3).for_each(|_| drop(stage.exchange_mail()));
        stage.tick();
        travel.pass_tick(&mut stage);
        let tick = stage.desks[0].shard.tick_number();
        hash_of(tick, stage.desks.iter().map(|desk| desk.shard.world().digest()))
    });
    let mut run = Run { trail: trail.collect(), seen: 0, hits: 0, handed_over: 0, forwarded: 0 };
    for desk in &stage.desks {
        let counters = desk.shard.counters();
        assert!(counters.read(Counter::Inputs) > ticks as u64, "everybody walks");
        run.seen += counters.read(Counter::VisiblePairs);
        run.hits += counters.read(Counter::EffectsSent);
        run.handed_over += counters.read(Counter::HandedOver);
        run.forwarded += counters.read(Counter::Forwarded);
        assert_eq!(counters.read(Counter::EffectsLost), 0);
        assert_eq!(counters.dropped_total(), counters.dropped(DropReason::InputRate));
    }
    run
}

/// What a world came to, as it is written down.
fn record(seed: u64, trail: &[u64]) -> Value {
    let hashes = trail.iter().skip(EVERY - 1).step_by(EVERY);
    let hashes: Vec<_> = hashes.map(|hash| format!("{hash:#018x}")).collect();
    json!({
        "seed": seed, "players": PLAYERS, "npcs": NPCS, "ticks": trail.len(), "every": EVERY,
        "hashes": hashes,
    })
}

#[test]
#[expect(clippy::disallowed_methods, reason = "what a test writes is no setting of the server")]
fn every_build_comes_to_the_world_that_is_written_down() {
    let trails = SEEDS.map(|seed| run(seed, 1, TICKS).trail);
    let worlds: Vec<_> = SEEDS.iter().zip(&trails).map(|(&seed, it)| record(seed, it)).collect();
    if std::env::var_os(WRITE).is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/world_hashes.json");
        let text = serde_json::to_string_pretty(&worlds).expect("it is plain JSON") + "\n";
        std::fs::write(path, text).expect("the file can be written");
        // Never green, so that nothing is written down unnoticed.
        panic!("written down in {path}: look at the difference, then run without {WRITE}");
    }
    let written: Vec<Value> = serde_json::from_str(WRITTEN).expect("the hashes are JSON");
    assert_eq!(worlds.len(), written.len(), "worlds; {WRITE}=1 writes them down");
    for (world, written) in worlds.iter().zip(&written) {
        assert_eq!(world, written, "if the rules of the world have changed: {WRITE}=1");
    }
}

#[test]
fn the_same_inputs_give_the_same_world_for_any_number_of_shards_whoever_moves() {
    for seed in SEEDS {
        println!("seed {seed}");
        let one = run(seed, 1, TICKS);
        assert!(one.trail.windows(2).all(|pair| pair[0] != pair[1]), "the world moves");
        assert!(one.hits > 50, "{} hits: many must cross from shard to shard", one.hits);
        for shards in [2, 3, 4, 7] {
            let many = run(seed, shards, TICKS);
            assert_eq!(many.trail, one.trail, "{shards} shards");
            assert!(many.handed_over > 100, "{} went over", many.handed_over);
            // Viewers take their turns in another order, so the edge of sight differs by a tick or
            // two.
            let difference = many.seen.abs_diff(one.seen) as f64 / one.seen as f64;
            assert!(difference < 0.02, "{} of {} pairs, {shards} shards", many.seen, one.seen);
        }
    }
}

#[test]
fn two_runs_are_equal_in_everything_that_is_counted() {
    assert_eq!(run(3, 3, 60), run(3, 3, 60));
}

#[test]
fn the_world_is_the_same_whatever_socket_datagrams_come_to() {
    let (straight, lost) = (run(1, 3, 120), run_with(1, 3, 120, |tick| tick % 3));
    let more = lost.forwarded - straight.forwarded;
    assert_eq!(more, 80 * PLAYERS as u64, "once more for each that came to a wrong socket");
    assert_eq!(Run { forwarded: straight.forwarded, ..lost }, straight);
}
