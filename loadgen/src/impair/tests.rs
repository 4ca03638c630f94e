//! Profiles in short, on a real server with few players: nobody may get lost or be taken for
//! somebody else, however slow the machine is. Times are for `loadgen impair --players` itself.

use super::profile::{self, Profile};
use super::relay::RelayConfig;
use super::report::TrialReport;
use super::trial::{self, Trial};
use crate::server::LocalServer;

/// Nobody has to be as quick in a test as the figures say, but the stream must come back.
const GAP_MAX_MS: f64 = 2_500.0;

/// Tries `name` with ten players, with changes to the profile.
fn tried(name: &str, change: impl FnOnce(&mut Profile)) -> TrialReport {
    let server = LocalServer::start(name);
    let mut profile = profile::named(name).expect("known");
    change(&mut profile);
    let target = server.target();
    let (address, seed) = (target.address, 1);
    let relay =
        RelayConfig { server: address, listen: 0, profile, seed, clients: 64, under_way: 8_192 };
    let report = trial::on(&target, Trial { players: 10, seconds: 4, seed }, name, relay);
    let report = report.expect("it runs");
    server.end();
    let what = (report.joined, report.disconnected, report.false_replays(), report.decode_errors);
    assert_eq!(what, (10, 0, 0, 0), "{name}, seed {seed}: {report:?}");
    report
}

#[test]
fn players_join_and_stay_where_a_third_of_the_datagrams_is_lost_in_bursts() {
    let report = tried("handshakeloss", |_| {});
    assert!(report.network.deeds.up.lost_in_bursts > 100, "{report:?}");
}

#[test]
fn nothing_is_taken_for_a_replay_that_comes_up_to_half_a_second_late() {
    let report = tried("reorder", |_| {});
    assert!(report.network.deeds.up.reordered > 100, "{report:?}");
    assert_eq!(report.replay_drops, 0, "{report:?}");
}

#[test]
fn second_copies_are_dropped_and_damaged_packets_harm_nobody() {
    let report = tried("soak", |profile| profile.up.duplicate = 0.2);
    assert!(report.network.deeds.down.corrupted > 0, "{report:?}");
    assert!(report.replay_drops > 50, "a copy is a replay: {report:?}");
}

#[test]
fn no_packet_is_too_large_for_a_path_of_1280_bytes() {
    let report = tried("blackhole", |_| {});
    let deeds = report.network.deeds;
    assert_eq!((deeds.up.too_large, deeds.down.too_large), (0, 0));
}

fn every_change_is_survived(name: &str) {
    let report = tried(name, |profile| profile.rebind_every_ms = 1_500);
    let deeds = report.network.deeds;
    assert!(deeds.port_changes + deeds.address_changes >= 20, "{report:?}");
    assert!(deeds.left_behind > 0, "the old place is nowhere: {report:?}");
    assert!(report.longest_gap_ms < GAP_MAX_MS, "{report:?}");
}

#[test]
fn players_go_on_from_another_port() {
    every_change_is_survived("rebind-port");
}

#[test]
fn players_go_on_from_another_address() {
    every_change_is_survived("rebind-addr");
}
