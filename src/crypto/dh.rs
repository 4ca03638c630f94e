//! X25519 with the one check that the protocol demands: an all-zero result is an error.
//!
//! The one door to `x25519-dalek`. Called by the handshake and by the rekey.

use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

/// The peer's point has small order: the shared secret would be zero whatever our secret is, so
/// anybody would know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZeroSharedSecret;

/// The public key of `secret` (32 random bytes; clamping is done here).
pub fn public_of(secret: &[u8; 32]) -> [u8; 32] {
    PublicKey::from(&StaticSecret::from(*secret)).to_bytes()
}

/// X25519 of our `secret` and their `public` key. The check for zero takes constant time.
pub fn agree(
    secret: &[u8; 32],
    public: &[u8; 32],
) -> Result<Zeroizing<[u8; 32]>, ZeroSharedSecret> {
    let shared = StaticSecret::from(*secret).diffie_hellman(&PublicKey::from(*public));
    if !shared.was_contributory() {
        return Err(ZeroSharedSecret);
    }
    Ok(Zeroizing::new(shared.to_bytes()))
}
