//! Which bot a datagram is for. No hashing: an address or a connection id is an index.

use crate::limits::SLOTS_PER_SHARD;
use crate::net::Sources;
use crate::wire::{ConnectionId, Header};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// 127.1.0.0: below lies what people use by hand, above 16 million addresses for bots.
const FIRST_SOURCE: u32 = 0x7F01_0000;
/// Addresses from `FIRST_SOURCE` to the end of 127/8, its broadcast address left out.
const SOURCES: u32 = 0x00FE_FFFF;
/// No bot.
const NOBODY: u32 = u32::MAX;

/// How the bots of one thread are told apart.
#[derive(Clone, Debug)]
pub(super) enum Addressing {
    /// Each has a source address of its own; the first one has this.
    Loopback { first: u32 },
    /// All share one address: sealed packets name a session, handshake packets the bot in their
    /// nonce. By socket and slot of the connection id.
    Shared { by_slot: Vec<u32> },
}

impl Addressing {
    /// For a server at `server`; `first` is the number of this thread's first bot among all.
    ///
    /// # Errors
    /// If there are more bots than addresses.
    pub(super) fn choose(server: SocketAddr, first: u32, players: u32) -> Result<Self, String> {
        match server.ip() {
            IpAddr::V4(ip) if ip.is_loopback() => {
                if first.checked_add(players).is_none_or(|end| end > SOURCES) {
                    return Err(format!("127/8 has room for {SOURCES} players, not for more"));
                }
                Ok(Self::Loopback { first: FIRST_SOURCE + first })
            }
            IpAddr::V4(_) | IpAddr::V6(_) => Ok(Self::Shared { by_slot: Vec::new() }),
        }
    }

    /// How the socket has to be opened.
    pub(super) fn sources(&self, server: SocketAddr) -> Sources {
        match (self, server.ip()) {
            (Self::Loopback { .. }, _) => Sources::Loopback,
            (Self::Shared { .. }, IpAddr::V4(_)) => Sources::Plain(Ipv4Addr::UNSPECIFIED.into()),
            (Self::Shared { .. }, IpAddr::V6(_)) => Sources::Plain(Ipv6Addr::UNSPECIFIED.into()),
        }
    }

    /// The address from which bot `index` sends.
    pub(super) fn source(&self, index: u32) -> Ipv4Addr {
        match self {
            Self::Loopback { first } => Ipv4Addr::from_bits(first + index),
            Self::Shared { .. } => Ipv4Addr::UNSPECIFIED,
        }
    }

    /// The nonce that names the attempt of bot `index`: its number and some of the given
    /// randomness.
    pub(super) fn nonce(index: u32, random: u32) -> [u8; 8] {
        let mut nonce = [0; 8];
        nonce[..4].copy_from_slice(&index.to_le_bytes());
        nonce[4..].copy_from_slice(&random.to_le_bytes());
        nonce
    }

    /// Remembers that the session belongs to bot `index`.
    pub(super) fn learn(&mut self, connection: ConnectionId, index: u32) {
        let Self::Shared { by_slot } = self else { return };
        let place = place_of(connection);
        if by_slot.len() <= place {
            by_slot.resize((place + 1).next_multiple_of(SLOTS_PER_SHARD), NOBODY);
        }
        by_slot[place] = index;
    }

    /// The bot that a datagram for the local address `local` is for; it may be out of range.
    #[inline]
    pub(super) fn index(&self, local: Ipv4Addr, datagram: &[u8]) -> Option<u32> {
        match self {
            Self::Loopback { first } => local.to_bits().checked_sub(*first),
            Self::Shared { by_slot } => {
                let connection = Header::read(datagram).ok()?.connection;
                if connection == ConnectionId::GATE {
                    let nonce = datagram.get(16..20)?.first_chunk::<4>()?;
                    return Some(u32::from_le_bytes(*nonce));
                }
                by_slot.get(place_of(connection)).copied()
            }
        }
    }
}

fn place_of(connection: ConnectionId) -> usize {
    usize::from(connection.socket()) * SLOTS_PER_SHARD + usize::from(connection.slot())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Channel, Flags};

    #[test]
    fn every_bot_has_its_own_loopback_address_and_is_found_by_it() {
        let server: SocketAddr = "127.0.0.1:7777".parse().unwrap();
        let addressing = Addressing::choose(server, 5_000, 5_000).unwrap();
        for index in [0, 1, 4_999] {
            let source = addressing.source(index);
            assert!(source.is_loopback());
            assert_eq!(addressing.index(source, &[]), Some(index));
        }
        assert_eq!(addressing.index(Ipv4Addr::new(127, 0, 0, 1), &[]), None);
        assert!(Addressing::choose(server, u32::MAX, 1).is_err());
    }

    #[test]
    fn bots_behind_one_address_are_found_by_nonce_then_by_session() {
        let server: SocketAddr = "[2001:db8::1]:7777".parse().unwrap();
        let mut addressing = Addressing::choose(server, 0, 10).unwrap();
        let mut cookie = [0; 76];
        Header::HANDSHAKE.write(cookie.first_chunk_mut().unwrap());
        cookie[16..24].copy_from_slice(&Addressing::nonce(7, 99));
        assert_eq!(addressing.index(Ipv4Addr::UNSPECIFIED, &cookie), Some(7));
        let connection = ConnectionId::from_parts(3, 4_095, 9);
        let mut sealed = [0; 40];
        let header =
            Header { connection, channel: Channel::Unreliable, flags: Flags::SEALED, sequence: 1 };
        header.write(sealed.first_chunk_mut().unwrap());
        assert_eq!(addressing.index(Ipv4Addr::UNSPECIFIED, &sealed), None);
        addressing.learn(connection, 7);
        assert_eq!(addressing.index(Ipv4Addr::UNSPECIFIED, &sealed), Some(7));
    }
}
