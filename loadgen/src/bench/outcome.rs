//! What the rounds of a benchmark amount to: medians, ranges, efficiency.

use crate::floor::{FloorBackend, FloorRound};
use std::fmt::Write;
use tidelock::metrics::Quantiles;
use tidelock::report::{FloorReport, RunReport, ServerReport};
use tidelock::swarm::Conducted;

/// All rounds.
pub(super) struct Outcome {
    /// By number of shards, the first of which is what the floors are compared with.
    servers: Vec<(u16, Vec<Conducted>)>,
    floors: Vec<(FloorBackend, Vec<FloorRound>)>,
}

/// Median and range of one figure over the rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    median: f64,
    smallest: f64,
    largest: f64,
}

impl Spread {
    fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_unstable_by(f64::total_cmp);
        let (Some(&smallest), Some(&largest)) = (values.first(), values.last()) else {
            return Self { median: 0.0, smallest: 0.0, largest: 0.0 };
        };
        let upper = values.len() / 2;
        let lower = (values.len() - 1) / 2;
        Self { median: (values[lower] + values[upper]) / 2.0, smallest, largest }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.0} ns ({:.0} to {:.0})", self.median, self.smallest, self.largest)
    }
}

/// CPU time of the server per player-tick in one round.
fn server_ns(conducted: &Conducted) -> f64 {
    conducted.report.server.as_ref().map_or(0.0, |server| server.cpu_ns_per_player_tick)
}

pub(super) fn server_line(shards: u16, conducted: &Conducted) -> String {
    let client = &conducted.report.client;
    let tick = conducted.report.server.as_ref().map_or(0.0, |server| server.tick_us.p99 / 1000.0);
    format!(
        "server  {:.0} ns per player-tick, {shards} shards, tick p99 {tick:.2} ms, \
         latency p99 {:.1} ms, players' core {:.0} %",
        server_ns(conducted),
        client.latency_ms.p99,
        client.cpu_share * 100.0,
    )
}

pub(super) fn floor_line(backend: FloorBackend, round: &FloorRound) -> String {
    let mut line = format!(
        "floor   {:.0} ns per pair on {}, {:.0} pairs/s",
        round.ns_per_pair,
        backend.name(),
        round.pairs_per_s
    );
    if round.lost > 0 {
        let _ = write!(line, ", {} lost", round.lost);
    }
    if round.overruns > 0 {
        let _ = write!(line, ", {} overruns", round.overruns);
    }
    if round.saturated {
        line.push_str(", its players were the bottleneck");
    }
    line
}

impl Outcome {
    pub(super) fn new(shards: &[u16], backends: &[FloorBackend]) -> Self {
        let floors = backends.iter().map(|&backend| (backend, Vec::new())).collect();
        Self { servers: shards.iter().map(|&shards| (shards, Vec::new())).collect(), floors }
    }

    pub(super) fn add_server(&mut self, shards: u16, conducted: Conducted) {
        if let Some((_, rounds)) = self.servers.iter_mut().find(|(known, _)| *known == shards) {
            rounds.push(conducted);
        }
    }

    /// The rounds of the first number of shards.
    fn first(&self) -> &[Conducted] {
        self.servers.first().map_or(&[], |(_, rounds)| rounds)
    }

    pub(super) fn add_floor(&mut self, backend: FloorBackend, round: FloorRound) {
        if let Some((_, rounds)) = self.floors.iter_mut().find(|(known, _)| *known == backend) {
            rounds.push(round);
        }
    }

    fn server_spread(&self) -> Spread {
        Spread::of(self.first().iter().map(server_ns))
    }

    fn efficiency(&self, floor: &[FloorRound]) -> f64 {
        let server = self.server_spread().median;
        let floor = Spread::of(floor.iter().map(|round| round.ns_per_pair)).median;
        if server > 0.0 { floor / server } else { 0.0 }
    }

    pub(super) fn table(&self) -> String {
        let mut text = String::new();
        let players = self.first().first().map_or(0, |conducted| conducted.report.players);
        let rounds = self.first().len();
        let _ = writeln!(text, "{players} players, {rounds} rounds, median (range)");
        let first = self.server_spread().median;
        for (shards, rounds) in &self.servers {
            let spread = Spread::of(rounds.iter().map(server_ns));
            let _ = writeln!(text, "  {shards:>3} shards, per player-tick {spread}");
            let p99 = |of: fn(&ServerReport) -> Quantiles| {
                let reports = rounds.iter().filter_map(|round| round.report.server.as_ref());
                Spread::of(reports.map(|server| of(server).p99)).median
            };
            let (meeting, skew) = (p99(|server| server.meeting_us), p99(|server| server.skew_us));
            let more = (spread.median / first - 1.0) * 100.0;
            let _ = writeln!(
                text,
                "    {more:+.0} %; waiting for others p99 {meeting:.0} us, skew p99 {skew:.0} us"
            );
        }
        for (backend, rounds) in &self.floors {
            let spread = Spread::of(rounds.iter().map(|round| round.ns_per_pair));
            let efficiency = self.efficiency(rounds);
            let name = backend.name();
            let _ = writeln!(text, "  floor on {name:<8} per pair {spread}");
            let _ = writeln!(text, "    efficiency               {efficiency:.2}");
        }
        text
    }

    /// The report of the round whose server cost is nearest to the median, with the first floor.
    pub(super) fn report(&self) -> RunReport {
        let median = self.server_spread().median;
        let distance = |conducted: &&Conducted| (server_ns(conducted) - median).abs();
        let typical = self.first().iter().min_by(|a, b| distance(a).total_cmp(&distance(b)));
        let mut report = typical.expect("a benchmark has at least one round").report.clone();
        if let Some((backend, rounds)) = self.floors.first() {
            let spread = Spread::of(rounds.iter().map(|round| round.ns_per_pair));
            report.floor = Some(FloorReport {
                backend: backend.name().to_owned(),
                ns_per_pair: spread.median,
                range: [spread.smallest, spread.largest],
            });
            report.efficiency = Some(self.efficiency(rounds));
        }
        report
    }

    /// What is no fault and makes figures incomparable all the same.
    pub(super) fn notes(&self) -> Vec<String> {
        self.servers.iter().flat_map(|(_, rounds)| rounds).flat_map(Conducted::notes).collect()
    }

    /// What makes the comparison worth less, a sentence each.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults: Vec<String> = self
            .servers
            .iter()
            .flat_map(|(_, rounds)| rounds)
            .flat_map(Conducted::faults)
            .collect();
        for (backend, rounds) in &self.floors {
            if rounds.iter().any(|round| round.saturated) {
                let name = backend.name();
                faults.push(format!("the players of the floor on {name} were the bottleneck"));
            }
        }
        faults.sort();
        faults.dedup();
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_two_in_the_middle() {
        let spread = Spread::of([4.0, 1.0, 3.0, 10.0]);
        assert_eq!(spread, Spread { median: 3.5, smallest: 1.0, largest: 10.0 });
        assert_eq!(Spread::of([7.0]).median, 7.0);
        assert_eq!(Spread::of([]).median, 0.0);
    }
}
