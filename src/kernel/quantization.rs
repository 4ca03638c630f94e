//! Positions and velocities become integers: the row that is replicated, hashed and kept in the
//! history.
//!
//! It never writes a value outside the map, whatever it is given. `world` calls [`quantize`] in the
//! phase quantize.

use super::SPEED_LIMIT;
use super::lanes::{LANES, SCALAR, clamp, clamp_one, settle, settle_one};
use crate::state::{QuantizedState, flags};
use crate::units::{STEP, STEPS_XY, STEPS_Z};
use wide::{f32x8, i32x8, u32x8};

const LAST_XY: f32 = (STEPS_XY - 1) as f32;
const LAST_Z: f32 = (STEPS_Z - 1) as f32;

/// Flags that follow from the movement; a row's own flags never contain them.
pub const DERIVED_FLAGS: u8 = flags::IS_MOVING | flags::IS_FALLING;

// The product builds a row from eight little-endian words.
const _: () = assert!(cfg!(target_endian = "little"));
const _: () = assert!(size_of::<QuantizedState>() == size_of::<u32x8>());

/// What is quantized of one entity.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Sample {
    /// Centimetres.
    pub position: [f32; 3],
    /// Centimetres per second.
    pub velocity: [f32; 3],
    /// Downward acceleration in cm/s²; what is above the ground without any does not fall.
    pub gravity: f32,
    /// Word 2 of the row without z, see [`heading_word`].
    pub heading: u32,
    /// Word 4 of the row without velocity, see [`posture_word`].
    pub posture: u32,
    /// Word 5 of the row, see [`vitals_word`].
    pub vitals: u32,
    /// Word 6 of the row.
    pub effects: u32,
    /// Word 7 of the row, see [`tilt_word`].
    pub tilt: u32,
}

/// Where the yaw stands in a row.
pub const fn heading_word(yaw: u16) -> u32 {
    (yaw as u32) << 16
}

/// Where animation and own flags stand in a row; derived flags are removed.
pub const fn posture_word(animation: u8, own_flags: u8) -> u32 {
    (animation as u32) << 16 | ((own_flags & !DERIVED_FLAGS) as u32) << 24
}

/// Where health, mana and faction stand in a row.
pub const fn vitals_word(health: u8, mana: u8, faction: u8) -> u32 {
    health as u32 | (mana as u32) << 8 | (faction as u32) << 16
}

/// Where pitch and roll stand in a row.
pub const fn tilt_word(pitch: i16, roll: i16) -> u32 {
    pitch as u16 as u32 | (roll as u16 as u32) << 16
}

/// The definition. Positions are rounded to the nearest step, ties to even, and end at the last
/// step of the map.
pub fn quantize_one(sample: Sample) -> QuantizedState {
    let steps = |value: f32, last| clamp_one(value / STEP, 0.0, last).round_ties_even() as u32;
    let speed = |value: f32| settle_one(value, SPEED_LIMIT).round_ties_even() as i16;
    let z = steps(sample.position[2], LAST_Z) as u16;
    let velocity = sample.velocity.map(speed);
    let [_, _, animation, own_flags] = sample.posture.to_le_bytes();
    let [health, mana, faction, _] = sample.vitals.to_le_bytes();
    let mut derived = 0;
    if velocity != [0; 3] {
        derived |= flags::IS_MOVING;
    }
    if z > 0 && sample.gravity > 0.0 {
        derived |= flags::IS_FALLING;
    }
    QuantizedState {
        x: steps(sample.position[0], LAST_XY),
        y: steps(sample.position[1], LAST_XY),
        z,
        yaw: (sample.heading >> 16) as u16,
        velocity,
        animation,
        flags: own_flags | derived,
        health,
        mana,
        faction,
        reserved: 0,
        effects: sample.effects,
        pitch: sample.tilt as i16,
        roll: (sample.tilt >> 16) as i16,
    }
}

/// The columns that [`quantize`] reads, all of one length.
#[derive(Clone, Copy, Debug)]
pub struct Samples<'a> {
    /// See [`Sample::position`].
    pub position: [&'a [f32x8]; 3],
    /// See [`Sample::velocity`].
    pub velocity: [&'a [f32x8]; 3],
    /// See [`Sample::gravity`].
    pub gravity: &'a [f32x8],
    /// See [`Sample::heading`].
    pub heading: &'a [u32x8],
    /// See [`Sample::posture`].
    pub posture: &'a [u32x8],
    /// See [`Sample::vitals`].
    pub vitals: &'a [u32x8],
    /// See [`Sample::effects`].
    pub effects: &'a [u32x8],
    /// See [`Sample::tilt`].
    pub tilt: &'a [u32x8],
}

/// The product: [`quantize_one`] on every lane of the first `blocks` blocks. One block of `rows` is
/// one [`QuantizedState`]; `changed` of a row becomes `tick` if the row differs from what it was. A
/// zeroed lane gives a zeroed row.
///
/// # Panics
/// If a column is shorter than `blocks` (rows and changed: eight times that).
pub fn quantize(
    samples: Samples<'_>,
    rows: &mut [u32x8],
    changed: &mut [u32],
    blocks: usize,
    tick: u32,
) {
    if SCALAR {
        return quantize_each(samples, rows, changed, blocks, tick);
    }
    let [x, y, z] = samples.position.map(|column| &column[..blocks]);
    let [vx, vy, vz] = samples.velocity.map(|column| &column[..blocks]);
    let gravity = &samples.gravity[..blocks];
    let heading = &samples.heading[..blocks];
    let posture = &samples.posture[..blocks];
    let vitals = &samples.vitals[..blocks];
    let effects = &samples.effects[..blocks];
    let tilt = &samples.tilt[..blocks];
    let (rows, _) = rows[..blocks * LANES].as_chunks_mut::<LANES>();
    let (changed, _) = changed[..blocks * LANES].as_chunks_mut::<LANES>();
    for (i, (rows, changed)) in rows.iter_mut().zip(changed).enumerate() {
        let [ix, iy] = [x[i], y[i]].map(|value| steps(value, LAST_XY));
        let iz = steps(z[i], LAST_Z);
        let [ivx, ivy, ivz] = [vx[i], vy[i], vz[i]].map(speeds);
        let low = u32x8::splat(0xFFFF);
        let resting = (ivx | ivy | ivz).simd_eq(u32x8::ZERO);
        let moving = u32x8::splat(u32::from(flags::IS_MOVING) << 24) & !resting;
        let heavy: u32x8 = bytemuck::cast(gravity[i].simd_gt(f32x8::ZERO));
        let airborne = heavy & !iz.simd_eq(u32x8::ZERO);
        let falling = u32x8::splat(u32::from(flags::IS_FALLING) << 24) & airborne;
        let words = [
            ix,
            iy,
            iz | heading[i],
            (ivx & low) | (ivy << 16_u32),
            (ivz & low) | posture[i] | moving | falling,
            vitals[i],
            effects[i],
            tilt[i],
        ];
        let fresh = u32x8::transpose(words);
        for lane in 0..LANES {
            let same = fresh[lane] == rows[lane];
            changed[lane] = if same { changed[lane] } else { tick };
        }
        *rows = fresh;
    }
}

/// [`quantize_one`] on one row after the other.
fn quantize_each(
    samples: Samples<'_>,
    rows: &mut [u32x8],
    changed: &mut [u32],
    blocks: usize,
    tick: u32,
) {
    let floats = bytemuck::cast_slice::<f32x8, f32>;
    let words = bytemuck::cast_slice::<u32x8, u32>;
    let (position, velocity) = (samples.position.map(floats), samples.velocity.map(floats));
    let Samples { gravity, heading, posture, vitals, effects, tilt, .. } = samples;
    for row in 0..blocks * LANES {
        let fresh = quantize_one(Sample {
            position: position.map(|column| column[row]),
            velocity: velocity.map(|column| column[row]),
            gravity: floats(gravity)[row],
            heading: words(heading)[row],
            posture: words(posture)[row],
            vitals: words(vitals)[row],
            effects: words(effects)[row],
            tilt: words(tilt)[row],
        });
        let fresh = bytemuck::cast(fresh);
        if rows[row] != fresh {
            (rows[row], changed[row]) = (fresh, tick);
        }
    }
}

#[inline(always)]
fn steps(value: f32x8, last: f32) -> u32x8 {
    let scaled = clamp(value / f32x8::splat(STEP), f32x8::ZERO, f32x8::splat(last));
    integer(scaled)
}

#[inline(always)]
fn speeds(value: f32x8) -> u32x8 {
    integer(settle(value, f32x8::splat(SPEED_LIMIT)))
}

/// Nearest integer, ties to even; the caller has brought `value` into the range of an i32.
#[inline(always)]
fn integer(value: f32x8) -> u32x8 {
    let rounded: i32x8 = value.fast_round_int();
    bytemuck::cast(rounded)
}

#[cfg(test)]
mod tests {
    use super::super::lanes::samples::{LENGTHS, Seeded};
    use super::super::lanes::{Floats, Words, blocks, padded};
    use super::super::{EDGE_XY, EDGE_Z};
    use super::*;

    struct Columns {
        floats: [Floats; 7],
        words: [Words; 5],
        rows: Words,
        changed: Words,
    }

    impl Columns {
        fn new(samples: &[Sample]) -> Self {
            let length = samples.len();
            let mut columns = Self {
                floats: std::array::from_fn(|_| Floats::zeroed(length)),
                words: std::array::from_fn(|_| Words::zeroed(length)),
                rows: Words::zeroed(padded(length) * LANES),
                changed: Words::zeroed(length),
            };
            samples.iter().enumerate().for_each(|(row, sample)| columns.put(row, *sample));
            columns
        }

        fn put(&mut self, row: usize, sample: Sample) {
            let floats = sample.position.into_iter().chain(sample.velocity).chain([sample.gravity]);
            for (column, value) in self.floats.iter_mut().zip(floats) {
                column.lanes_mut()[row] = value;
            }
            let Sample { heading, posture, vitals, effects, tilt, .. } = sample;
            let words = [heading, posture, vitals, effects, tilt];
            for (column, value) in self.words.iter_mut().zip(words) {
                column.lanes_mut()[row] = value;
            }
        }

        fn quantize(&mut self, length: usize, tick: u32) {
            let [x, y, z, vx, vy, vz, gravity] = self.floats.each_ref().map(|c| c.blocks());
            let [heading, posture, vitals, effects, tilt] =
                self.words.each_ref().map(|c| c.blocks());
            let position = [x, y, z];
            let velocity = [vx, vy, vz];
            let samples =
                Samples { position, velocity, gravity, heading, posture, vitals, effects, tilt };
            let rows = self.rows.blocks_mut();
            quantize(samples, rows, self.changed.lanes_mut(), blocks(length), tick);
        }

        fn row(&self, row: usize) -> QuantizedState {
            bytemuck::cast_slice(self.rows.blocks())[row]
        }
    }

    fn sample(random: &mut Seeded) -> Sample {
        let word = random.next();
        Sample {
            position: [EDGE_XY, EDGE_XY, EDGE_Z].map(|edge| random.nasty(-10.0, edge + 10.0)),
            velocity: std::array::from_fn(|_| random.nasty(-900.0, 900.0)),
            gravity: random.nasty(-1.0, 980.0),
            heading: heading_word(word as u16),
            posture: posture_word((word >> 16) as u8, (word >> 24) as u8),
            vitals: vitals_word((word >> 32) as u8, (word >> 40) as u8, (word >> 48) as u8),
            effects: random.next() as u32,
            tilt: tilt_word(random.next() as i16, random.next() as i16),
        }
    }

    #[test]
    fn every_row_equals_the_definition_and_lies_in_the_map() {
        for seed in 0..200 {
            let mut random = Seeded(seed);
            for length in LENGTHS {
                let samples: Vec<_> = (0..length).map(|_| sample(&mut random)).collect();
                let mut columns = Columns::new(&samples);
                columns.quantize(length, 9);
                for (row, &sample) in samples.iter().enumerate() {
                    let state = quantize_one(sample);
                    assert_eq!(columns.row(row), state, "seed {seed}, row {row}: {sample:?}");
                    assert!(state.x < STEPS_XY && state.y < STEPS_XY);
                    assert!(u32::from(state.z) < STEPS_Z);
                    assert!(state.velocity.iter().all(|speed| *speed != i16::MIN));
                    assert_eq!(state.reserved, 0);
                }
                for row in length..padded(length) {
                    assert_eq!(columns.row(row), bytemuck::Zeroable::zeroed(), "seed {seed}");
                    assert_eq!(columns.changed.lanes()[row], 0, "padding changed, seed {seed}");
                }
            }
        }
    }

    #[test]
    fn only_rows_that_differ_are_marked_with_the_tick() {
        for seed in 0..100 {
            let mut random = Seeded(seed);
            let length = 1 + random.below(33) as usize;
            let mut samples: Vec<_> = (0..length).map(|_| sample(&mut random)).collect();
            let mut columns = Columns::new(&samples);
            columns.quantize(length, 1);
            let mut expected = columns.changed.lanes()[..length].to_vec();
            for tick in 2..20 {
                for row in 0..length {
                    let before = quantize_one(samples[row]);
                    match random.below(4) {
                        0 => samples[row] = sample(&mut random),
                        1 => samples[row].effects ^= 1 << random.below(32),
                        2 => samples[row].tilt ^= 1 << random.below(32),
                        _ => (),
                    }
                    columns.put(row, samples[row]);
                    if quantize_one(samples[row]) != before {
                        expected[row] = tick;
                    }
                }
                columns.quantize(length, tick);
                assert_eq!(columns.changed.lanes()[..length], expected, "seed {seed}, tick {tick}");
            }
        }
    }

    #[test]
    fn a_step_survives_the_way_to_centimetres_and_back() {
        for step in (0..STEPS_XY).step_by(7).chain([STEPS_XY - 1]) {
            let place = step as f32 * STEP;
            for (delta, expected) in [(0.0, step), (0.7, step), (-0.7, step)] {
                let position = [place + delta, (place + delta).max(0.0), 0.0];
                let state = quantize_one(Sample { position, ..Sample::default() });
                assert_eq!((state.x, state.y), (expected, expected), "step {step} {delta:+}");
            }
        }
    }

    #[test]
    fn derived_flags_follow_from_the_movement_alone() {
        let all = posture_word(0, u8::MAX);
        let still = Sample { posture: all, gravity: 980.0, ..Sample::default() };
        assert_eq!(quantize_one(still).flags, !DERIVED_FLAGS);
        let slow = Sample { velocity: [0.4, -0.4, 0.4], ..still };
        assert_eq!(quantize_one(slow).flags, !DERIVED_FLAGS, "below one cm/s nothing moves");
        let moving = Sample { velocity: [0.0, -0.6, 0.0], ..still };
        assert_eq!(quantize_one(moving).flags, !flags::IS_FALLING);
        let high = Sample { position: [0.0, 0.0, 100.0], ..still };
        assert_eq!(quantize_one(high).flags, !flags::IS_MOVING);
        assert_eq!(quantize_one(Sample { gravity: 0.0, ..high }).flags, !DERIVED_FLAGS);
    }
}
