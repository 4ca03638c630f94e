//! The address of a client in the form that is quick to compare.
//!
//! A packet is accepted only from its session's address, so every packet compares one: two words
//! and a port, no hashing, no branch on the address family. Called by `admit`, `path` and `table`.

use std::net::{IpAddr, SocketAddr};

/// IP address (IPv4 as its IPv6-mapped form) and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    ip: [u32; 4],
    port: u16,
}

impl From<SocketAddr> for Endpoint {
    #[inline]
    fn from(address: SocketAddr) -> Self {
        let ip = match address.ip() {
            IpAddr::V4(v4) => [0, 0, 0xFFFF, v4.to_bits()],
            IpAddr::V6(v6) => [96, 64, 32, 0].map(|shift| (v6.to_bits() >> shift) as u32),
        };
        Self { ip, port: address.port() }
    }
}

impl Endpoint {
    /// The same as numbers, for hashing.
    pub(super) fn words(self) -> [u64; 3] {
        let [a, b, c, d] = self.ip.map(u64::from);
        [a << 32 | b, c << 32 | d, self.port.into()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(text: &str) -> Endpoint {
        Endpoint::from(text.parse::<SocketAddr>().expect("a literal address"))
    }

    #[test]
    fn addresses_are_equal_exactly_when_ip_and_port_are() {
        let all = [
            "127.0.0.1:7777",
            "127.0.0.1:7778",
            "127.0.0.2:7777",
            "1.0.0.127:7777",
            "[::1]:7777",
            "[::1]:7778",
            "[::2]:7777",
            "[2001:db8::1]:7777",
            "[2001:db9::1]:7777",
            "[::7f00:1]:7777",
            "0.0.0.0:0",
            "[::]:0",
        ];
        for (i, a) in all.iter().enumerate() {
            for (j, b) in all.iter().enumerate() {
                assert_eq!(endpoint(a) == endpoint(b), i == j, "{a} {b}");
            }
        }
    }

    #[test]
    fn an_ipv4_client_is_the_same_behind_a_dual_stack_socket() {
        assert_eq!(endpoint("203.0.113.7:50000"), endpoint("[::ffff:203.0.113.7]:50000"));
        let scoped = "[fe80::1%3]:9".parse::<SocketAddr>();
        assert!(scoped.is_err() || endpoint("[fe80::1%3]:9") == endpoint("[fe80::1]:9"));
    }
}
