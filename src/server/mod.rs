//! Starts a server and ends it: lock, sockets, the gate's thread, the shards' threads.
//!
//! Everything that can be wrong with a host or a configuration is found here, before the first
//! packet, and reported as one [`StartError`] that names cause and fix. Called by `cli`, by `demo`
//! and by the tests.

pub(crate) mod balance;
mod explainer;
mod files;
mod housekeeping;
mod plan;
pub(crate) mod reception;
pub(crate) mod residents;
mod shard_thread;
pub(crate) mod supervisor;
mod warden;

pub use files::RunDir;
pub use plan::CorePlan;

use crate::config::{Config, ConfigError, Steering};
use crate::connection::Rules;
use crate::crypto::integrity::KeyTable;
use crate::gate::{GateConfig, TokenKey};
use crate::host::clock::{self, Clock};
use crate::host::entropy::OsEntropy;
use crate::keys::{ServerKeys, load_key_table};
use crate::net::{Backend, BindConfig, PortConfig, SocketGroup, choose_backend};
use crate::shard::{EntryRules, Fault, ForwardRoom, Pace, Page, ShardConfig};
use crate::time::{Entropy, Nanos};
use balance::{Balance, Shift};
use housekeeping::GateThread;
use residents::Residents;
use shard_thread::{Recipe, ShardThreads};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::{fmt, io};

/// Why a server did not start or had to stop. One line that names cause and fix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartError(pub String);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

impl From<ConfigError> for StartError {
    fn from(error: ConfigError) -> Self {
        Self(error.0)
    }
}

impl From<String> for StartError {
    fn from(error: String) -> Self {
        Self(error)
    }
}

/// From the start of the threads to the first tick: long enough for all shards to be there.
const START_DELAY: Nanos = Nanos::from_ms(20);
/// How long a shard that waits for others spins: several times the skew of healthy shards, and a
/// small share of a tick.
const MEETING_SPIN: Nanos = Nanos::from_us(100);

/// Drills that can wait for the gate.
const DRILLS_MAX: usize = 16;

/// What somebody asks of the gate's thread, for drills and tests.
#[derive(Clone, Copy, Debug)]
enum Drill {
    Fail(usize, Fault),
    Shift(Shift),
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    stop: Arc<AtomicBool>,
    /// The gate's thread, which watches over the shards.
    gate: Option<JoinHandle<Result<(), StartError>>>,
    drills: Option<mpsc::SyncSender<Drill>>,
    /// The UDP address it listens on.
    pub address: SocketAddr,
    /// How datagrams are moved.
    pub backend: Backend,
    /// Where it keeps its lock, its admin socket and its development keys.
    pub run_dir: RunDir,
    /// Which thread runs where, and why.
    pub plan: CorePlan,
    /// Bytes that the shards hold for good.
    pub memory_bytes: usize,
    /// What the operator should know, one sentence each.
    pub warnings: Vec<String>,
    // Closing a member would renumber the group, so the group outlives the threads.
    _sockets: SocketGroup,
}

/// How a server is started.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Its settings.
    pub config: Config,
    /// Development mode: keys are minted if none are given, and only the loopback is served.
    pub dev: bool,
}

impl Server {
    /// Starts a server. When this returns, clients can connect.
    pub fn start(options: &ServerOptions) -> Result<Self, StartError> {
        options.config.check()?;
        let plan = CorePlan::new(&options.config)?;
        let config = &options.config.with_shards(plan.shards.len())?;
        if options.dev && !config.server.bind.ip().is_loopback() {
            return Err(StartError(format!(
                "--dev serves the loopback only, because its keys are readable on this machine; \
                 bind 127.0.0.1 instead of {}, or make real keys with `tidelock keygen`",
                config.server.bind.ip()
            )));
        }
        let chosen = choose_backend(config.io(), &port_config(config))
            .map_err(|error| StartError(error.to_string()))?;
        let run_dir = RunDir::open(config.server.run_dir.as_deref())?;
        let sockets = SocketGroup::bind(&BindConfig {
            receive_buffer: config.net.receive_buffer_bytes,
            send_buffer: config.net.send_buffer_bytes,
            steer: config.net.steering == Steering::Auto,
            ..BindConfig::new(config.server.bind, 1 + plan.shards.len())
        })
        .map_err(|error| StartError(error.to_string()))?;
        let address = sockets.local_address();
        let keys = load_keys(options, &run_dir, address.port())?;
        let mut warnings: Vec<_> = sockets.warnings().iter().map(ToString::to_string).collect();
        warnings.extend(sockets.unsteered().map(ToString::to_string));
        warnings.extend(chosen.fallback);
        warnings.extend(plan.warnings.iter().cloned());
        let mut server = Self {
            stop: Arc::new(AtomicBool::new(false)),
            gate: None,
            drills: None,
            address,
            backend: chosen.backend,
            run_dir,
            plan,
            memory_bytes: 0,
            warnings,
            _sockets: sockets,
        };
        server.spawn_threads(config, &keys)?;
        Ok(server)
    }

    fn spawn_threads(&mut self, config: &Config, keys: &ServerKeys) -> Result<(), StartError> {
        let clock = Clock::start();
        let recipes = self.plan.shards.iter().enumerate().map(|(index, &core)| Recipe {
            core,
            socket: self.socket(index + 1),
            backend: self.backend,
            port: port_config(config),
            shard: shard_config(config, index, &mut OsEntropy),
            clock,
            counters: Arc::default(),
        });
        let recipes = recipes.collect::<Vec<_>>();
        let shard_counters: Vec<_> =
            recipes.iter().map(|recipe| Arc::clone(&recipe.counters)).collect();
        let pace = Pace {
            rate: config.tick_rate(),
            origin: clock.now().plus(START_DELAY),
            spin: Nanos::from_us(u64::from(config.server.spin_us)),
            meeting_spin: MEETING_SPIN,
        };
        let page = Page::new(
            recipes[0].shard.entities,
            config.interest.radii(),
            config.interest.leave_factor,
        );
        let is_steered = self._sockets.unsteered().is_none();
        let room = if is_steered {
            ForwardRoom::STEERED
        } else {
            ForwardRoom::unsteered(recipes.len(), config.players_per_shard())
        };
        let world = supervisor::World {
            counters: shard_counters.clone(),
            rows: config.world.entities as usize,
            entities: recipes[0].shard.entities,
            page,
            pace,
            patience: Nanos::from_ms(u64::from(config.server.watchdog_ms)),
            room,
        };
        let mut threads = ShardThreads::new(recipes)?;
        let (supervisor, shards, memory) =
            supervisor::start(world, &mut |place, ties| threads.launch(place, ties))?;
        self.memory_bytes = memory;
        let (to_gate, drills) = mpsc::sync_channel(DRILLS_MAX);
        self.drills = Some(to_gate);
        let gate = GateThread {
            core: self.plan.gate,
            socket: self.socket(0),
            gate: gate_config(config, keys, self.plan.shards.len(), clock::unix_ms())?,
            clock,
            threads,
            supervisor,
            residents: Residents::new(config.world.npcs, config.world.seed, shards.len()),
            shards,
            shard_counters,
            drills,
            balance: Balance::new(self.plan.shards.len(), config.server.rebalance),
            admin: self.run_dir.admin_socket(self.address.port()),
            backend: self.backend,
            is_steered,
            stop: Arc::clone(&self.stop),
        };
        self.gate = Some(gate.spawn()?);
        Ok(())
    }

    /// Makes a shard fail, for drills and tests. Nothing that a peer sends can do this.
    pub fn inject(&self, shard: usize, fault: Fault) {
        self.ask(Drill::Fail(shard, fault));
    }

    /// Moves up to `players` players from one shard to another, by index, for drills and tests.
    pub fn shift(&self, from: usize, to: usize, players: usize) {
        self.ask(Drill::Shift(Shift { from, to, players }));
    }

    fn ask(&self, drill: Drill) {
        if let Some(drills) = &self.drills {
            // A gate that is gone has ended the shards, too; one that is busy is asked again.
            let _ = drills.try_send(drill);
        }
    }

    fn socket(&self, index: usize) -> crate::net::BoundSocket {
        self._sockets.socket(index).expect("the group was bound with one socket per thread")
    }

    /// Makes all threads say goodbye and end. Returns at once; [`Self::join`] waits.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// A flag that stops the server when it is set; for signal handlers.
    pub fn stop_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    /// Waits until the server has ended.
    pub fn join(mut self) -> Result<(), StartError> {
        let Some(gate) = self.gate.take() else { return Ok(()) };
        gate.join().unwrap_or_else(|_| {
            Err(StartError("the gate thread panicked; see its message above".to_owned()))
        })
    }
}

/// Stops the whole server when a thread ends, however it ends: one that panicked must not leave the
/// others waiting for it.
struct StopOnEnd(Arc<AtomicBool>);

impl Drop for StopOnEnd {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Sets the flag on Ctrl-C and SIGTERM.
pub fn stop_on_signal(stop: Arc<AtomicBool>) -> Result<(), StartError> {
    ctrlc::set_handler(move || stop.store(true, Ordering::Relaxed))
        .map_err(|error| StartError(format!("cannot handle signals: {error}")))
}

fn load_keys(
    options: &ServerOptions,
    run_dir: &RunDir,
    port: u16,
) -> Result<ServerKeys, StartError> {
    match (&options.config.server.keys, options.dev) {
        (Some(path), _) => Ok(ServerKeys::load(path)?),
        (None, true) => {
            let keys = ServerKeys::generate(&mut OsEntropy);
            keys.save(&run_dir.dev_keys(port), true)?;
            Ok(keys)
        }
        (None, false) => Err(StartError(
            "no keys: name a key file with --keys (make one with `tidelock keygen`), or start with \
             --dev to try things out on this machine"
                .to_owned(),
        )),
    }
}

fn port_config(config: &Config) -> PortConfig {
    let players = config.players_per_shard();
    // Two ticks of input at two packets per player and tick, within what 16 bits can count.
    let receive_buffers = (players * 4).next_power_of_two().clamp(256, 1 << 14) as u16;
    PortConfig { receive_buffers, send_slots: players + 64, ..PortConfig::default() }
}

/// How the shard at `index` is built; its secrets come from `entropy`.
pub(crate) fn shard_config(
    config: &Config,
    index: usize,
    entropy: &mut impl Entropy,
) -> ShardConfig {
    ShardConfig {
        socket_index: index as u8 + 1,
        players: config.slots_per_shard(),
        entities: config.entities_per_shard(),
        rate: config.tick_rate(),
        budget: config.replication.budget_range(),
        rules: rules(config),
        entry: EntryRules { seed: config.world.seed, spawn: config.world.spawn },
        canary_seed: u64::from_le_bytes(entropy.bytes()),
        path_secret: [entropy.bytes(), entropy.bytes()].map(u64::from_le_bytes),
        rekey: config.rekey.policy(),
        benchmark: config.net.benchmark,
    }
}

fn rules(config: &Config) -> Rules {
    Rules {
        rates: config.limits.client_rates(),
        messages: config.waf.message_budgets(),
        scores: config.waf.scores(),
        integrity: config.waf.integrity_pace(),
        cool_down_s: config.waf.cool_down_s.min(u16::MAX.into()) as u16,
    }
}

/// The integrity keys of all builds, each once.
fn key_tables(config: &Config) -> Result<Vec<Arc<KeyTable>>, StartError> {
    let mut tables: Vec<Arc<KeyTable>> = Vec::new();
    for path in &config.waf.integrity.tables {
        let table = load_key_table(path)?;
        if tables.iter().any(|other| other.build() == table.build()) {
            return Err(StartError(format!(
                "waf.integrity.tables: {} is a second table of build {}",
                path.display(),
                table.build()
            )));
        }
        tables.push(Arc::new(table));
    }
    Ok(tables)
}

/// What the gate of a server that starts at `boot_unix_ms` is told.
pub(crate) fn gate_config(
    config: &Config,
    keys: &ServerKeys,
    shards: usize,
    boot_unix_ms: u64,
) -> Result<GateConfig, StartError> {
    let backend = &keys.backend;
    let token_key = TokenKey { id: backend.token_key_id, key: backend.token_key.0 };
    let networks = config.limits.trusted_sources.iter().map(|network| {
        network
            .parse()
            .map_err(|error| StartError(format!("limits.trusted_sources: `{network}`: {error}")))
    });
    Ok(GateConfig {
        boot_unix_ms,
        tick_hz: config.server.tick_rate,
        shards: shards as u8,
        slots_per_shard: config.slots_per_shard() as u16,
        spare_slots: config.spare_slots() as u16,
        entities_per_shard: config.entities_per_shard(),
        sessions: config.world.players as usize,
        trusted_sources: networks.collect::<Result<_, _>>()?,
        rates: config.limits.handshake_rates(),
        linger: Nanos::from_ms(1_000 * u64::from(config.world.linger_s)),
        dh_per_s: config.limits.key_agreements_per_s,
        packets_per_s: config.limits.client_packets_per_s as u16,
        banned: config.waf.banned.clone(),
        cool_downs: config.waf.cool_down_rules(),
        integrity: key_tables(config)?,
        ..GateConfig::new(backend.protocol_id, backend.realm, keys.static_keys()?, vec![token_key])
    })
}

/// Tells the operator what happened; for rare events of our own, never for what a peer does.
#[expect(clippy::print_stderr, reason = "a server's log is its standard error")]
fn say(event: &str) {
    eprintln!("tidelock: {event}");
}

/// The error of a thread whose port failed.
fn port_failed(error: &io::Error) -> StartError {
    StartError(format!("the network socket failed: {error}"))
}
