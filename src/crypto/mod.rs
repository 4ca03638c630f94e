//! Keys, and what is done with them: sealing packets, the handshake, tokens, cookies, replay
//! windows.
//!
//! Owns every call into a cryptographic library. Never reads a clock, a random source or a socket:
//! fresh secrets and `now` are arguments. Knows no packet layout beyond the 14-byte header that a
//! sealed packet authenticates. Called by `connection` (packets), `gate` (handshakes), `client` and
//! the command line.
//!
//! Secrets are erased on drop, compared in constant time and never printed: `Debug` of a secret
//! type shows its name and nothing else.

pub mod aead;
pub mod cookie;
pub mod dh;
pub mod integrity;
pub mod kdf;
pub mod noise;
#[cfg(test)]
mod oracles;
pub mod reference;
pub mod replay;
pub mod schedule;
pub mod secret;
pub mod siphash;
pub mod token;

/// Implements `Debug` for a type that must never print its content.
macro_rules! opaque_debug {
    ($name:ident) => {
        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    };
}
pub(crate) use opaque_debug;

/// Erases a secret that lies in a type of another module.
pub fn erase(secret: &mut [u8]) {
    zeroize::Zeroize::zeroize(secret);
}
