//! The command line: what may be asked, and which command answers.

use crate::floor::FloorArgs;
use crate::{attack, bench, floor, impair, run, server};
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Load for a Tidelock server.
///
/// Every player is a real session with its own keys. Inputs are sent on a fixed schedule whatever
/// the server does, and latency is counted from the time at which an input should have been sent.
#[derive(Debug, Parser)]
#[command(name = "loadgen", version, max_term_width = 100)]
#[command(after_help = "Examples:
  tidelock serve --dev                                  in another terminal
  loadgen run --players 1000 --seconds 30
  loadgen run --players 3000 --profile plaza --cores 1 --json run.json
  loadgen bench --players 1000 --rounds 5               server against the bare kernel
  loadgen impair --profile wifi                         a bad network in front of a server
  loadgen attack --scenario all                         attacks beside honest players")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::RunArgs),
    Bench(bench::BenchArgs),
    Impair(impair::ImpairArgs),
    Attack(attack::AttackArgs),
    /// A server of the floor; `bench` starts it.
    #[command(hide = true)]
    FloorServer(FloorArgs),
    /// The server under test; `bench`, `impair` and `attack` start it.
    #[command(hide = true)]
    BenchServer(server::ServerArgs),
}

/// Runs the command that the arguments of the process name.
pub(crate) fn dispatch() -> ExitCode {
    let command = Cli::parse().command;
    if cfg!(debug_assertions) {
        tidelock::cli::complain(
            "this is a debug build: what it measures is worth nothing. Run it with --release, as \
             in `cargo run --release -p loadgen -- run`.",
        );
        return ExitCode::FAILURE;
    }
    let result = match command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Impair(arguments) => impair::run(&arguments),
        Command::Attack(arguments) => attack::run(&arguments),
        Command::FloorServer(arguments) => floor::serve(arguments).map(|()| ExitCode::SUCCESS),
        Command::BenchServer(arguments) => server::serve(&arguments).map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        tidelock::cli::complain(&error);
        ExitCode::FAILURE
    })
}
