//! Runs as text for people: one line a second, and a table at the end.

use super::conduct::{Conducted, Moment, Progress};
use crate::metrics::{Counter, Quantiles};
use crate::report::replication::ReplicationReport;
use crate::shard::rung_name;
use std::fmt::Write;

/// The figures of the last second on one line of at most 120 characters.
pub fn live_line(progress: &Progress) -> String {
    let Progress { moment, elapsed_s, players, live, .. } = progress;
    let moment = match moment {
        Moment::Joining => "joining",
        Moment::WarmUp => "warm-up",
        Moment::Measuring => "measure",
    };
    let mut line = format!(
        "{moment} {elapsed_s:4.0} s  {:5}/{players} players  {:6.0} in/s  {:6.0} out/s",
        live.in_world, progress.out_per_s, progress.in_per_s
    );
    let latency = &live.latency_ms;
    let _ = write!(line, "  latency {:.1}/{:.1}/{:.1} ms", latency.p50, latency.p99, latency.max);
    if let Some(server) = &progress.server {
        let tick = &server.tick_us;
        let [p50, p99, max] = [tick.p50, tick.p99, tick.max].map(|us| us / 1000.0);
        let _ = write!(line, "  tick {p50:.1}/{p99:.1}/{max:.1} ms");
    }
    let rung = progress.server.as_ref().map_or(0, |server| server.counter(Counter::Rung));
    if rung > 0 {
        let _ = write!(line, "  SHED {}", rung_name(rung));
    }
    let lost = progress.server_second.as_ref().map_or(0, |server| server.lost);
    let errors = live.totals.decode_errors();
    let _ = write!(line, "  gen {:.0} %", progress.cpu_share * 100.0);
    if lost + errors > 0 {
        let _ = write!(line, "  LOST {lost} ERRORS {errors}");
    }
    line
}

/// The figures of a run as a table.
pub fn table(run: &Conducted) -> String {
    let (report, window) = (&run.report, &run.swarm.window);
    let client = &report.client;
    let seconds = report.seconds.max(1e-9);
    let mut rows = Rows::default();
    rows.head(&format!(
        "{} players, {}, {:.1} s measured",
        report.connected, report.profile, report.seconds
    ));
    if let Some(server) = &report.server {
        rows.row("server: shards", server.shards.to_string());
        rows.row("server: datagrams in", format!("{:.0} /s", server.in_per_s));
        rows.row("server: datagrams out", format!("{:.0} /s", server.out_per_s));
        rows.row("server: tick", milliseconds(&server.tick_us, 1000.0));
        rows.row("server: overruns", server.overruns.to_string());
        let cpu = server.cpu_ns_per_player_tick;
        let shed = format!("{:.1} %", server.shed_share * 100.0);
        rows.row("server: ticks that shed load", shed);
        rows.row("server: CPU per player-tick", format!("{cpu:.0} ns"));
        let bytes = server.bytes_out_per_player_s;
        rows.row("server: bytes to a player", format!("{:.1} kB/s", bytes / 1000.0));
        rows.row("server: visible, mean", format!("{:.1}", server.visible_mean));
        rows.replication(&server.replication);
        rows.row("server: lost", server.lost.to_string());
        for (reason, count) in &server.dropped {
            rows.row(&format!("server: dropped, {reason}"), count.to_string());
        }
    } else {
        rows.row("server", "not asked: no admin socket".to_owned());
    }
    rows.row("input to snapshot", milliseconds(&client.latency_ms, 1.0));
    rows.row("inputs", format!("{:.0} /s", client.inputs as f64 / seconds));
    rows.row("snapshots", format!("{:.0} /s", client.snapshots as f64 / seconds));
    let per_snapshot = |count: u64| count as f64 / (client.snapshots as f64).max(1.0);
    rows.row(
        "entries in a snapshot",
        format!(
            "{:.1}, {:.2} of them full",
            per_snapshot(window.entries),
            per_snapshot(window.full_entries)
        ),
    );
    let deltas = (window.entries - window.full_entries) as f64;
    let age = window.age_sum as f64 / deltas.max(1.0);
    rows.row("age of a baseline", format!("{age:.2} ticks"));
    rows.row("bytes of a snapshot", format!("{:.0}", per_snapshot(window.body_bytes)));
    rows.row("decode errors", client.decode_errors.to_string());
    rows.row("lost to players", client.lost.to_string());
    let unknown = || "unknown".to_owned();
    rows.row("lost to the server", client.lost_to_server.map_or_else(unknown, |n| n.to_string()));
    if window.rebinds > 0 {
        rows.row("changes of address", window.rebinds.to_string());
        rows.row("lost at former addresses", window.left_behind.to_string());
        rows.row("gaps of more than 30 ticks", window.long_gaps.to_string());
    }
    for (name, count) in &client.faults {
        rows.row(&format!("counted: {name}"), count.to_string());
    }
    let late = client.late_sends;
    rows.row("generator: late sends", format!("{late} of {}", client.inputs));
    let (share, cpu) = (client.cpu_share * 100.0, client.cpu_ns_per_player_tick);
    rows.row("generator: CPU", format!("{share:.0} %, {cpu:.0} ns per player-tick"));
    let memory = run.swarm.client_bytes as f64 / 1024.0 / f64::from(report.connected.max(1));
    rows.row("generator: memory of a client", format!("{memory:.1} KiB"));
    rows.text
}

fn milliseconds(quantiles: &Quantiles, per_ms: f64) -> String {
    let Quantiles { p50, p99, p999, max } = *quantiles;
    let [p50, p99, p999, max] = [p50, p99, p999, max].map(|value| value / per_ms);
    format!("p50 {p50:.2}  p99 {p99:.2}  p99.9 {p999:.2}  max {max:.2} ms")
}

#[derive(Default)]
struct Rows {
    text: String,
}

impl Rows {
    fn head(&mut self, title: &str) {
        let _ = writeln!(self.text, "{title}");
    }

    fn replication(&mut self, told: &ReplicationReport) {
        let [hits, saving, total] =
            [told.hit_rate, told.saving, told.saving_total].map(|share| share * 100.0);
        let (bits, updates) = (told.bits_per_update, told.updates_per_s / 1000.0);
        self.row("server: updates", format!("{bits:.1} bits each, {updates:.0} thousand/s"));
        let saved = format!("{saving:.0} % of full states, {total:.0} % of all in sight each tick");
        self.row("server: saved by deltas", saved);
        let pair = told.ns_per_pair;
        self.row("server: per viewer and entity", format!("{pair:.1} ns, {hits:.1} % copied"));
        let age = &told.mean_age_ms;
        let ages = [age.near, age.middle, age.far, age.stationary].map(|ms| format!("{ms:.1}"));
        self.row(
            "server: age of what was told",
            format!("near {} middle {} far {} at rest {} ms", ages[0], ages[1], ages[2], ages[3]),
        );
    }

    fn row(&mut self, name: &str, value: String) {
        let _ = writeln!(self.text, "  {name:<32} {value}");
    }
}
