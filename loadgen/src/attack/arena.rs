//! One attack beside honest players: before, while and after it, and what the server's figures say.

#[cfg(test)]
use super::field::Tally;
use super::field::{Bounds, attack};
use super::report::Outcome;
use super::scenarios::{Entry, make};
use crate::server::Target;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tidelock::admin::{self, Request};
use tidelock::metrics::{Counter, Latency, Quantiles};
use tidelock::report::Stats;
use tidelock::swarm::{Crew, Lap, SwarmConfig};
use tidelock::time::Nanos;

/// Latency of honest players that is too much, milliseconds.
pub(super) const LATENCY_LIMIT_MS: f64 = 50.0;
/// Time in which honest players have to get in.
const PATIENCE: Duration = Duration::from_secs(20);
/// Time between two looks at what goes on.
const LOOK: Duration = Duration::from_millis(50);

/// What is done to a server, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Honest players.
    pub(super) players: u32,
    /// From their arrival to the first figures.
    pub(super) settle: Duration,
    /// Before the attack, and after it once more.
    pub(super) calm: Duration,
    pub(super) attack: Duration,
    /// Datagrams per second; `None`: the scenario's own.
    pub(super) rate: Option<u32>,
    /// Datagrams in all.
    pub(super) count: u64,
    pub(super) seed: u64,
}

/// Bytes of memory that the server has resident.
pub(super) type Memory<'a> = &'a dyn Fn() -> Option<u64>;

/// Runs the scenario of `entry` against the server.
///
/// # Errors
/// If the players cannot join, the server stops answering its admin socket, or `stop` is set.
pub(super) fn run(
    target: &Target<'_>,
    memory: Memory<'_>,
    entry: Entry,
    plan: &Plan,
    stop: &AtomicBool,
) -> Result<Outcome, String> {
    let config = SwarmConfig {
        seed: plan.seed,
        connects_per_s: 400,
        ..SwarmConfig::new(target.address, target.keys.clone(), plan.players)
    };
    let crew = Crew::launch(&config, &[])?;
    let joined = gather(&crew, plan.players)?;
    std::thread::sleep(plan.settle);
    crew.next_lap();
    std::thread::sleep(plan.calm);
    crew.next_lap();
    let mut witness = Witness { memory, peak: 0, recovery: Duration::ZERO };
    let before = admin::ask(target.admin, Request::Mark)?;
    let calm_bytes = memory().unwrap_or(before.rss_bytes);
    let mut scenario = make(entry.name, target.keys, plan.seed).expect("an entry has a scenario");
    let bounds = Bounds {
        server: target.address,
        rate: plan.rate.unwrap_or(entry.rate),
        count: plan.count,
        duration: Nanos(plan.attack.as_nanos() as u64),
    };
    let tally = std::thread::scope(|scope| {
        let attacker = scope.spawn(|| attack(&mut *scenario, &bounds, stop));
        while !attacker.is_finished() {
            witness.look(target);
            std::thread::sleep(LOOK);
        }
        attacker.join().map_err(|_| "the attacker panicked".to_owned())?
    })?;
    crew.next_lap();
    let during = admin::ask(target.admin, Request::Stats)?;
    witness.see_recovery(&crew, target, plan.calm);
    crew.next_lap();
    std::thread::sleep(LOOK);
    if stop.load(Ordering::Relaxed) {
        return Err("stopped before the scenario was over".to_owned());
    }
    let laps = crew.finish()?.laps;
    let [_, calm, attacked, after] = &laps[..] else {
        return Err("the honest players were too busy to keep their laps".to_owned());
    };
    let peak = witness.peak.max(during.rss_bytes);
    Ok(Outcome {
        scenario: entry.name.to_owned(),
        joined,
        tally,
        players: plan.players,
        disconnected: after.closed - calm.closed.min(after.closed),
        latency_ms: [calm, attacked, after].map(quantiles),
        decode_errors: attacked.totals.decode_errors() + after.totals.decode_errors(),
        ticks: grown(&before, &during, Counter::Ticks),
        overruns: grown(&before, &during, Counter::Overruns),
        memory_growth: peak.saturating_sub(calm_bytes),
        recovery_s: witness.recovery.as_secs_f64(),
        dropped: during.since(&before).dropped,
        refused: grown(&before, &during, Counter::MessagesRefused),
        sessions_ended: grown(&before, &during, Counter::Violations),
    })
}

/// Waits until all have joined; how many did.
fn gather(crew: &Crew, players: u32) -> Result<u32, String> {
    let began = Instant::now();
    while crew.live().in_world < players {
        if began.elapsed() > PATIENCE || crew.has_failed() {
            let (joined, why) = (crew.live().in_world, crew.live().first_close);
            let why = why.map_or_else(String::new, |reason| format!(": {reason}"));
            return Err(format!("only {joined} of {players} honest players joined{why}"));
        }
        std::thread::sleep(LOOK);
    }
    Ok(players)
}

fn quantiles(lap: &Lap) -> Quantiles {
    // Nothing came back: that is no latency of zero.
    let never = || {
        let mut latency = Latency::default();
        latency.record(Nanos::from_ms(10_000));
        latency.quantiles_ms()
    };
    if lap.latency.count() == 0 { never() } else { lap.latency.quantiles_ms() }
}

fn grown(before: &Stats, after: &Stats, counter: Counter) -> u64 {
    after.counter(counter).saturating_sub(before.counter(counter))
}

/// What is watched all the time.
struct Witness<'a> {
    memory: Memory<'a>,
    /// Most memory seen, bytes.
    peak: u64,
    /// From the end of the attack to the last moment at which players felt it.
    recovery: Duration,
}

impl Witness<'_> {
    fn look(&mut self, target: &Target<'_>) {
        // What the kernel says costs the server nothing; asking it does, a little.
        let seen = (self.memory)();
        let asked = || admin::ask(target.admin, Request::Stats).ok().map(|stats| stats.rss_bytes);
        self.peak = self.peak.max(seen.or_else(asked).unwrap_or_default());
    }

    /// Looks on for `calm`; figures of players are a quarter of a second old at most.
    fn see_recovery(&mut self, crew: &Crew, target: &Target<'_>, calm: Duration) {
        let ended = Instant::now();
        while ended.elapsed() < calm {
            self.look(target);
            if crew.live().latency_ms.p99 > LATENCY_LIMIT_MS {
                self.recovery = ended.elapsed();
            }
            std::thread::sleep(LOOK);
        }
    }
}

/// What an attack amounted to, for tests that judge counts only.
#[cfg(test)]
pub(super) fn harmless(outcome: &Outcome) -> Result<(), String> {
    let Tally { garbage, strangers, worst_victim, breaches, .. } = outcome.tally;
    let checks = [
        (outcome.disconnected == 0, "honest players were disconnected"),
        (outcome.decode_errors == 0, "honest players received what breaks the rules"),
        (garbage.answered.bytes == 0, "garbage was answered"),
        (strangers.ratio() <= super::report::AMPLIFICATION_LIMIT, "strangers get too much"),
        (worst_victim <= super::report::VICTIM_LIMIT, "an unproven address gets too much"),
        (breaches == 0, "somebody got in"),
    ];
    let failed: Vec<_> = checks.iter().filter(|(good, _)| !good).map(|(_, what)| *what).collect();
    if failed.is_empty() { Ok(()) } else { Err(format!("{failed:?}: {outcome:?}")) }
}
