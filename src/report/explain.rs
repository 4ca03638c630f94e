//! The answer to `tidelock explain` as JSON, described in `docs/OPERATIONS.md`: what a viewer was
//! told and why, with the words for reasons that `replicate` gives them.

use crate::replicate::{Explained, Reason};
use crate::shard::Question;
use serde::{Deserialize, Serialize};

/// Why a player was told what, as of one tick.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ExplainReport {
    /// The player.
    pub player: u64,
    /// The shard that has it, from 1.
    pub shard: u16,
    /// Ticks per second.
    pub tick_hz: u16,
    /// The tick that is explained; all ages count back from it.
    pub tick: u32,
    /// The player's own entity.
    pub entity: u32,
    /// Where it is, centimetres.
    pub position_cm: [i64; 3],
    /// Tick of the newest snapshot that was sent, 0 = none yet.
    pub snapshot_tick: u32,
    /// Bytes of plaintext of the packet that carried it.
    pub bytes: u32,
    /// Bytes that it was allowed.
    pub budget_bytes: u32,
    /// Whether congestion on the way to the player holds that down.
    pub is_held_down: bool,
    /// Smoothed round trip of packets to the player, microseconds; 0 = not known yet.
    pub rtt_us: u64,
    /// The least of the last 15 to 30 seconds.
    pub base_rtt_us: u64,
    /// Tick of the newest snapshot that the player has acknowledged, 0 = none yet.
    pub acknowledged_tick: u32,
    /// Entities in sight.
    pub visible: u32,
    /// Removals that the player has yet to acknowledge.
    pub pending_removals: u32,
    /// What the player sees, by slot; or the entity that was asked for.
    pub entities: Vec<ExplainedEntity>,
}

/// Why a player was told of one entity, or not. What does not apply is `null`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ExplainedEntity {
    /// Who it is, 0 = somebody who has left the world.
    pub entity: u32,
    /// What it is.
    pub kind: Option<String>,
    /// Distance from the player, centimetres.
    pub distance_cm: Option<i64>,
    /// Its slot.
    pub slot: Option<u8>,
    /// `near`, `middle` or `far`.
    pub tier: Option<String>,
    /// Times per second that its changes are told, at most.
    pub pace_hz: Option<f64>,
    /// How urgently it waits; from 1 on it may be told.
    pub urgency: Option<f64>,
    /// Ticks since it last changed.
    pub changed_ticks_ago: Option<u32>,
    /// Ticks since the newest state that was sent.
    pub told_ticks_ago: Option<u32>,
    /// Ticks since the newest state that was acknowledged.
    pub acknowledged_ticks_ago: Option<u32>,
    /// Whether it was in the newest snapshot.
    pub in_snapshot: bool,
    /// Why, as a word for programs.
    pub reason: String,
    /// Why, in words.
    pub why: String,
}

impl ExplainReport {
    /// What the answer to `question` says of `player` on `shard`.
    pub fn new(player: u64, shard: u16, tick_hz: u16, question: &Question) -> Self {
        let explanation = &question.explanation;
        let path = question.path.unwrap_or_default();
        Self {
            player,
            shard,
            tick_hz,
            tick: explanation.tick,
            entity: explanation.entity.0,
            position_cm: explanation.position.map(whole),
            snapshot_tick: explanation.snapshot_tick,
            bytes: explanation.bytes,
            budget_bytes: explanation.budget,
            is_held_down: path.is_held_down,
            rtt_us: path.rtt.as_us(),
            base_rtt_us: path.base_rtt.as_us(),
            acknowledged_tick: explanation.acknowledged_tick,
            visible: explanation.visible,
            pending_removals: explanation.removals,
            entities: explanation.entities().iter().map(ExplainedEntity::new).collect(),
        }
    }

    /// One line of JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers and strings")
    }

    /// Reads what [`Self::to_json`] writes.
    pub fn from_json(line: &str) -> Result<Self, String> {
        serde_json::from_str(line).map_err(|error| format!("no explanation: {error}"))
    }
}

impl ExplainedEntity {
    fn new(explained: &Explained) -> Self {
        Self {
            entity: explained.entity.0,
            kind: explained.kind.map(|kind| kind.name().to_owned()),
            distance_cm: explained.distance.map(whole),
            slot: explained.slot,
            tier: explained.tier.map(|tier| tier.name().to_owned()),
            pace_hz: explained.pace_hz.map(f64::from),
            urgency: explained.urgency.map(f64::from),
            changed_ticks_ago: explained.changed_age,
            told_ticks_ago: explained.told_age,
            acknowledged_ticks_ago: explained.acknowledged_age,
            in_snapshot: explained.reason == Reason::Told,
            reason: explained.reason.name().to_owned(),
            why: explained.reason.to_string(),
        }
    }
}

fn whole(centimetres: f32) -> i64 {
    centimetres.round() as i64
}
