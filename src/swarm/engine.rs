//! One thread of bots: one socket, one schedule, any number of clients.
//!
//! The loop wakes every half millisecond, sends all inputs that have become due as one batch, takes
//! all snapshots that have arrived, and sleeps again. Waking for every datagram would cost more
//! than the datagram. Nothing is allocated once the bots have settled. Started by `crew`.

use super::addressing::Addressing;
use super::board::{Board, Live, Stage};
use super::profile::Walk;
use super::schedule::Schedule;
use super::totals::Totals;
use super::{SwarmConfig, client_ticket};
use crate::client::{Client, CloseReason, Event, Scratch, State};
use crate::host::clock::{self, Clock};
use crate::host::entropy::OsEntropy;
use crate::keys::TicketRequest;
use crate::limits::{DATAGRAM_MIN, TIMEOUT_MS};
use crate::metrics::Latency;
use crate::net::{SourcedConfig, SourcedPort};
use crate::time::{Entropy, Nanos};
use std::sync::Arc;
use std::time::Duration;

/// Time between two turns of the loop while there is nothing to catch up with.
const TURN: Nanos = Nanos::from_us(500);
/// Time between two looks at the bots that are joining or leaving.
const JOINING_TURN: Nanos = Nanos::from_ms(1);
/// A send is late if it happens this much after its time.
const LATE: Nanos = Nanos::from_ms(5);
/// Datagrams in one system call, and slots of the send arena: few enough to stay in the cache.
const SEND_BATCH: usize = 64;
/// Inputs sent in one turn before arrivals are looked at again.
const SENDS_PER_TURN: usize = 8 * SEND_BATCH;
/// Time between two posts of figures.
const POST_EVERY: Nanos = Nanos::from_ms(250);
/// Longest time for saying goodbye.
const LEAVE_LIMIT: Nanos = Nanos::from_ms(1_500);
/// Bytes of the socket's buffer for each bot: a snapshot with what the kernel adds, and one more.
const RECEIVE_BYTES_PER_PLAYER: usize = 4096;

struct Player {
    client: Client,
    walk: Walk,
    /// Round of the schedule in which input 1 was due.
    first_round: u32,
    in_world: bool,
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
    joining: Vec<u32>,
    scratch: Scratch,
    totals: Totals,
    /// Latencies since the last post, then of the window.
    recent: Latency,
    latency: Latency,
    window: Option<Window>,
    closed: u32,
    first_close: Option<CloseReason>,
    connects_per_s: f64,
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
        let addressing = Addressing::choose(config.server, bots.start, count)?;
        let port = SourcedPort::bind(&SourcedConfig {
            sources: addressing.sources(config.server),
            port: 0,
            receive_buffer: (count as usize * RECEIVE_BYTES_PER_PLAYER).max(4 << 20),
            send_slots: SEND_BATCH,
        })
        .map_err(|error| format!("cannot open the socket of the load generator: {error}"))?;
        let clock = Clock::start();
        Ok(Self {
            schedule: Schedule::new(clock.now(), count, config.rate),
            players: Vec::with_capacity(count as usize),
            joining: Vec::with_capacity(count as usize),
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
            closed: 0,
            first_close: None,
            connects_per_s,
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
            if now >= next_joining {
                next_joining = now.plus(JOINING_TURN);
                self.start_bots(now)?;
                self.tend_joining(now)?;
            }
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
        })
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

    /// Starts as many bots as the ramp allows by now.
    fn start_bots(&mut self, now: Nanos) -> Result<(), String> {
        let allowed = (now.0 as f64 / 1e9 * self.connects_per_s) as u32 + 1;
        let mut entropy = OsEntropy;
        while (self.players.len() as u32) < allowed.min(self.count) {
            let index = self.players.len() as u32;
            let number = self.first + index;
            let request = TicketRequest {
                player: self.config.first_player + u64::from(number),
                spawn: Some(self.config.profile.spawn(self.config.seed, number)),
                ttl_s: 60,
            };
            let ticket = self.config.keys.mint(&request, clock::unix_ms(), &mut entropy);
            let nonce = Addressing::nonce(index, u32::from_le_bytes(entropy.bytes()));
            let client = Client::new(&client_ticket(&ticket), nonce, now, &mut entropy)
                .map_err(|_| "the server's public key in the key file is no key".to_owned())?;
            let walk = Walk::new(self.config.seed, number);
            self.players.push(Player { client, walk, first_round: 0, in_world: false });
            self.joining.push(index);
        }
        Ok(())
    }

    /// Lets the bots that are not in the world yet send what they have to send.
    fn tend_joining(&mut self, now: Nanos) -> Result<(), String> {
        let mut at = 0;
        while let Some(&index) = self.joining.get(at) {
            let player = &mut self.players[index as usize];
            match player.client.state() {
                State::InWorld => {
                    player.in_world = true;
                    self.joining.swap_remove(at);
                    continue;
                }
                State::Closed(reason) => {
                    self.closed += 1;
                    self.first_close.get_or_insert(reason);
                    self.joining.swap_remove(at);
                    continue;
                }
                State::Connecting | State::Confirming | State::Entering => {}
            }
            self.transmit(index, now)?;
            at += 1;
        }
        self.flush()
    }

    /// Sends the inputs that are due; true if there are more of them.
    fn send_due(&mut self, now: Nanos) -> Result<bool, String> {
        for _ in 0..SENDS_PER_TURN {
            let Some(due) = self.schedule.pop(now) else {
                self.flush()?;
                return Ok(false);
            };
            let profile = self.config.profile;
            let Some(player) = self.players.get_mut(due.client as usize) else { continue };
            if !player.in_world {
                continue;
            }
            let Player { client, walk, .. } = player;
            let frame = walk.step(profile, || client.world().own().map(|own| own.position));
            if client.set_input(frame) == 1 {
                player.first_round = due.round;
            }
            self.totals.inputs += 1;
            self.totals.late_sends += u64::from(now.since(due.at) > LATE);
            self.transmit(due.client, now)?;
        }
        self.flush()?;
        Ok(true)
    }

    /// Queues everything bot `index` has to send.
    fn transmit(&mut self, index: u32, now: Nanos) -> Result<(), String> {
        let source = self.addressing.source(index);
        loop {
            let slot = self.used_slots;
            let Some(player) = self.players.get_mut(index as usize) else { return Ok(()) };
            let Some(len) = player.client.poll_transmit(now, self.port.send_buffer(slot)) else {
                return Ok(());
            };
            self.port.send_push(slot, len, source, self.config.server);
            self.used_slots += 1;
            if self.used_slots == SEND_BATCH {
                self.flush()?;
            }
        }
    }

    fn flush(&mut self) -> Result<(), String> {
        if self.used_slots == 0 {
            return Ok(());
        }
        self.used_slots = 0;
        let report = self.port.flush().map_err(|error| format!("cannot send: {error}"))?;
        self.totals.datagrams_out += report.sent;
        self.totals.bytes_out += report.bytes;
        self.totals.refused += report.refused;
        Ok(())
    }

    /// Takes in what has arrived; true if there is more.
    fn receive(&mut self) -> Result<bool, String> {
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
            in_world: self.players.iter().filter(|player| player.in_world).count() as u32,
            closed: self.closed,
            first_close: self.first_close,
            totals: self.totals.clone(),
            latency_ms: self.recent.quantiles_ms(),
            cpu_ns: clock::thread_cpu_ns(),
        };
        self.board.post(self.thread, live);
        if self.window.is_some() {
            self.latency.merge(&self.recent);
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

/// Inputs that one snapshot may acknowledge at a time, as far as their latency is recorded: what
/// became due within a timeout, at 120 a second.
const MAX_CATCH_UP: usize = (TIMEOUT_MS / 1000 * 120) as usize;
