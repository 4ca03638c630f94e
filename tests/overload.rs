//! A server whose ticks take too long sheds in the declared order, everywhere at once, and
//! recovers.

mod stage;

use stage::Stage;
use tidelock::config::SpawnRule;
use tidelock::metrics::Counter;
use tidelock::time::Nanos;

/// What one tick cost the players: bytes, and entities in sight.
fn tick(stage: &mut Stage) -> (u64, u64) {
    let sum = |stage: &Stage| {
        let bytes = stage.desks.iter().map(|desk| desk.port.bytes).sum::<u64>();
        let seen = |counter| -> u64 {
            stage.desks.iter().map(|desk| desk.shard.counters().read(counter)).sum()
        };
        (bytes, seen(Counter::VisiblePairs))
    };
    let before = sum(stage);
    stage.prepare_inputs();
    stage.take_in();
    stage.tick();
    let after = sum(stage);
    (after.0 - before.0, after.1 - before.1)
}

fn rung(stage: &Stage) -> u64 {
    let counters = stage.desks.iter().map(|desk| desk.shard.counters());
    counters.map(|counters| counters.read(Counter::Rung)).sum()
}

/// Mean bytes and entities in sight over some ticks, after everybody has looked around once.
fn mean(stage: &mut Stage) -> (u64, u64) {
    (0..5).for_each(|_| _ = tick(stage));
    let sums = (0..9).map(|_| tick(stage)).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    (sums.0 / 9, sums.1 / 9)
}

#[test]
fn an_overloaded_server_sheds_far_tier_then_bytes_then_radius_and_recovers() {
    let mut stage = Stage::new(SpawnRule::Uniform, 300, 30, 3);
    let full = mean(&mut stage);
    let mut on_rung = vec![full];
    // Too long even at half the pace of time, and not so long that rungs follow each other faster.
    stage.busy = Nanos::from_us(32_000);
    while rung(&stage) < 11 {
        let at = rung(&stage);
        tick(&mut stage);
        if rung(&stage) > at {
            assert_eq!(rung(&stage), at + 1, "no rung is skipped");
            on_rung.push(mean(&mut stage));
        }
        let inputs = stage.desks[0].shard.tick_number();
        assert!(inputs < 1_000, "a rung takes no longer than its dwell");
    }
    let bytes = |rung: usize| on_rung[rung].0 as f64 / full.0 as f64;
    let seen = |rung: usize| on_rung[rung].1 as f64 / full.1 as f64;
    // Three quarters of the entities in sight are in the far tier.
    assert!(bytes(2) < 0.85 && seen(2) > 0.9, "far tier: {:.2} of the bytes", bytes(2));
    assert!((0.45..0.75).contains(&seen(5)), "three quarters of the radius: {:.2}", seen(5));
    assert!((0.18..0.45).contains(&seen(6)), "half of the radius: {:.2}", seen(6));
    assert!(bytes(6) < 0.6, "{:.2} of the bytes", bytes(6));
    // The tick counts on whatever is shed.
    let before = stage.desks[0].shard.tick_number();
    tick(&mut stage);
    assert_eq!(stage.desks[0].shard.tick_number(), before + 1);

    stage.busy = Nanos::from_us(5_000);
    let mut ticks = 0;
    while rung(&stage) > 0 {
        tick(&mut stage);
        ticks += 1;
        assert!(ticks < 11 * 200, "a calm server recovers");
    }
    assert!(ticks > 11 * 60, "with patience");
    (0..300).for_each(|_| _ = tick(&mut stage));
    let again = mean(&mut stage).1 as f64 / full.1 as f64;
    assert!((0.9..1.1).contains(&again), "everybody sees as far as before: {again:.2}");
    let shed = |place: usize| stage.desks[place].shard.counters().read(Counter::ShedTicks);
    assert!(shed(0) > 0 && shed(1) + shed(2) == 0, "counted once");
}
