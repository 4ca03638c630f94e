//! The thread of the gate, on the housekeeping core: `reception` on a real machine, the admin
//! socket and the statistics.
//!
//! It runs at low priority: a flood of handshakes costs newcomers, never players. Where the kernel
//! does not steer, datagrams of players come here, too: then it has the priority of shards, and
//! looks every millisecond.

use super::balance::{Balance, Shift};
use super::reception::{Parts, Premises, Reception};
use super::residents::Residents;
use super::shard_thread::ShardThreads;
use super::supervisor::{Supervisor, Ties};
use super::{Drill, StartError, StopOnEnd, port_failed, say};
use crate::admin::AdminListener;
use crate::gate::GateConfig;
use crate::host::clock::{self, Clock};
use crate::host::cores;
use crate::host::entropy::OsEntropy;
use crate::host::facts::{self, COMMIT};
use crate::metrics::Counters;
use crate::net::{Backend, BoundSocket, PortConfig, open_port};
use crate::replicate::Replicator;
use crate::report::Stats;
use crate::shard::{GateEnd, ToShard};
use crate::time::{Entropy, Nanos};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long an answer waits for a shard's histograms before it goes without them.
const WINDOW_PATIENCE: Nanos = Nanos::from_ms(1_000);
/// How long the gate waits for shards to say goodbye.
const STOP_PATIENCE: Nanos = Nanos::from_ms(2_000);

/// Everything the thread takes with it.
pub(super) struct GateThread {
    pub(super) core: usize,
    pub(super) socket: BoundSocket,
    pub(super) gate: GateConfig,
    pub(super) clock: Clock,
    pub(super) threads: ShardThreads,
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

/// The real thing.
struct Machine {
    clock: Clock,
    entropy: OsEntropy,
    threads: ShardThreads,
}

impl Premises for Machine {
    fn now(&self) -> Nanos {
        self.clock.now()
    }

    fn unix_s(&self) -> u64 {
        clock::unix_ms() / 1000
    }

    fn entropy(&mut self) -> &mut dyn Entropy {
        &mut self.entropy
    }

    fn launch(&mut self, place: usize, ties: Ties) -> Result<usize, StartError> {
        self.threads.launch(place, ties)
    }

    fn say(&self, event: &str) {
        say(event);
    }
}

/// The reception and what only a machine has.
struct Housekeeping {
    reception: Reception<Machine>,
    tick_hz: u16,
    backend: Backend,
    /// When the shards were asked for their histograms, if an answer waits for them.
    asked_at: Option<Nanos>,
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
        let premises = Machine { clock: self.clock, entropy: OsEntropy, threads: self.threads };
        let mut house = Housekeeping {
            tick_hz: self.gate.tick_hz,
            backend: self.backend,
            asked_at: None,
            reception: Reception::new(Parts {
                premises,
                gate: self.gate,
                supervisor: self.supervisor,
                residents: self.residents,
                balance: self.balance,
                shards: self.shards,
                shard_counters: self.shard_counters,
                is_steered: self.is_steered,
            }),
        };
        while !self.stop.load(Ordering::Relaxed) {
            house.reception.turn(&mut *port)?;
            house.serve_admin(&mut admin);
            while let Ok(drill) = self.drills.try_recv() {
                house.drill(drill);
            }
        }
        house.say_goodbye();
        Ok(())
    }
}

impl Housekeeping {
    fn drill(&mut self, drill: Drill) {
        match drill {
            Drill::Fail(shard, fault) => {
                _ = self.reception.tell(shard as u8, ToShard::Fail(fault));
            }
            Drill::Shift(Shift { from, to, players }) => {
                self.reception.shift(Shift { from, to, players });
            }
        }
    }

    fn serve_admin(&mut self, admin: &mut AdminListener) {
        let now = self.reception.premises.now();
        admin.poll();
        self.reception.serve_admin(admin);
        if !admin.wants_stats() {
            return;
        }
        let Reception { shards, spare, .. } = &mut self.reception;
        let Some(asked_at) = self.asked_at else {
            self.asked_at = Some(now);
            for end in shards {
                let Some(empty) = spare.pop() else { break };
                if let Err(ToShard::Window(empty)) = end.to_shard.send(ToShard::Window(empty)) {
                    spare.push(empty);
                }
            }
            return;
        };
        if spare.len() < shards.len() && now.since(asked_at) < WINDOW_PATIENCE {
            return;
        }
        self.asked_at = None;
        let stats = self.stats(now);
        if admin.wants_mark() {
            self.reception.window.clear();
        }
        admin.answer(&stats);
    }

    fn stats(&self, now: Nanos) -> Stats {
        let Reception { shards, shard_counters, counters, window, .. } = &self.reception;
        let steering = if self.reception.is_steered { "kernel" } else { "threads" };
        let mut stats = Stats {
            commit: COMMIT.to_owned(),
            uptime_ns: now.0,
            process_cpu_ns: clock::process_cpu_ns(),
            rss_bytes: facts::rss_bytes(),
            tick_hz: self.tick_hz,
            shards: shards.len() as u16,
            backend: self.backend.name().to_owned(),
            state_bytes_per_player: Replicator::VIEWER_BYTES as u64,
            steering: steering.to_owned(),
            ..Stats::default()
        };
        stats.add_counters(counters);
        for counters in shard_counters {
            stats.add_counters(counters);
        }
        stats.set_histograms(window);
        stats
    }

    /// Stops the shards and waits until they have told their players.
    fn say_goodbye(&mut self) {
        let reception = &mut self.reception;
        reception.stop();
        let start = reception.premises.now();
        let is_over = |reception: &Reception<Machine>| {
            let now = reception.premises.now();
            reception.is_deserted() || now.since(start) >= STOP_PATIENCE
        };
        while !is_over(reception) {
            reception.read_mail();
            reception.stop_others();
            thread::sleep(Duration::from_millis(1));
        }
        reception.premises.threads.join();
    }
}
