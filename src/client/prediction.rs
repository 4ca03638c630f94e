//! Prediction of the own player: what the server will say about the inputs that it has not applied
//! yet, computed with its own arithmetic, and put right by what it does say.
//!
//! Owns the pending inputs and the predicted body. Never sends anything and reads no clock. The
//! program calls, once per tick, [`Prediction::predict`] with what it gave to `Client::set_input`,
//! and [`Prediction::observe`] after each applied snapshot. Bots do not need one.
//!
//! ```text
//! server, at tick 100     own state, last_processed_input 57          offset 100 − 57 = 43
//! client, newest input 61      58    59    60    61
//! replay                   ──▶ 101 ─▶ 102 ─▶ 103 ─▶ 104               predicted tick 61 + 43
//! ```
//! In each tick the server applies the newest input that it has; if there is none it repeats the
//! last one, and one that comes too late for its tick is never applied. So input i belongs to tick
//! i + offset, where the offset is the smallest one seen lately: larger ones are those of inputs
//! that were late. If all inputs are in time the prediction is the server's state to the bit.

use super::smoothing::{Offset, distance};
use super::world::WorldView;
use crate::kernel::movement::{Body, Intent, advance_one};
use crate::state::flags;
use crate::units::{EntityId, Tick, TickRate};
use crate::wire::snapshot::OwnState;
use crate::wire::{InputFrame, buttons};

/// Inputs that are kept: two seconds at 60 Hz. Who has more of them unanswered stands still until
/// an answer comes.
pub const PENDING_MAX: usize = 128;
/// Applied inputs by which the offset is judged. If every input is late from now on, the prediction
/// is behind for so many inputs.
const OFFSETS: usize = 16;

/// What a snapshot did to the prediction.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Correction {
    /// How far the predicted body moved, centimetres; 0 if the prediction was right to the bit.
    pub distance_cm: f32,
    /// Inputs that were computed again.
    pub replayed: u32,
}

/// The own player as it will be once the server has applied all inputs.
#[derive(Clone, Debug)]
pub struct Prediction {
    rate: TickRate,
    /// Nobody before the first state.
    entity: EntityId,
    alive: bool,
    body: Body,
    /// The tick before `body`, to draw what lies between.
    before: Body,
    pending: Pending,
    offsets: Offsets,
    /// Ticks predicted, the time in which a correction fades.
    ticks: u32,
    shown: Offset,
    corrections: u32,
    last_correction_cm: f32,
}

impl Prediction {
    /// Of a client whose server has this tick rate. Nothing is known before the first state.
    pub fn new(rate: TickRate) -> Self {
        Self {
            rate,
            entity: EntityId::NONE,
            alive: false,
            body: Body::default(),
            before: Body::default(),
            pending: Pending::new(),
            offsets: Offsets::default(),
            ticks: 0,
            shown: Offset::default(),
            corrections: 0,
            last_correction_cm: 0.0,
        }
    }

    /// One tick with the input `frame`, whose sequence is that of `Client::set_input`. A program
    /// that was held up calls both for each tick that it missed: the server did not wait.
    pub fn predict(&mut self, sequence: u32, frame: InputFrame) {
        self.pending.push(sequence, frame);
        self.ticks = self.ticks.wrapping_add(1);
        self.before = self.body;
        if self.entity != EntityId::NONE && self.pending.unapplied() <= PENDING_MAX as u32 {
            self.body = self.step(self.body, frame);
        }
    }

    /// Takes in what the newest snapshot says of the own player. Call it after each.
    pub fn observe(&mut self, world: &WorldView) -> Correction {
        let told = world
            .own()
            .map(|own| self.reconcile(world.own_tick(), world.last_processed_input(), own));
        told.unwrap_or_default()
    }

    /// The server says that at `tick`, having applied the inputs up to `applied`, the player was
    /// `own`: forgets those inputs and computes the others again.
    pub fn reconcile(&mut self, tick: Tick, applied: u32, own: &OwnState) -> Correction {
        self.alive = own.flags & flags::IS_ALIVE != 0;
        let anew = self.entity != own.id;
        self.entity = own.id;
        if self.pending.acknowledge(applied) {
            self.offsets.note(tick.wrapping_sub(applied));
        }
        let due = self.offsets.least().map_or(self.pending.held, |offset| {
            let predicted = self.pending.newest.wrapping_add(offset);
            predicted.wrapping_sub(tick).cast_signed().max(0).cast_unsigned()
        });
        let predicted = self.body;
        self.body = Body { position: own.position, velocity: own.velocity };
        self.before = self.body;
        let replayed = self.pending.held.min(due);
        for back in (0..replayed).rev() {
            self.before = self.body;
            self.body = self.step(self.body, self.pending.frame(back));
        }
        if self.pending.unapplied() == 0 {
            // Nothing is under way, so whatever comes next may have any offset: the program may
            // have paused.
            self.offsets = Offsets::default();
        }
        if anew {
            self.shown = Offset::default();
            return Correction { distance_cm: 0.0, replayed };
        }
        let distance_cm = distance(predicted.position, self.body.position);
        if distance_cm > 0.0 {
            let (from, to) = (predicted.position, self.body.position);
            self.shown.absorb(from, to, f64::from(self.ticks), self.rate);
            self.corrections = self.corrections.saturating_add(1);
            self.last_correction_cm = distance_cm;
        }
        Correction { distance_cm, replayed }
    }

    /// One tick of the server.
    fn step(&self, body: Body, frame: InputFrame) -> Body {
        let presses = |button| frame.buttons & button != 0;
        let axes = [frame.move_x, frame.move_y];
        let mut intent = Intent::of_player(axes, presses(buttons::SPRINT), presses(buttons::JUMP));
        if !self.alive {
            // Who has no health left lies where he fell.
            (intent.wish, intent.jump) = ([0.0; 2], 0.0);
        }
        advance_one(body, intent, self.rate.seconds())
    }

    /// The player after the newest input, in the server's own precision; `None` before the first
    /// state.
    pub fn body(&self) -> Option<Body> {
        (self.entity != EntityId::NONE).then_some(self.body)
    }

    /// Where to draw the player, centimetres: `part` (0 to 1) of a tick after the tick before the
    /// newest input. Corrections fade in over [`FADE_MS`](super::FADE_MS).
    pub fn visible(&self, part: f32) -> Option<[f32; 3]> {
        let Body { position: to, .. } = self.body()?;
        let from = self.before.position;
        let part = part.clamp(0.0, 1.0);
        let now = f64::from(self.ticks) - 1.0 + f64::from(part);
        let offset = self.shown.at(now, self.rate);
        Some(std::array::from_fn(|axis| from[axis] + (to[axis] - from[axis]) * part + offset[axis]))
    }

    /// Inputs that the server has not confirmed yet.
    pub fn pending(&self) -> u32 {
        self.pending.unapplied()
    }

    /// Snapshots that moved the predicted body.
    pub fn corrections(&self) -> u32 {
        self.corrections
    }

    /// How far the last of them moved it, centimetres.
    pub fn last_correction_cm(&self) -> f32 {
        self.last_correction_cm
    }
}

/// The newest inputs, a ring by sequence.
#[derive(Clone, Debug)]
struct Pending {
    frames: [InputFrame; PENDING_MAX],
    /// Sequence of the newest, 0 before the first.
    newest: u32,
    /// Newest that the server has applied.
    applied: u32,
    /// How many up to `newest` can be computed again.
    held: u32,
}

impl Pending {
    fn new() -> Self {
        let frames = [InputFrame::default(); PENDING_MAX];
        Self { frames, newest: 0, applied: 0, held: 0 }
    }

    fn push(&mut self, sequence: u32, frame: InputFrame) {
        // A gap means that somebody else gave inputs meanwhile: what was held is not theirs.
        let follows = sequence == self.newest.wrapping_add(1);
        self.held = if follows { (self.held + 1).min(PENDING_MAX as u32) } else { 1 };
        self.newest = sequence;
        self.frames[sequence as usize % PENDING_MAX] = frame;
    }

    /// The frame so many before the newest; fewer than `held`.
    fn frame(&self, back: u32) -> InputFrame {
        self.frames[self.newest.wrapping_sub(back) as usize % PENDING_MAX]
    }

    /// Tells whether that is news. What was never given cannot be applied and is ignored.
    fn acknowledge(&mut self, applied: u32) -> bool {
        let newer = applied.wrapping_sub(self.applied).cast_signed() > 0;
        let given = self.newest.wrapping_sub(applied).cast_signed() >= 0;
        if newer && given {
            self.applied = applied;
            self.held = self.held.min(self.unapplied());
        }
        newer && given
    }

    /// Inputs after the newest applied one.
    fn unapplied(&self) -> u32 {
        self.newest.wrapping_sub(self.applied)
    }
}

/// By how much the ticks were ahead of the inputs that were applied lately.
#[derive(Clone, Copy, Debug, Default)]
struct Offsets {
    seen: [u32; OFFSETS],
    count: usize,
}

impl Offsets {
    fn note(&mut self, offset: u32) {
        self.seen[self.count % OFFSETS] = offset;
        self.count += 1;
    }

    /// The smallest, wrapping.
    fn least(&self) -> Option<u32> {
        let seen = &self.seen[..self.count.min(OFFSETS)];
        seen.iter().copied().reduce(|a, b| if a.wrapping_sub(b).cast_signed() < 0 { a } else { b })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EAST: InputFrame = InputFrame { move_x: 127, move_y: 0, yaw: 0, buttons: 0 };

    fn own(x: f32, flags: u8) -> OwnState {
        OwnState {
            id: EntityId::from_parts(3, 1),
            position: [x, 4e5, 0.0],
            flags,
            health: 255,
            mana: 255,
            ..OwnState::default()
        }
    }

    fn x(prediction: &Prediction) -> f32 {
        prediction.body().expect("a state was told").position[0]
    }

    #[test]
    fn nothing_is_predicted_before_the_first_state() {
        let mut prediction = Prediction::new(TickRate::DEFAULT);
        prediction.predict(1, EAST);
        assert_eq!((prediction.body(), prediction.visible(1.0)), (None, None));
        prediction.reconcile(50, 0, &own(1000.0, flags::IS_ALIVE));
        assert_eq!(x(&prediction), 1010.0, "the input that was given already counts");
        assert_eq!(prediction.corrections(), 0, "the first state corrects nothing");
    }

    #[test]
    fn who_is_not_alive_does_not_walk() {
        let mut prediction = Prediction::new(TickRate::DEFAULT);
        prediction.reconcile(50, 0, &own(1000.0, 0));
        (1..9).for_each(|sequence| prediction.predict(sequence, EAST));
        assert_eq!(x(&prediction), 1000.0);
        prediction.reconcile(51, 1, &own(1000.0, flags::IS_ALIVE));
        assert!((x(&prediction) - 1070.0).abs() < 0.1, "seven ticks: {}", x(&prediction));
    }

    #[test]
    fn without_an_answer_the_pending_inputs_are_bounded_and_the_player_stops() {
        let mut prediction = Prediction::new(TickRate::DEFAULT);
        prediction.reconcile(50, 0, &own(1000.0, flags::IS_ALIVE));
        (1..=128).for_each(|sequence| prediction.predict(sequence, EAST));
        let place = x(&prediction);
        assert!((place - 2280.0).abs() < 1.0, "{place}");
        (129..=5000).for_each(|sequence| prediction.predict(sequence, EAST));
        assert_eq!((x(&prediction), prediction.pending()), (place, 5000));
        let correction = prediction.reconcile(5040, 4990, &own(9000.0, flags::IS_ALIVE));
        assert_eq!(correction.replayed, 10);
        assert!((x(&prediction) - 9100.0).abs() < 0.1);
    }

    #[test]
    fn an_acknowledgment_of_what_was_never_given_or_is_old_changes_no_input() {
        let mut prediction = Prediction::new(TickRate::DEFAULT);
        (1..=10).for_each(|sequence| prediction.predict(sequence, EAST));
        prediction.reconcile(50, 4, &own(1000.0, flags::IS_ALIVE));
        assert_eq!(prediction.pending(), 6);
        for wrong in [11, u32::MAX, 3, 0, 1 << 31] {
            let correction = prediction.reconcile(51, wrong, &own(1000.0, flags::IS_ALIVE));
            assert_eq!(prediction.pending(), 6, "{wrong}");
            assert!(correction.replayed <= 6);
        }
    }

    #[test]
    fn a_correction_is_reported_and_fades_in() {
        let mut prediction = Prediction::new(TickRate::DEFAULT);
        prediction.reconcile(50, 0, &own(1000.0, flags::IS_ALIVE));
        (1..=4).for_each(|sequence| prediction.predict(sequence, EAST));
        let drawn = prediction.visible(1.0).expect("a state")[0];
        let correction = prediction.reconcile(51, 1, &own(950.0, flags::IS_ALIVE));
        assert!((correction.distance_cm - 60.0).abs() < 0.1, "{correction:?}");
        assert_eq!(prediction.visible(1.0).expect("a state")[0], drawn, "no jump");
        assert_eq!(prediction.corrections(), 1);
        (5..=10).for_each(|sequence| prediction.predict(sequence, EAST));
        assert_eq!(prediction.visible(1.0).expect("a state")[0], x(&prediction), "6 ticks later");
    }
}
