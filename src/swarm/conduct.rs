//! A whole run: the bots join, warm up, are measured, leave; then the counts of both sides are
//! compared. The same for `demo` and for `loadgen run`.

use super::SwarmConfig;
use super::board::{Live, Stage};
use super::crew::{Crew, SwarmReport};
use crate::admin::Request;
use crate::client::CloseReason;
use crate::host::clock::Clock;
use crate::host::facts::{COMMIT, HostFacts};
use crate::metrics::{Counter, Quantiles};
use crate::report::{ClientReport, RunReport, SCHEMA, ServerReport, Stats};
use crate::time::Nanos;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Time between two looks at the swarm.
const LOOK: Duration = Duration::from_millis(50);
/// Time beyond the ramp itself after which bots that have not joined are given up.
const JOIN_PATIENCE_S: f64 = 20.0;
/// A server that has answered nobody by then will not.
const SILENCE: Nanos = Nanos::from_ms(5_000);
/// Latency that the product promises for 99 of 100 inputs, milliseconds.
const LATENCY_LIMIT_MS: f64 = 50.0;

/// How long the parts of a run last.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// From the last bot's arrival to the measured window.
    pub warm_up: Duration,
    /// The measured window.
    pub measure: Duration,
}

/// What is going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Bots join.
    Joining,
    /// All have joined; nothing is measured yet.
    WarmUp,
    /// The measured window.
    Measuring,
}

/// The figures of the last second.
#[derive(Clone, Debug)]
pub struct Progress {
    /// What is going on.
    pub moment: Moment,
    /// Seconds since this moment began.
    pub elapsed_s: f64,
    /// Bots of this run.
    pub players: u32,
    /// Counts since the start.
    pub live: Live,
    /// Inputs sent per second.
    pub inputs_per_s: f64,
    /// Datagrams sent per second.
    pub out_per_s: f64,
    /// Datagrams received per second.
    pub in_per_s: f64,
    /// Share of a core used by all threads together.
    pub cpu_share: f64,
    /// The state of the server, if it can be asked.
    pub server: Option<Stats>,
    /// What the server did since the last progress.
    pub server_second: Option<ServerReport>,
}

/// A finished run.
#[derive(Clone, Debug)]
pub struct Conducted {
    /// What goes into a JSON file.
    pub report: RunReport,
    /// The players' side in detail.
    pub swarm: SwarmReport,
    /// Bots that were gone before the end, and why the first was.
    pub closed: u32,
    /// Why the first bot was gone.
    pub first_close: Option<CloseReason>,
}

/// How to ask the server; `None` if it cannot be asked.
pub type AskServer<'a> = &'a mut dyn FnMut(Request) -> Option<Stats>;

/// Runs a swarm from the first Connect to the last goodbye. `on_progress` is called every second;
/// `stop` ends the run early, with the figures of what was measured until then.
///
/// # Errors
/// If the swarm cannot run, or is stopped before anything was measured.
pub fn conduct(
    config: &SwarmConfig,
    cores: &[usize],
    plan: Plan,
    ask: AskServer<'_>,
    stop: &AtomicBool,
    on_progress: &mut dyn FnMut(&Progress),
) -> Result<Conducted, String> {
    let before = ask(Request::Stats);
    let crew = Crew::launch(config, cores)?;
    let mut watch = Watch::new(&crew, config.players, stop, before.clone());
    let ramp_s = f64::from(config.players) / f64::from(config.connects_per_s.max(1));
    let patience = Duration::from_secs_f64(ramp_s + JOIN_PATIENCE_S);
    let (everybody, clock) = (config.players, Clock::start());
    watch.look_on(Moment::Joining, patience, ask, on_progress, &|live| {
        let deaf = live.totals.datagrams_in == 0 && clock.now() > SILENCE;
        deaf || live.settled() >= everybody
    });
    let joined = crew.live();
    if joined.in_world == 0 {
        let stopped = watch.is_stopped();
        crew.finish()?;
        return Err(if stopped {
            "stopped before anybody had joined".to_owned()
        } else {
            nobody_joined(config, &joined)
        });
    }
    watch.look_on(Moment::WarmUp, plan.warm_up, ask, on_progress, &|_| false);
    let window_start = ask(Request::Mark);
    crew.advance(Stage::Measure);
    watch.look_on(Moment::Measuring, plan.measure, ask, on_progress, &|_| false);
    crew.advance(Stage::Hold);
    let window_end = ask(Request::Stats);
    let last = crew.live();
    let swarm = crew.finish()?;
    let after = ask(Request::Stats);
    let server = match (&window_start, &window_end) {
        (Some(start), Some(end)) => Some(end.since(start)),
        _ => None,
    };
    let client = client_report(&swarm, before.as_ref().zip(after.as_ref()));
    let report = RunReport {
        schema: SCHEMA.to_owned(),
        host: HostFacts::collect(),
        commit: COMMIT.to_owned(),
        profile: config.profile.name().to_owned(),
        players: config.players,
        seconds: swarm.window_s,
        tick_hz: window_end.map_or(0, |stats| stats.tick_hz),
        connected: joined.in_world,
        server,
        client,
        floor: None,
        efficiency: None,
    };
    Ok(Conducted { report, swarm, closed: last.closed, first_close: last.first_close })
}

impl Conducted {
    /// What is no fault and makes figures incomparable all the same, a sentence each.
    pub fn notes(&self) -> Vec<String> {
        let shed = self.report.server.as_ref().map_or(0.0, |server| server.shed_share * 100.0);
        let sheds = shed > 0.0;
        let note =
            format!("the server shed load in {shed:.1} % of its ticks, see the overload ladder");
        sheds.then_some(note).into_iter().collect()
    }

    /// What kept the run from being clean, a sentence each; empty if it was.
    pub fn faults(&self) -> Vec<String> {
        let (report, client) = (&self.report, &self.report.client);
        let mut faults = Vec::new();
        let mut fault = |happened: bool, sentence: String| {
            if happened {
                faults.push(sentence);
            }
        };
        let (connected, players) = (report.connected, report.players);
        fault(connected < players, format!("only {connected} of {players} players joined"));
        let why = self.first_close.map_or_else(String::new, |reason| format!(" ({reason})"));
        fault(self.closed > 0, format!("{} players were gone before the end{why}", self.closed));
        let errors = client.decode_errors;
        fault(errors > 0, format!("{errors} packets or snapshots broke the rules of the protocol"));
        fault(client.lost > 0, format!("{} datagrams to players were lost", client.lost));
        let lost = client.lost_to_server.unwrap_or_default();
        fault(lost > 0, format!("{lost} datagrams to the server were lost"));
        if let Some(server) = &report.server {
            fault(server.lost > 0, format!("the server lost {} datagrams", server.lost));
            let period_us = 1e6 / f64::from(report.tick_hz.max(1));
            let slow = server.tick_us.p99 > period_us;
            let p99 = server.tick_us.p99 / 1000.0;
            fault(slow, format!("the 99th percentile of a tick, {p99:.2} ms, is over its period"));
        }
        let p99 = client.latency_ms.p99;
        let limit = LATENCY_LIMIT_MS;
        fault(
            p99 >= limit,
            format!("the 99th percentile of latency, {p99:.1} ms, is over {limit}"),
        );
        let why = "the load generator was the bottleneck: give it more cores or fewer players";
        fault(client.saturated, why.to_owned());
        faults
    }
}

/// The players' side. `server` is its state before the first Connect and after the last goodbye.
fn client_report(swarm: &SwarmReport, server: Option<(&Stats, &Stats)>) -> ClientReport {
    let window = &swarm.window;
    let grown = |counter| {
        server.map(|(before, after)| after.counter(counter).saturating_sub(before.counter(counter)))
    };
    let sent_by_server = grown(Counter::PacketsOut);
    let lost = match sent_by_server {
        Some(sent) => sent.saturating_sub(swarm.whole.datagrams_in),
        None => window.lost_snapshots(),
    };
    let lost_to_server = grown(Counter::PacketsIn)
        .map(|received| swarm.whole.datagrams_out.saturating_sub(received));
    let faults = window.faults().into_iter().map(|(name, count)| (name.to_owned(), count));
    ClientReport {
        latency_ms: if swarm.latency.count() > 0 {
            swarm.latency.quantiles_ms()
        } else {
            Quantiles::default()
        },
        decode_errors: window.decode_errors(),
        lost,
        lost_to_server,
        inputs: window.inputs,
        late_sends: window.late_sends,
        snapshots: window.snapshots,
        faults: faults.collect(),
        cpu_ns_per_player_tick: swarm.cpu_ns as f64 / (window.inputs as f64).max(1.0),
        cpu_share: swarm.cpu_share,
        saturated: swarm.saturated,
    }
}

fn nobody_joined(config: &SwarmConfig, joined: &Live) -> String {
    let server = config.server;
    match (joined.first_close, joined.first_denial) {
        (None | Some(CloseReason::TimedOut), Some(denial)) => {
            format!("no player could join {server}, {}: {}", denial.name(), denial.text())
        }
        (None | Some(CloseReason::TimedOut), None) => format!(
            "no player could join: {server} does not answer. Is the server running there, and is \
             the key file the one of its backend (same protocol id and token key)?"
        ),
        (Some(reason), _) => format!("no player could join {server}: {reason}"),
    }
}

/// Looks at a crew until something happens, once a second at its progress.
struct Watch<'a> {
    crew: &'a Crew,
    players: u32,
    stop: &'a AtomicBool,
    clock: Clock,
    last_at: Nanos,
    last: Live,
    last_server: Option<Stats>,
}

impl<'a> Watch<'a> {
    fn new(crew: &'a Crew, players: u32, stop: &'a AtomicBool, server: Option<Stats>) -> Self {
        let (last, clock) = (Live::default(), Clock::start());
        Self { crew, players, stop, clock, last_at: Nanos(0), last, last_server: server }
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn look_on(
        &mut self,
        moment: Moment,
        limit: Duration,
        ask: AskServer<'_>,
        on_progress: &mut dyn FnMut(&Progress),
        is_over: &dyn Fn(&Live) -> bool,
    ) {
        let began = self.clock.now();
        let end = began.plus(Nanos(limit.as_nanos() as u64));
        loop {
            let now = self.clock.now();
            let over = now >= end || self.is_stopped() || self.crew.has_failed();
            if over || is_over(&self.crew.live()) {
                return;
            }
            if now.since(self.last_at) >= Nanos::from_ms(1000) {
                let progress = self.progress(moment, began, now, ask);
                on_progress(&progress);
            }
            std::thread::sleep(LOOK.min(Duration::from_nanos(end.since(now).0)));
        }
    }

    fn progress(
        &mut self,
        moment: Moment,
        began: Nanos,
        now: Nanos,
        ask: AskServer<'_>,
    ) -> Progress {
        let seconds = now.since(self.last_at).0 as f64 / 1e9;
        let live = self.crew.live();
        let grown = live.totals.since(&self.last.totals);
        // The server's quantiles start anew with the window, and must not start anew every second.
        let server = ask(Request::Stats);
        let server_second = server.as_ref().zip(self.last_server.as_ref());
        let progress = Progress {
            moment,
            elapsed_s: now.since(began).0 as f64 / 1e9,
            players: self.players,
            inputs_per_s: grown.inputs as f64 / seconds,
            out_per_s: grown.datagrams_out as f64 / seconds,
            in_per_s: grown.datagrams_in as f64 / seconds,
            cpu_share: live.cpu_ns.saturating_sub(self.last.cpu_ns) as f64 / 1e9 / seconds,
            server_second: server_second.map(|(now, before)| now.since(before)),
            live: live.clone(),
            server: server.clone(),
        };
        self.last_at = now;
        self.last = live;
        self.last_server = server;
        progress
    }
}

impl std::fmt::Display for CloseReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Left => f.write_str("it left"),
            Self::Refused(status) => {
                write!(f, "the server refused it, {}: {}", status.name(), status.text())
            }
            Self::Disconnected(reason) => {
                write!(f, "the server ended it, {}: {}", reason.name(), reason.text())
            }
            Self::TimedOut => f.write_str("nothing was heard for 15 s"),
            Self::WornOut => f.write_str("its keys were worn out"),
        }
    }
}
