//! The settings of the server of a plan: those of production, with tables as small as the plan
//! says. Called by `host` and `universe`.

use super::clock::WorldClock;
use super::plan::Plan;
use crate::config::{Config, InterestConfig, ShardCount, SpawnRule};
use crate::gate::GateConfig;
use crate::keys::ServerKeys;
use crate::limits::REKEY_SECONDS_MIN;
use crate::server::{StartError, gate_config};

/// Tokens that the gate remembers where tables are hardly large enough.
const TOKENS_TIGHT: usize = 48;

/// The settings of the server of a plan.
pub(super) fn config(plan: &Plan) -> Config {
    let mut config = Config::default();
    config.server.shards = ShardCount::Count(plan.shards as u16);
    config.server.rebalance = false;
    config.world.seed = plan.seed;
    config.world.spawn = SpawnRule::Plaza;
    let all = (plan.staying() + plan.hostile.len()) as u32;
    config.world.players = if plan.tight_tables || plan.is_full { all } else { 4 * all + 16 };
    config.world.npcs = plan.npcs;
    config.world.entities = entities(plan, config.world.players);
    let player = if plan.crowd { 30_000.0 } else { 3_000.0 };
    config.world.linger_s = plan.linger_s;
    if plan.rekeys {
        config.rekey.seconds = REKEY_SECONDS_MIN;
    }
    config.interest = InterestConfig { player, npc: 200_000.0, ..config.interest };
    config
}

/// Entities that its world has room for, with so many sessions.
fn entities(plan: &Plan, sessions: u32) -> u32 {
    if plan.is_full { sessions + plan.npcs } else { 2 * sessions + plan.npcs + 32 }
}

/// What its gate is told.
pub(super) fn gate(
    plan: &Plan,
    disk: &ServerKeys,
    config: &Config,
    world: &WorldClock,
) -> Result<GateConfig, StartError> {
    let mut gate = gate_config(config, disk, plan.shards, world.server_unix_ms())?;
    gate.tokens = 4_096;
    gate.rates.sources = 1_024;
    if plan.tight_tables {
        gate.tokens = TOKENS_TIGHT;
        gate.unconfirmed = 4;
        gate.dh_per_s = 40;
    }
    Ok(gate)
}
