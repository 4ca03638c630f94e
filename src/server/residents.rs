//! The NPCs that live in the world from the start: who they are, where they begin, and which shard
//! has them. Owned by the gate's thread, which spawns them and replaces those of a lost shard.

use crate::gate::Gate;
use crate::host::entropy::SeededEntropy;
use crate::metrics::{Counter, Counters};
use crate::shard::{GateEnd, ToShard};
use crate::state::Kind;
use crate::units::{EntityId, MAP_XY};
use crate::world::Spawn;
use std::collections::VecDeque;

/// Room that is left in a shard's queue for players.
const QUEUE_RESERVE: usize = 1024;

#[derive(Clone, Copy, Debug)]
struct Resident {
    shard: u8,
    entity: EntityId,
    seat: u32,
}

/// All NPCs of a server.
#[derive(Debug)]
pub(crate) struct Residents {
    seed: u64,
    /// By number; `None` until it has an entity.
    homes: Vec<Option<Resident>>,
    /// Those that have to be spawned.
    waiting: VecDeque<u32>,
}

impl Residents {
    /// `count` NPCs, who begin where `seed` says.
    pub(crate) fn new(count: u32, seed: u64) -> Self {
        Self { seed, homes: vec![None; count as usize], waiting: (0..count).collect() }
    }

    /// Spawns those that wait, evenly over the shards, as far as the queues have room.
    pub(super) fn settle(&mut self, gate: &mut Gate, ends: &mut [GateEnd]) {
        while let Some(&number) = self.waiting.front() {
            let shard = number as usize % ends.len();
            if ends[shard].to_shard.room() < QUEUE_RESERVE {
                return;
            }
            // The configuration leaves room for all; while a lost shard's rows cool down, they
            // wait.
            let Some((entity, seat)) = gate.populate(shard) else { return };
            self.waiting.pop_front();
            let spawn = self.spawn(number, entity, seat);
            let sent = ends[shard].to_shard.send(ToShard::Spawn(spawn));
            debug_assert!(sent.is_ok(), "there was room");
            self.homes[number as usize] = Some(Resident { shard: shard as u8, entity, seat });
        }
    }

    /// The shards in `lost` are gone with everybody who lived there; they are to be spawned anew.
    pub(super) fn lose(&mut self, lost: &[bool], gate: &mut Gate, counters: &Counters) {
        for (number, home) in (0..).zip(&mut self.homes) {
            if let Some(resident) = home.take_if(|resident| lost[usize::from(resident.shard)]) {
                gate.depopulate(resident.entity, resident.seat, resident.shard.into());
                counters.add(Counter::NpcsRespawned, 1);
                self.waiting.push_back(number);
            }
        }
    }

    fn spawn(&self, number: u32, id: EntityId, seat: u32) -> Spawn {
        let own = u64::from(number).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut dice = SeededEntropy(self.seed ^ own);
        // 24 bits are exact in an f32, so every build draws the same place.
        let mut share = || (dice.next_u64() >> 40) as f32 / 16_777_216.0;
        let position = [share() * MAP_XY, share() * MAP_XY, 0.0];
        Spawn { id, kind: Kind::Npc, position, yaw: 0, faction: 0, seat }
    }
}
