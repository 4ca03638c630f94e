//! One thread of bots: one socket, one schedule, any number of clients.
//!
//! The loop wakes every half millisecond, sends all inputs that have become due as one batch, takes
//! all snapshots that have arrived, and sleeps again. Waking for every datagram would cost more
//! than the datagram. Nothing is allocated once the bots have settled. Started by `crew`.

mod receiving;
mod sending;

use super::SwarmConfig;
use super::addressing::Addressing;
use super::board::{Board, Live, Stage};
use super::laps::{Lap, Laps};
use super::profile::Walk;
use super::schedule::Schedule;
use super::totals::Totals;
use crate::client::{Client, CloseReason, Scratch, State};
use crate::host::clock::{self, Clock};
use crate::metrics::Latency;
use crate::net::{SourcedConfig, SourcedPort};
use crate::time::Nanos;
use crate::wire::Denial;
use sending::SEND_BATCH;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

/// Time between two turns of the loop while there is nothing to catch up with.
const TURN: Nanos = Nanos::from_us(500);
/// Time between two looks at the timers of the bots that are joining.
const JOINING_TURN: Nanos = Nanos::from_ms(5);
/// Time between two posts of figures.
const POST_EVERY: Nanos = Nanos::from_ms(250);
/// Longest time for saying goodbye.
const LEAVE_LIMIT: Nanos = Nanos::from_ms(1_500);
/// Bytes of the socket's buffer for each bot: a snapshot with what the kernel adds, and one more.
const RECEIVE_BYTES_PER_PLAYER: usize = 4096;

struct Player {
    client: Client,
    walk: Walk,
    /// Its turn in each round of the schedule.
    turn: u32,
    /// Round in which input 1 was due.
    first_round: u32,
    /// The address it speaks from.
    source: Ipv4Addr,
    /// The one before, or the same.
    former: Ipv4Addr,
    place: Place,
    /// When it was last told something; zero before the first time.
    told_at: Nanos,
}

/// Where a bot is, as far as this thread has taken notice.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    OnTheWay,
    InWorld,
    Gone,
}

/// How many bots are where.
#[derive(Clone, Copy, Default)]
struct Standing {
    in_world: u32,
    closed: u32,
    first_close: Option<CloseReason>,
    first_denial: Option<Denial>,
}

impl Standing {
    fn note_denial(&mut self, reason: Denial) {
        self.first_denial.get_or_insert(reason);
    }

    /// Takes notice of what has become of `player`.
    fn settle(&mut self, player: &mut Player) {
        match (player.client.state(), player.place) {
            (State::InWorld, Place::OnTheWay) => {
                player.place = Place::InWorld;
                self.in_world += 1;
            }
            (State::Closed(reason), Place::OnTheWay | Place::InWorld) => {
                self.in_world -= u32::from(player.place == Place::InWorld);
                self.closed += 1;
                self.first_close.get_or_insert(reason);
                player.place = Place::Gone;
            }
            _ => {}
        }
    }
}

/// A bot on its way into the world. Kept apart from `Player`: a look at each of thousands would
/// otherwise cost as many cache misses.
struct Joining {
    index: u32,
    /// When it has something to do even if nothing arrives.
    next: Nanos,
}

/// What one thread has to tell in the end.
#[derive(Debug)]
pub(super) struct ThreadReport {
    pub(super) window: Totals,
    pub(super) whole: Totals,
    pub(super) latency: Latency,
    pub(super) window_ns: u64,
    pub(super) cpu_ns: u64,
    /// Packets to the server that it never acknowledged, the whole time.
    pub(super) lost_to_server: u64,
    /// Memory of the clients, bytes.
    pub(super) client_bytes: usize,
    pub(super) rtt_us: Option<u32>,
    pub(super) laps: Vec<Lap>,
}

/// The measured window, from its start on.
struct Window {
    totals: Totals,
    at: Nanos,
    cpu_ns: u64,
}

pub(super) struct Engine {
    config: SwarmConfig,
    thread: usize,
    /// Number of this thread's first bot among all.
    first: u32,
    /// Bots of this thread.
    count: u32,
    board: Arc<Board>,
    clock: Clock,
    port: SourcedPort,
    addressing: Addressing,
    schedule: Schedule,
    players: Vec<Player>,
    /// Bots that are on their way into the world.
    joining: Vec<Joining>,
    /// Bots among them that have just been sent something.
    nudged: Vec<u32>,
    scratch: Scratch,
    totals: Totals,
    /// Latencies since the last post, then of the window.
    recent: Latency,
    latency: Latency,
    window: Option<Window>,
    laps: Laps,
    standing: Standing,
    connects_per_s: f64,
    /// Changes of address so far; the bots take turns.
    rebinds: u64,
    used_slots: usize,
}

impl Engine {
    /// Binds the socket of bots `first..first + count`.
    ///
    /// # Errors
    /// If the socket cannot be bound.
    pub(super) fn bind(
        config: SwarmConfig,
        thread: usize,
        bots: std::ops::Range<u32>,
        connects_per_s: f64,
        board: Arc<Board>,
    ) -> Result<Self, String> {
        let count = bots.end - bots.start;
        let addressing = Addressing::choose(
            config.server,
            bots.start,
            count,
            connects_per_s,
            config.per_address,
        )?;
        let port = SourcedPort::bind(&SourcedConfig {
            sources: addressing.sources(config.server),
            port: 0,
            receive_buffer: (count as usize * RECEIVE_BYTES_PER_PLAYER).max(4 << 20),
            send_slots: SEND_BATCH,
        })
        .map_err(|error| format!("cannot open the socket of the load generator: {error}"))?;
        let clock = Clock::start();
        Ok(Self {
            schedule: Schedule::new(clock.now(), addressing.turns(), config.rate),
            players: Vec::with_capacity(count as usize),
            joining: Vec::with_capacity(count as usize),
            nudged: Vec::with_capacity(count as usize),
            thread,
            first: bots.start,
            count,
            board,
            clock,
            port,
            addressing,
            scratch: Scratch::default(),
            totals: Totals::default(),
            recent: Latency::default(),
            latency: Latency::default(),
            window: None,
            laps: Laps::default(),
            standing: Standing::default(),
            connects_per_s,
            rebinds: 0,
            used_slots: 0,
            config,
        })
    }

    /// Buffers that came out smaller than wished.
    pub(super) fn warnings(&self) -> impl Iterator<Item = String> + '_ {
        self.port.warnings().iter().map(ToString::to_string)
    }

    /// Plays until told to leave.
    pub(super) fn run(mut self) -> Result<ThreadReport, String> {
        let (mut next_joining, mut next_post) = (Nanos(0), POST_EVERY);
        let mut closed_window = None;
        loop {
            let now = self.clock.now();
            match self.board.stage() {
                Stage::Join => {}
                Stage::Measure if self.window.is_none() => self.open_window(now),
                Stage::Measure => {}
                Stage::Hold | Stage::Leave if self.window.is_some() => {
                    closed_window = self.close_window(now);
                }
                Stage::Hold => {}
                Stage::Leave => break,
            }
            if self.board.laps() > self.laps.count() {
                self.next_lap(now);
            }
            if now >= next_joining {
                next_joining = now.plus(JOINING_TURN);
                self.start_bots(now)?;
                self.tend_joining(now)?;
                self.rebind_due(now);
            }
            self.answer_nudged(now)?;
            let behind = self.send_due(now)?;
            let more = self.receive()?;
            if now >= next_post {
                next_post = now.plus(POST_EVERY);
                self.post();
            }
            if !behind && !more {
                self.rest(now);
            }
        }
        self.leave()?;
        self.post();
        let (window, window_ns, cpu_ns) = closed_window.unwrap_or_default();
        let rtts = self.players.iter().map(|player| player.client.statistics().rtt.smoothed_us);
        let lost = self.players.iter().map(|p| u64::from(p.client.statistics().lost_to_server));
        Ok(ThreadReport {
            window,
            latency: self.latency,
            window_ns,
            cpu_ns,
            lost_to_server: lost.sum(),
            client_bytes: self.players.iter().map(|player| player.client.memory_bytes()).sum(),
            rtt_us: rtts.filter(|&us| us > 0).min(),
            whole: self.totals,
            laps: self.laps.into_done(),
        })
    }

    fn next_lap(&mut self, now: Nanos) {
        self.laps.merge(&self.recent);
        if self.window.is_some() {
            self.latency.merge(&self.recent);
        }
        self.recent.clear();
        // Who waits still, waits already.
        let in_world = self.players.iter().filter(|player| player.place == Place::InWorld);
        in_world.for_each(|player| self.laps.note_gap(now.since(player.told_at)));
        self.laps.next(now, &self.totals, self.standing.closed);
    }

    fn open_window(&mut self, now: Nanos) {
        self.latency.clear();
        self.recent.clear();
        let totals = self.totals.clone();
        self.window = Some(Window { totals, at: now, cpu_ns: clock::thread_cpu_ns() });
    }

    fn close_window(&mut self, now: Nanos) -> Option<(Totals, u64, u64)> {
        let window = self.window.take()?;
        self.latency.merge(&self.recent);
        let cpu_ns = clock::thread_cpu_ns() - window.cpu_ns;
        Some((self.totals.since(&window.totals), now.since(window.at).0, cpu_ns))
    }

    /// Sleeps until the next turn.
    fn rest(&self, turn_began: Nanos) {
        let next = turn_began.plus(TURN);
        let left = next.since(self.clock.now());
        if left > Nanos(0) {
            std::thread::sleep(Duration::from_nanos(left.0));
        }
    }

    fn post(&mut self) {
        let live = Live {
            started: self.players.len() as u32,
            in_world: self.standing.in_world,
            closed: self.standing.closed,
            first_close: self.standing.first_close,
            first_denial: self.standing.first_denial,
            totals: self.totals.clone(),
            latency_ms: self.recent.quantiles_ms(),
            cpu_ns: clock::thread_cpu_ns(),
        };
        self.board.post(self.thread, live);
        if self.window.is_some() {
            self.latency.merge(&self.recent);
        }
        if self.laps.are_wanted() {
            self.laps.merge(&self.recent);
        }
        self.recent.clear();
    }

    /// Says goodbye for all bots and takes in what is still under way.
    fn leave(&mut self) -> Result<(), String> {
        let end = self.clock.now().plus(LEAVE_LIMIT);
        for player in &mut self.players {
            player.client.leave(self.clock.now());
        }
        let mut quiet_since = self.clock.now();
        loop {
            let now = self.clock.now();
            let before = self.totals.datagrams_in;
            for index in 0..self.players.len() as u32 {
                self.transmit(index, now)?;
            }
            self.flush()?;
            while self.receive()? {}
            if self.totals.datagrams_in > before {
                quiet_since = now;
            }
            let open = self.players.iter().any(|player| player.client.next_timeout().is_some());
            if (!open && now.since(quiet_since) > Nanos::from_ms(200)) || now > end {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
