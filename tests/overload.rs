//! A server whose ticks take too long sheds in the declared order, everywhere at once, and
//! recovers.

mod stage;

use stage::{Setup, Stage};
use std::collections::BTreeSet;
use tidelock::config::{InterestConfig, SpawnRule};
use tidelock::metrics::Counter;
use tidelock::time::Nanos;
use tidelock::wire::{Channel, ControlMessage};

/// What one tick gave the players: bytes, entities in sight, and entries.
fn tick(stage: &mut Stage) -> [u64; 3] {
    let sum = |stage: &Stage| {
        let bytes = stage.desks.iter().map(|desk| desk.port.bytes).sum::<u64>();
        let seen = |counter| -> u64 {
            stage.desks.iter().map(|desk| desk.shard.counters().read(counter)).sum()
        };
        [bytes, seen(Counter::VisiblePairs), seen(Counter::EntriesSent)]
    };
    let before = sum(stage);
    stage.prepare_inputs();
    stage.take_in();
    stage.tick();
    let after = sum(stage);
    std::array::from_fn(|place| after[place] - before[place])
}

fn rung(stage: &Stage) -> u64 {
    let counters = stage.desks.iter().map(|desk| desk.shard.counters());
    counters.map(|counters| counters.read(Counter::Rung)).sum()
}

/// Means of [`tick`] over some ticks, after everybody has looked around once.
fn mean(stage: &mut Stage) -> [u64; 3] {
    // Neither hot nor calm: the rung stays.
    let busy = std::mem::replace(&mut stage.busy, Nanos::from_us(15_000));
    (0..5).for_each(|_| _ = tick(stage));
    // As many ticks as it takes until every pace has had its turns.
    let ticks = [(); 32].map(|()| tick(stage));
    stage.busy = busy;
    std::array::from_fn(|place| ticks.iter().map(|tick| tick[place]).sum::<u64>() / 32)
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
    let [bytes, seen, told] = [0, 1, 2]
        .map(|of| on_rung.iter().map(|means| means[of] as f64 / full[of] as f64).collect());
    let [bytes, seen, told]: [Vec<f64>; 3] = [bytes, seen, told];
    // Of 0.45 entries per entity in sight and tick the far tier has 0.17; a third is left.
    assert!((0.6..0.85).contains(&told[2]) && seen[2] > 0.9, "far tier: {:.2}", told[2]);
    assert!((0.45..0.75).contains(&seen[5]), "three quarters of the radius: {:.2}", seen[5]);
    assert!((0.18..0.45).contains(&seen[6]), "half of the radius: {:.2}", seen[6]);
    assert!(bytes[6] < 0.8 && told[6] < 0.4, "{:.2} of the bytes", bytes[6]);
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
    let again = mean(&mut stage)[1] as f64 / full[1] as f64;
    assert!((0.9..1.1).contains(&again), "everybody sees as far as before: {again:.2}");
    let shed = |place: usize| stage.desks[place].shard.counters().read(Counter::ShedTicks);
    assert!(shed(0) > 0 && shed(1) + shed(2) == 0, "counted once");
}

#[test]
fn in_a_full_arena_every_player_gets_its_answer_in_the_same_tick() {
    let players = 300;
    let mut stage = Stage::build(Setup {
        seed: 1,
        spawn: SpawnRule::Uniform,
        interest: InterestConfig::default(),
        players,
        seats: players,
        shards: 1,
        captures: true,
    });
    let control = |stage: &mut Stage| -> BTreeSet<usize> {
        let captured = stage.desks[0].port.captured.as_mut().expect("it was asked for");
        let sent = std::mem::take(captured).into_iter();
        sent.filter(|(_, bytes)| bytes[4] == Channel::Control as u8).map(|it| it.0).collect()
    };
    for _ in 0..10 {
        stage.prepare_inputs();
        stage.take_in();
        stage.tick();
    }
    control(&mut stage);
    for player in 0..players {
        stage.packet(player, Channel::Control, |writer, _| {
            ControlMessage::Ping { nonce: 7 }.write(writer);
        });
    }
    stage.take_in();
    stage.tick();
    assert_eq!(control(&mut stage).len(), players, "one packet each, beside the snapshots");
}
