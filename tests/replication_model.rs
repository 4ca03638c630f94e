//! Replication against a naive server that knows everything: the real gate, the real shards and the
//! real clients, over a network that loses, repeats, delays and reorders in both directions, while
//! players come, go and are handed over, and entities are born in the rows and slots of others.
//!
//! At all times every client holds only what really was; a second after the faults end it holds
//! exactly what it should see. The seeds are printed; `TIDELOCK_MODEL_SEEDS` says how many there
//! are. `scripts/mutants.sh` breaks the rules of replication one by one and expects failures here.

mod model;

use model::{Run, Scenario};
use tidelock::limits::VISIBLE_MAX;

/// Seeds of each test unless the environment says otherwise.
const SEEDS: u64 = 20;
const STORM: u64 = 420;

#[expect(clippy::disallowed_methods, reason = "how much a test does is no setting of the server")]
fn seeds() -> std::ops::RangeInclusive<u64> {
    let asked = std::env::var("TIDELOCK_MODEL_SEEDS").ok();
    1..=asked.map_or(SEEDS, |seeds| seeds.parse().expect("a number of seeds"))
}

fn scattered(seed: u64, shards: usize, walks_on: bool) -> Scenario {
    let (players, others, reach) = (14, 70, 3_000.0);
    let (crowded, described) = (false, false);
    Scenario { seed, shards, players, others, reach, crowded, described, walks_on }
}

/// A storm and a calm; tells what happened.
fn weather(scenario: Scenario) -> Run {
    let mut run = Run::new(scenario);
    run.storm(STORM);
    run.calm();
    run.check_drops();
    println!("{:?}, {} handed over, {:?}", run.tally, run.handed_over(), run.lost());
    run
}

/// That enough happened for the run to be a proof.
fn check_tally(run: &Run) {
    let (tally, players) = (&run.tally, run.scenario.players as u64);
    assert!(tally.snapshots > 40 * players && tally.compared > 400 * players, "{tally:?}");
    assert!(tally.gone > 100 && tally.reused > 80 && tally.kept > 100, "{tally:?}");
    assert!(tally.joined > players && tally.left > 0, "{tally:?}");
    assert!(run.scenario.shards == 1 || run.handed_over() > 10, "{}", run.handed_over());
    assert!(run.seen() as u64 > 5 * players, "{} seen in the end", run.seen());
}

#[test]
fn a_client_holds_only_what_was_and_soon_exactly_what_is() {
    for seed in seeds() {
        for shards in [1, 2] {
            check_tally(&weather(scattered(seed, shards, false)));
        }
    }
}

#[test]
fn views_follow_while_everybody_walks_on() {
    for seed in seeds() {
        for shards in [1, 2] {
            check_tally(&weather(scattered(seed + 1_000, shards, true)));
        }
    }
}

#[test]
fn in_a_crowd_exactly_the_nearest_are_seen() {
    for seed in seeds().step_by(3) {
        let (seed, shards) = (seed + 2_000, 1 + seed as usize % 2);
        let (players, others, reach) = (8, 190, 500.0);
        let (crowded, described, walks_on) = (true, false, false);
        let scenario =
            Scenario { seed, shards, players, others, reach, crowded, described, walks_on };
        let run = weather(scenario);
        run.check_nearest(VISIBLE_MAX);
    }
}

#[test]
fn players_know_what_is_said_of_those_whom_they_see_and_forget_the_rest() {
    for seed in seeds() {
        for shards in [1, 2] {
            let scenario = scattered(seed + 3_000, shards, false);
            let mut run = weather(Scenario { described: true, ..scenario });
            let known = run.settle_words();
            assert!(known > 60 && run.said() > 300, "{known} known, {} said", run.said());
        }
    }
}

#[test]
fn a_description_is_told_once_for_each_time_that_its_entity_comes_into_sight() {
    for seed in seeds().step_by(4) {
        for shards in [1, 2] {
            let scenario =
                Scenario { players: 3, others: 0, reach: 300.0, ..scattered(seed, shards, false) };
            Run::new(scenario).tell_of_a_cart();
        }
    }
}
