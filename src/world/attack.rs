//! Attacks: who presses the button hits who stands nearest within reach, friends left out.
//!
//! The example of a system whose effects reach other entities. It reads what was published at the
//! end of the last tick and writes only its own rows; what it does to others leaves as [`Hit`]s,
//! which the shard delivers in the next tick to wherever the target lives then. So the result does
//! not depend on who lives where. The shard calls, in the phase apply: [`World::suffer`] for each
//! hit of the tick before, [`World::apply`], [`World::attack`].

use super::{Index, Row, World};
use crate::exchange::Published;
use crate::kernel::nearest::{HeldSet, Nearest};
use crate::kernel::quantization::{posture_word, vitals_word};
use crate::state::{Kind, effects, flags};
use crate::units::EntityId;

/// How far an attack reaches, centimetres.
pub const REACH: f32 = 200.0;
/// Health that a hit takes, of 255.
pub const DAMAGE: u8 = 32;
/// Milliseconds between two attacks of one entity.
pub const COOLDOWN_MS: u64 = 500;
/// Milliseconds for which an entity without health lies there before it stands up again.
pub const DOWN_MS: u64 = 3_000;

/// One entity hits another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Who hits.
    pub source: EntityId,
    /// Who is hit.
    pub target: EntityId,
    /// Published row of the target.
    pub seat: u32,
    /// Health it costs.
    pub damage: u8,
}

/// The fight of one row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Combat {
    /// Whether the button is held.
    pub(super) presses: bool,
    /// Ticks until it can attack again.
    pub(super) cooldown: u8,
    /// Ticks until it stands up again; 0 = it stands.
    pub(super) down: u16,
}

const _: () = assert!(size_of::<Combat>() == 4);

impl World {
    /// Every entity that attacks hits the nearest one that can be hit: a player, NPC or monster
    /// that is alive and, if both are on a side, an enemy ([`Factions::can_hit`]). `indexes` and
    /// `published` are of the last tick, of all shards; `near` is scratch.
    ///
    /// [`Factions::can_hit`]: super::Factions::can_hit
    pub fn attack<'i>(
        &mut self,
        indexes: impl Iterator<Item = &'i Index> + Clone,
        published: Published<'_>,
        near: &mut Nearest,
        mut hit: impl FnMut(Hit),
    ) {
        let cooldown = self.rate.ticks_in_ms(COOLDOWN_MS) as u8;
        let nobody = HeldSet::new(0);
        for row in 0..self.roster.end() {
            let Combat { presses, cooldown: 0, down: 0 } = self.store.combat[row] else { continue };
            let Some(source) = self.roster.id_of(row as u32).filter(|_| presses) else { continue };
            self.store.combat[row].cooldown = cooldown;
            let place = self.store.position.each_ref().map(|column| column.lanes()[row]);
            let side = self.faction(row as u32);
            near.clear();
            indexes.clone().for_each(|index| index.within(place, REACH, &nobody, near));
            let mut nearest = None;
            for (&seat, &squared) in near.rows().iter().zip(near.distances_squared()) {
                let target = published.id(seat);
                let state = published.state(seat, published.tick());
                let can_be_hit = target != source
                    && state.flags & flags::IS_ALIVE != 0
                    && self.factions.can_hit(side, state.faction);
                let found = (squared.to_bits(), target, seat);
                if can_be_hit && nearest.is_none_or(|best| found < best) {
                    nearest = Some(found);
                }
            }
            if let Some((_, target, seat)) = nearest {
                self.store.target[row] = seat + 1;
                hit(Hit { source, target, seat, damage: DAMAGE });
            }
        }
    }

    /// Seat of whom the entity in `row` attacked last, `u32::MAX` if nobody.
    pub fn target(&self, row: Row) -> u32 {
        self.store.target[row as usize].wrapping_sub(1)
    }

    /// An entity is hit; who is invulnerable does not mind. Tells whether it lives here.
    pub fn suffer(&mut self, target: EntityId, damage: u8) -> bool {
        let Some(row) = self.roster.row_of(target).map(|row| row as usize) else { return false };
        if self.store.effects.lanes()[row] & effects::INVULNERABLE != 0 {
            return true;
        }
        let [health, mana, faction, _] = self.store.vitals.lanes()[row].to_le_bytes();
        let left = health.saturating_sub(damage);
        self.store.vitals.lanes_mut()[row] = vitals_word(left, mana, faction);
        if left == 0 && self.store.combat[row].down == 0 {
            self.store.combat[row].down = self.rate.ticks_in_ms(DOWN_MS) as u16;
            self.set_alive(row, false);
        }
        true
    }

    /// The part of apply that concerns fights: time passes for whoever waits or lies there.
    pub(super) fn recover(&mut self) {
        for row in 0..self.roster.end() {
            let Combat { presses: _, cooldown, down } = self.store.combat[row];
            if cooldown > 0 {
                self.store.combat[row].cooldown -= 1;
            }
            if down == 0 {
                continue;
            }
            for wish in &mut self.store.wish {
                wish.lanes_mut()[row] = 0.0;
            }
            self.store.jump.lanes_mut()[row] = 0.0;
            self.store.combat[row].down -= 1;
            if down == 1 {
                let [_, mana, faction, _] = self.store.vitals.lanes()[row].to_le_bytes();
                self.store.vitals.lanes_mut()[row] = vitals_word(u8::MAX, mana, faction);
                self.set_alive(row, true);
            }
        }
    }

    fn set_alive(&mut self, row: usize, alive: bool) {
        let word = &mut self.store.posture.lanes_mut()[row];
        let [_, _, animation, own] = word.to_le_bytes();
        let own = if alive { own | flags::IS_ALIVE } else { own & !flags::IS_ALIVE };
        *word = posture_word(animation, own);
    }
}

/// Kinds that can be hit.
pub(super) const TARGETS: [Kind; 3] = [Kind::Player, Kind::Npc, Kind::Monster];

#[cfg(test)]
mod tests {
    use super::super::{Attributes, Factions, Input, Spawn, WorldConfig, buttons};
    use super::*;
    use crate::exchange::{Member, exchange};
    use crate::units::TickRate;

    const HIT: Input = Input { move_x: 0, move_y: 0, yaw: 0, buttons: buttons::ATTACK };

    struct Scene {
        world: World,
        member: Member<Index>,
        tick: u32,
        hits: Vec<Hit>,
    }

    impl Scene {
        /// Entities of these kinds in a row along x, `gap` centimetres apart; who is first presses
        /// the button.
        fn new(kinds: &[Kind], gap: f32) -> Self {
            Self::with_sides(kinds, &[0; 8][..kinds.len()], gap)
        }

        /// The same, each on its side.
        fn with_sides(kinds: &[Kind], sides: &[u8], gap: f32) -> Self {
            let index = Index::new(kinds.len(), Kind::ALL.map(Kind::radius), 1.1);
            let (keeper, mut members) = exchange(1, kinds.len(), 0, &index);
            let config = WorldConfig { capacity: kinds.len(), rate: TickRate::DEFAULT };
            let mut world = World::new(config);
            for ((seat, &kind), &faction) in (0..).zip(kinds).zip(sides) {
                assert!(keeper.grant(seat, 0));
                let position = [4e5 + gap * seat as f32, 4e5, 0.0];
                let id = EntityId::from_parts(seat, 1);
                world.spawn(Spawn { id, kind, position, yaw: 0, faction, seat }).expect("room");
            }
            let mut scene = Self { world, member: members.remove(0), tick: 0, hits: Vec::new() };
            scene.tick();
            scene
        }

        /// As a shard does it: the hits of the last tick, the inputs, the attacks of this one.
        fn tick(&mut self) {
            let Self { world, member, tick, hits } = self;
            *tick += 1;
            for hit in hits.drain(..) {
                assert!(world.suffer(hit.target, hit.damage));
            }
            if *tick > 1 {
                // Nobody was published before the first tick.
                world.set_input(0, *tick, HIT);
            }
            world.apply();
            let indexes = std::iter::once(member.page_of(0));
            world.attack(indexes, member.published(), &mut Nearest::new(), |hit| hits.push(hit));
            world.advance();
            world.quantize(*tick);
            world.publish(member);
            world.index(member.page_mut());
            member.arrive();
            member.poll();
        }

        fn health(&self, row: usize) -> u8 {
            self.world.columns().quantized[row].health
        }
    }

    #[test]
    fn the_nearest_within_reach_that_can_be_hit_is_hit_and_nobody_else() {
        let mut scene = Scene::new(&[Kind::Player, Kind::Item, Kind::Npc, Kind::Player], 60.0);
        scene.tick();
        scene.tick();
        let healths: Vec<_> = (0..4).map(|row| scene.health(row)).collect();
        assert_eq!(healths, [255, 255, 255 - DAMAGE, 255]);
        let mut far = Scene::new(&[Kind::Player, Kind::Player], REACH + 1.0);
        (0..100).for_each(|_| far.tick());
        assert_eq!(far.health(1), 255);
    }

    #[test]
    fn whoever_is_on_a_side_hits_enemies_only_and_who_is_on_none_hits_anybody() {
        // Who attacks, the sides of the three next to him by distance, and who of them is hit.
        let cases: [(u8, [u8; 3], Option<usize>); 6] = [
            (0, [7, 2, 3], Some(0)),
            (1, [1, 2, 3], Some(1)),
            (1, [1, 3, 3], None),
            (1, [3, 1, 0], Some(2)),
            (2, [2, 3, 1], Some(2)),
            (4, [4, 1, 2], Some(0)),
        ];
        for (attacker, others, expected) in cases {
            let [one, two, three] = others;
            let sides = [attacker, one, two, three];
            let mut scene = Scene::with_sides(&[Kind::Player; 4], &sides, 60.0);
            let mut factions = Factions::default();
            factions.set_enemies(1, 2, true);
            factions.set_enemies(4, 4, true);
            scene.world.set_factions(factions);
            scene.tick();
            scene.tick();
            let hit = (0..3).find(|&other| scene.health(other + 1) < 255);
            assert_eq!(hit, expected, "{attacker} beside {others:?}");
        }
    }

    #[test]
    fn who_is_invulnerable_loses_no_health() {
        let mut scene = Scene::new(&[Kind::Player, Kind::Player], 60.0);
        let effects = effects::INVULNERABLE | effects::BURNING;
        scene.world.set_attributes(1, Attributes { effects, ..Attributes::SPAWNED });
        (0..60).for_each(|_| scene.tick());
        assert_eq!(scene.health(1), 255);
    }

    #[test]
    fn a_held_button_hits_once_per_cooldown() {
        let mut scene = Scene::new(&[Kind::Player, Kind::Player], 60.0);
        // Sixty ticks are two cooldowns.
        (0..60).for_each(|_| scene.tick());
        assert_eq!(scene.health(1), 255 - 2 * DAMAGE);
    }

    #[test]
    fn who_has_no_health_lies_there_is_spared_and_stands_up_again() {
        let mut scene = Scene::new(&[Kind::Player, Kind::Player], 60.0);
        while scene.health(1) > 0 {
            scene.tick();
        }
        let flags = |scene: &Scene| scene.world.columns().quantized[1].flags;
        assert_eq!(flags(&scene) & flags::IS_ALIVE, 0);
        let walk = Input { move_x: 127, ..Input::default() };
        let place = scene.world.columns().position[0][1];
        let fell = scene.tick;
        while flags(&scene) & flags::IS_ALIVE == 0 {
            scene.world.set_input(1, scene.tick, walk);
            scene.tick();
            assert!(scene.hits.is_empty(), "nobody hits who lies there");
        }
        assert_eq!(u64::from(scene.tick - fell), DOWN_MS * 60 / 1000 - 1);
        assert_eq!((scene.health(1), scene.world.columns().position[0][1]), (255, place));
    }
}
