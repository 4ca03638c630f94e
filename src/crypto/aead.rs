//! Sealing and opening packets in place, the product: ChaCha20-Poly1305 by `ring`.
//!
//! [`super::reference`] is the definition of the same two operations; a test holds the two together
//! to the byte. Called once per packet and direction by `connection` and `client`; allocates
//! nothing.

use super::opaque_debug;
use crate::limits::{DATAGRAM_MIN, HEADER_LEN, TAG_LEN};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, Tag, UnboundKey};

/// A datagram that is too short, or that was not sealed under this key, or that was changed on the
/// way. Which of these it was is nobody's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenError;

/// The key of one direction and one epoch.
///
/// The caller never seals two datagrams under one sequence: the nonce is made of the connection id
/// and the sequence of the header, and a nonce that repeats gives both plaintexts away.
pub struct PacketKey(LessSafeKey);

opaque_debug!(PacketKey);

impl PacketKey {
    /// Takes the 32 bytes that the key schedule derived.
    pub fn new(key: &[u8; 32]) -> Self {
        Self(cipher(key))
    }

    /// Seals `datagram` = header (14) ‖ plaintext ‖ 16 spare bytes in place: the plaintext becomes
    /// ciphertext, the spare bytes the tag, and the header is authenticated.
    ///
    /// # Panics
    /// If `datagram` is shorter than 30 bytes; the caller's own buffer is at fault then, never a
    /// peer.
    pub fn seal(&self, datagram: &mut [u8]) {
        debug_assert!(datagram.len() >= DATAGRAM_MIN, "a sealed packet has a header and a tag");
        let (header, body) =
            datagram.split_first_chunk_mut::<HEADER_LEN>().expect("the caller wrote a header");
        let (plaintext, tag) =
            body.split_last_chunk_mut::<TAG_LEN>().expect("the caller left room for the tag");
        *tag = self.seal_parts(nonce_of(header), header, plaintext);
    }

    /// Opens `datagram` = header ‖ ciphertext ‖ tag in place and returns the plaintext. After an
    /// error the bytes behind the header are unspecified.
    pub fn open<'a>(&self, datagram: &'a mut [u8]) -> Result<&'a mut [u8], OpenError> {
        let (header, body) = datagram.split_first_chunk_mut::<HEADER_LEN>().ok_or(OpenError)?;
        let (ciphertext, tag) = body.split_last_chunk_mut::<TAG_LEN>().ok_or(OpenError)?;
        self.open_parts(nonce_of(header), header, ciphertext, tag)?;
        Ok(ciphertext)
    }

    /// Encrypts `text` in place and returns the tag over it and `aad`.
    pub(super) fn seal_parts(&self, nonce: [u8; 12], aad: &[u8], text: &mut [u8]) -> [u8; 16] {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.0.seal_in_place_separate_tag(nonce, Aad::from(aad), text);
        let tag = tag.expect("ring refuses only texts of 256 GiB");
        tag.as_ref().try_into().expect("a Poly1305 tag has 16 bytes")
    }

    /// Checks `tag` over `text` and `aad`, and decrypts `text` in place.
    pub(super) fn open_parts(
        &self,
        nonce: [u8; 12],
        aad: &[u8],
        text: &mut [u8],
        tag: &[u8; 16],
    ) -> Result<(), OpenError> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let opened =
            self.0.open_in_place_separate_tag(nonce, Aad::from(aad), Tag::from(*tag), text, 0..);
        opened.map(|_| ()).map_err(|_| OpenError)
    }
}

/// `ring` does not erase its keys. Overwriting the key with another one is the most that safe code
/// can do; the black box keeps the compiler from seeing that nobody reads it again.
impl Drop for PacketKey {
    fn drop(&mut self) {
        self.0 = cipher(&[0; 32]);
        core::hint::black_box(&self.0);
    }
}

/// The nonce of a packet: connection id ‖ sequence. Channel and flags take no part in it, so a
/// sequence is used once per direction whatever the channel.
pub(super) fn nonce_of(header: &[u8; HEADER_LEN]) -> [u8; 12] {
    let [c0, c1, c2, c3, _channel, _flags, s0, s1, s2, s3, s4, s5, s6, s7] = *header;
    [c0, c1, c2, c3, s0, s1, s2, s3, s4, s5, s6, s7]
}

fn cipher(key: &[u8; 32]) -> LessSafeKey {
    let key = UnboundKey::new(&CHACHA20_POLY1305, key).expect("the algorithm takes 32 bytes");
    LessSafeKey::new(key)
}

#[cfg(test)]
mod tests {
    use super::super::reference::ReferenceKey;
    use super::*;
    use crate::limits::PLAINTEXT_MAX;
    use proptest::prelude::*;

    fn datagram(length: usize, seed: u8) -> Vec<u8> {
        (0..length + DATAGRAM_MIN).map(|i| (i as u8).wrapping_mul(31).wrapping_add(seed)).collect()
    }

    #[test]
    fn product_and_definition_agree_to_the_byte_at_every_length() {
        let key = core::array::from_fn(|i| i as u8 * 7 + 1);
        let (product, definition) = (PacketKey::new(&key), ReferenceKey::new(&key));
        for length in 0..=PLAINTEXT_MAX {
            let plain = datagram(length, length as u8);
            let (mut by_product, mut by_definition) = (plain.clone(), plain.clone());
            product.seal(&mut by_product);
            definition.seal(&mut by_definition);
            assert_eq!(by_product, by_definition, "length {length}");
            let expected = &plain[HEADER_LEN..HEADER_LEN + length];
            assert_eq!(product.open(&mut by_definition).unwrap(), expected, "length {length}");
            assert_eq!(definition.open(&mut by_product).unwrap(), expected, "length {length}");
        }
    }

    #[test]
    fn a_datagram_too_short_for_header_and_tag_does_not_open() {
        let (product, definition) = (PacketKey::new(&[1; 32]), ReferenceKey::new(&[1; 32]));
        for length in 0..DATAGRAM_MIN {
            assert_eq!(product.open(&mut vec![0; length]), Err(OpenError));
            assert_eq!(definition.open(&mut vec![0; length]), Err(OpenError));
        }
    }

    #[test]
    fn keys_print_nothing_but_their_name() {
        assert_eq!(format!("{:?}", PacketKey::new(&[0xAB; 32])), "PacketKey { .. }");
        assert_eq!(format!("{:?}", ReferenceKey::new(&[0xAB; 32])), "ReferenceKey { .. }");
    }

    proptest! {
        #[test]
        fn a_changed_bit_anywhere_is_rejected_by_both(
            key in any::<[u8; 32]>(),
            length in 0..=PLAINTEXT_MAX,
            at in any::<prop::sample::Index>(),
            bit in 0..8u8,
        ) {
            let mut sealed = datagram(length, key[0]);
            PacketKey::new(&key).seal(&mut sealed);
            let at = at.index(sealed.len());
            sealed[at] ^= 1 << bit;
            prop_assert!(PacketKey::new(&key).open(&mut sealed.clone()).is_err());
            prop_assert!(ReferenceKey::new(&key).open(&mut sealed).is_err());
        }

        #[test]
        fn a_changed_length_is_rejected_by_both(
            key in any::<[u8; 32]>(),
            length in 1..=PLAINTEXT_MAX,
            cut in 1..40usize,
            grow in any::<bool>(),
        ) {
            let mut sealed = datagram(length, key[0]);
            PacketKey::new(&key).seal(&mut sealed);
            let changed = if grow { sealed.len() + cut } else { sealed.len().saturating_sub(cut) };
            sealed.resize(changed, 0);
            prop_assert!(PacketKey::new(&key).open(&mut sealed.clone()).is_err());
            prop_assert!(ReferenceKey::new(&key).open(&mut sealed).is_err());
        }
    }
}
