//! A shard is lost: the others go on as if nothing had happened, with what they and their players
//! remember.

mod stage;

use stage::{Setup, Stage};
use tidelock::config::{InterestConfig, SpawnRule};
use tidelock::exchange::Meeting;
use tidelock::metrics::{Counter, DropReason};
use tidelock::shard::{Report, ToGate};
use tidelock::units::EntityId;

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

#[test]
fn who_sleeps_through_two_losses_comes_through_both_exchanges() {
    const SEAT: u32 = 239;
    let setup = Setup {
        seed: 1,
        spawn: SpawnRule::Uniform,
        interest: InterestConfig::default(),
        players: SEAT as usize,
        seats: SEAT as usize + 1,
        shards: 3,
        captures: false,
    };
    let (mut whole, mut broken) = (Stage::build(setup.clone()), Stage::build(setup));
    whole.tick();
    // The second shard is lost; the third sleeps, and is granted a seat in the exchange that it has
    // not come to.
    broken.simulate_without(LOST);
    broken.lose(LOST);
    broken.go_on(0);
    assert!(broken.keeper.grant(SEAT, 2));
    // The first is lost before anybody has met there.
    broken.lose(0);
    (0..3).for_each(|place| broken.go_on(place));
    broken.replicate();

    let [before, now] = [&whole, &broken].map(|stage| stage.desks[2].shard.world().digest());
    assert_eq!(now, before, "nothing of its own is lost");
    let sleeper = broken.desks[2].shard.member_mut();
    let published = sleeper.published();
    let shown = |seat: &u32| published.id(*seat) != EntityId::NONE;
    assert_eq!(
        (0..=SEAT).filter(shown).collect::<Vec<_>>(),
        (2..SEAT).step_by(3).collect::<Vec<_>>()
    );
    assert!(sleeper.owns(SEAT), "what was granted in between is its own");
    // Its links lead to the successors of both.
    for to in [0, 1] {
        let id = broken.hand_over(2 + 3 * to, to);
        let arrived = |told: &ToGate| matches!(told, ToGate::Moved(at) if *at == id);
        let arrives = (0..5).any(|_| {
            broken.tick();
            broken.exchange_mail().iter().any(arrived)
        });
        assert!(arrives, "nobody comes to shard {to}");
    }
}
