//! What the bots of one thread receive: checked, counted, and turned into latencies.

use super::Engine;
use crate::client::{Event, State};
use crate::limits::{DATAGRAM_MIN, TIMEOUT_MS};
use std::time::Duration;

/// Inputs that one snapshot may acknowledge at a time, as far as their latency is recorded: what
/// became due within a timeout, at 120 a second.
const MAX_CATCH_UP: usize = (TIMEOUT_MS / 1000 * 120) as usize;

impl Engine {
    /// Takes in what has arrived; true if there is more.
    pub(super) fn receive(&mut self) -> Result<bool, String> {
        let Self { port, players, addressing, schedule, scratch, totals, recent, .. } = self;
        let (clock, config) = (self.clock, &self.config);
        let (closed, first_close) = (&mut self.closed, &mut self.first_close);
        let report = port.receive(Duration::ZERO, &mut |batch| {
            let now = clock.now();
            for datagram in batch {
                totals.datagrams_in += 1;
                totals.bytes_in += datagram.payload.len() as u64;
                let index = addressing.index(datagram.local, datagram.payload);
                let found = index.and_then(|index| players.get_mut(index as usize));
                let (Some(index), Some(player)) = (index, found) else {
                    totals.strays += 1;
                    continue;
                };
                let plaintext = datagram.payload.len().saturating_sub(DATAGRAM_MIN);
                match player.client.handle_datagram(now, datagram.payload, scratch) {
                    Ok(Event::Snapshot(applied)) => {
                        totals.count_applied(&applied, plaintext, config.budget);
                        // Input s was due `s − 1` rounds after the first.
                        let newly = applied.previous_input..applied.last_processed_input;
                        for before in newly.take(MAX_CATCH_UP) {
                            let round = player.first_round.wrapping_add(before);
                            recent.record(now.since(schedule.intended(index, round)));
                        }
                    }
                    Ok(Event::Accepted { .. }) => {
                        if let Some(connection) = player.client.connection() {
                            addressing.learn(connection, index);
                        }
                    }
                    Ok(Event::Stale) => totals.stale_snapshots += 1,
                    Ok(Event::Closed) if player.in_world => {
                        player.in_world = false;
                        *closed += 1;
                        if let State::Closed(reason) = player.client.state() {
                            first_close.get_or_insert(reason);
                        }
                    }
                    Ok(Event::Closed | Event::Nothing | Event::Advice { .. })
                    | Ok(Event::Confirmed) => {}
                    Err(reason) => totals.errors[reason as usize] += 1,
                }
            }
        });
        let report = report.map_err(|error| format!("cannot receive: {error}"))?;
        self.totals.kernel_drops += report.kernel_drops;
        Ok(report.more)
    }
}
