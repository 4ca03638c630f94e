//! Phase apply: the newest input of each player becomes its intent.
//!
//! Inputs arrive between ticks in any order and number; only the newest by sequence counts, and
//! nothing happens to the world before [`World::apply`]. The shard calls both.

use super::{Row, World};
use crate::kernel::movement::Intent;
use crate::kernel::quantization::heading_word;
use crate::state::Kind;

/// A player of whom nothing was heard for so many milliseconds stops.
pub const STALE_INPUT_MS: u64 = 500;

/// Bits of [`Input::buttons`].
pub mod buttons {
    /// Take off, when standing on the ground.
    pub const JUMP: u16 = 0x01;
    /// Move at sprinting speed.
    pub const SPRINT: u16 = 0x02;
    /// Hit who stands nearest, again and again while it is held.
    pub const ATTACK: u16 = 0x04;
}

/// What a player wants in one tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Input {
    /// Along x (east), −127..=127; −128 counts as −127.
    pub move_x: i8,
    /// Along y (north), the same.
    pub move_y: i8,
    /// Heading in 65,536ths of a turn; it does not turn the axes.
    pub yaw: u16,
    /// Bits of [`buttons`]; others are ignored.
    pub buttons: u16,
}

/// The inbox of one row, 12 bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Intake {
    /// Newest sequence accepted, 0 = none yet.
    sequence: u32,
    input: Input,
    /// Whether `input` waits for the next apply.
    pending: bool,
    /// Ticks until the intent is stale; 0 = it is, or never was any.
    ticks_left: u8,
}

const _: () = assert!(size_of::<Intake>() == 12);

impl Intake {
    pub(super) fn ticks_left(self) -> u8 {
        self.ticks_left
    }
}

impl World {
    /// Offers an input to a row; the next [`Self::apply`] takes the newest. Tells whether it was
    /// newer than all before it: `sequence` minus the newest, wrapping, is in 1..2^31. The first
    /// sequence of an entity is compared with 0. Older and repeated ones change nothing, nor does a
    /// row in which nothing lives.
    pub fn set_input(&mut self, row: Row, sequence: u32, input: Input) -> bool {
        if self.roster.id_of(row).is_none() {
            return false;
        }
        let intake = &mut self.store.intake[row as usize];
        if sequence.wrapping_sub(intake.sequence).cast_signed() <= 0 {
            return false;
        }
        intake.sequence = sequence;
        intake.input = input;
        intake.pending = true;
        true
    }

    /// Lets go of all controls of the entity in `row`, whose next input has sequence 1 again:
    /// another session of its player takes over.
    pub fn restart_inputs(&mut self, row: Row) {
        if self.roster.id_of(row).is_none() {
            return;
        }
        let (store, row) = (&mut self.store, row as usize);
        store.intake[row] = Intake::default();
        store.wish.iter_mut().for_each(|wish| wish.lanes_mut()[row] = 0.0);
        store.jump.lanes_mut()[row] = 0.0;
        store.last_input.lanes_mut()[row] = 0;
        store.combat[row].presses = false;
    }

    /// Phase apply. A player without a new input for [`STALE_INPUT_MS`] stops; other kinds keep
    /// their intent.
    pub fn apply(&mut self) {
        let rows = self.roster.end();
        let store = &mut self.store;
        let [wish_x, wish_y] = &mut store.wish;
        let (wish_x, wish_y) = (&mut wish_x.lanes_mut()[..rows], &mut wish_y.lanes_mut()[..rows]);
        let speed = &mut store.speed.lanes_mut()[..rows];
        let jump = &mut store.jump.lanes_mut()[..rows];
        let heading = &mut store.heading.lanes_mut()[..rows];
        let last_input = &mut store.last_input.lanes_mut()[..rows];
        for (row, intake) in store.intake[..rows].iter_mut().enumerate() {
            if intake.pending {
                let input = intake.input;
                intake.pending = false;
                intake.ticks_left = self.stale_ticks;
                let presses = |button| input.buttons & button != 0;
                let axes = [input.move_x, input.move_y];
                let asked =
                    Intent::of_player(axes, presses(buttons::SPRINT), presses(buttons::JUMP));
                [wish_x[row], wish_y[row]] = asked.wish;
                (speed[row], jump[row]) = (asked.speed, asked.jump);
                heading[row] = heading_word(input.yaw);
                last_input[row] = intake.sequence;
                store.combat[row].presses = presses(buttons::ATTACK);
            } else if intake.ticks_left > 0 && store.kind[row] == Kind::Player {
                intake.ticks_left -= 1;
                if intake.ticks_left == 0 {
                    wish_x[row] = 0.0;
                    wish_y[row] = 0.0;
                    jump[row] = 0.0;
                    store.combat[row].presses = false;
                }
            }
        }
        self.recover();
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Spawn, WorldConfig};
    use super::*;
    use crate::kernel::movement::{SPRINT_SPEED, WALK_SPEED};
    use crate::units::{EntityId, TickRate};

    const FORWARD: Input = Input { move_x: 127, move_y: 0, yaw: 7, buttons: 0 };

    fn world_with(kind: Kind, rate: TickRate) -> (World, Row) {
        let mut world = World::new(WorldConfig { capacity: 9, rate });
        let id = EntityId::from_parts(3, 1);
        let spawn = Spawn { id, kind, position: [4e5, 4e5, 0.0], yaw: 0, faction: 0, seat: 0 };
        let row = world.spawn(spawn).expect("an empty world has room");
        (world, row)
    }

    fn step(world: &mut World) {
        world.apply();
        world.advance();
    }

    fn speed_x(world: &World) -> f32 {
        world.columns().velocity[0][0]
    }

    #[test]
    fn the_newest_input_wins_in_whatever_order_they_arrive() {
        let (mut world, row) = world_with(Kind::Player, TickRate::DEFAULT);
        let with_yaw = |yaw| Input { yaw, ..FORWARD };
        assert!(world.set_input(row, 5, with_yaw(5)));
        assert!(!world.set_input(row, 4, with_yaw(4)), "older");
        assert!(!world.set_input(row, 5, with_yaw(50)), "repeated");
        assert!(world.set_input(row, 7, with_yaw(7)));
        assert!(!world.set_input(row, 6, with_yaw(6)), "older than the pending one");
        assert_eq!(world.columns().last_input[0], 0, "nothing happens before apply");
        step(&mut world);
        world.quantize(1);
        assert_eq!((world.columns().last_input[0], world.columns().quantized[0].yaw), (7, 7));
        assert!(!world.set_input(row, 7, with_yaw(70)), "applied already");
        step(&mut world);
        world.quantize(2);
        assert_eq!((world.columns().last_input[0], world.columns().quantized[0].yaw), (7, 7));
    }

    #[test]
    fn sequences_wrap_and_never_jump_back() {
        let (mut world, row) = world_with(Kind::Player, TickRate::DEFAULT);
        assert!(!world.set_input(row, 0, FORWARD), "0 means none");
        assert!(!world.set_input(row, 1 << 31, FORWARD), "half a turn away is not newer");
        assert!(world.set_input(row, (1 << 31) - 1, FORWARD));
        assert!(world.set_input(row, u32::MAX - 1, FORWARD));
        assert!(!world.set_input(row, (1 << 31) - 2, FORWARD));
        assert!(world.set_input(row, u32::MAX, FORWARD));
        assert!(world.set_input(row, 3, FORWARD), "wrapped");
        for old in [u32::MAX, 2, 3, 3 + (1 << 31), u32::MAX - 100_000] {
            assert!(!world.set_input(row, old, FORWARD), "{old} after 3");
        }
    }

    #[test]
    fn a_player_without_input_for_half_a_second_stops() {
        for hz in [30, 60, 120] {
            let rate = TickRate::from_hz(hz).expect("a documented rate");
            let (mut world, row) = world_with(Kind::Player, rate);
            world.set_input(row, 1, FORWARD);
            let mut ticks = 0;
            step(&mut world);
            while speed_x(&world) > 0.0 {
                ticks += 1;
                assert!(!world.set_input(row, 1, FORWARD), "a repetition keeps nobody walking");
                step(&mut world);
            }
            assert_eq!(ticks, u32::from(hz) / 2, "ticks in motion at {hz} Hz");
            let place = world.columns().position[0][0];
            (0..100).for_each(|_| step(&mut world));
            assert_eq!(world.columns().position[0][0], place);
            assert!(world.set_input(row, 2, FORWARD));
            step(&mut world);
            assert_eq!(speed_x(&world), WALK_SPEED, "and walks on with the next input");
        }
    }

    #[test]
    fn input_every_499_ms_keeps_a_player_walking() {
        let (mut world, row) = world_with(Kind::Player, TickRate::DEFAULT);
        for sequence in 1..10 {
            world.set_input(row, sequence, FORWARD);
            for tick in 0..30 {
                step(&mut world);
                assert_eq!(speed_x(&world), WALK_SPEED, "input {sequence}, {tick} ticks old");
            }
        }
    }

    #[test]
    fn what_is_no_player_keeps_its_intent() {
        let (mut world, row) = world_with(Kind::Npc, TickRate::DEFAULT);
        world.set_input(row, 1, FORWARD);
        (0..1000).for_each(|_| step(&mut world));
        assert_eq!(speed_x(&world), WALK_SPEED);
    }

    #[test]
    fn the_extremes_of_an_axis_are_equal_and_opposite() {
        let (mut world, row) = world_with(Kind::Player, TickRate::DEFAULT);
        let mut speeds = Vec::new();
        for (sequence, move_x) in (1..).zip([i8::MIN, -127, 127, i8::MAX]) {
            let buttons = buttons::SPRINT | 0xFF00;
            world.set_input(row, sequence, Input { move_x, buttons, ..Input::default() });
            step(&mut world);
            speeds.push(speed_x(&world));
        }
        assert_eq!(speeds, [-SPRINT_SPEED, -SPRINT_SPEED, SPRINT_SPEED, SPRINT_SPEED]);
    }

    #[test]
    fn a_row_without_a_life_takes_no_input() {
        let (mut world, row) = world_with(Kind::Player, TickRate::DEFAULT);
        assert!(!world.set_input(row + 1, 1, FORWARD));
        assert!(!world.set_input(Row::MAX, 1, FORWARD));
        world.set_input(row, 9, FORWARD);
        world.despawn(row);
        assert!(!world.set_input(row, 10, FORWARD));
        let id = EntityId::from_parts(3, 2);
        let spawn =
            Spawn { id, kind: Kind::Player, position: [0.0; 3], yaw: 0, faction: 0, seat: 0 };
        assert_eq!(world.spawn(spawn), Ok(row));
        step(&mut world);
        assert_eq!(speed_x(&world), 0.0, "input of the dead does not move the living");
        assert!(world.set_input(row, 1, FORWARD), "and sequences start anew");
    }
}
