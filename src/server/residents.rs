//! The NPCs that live in the world from the start: who they are, where they begin, and which shard
//! has them. Owned by the gate's thread, which spawns them and replaces those of a lost shard.
//!
//! The first of them have names, which players are told as they come into sight. A game that has
//! more to say of what lives in it says it in the same way: it describes an entity on every shard,
//! because its viewers may be anywhere, and takes the words back when the entity is gone.

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
/// NPCs with a name: those with lower numbers.
const NAMED: u32 = 1_024;

const NAMES: [&str; 8] = ["Alva", "Bert", "Cora", "Dirk", "Edda", "Finn", "Greta", "Hugo"];
const TRADES: [&str; 8] =
    ["baker", "carter", "cooper", "ferryman", "miller", "potter", "smith", "weaver"];

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
    /// By shard: entities whose names it is still to be told, and their numbers; without one, that
    /// they have none any more.
    news: Vec<VecDeque<(EntityId, Option<u32>)>>,
}

impl Residents {
    /// `count` NPCs on `shards` shards, who begin where `seed` says.
    pub(crate) fn new(count: u32, seed: u64, shards: usize) -> Self {
        let (homes, waiting) = (vec![None; count as usize], (0..count).collect());
        Self { seed, homes, waiting, news: vec![VecDeque::new(); shards] }
    }

    /// Spawns those that wait and tells their names, as far as the queues have room.
    pub(super) fn settle(&mut self, gate: &mut Gate, ends: &mut [GateEnd]) {
        self.spawn_waiting(gate, ends);
        for (end, news) in ends.iter_mut().zip(&mut self.news) {
            while end.to_shard.room() >= QUEUE_RESERVE
                && let Some((entity, number)) = news.pop_front()
            {
                let words = number.map_or(String::new(), name).into_bytes().into();
                let sent = end.to_shard.send(ToShard::Describe(entity, words));
                debug_assert!(sent.is_ok(), "there was room");
            }
        }
    }

    /// Spawns those that wait, evenly over the shards.
    fn spawn_waiting(&mut self, gate: &mut Gate, ends: &mut [GateEnd]) {
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
            self.report(entity, number, Some(number));
        }
    }

    /// The NPC with this `number` is `entity`; it is called as `words` has it from now on.
    fn report(&mut self, entity: EntityId, number: u32, words: Option<u32>) {
        if number < NAMED {
            self.news.iter_mut().for_each(|news| news.push_back((entity, words)));
        }
    }

    /// The shards in `lost` are gone with everybody who lived there; they are to be spawned anew.
    pub(super) fn lose(&mut self, lost: &[bool], gate: &mut Gate, counters: &Counters) {
        for number in 0..self.homes.len() as u32 {
            let home = &mut self.homes[number as usize];
            if let Some(resident) = home.take_if(|resident| lost[usize::from(resident.shard)]) {
                gate.depopulate(resident.entity, resident.seat, resident.shard.into());
                counters.add(Counter::NpcsRespawned, 1);
                self.waiting.push_back(number);
                self.report(resident.entity, number, None);
            }
        }
        // Their successors know nobody yet.
        let homes = (0..NAMED).zip(&self.homes);
        let known = homes.filter_map(|(number, home)| Some(((*home)?.entity, Some(number))));
        for (news, _) in self.news.iter_mut().zip(lost).filter(|(_, lost)| **lost) {
            *news = known.clone().collect();
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

/// What the NPC with this number is called.
fn name(number: u32) -> String {
    let of = |all: [&'static str; 8], place: u32| all[place as usize % 8];
    let (name, trade) = (of(NAMES, number), of(TRADES, number / 8));
    format!("{name} the {trade}, house {}", number + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::noise::StaticKeys;
    use crate::exchange::exchange;
    use crate::gate::GateConfig;
    use crate::shard::{ShardEnd, pair};
    use crate::time::Nanos;
    use std::collections::{BTreeMap, BTreeSet};

    struct Town {
        residents: Residents,
        gate: Gate,
        ends: Vec<GateEnd>,
        shards: Vec<ShardEnd>,
        /// By shard: what it knows.
        names: Vec<BTreeMap<EntityId, String>>,
    }

    impl Town {
        fn new(npcs: u32) -> Self {
            let keys = StaticKeys::from_secret([1; 32]);
            let config = GateConfig { shards: 3, ..GateConfig::new(1, 1, keys, Vec::new()) };
            let (keeper, _) = exchange(3, 3_000, 0, &());
            let gate = Gate::new(config, keeper, Nanos(0), &mut SeededEntropy(1));
            let (ends, shards) = [pair(), pair(), pair()].into_iter().unzip();
            let names = vec![BTreeMap::new(); 3];
            Self { residents: Residents::new(npcs, 7, 3), gate, ends, shards, names }
        }

        /// Until everything is told. Returns what all shards know.
        fn settle(&mut self) -> BTreeMap<EntityId, String> {
            for _ in 0..3 {
                self.residents.settle(&mut self.gate, &mut self.ends);
                for (names, shard) in self.names.iter_mut().zip(&mut self.shards) {
                    while let Some(mail) = shard.from_gate.receive() {
                        let ToShard::Describe(entity, words) = mail else { continue };
                        let words = String::from_utf8(words.into()).expect("text");
                        let before = names.insert(entity, words);
                        assert_eq!(before.is_some(), names[&entity].is_empty(), "told once");
                        names.retain(|_, words| !words.is_empty());
                    }
                }
            }
            assert!(self.names.iter().all(|names| *names == self.names[0]));
            self.names[0].clone()
        }
    }

    #[test]
    fn every_shard_knows_the_names_of_all_who_live_and_of_nobody_else() {
        let mut town = Town::new(1_200);
        let names = town.settle();
        assert_eq!(names.values().collect::<BTreeSet<_>>().len(), 1_024, "each has its own");
        assert!(names.values().any(|name| name == "Bert the carter, house 10"));

        let lost = [false, true, false];
        let (keeper, _) = exchange(3, 3_000, 0, &());
        town.gate.lose_shards(&lost, keeper, Nanos(0));
        town.residents.lose(&lost, &mut town.gate, &Counters::default());
        (town.ends[1], town.shards[1]) = pair();
        town.names[1].clear();
        let again = town.settle();
        let is_same = |(entity, name): (&EntityId, &String)| names.get(entity) == Some(name);
        let stayed = again.iter().filter(|&named| is_same(named)).count();
        assert_eq!((again.len(), stayed), (1_024, 683), "who lived there is somebody else now");
        let all = |names: &BTreeMap<_, String>| names.values().cloned().collect::<BTreeSet<_>>();
        assert_eq!(all(&names), all(&again), "under the same name");
    }
}
