//! The server under test, as a child process of this binary: its CPU time is its own.

use super::{BenchArgs, Places};
use clap::Args;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use tidelock::config::{Config, InterestConfig, ShardCount};
use tidelock::keys::BackendKeys;
use tidelock::server::{RunDir, Server, ServerOptions};

/// What the child is told.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServerArgs {
    /// First the shards' cores, then the gate's.
    #[arg(long)]
    cores: String,
    #[arg(long)]
    shards: u16,
    /// Whether shards share cores.
    #[arg(long)]
    oversubscribe: bool,
    #[arg(long)]
    players: u32,
    #[arg(long)]
    tick_rate: u16,
    #[arg(long)]
    visible: u32,
    #[arg(long)]
    io: String,
    #[arg(long)]
    budget: usize,
    #[arg(long)]
    run_dir: PathBuf,
}

/// Body of the child process: serves until its input ends.
pub(crate) fn serve(arguments: &ServerArgs) -> Result<(), String> {
    let mut config = Config::default();
    config.server.bind = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
    config.server.cores.clone_from(&arguments.cores);
    config.server.shards = ShardCount::Count(arguments.shards);
    config.server.oversubscribe = arguments.oversubscribe;
    config.server.tick_rate = arguments.tick_rate;
    config.server.io.clone_from(&arguments.io);
    config.server.run_dir = Some(arguments.run_dir.clone());
    config.world.players = arguments.players;
    config.world.entities = config.world.entities.max(arguments.players);
    config.replication.budget_bytes = arguments.budget;
    config.interest.player = InterestConfig::radius_for(arguments.visible, arguments.players);
    let server =
        Server::start(&ServerOptions { config, dev: true }).map_err(|error| error.to_string())?;
    for warning in &server.warnings {
        tidelock::cli::warn(warning);
    }
    tidelock::cli::say(format_args!("ready {}", server.address));
    // What comes does not matter, only its end.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    server.stop();
    server.join().map_err(|error| error.to_string())
}

/// The parent's end. Dropping it ends the server.
pub(super) struct ServerChild {
    process: Child,
    folder: PathBuf,
    pub(super) address: SocketAddr,
    pub(super) admin: PathBuf,
    pub(super) keys: BackendKeys,
}

impl ServerChild {
    pub(super) fn start(
        arguments: &BenchArgs,
        shards: u16,
        places: &Places,
    ) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("cannot start the server: {error}");
        let program = std::env::current_exe().map_err(failed)?;
        let folder = std::env::temp_dir().join(format!("tidelock-bench-{}", std::process::id()));
        let (cores, oversubscribe) = places.of_server(shards);
        let mut process = Command::new(program)
            .arg("bench-server")
            .args(["--cores", &cores])
            .args(["--shards", &shards.to_string()])
            .args((oversubscribe).then_some("--oversubscribe"))
            .args(["--players", &arguments.players.to_string()])
            .args(["--tick-rate", &arguments.rate.to_string()])
            .args(["--visible", &arguments.visible.to_string()])
            .args(["--io", &arguments.io])
            .args(["--budget", &arguments.budget.to_string()])
            .arg("--run-dir")
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let mut line = String::new();
        if let Some(out) = process.stdout.take() {
            BufReader::new(out).read_line(&mut line).map_err(failed)?;
        }
        let address = line.trim_end().strip_prefix("ready ").and_then(|text| text.parse().ok());
        let Some(address) = address else {
            let _ = process.kill();
            let _ = process.wait();
            return Err("the server did not start; its message is above".to_owned());
        };
        let address: SocketAddr = address;
        let run_dir = RunDir::locate(Some(&folder));
        let admin = run_dir.admin_socket(address.port());
        let keys = BackendKeys::load(&run_dir.dev_keys(address.port()))?;
        Ok(Self { process, folder, address, admin, keys })
    }
}

impl Drop for ServerChild {
    fn drop(&mut self) {
        // Closing its input ends it in an orderly way; what it left behind is only ours.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
