//! Phase apply: the newest input of each player becomes its intent.
//!
//! Inputs arrive between ticks in any order and number; only the newest by sequence counts, and nothing
//! happens to the world before [`World::apply`]. The shard calls both.

use super::{Row, World};
use crate::kernel::movement::{JUMP_SPEED, SPRINT_SPEED, WALK_SPEED};
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
    /// Offers an input to a row; the next [`Self::apply`] takes the newest. Tells whether it was newer
    /// than all before it: `sequence` minus the newest, wrapping, is in 1..2^31. The first sequence of an
    /// entity is compared with 0. Older and repeated ones change nothing, nor does a row in which nothing
    /// lives.
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

    /// Phase apply. A player without a new input for [`STALE_INPUT_MS`] stops; other kinds keep their
    /// intent.
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
                wish_x[row] = f32::from(input.move_x.max(-127));
                wish_y[row] = f32::from(input.move_y.max(-127));
                let sprints = input.buttons & buttons::SPRINT != 0;
                speed[row] = if sprints { SPRINT_SPEED } else { WALK_SPEED };
                jump[row] = if input.buttons & buttons::JUMP != 0 { JUMP_SPEED } else { 0.0 };
                heading[row] = heading_word(input.yaw);
                last_input[row] = intake.sequence;
            } else if intake.ticks_left > 0 && store.kind[row] == Kind::Player {
                intake.ticks_left -= 1;
                if intake.ticks_left == 0 {
                    wish_x[row] = 0.0;
                    wish_y[row] = 0.0;
                    jump[row] = 0.0;
                }
            }
        }
    }
}
