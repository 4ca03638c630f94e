//! Entities that outlive their session, and who takes them over.
//!
//! Owns: which entities stand in the world without a session, and how a newcomer of the same player
//! comes to its own. Never decides how long somebody is waited for: the gate does, which alone
//! knows who may still come ([`super::ToShard::Depart`]). Further calls of [`Players`], made by
//! `ingress` and, within a tick, by `settle`.
//!
//! An entity has one owner: a slot, or this list. A newcomer whose player has an entity here
//! already is its *heir*, and owns nothing until a packet of its own has opened: who only repeats
//! somebody's Connect takes nothing from anybody.
//!
//! ```text
//!  owner ──lost, its keys worn out──▶ this list ──Depart──▶ leaves the world
//!    │  └─replaced by the heir that proved itself─▶ heir        │
//!    └──left, thrown out──▶ heir, if there is one, else leaves  └─heir that proved itself─▶ heir
//! ```
//! The gate may seat an heir before it hears that the owner has left. Such an heir finds somebody
//! who is about to leave the world, and keeps him there; or nobody, and is an orphan, whose entity
//! enters the world anew: the gate has given up neither its id nor its seat.

use super::Shard;
use super::players::{Player, Players, Stage};
use crate::connection::{Sessions, Slot, Violations};
use crate::time::Nanos;
use crate::units::EntityId;
use crate::world::Row;

/// An entity without a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lingering {
    pub(super) entity: EntityId,
    pub(super) row: Row,
    /// What its last session has done, for the next one.
    record: Violations,
}

/// What the first packet of a session means for the entity of its player.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// Nobody has it.
    Fresh,
    /// It stood in the world without a session.
    Resumed,
    /// The session in this slot had it until now, and is to end.
    Replaces(Slot),
}

impl Players {
    /// The session in `slot` has proven itself: it owns its entity from now on.
    pub(super) fn claim(&mut self, slot: Slot) -> Claim {
        if self.players[usize::from(slot)].stage != Stage::Heir {
            return Claim::Fresh;
        }
        self.heirs -= 1;
        let Player { entity, seat, .. } = self.players[usize::from(slot)];
        let lingers = self.lingering.iter().position(|lingering| lingering.entity == entity);
        let (stage, claim) = if let Some(place) = lingers {
            let Lingering { row, record, .. } = self.lingering.swap_remove(place);
            self.inherited.push((slot, record));
            (Stage::Standing(row), Claim::Resumed)
        } else if let Some(owner) = self.owner_of(entity) {
            let stage = match self.give_up(owner) {
                Stage::Standing(row) | Stage::Inside(row) => Stage::Standing(row),
                Stage::Orphan => Stage::Orphan,
                Stage::Nobody | Stage::Heir | Stage::Outside | Stage::Arriving => Stage::Outside,
            };
            (stage, Claim::Replaces(owner))
        } else {
            (self.recover(entity, seat), Claim::Fresh)
        };
        self.players[usize::from(slot)].stage = stage;
        self.note_owner(slot);
        claim
    }

    /// What is left of `entity`, whose owner is gone.
    fn recover(&mut self, entity: EntityId, seat: u32) -> Stage {
        if let Some(place) = self.departing.iter().position(|leaving| leaving.entity == entity) {
            return Stage::Standing(self.departing.swap_remove(place).row);
        }
        match self.unused.iter().position(|&unused| unused == seat) {
            Some(place) => {
                self.unused.swap_remove(place);
                Stage::Outside
            }
            None => Stage::Orphan,
        }
    }

    /// The session in `slot` has ended. If its player `may_return`, its entity stays in the world.
    /// Returns that entity.
    pub(super) fn depart(&mut self, slot: Slot, may_return: bool) -> Option<EntityId> {
        let (entity, seat) = {
            let player = &self.players[usize::from(slot)];
            (player.entity, player.seat)
        };
        match self.give_up(slot) {
            Stage::Nobody => {}
            Stage::Heir => self.heirs -= 1,
            Stage::Orphan => _ = self.bequeath(entity, Stage::Orphan),
            Stage::Outside | Stage::Arriving => {
                if !self.bequeath(entity, Stage::Outside) {
                    self.unused.push(seat);
                }
            }
            Stage::Standing(row) | Stage::Inside(row) => {
                // The list holds as many as the world.
                let lingering = Lingering { entity, row, record: Violations::default() };
                if may_return {
                    self.lingering.push(lingering);
                    self.parted.push(slot);
                    return Some(entity);
                }
                if !self.bequeath(entity, Stage::Standing(row)) {
                    self.departing.push(lingering);
                }
            }
        }
        None
    }

    /// Nobody came back for `entity`: it leaves the world in the next tick. Tells whether it was
    /// here.
    pub(super) fn dismiss(&mut self, entity: EntityId) -> bool {
        let place = self.lingering.iter().position(|lingering| lingering.entity == entity);
        if let Some(place) = place {
            self.departing.push(self.lingering.swap_remove(place));
        }
        place.is_some()
    }

    /// Entities without a session.
    pub(super) fn lingering(&self) -> usize {
        self.lingering.len()
    }

    /// Takes everything from the session in `slot`. Returns what it had.
    fn give_up(&mut self, slot: Slot) -> Stage {
        let stage = &mut self.players[usize::from(slot)].stage;
        let stage = std::mem::replace(stage, Stage::Nobody);
        match stage {
            Stage::Nobody | Stage::Heir | Stage::Outside => {}
            Stage::Arriving | Stage::Standing(_) | Stage::Orphan => {
                self.arriving.retain(|&other| other != slot);
            }
            Stage::Inside(_) => self.inside.retain(|&other| other != slot),
        }
        stage
    }

    /// Leaves `entity` to its heir, if it has one here.
    fn bequeath(&mut self, entity: EntityId, stage: Stage) -> bool {
        if self.heirs == 0 {
            return false;
        }
        let heir = |player: &Player| player.entity == entity && player.stage == Stage::Heir;
        let Some(heir) = self.players.iter().position(heir) else { return false };
        self.players[heir].stage = stage;
        self.note_owner(heir as Slot);
        self.heirs -= 1;
        true
    }
}

impl Shard {
    /// Who comes back goes on with the violations of the session before, however short a time ago
    /// that ended. To be called before a slot can be given to somebody else.
    #[inline]
    pub(super) fn pass_on_records(&mut self, now: Nanos) {
        if !self.players.parted.is_empty() || !self.players.inherited.is_empty() {
            self.pass_on(now);
        }
    }

    #[cold]
    fn pass_on(&mut self, now: Nanos) {
        let Self { players, sessions, .. } = self;
        while let Some((heir, record)) = players.inherited.pop() {
            sessions.inherit(heir, record, now);
        }
        while let Some(slot) = players.parted.pop() {
            let (entity, record) = (players.entity(slot), sessions.record(slot));
            // Its heir may have been faster.
            match players.lingering.iter_mut().find(|lingering| lingering.entity == entity) {
                Some(lingering) => lingering.record = record,
                None => inherit(players, sessions, slot, now),
            }
        }
    }

    /// The session in `slot` ends because a newer one of its player has taken its entity.
    pub(super) fn pass_on_replaced(&mut self, slot: Slot, now: Nanos) {
        inherit(&self.players, &mut self.sessions, slot, now);
    }
}

/// Whoever has the entity of the session in `older` by now goes on with its violations.
fn inherit(players: &Players, sessions: &mut Sessions, older: Slot, now: Nanos) {
    if let Some(heir) = players.owner_of(players.entity(older)).filter(|&heir| heir != older) {
        sessions.inherit(heir, sessions.record(older), now);
    }
}

#[cfg(test)]
mod tests {
    use super::super::players::{EntryRules, Newcomer, Seated};
    use super::*;
    use crate::config::SpawnRule;
    use crate::exchange::Reclaim;
    use crate::host::entropy::SeededEntropy;
    use crate::units::TickRate;
    use crate::wire::ConnectionId;
    use crate::world::{Input, World, WorldConfig};

    struct Setup {
        players: Players,
        world: World,
        seats: Seated,
    }

    impl Setup {
        /// Slot 0 has a player in the world.
        fn new() -> Self {
            let rules = EntryRules { seed: 1, spawn: SpawnRule::Uniform };
            let world = World::new(WorldConfig { capacity: 4, rate: TickRate::DEFAULT });
            let (players, seats) = (Players::new(4, 4, 8, rules), Seated::default());
            let mut setup = Self { players, world, seats };
            setup.admit(0, false);
            assert_eq!(setup.players.claim(0), Claim::Fresh);
            setup.players.arrive(0);
            setup.settle();
            assert_eq!(setup.players.row(0), Some(0));
            setup
        }

        fn admit(&mut self, slot: Slot, heir: bool) {
            let newcomer = Newcomer {
                connection: ConnectionId::from_parts(1, slot, 1),
                player: 7,
                spawn: None,
                entity: EntityId::from_parts(3, 1),
                seat: 30,
                heir,
            };
            self.players.admitted(slot, newcomer);
        }

        fn stage(&self, slot: Slot) -> Stage {
            self.players.players[usize::from(slot)].stage
        }

        fn settle(&mut self) -> Vec<Slot> {
            let mut entered = Vec::new();
            self.players.settle(&mut self.world, &mut self.seats, |slot| entered.push(slot));
            entered
        }
    }

    #[test]
    fn a_player_who_comes_back_finds_his_entity_where_it_was() {
        let mut setup = Setup::new();
        assert!(setup.world.set_input(0, 900, Input { move_x: 127, ..Input::default() }));
        setup.world.apply();
        assert!(setup.players.depart(0, true).is_some());
        setup.settle();
        assert_eq!((setup.world.len(), setup.players.lingering()), (1, 1));
        setup.admit(1, true);
        assert_eq!(setup.players.claim(1), Claim::Resumed);
        assert_eq!((setup.players.row(1), setup.players.lingering()), (None, 0), "not asked yet");
        setup.players.arrive(1);
        assert_eq!(setup.settle(), [1]);
        assert_eq!((setup.players.row(1), setup.world.len()), (Some(0), 1));
        assert_eq!(setup.players.inside(), [1]);
        assert_eq!(setup.world.columns().last_input[0], 0);
        assert!(setup.world.set_input(0, 1, Input::default()), "his inputs count from 1 again");
        assert!(setup.seats.left.is_empty());
    }

    #[test]
    fn a_newer_session_takes_the_entity_from_the_older_one_when_it_has_proven_itself() {
        let mut setup = Setup::new();
        setup.admit(2, true);
        setup.settle();
        assert_eq!(setup.players.inside(), [0], "an unproven heir takes nothing");
        assert_eq!(setup.players.claim(2), Claim::Replaces(0));
        assert!(setup.players.inside().is_empty());
        setup.players.arrive(2);
        assert_eq!(setup.players.depart(0, false), None);
        assert_eq!(setup.settle(), [2]);
        assert_eq!((setup.players.row(2), setup.world.len()), (Some(0), 1));
        assert_eq!(setup.players.depart(2, false), None);
        setup.settle();
        assert_eq!((setup.world.len(), setup.seats.left.as_slice()), (0, [30].as_slice()));
    }

    #[test]
    fn an_heir_that_never_proves_itself_leaves_everything_as_it_was() {
        let mut setup = Setup::new();
        setup.players.depart(0, true);
        setup.admit(1, true);
        assert_eq!(setup.players.depart(1, false), None);
        setup.settle();
        assert_eq!((setup.world.len(), setup.players.lingering()), (1, 1));
        assert!(setup.players.dismiss(EntityId::from_parts(3, 1)));
        assert!(!setup.players.dismiss(EntityId::from_parts(3, 1)));
        setup.settle();
        assert_eq!((setup.world.len(), setup.seats.left.as_slice()), (0, [30].as_slice()));
    }

    #[test]
    fn who_leaves_with_an_heir_before_the_door_leaves_everything_to_it() {
        let mut setup = Setup::new();
        setup.admit(1, true);
        setup.admit(2, true);
        assert_eq!(setup.players.depart(0, false), None);
        setup.settle();
        assert_eq!(setup.world.len(), 1);
        assert_eq!(setup.players.claim(1), Claim::Fresh, "it inherited");
        assert_eq!(setup.players.claim(2), Claim::Replaces(1));
        assert_eq!(setup.players.depart(1, false), None);
        assert_eq!(setup.players.depart(2, false), None);
        setup.settle();
        assert_eq!((setup.world.len(), setup.seats.left.as_slice()), (0, [30].as_slice()));
    }

    #[test]
    fn an_attempt_that_was_given_up_leaves_its_seat_to_the_next_one() {
        let mut setup = Setup::new();
        setup.players.depart(0, false);
        setup.settle();
        setup.seats.left.clear();
        setup.admit(1, false);
        setup.admit(2, true);
        assert_eq!(setup.players.depart(1, false), None);
        assert_eq!(setup.players.claim(2), Claim::Fresh);
        setup.players.arrive(2);
        assert_eq!(setup.settle(), [2]);
        assert!(setup.seats.left.is_empty() && setup.world.len() == 1);
    }

    /// The owner leaves, and the gate seats an heir in slot 1 before it hears of that.
    fn left_too_early() -> Setup {
        let mut setup = Setup::new();
        assert_eq!(setup.players.depart(0, false), None);
        setup
    }

    #[test]
    fn an_heir_of_somebody_who_is_about_to_leave_the_world_keeps_him_there() {
        let mut setup = left_too_early();
        setup.admit(1, true);
        assert_eq!(setup.players.claim(1), Claim::Fresh);
        setup.players.arrive(1);
        assert_eq!(setup.settle(), [1]);
        assert_eq!((setup.world.len(), setup.players.row(1)), (1, Some(0)));
        assert!(setup.seats.left.is_empty());
    }

    #[test]
    fn an_heir_of_nobody_gets_its_seat_back_and_enters_anew() {
        let mut setup = left_too_early();
        setup.settle();
        assert_eq!((setup.world.len(), setup.seats.left.as_slice()), (0, [30].as_slice()));
        setup.admit(1, true);
        assert_eq!(setup.players.claim(1), Claim::Fresh);
        assert!(setup.settle().is_empty(), "it has not asked");
        setup.players.arrive(1);
        setup.players.arrive(1);
        setup.seats.reclaims = Some(Reclaim::Later);
        assert!(setup.settle().is_empty(), "the seat is still shown as empty");
        setup.seats.reclaims = Some(Reclaim::Done);
        assert_eq!(setup.settle(), [1]);
        assert_eq!((setup.world.len(), setup.players.inside()), (1, [1].as_slice()));
        assert_eq!(setup.players.depart(1, false), None);
        setup.settle();
        assert_eq!(setup.seats.left, [30, 30], "given back by each of the two");
    }

    #[test]
    fn an_heir_of_nobody_that_leaves_gives_no_seat_back_and_its_heir_is_one_too() {
        let mut setup = left_too_early();
        setup.settle();
        setup.seats.left.clear();
        setup.admit(1, true);
        setup.players.claim(1);
        setup.players.arrive(1);
        setup.admit(2, true);
        assert_eq!(setup.players.claim(2), Claim::Replaces(1));
        setup.players.depart(1, false);
        setup.admit(3, true);
        setup.players.depart(2, false);
        assert_eq!(setup.players.claim(3), Claim::Fresh, "it inherited");
        setup.players.arrive(3);
        setup.seats.reclaims = Some(Reclaim::Taken);
        assert!(setup.settle().is_empty());
        assert_eq!(setup.players.refused, [3], "which is a mistake of the gate");
        setup.players.depart(3, false);
        setup.settle();
        assert!(setup.seats.left.is_empty() && setup.players.arriving.is_empty());
    }

    #[test]
    fn an_heir_of_somebody_who_never_entered_takes_the_seat_from_those_that_are_given_back() {
        let mut setup = left_too_early();
        setup.settle();
        setup.seats.left.clear();
        setup.admit(1, false);
        setup.players.depart(1, false);
        setup.admit(2, true);
        assert_eq!(setup.players.claim(2), Claim::Fresh);
        setup.players.arrive(2);
        assert_eq!(setup.settle(), [2]);
        assert!(setup.seats.left.is_empty());
    }

    #[test]
    fn the_owner_of_an_entity_is_known_whoever_comes_and_goes() {
        for seed in 0..20_u64 {
            println!("seed {seed}");
            let mut dice = SeededEntropy(seed);
            let mut setup = Setup::new();
            let mut held = [true, false, false, false];
            for _ in 0..300 {
                let slot = (dice.next_u64() % 4) as Slot;
                let place = usize::from(slot);
                match (held[place], dice.next_u64() % 3) {
                    (false, _) => setup.admit(slot, held.contains(&true)),
                    (true, 0) => _ = setup.players.claim(slot),
                    (true, 1) => setup.players.arrive(slot),
                    (true, _) => _ = setup.players.depart(slot, false),
                }
                held[place] = !held[place] || !matches!(setup.stage(slot), Stage::Nobody);
                let owns = |&slot: &Slot| !matches!(setup.stage(slot), Stage::Nobody | Stage::Heir);
                let owner = setup.players.owner_of(EntityId::from_parts(3, 1));
                assert_eq!(owner, (0..4).find(owns));
            }
            assert_eq!(setup.players.owner_of(EntityId::from_parts(99, 1)), None);
        }
    }
}
