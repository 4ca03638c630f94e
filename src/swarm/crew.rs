//! The threads of a swarm: starting them, directing them, joining them.

use super::SwarmConfig;
use super::board::{Board, Live, Stage};
use super::engine::{Engine, ThreadReport};
use super::laps::Lap;
use super::totals::Totals;
use crate::host::cores;
use crate::metrics::Latency;
use std::sync::Arc;
use std::thread::JoinHandle;

/// A busy share above this is too much to trust what was measured.
const BUSY_LIMIT: f64 = 0.9;
/// Late sends in a hundred inputs above which the generator set the limit.
const LATE_LIMIT_PERCENT: u64 = 1;

/// A running swarm.
#[derive(Debug)]
pub struct Crew {
    board: Arc<Board>,
    threads: Vec<JoinHandle<Result<ThreadReport, String>>>,
    warnings: Vec<String>,
}

/// What a swarm saw.
#[derive(Clone, Debug, Default)]
pub struct SwarmReport {
    /// Counts of the measured window.
    pub window: Totals,
    /// Counts from the first Connect to the last goodbye.
    pub whole: Totals,
    /// Latencies of the window.
    pub latency: Latency,
    /// Length of the window, seconds.
    pub window_s: f64,
    /// CPU time of all threads in the window, nanoseconds.
    pub cpu_ns: u64,
    /// CPU time over real time, mean of the threads, 0 to 1.
    pub cpu_share: f64,
    /// The generator, and not the server, set the limit.
    pub saturated: bool,
    /// Packets to the server that it never acknowledged, the whole time.
    pub lost_to_server: u64,
    /// Memory of all clients, bytes.
    pub client_bytes: usize,
    /// Smallest smoothed round-trip time of a bot, microseconds.
    pub rtt_us: Option<u32>,
    /// The laps that [`Crew::next_lap`] ended.
    pub laps: Vec<Lap>,
}

impl Crew {
    /// Starts one thread for each of `cores`, pinned to it; with no cores, one thread that is not
    /// pinned. The bots begin to join at once.
    ///
    /// # Errors
    /// If a socket cannot be opened or a thread not be pinned or started.
    pub fn launch(config: &SwarmConfig, cores: &[usize]) -> Result<Self, String> {
        let places: Vec<Option<usize>> =
            if cores.is_empty() { vec![None] } else { cores.iter().copied().map(Some).collect() };
        let share = |thread: usize| {
            (u64::from(config.players) * thread as u64 / places.len() as u64) as u32
        };
        let board = Arc::new(Board::new(places.len()));
        let connects_per_s = f64::from(config.connects_per_s) / places.len() as f64;
        let mut crew =
            Self { board: Arc::clone(&board), threads: Vec::new(), warnings: Vec::new() };
        let mut engines = Vec::new();
        for thread in 0..places.len() {
            let bots = share(thread)..share(thread + 1);
            let board = Arc::clone(&board);
            let engine = Engine::bind(config.clone(), thread, bots, connects_per_s, board)?;
            crew.warnings.extend(engine.warnings());
            engines.push(engine);
        }
        for (engine, core) in engines.into_iter().zip(places) {
            let body = move || {
                core.map_or(Ok(()), cores::pin_current_thread)?;
                engine.run()
            };
            let builder = std::thread::Builder::new().name("swarm".to_owned());
            let thread = builder.spawn(body);
            crew.threads.push(thread.map_err(|error| format!("cannot start a thread: {error}"))?);
        }
        Ok(crew)
    }

    /// What the operator should know: socket buffers smaller than wished.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The figures of all threads, at most a quarter of a second old.
    pub fn live(&self) -> Live {
        self.board.read()
    }

    /// Whether a thread has ended before it was told to: `finish` says why.
    pub fn has_failed(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Begins or ends the measured window.
    pub fn advance(&self, stage: Stage) {
        self.board.advance(stage);
    }

    /// Ends a lap, of which the report will tell apart from the others, and begins the next.
    pub fn next_lap(&self) {
        self.board.next_lap();
    }

    /// Lets all bots leave and returns what they saw.
    ///
    /// # Errors
    /// If a thread failed.
    pub fn finish(self) -> Result<SwarmReport, String> {
        self.board.advance(Stage::Leave);
        let mut sum = SwarmReport::default();
        let threads = self.threads.len() as f64;
        let mut busiest = 0.0f64;
        for thread in self.threads {
            let report = thread.join().map_err(|_| "a thread of the load generator panicked")??;
            sum.window = sum.window.plus(&report.window);
            sum.whole = sum.whole.plus(&report.whole);
            sum.latency.merge(&report.latency);
            sum.cpu_ns += report.cpu_ns;
            sum.lost_to_server += report.lost_to_server;
            sum.client_bytes += report.client_bytes;
            sum.rtt_us = sum.rtt_us.into_iter().chain(report.rtt_us).min();
            sum.window_s = sum.window_s.max(report.window_ns as f64 / 1e9);
            let share = report.cpu_ns as f64 / (report.window_ns as f64).max(1.0);
            sum.cpu_share += share / threads;
            busiest = busiest.max(share);
            sum.laps.resize_with(sum.laps.len().max(report.laps.len()), Lap::default);
            sum.laps.iter_mut().zip(&report.laps).for_each(|(sum, lap)| sum.add(lap));
        }
        let late = sum.window.late_sends * 100 > sum.window.inputs * LATE_LIMIT_PERCENT;
        sum.saturated = busiest > BUSY_LIMIT || late;
        Ok(sum)
    }
}
