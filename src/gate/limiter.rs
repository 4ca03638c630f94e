//! How many handshake packets a source may send: the check before everything that costs.
//!
//! A source is an IPv4 address or an IPv6 /64. The table is fixed: a newcomer takes the place of
//! whoever was silent longest among the four cells it may use. Forgetting a source is harmless (it
//! starts with a full burst, and the global limit still holds), while refusing newcomers would let
//! a flood of invented addresses shut everybody out.

use super::source::Network;
use crate::crypto::siphash::siphash;
use crate::limits;
use crate::metrics::DropReason;
use crate::time::{Nanos, TokenBucket};

/// Cells in which one source can be.
const WAYS: usize = 4;

/// Packets per second of handshakes, before any cryptography.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandshakeRates {
    /// From one source, sustained.
    pub source_per_s: u32,
    /// From one source, at once.
    pub source_burst: u32,
    /// From all sources.
    pub global_per_s: u32,
    /// Sources remembered at a time, a multiple of four.
    pub sources: usize,
}

impl Default for HandshakeRates {
    fn default() -> Self {
        Self {
            source_per_s: limits::HANDSHAKES_PER_SOURCE_PER_S,
            source_burst: limits::HANDSHAKES_PER_SOURCE_BURST,
            global_per_s: limits::HANDSHAKES_PER_S,
            sources: limits::HANDSHAKE_SOURCES,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Cell {
    /// Hash of the source; 0 = nobody.
    source: u64,
    seen: Nanos,
    bucket: TokenBucket,
}

/// The table and the global bucket.
#[derive(Debug)]
pub(super) struct Limiter {
    rates: HandshakeRates,
    seed: [u64; 2],
    cells: Vec<Cell>,
    global: TokenBucket,
    trusted: Vec<Network>,
}

impl Limiter {
    /// `trusted` sources skip the limit of a source, never the global one.
    pub(super) fn new(
        rates: HandshakeRates,
        trusted: Vec<Network>,
        seed: [u64; 2],
        now: Nanos,
    ) -> Self {
        let empty = Cell { source: 0, seen: Nanos(0), bucket: TokenBucket::full(0, now) };
        let sets = (rates.sources / WAYS).max(1);
        Self {
            rates,
            seed,
            cells: vec![empty; sets * WAYS],
            global: TokenBucket::full(rates.global_per_s, now),
            trusted,
        }
    }

    /// Takes one packet from the allowance of its source, then from that of all: a source beyond
    /// its own limit does not use up what the others share.
    pub(super) fn admit(&mut self, ip: &[u8; 16], now: Nanos) -> Result<(), DropReason> {
        let trusted = self.trusted.iter().any(|network| network.contains(ip));
        if !trusted && !self.admit_source(ip, now) {
            return Err(DropReason::SourceLimit);
        }
        let HandshakeRates { global_per_s, .. } = self.rates;
        if !self.global.take(1, global_per_s, global_per_s, now) {
            return Err(DropReason::GlobalLimit);
        }
        Ok(())
    }

    fn admit_source(&mut self, ip: &[u8; 16], now: Nanos) -> bool {
        let HandshakeRates { source_per_s, source_burst, .. } = self.rates;
        let source = siphash(self.seed, &source_of(ip)).max(1);
        let sets = self.cells.len() / WAYS;
        let first = (source as usize % sets) * WAYS;
        let set = &mut self.cells[first..first + WAYS];
        let cell = match set.iter_mut().position(|cell| cell.source == source) {
            Some(known) => &mut set[known],
            None => {
                let oldest = set.iter_mut().min_by_key(|cell| (cell.source != 0, cell.seen));
                let oldest = oldest.expect("a set has four cells");
                *oldest = Cell { source, seen: now, bucket: TokenBucket::full(source_burst, now) };
                oldest
            }
        };
        cell.seen = now;
        cell.bucket.take(1, source_per_s, source_burst, now)
    }
}

/// What counts as one source: all of a mapped IPv4 address, the network half of an IPv6 address.
fn source_of(ip: &[u8; 16]) -> [u64; 2] {
    let [network, interface] = super::map::words(ip);
    let is_ipv4 = ip.starts_with(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF]);
    [network, if is_ipv4 { interface } else { 0 }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::cookie::Origin;

    fn ip(text: &str) -> [u8; 16] {
        Origin::from(std::net::SocketAddr::new(text.parse().unwrap(), 1)).ip
    }

    fn limiter(sources: usize, global_per_s: u32, trusted: &[&str]) -> Limiter {
        let rates = HandshakeRates { sources, global_per_s, ..HandshakeRates::default() };
        let trusted = trusted.iter().map(|text| text.parse().unwrap()).collect();
        Limiter::new(rates, trusted, [1, 2], Nanos(0))
    }

    fn admitted(limiter: &mut Limiter, source: &str, packets: u32, now: Nanos) -> u32 {
        (0..packets).map(|_| u32::from(limiter.admit(&ip(source), now).is_ok())).sum()
    }

    #[test]
    fn each_ipv4_address_has_its_own_allowance() {
        let mut limiter = limiter(64, 1000, &[]);
        assert_eq!(admitted(&mut limiter, "203.0.113.7", 9, Nanos(0)), 5);
        assert_eq!(admitted(&mut limiter, "203.0.113.8", 9, Nanos(0)), 5);
        assert_eq!(admitted(&mut limiter, "::ffff:203.0.113.7", 9, Nanos(0)), 0);
        assert_eq!(admitted(&mut limiter, "203.0.113.7", 9, Nanos::from_ms(100)), 2);
    }

    #[test]
    fn an_ipv6_network_of_64_bits_shares_one_allowance() {
        let mut limiter = limiter(64, 1000, &[]);
        assert_eq!(admitted(&mut limiter, "2001:db8:1:2::1", 3, Nanos(0)), 3);
        assert_eq!(admitted(&mut limiter, "2001:db8:1:2:ffff::9", 9, Nanos(0)), 2);
        assert_eq!(admitted(&mut limiter, "2001:db8:1:3::1", 9, Nanos(0)), 5);
    }

    #[test]
    fn a_flood_of_invented_sources_meets_the_global_limit_and_constant_memory() {
        let mut limiter = limiter(64, 1000, &[]);
        let mut passed = 0;
        for source in 0..100_000u32 {
            let ip = ip(&std::net::Ipv4Addr::from(source).to_string());
            passed += u32::from(limiter.admit(&ip, Nanos(u64::from(source))).is_ok());
        }
        assert_eq!(passed, 1000);
        assert_eq!(limiter.cells.len(), 64);
    }

    #[test]
    fn a_source_beyond_its_limit_does_not_use_up_what_the_others_share() {
        let mut limiter = limiter(64, 10, &[]);
        assert_eq!(admitted(&mut limiter, "203.0.113.7", 1000, Nanos(0)), 5);
        assert_eq!(admitted(&mut limiter, "203.0.113.8", 5, Nanos(0)), 5);
        assert_eq!(limiter.admit(&ip("203.0.113.9"), Nanos(0)), Err(DropReason::GlobalLimit));
    }

    #[test]
    fn a_trusted_source_skips_its_own_limit_and_not_the_global_one() {
        let mut limiter = limiter(64, 100, &["127.0.0.0/8"]);
        assert_eq!(admitted(&mut limiter, "127.1.2.3", 1000, Nanos(0)), 100);
        let now = Nanos::from_ms(1000);
        assert_eq!(admitted(&mut limiter, "128.1.2.3", 9, now), 5);
    }
}
