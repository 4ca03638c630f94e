//! Nobody moves farther than his speed allows: from one published tick to the next, and over every
//! second.

use super::Verdict;
use crate::kernel::movement::{JUMP_SPEED, SPRINT_SPEED};
use crate::sim::truth::Being;
use crate::units::{EntityId, GRAVITY, MAP_Z, Tick, TickRate};
use std::collections::BTreeMap;

const CHECK: &str = "displacement <= speed x time + slack";
/// Two quantized positions are each within a step of the truth, centimetres.
const SLACK: f32 = 4.0;

/// Where everybody was.
#[derive(Debug, Default)]
pub(crate) struct Motion {
    last: BTreeMap<EntityId, (Tick, [f32; 3])>,
    /// A second ago or less.
    anchors: BTreeMap<EntityId, (Tick, [f32; 3])>,
}

impl Motion {
    /// Looks at everybody in `tick`.
    pub(crate) fn observe(&mut self, tick: Tick, beings: &[Being]) -> Verdict {
        let mut now = BTreeMap::new();
        for being in beings {
            let position = being.state.position();
            now.insert(being.id, (tick, position));
            if let Some(&before) = self.last.get(&being.id) {
                compare(being.id, before, (tick, position))?;
            }
            let anchor = self.anchors.entry(being.id).or_insert((tick, position));
            compare(being.id, *anchor, (tick, position))?;
            if tick - anchor.0 >= TickRate::DEFAULT.hz().into() {
                *anchor = (tick, position);
            }
        }
        self.anchors.retain(|id, _| now.contains_key(id));
        self.last = now;
        Ok(())
    }
}

fn compare(id: EntityId, before: (Tick, [f32; 3]), after: (Tick, [f32; 3])) -> Verdict {
    let seconds = (after.0 - before.0) as f32 * TickRate::DEFAULT.seconds();
    let moved = |axis: usize| after.1[axis] - before.1[axis];
    let (x, y, z) = (moved(0), moved(1), moved(2));
    let along = (x * x + y * y).sqrt();
    // Nobody falls faster than from the ceiling.
    let fall = (2.0 * GRAVITY * MAP_Z).sqrt();
    let is_possible = along <= SPRINT_SPEED * seconds + SLACK
        && z <= JUMP_SPEED * seconds + SLACK
        && -z <= fall * seconds + SLACK;
    if is_possible {
        return Ok(());
    }
    let what = format!("{id:?} moved by {x}, {y}, {z} cm from tick {} to {}", before.0, after.0);
    Err((CHECK, what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Kind, QuantizedState};

    fn being(x: u32) -> Being {
        let state = QuantizedState { x, ..QuantizedState::DEFAULT };
        Being { id: EntityId::from_parts(1, 1), kind: Kind::Player, state }
    }

    #[test]
    fn a_teleport_is_found_and_so_is_a_speed_a_little_too_high() {
        let mut walk = Motion::default();
        assert!((1..200).all(|tick| walk.observe(tick, &[being(tick * 9)]).is_ok()));
        assert!(walk.observe(200, &[being(2_000)]).is_err());
        // 11 steps of 1.5625 cm per tick are 1,031 cm/s: too little to show in one tick.
        let mut run = Motion::default();
        let found = (1..200).find(|&tick| run.observe(tick, &[being(tick * 11)]).is_err());
        assert!(found.is_some_and(|tick| tick > 2));
        let mut born = Motion::default();
        assert!(born.observe(1, &[]).is_ok() && born.observe(2, &[being(5_000)]).is_ok());
    }
}
