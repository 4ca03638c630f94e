//! The dice of the simulator: seeded, one set per concern, so that a change of one leaves the
//! throws of the others as they were. Called by everything here that is random.

use crate::host::entropy::SeededEntropy;
use crate::time::Entropy;

/// A stream of throws.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dice(SeededEntropy);

impl Dice {
    /// The stream of `seed` for a concern.
    pub(crate) fn new(seed: u64, concern: u64) -> Self {
        let mut stream = SeededEntropy(seed ^ concern.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        stream.next_u64();
        Self(stream)
    }

    /// 64 random bits.
    pub(crate) fn word(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `limit`; 0 if there is none.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.word() % limit.max(1)
    }

    /// A number from `least` to `most`.
    pub(crate) fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most.saturating_sub(least) + 1)
    }

    /// Whether what happens in `percent` of all cases happens now.
    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        percent > 0 && self.below(100) < percent
    }

    /// Whether what happens once in `every` cases happens now; never if that is 0.
    pub(crate) fn once_in(&mut self, every: u64) -> bool {
        every > 0 && self.below(every) == 0
    }

    /// One of several.
    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    /// Another stream, which this one decides.
    pub(crate) fn fork(&mut self) -> Self {
        Self(SeededEntropy(self.word()))
    }
}

impl Entropy for Dice {
    fn fill(&mut self, out: &mut [u8]) {
        self.0.fill(out);
    }
}
