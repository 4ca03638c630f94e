//! What is counted at the end of a simulation of moves, and what is expected of it.

use super::Simulation;
use tidelock::client::State;
use tidelock::metrics::{Counter, DropReason};

impl Simulation {
    pub(crate) fn read(&self, counter: Counter) -> u64 {
        self.tables.iter().map(|table| table.counters.read(counter)).sum()
    }

    pub(crate) fn dropped(&self, reason: DropReason) -> u64 {
        self.tables.iter().map(|table| table.counters.dropped(reason)).sum()
    }

    /// Of the client's packets that reached the server, how many did not count.
    pub(crate) fn missing(&self) -> u64 {
        let reached: usize = self.players.iter().map(|player| player.reached.len()).sum();
        reached as u64 - self.read(Counter::PacketsOpened)
    }

    pub(crate) fn check_drops(&self, expected: &[DropReason]) {
        for &reason in DropReason::ALL.iter().filter(|reason| !expected.contains(reason)) {
            assert_eq!(self.dropped(reason), 0, "{}", reason.name());
        }
    }

    pub(crate) fn check_players(&self, hand_overs: u32, percent: usize) {
        for player in &self.players {
            assert_eq!(player.client.state(), State::InWorld);
            assert!(player.hand_overs >= hand_overs, "{}", player.hand_overs);
            let (all, applied) = (player.ticks.len(), player.applied.len());
            assert!(applied * 100 > all * percent, "{applied} snapshots of {all} applied");
            let acked = player.acked.len();
            assert!(acked * 100 > all * percent, "{acked} snapshots of {all} acknowledged");
            let sent = player.client.next_input() - 1;
            assert!(sent - player.newest_input <= 5, "{} of {sent}", player.newest_input);
        }
    }
}
