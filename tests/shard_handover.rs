//! Players go from shard to shard while they play, and nothing tells: not the world, not the number
//! of snapshots, not what is in them.

mod stage;

use stage::Stage;
use tidelock::config::SpawnRule;
use tidelock::metrics::{Counter, DropReason};
use tidelock::shard::ToGate;
use tidelock::wire::ConnectionId;
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

/// A player under way, and when its client hears of its new id.
struct Mover {
    player: usize,
    to: ConnectionId,
    hears_in: usize,
}

#[test]
fn handing_players_over_changes_nothing_but_who_computes_them() {
    // Close together, so that they hit each other across shards while they move.
    let new = || Stage::new(SpawnRule::Plaza, PLAYERS, 20, SHARDS);
    let (mut still, mut moving) = (new(), new());
    let mut movers: Vec<Mover> = Vec::new();
    let (mut handed_over, mut entries_before) = (0, (0, 0));
    for tick in 0..TICKS {
        if tick % 2 == 0 {
            let player = tick * 7 % PLAYERS;
            if movers.iter().all(|mover| mover.player != player) && handed_over < 60 {
                let to = (moving.bots[player].shard + 1 + tick / 2 % 2) % SHARDS;
                let to = moving.hand_over(player, to);
                // Some clients hear soon, some late: until then packets are forwarded.
                movers.push(Mover { player, to, hears_in: 4 + tick % 40 });
                handed_over += 1;
            }
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
        for told in moving.exchange_mail() {
            assert!(!matches!(told, ToGate::Closed(_) | ToGate::Stayed(_)), "{told:?}");
        }
        movers.retain_mut(|mover| {
            mover.hears_in -= 1;
            if mover.hears_in == 0 {
                let bot = &mut moving.bots[mover.player];
                bot.id = mover.to;
                bot.shard = usize::from(mover.to.socket()) - 1;
            }
            mover.hears_in > 0
        });
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
    assert_eq!(sum(&moving, Counter::HandedOver), handed_over);
    assert!(handed_over >= 50 && sum(&moving, Counter::Forwarded) > 500);
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
