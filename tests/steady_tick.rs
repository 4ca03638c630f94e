//! What a steady tick may not do: allocate. Counted, not timed.

mod counting;
mod stage;

use stage::{Setup, Stage};
use tidelock::config::{InterestConfig, SpawnRule};
use tidelock::metrics::{Counter, DropReason};
use tidelock::shard::{Answer, Question};
use tidelock::units::EntityId;

fn thousand_ticks(astray: usize) {
    let mut stage = Stage::new(SpawnRule::Uniform, 300, 50, 2);
    stage.astray = astray;
    stage.exchange_mail();
    let sum = |stage: &Stage, counter| -> u64 {
        stage.desks.iter().map(|desk| desk.shard.counters().read(counter)).sum()
    };
    let opened = sum(&stage, Counter::PacketsOpened);
    let allocations = counting::allocations(|| {
        for _ in 0..1000 {
            stage.prepare_inputs();
            stage.take_in();
            // Nothing is told, and no allocation either.
            assert!(stage.exchange_mail().is_empty());
            stage.tick();
        }
    });
    assert_eq!(allocations, 0);
    // The ticks were not idle: every packet was opened, most moved somebody and everybody was told.
    assert!(sum(&stage, Counter::PacketsOpened) - opened > 200_000);
    assert!(sum(&stage, Counter::EntriesSent) > 1_000_000);
    assert_eq!(sum(&stage, Counter::Forwarded), 300_000 * astray as u64);
    for desk in &stage.desks {
        assert_eq!(desk.shard.counters().dropped(DropReason::Open), 0);
        assert_eq!(desk.shard.counters().dropped(DropReason::FalseAck), 0);
        assert_eq!(desk.shard.counters().dropped(DropReason::QueueFull), 0);
    }
}

#[test]
fn a_thousand_warm_ticks_allocate_nothing() {
    thousand_ticks(0);
}

#[test]
fn a_thousand_ticks_with_every_datagram_at_the_wrong_socket_allocate_nothing() {
    thousand_ticks(1);
}

#[test]
fn a_thousand_ticks_with_reliable_messages_both_ways_allocate_nothing() {
    // So close that somebody with a name comes into sight, or leaves it, all the time.
    let interest = InterestConfig { player: 1_500.0, ..InterestConfig::default() };
    let (players, spawn) = (300, SpawnRule::Plaza);
    let captures = false;
    let setup = Setup { seed: 1, spawn, interest, players, seats: players, shards: 2, captures };
    let mut stage = Stage::build(setup);
    let entities: Vec<_> =
        stage.desks.iter().flat_map(|desk| desk.shard.world().columns().ids.to_vec()).collect();
    for desk in &mut stage.desks {
        for entity in entities.iter().filter(|&&entity| entity != EntityId::NONE) {
            let name = format!("{entity:?}, who has come from afar");
            desk.shard.describe(*entity, name.as_bytes()).expect("few and short");
        }
    }
    stage.prepare_inputs();
    stage.take_in();
    stage.tick();
    stage.open_reliable();
    let play = |stage: &mut Stage, ticks: usize| {
        for turn in 0..ticks {
            stage.prepare_inputs();
            stage.prepare_game_data(turn);
            stage.take_in();
            stage.tick();
        }
    };
    play(&mut stage, 300);
    stage.exchange_mail();
    let sum = |stage: &Stage, counter| -> u64 {
        stage.desks.iter().map(|desk| desk.shard.counters().read(counter)).sum()
    };
    let before = [Counter::MessagesIn, Counter::MessagesOut].map(|it| sum(&stage, it));
    let allocations = counting::allocations(|| play(&mut stage, 1_000));
    assert_eq!(allocations, 0);
    let after = [Counter::MessagesIn, Counter::MessagesOut].map(|it| sum(&stage, it));
    let [heard, said] = [0, 1].map(|it| after[it] - before[it]);
    assert_eq!(heard, 100_000, "each of them once");
    assert!(said > 10_000, "{said} messages to players");
    assert_eq!(sum(&stage, Counter::MessagesAgain), 0, "nothing was lost");
    assert!(stage.exchange_mail().is_empty());
    for desk in &stage.desks {
        let counters = desk.shard.counters();
        assert_eq!(counters.dropped_total(), 0, "{counters:?}");
    }
}

#[test]
fn to_explain_what_players_are_told_allocates_nothing_on_the_shard() {
    let mut stage = Stage::new(SpawnRule::Plaza, 300, 50, 2);
    let entities = stage.desks[1].shard.world().columns().ids.to_vec();
    let mut question = Some(Box::<Question>::default());
    let mut answered = 0;
    let allocations = counting::allocations(|| {
        for (round, &entity) in entities.iter().enumerate() {
            stage.prepare_inputs();
            stage.take_in();
            let mut asked = question.take().expect("it came back");
            asked.session = stage.bots[round % 2].id;
            asked.entity = (round % 3 > 0).then_some(entity);
            let explained = stage.explain(round % 2, asked);
            assert_eq!(explained.answer, Answer::Explained);
            answered += explained.explanation.entities().len();
            question = Some(explained);
        }
    });
    assert_eq!(allocations, 0);
    assert!(answered > 50 * 128, "a crowd was explained: {answered}");
    let mut stray = question.expect("it came back");
    stray.session = stage.bots[0].id;
    assert_eq!(stage.explain(1, stray).answer, Answer::NotHere);
}
