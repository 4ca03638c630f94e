//! From which address a bot speaks, when its turn is, and which bot a datagram is for. No hashing:
//! sealed packets name a session, handshake packets the bot in their nonce, and both are an index.
//!
//! Every bot has an address of its own on loopback, unless it is asked for less: then bots that
//! have their turns one after the other share one, like players behind a router. Their inputs leave
//! together, and the kernel takes them as one message (see [`crate::net::SourcedPort`]). They join
//! far apart, as a server limits handshakes by address:
//!
//! ```text
//! bot    0   1   2   3   4   5          joins in this order
//! group  0   1   2   0   1   2          has the address first + group
//! turn   0   2   4   1   3   5          sends in this order
//! ```

use crate::limits::SLOTS_PER_SHARD;
use crate::net::Sources;
use crate::wire::{ConnectionId, Header};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// 127.1.0.0: below lies what people use by hand, above 16 million addresses for bots.
const FIRST_SOURCE: u32 = 0x7F01_0000;
/// Addresses from `FIRST_SOURCE` to the end of 127/8, its broadcast address left out.
const SOURCES: u32 = 0x00FE_FFFF;
/// Apart from it lies the other address of a bot. So two bots get the same one only with more than
/// eight million of them.
const ELSEWHERE: u32 = 0x0080_0000;
/// Bots that can share an address, at most. Longer runs gain little: a datagram costs 0.6 us in a
/// run of 16 and 0.5 us in one of 32.
pub const PER_ADDRESS_MAX: u32 = 16;
/// Time between two bots of one address that begin to join, at least, as a fraction of a second. A
/// server allows an address 20 handshake packets a second, and a bot needs two.
const JOINS_PER_ADDRESS_PER_S: f64 = 4.0;
/// No bot.
const NOBODY: u32 = u32::MAX;

/// How the bots of one thread are told apart.
#[derive(Clone, Debug)]
pub(super) struct Addressing {
    /// Address of the first group; without it all bots share the one the kernel chooses.
    first: Option<u32>,
    /// Groups, and bots in each: the last ones of some groups may not exist.
    groups: u32,
    size: u32,
    /// Who has which session, by socket and slot of the connection id.
    by_slot: Vec<u32>,
}

impl Addressing {
    /// For a server at `server`; `first` is the number of this thread's first bot among all, and
    /// `connects_per_s` of them begin to join each second. At most `per_address` share an address,
    /// fewer if they would join too fast after each other.
    ///
    /// # Errors
    /// If there are more bots than addresses.
    pub(super) fn choose(
        server: SocketAddr,
        first: u32,
        players: u32,
        connects_per_s: f64,
        per_address: u32,
    ) -> Result<Self, String> {
        let (size, first) = match server.ip() {
            IpAddr::V4(ip) if ip.is_loopback() => {
                if first.checked_add(players).is_none_or(|end| end > SOURCES) {
                    return Err(format!("127/8 has room for {SOURCES} players, not for more"));
                }
                let addresses = connects_per_s / JOINS_PER_ADDRESS_PER_S;
                let size = (f64::from(players) / addresses) as u32;
                (size.clamp(1, per_address.clamp(1, PER_ADDRESS_MAX)), Some(FIRST_SOURCE + first))
            }
            IpAddr::V4(_) | IpAddr::V6(_) => (1, None),
        };
        Ok(Self { first, groups: players.div_ceil(size).max(1), size, by_slot: Vec::new() })
    }

    /// How the socket has to be opened.
    pub(super) fn sources(&self, server: SocketAddr) -> Sources {
        match (self.first, server.ip()) {
            (Some(_), _) => Sources::Loopback,
            (None, IpAddr::V4(_)) => Sources::Plain(Ipv4Addr::UNSPECIFIED.into()),
            (None, IpAddr::V6(_)) => Sources::Plain(Ipv6Addr::UNSPECIFIED.into()),
        }
    }

    /// The address from which bot `index` sends.
    pub(super) fn source(&self, index: u32) -> Ipv4Addr {
        let first = self.first.map(|first| first + index % self.groups);
        first.map_or(Ipv4Addr::UNSPECIFIED, Ipv4Addr::from_bits)
    }

    /// Where a bot that sends from `source` goes on when it changes its address: to its other one,
    /// and back. Without addresses of their own, bots stay.
    pub(super) fn elsewhere(&self, source: Ipv4Addr) -> Ipv4Addr {
        let is_own = self.first.is_some();
        if is_own { Ipv4Addr::from_bits(source.to_bits() ^ ELSEWHERE) } else { source }
    }

    /// Turns in a period; those of bots that do not exist pass unused.
    pub(super) fn turns(&self) -> u32 {
        self.groups * self.size
    }

    /// The turn of bot `index`.
    pub(super) fn turn(&self, index: u32) -> u32 {
        index % self.groups * self.size + index / self.groups
    }

    /// The bot whose turn it is; it may be out of range.
    pub(super) fn bot(&self, turn: u32) -> u32 {
        turn % self.size * self.groups + turn / self.size
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
        let place = place_of(connection);
        if self.by_slot.len() <= place {
            self.by_slot.resize((place + 1).next_multiple_of(SLOTS_PER_SHARD), NOBODY);
        }
        self.by_slot[place] = index;
    }

    /// The bot that a datagram is for; it may be out of range.
    #[inline]
    pub(super) fn index(&self, datagram: &[u8]) -> Option<u32> {
        let connection = Header::read(datagram).ok()?.connection;
        if connection == ConnectionId::GATE {
            let nonce = datagram.get(16..20)?.first_chunk::<4>()?;
            return Some(u32::from_le_bytes(*nonce));
        }
        self.by_slot.get(place_of(connection)).copied()
    }
}

fn place_of(connection: ConnectionId) -> usize {
    usize::from(connection.socket()) * SLOTS_PER_SHARD + usize::from(connection.slot())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Channel, Flags};
    use std::collections::HashSet;

    #[test]
    fn neighbours_in_time_share_an_address_and_join_far_apart() {
        let server: SocketAddr = "127.0.0.1:7777".parse().unwrap();
        for (players, connects_per_s) in [(1, 800.0), (100, 800.0), (3_001, 800.0), (5_000, 400.0)]
        {
            let addressing =
                Addressing::choose(server, 5_000, players, connects_per_s, 16).unwrap();
            let size = addressing.size;
            assert!(addressing.turns() >= players && addressing.turns() < players + size);
            let apart = f64::from(addressing.groups) / connects_per_s;
            assert!(size == 1 || apart >= 1.0 / JOINS_PER_ADDRESS_PER_S, "{players}: {apart} s");
            for index in 0..players {
                let turn = addressing.turn(index);
                assert_eq!(addressing.bot(turn), index);
                let group = turn / size;
                let source = Ipv4Addr::from_bits(FIRST_SOURCE + 5_000 + group);
                assert!(source.is_loopback() && addressing.source(index) == source);
                let other = addressing.elsewhere(source);
                assert!(other.is_loopback() && other > source);
                assert_eq!(addressing.elsewhere(other), source);
            }
            let bots: HashSet<_> = (0..addressing.turns()).map(|t| addressing.bot(t)).collect();
            assert_eq!(bots.len(), addressing.turns() as usize);
        }
        assert!(Addressing::choose(server, u32::MAX, 1, 1.0, 1).is_err());
    }

    #[test]
    fn bots_are_found_by_nonce_then_by_session() {
        let server: SocketAddr = "[2001:db8::1]:7777".parse().unwrap();
        let mut addressing = Addressing::choose(server, 0, 10, 1.0, 16).unwrap();
        let mut cookie = [0; 76];
        Header::HANDSHAKE.write(cookie.first_chunk_mut().unwrap());
        cookie[16..24].copy_from_slice(&Addressing::nonce(7, 99));
        assert_eq!(addressing.index(&cookie), Some(7));
        let connection = ConnectionId::from_parts(3, 4_095, 9);
        let mut sealed = [0; 40];
        let header =
            Header { connection, channel: Channel::Unreliable, flags: Flags::SEALED, sequence: 1 };
        header.write(sealed.first_chunk_mut().unwrap());
        assert_eq!(addressing.index(&sealed), None);
        addressing.learn(connection, 7);
        assert_eq!(addressing.index(&sealed), Some(7));
    }
}
