//! Thirty-two bytes that are erased when they are not needed any more.
//!
//! For keys and ephemeral secrets that wait in a place of their own until they are used. A move
//! leaves the bytes where they were; `take` does not. Called by `connection` and `client`.

use super::opaque_debug;
use crate::time::Entropy;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A secret, or zeros where there is none. Erased on drop, never printed.
#[derive(Clone, Default, Zeroize, ZeroizeOnDrop)]
pub struct Secret([u8; 32]);

opaque_debug!(Secret);

impl Secret {
    /// Takes 32 bytes; the caller's copy is the caller's to erase.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Puts `bytes` in place of what was here.
    pub fn set(&mut self, bytes: [u8; 32]) {
        self.0 = bytes;
    }

    /// Draws new bytes in place of what was here.
    pub fn draw(&mut self, entropy: &mut dyn Entropy) {
        entropy.fill(&mut self.0);
    }

    /// Makes zeros of it.
    pub fn erase(&mut self) {
        self.0.zeroize();
    }

    /// Whether it was erased, or never was.
    pub fn is_erased(&self) -> bool {
        self.0 == [0; 32]
    }

    /// Takes the bytes out of their place, where zeros stay.
    #[must_use]
    pub fn take(&mut self) -> Self {
        let taken = self.clone();
        self.erase();
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_or_erased_is_zeros_in_its_place() {
        let mut place = Secret::new([7; 32]);
        let mut taken = place.take();
        assert_eq!((taken.bytes(), place.bytes()), (&[7; 32], &[0; 32]));
        taken.erase();
        assert!(taken.is_erased() && place.is_erased());
        place.set([9; 32]);
        assert!(!place.is_erased());
        assert_eq!(format!("{place:?}"), "Secret { .. }");
    }
}
