//! A shard is lost: the others go on as if nothing had happened, with what they and their players
//! remember.

mod stage;

use stage::Stage;
use tidelock::config::SpawnRule;
use tidelock::exchange::Meeting;
use tidelock::metrics::{Counter, DropReason};
use tidelock::shard::Report;

const LOST: usize = 1;

fn stage() -> Stage {
    // Far apart, so that nobody's life depends on what the lost ones did.
    Stage::new(SpawnRule::Uniform, 240, 40, 3)
}

/// Digests of the survivors' entities.
fn survivors(stage: &Stage) -> [u64; 2] {
    [0, 2].map(|place| stage.desks[place].shard.world().digest())
}

fn seen(stage: &Stage) -> u64 {
    let counters = [0, 2].map(|place| stage.desks[place].shard.counters());
    counters.iter().map(|counters| counters.read(Counter::VisiblePairs)).sum()
}

#[test]
fn survivors_live_on_and_forget_the_lost() {
    let (mut whole, mut broken) = (stage(), stage());
    let mut gone = None;
    for tick in 0..100 {
        for stage in [&mut whole, &mut broken] {
            stage.prepare_inputs();
            stage.take_in();
        }
        whole.tick();
        let before = broken.desks[0].port.bytes;
        if tick == 20 {
            gone = Some(broken.tick_without(LOST));
            let bytes = broken.desks[0].port.bytes - before;
            // Deltas, as ever: a history that was lost would mean full states for everybody.
            assert!(bytes < 80 * 500, "{bytes} bytes to 80 players");
        } else {
            broken.tick();
        }
        assert_eq!(survivors(&broken), survivors(&whole), "tick {tick}");
    }
    let encoded = |stage: &Stage| stage.desks[0].shard.counters().read(Counter::EntriesSent);
    assert!(encoded(&broken) > 100_000);
    for desk in &broken.desks {
        assert_eq!(desk.shard.counters().dropped(DropReason::Malformed), 0);
        assert_eq!(desk.shard.counters().dropped(DropReason::FalseAck), 0);
    }
    // The replacement is empty and knows none of the old sessions.
    let replacement = &broken.desks[LOST].shard;
    assert!(replacement.world().is_empty());
    assert!(replacement.counters().dropped(DropReason::UnknownConnection) > 1_000);
    assert_eq!(replacement.tick_number(), broken.desks[0].shard.tick_number());

    // A third of everybody is gone, and with them two of nine pairs of which one is a survivor.
    let (all, left) = (seen(&whole), seen(&broken));
    for stage in [&mut whole, &mut broken] {
        for _ in 0..20 {
            stage.prepare_inputs();
            stage.take_in();
            stage.tick();
        }
    }
    let (all, left) = (seen(&whole) - all, seen(&broken) - left);
    let share = left as f64 / all as f64;
    assert!((0.6..0.73).contains(&share), "survivors see {share:.2} of what they saw");

    // Who was thought dead wakes up, works on, and finds out.
    let mut gone = gone.expect("it was lost");
    let (before, clock) = (survivors(&broken), stage::StageClock::default());
    gone.shard.simulate(Report::default(), &clock);
    assert!(!gone.shard.member_mut().arrive());
    assert_eq!(gone.shard.member_mut().poll(), Meeting::Closed);
    assert_eq!(survivors(&broken), before);
}
