//! From a finished handshake to the keys of both directions, epoch by epoch.
//!
//! Every label of the protocol is written here and nowhere else. Called by `gate`, by `client` and,
//! for the rekey, by `connection`.

use super::kdf::Prk;
use super::noise::Handshake;
use super::opaque_debug;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The secret from which one epoch's keys are expanded. Not a key itself.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Root([u8; 32]);

opaque_debug!(Root);

impl Root {
    /// The root of epoch 0.
    pub fn from_handshake(handshake: &Handshake) -> Self {
        let mut keys = Zeroizing::new([0; 64]);
        keys[..32].copy_from_slice(&handshake.k1);
        keys[32..].copy_from_slice(&handshake.k2);
        Self(Prk::extract(&handshake.hash, &*keys).0)
    }

    /// Takes a root that [`Root::to_bytes`] gave, to move it between threads.
    pub fn from_bytes(root: [u8; 32]) -> Self {
        Self(root)
    }

    /// The secret itself; the caller erases its copy.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0
    }

    /// Takes the secret out of its place, where zeros stay.
    #[must_use]
    pub fn take(&mut self) -> Self {
        let taken = self.clone();
        self.0.zeroize();
        taken
    }

    /// The client's sending key in `epoch`.
    pub fn client_to_server(&self, epoch: u16) -> [u8; 32] {
        self.expand(b"c2s", epoch, &[])
    }

    /// The server's sending key in `epoch`.
    pub fn server_to_client(&self, epoch: u16) -> [u8; 32] {
        self.expand(b"s2c", epoch, &[])
    }

    /// The secret with which a client comes back; taken from the root of epoch 0.
    pub fn resume(&self) -> [u8; 32] {
        self.expand(b"resume", 0, &[])
    }

    /// The secret of the integrity check; taken from the root of epoch 0.
    pub fn exporter(&self) -> [u8; 32] {
        self.expand(b"exporter", 0, &[])
    }

    /// Becomes the root of `epoch`, being the one before it, which is overwritten. `server_public`
    /// and `client_public` are the fresh ephemeral keys of the rekey, `shared` their X25519.
    pub fn advance(
        &mut self,
        epoch: u16,
        server_public: &[u8; 32],
        client_public: &[u8; 32],
        shared: &[u8; 32],
    ) {
        let salt = Zeroizing::new(self.expand(b"rekey", epoch, &[server_public, client_public]));
        self.0 = Prk::extract(&*salt, shared).0;
    }

    /// HKDF-Expand with label(name, epoch, rest) = `"tdl1 "` ‖ name ‖ u16 epoch ‖ rest.
    fn expand(&self, name: &[u8], epoch: u16, rest: &[&[u8; 32]]) -> [u8; 32] {
        let none: &[u8; 0] = &[];
        let part = |i: usize| rest.get(i).map_or(&none[..], |part| &part[..]);
        let mut out = [0; 32];
        let info = [b"tdl1 ", name, &epoch.to_le_bytes(), part(0), part(1)];
        Prk::from_bytes(&self.0).expand(&info, &mut out);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_derived_secret_differs_from_every_other() {
        let root = Root([1; 32]);
        let mut next = root.clone();
        next.advance(1, &[2; 32], &[3; 32], &[4; 32]);
        let mut all = Vec::new();
        for root in [&root, &next] {
            all.extend([root.resume(), root.exporter(), root.to_bytes()]);
            for epoch in 0..3 {
                all.extend([root.client_to_server(epoch), root.server_to_client(epoch)]);
            }
        }
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn a_rekey_binds_the_epoch_and_both_public_keys() {
        let next = |epoch, server: u8, client: u8| {
            let mut root = Root([1; 32]);
            root.advance(epoch, &[server; 32], &[client; 32], &[4; 32]);
            root.to_bytes()
        };
        let base = next(1, 2, 3);
        assert!(
            [next(2, 2, 3), next(1, 9, 3), next(1, 2, 9), next(1, 3, 2)]
                .iter()
                .all(|other| *other != base)
        );
    }
}
