//! `loadgen attack`: bounded attacks on a server of this machine, beside honest players, and
//! whether these noticed.
//!
//! | file | what it owns |
//! |---|---|
//! | `field` | the socket, the pace, what was sent and came back |
//! | `session`, `squad` | the protocol as an attacker speaks it, alone and in numbers |
//! | `scenarios` | the attacks |
//! | `arena` | before, during and after, honest players included |
//! | `report` | the figures, and which must hold |

mod arena;
mod field;
mod report;
mod scenarios;
mod session;
mod squad;
#[cfg(test)]
mod tests;

use crate::server::{ServerArgs, ServerChild, Target};
use arena::Plan;
use clap::Args;
use report::Outcome;
use scenarios::Entry;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tidelock::keys::BackendKeys;
use tidelock::server::{RunDir, stop_on_signal};

/// Attack a server on this machine, beside honest players.
///
/// Each scenario starts a server of its own, unless --server names one, lets honest players join,
/// attacks for a while from addresses of 127/8, and compares what the players saw before, during
/// and after. Nothing is ever sent to another machine.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  loadgen attack --list
  loadgen attack --scenario garbage
  loadgen attack --scenario all --json attacks.json
  loadgen attack --scenario half-open --server 127.0.0.1:3565      a server that runs already

The exit code says whether all figures held: no honest player disconnected, their latency p99 at
most 50 ms, at most 1 % of the ticks overrun, at most 64 MiB more memory, at most 0.07 bytes for a
byte of a stranger and 3 for an address that a session may move to, nothing in answer to garbage,
and players well again within 2 s.")]
pub(crate) struct AttackArgs {
    /// Name of the scenario, several separated by commas, or `all`.
    #[arg(long, default_value = "all")]
    scenario: String,
    /// List the scenarios.
    #[arg(long)]
    list: bool,
    /// Honest players.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=3_000))]
    players: u32,
    /// Seconds of each attack.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=120))]
    seconds: u64,
    /// Seconds before it, and after it.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=60))]
    calm: u64,
    /// Datagrams per second. Without it, what suits the scenario, see --list.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    rate: Option<u32>,
    /// Datagrams in all, at most.
    #[arg(long, default_value_t = 2_000_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=20_000_000))]
    count: u64,
    /// Decides what is sent, as far as keys do not.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A server that runs already, on 127.0.0.0/8.
    #[arg(long)]
    server: Option<SocketAddr>,
    /// Key file of its backend. Without it, the keys that `tidelock serve --dev` left.
    #[arg(long, env = "TIDELOCK_KEYS")]
    keys: Option<PathBuf>,
    /// Folder in which it keeps its admin socket and development keys.
    #[arg(long, env = "TIDELOCK_RUN_DIR")]
    run_dir: Option<PathBuf>,
    /// Write the outcomes to this file as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Players that a server under attack has room for: one shard's.
const SLOTS: u32 = 4_096;
/// Time for honest players to settle.
const SETTLE: Duration = Duration::from_secs(2);

pub(crate) fn run(arguments: &AttackArgs) -> Result<ExitCode, String> {
    if arguments.list {
        for Entry { name, what, rate } in scenarios::ALL {
            tidelock::cli::say(format_args!("{name:<18} {rate:>6}/s  {what}"));
        }
        return Ok(ExitCode::SUCCESS);
    }
    arguments.server.map_or(Ok(()), field::check_target)?;
    let entries = scenarios::chosen(&arguments.scenario)?;
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_signal(Arc::clone(&stop)).map_err(|error| error.to_string())?;
    tidelock::cli::say(report::head());
    let mut outcomes = Vec::new();
    for entry in entries {
        if stop.load(Ordering::Relaxed) {
            return Err("stopped before all scenarios were over".to_owned());
        }
        let outcome = on_a_server(arguments, entry, &stop)?;
        tidelock::cli::say(outcome.line());
        tidelock::cli::say(outcome.drops());
        outcomes.push(outcome);
    }
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(&outcomes).expect("numbers and strings");
        std::fs::write(path, text + "\n")
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    let mut held = true;
    for outcome in &outcomes {
        for fault in outcome.faults() {
            held = false;
            tidelock::cli::say(format_args!("NOT HELD: {}: {fault}", outcome.scenario));
        }
    }
    if held {
        tidelock::cli::say("held");
    }
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs a scenario on the server that was named, else on one of its own.
fn on_a_server(arguments: &AttackArgs, entry: Entry, stop: &AtomicBool) -> Result<Outcome, String> {
    let plan = Plan {
        players: arguments.players,
        settle: SETTLE,
        calm: Duration::from_secs(arguments.calm),
        attack: Duration::from_secs(arguments.seconds),
        rate: arguments.rate,
        count: arguments.count,
        seed: arguments.seed,
    };
    let Some(address) = arguments.server else {
        let server = ServerChild::start(&ServerArgs::for_players(arguments.players, SLOTS))?;
        return arena::run(&server.target(), &|| server.resident_bytes(), entry, &plan, stop);
    };
    let run_dir = RunDir::locate(arguments.run_dir.as_deref());
    let path = arguments.keys.clone().unwrap_or_else(|| run_dir.dev_keys(address.port()));
    let (keys, admin) = (BackendKeys::load(&path)?, run_dir.admin_socket(address.port()));
    arena::run(&Target { address, admin: &admin, keys: &keys }, &|| None, entry, &plan, stop)
}
