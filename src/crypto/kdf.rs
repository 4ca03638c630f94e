//! SHA-256, HMAC-SHA256 and HKDF-SHA256 in the three forms the protocol uses.
//!
//! The one door to `sha2`, `hmac` and `hkdf`. Called by the other files of this module and, for the
//! integrity check, by `connection`.

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// SHA-256 over the concatenation of `parts`.
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// An HMAC-SHA256 key with its two pads already absorbed, so that a short message costs two
/// compressions less. Erased on drop.
#[derive(Clone)]
pub struct MacKey(Hmac<Sha256>);

super::opaque_debug!(MacKey);

impl MacKey {
    /// Takes a key of any length.
    pub fn new(key: &[u8]) -> Self {
        Self(Hmac::new_from_slice(key).expect("HMAC takes keys of every length"))
    }

    /// HMAC-SHA256 over the concatenation of `parts`.
    pub fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.absorb(parts).finalize().into_bytes().into()
    }

    /// Compares in constant time. `expected` may be the first bytes of a MAC, at least one.
    pub fn verify(&self, parts: &[&[u8]], expected: &[u8]) -> bool {
        self.absorb(parts).verify_truncated_left(expected).is_ok()
    }

    fn absorb(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(part);
        }
        mac
    }
}

/// HKDF-Extract, ready to expand. Erased on drop.
pub struct Prk(Hkdf<Sha256>);

super::opaque_debug!(Prk);

impl Prk {
    /// HKDF-Extract of the input key material `ikm` under `salt`; also returns the pseudorandom key
    /// itself.
    pub fn extract(salt: &[u8], ikm: &[u8]) -> ([u8; 32], Self) {
        let (bytes, hkdf) = Hkdf::extract(Some(salt), ikm);
        (bytes.into(), Self(hkdf))
    }

    /// Takes a pseudorandom key that was extracted before.
    pub fn from_bytes(prk: &[u8; 32]) -> Self {
        Self(Hkdf::from_prk(prk).expect("a PRK of HKDF-SHA256 has 32 bytes"))
    }

    /// HKDF-Expand with the concatenation of `info` into `out`.
    ///
    /// # Panics
    /// If `out` is longer than 255 × 32 bytes. Every caller asks for a constant length below that.
    pub fn expand(&self, info: &[&[u8]], out: &mut [u8]) {
        self.0.expand_multi_info(info, out).expect("at most 8,160 bytes of output");
    }
}
