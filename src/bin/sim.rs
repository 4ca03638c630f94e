//! The `sim` command: plays seeds of the simulator, on as many threads as it is told, and says
//! which of them found something. Everything that is simulated is in `tidelock::sim`.
#![forbid(unsafe_code)]

use clap::Parser;
use std::io::{self, Write};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use std::{fs, thread};
use tidelock::cli::say;
use tidelock::sim::{self, KeptSeed, Outcome, Plan, Sometimes, Violation};

const AFTER_HELP: &str = "\
Examples:
  sim --seed 7                       plays seed 7 and prints what it was
  sim --seed 7 --ticks 300           the same with a storm of 300 ticks (900 unless asked)
  sim --seed 1 --seeds 300 --jobs 2  plays seeds 1 to 300, two at a time
  sim --seed 1 --seeds 15000 --vacuous --keep tests/seeds
                                     a night: fails also if something that must happen at times
                                     never did, and keeps what fails, minimised

The last line is `world hash: HEX`: of the only seed, or of all. The same seeds, the same hash.
The exit code is 0 if everything held.";

/// Seeds from one sign of life to the next, on standard error.
const PROGRESS: usize = 500;

/// Plays a whole server from a seed: gate, shards, clients, clock, network and disk in one thread.
#[derive(Parser)]
#[command(name = "sim", version, after_help = AFTER_HELP)]
struct Args {
    /// The seed, or the first of them.
    #[arg(long)]
    seed: u64,
    /// How many seeds to play.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Ticks of storm, if not as many as usual.
    #[arg(long)]
    ticks: Option<u64>,
    /// Which faults there are, as a kept seed names them; 1 is without the latest.
    #[arg(long, default_value_t = sim::FAULTS)]
    faults: u32,
    /// Threads that play seeds.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Shorten the storm of what fails as far as it still fails; done anyway with --keep.
    #[arg(long)]
    minimise: bool,
    /// Fail if a condition that must come about at times never did.
    #[arg(long)]
    vacuous: bool,
    /// Folder in which what fails is kept.
    #[arg(long)]
    keep: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.seeds == 1 {
        say(format_args!("seed {}", args.seed));
        say(format_args!("{:#?}", Plan::draw_of(args.faults, args.seed, args.ticks)));
    }
    let began = Instant::now();
    let outcomes = play_all(&args);
    let seconds = began.elapsed().as_secs_f64();
    let failed = outcomes.iter().filter(|outcome| outcome.violation.is_some());
    let failed: Vec<_> = failed.collect();
    for outcome in &failed {
        report(&args, outcome);
    }
    let mut sometimes = Sometimes::default();
    outcomes.iter().for_each(|outcome| sometimes.merge(&outcome.sometimes));
    say("what came about, and how often:");
    for condition in Sometimes::ALL {
        say(format_args!("{:10}  {condition}", sometimes.count(condition)));
    }
    let simulated = outcomes.iter().map(|outcome| outcome.ticks).sum::<u64>() as f64 / 60.0;
    say(format_args!(
        "{} seeds, {} failed; {simulated:.0} s of play in {seconds:.1} s: {:.0} times as fast",
        outcomes.len(),
        failed.len(),
        simulated / seconds.max(1e-9)
    ));
    let missing = sometimes.missing();
    let is_vacuous = args.vacuous && !missing.is_empty();
    if is_vacuous {
        say(format_args!("vacuous: never came about: {}", missing.join("; ")));
    }
    let mix = |hash: u64, outcome: &Outcome| hash.rotate_left(5) ^ outcome.hash;
    say(format_args!("world hash: {:016x}", outcomes.iter().fold(0, mix)));
    if failed.is_empty() && !is_vacuous { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Plays all seeds; the outcomes are in their order.
fn play_all(args: &Args) -> Vec<Outcome> {
    let (next, outcomes) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            if place >= args.seeds {
                return;
            }
            let outcome = play(Plan::draw_of(args.faults, args.seed + place, args.ticks));
            if args.seeds > 1
                && let Some(violation) = &outcome.violation
            {
                say(format_args!("seed {}: {violation}", outcome.plan.seed));
            }
            let mut outcomes = outcomes.lock().expect("nobody panics with the lock");
            outcomes.push((place, outcome));
            if outcomes.len().is_multiple_of(PROGRESS) {
                // Whoever does not listen misses nothing.
                _ = writeln!(io::stderr(), "{} of {} seeds", outcomes.len(), args.seeds);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..args.jobs.max(1) {
            scope.spawn(work);
        }
    });
    let mut outcomes = outcomes.into_inner().expect("nobody panics with the lock");
    outcomes.sort_by_key(|(place, _)| *place);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

/// Plays a seed. A panic of the server is a finding like any other.
fn play(plan: Plan) -> Outcome {
    let played = panic::catch_unwind(AssertUnwindSafe(|| sim::play(plan.clone())));
    played.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        let what = text.unwrap_or_else(|| "without a word".to_owned());
        let tick = plan.storm_ticks;
        let violation = Some(Violation { check: "no panic", tick, what });
        Outcome { plan, violation, hash: 0, ticks: 0, sometimes: Sometimes::default() }
    })
}

fn report(args: &Args, failed: &Outcome) {
    let Some(violation) = &failed.violation else { return };
    say(format_args!("seed {} failed: {violation}", failed.plan.seed));
    let mut shortest = failed.clone();
    if (args.minimise || args.keep.is_some()) && violation.check != "no panic" {
        shortest = sim::minimise(failed);
        let ticks = shortest.plan.storm_ticks;
        say(format_args!("minimised: sim --seed {} --ticks {ticks}", failed.plan.seed));
    }
    if let Some(folder) = &args.keep
        && let Err(error) = keep(folder, &shortest)
    {
        say(format_args!("cannot keep it: {error}"));
    }
}

fn keep(folder: &Path, outcome: &Outcome) -> io::Result<()> {
    let Some(violation) = &outcome.violation else { return Ok(()) };
    let Plan { seed, faults, storm_ticks, .. } = outcome.plan;
    let kept =
        KeptSeed { seed, storm_ticks: Some(storm_ticks), faults, found: violation.to_string() };
    fs::create_dir_all(folder)?;
    fs::write(folder.join(format!("{seed}.seed")), kept.to_string())
}
