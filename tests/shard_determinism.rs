//! The world does not depend on how many shards compute it.

mod stage;

use stage::Stage;
use tidelock::config::SpawnRule;
use tidelock::metrics::{Counter, DropReason};
use tidelock::world::hash_of;

/// The hash of the whole world after each of `ticks` ticks, and how many entities were seen in all.
fn run(shards: usize, ticks: usize) -> (Vec<u64>, u64) {
    run_with(shards, ticks, |_| 0)
}

/// The same where datagrams come to the socket that is so many beyond the right one in each tick.
fn run_with(shards: usize, ticks: usize, astray: impl Fn(usize) -> usize) -> (Vec<u64>, u64) {
    let mut stage = Stage::new(SpawnRule::Plaza, 150, 20, shards);
    let trail = (0..ticks).map(|tick| {
        stage.astray = astray(tick);
        stage.prepare_inputs();
        stage.take_in();
        stage.exchange_mail();
        stage.tick();
        let tick = stage.desks[0].shard.tick_number();
        hash_of(tick, stage.desks.iter().map(|desk| desk.shard.world().digest()))
    });
    let trail = trail.collect();
    let (mut seen, mut hits) = (0, 0);
    for desk in &stage.desks {
        let counters = desk.shard.counters();
        assert!(counters.read(Counter::Inputs) > ticks as u64, "everybody walks");
        seen += counters.read(Counter::VisiblePairs);
        hits += counters.read(Counter::EffectsSent);
        assert_eq!(counters.read(Counter::EffectsLost), 0);
        let expected =
            (0..ticks).filter(|&tick| !astray(tick).is_multiple_of(shards)).count() * 150 / shards;
        assert_eq!(counters.read(Counter::Forwarded), expected as u64);
        assert_eq!(counters.dropped(DropReason::QueueFull), 0);
    }
    assert!(hits > 50, "{hits} hits: many must cross from shard to shard");
    (trail, seen)
}

#[test]
fn the_same_inputs_give_the_same_world_for_any_number_of_shards() {
    let (expected, seen_by_one) = run(1, 120);
    assert!(expected.windows(2).all(|pair| pair[0] != pair[1]), "the world moves");
    for shards in [2, 3, 4, 7] {
        let (hashes, seen) = run(shards, 120);
        assert_eq!(hashes, expected, "{shards} shards");
        // Viewers take their turns in another order, so the edge of sight differs by a tick or two.
        let difference = seen.abs_diff(seen_by_one) as f64 / seen_by_one as f64;
        assert!(difference < 0.02, "{seen} of {seen_by_one} pairs with {shards} shards");
    }
}

#[test]
fn two_runs_are_equal_in_everything_that_is_counted() {
    assert_eq!(run(3, 60), run(3, 60));
}

#[test]
fn the_world_is_the_same_whatever_socket_datagrams_come_to() {
    assert_eq!(run_with(3, 120, |tick| tick % 3), run(3, 120));
}
