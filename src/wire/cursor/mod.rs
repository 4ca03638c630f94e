//! The one way bytes from a peer become values, and values become bytes: a bounds-checked cursor.
//!
//! Owns: bounds, byte order, variable-length integers. Never allocates, panics or skips bytes: what
//! a reader leaves over is an error. Called by every other file of `wire` and by `replicate`.

mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use reader::Reader;
pub use writer::Writer;

/// Why bytes are not what they should be. Always the fault of whoever sent them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// The bytes end inside a value.
    Truncated,
    /// Bytes are left after the last value.
    Trailing,
    /// A variable-length integer that is longer than it needs to be, or too large for its type.
    Varint,
    /// A value that its field does not allow.
    Value,
}

/// The output was too small for what was written into it. The fault of the caller, who sized it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overflow;

/// Longest encoding of a 32-bit variable-length integer.
pub const VARINT_U32_MAX: usize = 5;

/// 0, −1, 1, −2 … → 0, 1, 2, 3 …
#[inline]
pub fn zigzag(value: i32) -> u32 {
    (value << 1 ^ value >> 31) as u32
}

/// The inverse of `zigzag`.
#[inline]
pub fn unzigzag(value: u32) -> i32 {
    (value >> 1) as i32 ^ -((value & 1) as i32)
}
