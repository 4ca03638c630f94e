//! What a steady tick may not do: allocate. Counted, not timed.

mod counting;
mod stage;

use stage::Stage;
use tidelock::config::SpawnRule;
use tidelock::metrics::{Counter, DropReason};
use tidelock::shard::{Answer, Question};

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
