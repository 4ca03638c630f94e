//! What the bots of one thread receive: checked, counted, and turned into latencies.

use super::{Engine, Place, Player};
use crate::client::{Event, Hint};
use crate::host::entropy::OsEntropy;
use crate::kernel::prefetch::prefetch;
use crate::limits::{DATAGRAM_MIN, TIMEOUT_MS};
use crate::net::BATCH;
use crate::time::{Entropy, Nanos};
use std::time::Duration;

/// Inputs that one snapshot may acknowledge at a time, as far as their latency is recorded: what
/// became due within a timeout, at 120 a second.
const MAX_CATCH_UP: usize = (TIMEOUT_MS / 1000 * 120) as usize;

/// Datagrams ahead of the current one whose clients' tables, and whose clients' states, are
/// fetched.
const FAR: usize = 4;
const NEAR: usize = 2;

impl Engine {
    /// Takes in what has arrived; true if there is more.
    pub(super) fn receive(&mut self) -> Result<bool, String> {
        let Self { port, players, addressing, schedule, scratch, totals, recent, .. } = self;
        let (clock, config) = (self.clock, &self.config);
        let (standing, nudged, laps) = (&mut self.standing, &mut self.nudged, &mut self.laps);
        let report = port.receive(Duration::ZERO, &mut |batch| {
            let now = clock.now();
            let mut indices = [None; BATCH];
            for (index, datagram) in indices.iter_mut().zip(&*batch) {
                *index = addressing.index(datagram.payload);
            }
            for (at, datagram) in batch.iter_mut().enumerate() {
                anticipate(players, &indices, at);
                totals.datagrams_in += 1;
                totals.bytes_in += datagram.payload.len() as u64;
                let index = indices[at];
                let found = index.and_then(|index| players.get_mut(index as usize));
                let (Some(index), Some(player)) = (index, found) else {
                    totals.strays += 1;
                    continue;
                };
                // Whoever is named must also be whom it was sent to.
                if player.source != datagram.local {
                    let has_left = player.former == datagram.local;
                    totals.left_behind += u64::from(has_left);
                    totals.strays += u64::from(!has_left);
                    continue;
                }
                let plaintext = datagram.payload.len().saturating_sub(DATAGRAM_MIN);
                match player.client.handle_datagram(now, datagram.payload, scratch) {
                    Ok(Event::Snapshot(applied)) => {
                        totals.count_applied(&applied, plaintext, config.budget);
                        if player.told_at > Nanos(0) {
                            laps.note_gap(now.since(player.told_at));
                        }
                        player.told_at = now;
                        // Input s was due `s − 1` rounds after the first.
                        let newly = applied.previous_input..applied.last_processed_input;
                        for before in newly.take(MAX_CATCH_UP) {
                            let round = player.first_round.wrapping_add(before);
                            recent.record(now.since(schedule.intended(player.turn, round)));
                        }
                    }
                    Ok(Event::Accepted { .. }) => {
                        if let Some(connection) = player.client.connection() {
                            addressing.learn(connection, index);
                        }
                    }
                    Ok(Event::Moved(connection)) => addressing.learn(connection, index),
                    Ok(Event::Stale) => totals.stale_snapshots += 1,
                    Ok(Event::Closed) => standing.settle(player),
                    Ok(Event::RekeyRequested) => {
                        player.client.answer_rekey(OsEntropy.bytes(), now);
                        nudged.push(index);
                    }
                    Ok(Event::Advice(denied)) => standing.note_denial(denied.reason),
                    Ok(Event::Confirmed | Event::Ticket | Event::Nothing) => {}
                    Ok(Event::Updated(_) | Event::Benchmark(_)) => {}
                    Err(reason) => totals.errors[reason as usize] += 1,
                }
                if player.place == Place::OnTheWay {
                    standing.settle(player);
                    nudged.push(index);
                }
            }
        });
        let report = report.map_err(|error| format!("cannot receive: {error}"))?;
        self.totals.kernel_drops += report.kernel_drops;
        Ok(report.more)
    }
}

/// The processor's prefetch.
struct Prefetch;

impl Hint for Prefetch {
    #[inline]
    fn soon<T>(&self, values: &[T]) {
        prefetch(values);
    }
}

/// Asks for the memory of the clients that come after the one at `at`.
#[inline]
fn anticipate(players: &[Player], indices: &[Option<u32>; BATCH], at: usize) {
    let ahead = |distance: usize| {
        let index = indices.get(at + distance).copied().flatten();
        index.and_then(|index| players.get(index as usize))
    };
    if let Some(player) = ahead(FAR) {
        player.client.anticipate(&Prefetch);
    }
    if let Some(player) = ahead(NEAR) {
        player.client.anticipate_states(&Prefetch);
    }
}
