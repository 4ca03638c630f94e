//! The stateless cookie: proof that a client receives at the address from which it sends.
//!
//! 48 bytes: nonce (8; byte 0 is the key's generation) ‖ server's monotonic ms u64 ‖ HMAC-SHA256
//! over both, the address and the attempt. The server keeps nothing but the two newest keys. Called
//! by `gate` only.

use super::kdf::MacKey;
use super::opaque_debug;
use crate::time::Nanos;
use std::net::{IpAddr, SocketAddr};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Bytes of a cookie.
pub const COOKIE_LEN: usize = 48;
/// Milliseconds a cookie is valid.
pub const COOKIE_LIFETIME_MS: u64 = 10_000;
/// Milliseconds after which the key is replaced; its successor and it are both valid for as long
/// again.
pub const COOKIE_ROTATION_MS: u64 = 60_000;

const _: () = assert!(
    COOKIE_LIFETIME_MS < COOKIE_ROTATION_MS,
    "two generations must cover every cookie that is young enough"
);

/// Where a datagram came from, in the one form that MACs and tables use: an IPv6 address or a
/// mapped IPv4 address, whichever socket family reported it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// IPv6, or `::ffff:a.b.c.d`.
    pub ip: [u8; 16],
    /// UDP port.
    pub port: u16,
}

impl From<SocketAddr> for Origin {
    fn from(address: SocketAddr) -> Self {
        let ip = match address.ip() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        Self { ip: ip.octets(), port: address.port() }
    }
}

/// The attempt that a cookie is for.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// Where it comes from.
    pub origin: Origin,
    /// Random, the same for all resends of one attempt.
    pub client_nonce: &'a [u8; 8],
    /// The client's ephemeral public key.
    pub client_ephemeral: &'a [u8; 32],
}

/// The current key, the one before it, and when to replace them.
pub struct CookieKeys {
    current: MacKey,
    previous: Option<MacKey>,
    generation: u8,
    rotate_at: Nanos,
}

opaque_debug!(CookieKeys);

impl CookieKeys {
    /// A first key from 32 random bytes; generations are counted from `generation`.
    pub fn new(secret: [u8; 32], generation: u8, now: Nanos) -> Self {
        let secret = Zeroizing::new(secret);
        let rotate_at = now.plus(Nanos::from_ms(COOKIE_ROTATION_MS));
        Self { current: MacKey::new(&*secret), previous: None, generation, rotate_at }
    }

    /// Whether the key is old enough to be replaced.
    pub fn rotation_due(&self, now: Nanos) -> bool {
        now >= self.rotate_at
    }

    /// Makes `secret`, 32 random bytes, the current key, and the current one the previous.
    pub fn rotate(&mut self, secret: [u8; 32], now: Nanos) {
        let secret = Zeroizing::new(secret);
        self.previous = Some(core::mem::replace(&mut self.current, MacKey::new(&*secret)));
        self.generation = self.generation.wrapping_add(1);
        self.rotate_at = now.plus(Nanos::from_ms(COOKIE_ROTATION_MS));
    }

    /// A cookie for `attempt`; `tail` is random.
    pub fn mint(&self, now: Nanos, tail: [u8; 7], attempt: &Attempt<'_>) -> [u8; COOKIE_LEN] {
        let mut cookie = [0; COOKIE_LEN];
        cookie[0] = self.generation;
        cookie[1..8].copy_from_slice(&tail);
        cookie[8..16].copy_from_slice(&now.as_ms().to_le_bytes());
        let stamp = *cookie.first_chunk().expect("48 bytes hold 16");
        cookie[16..].copy_from_slice(&mac(&self.current, &stamp, attempt));
        cookie
    }

    /// Whether `cookie` was minted for `attempt` within the last ten seconds by one of the two
    /// keys. The comparison takes constant time.
    pub fn verify(&self, now: Nanos, cookie: &[u8; COOKIE_LEN], attempt: &Attempt<'_>) -> bool {
        let (stamp, tag) = cookie.split_first_chunk::<16>().expect("48 bytes hold 16");
        let minted_ms = u64::from_le_bytes(*stamp.last_chunk().expect("16 bytes hold 8"));
        let Some(age_ms) = now.as_ms().checked_sub(minted_ms) else { return false };
        if age_ms > COOKIE_LIFETIME_MS {
            return false;
        }
        let key = match &self.previous {
            _ if stamp[0] == self.generation => &self.current,
            Some(previous) if stamp[0] == self.generation.wrapping_sub(1) => previous,
            _ => return false,
        };
        mac(key, stamp, attempt).ct_eq(tag).into()
    }
}

/// `stamp` = nonce ‖ time, the first 16 bytes of the cookie.
fn mac(key: &MacKey, stamp: &[u8; 16], attempt: &Attempt<'_>) -> [u8; 32] {
    key.mac(&[
        b"tdl1 cookie\0\0\0\0\0",
        stamp,
        &attempt.origin.ip,
        &attempt.origin.port.to_le_bytes(),
        attempt.client_nonce,
        attempt.client_ephemeral,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    const ATTEMPT: Attempt<'static> = Attempt {
        origin: Origin { ip: [1; 16], port: 2 },
        client_nonce: &[3; 8],
        client_ephemeral: &[4; 32],
    };

    fn at(ms: u64) -> Nanos {
        Nanos::from_ms(ms)
    }

    #[test]
    fn a_cookie_serves_the_attempt_it_was_made_for_and_no_other() {
        let keys = CookieKeys::new([5; 32], 0, at(0));
        let cookie = keys.mint(at(10), [6; 7], &ATTEMPT);
        assert!(keys.verify(at(10), &cookie, &ATTEMPT));
        let moved = Origin { ip: [9; 16], ..ATTEMPT.origin };
        let other_port = Origin { port: 3, ..ATTEMPT.origin };
        for attempt in [
            Attempt { origin: moved, ..ATTEMPT },
            Attempt { origin: other_port, ..ATTEMPT },
            Attempt { client_nonce: &[9; 8], ..ATTEMPT },
            Attempt { client_ephemeral: &[9; 32], ..ATTEMPT },
        ] {
            assert!(!keys.verify(at(10), &cookie, &attempt), "{attempt:?}");
        }
    }

    #[test]
    fn a_changed_bit_anywhere_in_a_cookie_is_refused() {
        let keys = CookieKeys::new([5; 32], 0, at(0));
        let cookie = keys.mint(at(10_000), [6; 7], &ATTEMPT);
        for bit in 0..COOKIE_LEN * 8 {
            let mut changed = cookie;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(!keys.verify(at(10_010), &changed, &ATTEMPT), "bit {bit}");
        }
    }

    #[test]
    fn a_cookie_lives_ten_seconds_and_does_not_come_from_the_future() {
        let keys = CookieKeys::new([5; 32], 0, at(0));
        let cookie = keys.mint(at(1_000), [6; 7], &ATTEMPT);
        assert!(keys.verify(at(11_000), &cookie, &ATTEMPT));
        assert!(!keys.verify(at(11_001), &cookie, &ATTEMPT));
        assert!(!keys.verify(at(999), &cookie, &ATTEMPT));
    }

    #[test]
    fn a_cookie_survives_one_rotation_and_not_two() {
        for generation in [0, 254, 255] {
            let mut keys = CookieKeys::new([5; 32], generation, at(0));
            let cookie = keys.mint(at(59_000), [6; 7], &ATTEMPT);
            assert!(!keys.rotation_due(at(59_999)) && keys.rotation_due(at(60_000)));
            keys.rotate([7; 32], at(60_000));
            assert!(keys.verify(at(60_000), &cookie, &ATTEMPT));
            keys.rotate([8; 32], at(60_001));
            assert!(!keys.verify(at(60_001), &cookie, &ATTEMPT));
        }
    }

    #[test]
    fn a_key_that_does_not_exist_yet_verifies_nothing() {
        let keys = CookieKeys::new([5; 32], 0, at(0));
        let mut cookie = keys.mint(at(0), [6; 7], &ATTEMPT);
        cookie[0] = 255;
        let zero = MacKey::new(&[0; 32]);
        let stamp: [u8; 16] = *cookie.first_chunk().unwrap();
        cookie[16..].copy_from_slice(&mac(&zero, &stamp, &ATTEMPT));
        assert!(!keys.verify(at(0), &cookie, &ATTEMPT));
    }

    #[test]
    fn one_ipv4_client_is_the_same_through_either_socket_family() {
        let v4: SocketAddr = "203.0.113.7:50000".parse().unwrap();
        let v6: SocketAddr = "[::ffff:203.0.113.7]:50000".parse().unwrap();
        assert_eq!(Origin::from(v4), Origin::from(v6));
    }
}
