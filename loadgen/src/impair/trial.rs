//! One profile tried out: a server, the relay, players behind it, and what they noticed.

use super::relay::{Relay, RelayConfig};
use super::report::{RelayReport, TrialReport};
use crate::server::{ServerArgs, ServerChild, Target};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tidelock::admin::{self, Request};
use tidelock::metrics::DropReason;
use tidelock::report::Stats;
use tidelock::swarm::{Crew, Lap, SwarmConfig};

/// Time after which players that have not joined are given up.
const PATIENCE: Duration = Duration::from_secs(20);
/// Time between two looks at the players.
const LOOK: Duration = Duration::from_millis(50);

/// Who plays, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trial {
    pub(crate) players: u32,
    pub(crate) seconds: u64,
    pub(crate) seed: u64,
}

/// Tries a profile on a server of its own. `relay.server` is filled in.
///
/// # Errors
/// If the server or the relay cannot run.
pub(crate) fn with_own_server(
    trial: Trial,
    name: &str,
    relay: RelayConfig,
) -> Result<TrialReport, String> {
    let server = ServerChild::start(&ServerArgs::for_players(trial.players, trial.players))?;
    on(&server.target(), trial, name, relay)
}

/// Tries a profile on a server that runs already.
///
/// # Errors
/// If the server does not answer its admin socket, or the relay or the players cannot run.
pub(crate) fn on(
    target: &Target<'_>,
    trial: Trial,
    name: &str,
    relay: RelayConfig,
) -> Result<TrialReport, String> {
    let relay_config = RelayConfig { server: target.address, ..relay };
    let relay = Relay::bind(relay_config)?;
    let config = SwarmConfig {
        seed: trial.seed,
        connects_per_s: 200,
        ..SwarmConfig::new(relay.address(), target.keys.clone(), trial.players)
    };
    let (stop, address) = (AtomicBool::new(false), target.admin);
    let ask = || admin::ask(address, Request::Stats);
    let before = ask()?;
    std::thread::scope(|scope| {
        let relay = scope.spawn(|| relay.run(&stop, 0));
        let played = play(&config, trial);
        let after = ask();
        stop.store(true, Ordering::Relaxed);
        let deeds = relay.join().map_err(|_| "the relay panicked".to_owned())??;
        let ((joined, slowest_join_s), lap) = played?;
        let network = RelayReport {
            profile: name.to_owned(),
            settings: relay_config.profile,
            seed: relay_config.seed,
            deeds,
        };
        Ok(TrialReport {
            network,
            players: trial.players,
            joined,
            slowest_join_s,
            disconnected: lap.closed,
            latency_ms: match lap.latency.count() {
                0 => Default::default(),
                _ => lap.latency.quantiles_ms(),
            },
            longest_gap_ms: lap.longest_gap.0 as f64 / 1e6,
            replay_drops: grown(&before, &after?, DropReason::Replay),
            second_copies: deeds.up.duplicated,
            decode_errors: lap.totals.decode_errors(),
        })
    })
}

/// Lets the players join and play; how many joined and how long it took, and what was measured.
fn play(config: &SwarmConfig, trial: Trial) -> Result<((u32, f64), Lap), String> {
    let crew = Crew::launch(config, &[])?;
    let began = Instant::now();
    while began.elapsed() < PATIENCE && !crew.has_failed() {
        if crew.live().settled() >= trial.players {
            break;
        }
        std::thread::sleep(LOOK);
    }
    let joined = (crew.live().in_world, began.elapsed().as_secs_f64());
    crew.next_lap();
    std::thread::sleep(Duration::from_secs(trial.seconds));
    crew.next_lap();
    // The thread takes notice once in a turn.
    std::thread::sleep(LOOK);
    let mut laps = crew.finish()?.laps;
    match laps.len() {
        2 => {
            // Who never got in is gone, too, and counted as such.
            laps[1].closed -= laps[0].closed;
            Ok((joined, laps.remove(1)))
        }
        _ => Err("the players were too busy to keep their laps".to_owned()),
    }
}

fn grown(before: &Stats, after: &Stats, reason: DropReason) -> u64 {
    let count = |stats: &Stats| stats.dropped.get(reason.name()).copied().unwrap_or_default();
    count(after).saturating_sub(count(before))
}
