//! The server under test, as a child process of this binary: its CPU time and its memory are its
//! own. Started by `bench`, `impair` and `attack`.

use clap::Args;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use tidelock::config::{Config, InterestConfig, ShardCount};
use tidelock::host::cores;
use tidelock::keys::BackendKeys;
use tidelock::limits;
use tidelock::server::{RunDir, Server, ServerOptions};

/// What the child is told.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServerArgs {
    /// First the shards' cores, then the gate's.
    #[arg(long)]
    pub(crate) cores: String,
    #[arg(long)]
    pub(crate) shards: u16,
    /// Whether shards share cores.
    #[arg(long)]
    pub(crate) oversubscribe: bool,
    #[arg(long)]
    pub(crate) players: u32,
    #[arg(long)]
    pub(crate) tick_rate: u16,
    #[arg(long)]
    pub(crate) visible: u32,
    #[arg(long)]
    pub(crate) io: String,
    #[arg(long)]
    pub(crate) budget: usize,
    /// Filled in by the parent.
    #[arg(long, default_value = "")]
    pub(crate) run_dir: PathBuf,
}

impl ServerArgs {
    /// A server with room for `slots` players of whom `players` come and see about 50 others each.
    /// Its shard has a core of its own if there are two.
    pub(crate) fn for_players(players: u32, slots: u32) -> Self {
        let allowed = cores::allowed();
        Self {
            cores: cores::to_list(&allowed),
            shards: 1,
            oversubscribe: allowed.len() < 2,
            players: slots,
            tick_rate: 60,
            visible: (u64::from(slots) * 50 / u64::from(players.max(51))) as u32,
            io: "auto".to_owned(),
            budget: limits::SNAPSHOT_BUDGET,
            run_dir: PathBuf::new(),
        }
    }
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

/// A server on this machine, and how to join and ask it.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) admin: &'a Path,
    pub(crate) keys: &'a BackendKeys,
}

/// The parent's end. Dropping it ends the server.
pub(crate) struct ServerChild {
    process: Child,
    folder: PathBuf,
    pub(crate) address: SocketAddr,
    pub(crate) admin: PathBuf,
    pub(crate) keys: BackendKeys,
}

impl ServerChild {
    /// Starts a server on a free port of the loopback.
    ///
    /// # Errors
    /// If it does not start; it has said why.
    pub(crate) fn start(arguments: &ServerArgs) -> Result<Self, String> {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let failed = |error: std::io::Error| format!("cannot start the server: {error}");
        let program = std::env::current_exe().map_err(failed)?;
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("tidelock-loadgen-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let mut process = Command::new(program)
            .arg("bench-server")
            .args(["--cores", &arguments.cores])
            .args(["--shards", &arguments.shards.to_string()])
            .args((arguments.oversubscribe).then_some("--oversubscribe"))
            .args(["--players", &arguments.players.to_string()])
            .args(["--tick-rate", &arguments.tick_rate.to_string()])
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

    /// It as others need it.
    pub(crate) fn target(&self) -> Target<'_> {
        Target { address: self.address, admin: &self.admin, keys: &self.keys }
    }

    /// Bytes of memory that it has resident, as the kernel says.
    pub(crate) fn resident_bytes(&self) -> Option<u64> {
        let path = format!("/proc/{}/status", self.process.id());
        let text = std::fs::read_to_string(path).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kib << 10)
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

/// A server in the process of a test, with a folder of its own.
#[cfg(test)]
pub(crate) struct LocalServer {
    server: Server,
    folder: PathBuf,
    admin: PathBuf,
    keys: BackendKeys,
}

#[cfg(test)]
impl LocalServer {
    /// Starts one; `name` tells it from others of the same process.
    pub(crate) fn start(name: &str) -> Self {
        let folder = std::env::temp_dir()
            .join(format!("tidelock-loadgen-test-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("the folder for temporary files is writable");
        let mut config = Config::default();
        config.server.bind = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
        config.server.run_dir = Some(folder.clone());
        // A machine that is busy elsewhere is no failed shard.
        config.server.watchdog_ms = 0;
        config.world.players = 2_048;
        let options = ServerOptions { config, dev: true };
        let server = Server::start(&options).expect("the server starts");
        let port = server.address.port();
        let keys = BackendKeys::load(&server.run_dir.dev_keys(port)).expect("it left its keys");
        let admin = server.run_dir.admin_socket(port);
        Self { server, folder, admin, keys }
    }

    pub(crate) fn target(&self) -> Target<'_> {
        Target { address: self.server.address, admin: &self.admin, keys: &self.keys }
    }

    /// Ends it in order.
    pub(crate) fn end(self) {
        self.server.stop();
        self.server.join().expect("an orderly end");
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
