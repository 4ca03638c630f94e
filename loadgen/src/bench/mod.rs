//! `loadgen bench`: the server and the floor in turns, on the same cores, with the same datagrams.

mod outcome;

use crate::floor::{FloorArgs, FloorBackend, FloorChild, FloorLoad, FloorRound, drive};
use crate::server::{ServerArgs, ServerChild};
use clap::Args;
use outcome::Outcome;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tidelock::host::{cores, facts::HostFacts};
use tidelock::report::RunReport;
use tidelock::server::stop_on_signal;
use tidelock::swarm::{self, Conducted, Plan, Profile, SwarmConfig};
use tidelock::{admin, limits};

/// Measure what the server costs against what the kernel costs.
///
/// Starts a server and a floor in turns on the same core: a floor receives and sends datagrams of
/// the same sizes at the same rates, with neither cryptography nor a world. Reports medians and
/// ranges of CPU time per player-tick, and efficiency = floor / server.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  loadgen bench
  loadgen bench --players 3000 --floor uring,mmsg --rounds 7 --json bench.json
  loadgen bench --shards 1,2,4
  loadgen bench --floor glommio --rounds 1")]
pub(crate) struct BenchArgs {
    /// Players.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    players: u32,
    /// Seconds to measure in each round.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Rounds of the server, and of each floor.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// What the floor runs on: uring, mmsg, glommio, or several of them. The first one counts.
    #[arg(long, value_delimiter = ',', default_value = "uring")]
    floor: Vec<FloorBackend>,
    /// Ticks, and inputs of one player, per second: 30, 60 or 120.
    #[arg(long, default_value_t = 60)]
    rate: u16,
    /// Players that a player sees, about; decides the distance of sight.
    #[arg(long, default_value_t = 50)]
    visible: u32,
    /// How the players move: uniform, plaza (all on 100 m), blob (all on 5 m) or idle.
    #[arg(long, default_value = "uniform")]
    profile: Profile,
    /// How the server moves datagrams: auto, uring or mmsg.
    #[arg(long, default_value = "auto")]
    io: String,
    /// Bytes of plaintext in one snapshot, at most.
    #[arg(long, default_value_t = limits::SNAPSHOT_BUDGET)]
    budget: usize,
    /// Shards of the server: one number, or several to compare, such as 1,2,4. More than the server
    /// has cores share them; CPU time is comparable all the same, waiting is not.
    #[arg(long, value_delimiter = ',', default_value = "1")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=255))]
    shards: Vec<u16>,
    /// Cores of the server, such as 0,2-3; the first is the floor's. Default: all but the players'.
    #[arg(long)]
    server_cores: Option<String>,
    /// Core of the players.
    #[arg(long)]
    load_core: Option<usize>,
    /// Decides where players start and how they walk.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the report to this file as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Cores of the two sides.
#[derive(Clone, Debug)]
struct Places {
    /// Not empty.
    server: Vec<usize>,
    load: usize,
}

impl Places {
    /// The list of cores for a server of `shards` shards, and whether they have to share. The gate
    /// is on the core of the players, unless the shards share: then with them.
    fn of_server(&self, shards: u16) -> (String, bool) {
        match self.server.get(..shards.into()) {
            Some(own) => (cores::to_list(&[own, &[self.load]].concat()), false),
            None => (cores::to_list(&self.server), true),
        }
    }
}

const WARM_UP: Duration = Duration::from_secs(2);

pub(crate) fn run(arguments: &BenchArgs) -> Result<ExitCode, String> {
    let places = places(arguments)?;
    let stop = Arc::new(AtomicBool::new(false));
    stop_on_signal(Arc::clone(&stop)).map_err(|error| error.to_string())?;
    let mut outcome = Outcome::new(&arguments.shards, &arguments.floor);
    for number in 1..=arguments.rounds {
        let mut sizes = None;
        for &shards in &arguments.shards {
            let conducted = server_round(arguments, shards, &places, &stop)?;
            let line = outcome::server_line(shards, &conducted);
            tidelock::cli::say(format_args!("round {number}: {line}"));
            sizes.get_or_insert(Sizes::of(&conducted));
            outcome.add_server(shards, conducted);
        }
        let Some(sizes) = sizes else { break };
        for &backend in &arguments.floor {
            if stop.load(Ordering::Relaxed) {
                return Err("stopped before the rounds were complete".to_owned());
            }
            let round = floor_round(arguments, backend, &places, sizes)?;
            tidelock::cli::say(format_args!(
                "round {number}: {}",
                outcome::floor_line(backend, &round)
            ));
            outcome.add_floor(backend, round);
        }
    }
    tidelock::cli::say(outcome.table().trim_end());
    if let Some(path) = &arguments.json {
        // The rounds ran on one core each; the facts of the machine are this thread's to collect.
        let report = RunReport { host: HostFacts::collect(), ..outcome.report() };
        let report = report.to_json() + "\n";
        std::fs::write(path, report)
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    for note in outcome.notes() {
        tidelock::cli::say(format_args!("note: {note}"));
    }
    let faults = outcome.faults();
    for fault in &faults {
        tidelock::cli::say(format_args!("NOT CLEAN: {fault}"));
    }
    Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Mean bytes of a datagram in each direction.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    to_server: usize,
    to_player: usize,
}

impl Sizes {
    fn of(conducted: &Conducted) -> Self {
        let window = &conducted.swarm.window;
        let mean = |bytes: u64, count: u64| {
            (bytes / count.max(1)).clamp(4, limits::DATAGRAM_MAX as u64) as usize
        };
        Self {
            to_server: mean(window.bytes_out, window.datagrams_out),
            to_player: mean(window.bytes_in, window.datagrams_in),
        }
    }
}

/// The last core for the players and the others for the server, unless chosen.
fn places(arguments: &BenchArgs) -> Result<Places, String> {
    let allowed = cores::allowed();
    let load = arguments.load_core.or(allowed.last().copied());
    let load = load.ok_or("cannot read which cores this process may use")?;
    let server = match &arguments.server_cores {
        Some(list) => cores::parse_list(list)?,
        None => allowed.iter().copied().filter(|&core| core != load).collect(),
    };
    if server.is_empty() || server.contains(&load) {
        return Err(format!(
            "the server and the players need cores of their own, and this process may use \
             {allowed:?}"
        ));
    }
    Ok(Places { server, load })
}

/// Runs `body` on a thread pinned to the core of the players, so that nothing of the load
/// generator ever runs on the server's core.
fn on_load_core<T: Send>(
    core: usize,
    body: impl FnOnce() -> Result<T, String> + Send,
) -> Result<T, String> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            cores::pin_current_thread(core)?;
            body()
        });
        thread.join().map_err(|_| "a thread of the benchmark panicked".to_owned())?
    })
}

fn server_round(
    arguments: &BenchArgs,
    shards: u16,
    places: &Places,
    stop: &AtomicBool,
) -> Result<Conducted, String> {
    // Started from this thread: a child inherits the cores of the thread that starts it.
    let (cores, oversubscribe) = places.of_server(shards);
    let server = ServerChild::start(&ServerArgs {
        cores,
        shards,
        oversubscribe,
        players: arguments.players,
        tick_rate: arguments.rate,
        visible: arguments.visible,
        io: arguments.io.clone(),
        budget: arguments.budget,
        run_dir: PathBuf::new(),
    })?;
    let plan = Plan { warm_up: WARM_UP, measure: Duration::from_secs(arguments.seconds) };
    let config = SwarmConfig {
        rate: u32::from(arguments.rate),
        profile: arguments.profile,
        seed: arguments.seed,
        budget: arguments.budget,
        ..SwarmConfig::new(server.address, server.keys.clone(), arguments.players)
    };
    on_load_core(places.load, || {
        let mut ask = |request| admin::ask(&server.admin, request).ok();
        swarm::conduct(&config, &[places.load], plan, &mut ask, stop, &mut |_| {})
    })
}

fn floor_round(
    arguments: &BenchArgs,
    backend: FloorBackend,
    places: &Places,
    sizes: Sizes,
) -> Result<FloorRound, String> {
    let mut server = FloorChild::start(&FloorArgs {
        backend,
        core: places.server[0],
        players: arguments.players,
        tick_rate: arguments.rate,
        bytes: sizes.to_player,
    })?;
    let load = FloorLoad {
        players: arguments.players,
        rate: u32::from(arguments.rate),
        bytes: sizes.to_server,
        warm_up: WARM_UP,
        measure: Duration::from_secs(arguments.seconds),
        core: places.load,
    };
    on_load_core(places.load, || drive(&mut server, load))
}
