//! `serve`, `check-config` and `stats`.

use crate::admin::{self, Request};
use crate::config::{Config, DEFAULT_PORT, ShardCount};
use crate::demo::{LISTENS_ON, READY};
use crate::server::{CorePlan, RunDir, Server, ServerOptions, stop_on_signal};
use clap::Args;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Run a server until Ctrl-C.
///
/// Settings come from the defaults, then the file, then the environment, then the flags.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidelock serve --dev
  tidelock serve --keys server.keys.toml --bind 0.0.0.0:3565
  tidelock serve --config tidelock.toml --shards auto --cores 2-7
  TIDELOCK_TICK_RATE=30 tidelock serve --config tidelock.toml")]
pub(super) struct ServeArgs {
    /// Settings file (TOML); see `tidelock check-config`.
    #[arg(long, env = "TIDELOCK_CONFIG")]
    config: Option<PathBuf>,
    /// Try things out: mint keys, serve the loopback only.
    #[arg(long)]
    dev: bool,
    /// End when standard input closes, for a parent process; signals are left to it.
    #[arg(long, hide = true)]
    end_with_stdin: bool,
    #[command(flatten)]
    overrides: Overrides,
}

/// Flags and variables that take precedence over the file.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Overrides {
    /// UDP address to listen on [default: 0.0.0.0:3565, with --dev 127.0.0.1:3565].
    #[arg(long, env = "TIDELOCK_BIND")]
    pub(super) bind: Option<SocketAddr>,
    /// Key file made by `tidelock keygen`.
    #[arg(long, env = "TIDELOCK_KEYS")]
    pub(super) keys: Option<PathBuf>,
    /// Ticks per second: 30, 60 or 120.
    #[arg(long, env = "TIDELOCK_TICK_RATE")]
    pub(super) tick_rate: Option<u16>,
    /// Simulation threads: a number, or `auto` for one per physical core less one for the gate.
    #[arg(long, env = "TIDELOCK_SHARDS", value_name = "auto|N")]
    pub(super) shards: Option<ShardCount>,
    /// `auto`, or cores such as 0,2-3 for shards and gate, in order of preference.
    #[arg(long, env = "TIDELOCK_CORES", value_name = "LIST")]
    pub(super) cores: Option<String>,
    /// Accept more shards than cores: for tests on small machines.
    #[arg(long, env = "TIDELOCK_OVERSUBSCRIBE", value_name = "true|false")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(super) oversubscribe: Option<bool>,
    /// How datagrams are moved: auto, uring or mmsg.
    #[arg(long, env = "TIDELOCK_IO")]
    pub(super) io: Option<String>,
    /// Players at a time.
    #[arg(long, env = "TIDELOCK_PLAYERS")]
    pub(super) players: Option<u32>,
    /// NPCs that wander about from the start.
    #[arg(long, env = "TIDELOCK_NPCS")]
    pub(super) npcs: Option<u32>,
    /// Bytes of plaintext in one snapshot, at most.
    #[arg(long, env = "TIDELOCK_BUDGET")]
    pub(super) budget: Option<usize>,
    /// Centimetres from which players see each other.
    #[arg(long, env = "TIDELOCK_PLAYER_RADIUS")]
    pub(super) player_radius: Option<f32>,
    /// Seconds after which a session gets new keys: 5 to 3600.
    #[arg(long, env = "TIDELOCK_REKEY_SECONDS")]
    pub(super) rekey_seconds: Option<u32>,
    /// Bytes, both directions together, after which a session gets new keys.
    #[arg(long, env = "TIDELOCK_REKEY_BYTES")]
    pub(super) rekey_bytes: Option<u64>,
    /// Folder of lock, admin socket and development keys.
    #[arg(long, env = "TIDELOCK_RUN_DIR")]
    pub(super) run_dir: Option<PathBuf>,
}

impl Overrides {
    /// Puts the flags that were given into `config`.
    pub(super) fn apply(&self, config: &mut Config) {
        fn set<T: Clone>(target: &mut T, value: &Option<T>) {
            if let Some(value) = value {
                target.clone_from(value);
            }
        }
        let Self { bind, keys, tick_rate, shards, cores, io, .. } = self;
        set(&mut config.server.bind, bind);
        set(&mut config.server.tick_rate, tick_rate);
        set(&mut config.server.shards, shards);
        set(&mut config.server.cores, cores);
        set(&mut config.server.oversubscribe, &self.oversubscribe);
        set(&mut config.server.io, io);
        set(&mut config.replication.budget_bytes, &self.budget);
        set(&mut config.interest.player, &self.player_radius);
        set(&mut config.rekey.seconds, &self.rekey_seconds);
        set(&mut config.rekey.bytes, &self.rekey_bytes);
        if let Some(players) = self.players {
            config.world.players = players;
            config.world.entities = config.world.entities.max(players);
        }
        if let Some(npcs) = self.npcs {
            config.world.npcs = npcs;
            config.world.entities = config.world.entities.max(config.world.players + npcs);
        }
        if keys.is_some() {
            config.server.keys.clone_from(keys);
        }
        if self.run_dir.is_some() {
            config.server.run_dir.clone_from(&self.run_dir);
        }
    }
}

pub(super) fn run(arguments: &ServeArgs) -> Result<ExitCode, String> {
    let mut config = match &arguments.config {
        Some(path) => Config::load(path).map_err(|error| error.to_string())?,
        None => Config::default(),
    };
    if arguments.dev && arguments.config.is_none() {
        config.server.bind.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    arguments.overrides.apply(&mut config);
    let server = Server::start(&ServerOptions { config, dev: arguments.dev })
        .map_err(|error| error.to_string())?;
    server.warnings.iter().for_each(|warning| super::warn(warning));
    if arguments.end_with_stdin {
        stop_with_stdin(server.stop_flag());
    } else {
        stop_on_signal(server.stop_flag()).map_err(|error| error.to_string())?;
    }
    let port = server.address.port();
    super::say(format_args!(
        "tidelock {}{LISTENS_ON}{}",
        env!("CARGO_PKG_VERSION"),
        server.address
    ));
    super::say(format_args!("  io       {}", server.backend.name()));
    let headings = std::iter::once("threads").chain(std::iter::repeat(""));
    for (heading, line) in headings.zip(server.plan.lines()) {
        super::say(format_args!("  {heading:7}  {line}"));
    }
    super::say(format_args!(
        "  memory   {} MiB held by the shards for good",
        server.memory_bytes >> 20
    ));
    super::say(format_args!("  admin    {}", server.run_dir.admin_socket(port).display()));
    if arguments.dev && arguments.overrides.keys.is_none() {
        super::say(format_args!(
            "  keys     {} (development)",
            server.run_dir.dev_keys(port).display()
        ));
    }
    super::say(format_args!("{READY}; Ctrl-C ends it"));
    server.join().map_err(|error| error.to_string())?;
    super::say("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Sets the flag when the parent closes our standard input, or is gone.
fn stop_with_stdin(stop: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        // An error means the same as the end of the input: nobody is there any more.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        stop.store(true, Ordering::Relaxed);
    });
}

/// Check a settings file and print what it amounts to on this machine.
///
/// What is printed is a settings file again; the threads and their cores stand in comments.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  tidelock check-config tidelock.toml && systemctl restart tidelock")]
pub(super) struct CheckConfigArgs {
    /// The file. Without one, the defaults are printed: a file to start from.
    file: Option<PathBuf>,
}

pub(super) fn check_config(arguments: &CheckConfigArgs) -> Result<ExitCode, String> {
    let config = match &arguments.file {
        Some(path) => Config::load(path).map_err(|error| error.to_string())?,
        None => Config::default(),
    };
    let plan = plan_of(&config).map_err(|error| match &arguments.file {
        Some(path) => format!("{}: {error}", path.display()),
        None => error,
    })?;
    super::say(config.to_toml().trim_end());
    super::say("\n# On this machine:");
    plan.lines().iter().for_each(|line| super::say(format_args!("#   {line}")));
    plan.warnings.iter().for_each(|warning| super::warn(warning));
    Ok(ExitCode::SUCCESS)
}

/// The threads that `serve` would start with these settings, or its error.
fn plan_of(config: &Config) -> Result<CorePlan, String> {
    config.check().map_err(|error| error.to_string())?;
    let plan = CorePlan::new(config).map_err(|error| error.to_string())?;
    config.with_shards(plan.shards.len()).map_err(|error| error.to_string())?;
    Ok(plan)
}

/// Print the state of the server that runs on this machine, as JSON.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidelock stats
  tidelock stats --port 4000 | jq .counters")]
pub(super) struct StatsArgs {
    /// UDP port of the server.
    #[arg(long, default_value_t = DEFAULT_PORT)]
    port: u16,
    /// Folder of its admin socket.
    #[arg(long, env = "TIDELOCK_RUN_DIR")]
    run_dir: Option<PathBuf>,
    /// Start a new window of quantiles afterwards.
    #[arg(long)]
    mark: bool,
}

pub(super) fn stats(arguments: &StatsArgs) -> Result<ExitCode, String> {
    let path = RunDir::locate(arguments.run_dir.as_deref()).admin_socket(arguments.port);
    let request = if arguments.mark { Request::Mark } else { Request::Stats };
    super::say(admin::ask(&path, request)?.to_json());
    Ok(ExitCode::SUCCESS)
}
