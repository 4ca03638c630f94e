//! Everybody in one place: what each sees there is exactly the nearest, and what a player costs
//! does not depend on how many others there are.
//!
//! Who is held stays in sight up to the leave distance, but in a crowd that changes nothing: more
//! than K are within the enter distance, and the K nearest of all are seen, held or not.

#[allow(dead_code, reason = "each test uses its part of it")]
mod onlookers;
mod stage;

use onlookers::Onlooker;
use std::collections::{BTreeSet, VecDeque};
use tidelock::config::{InterestConfig, SpawnRule};
use tidelock::kernel::nearest::distance_squared;
use tidelock::limits::{HEADER_LEN, SNAPSHOT_BUDGET, TAG_LEN, VISIBLE_MAX};
use tidelock::metrics::Counter;
use tidelock::units::EntityId;
use tidelock::world::{HeldSet, Index, Nearest, World};

use stage::{Setup, Stage};

/// Entities that a query may pass in this crowd, however large it is: on average, and if the first
/// circle around the viewer turns out to hold too few. The crowds are up to 4,000.
const PASSED_MEAN: usize = 400;
const PASSED_MAX: usize = 1000;

/// The nearest others of the entity in `row`, by brute force over the whole world.
fn nearest_others(world: &World, row: usize) -> BTreeSet<EntityId> {
    let columns = world.columns();
    let place = |row: usize| columns.position.map(|axis| axis[row]);
    let others = (0..columns.ids.len()).filter(|&other| other != row);
    let mut all: Vec<_> = others
        .filter(|&other| columns.ids[other] != EntityId::NONE)
        .map(|other| (distance_squared(place(other), place(row)).to_bits(), columns.ids[other].0))
        .collect();
    all.sort_unstable();
    all.truncate(VISIBLE_MAX);
    all.into_iter().map(|(_, id)| EntityId(id)).collect()
}

/// Asks for what everybody sees, compares it with brute force, and gives the mean and the largest
/// number of entities that a query passed.
fn look_around(world: &World) -> (usize, usize) {
    let interest = InterestConfig::default();
    let columns = world.columns();
    let mut index = Index::new(columns.ids.len(), interest.radii(), interest.leave_factor);
    world.index(&mut index);
    let mut held = HeldSet::new(columns.ids.len());
    (0..columns.ids.len() as u32).step_by(3).for_each(|row| held.hold(row));
    let (mut found, mut sum, mut most) = (Nearest::new(), 0, 0);
    for row in 0..columns.ids.len() {
        found.clear();
        found.leave_out(columns.seats[row]);
        index.visible(columns.position.map(|axis| axis[row]), &held, &mut found);
        let seen = found.rows().iter().map(|&seat| EntityId::from_parts(seat, 1));
        let seen: BTreeSet<_> = seen.collect();
        assert_eq!(seen, nearest_others(world, row), "of {}, row {row}", columns.ids.len());
        sum += found.passed();
        most = most.max(found.passed());
    }
    (sum / columns.ids.len(), most)
}

#[test]
fn a_player_costs_the_same_in_a_crowd_of_any_size() {
    let mut bytes = Vec::new();
    for players in [500, 1000, 2000, 4000] {
        let mut stage = Stage::new(SpawnRule::Blob, players, 50, 1);
        stage.rests = true;
        let counters = |stage: &Stage| {
            let counters = stage.desks[0].shard.counters();
            [Counter::EntriesSent, Counter::VisiblePairs].map(|counter| counters.read(counter))
        };
        // A slot is free again only when the removal was acknowledged; until then some see less.
        for tick in 0..40 {
            let (before, sent) = (counters(&stage), stage.desks[0].port.bytes);
            stage.prepare_inputs();
            stage.take_in();
            stage.tick();
            let after = counters(&stage);
            let most = (players * VISIBLE_MAX) as u64;
            let [entries, pairs] = [0, 1].map(|counter| after[counter] - before[counter]);
            assert!(entries <= most && pairs <= most, "{players}: {entries} entries, {pairs} seen");
            assert!(tick < 20 || pairs == most, "{players}: everybody sees K: {pairs} of {most}");
            let sent = (stage.desks[0].port.bytes - sent) as usize;
            assert!(
                sent <= players * (SNAPSHOT_BUDGET + HEADER_LEN + TAG_LEN),
                "{players}: {sent}"
            );
            bytes.push(sent / players);
        }
        let (mean, most) = look_around(stage.desks[0].shard.world());
        println!("{players} players: a query passes {mean}, at most {most}");
        assert!(mean <= PASSED_MEAN && most <= PASSED_MAX, "{players}: {mean}, {most} passed");
    }
    let mean = |ticks: &[usize]| ticks.iter().sum::<usize>() as f64 / ticks.len() as f64;
    let bytes = [0, 40, 80, 120].map(|from| mean(&bytes[from..from + 40]));
    println!("bytes per player and tick: {bytes:.0?}");
    assert!(bytes[3] < 1.1 * bytes[0], "a larger crowd is not more to tell");
}

#[test]
fn in_a_crowd_everybody_is_told_of_the_nearest_and_of_nobody_else() {
    const PLAYERS: usize = 1000;
    let setup = Setup {
        seed: 1,
        spawn: SpawnRule::Blob,
        interest: InterestConfig::default(),
        players: PLAYERS,
        seats: PLAYERS,
        shards: 1,
        captures: true,
    };
    let mut stage = Stage::build(setup);
    let watched: Vec<usize> = (0..PLAYERS).step_by(41).collect();
    let mut onlookers: Vec<_> = watched.iter().map(|_| Onlooker::default()).collect();
    // Of each watched player, the nearest in the last ticks, newest in front.
    let mut nearest: Vec<VecDeque<BTreeSet<EntityId>>> = vec![VecDeque::new(); watched.len()];
    let mut told = 0;
    for tick in 0..150 {
        // They walk for a second and a half, through each other and apart, and then stand.
        stage.rests = tick >= 90;
        if tick > 0 {
            stage.prepare_inputs();
            stage.take_in();
            stage.tick();
        }
        let world = stage.desks[0].shard.world();
        for (player, nearest) in watched.iter().zip(&mut nearest) {
            let row = world.row_of(EntityId::from_parts(*player as u32, 1)).expect("is inside");
            nearest.push_front(nearest_others(world, row as usize));
            // Who is visible is decided every four ticks.
            nearest.truncate(4);
        }
        let captured = stage.desks[0].port.captured.as_mut().expect("asked for");
        for (player, datagram) in std::mem::take(captured) {
            assert!(datagram.len() <= SNAPSHOT_BUDGET + HEADER_LEN + TAG_LEN);
            let Some((sequence, body)) = onlookers::snapshot(datagram) else { continue };
            stage.hear(player, sequence);
            let Ok(place) = watched.binary_search(&player) else { continue };
            for entry in onlookers[place].decode(&body).entries {
                let is_near = nearest[place].iter().any(|near| near.contains(&entry.id));
                assert!(is_near, "tick {tick}: {player} is told of {:?}", entry.id);
                told += 1;
            }
            assert!(onlookers[place].apply(&body));
        }
    }
    assert!(told > 100_000, "{told}");
    for ((player, onlooker), nearest) in watched.iter().zip(&onlookers).zip(&nearest) {
        let held = (0..PLAYERS as u32).map(|index| EntityId::from_parts(index, 1));
        let held: BTreeSet<_> = held.filter(|id| onlooker.holds(*id)).collect();
        assert_eq!(held.len(), VISIBLE_MAX);
        assert_eq!(held, nearest[0], "player {player}");
    }
}
