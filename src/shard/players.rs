//! The players of one shard by slot: what joins a session to its entity.
//!
//! `connection` and `world` never name each other; this table is the only place where a slot meets
//! a row. The world changes only inside a tick, so arrivals and departures wait here until the
//! phase apply.

use super::lingering::Lingering;
use super::update::Asking;
use crate::config::SpawnRule;
use crate::connection::{Slot, Violations};
use crate::exchange::{Member, Reclaim};
use crate::host::entropy::SeededEntropy;
use crate::state::Kind;
use crate::units::{EntityId, MAP_XY};
use crate::wire::ConnectionId;
use crate::world::{Row, Spawn, World};

/// Where in its life a player is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// No session, or one that owns nothing any more.
    Nobody,
    /// A session that is to own the entity of an older one, see `lingering`.
    Heir,
    /// The same, but the entity had left the world, and its seat was given up: it takes the seat
    /// back when it asks for its entity.
    Orphan,
    /// A session that has not asked for its entity, which is not in the world.
    Outside,
    /// Asked for its entity; gets it in the next tick.
    Arriving,
    /// Its entity lives in this row, and it has not seen it yet.
    Standing(Row),
    /// Its entity lives in this row.
    Inside(Row),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Player {
    connection: ConnectionId,
    player: u64,
    spawn: Option<[i32; 3]>,
    pub(super) entity: EntityId,
    pub(super) seat: u32,
    pub(super) stage: Stage,
}

/// A player as the gate announces it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Newcomer {
    pub(super) connection: ConnectionId,
    pub(super) player: u64,
    /// Where it appears, if its token says so.
    pub(super) spawn: Option<[i32; 3]>,
    pub(super) entity: EntityId,
    /// Row of the entity in the published columns.
    pub(super) seat: u32,
    /// Whether an older session of the player, or nobody, has the entity until this one claims it.
    pub(super) heir: bool,
}

/// The rows of the published columns, as far as coming and going is concerned.
pub(super) trait Seats {
    /// Whoever had it has left the world.
    fn vacate(&mut self, seat: u32);
    /// It is needed again for the player who had it.
    fn reclaim(&mut self, seat: u32) -> Reclaim;
}

impl<P> Seats for Member<P> {
    fn vacate(&mut self, seat: u32) {
        self.vacate(seat);
    }

    fn reclaim(&mut self, seat: u32) -> Reclaim {
        self.reclaim(seat)
    }
}

/// How players enter the world.
#[derive(Clone, Copy, Debug)]
pub struct EntryRules {
    /// Seed of places that no token names.
    pub seed: u64,
    /// Where such places lie.
    pub spawn: SpawnRule,
}

/// Players by slot.
#[derive(Debug)]
pub(super) struct Players {
    pub(super) players: Vec<Player>,
    pub(super) arriving: Vec<Slot>,
    /// Players inside who have asked for their entity again.
    pub(super) asking: Asking,
    /// By index of the entity: the slot whose session owns it, if one does.
    owners: Vec<Slot>,
    /// Entities that leave the world in the next tick.
    pub(super) departing: Vec<Lingering>,
    /// Slots whose player found no room in the world: their sessions are to end.
    pub(super) refused: Vec<Slot>,
    /// Entities without a session.
    pub(super) lingering: Vec<Lingering>,
    /// Slots whose session has ended and left its entity in the world, since the last
    /// `pass_on_records`; and slots of sessions that took one over, and what goes with it.
    pub(super) parted: Vec<Slot>,
    pub(super) inherited: Vec<(Slot, Violations)>,
    /// Slots in stage `Heir`.
    pub(super) heirs: usize,
    /// NPCs that enter the world in the next tick.
    npcs: Vec<Spawn>,
    /// Seats of players who left before they had an entity.
    pub(super) unused: Vec<u32>,
    /// Slots whose player has an entity, ascending: what a tick reads of them lies in tables by
    /// slot, and the processor fetches those ahead. In the order of places in the world, where
    /// neighbours see the same, a tick of 4,000 took 6.8 ms instead of 4.8.
    pub(super) inside: Vec<Slot>,
    rules: EntryRules,
}

impl Players {
    /// For `slots` sessions and `entities` entities, of `all` that there can be in the world.
    pub(super) fn new(slots: usize, entities: usize, all: usize, rules: EntryRules) -> Self {
        let nobody = Player {
            connection: ConnectionId::GATE,
            player: 0,
            spawn: None,
            entity: EntityId::NONE,
            seat: 0,
            stage: Stage::Nobody,
        };
        Self {
            players: vec![nobody; slots],
            arriving: Vec::with_capacity(slots),
            asking: Asking::new(slots),
            owners: vec![0; all],
            departing: Vec::with_capacity(entities),
            refused: Vec::with_capacity(slots),
            lingering: Vec::with_capacity(entities),
            parted: Vec::with_capacity(slots),
            inherited: Vec::with_capacity(slots),
            heirs: 0,
            npcs: Vec::with_capacity(entities),
            unused: Vec::with_capacity(entities),
            inside: Vec::with_capacity(slots),
            rules,
        }
    }

    /// A session was admitted to `slot`.
    pub(super) fn admitted(&mut self, slot: Slot, newcomer: Newcomer) {
        let Newcomer { connection, player, spawn, entity, seat, heir } = newcomer;
        let stage = if heir { Stage::Heir } else { Stage::Outside };
        self.heirs += usize::from(heir);
        self.players[usize::from(slot)] = Player { connection, player, spawn, entity, seat, stage };
        if !heir {
            self.note_owner(slot);
        }
    }

    /// The session in `slot` owns its entity from now on.
    pub(super) fn note_owner(&mut self, slot: Slot) {
        let entity = self.players[usize::from(slot)].entity;
        if let Some(owner) = self.owners.get_mut(entity.index() as usize) {
            *owner = slot;
        }
    }

    /// The slot whose session owns `entity`.
    pub(super) fn owner_of(&self, entity: EntityId) -> Option<Slot> {
        let noted = self.owners.get(entity.index() as usize).copied();
        let owner = noted.filter(|&slot| self.owns(slot, entity));
        debug_assert_eq!(owner, self.search_owner(entity), "{entity:?}");
        owner
    }

    fn search_owner(&self, entity: EntityId) -> Option<Slot> {
        (0..self.players.len() as Slot).find(|&slot| self.owns(slot, entity))
    }

    fn owns(&self, slot: Slot, entity: EntityId) -> bool {
        let Player { entity: its, stage, .. } = self.players[usize::from(slot)];
        its == entity && !matches!(stage, Stage::Nobody | Stage::Heir)
    }

    /// The session that `slot` was last given to.
    pub(super) fn connection(&self, slot: Slot) -> ConnectionId {
        self.players[usize::from(slot)].connection
    }

    /// The entity that the session last given `slot` has, or is to have.
    pub(super) fn entity(&self, slot: Slot) -> EntityId {
        self.players[usize::from(slot)].entity
    }

    /// The player in `slot` wants its entity.
    pub(super) fn arrive(&mut self, slot: Slot) {
        let stage = &mut self.players[usize::from(slot)].stage;
        match stage {
            Stage::Outside => *stage = Stage::Arriving,
            Stage::Standing(_) | Stage::Orphan if !self.arriving.contains(&slot) => {}
            _ => return,
        }
        self.arriving.push(slot);
    }

    /// An NPC enters the world in the next tick.
    pub(super) fn settle_npc(&mut self, spawn: Spawn) {
        debug_assert!(self.npcs.len() < self.npcs.capacity(), "no more than there are entities");
        self.npcs.push(spawn);
    }

    /// The player in `slot`, who is inside, goes to another shard, where its session is `to`.
    pub(super) fn take_out(&mut self, slot: Slot, to: ConnectionId) -> Newcomer {
        let Player { player, spawn, entity, seat, .. } = self.players[usize::from(slot)];
        self.players[usize::from(slot)].stage = Stage::Nobody;
        self.inside.retain(|&other| other != slot);
        Newcomer { connection: to, player, spawn, entity, seat, heir: false }
    }

    /// A player comes from another shard; its entity lives in `row`.
    pub(super) fn put_in(&mut self, slot: Slot, row: Row, newcomer: Newcomer) {
        self.admitted(slot, newcomer);
        self.players[usize::from(slot)].stage = Stage::Inside(row);
        insert(&mut self.inside, slot);
    }

    /// Slots whose player has an entity, ascending.
    pub(super) fn inside(&self) -> &[Slot] {
        &self.inside
    }

    /// Row of the player's entity.
    #[inline]
    pub(super) fn row(&self, slot: Slot) -> Option<Row> {
        match self.players[usize::from(slot)].stage {
            Stage::Inside(row) => Some(row),
            Stage::Nobody
            | Stage::Heir
            | Stage::Orphan
            | Stage::Outside
            | Stage::Arriving
            | Stage::Standing(_) => None,
        }
    }

    /// Brings the world in line: entities of departed players leave, and their `seats` are vacated;
    /// arriving players get theirs, and `entered` is called for their slots. A player for whom
    /// there is no room is `refused`; one whose entity stands in the world already takes it over.
    pub(super) fn settle(
        &mut self,
        world: &mut World,
        seats: &mut impl Seats,
        mut entered: impl FnMut(Slot),
    ) {
        self.unused.drain(..).for_each(|seat| seats.vacate(seat));
        for Lingering { row, .. } in self.departing.drain(..) {
            seats.vacate(world.columns().seats[row as usize]);
            world.despawn(row);
        }
        for spawn in self.npcs.drain(..) {
            let settled = world.spawn(spawn);
            debug_assert!(settled.is_ok(), "the gate has checked that there is room");
        }
        if self.arriving.is_empty() {
            return;
        }
        // The order in which packets happened to arrive must not decide who gets which entity.
        let players = &self.players;
        self.arriving.sort_unstable_by_key(|&slot| players[usize::from(slot)].player);
        let mut arriving = std::mem::take(&mut self.arriving);
        arriving.retain(|&slot| {
            let player = &mut self.players[usize::from(slot)];
            if player.stage == Stage::Orphan {
                match seats.reclaim(player.seat) {
                    Reclaim::Done => player.stage = Stage::Arriving,
                    Reclaim::Later => return true,
                    Reclaim::Taken => {
                        self.refused.push(slot);
                        return false;
                    }
                }
            }
            let row = match player.stage {
                Stage::Standing(row) => {
                    world.restart_inputs(row);
                    Ok(row)
                }
                _ => world.spawn(newborn(&self.rules, player)),
            };
            let Ok(row) = row else {
                self.refused.push(slot);
                return false;
            };
            player.stage = Stage::Inside(row);
            insert(&mut self.inside, slot);
            entered(slot);
            false
        });
        self.arriving = arriving;
    }
}

/// The entity of a player who enters the world.
fn newborn(rules: &EntryRules, player: &Player) -> Spawn {
    Spawn {
        id: player.entity,
        seat: player.seat,
        kind: Kind::Player,
        position: place(rules, player),
        yaw: 0,
        faction: 0,
    }
}

/// Adds `slot`, which is not among them, to `slots`, which ascend.
fn insert(slots: &mut Vec<Slot>, slot: Slot) {
    let place = slots.partition_point(|&other| other < slot);
    slots.insert(place, slot);
}

/// Where a player appears: where its token says, else by seed and player id.
fn place(rules: &EntryRules, player: &Player) -> [f32; 3] {
    if let Some(point) = player.spawn {
        return point.map(|centimetres| centimetres as f32);
    }
    let mut dice = SeededEntropy(rules.seed ^ player.player.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    // 24 bits are exact in an f32, so every build draws the same place.
    let mut share = || (dice.next_u64() >> 40) as f32 / 16_777_216.0;
    let (x, y) = (share(), share());
    match rules.spawn {
        SpawnRule::Uniform => [x * MAP_XY, y * MAP_XY, 0.0],
        SpawnRule::Plaza => within([x, y], 10_000.0),
        SpawnRule::Blob => within([x, y], 500.0),
    }
}

/// A place in the square with sides of `side` centimetres at the centre of the map.
fn within(share: [f32; 2], side: f32) -> [f32; 3] {
    let corner = (MAP_XY - side) / 2.0;
    let [x, y] = share.map(|share| corner + share * side);
    [x, y, 0.0]
}

/// Seats without an exchange.
#[cfg(test)]
#[derive(Debug, Default)]
pub(super) struct Seated {
    /// Given back, in this order.
    pub(super) left: Vec<u32>,
    /// What taking one back comes to.
    pub(super) reclaims: Option<Reclaim>,
}

#[cfg(test)]
impl Seats for Seated {
    fn vacate(&mut self, seat: u32) {
        self.left.push(seat);
    }

    fn reclaim(&mut self, _: u32) -> Reclaim {
        self.reclaims.expect("nobody has lost a seat")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::TickRate;
    use crate::world::WorldConfig;

    fn setup(entities: usize) -> (Players, World) {
        let rules = EntryRules { seed: 1, spawn: SpawnRule::Uniform };
        let world = World::new(WorldConfig { capacity: entities, rate: TickRate::DEFAULT });
        (Players::new(4, entities, entities, rules), world)
    }

    fn admit(players: &mut Players, slot: Slot, player: u64) {
        let newcomer = Newcomer {
            connection: ConnectionId::from_parts(1, slot, 1),
            player,
            spawn: None,
            entity: EntityId::from_parts(slot.into(), 1),
            seat: 10 + u32::from(slot),
            heir: false,
        };
        players.admitted(slot, newcomer);
    }

    #[test]
    fn who_gets_which_row_does_not_depend_on_the_order_of_packets() {
        let settle = |order: [Slot; 3]| {
            let (mut players, mut world) = setup(4);
            for slot in 0..3 {
                admit(&mut players, slot, 100 + u64::from(slot));
            }
            order.into_iter().for_each(|slot| players.arrive(slot));
            players.settle(&mut world, &mut Seated::default(), |_| {});
            assert_eq!(players.inside(), [0, 1, 2], "in order of slots");
            world.quantize(1);
            ([0, 1, 2].map(|slot| players.row(slot)), world.hash())
        };
        assert_eq!(settle([0, 1, 2]), settle([2, 0, 1]));
    }

    #[test]
    fn whoever_comes_from_another_shard_takes_its_place_among_the_slots() {
        let (mut players, _) = setup(4);
        for slot in [2, 0, 3, 1] {
            let newcomer = Newcomer {
                connection: ConnectionId::from_parts(1, slot, 1),
                player: 7,
                spawn: None,
                entity: EntityId::NONE,
                seat: 0,
                heir: false,
            };
            players.put_in(slot, 0, newcomer);
        }
        players.take_out(1, ConnectionId::from_parts(2, 0, 1));
        assert_eq!(players.inside(), [0, 2, 3]);
    }

    #[test]
    fn the_world_changes_only_when_settled() {
        let (mut players, mut world) = setup(4);
        admit(&mut players, 0, 7);
        players.arrive(0);
        players.arrive(0);
        assert!(world.is_empty());
        let mut seats = Seated::default();
        players.settle(&mut world, &mut seats, |slot| assert_eq!(slot, 0));
        assert!(seats.left.is_empty(), "nobody left");
        assert_eq!((world.len(), players.inside()), (1, [0].as_slice()));
        players.depart(0, false);
        assert_eq!((world.len(), players.inside().len()), (1, 0));
        players.settle(&mut world, &mut seats, |_| panic!("nobody arrives"));
        assert_eq!(seats.left, [10]);
        assert!(world.is_empty());
    }

    #[test]
    fn a_player_without_room_is_refused_and_waits_for_nobody() {
        let (mut players, mut world) = setup(1);
        for slot in 0..3 {
            admit(&mut players, slot, u64::from(slot));
            players.arrive(slot);
        }
        let mut seats = Seated::default();
        players.settle(&mut world, &mut seats, |_| {});
        assert_eq!((players.inside(), players.refused.as_slice()), ([0].as_slice(), &[1, 2][..]));
        assert!(players.arriving.is_empty());
        players.refused.clear();
        players.depart(1, false);
        players.depart(0, false);
        admit(&mut players, 3, 3);
        players.arrive(3);
        players.settle(&mut world, &mut seats, |_| {});
        assert_eq!(seats.left, [11, 10]);
        assert_eq!((players.inside(), world.len()), ([3].as_slice(), 1), "who leaves makes room");
        assert!(players.refused.is_empty());
    }
}
