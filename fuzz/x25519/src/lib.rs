//! X25519 that remembers what it has multiplied, under the name of `x25519-dalek`.
//!
//! A fuzz target begins each of its runs with the handshake of the last one, and its key agreements
//! take longer than all else. They are functions: what comes out is the same, and comes sooner.
//! Owns that memory, which is bounded; has no secrets to protect. Put in place by `[patch]` of
//! `fuzz/Cargo.toml`; the product and the replay of the corpora by `cargo test` never see it.

use curve25519_dalek::MontgomeryPoint;
use curve25519_dalek::constants::X25519_BASEPOINT;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Products that are remembered; once there are so many, all are forgotten.
const MOST: usize = 4_096;

type Known = BTreeMap<([u8; 32], [u8; 32]), [u8; 32]>;

thread_local! {
    static KNOWN: RefCell<Known> = const { RefCell::new(BTreeMap::new()) };
}

fn multiply(secret: [u8; 32], point: [u8; 32]) -> [u8; 32] {
    KNOWN.with_borrow_mut(|known| {
        if known.len() >= MOST {
            known.clear();
        }
        let product = || MontgomeryPoint(point).mul_clamped(secret).to_bytes();
        *known.entry((secret, point)).or_insert_with(product)
    })
}

/// Half of an agreement, for the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl From<[u8; 32]> for PublicKey {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl From<&StaticSecret> for PublicKey {
    fn from(secret: &StaticSecret) -> Self {
        Self(multiply(secret.0, X25519_BASEPOINT.to_bytes()))
    }
}

impl PublicKey {
    /// As it travels.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0
    }
}

/// Half of an agreement, for oneself.
pub struct StaticSecret([u8; 32]);

impl From<[u8; 32]> for StaticSecret {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl StaticSecret {
    /// What both sides come to.
    pub fn diffie_hellman(&self, theirs: &PublicKey) -> SharedSecret {
        SharedSecret(multiply(self.0, theirs.0))
    }
}

/// What was agreed on.
pub struct SharedSecret([u8; 32]);

impl SharedSecret {
    /// Whether it depends on both halves.
    pub fn was_contributory(&self) -> bool {
        self.0 != [0; 32]
    }

    /// The secret.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0
    }
}
