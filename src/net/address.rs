//! Socket addresses as the bytes the kernel reads and writes (`sockaddr_in`, `sockaddr_in6`).
//!
//! Safe code over byte arrays: the backends hand the kernel a pointer to [`RawAddress::bytes`].
//! Addresses are canonical on our side: a peer that reaches a dual-stack socket over IPv4 is an
//! IPv4 address, and is turned into its mapped form again on the way out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// Bytes of the larger of the two address structures, `sockaddr_in6`.
const LEN_V6: usize = 28;
/// Bytes of `sockaddr_in`.
const LEN_V4: usize = 16;

/// The address family of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) fn of(address: SocketAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// One address in the kernel's layout and the number of bytes that are used.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub(super) struct RawAddress {
    bytes: [u8; LEN_V6],
    len: u32,
}

const _: () = assert!(size_of::<libc::sockaddr_in6>() == LEN_V6);
const _: () = assert!(size_of::<libc::sockaddr_in>() == LEN_V4);

impl RawAddress {
    pub(super) const EMPTY: Self = Self { bytes: [0; LEN_V6], len: 0 };

    /// `address` as a socket of `family` needs it. An IPv6 address on an IPv4 socket is encoded as
    /// it is: the kernel refuses the datagram and it is counted like any other refusal.
    pub(super) fn encode(address: SocketAddr, family: Family) -> Self {
        let mut raw = Self::EMPTY;
        raw.bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
        match (address, family) {
            (SocketAddr::V4(v4), Family::V4) => {
                raw.set_family(libc::AF_INET);
                raw.bytes[4..8].copy_from_slice(&v4.ip().octets());
                raw.len = LEN_V4 as u32;
            }
            (SocketAddr::V4(v4), Family::V6) => {
                raw.set_family(libc::AF_INET6);
                raw.bytes[8..24].copy_from_slice(&v4.ip().to_ipv6_mapped().octets());
                raw.len = LEN_V6 as u32;
            }
            (SocketAddr::V6(v6), _) => {
                raw.set_family(libc::AF_INET6);
                raw.bytes[8..24].copy_from_slice(&v6.ip().octets());
                raw.bytes[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                raw.len = LEN_V6 as u32;
            }
        }
        raw
    }

    fn set_family(&mut self, family: i32) {
        self.bytes[..2].copy_from_slice(&(family as u16).to_ne_bytes());
    }

    /// The used bytes, for a send.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len as usize]
    }

    /// All bytes, for the kernel to fill in.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8; LEN_V6] {
        &mut self.bytes
    }

    /// All bytes, as the kernel filled them in.
    pub(super) fn bytes(&self) -> &[u8; LEN_V6] {
        &self.bytes
    }
}

/// Reads an address in the kernel's layout; `None` if it is neither IPv4 nor IPv6 or too short.
pub(super) fn decode(bytes: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(*bytes.first_chunk()?);
    let port = u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
    match i32::from(family) {
        libc::AF_INET => {
            let ip: [u8; 4] = *bytes.get(4..)?.first_chunk()?;
            Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(ip)), port))
        }
        libc::AF_INET6 => {
            let octets: [u8; 16] = *bytes.get(8..)?.first_chunk()?;
            let scope = u32::from_ne_bytes(*bytes.get(24..)?.first_chunk()?);
            let ip = Ipv6Addr::from(octets);
            Some(match ip.to_ipv4_mapped() {
                Some(v4) => SocketAddr::new(IpAddr::V4(v4), port),
                None => SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scope)),
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(text: &str, family: Family) -> Option<SocketAddr> {
        decode(RawAddress::encode(text.parse().unwrap(), family).as_bytes())
    }

    #[test]
    fn an_address_survives_the_kernel_layout_and_a_mapped_one_becomes_ipv4() {
        for (text, family) in [
            ("127.0.0.1:7777", Family::V4),
            ("255.1.2.3:65535", Family::V4),
            ("10.20.30.40:1", Family::V6),
            ("[::1]:9", Family::V6),
            ("[fe80::1:2%7]:443", Family::V6),
        ] {
            assert_eq!(round_trip(text, family), Some(text.parse().unwrap()), "{text}");
        }
        assert_eq!(round_trip("[::ffff:1.2.3.4]:5", Family::V6), "1.2.3.4:5".parse().ok());
    }

    #[test]
    fn a_short_or_foreign_address_is_none() {
        let raw = RawAddress::encode("[::1]:9".parse().unwrap(), Family::V6);
        assert!((0..raw.as_bytes().len()).all(|len| decode(&raw.as_bytes()[..len]).is_none()));
        assert_eq!(decode(&[0; 28]), None);
        assert_eq!(
            RawAddress::encode("1.2.3.4:5".parse().unwrap(), Family::V4).as_bytes().len(),
            16
        );
    }
}
