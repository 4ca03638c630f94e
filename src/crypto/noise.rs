//! `Noise_NKpsk0_25519_ChaChaPoly_SHA256`, exactly the two messages of the handshake.
//!
//! The client knows the server's static key (NK) and both know the secret of the connect token
//! (psk0), so neither a stranger nor anybody in the middle can take part. Fresh ephemeral secrets
//! are arguments: using one twice would authenticate two texts under one key, hence they are taken
//! by value. Called by `gate` (responder) and `client` (initiator).
//!
//! ```text
//!   <- s
//!   -> psk, e, es    32 + 16 + tag = 64 bytes
//!   <- e, ee         32 + 64 + tag = 112 bytes
//! ```

use super::aead::OpenError;
use super::dh::{self, ZeroSharedSecret};
use super::kdf::{Prk, sha256};
use super::opaque_debug;
use super::reference::{open_chacha, seal_chacha};
use std::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

const PROTOCOL_NAME: &[u8] = b"Noise_NKpsk0_25519_ChaChaPoly_SHA256";

/// Why a handshake message was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoiseError {
    /// The peer sent a point of small order.
    ZeroSharedSecret,
    /// The message was made with another prologue, secret or server key, or was changed on the way.
    Authentication,
}

impl fmt::Display for NoiseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ZeroSharedSecret => "the peer's public key is no key",
            Self::Authentication => {
                "the peer has another secret or key, or its message was changed"
            }
        })
    }
}

impl std::error::Error for NoiseError {}

impl From<ZeroSharedSecret> for NoiseError {
    fn from(_: ZeroSharedSecret) -> Self {
        Self::ZeroSharedSecret
    }
}

impl From<OpenError> for NoiseError {
    fn from(_: OpenError) -> Self {
        Self::Authentication
    }
}

/// The server's static key pair.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct StaticKeys {
    secret: [u8; 32],
    /// What clients pin.
    pub public: [u8; 32],
}

opaque_debug!(StaticKeys);

impl StaticKeys {
    /// From 32 random bytes.
    pub fn from_secret(secret: [u8; 32]) -> Self {
        Self { public: dh::public_of(&secret), secret }
    }
}

/// What both sides hold after the second message. Feed it to [`super::schedule::Root`] and drop it.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Handshake {
    /// Hash of the whole transcript.
    pub hash: [u8; 32],
    /// First key of Noise's `Split`.
    pub k1: [u8; 32],
    /// Second key of Noise's `Split`.
    pub k2: [u8; 32],
}

opaque_debug!(Handshake);

/// The client between its message and the server's.
pub struct Initiator {
    state: Symmetric,
    ephemeral: Zeroizing<[u8; 32]>,
}

opaque_debug!(Initiator);

impl Initiator {
    /// Writes the first message, 64 bytes: e ‖ sealed payload.
    pub fn start(
        prologue: &[u8],
        server_public: &[u8; 32],
        psk: &[u8; 32],
        ephemeral_secret: [u8; 32],
        payload: &[u8; 16],
    ) -> Result<(Self, [u8; 64]), NoiseError> {
        let ephemeral = Zeroizing::new(ephemeral_secret);
        let mut state = Symmetric::new(prologue, server_public, psk);
        let public = dh::public_of(&ephemeral);
        state.mix_ephemeral(&public);
        state.mix_key(&*dh::agree(&ephemeral, server_public)?);
        let mut message = [0; 64];
        message[..32].copy_from_slice(&public);
        message[32..48].copy_from_slice(payload);
        state.encrypt_and_hash(&mut message[32..]);
        Ok((Self { state, ephemeral }, message))
    }

    /// Reads the second message; returns the keys and its 64-byte payload. A message that fails
    /// changes nothing: whoever can put a forged one in front of the genuine one must not end the
    /// attempt.
    pub fn finish(&self, message: &[u8; 112]) -> Result<(Handshake, [u8; 64]), NoiseError> {
        let (public, sealed) = message.split_first_chunk::<32>().expect("112 bytes hold 32");
        let mut state = self.state.clone();
        state.mix_ephemeral(public);
        state.mix_key(&*dh::agree(&self.ephemeral, public)?);
        let mut text: [u8; 80] = sealed.try_into().expect("112 - 32 = 80");
        let payload = state.decrypt_and_hash(&mut text)?;
        let payload = payload.try_into().expect("80 - 16 = 64");
        Ok((state.split(), payload))
    }
}

/// The server between the client's message and its own.
pub struct Responder {
    state: Symmetric,
    client_ephemeral: [u8; 32],
}

opaque_debug!(Responder);

impl Responder {
    /// Reads the first message; returns its 16-byte payload. Nothing about the client is known to
    /// be true until this succeeds; that the message is fresh is known only when the first sealed
    /// packet opens.
    pub fn read(
        prologue: &[u8],
        server: &StaticKeys,
        psk: &[u8; 32],
        message: &[u8; 64],
    ) -> Result<(Self, [u8; 16]), NoiseError> {
        let (public, sealed) = message.split_first_chunk::<32>().expect("64 bytes hold 32");
        let mut state = Symmetric::new(prologue, &server.public, psk);
        state.mix_ephemeral(public);
        state.mix_key(&*dh::agree(&server.secret, public)?);
        let mut text: [u8; 32] = sealed.try_into().expect("64 - 32 = 32");
        let payload = state.decrypt_and_hash(&mut text)?;
        let payload = payload.try_into().expect("32 - 16 = 16");
        Ok((Self { state, client_ephemeral: *public }, payload))
    }

    /// Writes the second message, 112 bytes: e ‖ sealed payload; returns the keys with it.
    pub fn reply(
        mut self,
        ephemeral_secret: [u8; 32],
        payload: &[u8; 64],
    ) -> Result<(Handshake, [u8; 112]), NoiseError> {
        let ephemeral = Zeroizing::new(ephemeral_secret);
        let public = dh::public_of(&ephemeral);
        self.state.mix_ephemeral(&public);
        self.state.mix_key(&*dh::agree(&ephemeral, &self.client_ephemeral)?);
        let mut message = [0; 112];
        message[..32].copy_from_slice(&public);
        message[32..96].copy_from_slice(payload);
        self.state.encrypt_and_hash(&mut message[32..]);
        Ok((self.state.split(), message))
    }
}

/// Noise's SymmetricState with its CipherState. Every text of this pattern is the first under its
/// key, so the nonce is always zero and no counter is kept.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
struct Symmetric {
    hash: [u8; 32],
    chaining_key: [u8; 32],
    key: [u8; 32],
}

impl Symmetric {
    /// Everything before the first `e`: name, prologue, the responder's static key, the shared
    /// secret.
    fn new(prologue: &[u8], server_public: &[u8; 32], psk: &[u8; 32]) -> Self {
        // The name is longer than a hash, so it is hashed instead of padded.
        let name = sha256(&[PROTOCOL_NAME]);
        let mut state = Self { hash: name, chaining_key: name, key: [0; 32] };
        state.mix_hash(prologue);
        state.mix_hash(server_public);
        state.mix_key_and_hash(psk);
        state
    }

    fn mix_hash(&mut self, data: &[u8]) {
        self.hash = sha256(&[&self.hash, data]);
    }

    /// In a pattern with a psk, an ephemeral key is mixed into the chaining key as well.
    fn mix_ephemeral(&mut self, public: &[u8; 32]) {
        self.mix_hash(public);
        self.mix_key(public);
    }

    fn mix_key(&mut self, ikm: &[u8; 32]) {
        let [chaining_key, key] = derive(&self.chaining_key, ikm);
        self.chaining_key = *chaining_key;
        self.key = *key;
    }

    fn mix_key_and_hash(&mut self, ikm: &[u8; 32]) {
        let [chaining_key, hash, key] = derive(&self.chaining_key, ikm);
        self.chaining_key = *chaining_key;
        self.mix_hash(&*hash);
        self.key = *key;
    }

    /// `buffer` = plaintext ‖ 16 spare bytes.
    fn encrypt_and_hash(&mut self, buffer: &mut [u8]) {
        let (text, tag) = buffer.split_last_chunk_mut::<16>().expect("room for the tag");
        *tag = seal_chacha(&self.key, &[0; 12], &self.hash, text);
        self.mix_hash(buffer);
    }

    /// `buffer` = ciphertext ‖ tag; returns the plaintext in place.
    fn decrypt_and_hash<'a>(&mut self, buffer: &'a mut [u8]) -> Result<&'a [u8], OpenError> {
        let hash = sha256(&[&self.hash, buffer]);
        let (text, tag) = buffer.split_last_chunk_mut::<16>().ok_or(OpenError)?;
        open_chacha(&self.key, &[0; 12], &self.hash, text, tag)?;
        self.hash = hash;
        Ok(text)
    }

    fn split(self) -> Handshake {
        let [k1, k2] = derive(&self.chaining_key, &[]);
        Handshake { hash: self.hash, k1: *k1, k2: *k2 }
    }
}

/// Noise's HKDF with `N` outputs: HKDF-SHA256 with the chaining key as salt and no info.
fn derive<const N: usize>(chaining_key: &[u8; 32], ikm: &[u8]) -> [Zeroizing<[u8; 32]>; N] {
    let (mut bytes, prk) = Prk::extract(chaining_key, ikm);
    bytes.zeroize();
    let mut okm = Zeroizing::new([[0; 32]; N]);
    prk.expand(&[], okm.as_flattened_mut());
    core::array::from_fn(|i| Zeroizing::new(okm[i]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROLOGUE: &[u8] = b"prologue";

    fn pair(psk: [u8; 32]) -> (StaticKeys, Initiator, [u8; 64]) {
        let server = StaticKeys::from_secret([3; 32]);
        let started = Initiator::start(PROLOGUE, &server.public, &psk, [5; 32], &[7; 16]);
        let (initiator, message) = started.unwrap();
        (server, initiator, message)
    }

    #[test]
    fn both_sides_end_with_the_same_keys_and_payloads() {
        let (server, initiator, message1) = pair([9; 32]);
        let (responder, payload) = Responder::read(PROLOGUE, &server, &[9; 32], &message1).unwrap();
        assert_eq!(payload, [7; 16]);
        let (theirs, message2) = responder.reply([11; 32], &[13; 64]).unwrap();
        let (ours, payload) = initiator.finish(&message2).unwrap();
        assert_eq!(payload, [13; 64]);
        assert_eq!((ours.hash, ours.k1, ours.k2), (theirs.hash, theirs.k1, theirs.k2));
        assert_ne!(ours.k1, ours.k2);
    }

    #[test]
    fn another_prologue_secret_or_server_is_refused() {
        let (server, _, message) = pair([9; 32]);
        let refused = |prologue: &[u8], server: &StaticKeys, psk: &[u8; 32]| {
            Responder::read(prologue, server, psk, &message).err()
        };
        let authentication = Some(NoiseError::Authentication);
        assert_eq!(refused(b"prologuf", &server, &[9; 32]), authentication);
        assert_eq!(refused(PROLOGUE, &server, &[8; 32]), authentication);
        let other = StaticKeys::from_secret([4; 32]);
        assert_eq!(refused(PROLOGUE, &other, &[9; 32]), authentication);
        assert_eq!(refused(PROLOGUE, &server, &[9; 32]), None);
    }

    #[test]
    fn points_of_small_order_are_refused_by_both_sides() {
        let (server, initiator, mut message1) = pair([9; 32]);
        message1[..32].fill(0);
        let read = Responder::read(PROLOGUE, &server, &[9; 32], &message1);
        assert_eq!(read.err(), Some(NoiseError::ZeroSharedSecret));
        let finished = initiator.finish(&[0; 112]);
        assert_eq!(finished.err(), Some(NoiseError::ZeroSharedSecret));
        let started = Initiator::start(PROLOGUE, &[0; 32], &[9; 32], [5; 32], &[7; 16]);
        assert_eq!(started.err(), Some(NoiseError::ZeroSharedSecret));
    }

    #[test]
    fn a_changed_bit_in_either_message_is_refused() {
        let (server, initiator, message1) = pair([9; 32]);
        for bit in 0..64 * 8 {
            let mut changed = message1;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(Responder::read(PROLOGUE, &server, &[9; 32], &changed).is_err(), "bit {bit}");
        }
        let (responder, _) = Responder::read(PROLOGUE, &server, &[9; 32], &message1).unwrap();
        let (_, message2) = responder.reply([11; 32], &[13; 64]).unwrap();
        for bit in 0..112 * 8 {
            let mut changed = message2;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(initiator.finish(&changed).is_err(), "bit {bit}");
        }
        assert!(initiator.finish(&message2).is_ok(), "a forged message does not end the attempt");
    }
}
