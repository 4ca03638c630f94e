//! IP networks, as a configuration names them.

use crate::crypto::cookie::Origin;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// An IPv4 or IPv6 network such as `127.0.0.0/8`, `10.1.2.3` or `2001:db8::/32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Mapped, if IPv4; bits beyond the prefix are zero.
    ip: u128,
    /// Leading bits that count, of 128.
    prefix: u32,
}

impl Network {
    /// Whether `ip`, IPv6 or mapped IPv4, lies in the network.
    pub fn contains(&self, ip: &[u8; 16]) -> bool {
        u128::from_be_bytes(*ip) & mask(self.prefix) == self.ip
    }
}

fn mask(prefix: u32) -> u128 {
    u128::MAX.checked_shl(128 - prefix).unwrap_or(0)
}

/// Why a text is not a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkError(String);

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is not a network; write an address such as 10.1.2.3, or one with ",
            self.0
        )?;
        write!(f, "a prefix such as 127.0.0.0/8 or 2001:db8::/32, with no bits behind the prefix")
    }
}

impl std::error::Error for NetworkError {}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let error = || NetworkError(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse().map_err(|_| error())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| error())?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix: u32 = prefix.unwrap_or(bits);
        if prefix > bits {
            return Err(error());
        }
        let prefix = prefix + 128 - bits;
        let ip = u128::from_be_bytes(Origin::from(SocketAddr::new(address, 0)).ip);
        if ip & !mask(prefix) != 0 {
            return Err(error());
        }
        Ok(Self { ip, prefix })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(network: &str, ip: &str) -> bool {
        let origin = Origin::from(SocketAddr::new(ip.parse().unwrap(), 1));
        network.parse::<Network>().unwrap().contains(&origin.ip)
    }

    #[test]
    fn a_network_holds_its_addresses_and_no_others() {
        assert!(contains("127.0.0.0/8", "127.255.0.1") && !contains("127.0.0.0/8", "126.0.0.1"));
        assert!(contains("10.1.2.3", "10.1.2.3") && !contains("10.1.2.3", "10.1.2.4"));
        assert!(contains("10.1.2.3", "::ffff:10.1.2.3"));
        assert!(contains("2001:db8::/32", "2001:db8:9::1"));
        assert!(!contains("2001:db8::/32", "2001:db9::1"));
        assert!(contains("::/0", "10.1.2.3") && contains("::/0", "2001:db9::1"));
        assert!(contains("0.0.0.0/0", "10.1.2.3") && !contains("0.0.0.0/0", "2001:db9::1"));
    }

    #[test]
    fn what_is_not_a_network_is_an_error_that_says_what_to_write() {
        for text in ["", "x", "10.0.0.0/33", "10.0.0.1/8", "::/129", "10.0.0.0/", "10.0.0.0/-1"] {
            let error = text.parse::<Network>().unwrap_err().to_string();
            assert!(error.contains(text) && error.contains("127.0.0.0/8"), "{error}");
        }
    }
}
