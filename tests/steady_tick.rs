//! What a steady tick may not do: allocate. Counted, not timed.

mod counting;
mod stage;

use stage::Stage;
use tidelock::metrics::{Counter, DropReason};

#[test]
fn a_thousand_warm_ticks_allocate_nothing() {
    let mut stage = Stage::new(300, 50);
    let opened = stage.shard.counters().read(Counter::PacketsOpened);
    let allocations = counting::allocations(|| {
        for _ in 0..1000 {
            stage.prepare_inputs();
            stage.take_in();
            stage.tick();
        }
    });
    assert_eq!(allocations, 0);
    let counters = stage.shard.counters();
    // The ticks were not idle: every packet was opened, most moved somebody and everybody was told.
    assert!(counters.read(Counter::PacketsOpened) - opened > 200_000, "{counters:?}");
    assert!(counters.read(Counter::EntriesSent) > 1_000_000, "{counters:?}");
    assert_eq!(counters.dropped(DropReason::Open), 0);
    assert_eq!(counters.dropped(DropReason::FalseAck), 0);
}
