//! Players go from shard to shard while they play, and nothing tells: not the world, not the number
//! of snapshots, not what is in them.

mod stage;

use stage::Stage;
use stage::travel::Travel;
use tidelock::config::SpawnRule;
use tidelock::metrics::{Counter, DropReason};
use tidelock::world::hash_of;

const PLAYERS: usize = 150;
const SHARDS: usize = 3;
const TICKS: usize = 200;

fn sum(stage: &Stage, counter: Counter) -> u64 {
    stage.desks.iter().map(|desk| desk.shard.counters().read(counter)).sum()
}

fn hash(stage: &Stage) -> u64 {
    let shards = stage.desks.iter().map(|desk| &desk.shard);
    hash_of(stage.desks[0].shard.tick_number(), shards.map(|shard| shard.world().digest()))
}

#[test]
fn handing_players_over_changes_nothing_but_who_computes_them() {
    // Close together, so that they hit each other across shards while they move.
    let new = || Stage::new(SpawnRule::Plaza, PLAYERS, 20, SHARDS);
    let (mut still, mut moving) = (new(), new());
    // Some clients hear soon, some late: until then packets are forwarded.
    let mut travel = Travel::new(1, 40);
    let mut entries_before = (0, 0);
    for tick in 0..TICKS {
        if tick % 2 == 0 && tick < 120 {
            travel.depart(&mut moving, None);
        }
        for stage in [&mut still, &mut moving] {
            stage.prepare_inputs();
            stage.take_in();
            stage.exchange_mail();
            // What was handed on is taken in before the tick, as a waiting shard would.
            stage.exchange_mail();
        }
        let before = sum(&moving, Counter::Snapshots);
        still.tick();
        moving.tick();
        assert_eq!(hash(&moving), hash(&still), "tick {tick}");
        let sent = sum(&moving, Counter::Snapshots) - before;
        assert_eq!(sent, PLAYERS as u64, "everybody gets one snapshot, tick {tick}");
        travel.pass_tick(&mut moving);
        let entries = |stage: &Stage| sum(stage, Counter::EntriesSent);
        if tick == 0 {
            entries_before = (entries(&still), entries(&moving));
        }
        if tick + 1 == TICKS {
            let still = (entries(&still) - entries_before.0) as f64;
            let moved = (entries(&moving) - entries_before.1) as f64;
            assert!((moved / still - 1.0).abs() < 0.02, "{moved} entries instead of {still}");
        }
    }
    assert!(travel.is_over(), "everybody has arrived and has heard of it");
    assert_eq!(sum(&moving, Counter::HandedOver), travel.departed);
    assert!(travel.departed >= 50 && sum(&moving, Counter::Forwarded) > 500);
    assert!(sum(&moving, Counter::EffectsSent) > 50, "they fight on the way");
    for desk in &moving.desks {
        let counters = desk.shard.counters();
        assert_eq!(
            counters.dropped_total(),
            counters.dropped(DropReason::InputRate),
            "{counters:?}"
        );
    }
}
