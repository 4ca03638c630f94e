//! Random bytes: the operating system's for production, a seeded stream for tests and simulations.

use crate::time::Entropy;

/// The operating system's generator.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&mut self, out: &mut [u8]) {
        getrandom::fill(out)
            .expect("the kernel's random generator answers once it is seeded at boot");
    }
}

/// SplitMix64: reproducible and not secret. Never for keys of a real server.
#[derive(Clone, Copy, Debug)]
pub struct SeededEntropy(pub u64);

impl SeededEntropy {
    /// The next 64 bits of the stream.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

impl Entropy for SeededEntropy {
    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            let word = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_stream_and_the_kernel_does_not() {
        assert_eq!(SeededEntropy(1).bytes::<13>(), SeededEntropy(1).bytes::<13>());
        assert_ne!(SeededEntropy(1).bytes::<13>(), SeededEntropy(2).bytes::<13>());
        assert_ne!(OsEntropy.bytes::<16>(), OsEntropy.bytes::<16>());
    }
}
