//! `loadgen impair`: a bad network between players and a server, since not every kernel has netem.
//!
//! Alone it is a proxy in front of a server that runs already. With `--players` it brings its own
//! server and players, runs the profiles one after the other, and judges what came of them.

mod model;
mod profile;
mod queue;
mod relay;
mod report;
#[cfg(test)]
mod tests;
mod trial;

use clap::Args;
use profile::{NAMES, Overrides, Profile};
use relay::{CLIENTS_MAX, Relay, RelayConfig};
use report::RelayReport;
use serde::Serialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tidelock::config::DEFAULT_PORT;
use tidelock::server::stop_on_signal;
use trial::Trial;

/// Put a bad network between players and a server on this machine.
///
/// A proxy that loses, delays, reorders, doubles and damages datagrams, and changes the addresses
/// under which the server sees its clients. Every decision is drawn from the seed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  loadgen impair --profile wifi                         proxy on port 3566 for a server on 3565
  loadgen run --server 127.0.0.1:3566 --keys backend.keys.toml     players who go through it
  loadgen impair --profile 4g --loss 5/1 --delay 80     up 5 %, down 1 % lost; 80 ms each way
  loadgen impair --players 50 --profile all --json impair.json     server, proxy and players
  loadgen impair --list

With --players the exit code says whether all players joined within 10 s, none was disconnected,
nothing was dropped as a replay that was none, and no change of address took more than 500 ms.")]
pub(crate) struct ImpairArgs {
    /// Name of the network, of several separated by commas, or `all`; several need --players.
    #[arg(long, default_value = "lan")]
    profile: String,
    /// List the profiles.
    #[arg(long)]
    list: bool,
    /// UDP address of the server, on 127.0.0.0/8.
    #[arg(long, default_value_t = SocketAddr::from(([127, 0, 0, 1], DEFAULT_PORT)))]
    server: SocketAddr,
    /// UDP port for the clients; 0 takes a free one.
    #[arg(long, default_value_t = DEFAULT_PORT + 1)]
    listen: u16,
    /// Decides what happens to which datagram.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Seconds to run, or with --players to measure each profile (default 12). Else until Ctrl-C.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    seconds: u64,
    /// Start a server and so many players behind the proxy.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=2_000))]
    players: u32,
    /// Clients at a time.
    #[arg(long, default_value_t = 4_096)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=i64::from(CLIENTS_MAX)))]
    clients: u32,
    /// Datagrams under way at a time; memory for them is taken at start, 1.2 KB each.
    #[arg(long, default_value_t = 32_768)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    under_way: u32,
    /// Write the report to this file as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    #[command(flatten)]
    overrides: Overrides,
}

/// Seconds measured for each profile unless chosen.
const TRIAL_SECONDS: u64 = 12;

pub(crate) fn run(arguments: &ImpairArgs) -> Result<ExitCode, String> {
    if arguments.list {
        for (name, what) in NAMES {
            tidelock::cli::say(format_args!("{name:<14} {what}"));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let profiles = chosen(&arguments.profile, &arguments.overrides)?;
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_signal(Arc::clone(&stop)).map_err(|error| error.to_string())?;
    if arguments.players > 0 {
        return try_all(arguments, &profiles, &stop);
    }
    let [(name, profile)] = &profiles[..] else {
        return Err("several profiles at a time need --players, which brings a server".to_owned());
    };
    let relay = Relay::bind(config(arguments, arguments.server, *profile))?;
    let (address, server) = (relay.address(), arguments.server);
    tidelock::cli::say(format_args!("{name}: {address} leads to {server}; Ctrl-C ends it"));
    let deeds = relay.run(&stop, arguments.seconds)?;
    let report =
        RelayReport { profile: name.clone(), settings: *profile, seed: arguments.seed, deeds };
    tidelock::cli::say(report.table().trim_end());
    if let Some(path) = &arguments.json {
        write_json(path, &report)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The profiles that were asked for, with their names.
fn chosen(names: &str, overrides: &Overrides) -> Result<Vec<(String, Profile)>, String> {
    let all: Vec<&str> = match names {
        "all" => NAMES.iter().map(|(name, _)| *name).collect(),
        list => list.split(',').map(str::trim).collect(),
    };
    all.into_iter()
        .map(|name| {
            let mut profile = profile::named(name)?;
            overrides.apply(&mut profile)?;
            Ok((name.to_owned(), profile))
        })
        .collect()
}

fn config(arguments: &ImpairArgs, server: SocketAddr, profile: Profile) -> RelayConfig {
    RelayConfig {
        server,
        listen: arguments.listen,
        profile,
        seed: arguments.seed,
        clients: arguments.clients,
        under_way: arguments.under_way,
    }
}

/// A server, players and the proxy between them, for each profile.
fn try_all(
    arguments: &ImpairArgs,
    profiles: &[(String, Profile)],
    stop: &AtomicBool,
) -> Result<ExitCode, String> {
    let seconds = if arguments.seconds == 0 { TRIAL_SECONDS } else { arguments.seconds };
    tidelock::cli::say(report::trial_head());
    let mut reports = Vec::new();
    for (name, profile) in profiles {
        if stop.load(Ordering::Relaxed) {
            return Err("stopped before all profiles were tried".to_owned());
        }
        let trial = Trial { players: arguments.players, seconds, seed: arguments.seed };
        let relay = RelayConfig { listen: 0, ..config(arguments, arguments.server, *profile) };
        let report = trial::with_own_server(trial, name, relay)?;
        tidelock::cli::say(report.line());
        reports.push(report);
    }
    if let Some(path) = &arguments.json {
        write_json(path, &reports)?;
    }
    let mut held = true;
    for report in &reports {
        for fault in report.faults() {
            held = false;
            tidelock::cli::say(format_args!("NOT HELD: {}: {fault}", report.network.profile));
        }
    }
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), String> {
    let text = serde_json::to_string_pretty(value).expect("numbers and strings");
    std::fs::write(path, text + "\n")
        .map_err(|error| format!("cannot write {}: {error}", path.display()))
}
