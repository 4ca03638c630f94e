//! `keygen` and `token`.

use crate::config::DEFAULT_PORT;
use crate::crypto::integrity::KeyTable;
use crate::host::clock;
use crate::host::entropy::OsEntropy;
use crate::keys::{BackendKeys, ServerKeys, TicketRequest, save_key_table};
use clap::Args;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

/// Make the keys of a server and of its backend, or the integrity keys of a build.
///
/// The server's file holds its static secret; the backend's holds what is needed to mint tokens.
/// With --build, neither is made, but a table of keys that the server (`waf.integrity.tables`) and
/// the clients of that build share. Existing files are never overwritten.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidelock keygen --out keys                  server.keys.toml and backend.keys.toml
  tidelock keygen --out keys --build 1001     integrity-1001.toml")]
pub(super) struct KeygenArgs {
    /// Folder for the files.
    #[arg(long, default_value = ".")]
    out: PathBuf,
    /// Make the integrity keys of this build instead: `integrity-BUILD.toml`.
    #[arg(long)]
    build: Option<u32>,
    /// How many integrity keys the build gets, 1 to 4,096.
    #[arg(long, default_value_t = 256, requires = "build")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=4_096))]
    count: u16,
}

pub(super) fn keygen(arguments: &KeygenArgs) -> Result<ExitCode, String> {
    let folder = &arguments.out;
    fs::create_dir_all(folder)
        .map_err(|error| format!("cannot make the folder {}: {error}", folder.display()))?;
    if let Some(build) = arguments.build {
        return key_table(arguments, build);
    }
    let (server, backend) = (folder.join("server.keys.toml"), folder.join("backend.keys.toml"));
    if backend.exists() {
        return Err(format!(
            "{} exists; move it away first, keys are never overwritten",
            backend.display()
        ));
    }
    let keys = ServerKeys::generate(&mut OsEntropy);
    keys.save(&server, false)?;
    keys.backend.save(&backend, false)?;
    super::say(format_args!(
        "{}   for `tidelock serve --keys`; keep it on the server",
        server.display()
    ));
    super::say(format_args!("{}  for `tidelock token --keys` and your backend", backend.display()));
    Ok(ExitCode::SUCCESS)
}

fn key_table(arguments: &KeygenArgs, build: u32) -> Result<ExitCode, String> {
    let path = arguments.out.join(format!("integrity-{build}.toml"));
    let table = KeyTable::generate(build, arguments.count.into(), &mut OsEntropy);
    save_key_table(&table, &path)?;
    super::say(format_args!(
        "{}   for `waf.integrity.tables` of the server, and for the clients of build {build}",
        path.display()
    ));
    Ok(ExitCode::SUCCESS)
}

/// Mint a connect token and print, as JSON, everything its client needs.
///
/// A token is good for one connection, at most 60 seconds, and not for a server that was started
/// after it was minted.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidelock token --keys keys/backend.keys.toml --player 7
  tidelock token --keys keys/backend.keys.toml --player 7 --spawn 409600,409600,0")]
pub(super) struct TokenArgs {
    /// Key file: the backend's or the server's.
    #[arg(long, env = "TIDELOCK_KEYS")]
    keys: PathBuf,
    /// Who the player is.
    #[arg(long)]
    player: u64,
    /// Where the player starts: x,y,z in centimetres.
    #[arg(long, value_parser = spawn_point)]
    spawn: Option<[i32; 3]>,
    /// Seconds until the token expires, at most 60.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=60))]
    ttl: u64,
    /// Address of the server, for the client.
    #[arg(long, default_value_t = format!("127.0.0.1:{DEFAULT_PORT}"))]
    server: String,
}

pub(super) fn token(arguments: &TokenArgs) -> Result<ExitCode, String> {
    let keys = BackendKeys::load(&arguments.keys)?;
    let request =
        TicketRequest { player: arguments.player, spawn: arguments.spawn, ttl_s: arguments.ttl };
    let mut ticket = keys.mint(&request, clock::unix_ms(), &mut OsEntropy);
    ticket.servers.push(arguments.server.clone());
    super::say(ticket.to_json());
    Ok(ExitCode::SUCCESS)
}

fn spawn_point(text: &str) -> Result<[i32; 3], String> {
    let numbers: Result<Vec<i32>, _> =
        text.split(',').map(|number| number.trim().parse()).collect();
    numbers
        .ok()
        .and_then(|numbers| numbers.try_into().ok())
        .ok_or_else(|| "expected three whole numbers: x,y,z in centimetres".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spawn_point_is_three_whole_numbers() {
        assert_eq!(spawn_point("1, -2,3"), Ok([1, -2, 3]));
        assert!(["1,2", "1,2,3,4", "a,b,c", "1.5,2,3", ""].iter().all(|t| spawn_point(t).is_err()));
    }
}
