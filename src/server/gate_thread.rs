//! The thread of the gate: handshakes, the shards' mail, the admin socket.
//!
//! It runs at low priority on the housekeeping core: a flood of handshakes costs newcomers, never
//! players. Where the kernel does not steer, datagrams of players come here, too: then it has the
//! priority of shards, and looks every millisecond.

use super::Drill;
use super::balance::{Balance, Shift};
use super::explainer::Explainer;
use super::residents::Residents;
use super::supervisor::Supervisor;
use super::{StartError, StopOnEnd, port_failed, say};
use crate::admin::AdminListener;
use crate::gate::{Gate, GateAction, GateConfig, Moment};
use crate::host::clock::{self, Clock};
use crate::host::cores;
use crate::host::entropy::OsEntropy;
use crate::host::facts::{self, COMMIT};
use crate::limits::DATAGRAM_MAX;
use crate::metrics::{Counter, Counters, DropReason, Histograms};
use crate::net::{Backend, BoundSocket, Datagram, Port, PortConfig, open_port};
use crate::replicate::Replicator;
use crate::report::Stats;
use crate::shard::{GateEnd, ToGate, ToShard};
use crate::time::Nanos;
use crate::wire::{ConnectionId, DisconnectReason};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Longest sleep: how late mail and the admin socket are looked at.
const NAP: Duration = Duration::from_millis(5);
/// The same where players wait for what comes here, and datagrams for which it ends early.
const NAP_UNSTEERED: Duration = Duration::from_millis(1);
const WAKE_AT_UNSTEERED: u32 = 64;
/// How long an answer waits for a shard's histograms before it goes without them.
const WINDOW_PATIENCE: Nanos = Nanos::from_ms(1_000);
/// Replies to the datagrams of one receive.
const REPLIES_MAX: usize = 512;
/// How long the gate waits for shards to say goodbye.
const STOP_PATIENCE: Nanos = Nanos::from_ms(2_000);

/// Everything the thread takes with it.
pub(super) struct GateThread {
    pub(super) core: usize,
    pub(super) socket: BoundSocket,
    pub(super) gate: GateConfig,
    pub(super) clock: Clock,
    pub(super) supervisor: Supervisor,
    pub(super) residents: Residents,
    pub(super) balance: Balance,
    pub(super) shards: Vec<GateEnd>,
    /// By shard. A shard and its replacements count on.
    pub(super) shard_counters: Vec<Arc<Counters>>,
    /// Faults and moves that somebody asks for, for drills and tests.
    pub(super) drills: mpsc::Receiver<Drill>,
    pub(super) admin: PathBuf,
    /// Of the shards, for the statistics; the gate itself has no need of a ring.
    pub(super) backend: Backend,
    /// Whether the kernel brings every datagram to the socket that it is for.
    pub(super) is_steered: bool,
    pub(super) stop: Arc<AtomicBool>,
}

/// What the loop works on besides the port.
struct State {
    gate: Gate,
    clock: Clock,
    counters: Counters,
    supervisor: Supervisor,
    residents: Residents,
    balance: Balance,
    explainer: Explainer,
    shards: Vec<GateEnd>,
    shard_counters: Vec<Arc<Counters>>,
    tick_hz: u16,
    backend: Backend,
    is_steered: bool,
    /// Recorded since the last mark.
    window: Histograms,
    /// Boxes that no shard has: one per shard.
    #[expect(clippy::vec_box, reason = "the boxes themselves travel through the queues")]
    spare: Vec<Box<Histograms>>,
    asked_at: Option<Nanos>,
    replies: Vec<([u8; DATAGRAM_MAX], usize, std::net::SocketAddr)>,
}

impl GateThread {
    /// Starts the thread.
    pub(super) fn spawn(self) -> Result<JoinHandle<Result<(), StartError>>, StartError> {
        let admin = AdminListener::bind(&self.admin)?;
        thread::Builder::new()
            .name("gate".to_owned())
            .spawn(move || self.run(admin))
            .map_err(|error| StartError(format!("cannot start a thread: {error}")))
    }

    fn run(self, mut admin: AdminListener) -> Result<(), StartError> {
        let _stop = StopOnEnd(Arc::clone(&self.stop));
        cores::pin_current_thread(self.core)?;
        if self.is_steered {
            cores::yield_to_others();
        }
        let mut port = open_port(self.socket, Backend::Mmsg, &PortConfig::default())
            .map_err(|error| port_failed(&error))?;
        let mut state = State {
            tick_hz: self.gate.tick_hz,
            explainer: Explainer::new(self.shards.len(), self.gate.tick_hz),
            gate: Gate::new(
                self.gate,
                self.supervisor.keeper().clone(),
                self.clock.now(),
                &mut OsEntropy,
            ),
            supervisor: self.supervisor,
            residents: self.residents,
            balance: self.balance,
            clock: self.clock,
            counters: Counters::default(),
            spare: self.shards.iter().map(|_| Box::default()).collect(),
            shards: self.shards,
            shard_counters: self.shard_counters,
            backend: self.backend,
            is_steered: self.is_steered,
            window: Histograms::default(),
            asked_at: None,
            replies: Vec::with_capacity(REPLIES_MAX),
        };
        while !self.stop.load(Ordering::Relaxed) {
            state.receive(&mut *port).map_err(|error| port_failed(&error))?;
            state.read_mail();
            state.watch()?;
            state.residents.settle(&mut state.gate, &mut state.shards);
            state.serve_admin(&mut admin);
            state.even_out();
            while let Ok(drill) = self.drills.try_recv() {
                match drill {
                    Drill::Fail(shard, fault) => _ = state.tell(shard as u8, ToShard::Fail(fault)),
                    Drill::Shift(shift) => state.shift(shift),
                }
            }
        }
        state.say_goodbye();
        Ok(())
    }
}

impl State {
    fn moment(&self) -> Moment {
        let tick = self.supervisor.keeper().newest();
        Moment { now: self.clock.now(), unix_s: clock::unix_ms() / 1000, tick }
    }

    fn receive(&mut self, port: &mut dyn Port) -> std::io::Result<()> {
        let (wake_at, nap) =
            if self.is_steered { (1, NAP) } else { (WAKE_AT_UNSTEERED, NAP_UNSTEERED) };
        let report = port.receive(wake_at, nap, &mut |datagrams| self.handle(datagrams))?;
        report.record(&self.counters);
        self.take_in_forwarded();
        for (place, (bytes, len, to)) in self.replies.drain(..).enumerate() {
            port.send_buffer(place)[..len].copy_from_slice(&bytes[..len]);
            port.send_push(place, len, to);
        }
        port.flush()?.record(&self.counters);
        self.send_farewells(port)?;
        let moment = self.moment();
        self.gate.tick(moment, &mut OsEntropy);
        Ok(())
    }

    /// Tells the players of lost shards why they hear nothing more.
    fn send_farewells(&mut self, port: &mut dyn Port) -> std::io::Result<()> {
        let now = self.clock.now();
        let mut place = 0;
        while place < port.send_capacity() {
            let out = port.send_buffer(place);
            let Some((len, to)) = self.gate.poll_farewell(now, out) else { break };
            port.send_push(place, len, to);
            place += 1;
        }
        if place > 0 {
            port.flush()?.record(&self.counters);
        }
        Ok(())
    }

    /// Moves players when shards are not equally busy.
    fn even_out(&mut self) {
        if let Some(shift) = self.balance.look(self.clock.now(), &self.shard_counters) {
            self.shift(shift);
        }
    }

    /// Asks for players to move from shard to shard.
    fn shift(&mut self, shift: Shift) {
        for from in self.gate.some_of(shift.from, shift.players) {
            let Some(to) = self.gate.hand_over(from, shift.to, &mut OsEntropy) else { continue };
            if !self.tell(shift.from as u8, ToShard::HandOver(from, to)) {
                self.gate.released(to);
            }
        }
    }

    /// Replaces the shards that were lost since the last look.
    fn watch(&mut self) -> Result<(), StartError> {
        let now = self.clock.now();
        let Some(lost) = self.supervisor.watch(now, &self.shards) else { return Ok(()) };
        if let Err(error) = self.supervisor.replace(now, &lost, &mut self.shards) {
            say(&format!("the server ends: {error}"));
            return Err(error);
        }
        // What lost shards were to be told, and were to tell, is of no interest any more.
        let keeper = self.supervisor.keeper().clone();
        for stray in self.gate.lose_shards(&lost, keeper, now) {
            self.disconnect(Some(stray), DisconnectReason::ShardLost);
        }
        self.explainer.lose(&lost);
        self.residents.lose(&lost, &mut self.gate, &self.counters);
        Ok(())
    }

    fn handle(&mut self, datagrams: &mut [Datagram<'_>]) {
        let moment = self.moment();
        for datagram in datagrams {
            // Where the kernel does not steer, any socket gets any datagram.
            if self.supervisor.gate_links().hand_on(datagram, &self.counters) {
                continue;
            }
            let mut out = [0; DATAGRAM_MAX];
            let action = self.gate.handle_datagram(
                moment,
                datagram.from,
                datagram.payload,
                &self.counters,
                &mut OsEntropy,
                &mut out,
            );
            let len = match action {
                GateAction::Drop(_) => continue,
                GateAction::Reply(len) => len,
                GateAction::Accept { reply_len, shard, admission, replaces } => {
                    let id = admission.id;
                    if !self.tell(shard, ToShard::Admit(admission)) {
                        // The client tries again; by then the shard has caught up.
                        self.counters.drop(DropReason::QueueFull);
                        self.gate.undelivered(id);
                        continue;
                    }
                    self.counters.add(Counter::Accepted, 1);
                    self.disconnect(replaces, DisconnectReason::Replaced);
                    reply_len
                }
            };
            if self.replies.len() < REPLIES_MAX {
                self.replies.push((out, len, datagram.from));
            } else {
                // The client sends again.
                self.counters.drop(DropReason::QueueFull);
            }
        }
    }

    /// Handles what shards have handed on to the gate.
    fn take_in_forwarded(&mut self) {
        for place in 0..self.supervisor.gate_links().places() {
            // What they hand on meanwhile waits, so that no flood keeps the gate here.
            for _ in 0..self.supervisor.gate_links().waiting(place) {
                let Some(mut it) = self.supervisor.gate_links().take(place) else { break };
                self.handle(&mut [it.datagram()]);
            }
        }
    }

    /// Tells whether the shard will get the message.
    fn tell(&mut self, shard: u8, message: ToShard) -> bool {
        let shard = self.shards.get_mut(usize::from(shard));
        shard.is_some_and(|end| end.to_shard.send(message).is_ok())
    }

    fn disconnect(&mut self, session: Option<ConnectionId>, reason: DisconnectReason) {
        let Some(id) = session else { return };
        let shard = id.socket().wrapping_sub(1);
        if !self.tell(shard, ToShard::Disconnect(id, reason)) {
            self.counters.drop(DropReason::QueueFull);
        }
    }

    fn read_mail(&mut self) {
        for index in 0..self.shards.len() {
            while let Some(mail) = self.shards[index].from_shard.receive() {
                match mail {
                    ToGate::Confirmed(id) => {
                        let older = self.gate.confirmed(id);
                        self.disconnect(older, DisconnectReason::Replaced);
                    }
                    ToGate::Closed(id) => self.gate.closed(id),
                    ToGate::Moved(id) => {
                        if !self.gate.moved(id) {
                            self.disconnect(Some(id), DisconnectReason::Replaced);
                        }
                    }
                    ToGate::Stayed(id) | ToGate::Released(id) => self.gate.released(id),
                    ToGate::Explained(question) => self.explainer.answered(index, question),
                    ToGate::Window(mut full) => {
                        self.window.merge(&full);
                        full.clear();
                        self.spare.push(full);
                    }
                }
            }
        }
    }

    fn serve_admin(&mut self, admin: &mut AdminListener) {
        let now = self.clock.now();
        admin.poll();
        self.explainer.serve(now, admin, &self.gate, &mut self.shards);
        if !admin.wants_stats() {
            return;
        }
        let Some(asked_at) = self.asked_at else {
            self.asked_at = Some(now);
            for end in &mut self.shards {
                let Some(empty) = self.spare.pop() else { break };
                if let Err(ToShard::Window(empty)) = end.to_shard.send(ToShard::Window(empty)) {
                    self.spare.push(empty);
                }
            }
            return;
        };
        if self.spare.len() < self.shards.len() && now.since(asked_at) < WINDOW_PATIENCE {
            return;
        }
        self.asked_at = None;
        let stats = self.stats(now);
        if admin.wants_mark() {
            self.window.clear();
        }
        admin.answer(&stats);
    }

    fn stats(&self, now: Nanos) -> Stats {
        let mut stats = Stats {
            commit: COMMIT.to_owned(),
            uptime_ns: now.0,
            process_cpu_ns: clock::process_cpu_ns(),
            rss_bytes: facts::rss_bytes(),
            tick_hz: self.tick_hz,
            shards: self.shards.len() as u16,
            backend: self.backend.name().to_owned(),
            state_bytes_per_player: Replicator::VIEWER_BYTES as u64,
            steering: (if self.is_steered { "kernel" } else { "threads" }).to_owned(),
            ..Stats::default()
        };
        stats.add_counters(&self.counters);
        for counters in &self.shard_counters {
            stats.add_counters(counters);
        }
        stats.set_histograms(&self.window);
        stats
    }

    /// Stops the shards and waits until they have told their players.
    fn say_goodbye(&mut self) {
        self.gate.set_maintenance(true);
        for end in &mut self.shards {
            // A queue that is full belongs to a shard that is stuck; the process ends anyway.
            let _ = end.to_shard.send(ToShard::Stop);
        }
        let start = self.clock.now();
        let alive = |state: &Self| state.shards.iter().any(|end| !end.to_shard.is_abandoned());
        while alive(self) && self.clock.now().since(start) < STOP_PATIENCE {
            self.read_mail();
            thread::sleep(Duration::from_millis(1));
        }
        self.supervisor.join();
    }
}
