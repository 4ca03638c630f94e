//! `loadgen run`: players against a server that runs already.

use clap::Args;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tidelock::admin;
use tidelock::config::DEFAULT_PORT;
use tidelock::host::cores;
use tidelock::keys::{BackendKeys, load_key_table};
use tidelock::limits::PLAINTEXT_MAX;
use tidelock::server::{RunDir, stop_on_signal};
use tidelock::swarm::{self, Conducted, Plan, Profile, SwarmConfig};

/// Named, so that the parser takes the list for one value.
type Cores = Vec<usize>;

/// Let players join a running server, play and be measured.
///
/// Ends with exit code 1 if the run was not clean: players that could not join, lost datagrams,
/// packets that broke the protocol, ticks or latencies over their limits, or a load generator that
/// was itself the bottleneck.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  loadgen run --players 1000 --seconds 30
  loadgen run --server 10.0.0.5:3565 --keys backend.keys.toml --players 200 --ramp 8
  loadgen run --players 3000 --cores 1 --profile plaza --json run.json
  loadgen run --players 200 --integrity integrity-1001.toml

On loopback every player has its own address in 127/8; with --per-address several share one, which
costs this program less and the server the same. Elsewhere all share the address of this host, and
the server's limit on handshakes of one source (20/s) asks for a gentle --ramp, or for
`trusted_sources` in its configuration.")]
pub(crate) struct RunArgs {
    /// UDP address of the server.
    #[arg(long, default_value_t = SocketAddr::from(([127, 0, 0, 1], DEFAULT_PORT)))]
    server: SocketAddr,
    /// Players.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    players: u32,
    /// Seconds to measure.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Seconds between the last player's arrival and the measured window.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(0..=600))]
    warm_up: u64,
    /// Inputs of one player per second.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=120))]
    rate: u32,
    /// Players that begin to join per second.
    #[arg(long, default_value_t = 800, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    ramp: u32,
    /// Players that may share an address of 127/8, 1 to 16.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    per_address: u32,
    /// Seconds after which a player goes on from another address of 127/8, again and again; 0 =
    /// never. A server lets a player do that ten times a minute.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=3_600))]
    rebind_every: u32,
    /// Cores such as 1,3-4: a thread on each. Without it, one thread that is not pinned.
    #[arg(long, value_parser = cores::parse_list)]
    cores: Option<Cores>,
    /// How the players move: uniform, plaza (all on 100 m), blob (all on 5 m) or idle.
    #[arg(long, default_value = "uniform")]
    profile: Profile,
    /// Key file of the backend. Without it, the keys that `tidelock serve --dev` left on this
    /// machine.
    #[arg(long, env = "TIDELOCK_KEYS")]
    keys: Option<PathBuf>,
    /// Admin socket of the server. Without it, the one that a server on this machine has.
    #[arg(long)]
    admin: Option<PathBuf>,
    /// Folder in which a server on this machine keeps its admin socket and development keys.
    #[arg(long, env = "TIDELOCK_RUN_DIR")]
    run_dir: Option<PathBuf>,
    /// Integrity keys of the players' build, as `tidelock keygen --build` makes them and the server
    /// has them in `waf.integrity.tables`. Without it the players are of build 0, which has none.
    #[arg(long)]
    integrity: Option<PathBuf>,
    /// Bytes of plaintext the server allows a snapshot's packet; more counts as its fault.
    #[arg(long, default_value_t = PLAINTEXT_MAX)]
    budget: usize,
    /// Decides where players start and how they walk.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the report to this file as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

pub(crate) fn run(arguments: &RunArgs) -> Result<ExitCode, String> {
    let run_dir = RunDir::locate(arguments.run_dir.as_deref());
    let port = arguments.server.port();
    let keys = load_keys(arguments, &run_dir)?;
    let integrity = match &arguments.integrity {
        Some(path) => Some(Arc::new(load_key_table(path)?)),
        None => None,
    };
    let admin = arguments.admin.clone().or_else(|| {
        let path = run_dir.admin_socket(port);
        (arguments.server.ip().is_loopback() && path.exists()).then_some(path)
    });
    if let Some(path) = &admin {
        admin::ask(path, admin::Request::Stats)?;
    }
    let config = SwarmConfig {
        rate: arguments.rate,
        profile: arguments.profile,
        seed: arguments.seed,
        connects_per_s: arguments.ramp,
        per_address: arguments.per_address,
        rebind_every_s: arguments.rebind_every,
        budget: arguments.budget,
        integrity,
        ..SwarmConfig::new(arguments.server, keys, arguments.players)
    };
    let plan = Plan {
        warm_up: Duration::from_secs(arguments.warm_up),
        measure: Duration::from_secs(arguments.seconds),
    };
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_signal(Arc::clone(&stop)).map_err(|error| error.to_string())?;
    let cores = arguments.cores.clone().unwrap_or_default();
    let mut ask = |request| admin.as_deref().and_then(|path| admin::ask(path, request).ok());
    let conducted = swarm::conduct(&config, &cores, plan, &mut ask, &stop, &mut |progress| {
        tidelock::cli::say(swarm::live_line(progress));
    })?;
    tidelock::cli::say(swarm::table(&conducted).trim_end());
    if let Some(path) = &arguments.json {
        write_json(path, &conducted)?;
    }
    Ok(verdict(&conducted))
}

fn load_keys(arguments: &RunArgs, run_dir: &RunDir) -> Result<BackendKeys, String> {
    if let Some(path) = &arguments.keys {
        return BackendKeys::load(path);
    }
    let dev = run_dir.dev_keys(arguments.server.port());
    if dev.exists() {
        return BackendKeys::load(&dev);
    }
    Err(format!(
        "no keys to mint the players' tokens with: give the backend's file with --keys, or start \
         the server with `tidelock serve --dev` as the same user ({} does not exist)",
        dev.display()
    ))
}

fn write_json(path: &Path, conducted: &Conducted) -> Result<(), String> {
    std::fs::write(path, conducted.report.to_json() + "\n")
        .map_err(|error| format!("cannot write {}: {error}", path.display()))
}

/// Says whether the run was clean, and what was not.
fn verdict(conducted: &Conducted) -> ExitCode {
    for note in conducted.notes() {
        tidelock::cli::say(format_args!("note: {note}"));
    }
    let faults = conducted.faults();
    for fault in &faults {
        tidelock::cli::say(format_args!("NOT CLEAN: {fault}"));
    }
    if faults.is_empty() {
        tidelock::cli::say("clean");
        return ExitCode::SUCCESS;
    }
    ExitCode::FAILURE
}
