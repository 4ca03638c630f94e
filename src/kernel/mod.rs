//! Arithmetic over columns: eight 32-bit lanes at a time, no scalar tail.
//!
//! Every kernel comes three times: a scalar **definition** (one entity, plain code, what is meant),
//! the **product** (`wide`, what runs), and a test that holds the two equal to the bit, lane for
//! lane. Results must replay on every build, so there is no fused multiply-add, no approximate
//! reciprocal and no reordering: only additions, multiplications, exact divisions, exact roots and
//! comparisons.
//!
//! A build with the cargo feature `scalar` runs the definitions instead of the products, so that
//! whole worlds can be compared, not only kernels: each product asks `lanes::SCALAR` first.
//!
//! A kernel owns no state, knows no entity lifecycle and allocates only in constructors. `world`
//! calls the kernels; the client may call the movement definition to predict.

pub mod age;
mod axis;
mod candidates;
pub mod grid;
pub mod lanes;
pub mod movement;
pub mod nearest;
#[cfg(test)]
mod oracle;
pub mod prefetch;
pub mod quantization;
pub mod trail;
pub mod urgency;

/// Largest magnitude of a velocity component in cm/s: what 16 bits carry with a sign.
pub const SPEED_LIMIT: f32 = 32_767.0;

/// Largest x and y of a position in centimetres: the last quantized step of the map.
pub const EDGE_XY: f32 = crate::units::MAP_XY - crate::units::STEP;
/// Largest z of a position in centimetres.
pub const EDGE_Z: f32 = crate::units::MAP_Z - crate::units::STEP;
