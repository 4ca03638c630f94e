//! ChaCha20-Poly1305 by `chacha20poly1305`: the definition of sealing, and the cipher of everything
//! that is not per packet.
//!
//! [`super::aead`] must agree with [`ReferenceKey`] to the byte. The Noise messages and the connect
//! tokens use the two free functions, because `ring` has neither XChaCha20 nor keys that it erases.

use super::aead::{OpenError, nonce_of};
use super::opaque_debug;
use crate::limits::{HEADER_LEN, TAG_LEN};
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, XChaCha20Poly1305};

/// The same as [`super::aead::PacketKey`], slower and simpler.
pub struct ReferenceKey(ChaCha20Poly1305);

opaque_debug!(ReferenceKey);

impl ReferenceKey {
    /// Takes the 32 bytes that the key schedule derived.
    pub fn new(key: &[u8; 32]) -> Self {
        Self(ChaCha20Poly1305::new(key.into()))
    }

    /// Seals `datagram` = header (14) ‖ plaintext ‖ 16 spare bytes in place.
    ///
    /// # Panics
    /// If `datagram` is shorter than 30 bytes.
    pub fn seal(&self, datagram: &mut [u8]) {
        let (header, body) =
            datagram.split_first_chunk_mut::<HEADER_LEN>().expect("the caller wrote a header");
        let (plaintext, tag) =
            body.split_last_chunk_mut::<TAG_LEN>().expect("the caller left room for the tag");
        *tag = seal_parts(&self.0, &nonce_of(header), header, plaintext);
    }

    /// Opens `datagram` = header ‖ ciphertext ‖ tag in place and returns the plaintext.
    pub fn open<'a>(&self, datagram: &'a mut [u8]) -> Result<&'a mut [u8], OpenError> {
        let (header, body) = datagram.split_first_chunk_mut::<HEADER_LEN>().ok_or(OpenError)?;
        let (ciphertext, tag) = body.split_last_chunk_mut::<TAG_LEN>().ok_or(OpenError)?;
        open_parts(&self.0, &nonce_of(header), header, ciphertext, tag)?;
        Ok(ciphertext)
    }
}

/// ChaCha20-Poly1305: encrypts `text` in place and returns the tag.
pub(super) fn seal_chacha(
    key: &[u8; 32],
    nonce: &[u8; 12],
    aad: &[u8],
    text: &mut [u8],
) -> [u8; 16] {
    seal_parts(&ChaCha20Poly1305::new(key.into()), nonce, aad, text)
}

/// ChaCha20-Poly1305: checks `tag`, then decrypts `text` in place.
pub(super) fn open_chacha(
    key: &[u8; 32],
    nonce: &[u8; 12],
    aad: &[u8],
    text: &mut [u8],
    tag: &[u8; 16],
) -> Result<(), OpenError> {
    open_parts(&ChaCha20Poly1305::new(key.into()), nonce, aad, text, tag)
}

/// XChaCha20-Poly1305: encrypts `text` in place and returns the tag.
pub(super) fn seal_xchacha(
    key: &[u8; 32],
    nonce: &[u8; 24],
    aad: &[u8],
    text: &mut [u8],
) -> [u8; 16] {
    let cipher = XChaCha20Poly1305::new(key.into());
    let tag = cipher.encrypt_inout_detached(nonce.into(), aad, text.into());
    tag.expect("the cipher refuses only texts of 256 GiB").into()
}

/// XChaCha20-Poly1305: checks `tag`, then decrypts `text` in place.
pub(super) fn open_xchacha(
    key: &[u8; 32],
    nonce: &[u8; 24],
    aad: &[u8],
    text: &mut [u8],
    tag: &[u8; 16],
) -> Result<(), OpenError> {
    let cipher = XChaCha20Poly1305::new(key.into());
    let opened = cipher.decrypt_inout_detached(nonce.into(), aad, text.into(), tag.into());
    opened.map_err(|_| OpenError)
}

fn seal_parts(
    cipher: &ChaCha20Poly1305,
    nonce: &[u8; 12],
    aad: &[u8],
    text: &mut [u8],
) -> [u8; 16] {
    let tag = cipher.encrypt_inout_detached(nonce.into(), aad, text.into());
    tag.expect("the cipher refuses only texts of 256 GiB").into()
}

fn open_parts(
    cipher: &ChaCha20Poly1305,
    nonce: &[u8; 12],
    aad: &[u8],
    text: &mut [u8],
    tag: &[u8; 16],
) -> Result<(), OpenError> {
    let opened = cipher.decrypt_inout_detached(nonce.into(), aad, text.into(), tag.into());
    opened.map_err(|_| OpenError)
}
