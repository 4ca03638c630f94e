//! The command line of `tidelock`: one file per command, none of them does more than parse, call
//! and print.

mod demo;
mod explain;
mod keys;
mod serve;
mod waf;

use clap::{Parser, Subcommand};
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

/// An authoritative game server for very many players in one world.
#[derive(Debug, Parser)]
#[command(name = "tidelock", version, about, max_term_width = 100)]
#[command(after_help = "Examples:
  tidelock demo                         server and 1,000 players on this machine, live figures
  tidelock serve --dev                  a server for trying things out, loopback only, keys minted
  tidelock keygen --out keys            keys for a real server and for its backend
  tidelock serve --keys keys/server.keys.toml
  tidelock token --keys keys/backend.keys.toml --player 7
  tidelock check-config tidelock.toml   is this file right? what do the defaults add?
  tidelock stats                        the state of the server that runs here
  tidelock explain --player 7           why was player 7 told of what he sees?
  tidelock waf list                     who may not play, and who behaves worst?")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::DemoArgs),
    Serve(serve::ServeArgs),
    CheckConfig(serve::CheckConfigArgs),
    Keygen(keys::KeygenArgs),
    Token(keys::TokenArgs),
    Stats(serve::StatsArgs),
    Explain(explain::ExplainArgs),
    Waf(waf::WafArgs),
}

/// Runs the command that the arguments of the process name.
pub fn run() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Serve(arguments) => serve::run(&arguments),
        Command::CheckConfig(arguments) => serve::check_config(&arguments),
        Command::Keygen(arguments) => keys::keygen(&arguments),
        Command::Token(arguments) => keys::token(&arguments),
        Command::Stats(arguments) => serve::stats(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Waf(arguments) => waf::run(&arguments),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// Prints what was asked for, on standard output. If nobody reads it any more (`| head`), that is
/// no error of ours.
pub fn say(text: impl fmt::Display) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// Prints an error for a person: one message, cause and fix.
#[expect(clippy::print_stderr, reason = "the command line is where errors are printed")]
pub fn complain(error: &str) {
    eprintln!("error: {error}");
}

/// Prints what an operator should know and need not act on.
#[expect(clippy::print_stderr, reason = "the command line is where warnings are printed")]
pub fn warn(warning: &str) {
    eprintln!("warning: {warning}");
}
