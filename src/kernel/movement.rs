//! One tick of movement: intent and gravity become velocity, velocity becomes position.
//!
//! It never leaves the map and never lets a value that is not finite into a position or a velocity,
//! whatever it is given. `world` calls [`advance`] in the phase move; [`advance_one`] is the
//! definition, and what a client runs to predict itself.

use super::lanes::{LANES, SCALAR, clamp, clamp_one, settle, settle_one};
use super::{EDGE_XY, EDGE_Z, SPEED_LIMIT};
use crate::units::GRAVITY;
use wide::f32x8;

/// Full deflection of an input axis. A longer vector than this is shortened to it, so walking
/// diagonally is not faster.
pub const AXIS_FULL: f32 = 127.0;
/// Walking speed in cm/s.
pub const WALK_SPEED: f32 = 600.0;
/// Sprinting speed in cm/s.
pub const SPRINT_SPEED: f32 = 900.0;
/// Upward speed at the start of a jump in cm/s.
pub const JUMP_SPEED: f32 = 500.0;

/// What moves.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Body {
    /// Centimetres from the south-west corner of the map's floor.
    pub position: [f32; 3],
    /// Centimetres per second.
    pub velocity: [f32; 3],
}

/// Where a body wants to go, and what acts on it.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Intent {
    /// Input axes along x and y, −127..=127 each.
    pub wish: [f32; 2],
    /// Speed in cm/s at full deflection.
    pub speed: f32,
    /// Upward speed in cm/s it takes off with when it stands on the ground; 0 = does not jump.
    pub jump: f32,
    /// Downward acceleration in cm/s²; 0 = it hangs where it is.
    pub gravity: f32,
}

impl Intent {
    /// What a player asks for with one input: axes of −127..=127 (−128 counts as −127), whether it
    /// sprints, whether it jumps. The server and the prediction of its clients both take it from
    /// here.
    pub fn of_player(axes: [i8; 2], sprints: bool, jumps: bool) -> Self {
        Self {
            wish: axes.map(|axis| f32::from(axis.max(-127))),
            speed: if sprints { SPRINT_SPEED } else { WALK_SPEED },
            jump: if jumps { JUMP_SPEED } else { 0.0 },
            gravity: GRAVITY,
        }
    }
}

/// The definition: `body` after one tick of `dt` seconds.
///
/// A component that would leave the map stops at the edge with velocity 0; the ground is the edge
/// at z = 0.
pub fn advance_one(body: Body, intent: Intent, dt: f32) -> Body {
    let [wish_x, wish_y] = intent.wish;
    let squared = wish_x * wish_x + wish_y * wish_y;
    let length = if squared > AXIS_FULL * AXIS_FULL { squared.sqrt() } else { AXIS_FULL };
    let grounded = body.position[2] <= 0.0;
    let upward = if grounded { intent.jump } else { body.velocity[2] };
    let wanted = [
        wish_x / length * intent.speed,
        wish_y / length * intent.speed,
        upward - intent.gravity * dt,
    ];
    let mut after = body;
    for (axis, edge) in [EDGE_XY, EDGE_XY, EDGE_Z].into_iter().enumerate() {
        let reached = body.position[axis] + wanted[axis] * dt;
        let position = clamp_one(reached, 0.0, edge);
        let velocity = if position == reached { wanted[axis] } else { 0.0 };
        after.position[axis] = position;
        after.velocity[axis] = settle_one(velocity, SPEED_LIMIT);
    }
    after
}

/// The columns that [`advance`] reads and writes.
#[derive(Debug)]
pub struct Bodies<'a> {
    /// Positions along x, y, z.
    pub position: [&'a mut [f32x8]; 3],
    /// Velocities along x, y, z.
    pub velocity: [&'a mut [f32x8]; 3],
}

/// The columns that [`advance`] reads. Same lengths as [`Bodies`].
#[derive(Clone, Copy, Debug)]
pub struct Intents<'a> {
    /// See [`Intent::wish`].
    pub wish: [&'a [f32x8]; 2],
    /// See [`Intent::speed`].
    pub speed: &'a [f32x8],
    /// See [`Intent::jump`].
    pub jump: &'a [f32x8],
    /// See [`Intent::gravity`].
    pub gravity: &'a [f32x8],
}

/// The product: [`advance_one`] on every lane of the first `blocks` blocks. A zeroed lane stays
/// zero.
///
/// # Panics
/// If a column is shorter than `blocks`.
pub fn advance(bodies: Bodies<'_>, intents: Intents<'_>, blocks: usize, dt: f32) {
    if SCALAR {
        return advance_each(bodies, intents, blocks, dt);
    }
    let [x, y, z] = bodies.position.map(|column| &mut column[..blocks]);
    let [vx, vy, vz] = bodies.velocity.map(|column| &mut column[..blocks]);
    let [wish_x, wish_y] = intents.wish.map(|column| &column[..blocks]);
    let speed = &intents.speed[..blocks];
    let jump = &intents.jump[..blocks];
    let gravity = &intents.gravity[..blocks];
    let full = f32x8::splat(AXIS_FULL);
    let step = f32x8::splat(dt);
    for i in 0..blocks {
        let squared = wish_x[i] * wish_x[i] + wish_y[i] * wish_y[i];
        let length = squared.simd_gt(full * full).select(squared.sqrt(), full);
        let grounded = z[i].simd_le(f32x8::ZERO);
        let upward = grounded.select(jump[i], vz[i]);
        (x[i], vx[i]) = travel(x[i], wish_x[i] / length * speed[i], step, EDGE_XY);
        (y[i], vy[i]) = travel(y[i], wish_y[i] / length * speed[i], step, EDGE_XY);
        (z[i], vz[i]) = travel(z[i], upward - gravity[i] * step, step, EDGE_Z);
    }
}

/// [`advance_one`] on one row after the other.
fn advance_each(bodies: Bodies<'_>, intents: Intents<'_>, blocks: usize, dt: f32) {
    let position = bodies.position.map(bytemuck::cast_slice_mut::<f32x8, f32>);
    let velocity = bodies.velocity.map(bytemuck::cast_slice_mut::<f32x8, f32>);
    let lanes = bytemuck::cast_slice::<f32x8, f32>;
    let (wish, speed) = (intents.wish.map(lanes), lanes(intents.speed));
    let (jump, gravity) = (lanes(intents.jump), lanes(intents.gravity));
    for row in 0..blocks * LANES {
        let body = Body {
            position: position.each_ref().map(|column| column[row]),
            velocity: velocity.each_ref().map(|column| column[row]),
        };
        let wish = wish.map(|column| column[row]);
        let intent = Intent { wish, speed: speed[row], jump: jump[row], gravity: gravity[row] };
        let after = advance_one(body, intent, dt);
        for axis in 0..3 {
            position[axis][row] = after.position[axis];
            velocity[axis][row] = after.velocity[axis];
        }
    }
}

#[inline(always)]
fn travel(from: f32x8, wanted: f32x8, dt: f32x8, edge: f32) -> (f32x8, f32x8) {
    let reached = from + wanted * dt;
    let position = clamp(reached, f32x8::ZERO, f32x8::splat(edge));
    let velocity = wanted & position.simd_eq(reached);
    (position, settle(velocity, f32x8::splat(SPEED_LIMIT)))
}

#[cfg(test)]
mod tests {
    use super::super::lanes::samples::{LENGTHS, Seeded};
    use super::super::lanes::{Floats, blocks};
    use super::*;

    const DT: f32 = 1.0 / 60.0;

    /// The eleven columns in the order of [`scenes`]: position, velocity, wish, speed, jump,
    /// gravity.
    struct Columns([Floats; 11]);

    impl Columns {
        fn new(scenes: &[(Body, Intent)]) -> Self {
            let mut columns = std::array::from_fn(|_| Floats::zeroed(scenes.len()));
            for (row, (body, intent)) in scenes.iter().enumerate() {
                let Intent { wish, speed, jump, gravity } = *intent;
                let rest = [wish[0], wish[1], speed, jump, gravity];
                let values = body.position.into_iter().chain(body.velocity).chain(rest);
                columns.iter_mut().zip(values).for_each(|(c, value)| c.lanes_mut()[row] = value);
            }
            Self(columns)
        }

        fn advance(&mut self, blocks: usize, dt: f32) {
            let [x, y, z, vx, vy, vz, wish_x, wish_y, speed, jump, gravity] = &mut self.0;
            let bodies = Bodies {
                position: [x, y, z].map(|column| column.blocks_mut()),
                velocity: [vx, vy, vz].map(|column| column.blocks_mut()),
            };
            let intents = Intents {
                wish: [wish_x.blocks(), wish_y.blocks()],
                speed: speed.blocks(),
                jump: jump.blocks(),
                gravity: gravity.blocks(),
            };
            advance(bodies, intents, blocks, dt);
        }

        fn bits(&self, row: usize) -> [u32; 6] {
            std::array::from_fn(|column| self.0[column].lanes()[row].to_bits())
        }
    }

    fn bits(body: Body) -> [u32; 6] {
        let [x, y, z] = body.position;
        let [vx, vy, vz] = body.velocity;
        [x, y, z, vx, vy, vz].map(f32::to_bits)
    }

    fn scene(random: &mut Seeded) -> (Body, Intent) {
        let body = Body {
            position: [EDGE_XY, EDGE_XY, EDGE_Z].map(|edge| random.nasty(-10.0, edge + 10.0)),
            velocity: std::array::from_fn(|_| random.nasty(-900.0, 900.0)),
        };
        let intent = Intent {
            wish: std::array::from_fn(|_| random.nasty(-128.0, 127.0)),
            speed: random.nasty(0.0, 1000.0),
            jump: random.nasty(0.0, 500.0),
            gravity: random.nasty(0.0, 1000.0),
        };
        (body, intent)
    }

    #[test]
    fn every_lane_equals_the_definition_to_the_bit() {
        for seed in 0..200 {
            let mut random = Seeded(seed);
            for length in LENGTHS {
                let scenes: Vec<_> = (0..length).map(|_| scene(&mut random)).collect();
                let mut columns = Columns::new(&scenes);
                columns.advance(blocks(length), DT);
                for (row, &(body, intent)) in scenes.iter().enumerate() {
                    let expected = bits(advance_one(body, intent, DT));
                    let context = || format!("seed {seed}, row {row}: {body:?} {intent:?}");
                    assert_eq!(columns.bits(row), expected, "{}", context());
                }
                for row in length..blocks(length) * 8 {
                    assert_eq!(columns.bits(row), [0; 6], "padding moved, seed {seed}");
                }
            }
        }
    }

    #[test]
    fn blocks_beyond_those_asked_for_do_not_move() {
        let scenes =
            [(Body::default(), Intent { wish: [127.0; 2], speed: 600.0, ..Intent::default() }); 16];
        let mut columns = Columns::new(&scenes);
        columns.advance(1, DT);
        assert!((0..8).all(|row| columns.bits(row) != [0; 6]));
        assert!((8..16).all(|row| columns.bits(row) == [0; 6]));
    }

    #[test]
    fn whatever_goes_in_what_comes_out_is_finite_and_in_the_map() {
        let seed = 3;
        let mut random = Seeded(seed);
        for _ in 0..100_000 {
            let (body, intent) = scene(&mut random);
            let Body { position: [x, y, z], velocity } = advance_one(body, intent, DT);
            let inside = [x, y].iter().all(|value| (0.0..=EDGE_XY).contains(value));
            assert!(inside && (0.0..=EDGE_Z).contains(&z), "seed {seed}: {body:?} {intent:?}");
            assert!(
                velocity.iter().all(|value| value.abs() <= SPEED_LIMIT),
                "seed {seed}: {body:?}"
            );
        }
    }

    #[test]
    fn no_input_is_faster_than_the_speed_limit() {
        let body = Body { position: [4e5, 4e5, 0.0], ..Body::default() };
        for wish_x in -128..=127_i32 {
            for wish_y in -128..=127_i32 {
                let wish = [wish_x as f32, wish_y as f32];
                let intent = Intent { wish, speed: SPRINT_SPEED, ..Intent::default() };
                let [vx, vy, vz] = advance_one(body, intent, DT).velocity;
                let speed = (f64::from(vx).powi(2) + f64::from(vy).powi(2)).sqrt();
                assert!(speed <= f64::from(SPRINT_SPEED) * (1.0 + 1e-6), "{wish:?}: {speed}");
                let full = wish_x.pow(2) + wish_y.pow(2) >= 127 * 127;
                assert!(
                    !full || speed >= f64::from(SPRINT_SPEED) * (1.0 - 1e-6),
                    "{wish:?}: {speed}"
                );
                assert_eq!(vz, 0.0);
            }
        }
    }

    #[test]
    fn a_jump_rises_to_its_height_and_lands_once() {
        let mut body = Body { position: [10.0, 10.0, 0.0], ..Body::default() };
        let mut intent = Intent { jump: JUMP_SPEED, gravity: GRAVITY, ..Intent::default() };
        let (mut top, mut ticks) = (0.0_f32, 0);
        loop {
            body = advance_one(body, intent, DT);
            intent.jump = 0.0;
            ticks += 1;
            top = top.max(body.position[2]);
            if body.position[2] == 0.0 {
                break;
            }
        }
        // v² / 2g = 127.6 cm and 2 v / g = 61.2 ticks without the error of the steps.
        assert!((115.0..128.0).contains(&top), "{top}");
        assert!((59..=62).contains(&ticks), "{ticks}");
        assert_eq!(body.velocity, [0.0; 3]);
    }

    #[test]
    fn what_has_no_weight_hangs_and_what_has_falls_to_the_ground() {
        let mut hanging = Body { position: [0.0, 0.0, 5000.0], ..Body::default() };
        let mut falling = hanging;
        let heavy = Intent { gravity: GRAVITY, ..Intent::default() };
        for _ in 0..600 {
            hanging = advance_one(hanging, Intent::default(), DT);
            falling = advance_one(falling, heavy, DT);
        }
        assert_eq!(hanging.position, [0.0, 0.0, 5000.0]);
        assert_eq!(falling, Body::default());
    }

    #[test]
    fn who_runs_against_the_edge_stands_still_there() {
        let body = Body { position: [EDGE_XY - 1.0, 0.0, 0.0], ..Body::default() };
        let intent = Intent { wish: [127.0, -127.0], speed: WALK_SPEED, ..Intent::default() };
        let after = advance_one(body, intent, DT);
        assert_eq!(after.position, [EDGE_XY, 0.0, 0.0]);
        assert_eq!(after.velocity, [0.0; 3]);
    }
}
