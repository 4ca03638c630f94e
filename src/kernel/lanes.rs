//! Columns: one value per row, stored as aligned blocks of eight lanes.
//!
//! A column is always a whole number of blocks, so a kernel never sees a partial one. Lanes beyond
//! the rows in use hold zeros, on which every kernel is inert. Columns never grow. `world` owns
//! columns, kernels borrow their blocks.

use bytemuck::Pod;
use wide::{f32x8, u32x8};

/// Whether this build runs the definitions of the kernels instead of their products: the cargo
/// feature `scalar`. The first question of every product; both are compiled in every build.
pub(super) const SCALAR: bool = cfg!(feature = "scalar");

/// Lanes of one block.
pub const LANES: usize = 8;

/// A block of [`LANES`] lanes.
pub trait Block: Pod {
    /// The value in one lane.
    type Lane: Pod;
}

impl Block for f32x8 {
    type Lane = f32;
}

impl Block for u32x8 {
    type Lane = u32;
}

/// One value per row, in blocks of eight.
#[derive(Clone, Debug)]
pub struct Column<B> {
    blocks: Box<[B]>,
}

/// A column of `f32`.
pub type Floats = Column<f32x8>;
/// A column of `u32`.
pub type Words = Column<u32x8>;

impl<B: Block> Column<B> {
    /// A column of zeros with room for `rows` rows, rounded up to whole blocks.
    pub fn zeroed(rows: usize) -> Self {
        Self { blocks: vec![B::zeroed(); blocks(rows)].into_boxed_slice() }
    }

    /// The blocks, for kernels.
    pub fn blocks(&self) -> &[B] {
        &self.blocks
    }

    /// The blocks, for kernels that write.
    pub fn blocks_mut(&mut self) -> &mut [B] {
        &mut self.blocks
    }

    /// The lanes in row order, padding included.
    pub fn lanes(&self) -> &[B::Lane] {
        bytemuck::cast_slice(&self.blocks)
    }

    /// The lanes in row order, padding included.
    pub fn lanes_mut(&mut self) -> &mut [B::Lane] {
        bytemuck::cast_slice_mut(&mut self.blocks)
    }

    /// Bytes of the allocation.
    pub fn memory_bytes(&self) -> usize {
        size_of_val(&*self.blocks)
    }
}

/// Blocks that hold `rows` rows.
pub const fn blocks(rows: usize) -> usize {
    rows.div_ceil(LANES)
}

/// `rows` rounded up to whole blocks.
pub const fn padded(rows: usize) -> usize {
    blocks(rows) * LANES
}

/// `value` between `low` and `high`; not-a-number becomes `low`, and a negative zero at `low = 0`
/// becomes a positive one. Written as comparisons because the `min` and `max` of different
/// instruction sets disagree about exactly these cases.
pub(super) fn clamp(value: f32x8, low: f32x8, high: f32x8) -> f32x8 {
    let raised = value.simd_gt(low).select(value, low);
    raised.simd_lt(high).select(raised, high)
}

/// The definition of [`clamp`].
pub(super) fn clamp_one(value: f32, low: f32, high: f32) -> f32 {
    let raised = if value > low { value } else { low };
    if raised < high { raised } else { high }
}

/// `value` if its magnitude is at most `limit`, else 0: how a broken velocity comes to rest.
pub(super) fn settle(value: f32x8, limit: f32x8) -> f32x8 {
    value & value.abs().simd_le(limit)
}

/// The definition of [`settle`].
pub(super) fn settle_one(value: f32, limit: f32) -> f32 {
    if value.abs() <= limit { value } else { 0.0 }
}

#[cfg(test)]
pub(super) mod samples {
    //! Values that break arithmetic, and a small seeded generator, for the parity tests.

    /// Lengths that straddle the lane count.
    pub(in crate::kernel) const LENGTHS: std::ops::RangeInclusive<usize> = 0..=33;

    /// The values that arithmetic is wrong about first.
    pub(in crate::kernel) const SPECIAL: [f32; 24] = [
        0.0,
        -0.0,
        f32::MIN_POSITIVE,
        -f32::MIN_POSITIVE,
        f32::from_bits(1),
        -f32::from_bits(1),
        f32::from_bits(0x007F_FFFF),
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        -f32::NAN,
        f32::from_bits(0x7F80_0001),
        f32::MAX,
        f32::MIN,
        127.0,
        -128.0,
        1.0,
        super::super::EDGE_XY,
        super::super::EDGE_Z,
        0.781_25,
        2.343_75,
        32_767.5,
        -32_768.0,
        16_777_217.0,
    ];

    /// splitmix64.
    pub(in crate::kernel) struct Seeded(pub u64);

    impl Seeded {
        pub(in crate::kernel) fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ (z >> 31)
        }

        pub(in crate::kernel) fn below(&mut self, bound: u64) -> u64 {
            self.next() % bound
        }

        /// Uniform in `low..high`.
        pub(in crate::kernel) fn float(&mut self, low: f32, high: f32) -> f32 {
            low + (high - low) * ((self.next() >> 40) as f32 / (1 << 24) as f32)
        }

        /// Uniform in `low..high`, one time in four a special value, one in eight random bits.
        pub(in crate::kernel) fn nasty(&mut self, low: f32, high: f32) -> f32 {
            match self.below(8) {
                0 | 1 => SPECIAL[self.below(SPECIAL.len() as u64) as usize],
                2 => f32::from_bits(self.next() as u32),
                _ => self.float(low, high),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::samples::{SPECIAL, Seeded};
    use super::*;

    #[test]
    fn a_column_is_whole_blocks_of_zeros() {
        for rows in samples::LENGTHS {
            let column = Floats::zeroed(rows);
            assert_eq!(column.lanes().len(), padded(rows));
            assert!(column.lanes().iter().all(|lane| lane.to_bits() == 0));
            assert_eq!(column.memory_bytes(), padded(rows) * 4);
            assert_eq!(column.blocks().as_ptr() as usize % 32, 0, "blocks are aligned");
        }
    }

    #[test]
    fn clamp_and_settle_equal_their_definitions_and_let_no_nan_pass() {
        let seed = 11;
        let mut random = Seeded(seed);
        let drawn = (0..20_000).map(|_| random.nasty(-1e6, 1e6));
        for value in SPECIAL.into_iter().chain(drawn) {
            let clamped = clamp_one(value, 0.0, 100.0);
            let settled = settle_one(value, 50.0);
            assert!((0.0..=100.0).contains(&clamped) && clamped.is_sign_positive());
            assert!(settled.abs() <= 50.0);
            let lanes = clamp(f32x8::splat(value), f32x8::ZERO, f32x8::splat(100.0));
            assert!(lanes.to_array().iter().all(|lane| lane.to_bits() == clamped.to_bits()));
            let lanes = settle(f32x8::splat(value), f32x8::splat(50.0));
            assert!(lanes.to_array().iter().all(|lane| lane.to_bits() == settled.to_bits()));
        }
    }
}
