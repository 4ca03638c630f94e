//! NPCs and monsters: they wander. Now and then one turns, walks on, or stands for a while.
//!
//! What one decides follows from who it is and from the tick, so it decides the same wherever it
//! lives. Deciding is what can be done less often under load; moving is not. The shard calls
//! [`World::think`] in the phase apply.

use super::World;
use super::hash::mix;
use crate::kernel::movement::WALK_SPEED;
use crate::kernel::quantization::heading_word;
use crate::state::Kind;
use crate::units::Tick;

/// One decision in so many changes the course: at 60 Hz a change every two seconds.
const CHANGE_EVERY: u64 = 128;
/// Of its changes of course, one in so many is to stand still.
const STAND_EVERY: u64 = 4;
/// Share of a player's walking speed.
const STROLL: f32 = 0.5;

impl World {
    /// NPCs and monsters for whose entity index `is_due` says yes decide what to do from `tick` on.
    pub fn think(&mut self, tick: Tick, is_due: impl Fn(u32) -> bool) {
        let store = &mut self.store;
        for (row, id) in self.roster.ids().iter().enumerate() {
            if !matches!(store.kind[row], Kind::Npc | Kind::Monster) || !is_due(id.index()) {
                continue;
            }
            let draw = mix(mix(0, u64::from(id.0)), u64::from(tick));
            if !draw.is_multiple_of(CHANGE_EVERY) || store.combat[row].down > 0 {
                continue;
            }
            let [.., to_x, to_y, yaw_low, yaw_high] = draw.to_be_bytes();
            let stands = (draw / CHANGE_EVERY).is_multiple_of(STAND_EVERY);
            let wish = if stands { [0.0; 2] } else { [to_x, to_y].map(|b| f32::from(b) - 128.0) };
            for (axis, wish) in store.wish.iter_mut().zip(wish) {
                axis.lanes_mut()[row] = wish;
            }
            store.speed.lanes_mut()[row] = WALK_SPEED * STROLL;
            let yaw = u16::from_le_bytes([yaw_low, yaw_high]);
            store.heading.lanes_mut()[row] = heading_word(yaw);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Spawn, WorldConfig};
    use super::*;
    use crate::units::{EntityId, TickRate};

    fn world(kind: Kind) -> World {
        let mut world = World::new(WorldConfig { capacity: 50, rate: TickRate::DEFAULT });
        for seat in 0..50 {
            let id = EntityId::from_parts(seat, 1);
            let position = [4e5, 4e5, 0.0];
            world.spawn(Spawn { id, kind, position, yaw: 0, faction: 0, seat }).expect("room");
        }
        world
    }

    /// Lets everybody live for `ticks` ticks; who moved at all, and how often anybody turned.
    fn live(world: &mut World, ticks: Tick, is_due: impl Fn(u32, Tick) -> bool) -> (usize, usize) {
        let mut turns = 0;
        for tick in 1..=ticks {
            let before = world.columns().quantized.iter().map(|state| state.yaw);
            let before: Vec<_> = before.collect();
            world.apply();
            world.think(tick, |index| is_due(index, tick));
            world.advance();
            world.quantize(tick);
            let now = world.columns().quantized;
            turns += now.iter().zip(before).filter(|(now, before)| now.yaw != *before).count();
        }
        let moved = world.columns().position[0].iter().filter(|&&x| x != 4e5).count();
        (moved, turns)
    }

    #[test]
    fn npcs_wander_and_players_do_not() {
        let (moved, turns) = live(&mut world(Kind::Npc), 1280, |_, _| true);
        assert!(moved == 50 && (350..650).contains(&turns), "{moved} moved, {turns} turns");
        assert_eq!(live(&mut world(Kind::Player), 1280, |_, _| true), (0, 0));
    }

    #[test]
    fn who_decides_a_quarter_as_often_turns_a_quarter_as_often_and_walks_as_far() {
        let quarter = |index: u32, tick: Tick| index % 4 == tick % 4;
        let (moved, turns) = live(&mut world(Kind::Monster), 5120, quarter);
        assert!(moved == 50 && (350..650).contains(&turns), "{moved} moved, {turns} turns");
    }
}
