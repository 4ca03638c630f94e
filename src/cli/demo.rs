//! `demo`: a server and players in one go.

use crate::admin;
use crate::config::InterestConfig;
use crate::demo::{ChildServer, divide_cores};
use crate::keys::BackendKeys;
use crate::server::{RunDir, stop_on_signal};
use crate::swarm::{Conducted, Plan, Profile, SwarmConfig, conduct, live_line, table};
use clap::Args;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use std::{env, fs};

/// Run a server and many players on this machine and watch them.
///
/// No root, no keys, no database: the server runs as a child process on the first cores with keys
/// of its own, the players on the others, over real UDP sockets on the loopback. The exit code is 0
/// only if the run was clean.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidelock demo
  tidelock demo --players 3000 --seconds 60 --json run.json
  tidelock demo --players 500 --profile plaza

The line of every second: players in the world, datagrams to and from the server, latency from input
to snapshot (median / 99th percentile / largest), the tick of the server (the same; a tick at 60 Hz
has 16.67 ms), and the share of a core that the players need.")]
pub(super) struct DemoArgs {
    /// Players.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    players: u32,
    /// Seconds to measure, after everybody has joined.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// How the players move: uniform, plaza (all on 100 m), blob (all on 5 m) or idle.
    #[arg(long, default_value = "uniform")]
    profile: String,
    /// Other players that each sees, about, when they are spread evenly.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=128))]
    visible: u32,
    /// Ticks per second: 30, 60 or 120.
    #[arg(long, default_value_t = 60)]
    tick_rate: u16,
    /// How the server moves datagrams: auto, uring or mmsg.
    #[arg(long, default_value = "auto")]
    io: String,
    /// Simulation threads of the server, one core each.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=255))]
    shards: u16,
    /// Players that may share an address of 127/8, 1 to 16: so that a small machine can make more.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    per_address: u32,
    /// Accept more shards than cores: for tests on small machines.
    #[arg(long)]
    oversubscribe: bool,
    /// Cores such as 0,1: the first for the server, one per shard, the others for the players.
    #[arg(long)]
    cores: Option<String>,
    /// Decides where players start and how they walk.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the report (schema tidelock.run/1) to this file.
    #[arg(long)]
    json: Option<PathBuf>,
}

pub(super) fn run(arguments: &DemoArgs) -> Result<ExitCode, String> {
    let profile: Profile = arguments.profile.parse()?;
    let (server_cores, bot_cores) =
        divide_cores(arguments.cores.as_deref(), arguments.shards.into())?;
    if cfg!(debug_assertions) {
        super::warn(
            "this is a debug build: its figures say nothing. Use cargo run --release -- demo",
        );
    }
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_signal(Arc::clone(&stop)).map_err(|error| error.to_string())?;
    let server = ChildServer::spawn(server_command(arguments, &server_cores)?)?;
    super::say(format_args!(
        "{} players at {} Hz for {} s; shards: {}, on {server_cores:?}, players on {bot_cores:?}; \
         Ctrl-C ends it\n",
        arguments.players, arguments.tick_rate, arguments.seconds, arguments.shards
    ));
    let run_dir = RunDir::locate(None);
    let port = server.address.port();
    let keys = BackendKeys::load(&run_dir.dev_keys(port))?;
    let config = SwarmConfig {
        rate: u32::from(arguments.tick_rate),
        per_address: arguments.per_address,
        profile,
        seed: arguments.seed,
        ..SwarmConfig::new(server.address, keys, arguments.players)
    };
    let plan =
        Plan { warm_up: Duration::from_secs(2), measure: Duration::from_secs(arguments.seconds) };
    let admin_socket = run_dir.admin_socket(port);
    let mut ask = |request| admin::ask(&admin_socket, request).ok();
    let mut show = |progress: &_| super::say(live_line(progress));
    let outcome = conduct(&config, &bot_cores, plan, &mut ask, &stop, &mut show);
    let ended = server.stop();
    let run = outcome?;
    super::say(format_args!("\n{}", table(&run)));
    if let Some(path) = &arguments.json {
        fs::write(path, run.report.to_json())
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    ended?;
    Ok(verdict(&run))
}

/// Says whether the run was clean, and what was not.
fn verdict(run: &Conducted) -> ExitCode {
    run.notes().iter().for_each(|note| super::say(format_args!("note: {note}")));
    let faults = run.faults();
    if faults.is_empty() {
        super::say("clean: nothing lost, no errors, every promise kept");
        return ExitCode::SUCCESS;
    }
    super::say("not clean:");
    faults.iter().for_each(|fault| super::say(format_args!("  - {fault}")));
    ExitCode::FAILURE
}

/// This program as a server: development keys, a free port of the loopback.
fn server_command(arguments: &DemoArgs, cores: &[usize]) -> Result<Command, String> {
    let program =
        env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    let radius = InterestConfig::radius_for(arguments.visible, arguments.players);
    let cores = cores.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let mut command = Command::new(program);
    command
        .args(["serve", "--dev", "--end-with-stdin", "--bind", "127.0.0.1:0"])
        .args(["--cores", &cores, "--io", &arguments.io])
        .args(["--shards", &arguments.shards.to_string()])
        .args(["--tick-rate", &arguments.tick_rate.to_string()])
        .args(["--players", &arguments.players.to_string()])
        .args(["--player-radius", &radius.to_string()]);
    if arguments.oversubscribe {
        command.arg("--oversubscribe");
    }
    Ok(command)
}
