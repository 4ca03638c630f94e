//! What a steady tick may not do: allocate. Counted, not timed.

mod counting;
mod stage;

use stage::Stage;
use tidelock::config::SpawnRule;
use tidelock::metrics::{Counter, DropReason};

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
