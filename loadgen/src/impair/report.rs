//! What a relay did and what its players noticed, as text for people and as JSON.

use super::profile::{Profile, Rebind};
use super::relay::Deeds;
use serde::Serialize;
use std::fmt::Write;
use tidelock::metrics::Quantiles;

/// Seconds within which every player has to be in the world.
const JOIN_LIMIT_S: f64 = 10.0;
/// Longest silence after a change of address, milliseconds.
const GAP_LIMIT_MS: f64 = 500.0;

/// What a relay was told and did.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RelayReport {
    pub(crate) profile: String,
    /// The profile with what was overridden.
    pub(crate) settings: Profile,
    pub(crate) seed: u64,
    pub(crate) deeds: Deeds,
}

impl RelayReport {
    pub(crate) fn table(&self) -> String {
        let Deeds { up, down, .. } = &self.deeds;
        let mut text = format!("{}, seed {}\n", self.profile, self.seed);
        let _ = writeln!(text, "  {:<24}{:>12}{:>12}", "", "up", "down");
        for ((name, up), (_, down)) in up.rows().into_iter().zip(down.rows()) {
            let _ = writeln!(text, "  {name:<24}{up:>12}{down:>12}");
        }
        let deeds = &self.deeds;
        for (name, count) in [
            ("clients", deeds.clients),
            ("changes of port", deeds.port_changes),
            ("changes of address", deeds.address_changes),
            ("sent to where nobody is", deeds.left_behind),
            ("no room for the client", deeds.no_room_for_client),
            ("no room on the way", deeds.no_room_on_the_way),
            ("from elsewhere", deeds.foreign),
            ("lost by the kernel", deeds.kernel_lost),
        ] {
            let _ = writeln!(text, "  {name:<24}{count:>12}");
        }
        text
    }
}

/// What came of one profile.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct TrialReport {
    pub(crate) network: RelayReport,
    /// Players that began to join, and those that were in the world in the end of that.
    pub(crate) players: u32,
    pub(crate) joined: u32,
    /// Seconds until the last of these had joined, to a twentieth.
    pub(crate) slowest_join_s: f64,
    /// Players that were gone before the end.
    pub(crate) disconnected: u32,
    /// From an input to the snapshot that shows it.
    pub(crate) latency_ms: Quantiles,
    /// Longest time that a player waited for his next snapshot.
    pub(crate) longest_gap_ms: f64,
    /// Packets that the server dropped as replays, and second copies that it was sent.
    pub(crate) replay_drops: u64,
    pub(crate) second_copies: u64,
    /// Packets that broke the rules of the protocol, at the players.
    pub(crate) decode_errors: u64,
}

/// The head of the table whose lines are [`TrialReport::line`].
pub(crate) fn trial_head() -> String {
    "profile          joined  slowest  gone   latency p50/p99/max ms    gap ms   replay  changes"
        .to_owned()
}

impl TrialReport {
    /// Packets dropped as replays that were none. A wrong bit in a sequence can make a replay of a
    /// packet, so damaged ones are given the benefit of the doubt.
    pub(crate) fn false_replays(&self) -> u64 {
        let real = self.second_copies + self.network.deeds.up.corrupted;
        self.replay_drops.saturating_sub(real)
    }

    pub(crate) fn line(&self) -> String {
        let Quantiles { p50, p99, max, .. } = self.latency_ms;
        let Deeds { port_changes, address_changes, .. } = self.network.deeds;
        format!(
            "{:<14} {:>4}/{:<4} {:>6.2} s {:>5}   {p50:>7.1}/{p99:>7.1}/{max:>7.1} {:>10.0} {:>8} \
             {:>8}",
            self.network.profile,
            self.joined,
            self.players,
            self.slowest_join_s,
            self.disconnected,
            self.longest_gap_ms,
            self.false_replays(),
            port_changes + address_changes,
        )
    }

    /// What was not as it should be, a sentence each.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let (joined, players) = (self.joined, self.players);
        if joined < players {
            faults.push(format!("{joined} of {players} players joined"));
        }
        if self.slowest_join_s > JOIN_LIMIT_S {
            let slowest = self.slowest_join_s;
            faults
                .push(format!("a player needed {slowest:.1} s to join, more than {JOIN_LIMIT_S}"));
        }
        if self.disconnected > 0 {
            faults.push(format!("{} players were disconnected", self.disconnected));
        }
        if self.false_replays() > 0 {
            faults.push(format!("{} packets were taken for replays", self.false_replays()));
        }
        if self.decode_errors > 0 {
            faults.push(format!("{} packets broke the rules", self.decode_errors));
        }
        let Deeds { port_changes, address_changes, .. } = self.network.deeds;
        let (moves, gap) = (self.network.settings.rebind != Rebind::None, self.longest_gap_ms);
        if moves && port_changes + address_changes == 0 {
            faults.push("no address changed: measure for longer".to_owned());
        }
        if moves && gap > GAP_LIMIT_MS {
            faults.push(format!("a change of address took {gap:.0} ms, more than {GAP_LIMIT_MS}"));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::super::profile;
    use super::*;

    #[test]
    fn what_is_not_held_is_named_and_what_is_not_asked_of_a_profile_is_not() {
        let settings = profile::named("rebind-port").expect("known");
        let deeds = Deeds { port_changes: 3, ..Deeds::default() };
        let network = RelayReport { profile: "rebind-port".to_owned(), settings, seed: 1, deeds };
        let good = TrialReport {
            network,
            players: 50,
            joined: 50,
            slowest_join_s: 0.4,
            disconnected: 0,
            latency_ms: Quantiles::default(),
            longest_gap_ms: 120.0,
            replay_drops: 4,
            second_copies: 4,
            decode_errors: 0,
        };
        assert_eq!(good.faults(), [""; 0]);
        let bad = TrialReport {
            joined: 49,
            slowest_join_s: 10.5,
            disconnected: 1,
            longest_gap_ms: 501.0,
            replay_drops: 5,
            decode_errors: 2,
            ..good.clone()
        };
        assert_eq!(bad.faults().len(), 6, "{:?}", bad.faults());
        let mut still = bad;
        still.network.settings = profile::named("handshakeloss").expect("known");
        assert_eq!(still.faults().len(), 5, "a gap without a change is no fault");
        let mut idle = good;
        idle.network.deeds.port_changes = 0;
        assert_eq!(idle.faults().len(), 1, "a run without a change shows nothing");
        assert!(idle.network.table().contains("lost in bursts"));
    }
}
