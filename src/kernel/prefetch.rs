//! A hint to the processor: this will be read soon.
//!
//! The tables of ten thousand viewers do not fit the caches, and which viewer comes next is known
//! well before it is needed. Measured with `benches/tick.rs`: see
//! `replicate::Replicator::anticipate`.
#![allow(unsafe_code, reason = "the intrinsic takes a raw pointer")]

use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

const LINE: usize = 64;

/// Asks for the cache lines of `values`.
#[inline(always)]
pub fn prefetch<T>(values: &[T]) {
    let bytes = size_of_val(values);
    let start = values.as_ptr().cast::<i8>();
    for offset in (0..bytes).step_by(LINE) {
        // SAFETY: a prefetch reads nothing, writes nothing and faults on no address (Intel SDM,
        // PREFETCHh); `offset` lies within the slice, so the pointer arithmetic stays inside one
        // allocation.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(start.add(offset)) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_about_anything_is_harmless() {
        prefetch::<u8>(&[]);
        prefetch(&[0_u8; 1]);
        prefetch(&[0_u64; 1000]);
        prefetch::<()>(&[(); 10]);
    }
}
