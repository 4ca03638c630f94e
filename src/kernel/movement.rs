//! One tick of movement: intent and gravity become velocity, velocity becomes position.
//!
//! It never leaves the map and never lets a value that is not finite into a position or a velocity,
//! whatever it is given. `world` calls [`advance`] in the phase move; [`advance_one`] is the definition,
//! and what a client runs to predict itself.

use super::lanes::{clamp, clamp_one, settle, settle_one};
use super::{EDGE_XY, EDGE_Z, SPEED_LIMIT};
use wide::f32x8;

/// Full deflection of an input axis. A longer vector than this is shortened to it, so walking diagonally
/// is not faster.
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

/// The definition: `body` after one tick of `dt` seconds.
///
/// A component that would leave the map stops at the edge with velocity 0; the ground is the edge at
/// z = 0.
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

/// The product: [`advance_one`] on every lane of the first `blocks` blocks. A zeroed lane stays zero.
///
/// # Panics
/// If a column is shorter than `blocks`.
pub fn advance(bodies: Bodies<'_>, intents: Intents<'_>, blocks: usize, dt: f32) {
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

#[inline(always)]
fn travel(from: f32x8, wanted: f32x8, dt: f32x8, edge: f32) -> (f32x8, f32x8) {
    let reached = from + wanted * dt;
    let position = clamp(reached, f32x8::ZERO, f32x8::splat(edge));
    let velocity = wanted & position.simd_eq(reached);
    (position, settle(velocity, f32x8::splat(SPEED_LIMIT)))
}
