//! The columns of the world and the view of them that others read.

use super::Row;
use super::apply::Intake;
use super::attack::Combat;
use crate::kernel::lanes::{Floats, LANES, Words, padded};
use crate::kernel::quantization::{self, Sample};
use crate::kernel::trail::Walk;
use crate::state::{Kind, QuantizedState};
use crate::units::{EntityId, Tick};

/// Everything a world knows about its entities, by row. A row where nothing lives is all zeros, on
/// which every kernel is inert.
#[derive(Clone, Debug)]
pub(super) struct Store {
    pub(super) kind: Box<[Kind]>,
    pub(super) seat: Box<[u32]>,
    /// Where it went over the last ticks.
    pub(super) walk: Box<[Walk]>,
    /// Tick in which the entity was first published, 0 = not yet.
    pub(super) since: Box<[Tick]>,
    pub(super) intake: Box<[Intake]>,
    pub(super) combat: Box<[Combat]>,
    /// One more than the seat of whom the entity attacked last, 0 = nobody. Decides what its player
    /// is told and nothing that is hashed.
    pub(super) target: Box<[u32]>,
    pub(super) position: [Floats; 3],
    pub(super) velocity: [Floats; 3],
    pub(super) wish: [Floats; 2],
    pub(super) speed: Floats,
    pub(super) jump: Floats,
    pub(super) gravity: Floats,
    /// Yaw, animation and flags, vitals and faction, effects, pitch and roll: the words of the
    /// quantized row that movement does not compute, ready to be merged.
    pub(super) heading: Words,
    pub(super) posture: Words,
    pub(super) vitals: Words,
    pub(super) effects: Words,
    pub(super) tilt: Words,
    /// One block is one [`QuantizedState`].
    pub(super) quantized: Words,
    pub(super) changed: Words,
    pub(super) last_input: Words,
}

impl Store {
    pub(super) fn new(capacity: usize) -> Self {
        let floats = || Floats::zeroed(capacity);
        let words = || Words::zeroed(capacity);
        Self {
            kind: vec![Kind::Player; padded(capacity)].into_boxed_slice(),
            seat: vec![0; padded(capacity)].into_boxed_slice(),
            walk: vec![Walk::default(); padded(capacity)].into_boxed_slice(),
            since: vec![0; padded(capacity)].into_boxed_slice(),
            intake: vec![Intake::default(); padded(capacity)].into_boxed_slice(),
            combat: vec![Combat::default(); padded(capacity)].into_boxed_slice(),
            target: vec![0; padded(capacity)].into_boxed_slice(),
            position: [floats(), floats(), floats()],
            velocity: [floats(), floats(), floats()],
            wish: [floats(), floats()],
            speed: floats(),
            jump: floats(),
            gravity: floats(),
            heading: words(),
            posture: words(),
            vitals: words(),
            effects: words(),
            tilt: words(),
            quantized: Words::zeroed(padded(capacity) * LANES),
            changed: words(),
            last_input: words(),
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let floats = self.floats().iter().map(|column| column.memory_bytes()).sum::<usize>();
        let words = self.words().iter().map(|column| column.memory_bytes()).sum::<usize>();
        floats
            + words
            + self.quantized.memory_bytes()
            + size_of_val(&*self.kind)
            + size_of_val(&*self.seat)
            + size_of_val(&*self.walk)
            + size_of_val(&*self.since)
            + size_of_val(&*self.intake)
            + size_of_val(&*self.combat)
            + size_of_val(&*self.target)
    }

    /// The row as zeros.
    pub(super) fn erase(&mut self, row: Row) {
        let row = row as usize;
        self.kind[row] = Kind::Player;
        self.seat[row] = 0;
        self.walk[row] = Walk::default();
        self.since[row] = 0;
        self.intake[row] = Intake::default();
        self.combat[row] = Combat::default();
        self.target[row] = 0;
        for column in self.floats_mut() {
            column.lanes_mut()[row] = 0.0;
        }
        for column in self.words_mut() {
            column.lanes_mut()[row] = 0;
        }
        self.quantized.lanes_mut()[row * LANES..][..LANES].fill(0);
    }

    /// What the phase quantize would read of one row.
    pub(super) fn sample(&self, row: Row) -> Sample {
        let row = row as usize;
        let [x, y, z] = &self.position;
        let [vx, vy, vz] = &self.velocity;
        Sample {
            position: [x, y, z].map(|column| column.lanes()[row]),
            velocity: [vx, vy, vz].map(|column| column.lanes()[row]),
            gravity: self.gravity.lanes()[row],
            heading: self.heading.lanes()[row],
            posture: self.posture.lanes()[row],
            vitals: self.vitals.lanes()[row],
            effects: self.effects.lanes()[row],
            tilt: self.tilt.lanes()[row],
        }
    }

    /// The quantized state of one row.
    pub(super) fn state(&self, row: usize) -> &QuantizedState {
        &bytemuck::cast_slice(self.quantized.blocks())[row]
    }

    /// Quantizes one row outside the phase, as of `tick`.
    pub(super) fn quantize_row(&mut self, row: Row, tick: Tick) {
        let state = quantization::quantize_one(self.sample(row));
        let row = row as usize;
        bytemuck::cast_slice_mut(self.quantized.lanes_mut())[row] = state;
        self.changed.lanes_mut()[row] = tick;
    }

    pub(super) fn view<'a>(&'a self, ids: &'a [EntityId]) -> Columns<'a> {
        let rows = ids.len();
        let [x, y, z] = &self.position;
        let [vx, vy, vz] = &self.velocity;
        Columns {
            ids,
            kinds: &self.kind[..rows],
            seats: &self.seat[..rows],
            position: [x, y, z].map(|column| &column.lanes()[..rows]),
            velocity: [vx, vy, vz].map(|column| &column.lanes()[..rows]),
            quantized: &bytemuck::cast_slice(self.quantized.blocks())[..rows],
            changed: &self.changed.lanes()[..rows],
            last_input: &self.last_input.lanes()[..rows],
        }
    }

    pub(super) fn floats(&self) -> [&Floats; 11] {
        let [x, y, z] = &self.position;
        let [vx, vy, vz] = &self.velocity;
        let [wish_x, wish_y] = &self.wish;
        [x, y, z, vx, vy, vz, wish_x, wish_y, &self.speed, &self.jump, &self.gravity]
    }

    pub(super) fn floats_mut(&mut self) -> [&mut Floats; 11] {
        let [x, y, z] = &mut self.position;
        let [vx, vy, vz] = &mut self.velocity;
        let [wish_x, wish_y] = &mut self.wish;
        let Self { speed, jump, gravity, .. } = self;
        [x, y, z, vx, vy, vz, wish_x, wish_y, speed, jump, gravity]
    }

    pub(super) fn words(&self) -> [&Words; 7] {
        let Self { heading, posture, vitals, effects, tilt, changed, last_input, .. } = self;
        [heading, posture, vitals, effects, tilt, changed, last_input]
    }

    pub(super) fn words_mut(&mut self) -> [&mut Words; 7] {
        let Self { heading, posture, vitals, effects, tilt, changed, last_input, .. } = self;
        [heading, posture, vitals, effects, tilt, changed, last_input]
    }
}

/// Read access to the columns: one value per row, up to the highest living row.
#[derive(Clone, Copy, Debug)]
pub struct Columns<'a> {
    /// `EntityId::NONE` in a row where nothing lives; the other columns are zero there.
    pub ids: &'a [EntityId],
    /// What it is.
    pub kinds: &'a [Kind],
    /// Its row in the published columns.
    pub seats: &'a [u32],
    /// x, y, z in centimetres; finite and inside the map.
    pub position: [&'a [f32]; 3],
    /// x, y, z in cm/s; finite.
    pub velocity: [&'a [f32]; 3],
    /// As of the last phase quantize, or of the spawn if that came later.
    pub quantized: &'a [QuantizedState],
    /// The tick in which `quantized` last changed; never before the spawn.
    pub changed: &'a [Tick],
    /// Sequence of the newest input that was applied, 0 = none yet.
    pub last_input: &'a [u32],
}
