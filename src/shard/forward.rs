//! Datagrams that came to the wrong socket, and their way to the right one.
//!
//! A datagram is for the socket that its byte 0 names, and the kernel brings it there, unless it is
//! not allowed to steer: then any thread of the port gets any datagram, and hands it on. A session
//! that moved to another shard gets what still comes under its former id in the same way. Owns: the
//! queues' items, their room, and the policy. Never opens anything, and never answers: a reply can
//! leave from any socket of the port. Called by `ingress`, and by the gate's thread.
//!
//! What is handed on has passed the checks that need no table, so that noise takes no place, and it
//! is handed on once for its socket and once for its session at most. **Policy for a full queue:**
//! the datagram is dropped and counted (`queue_full`), as UDP may lose it anywhere.

use super::Links;
use crate::connection::check_form;
use crate::limits::{DATAGRAM_MAX, DATAGRAM_MIN};
use crate::metrics::{Counter, Counters, DropReason};
use crate::net::Datagram;
use crate::units::Tick;
use crate::wire::ConnectionId;
use std::net::SocketAddr;

/// Ticks for which a shard may be busy with something else before the queues to it are full, at one
/// datagram per player and tick from each socket's share of the players.
const TICKS_OF_ROOM: usize = 4;
/// Datagrams of handshakes that a shard keeps for the gate, which looks every millisecond.
const HANDSHAKES: usize = 256;
/// Least room of a queue between two sockets. Enough where the kernel steers: then only what comes
/// for sessions that have moved is handed on, until their clients know.
const LEAST: usize = 64;

/// How many datagrams may be under way between two sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForwardRoom {
    to_shard: usize,
    to_gate: usize,
}

impl ForwardRoom {
    /// For a port whose datagrams the kernel brings to their sockets.
    pub const STEERED: Self = Self { to_shard: LEAST, to_gate: LEAST };

    /// For a port of `shards` shards with up to `players` players each, whose datagrams come to any
    /// socket.
    pub fn unsteered(shards: usize, players: usize) -> Self {
        let share = players.div_ceil(shards + 1);
        Self { to_shard: (TICKS_OF_ROOM * share).max(LEAST), to_gate: HANDSHAKES }
    }

    /// Room of the queue between two places of the mesh, where the gate is at place 0. Nobody hands
    /// anything on to itself.
    pub(super) fn between(self, from: usize, to: usize) -> usize {
        match to {
            _ if from == to => 0,
            0 => self.to_gate,
            _ => self.to_shard,
        }
    }

    /// Bytes of all queues of a port of `shards` shards.
    pub fn memory_bytes(self, shards: usize) -> usize {
        shards * (self.to_gate + shards * self.to_shard) * size_of::<(Tick, Forwarded)>()
    }
}

/// A datagram under way.
#[derive(Debug)]
pub struct Forwarded {
    /// The session it is for; `ConnectionId::GATE` if its header says so.
    to: ConnectionId,
    from: SocketAddr,
    length: u16,
    bytes: [u8; DATAGRAM_MAX],
}

impl Forwarded {
    fn new(to: ConnectionId, from: SocketAddr, datagram: &[u8]) -> Option<Self> {
        let mut bytes = [0; DATAGRAM_MAX];
        bytes.get_mut(..datagram.len())?.copy_from_slice(datagram);
        Some(Self { to, from, length: datagram.len() as u16, bytes })
    }

    /// The datagram, to be changed in place like any that was received.
    pub fn datagram(&mut self) -> Datagram<'_> {
        Datagram { payload: &mut self.bytes[..usize::from(self.length)], from: self.from }
    }

    /// Where it came from.
    pub(super) fn from(&self) -> SocketAddr {
        self.from
    }

    /// The datagram.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// The session it is for.
    pub(super) fn to(&self) -> ConnectionId {
        self.to
    }
}

/// Hands a datagram for the former id of a session on to the session, which is `to` now.
pub(super) fn forward(
    links: &mut Links,
    to: ConnectionId,
    from: SocketAddr,
    datagram: &[u8],
    counters: &Counters,
) {
    let queue = |it| links.forwards.send(to.socket().into(), 0, it).is_ok();
    count(Forwarded::new(to, from, datagram).is_some_and(queue), counters);
}

/// Hands a datagram on through `queue` to the socket that it should have come to, if it can be a
/// packet at all. Counts what becomes of it.
pub(super) fn hand_on(
    datagram: &Datagram<'_>,
    counters: &Counters,
    queue: impl FnOnce(Forwarded) -> bool,
) {
    if let Err(reason) = check(datagram.payload) {
        return counters.drop(reason);
    }
    let forwarded = Forwarded::new(ConnectionId::GATE, datagram.from, datagram.payload);
    count(forwarded.is_some_and(queue), counters);
}

/// What the gate and the shards check first, without a look at their tables.
fn check(datagram: &[u8]) -> Result<(), DropReason> {
    if datagram.first() != Some(&0) {
        return check_form(datagram).map(drop);
    }
    // The gate has a name of its own for whatever else may be wrong with a handshake.
    let fits = (DATAGRAM_MIN..=DATAGRAM_MAX).contains(&datagram.len());
    if fits { Ok(()) } else { Err(DropReason::Size) }
}

fn count(sent: bool, counters: &Counters) {
    if sent {
        counters.add(Counter::Forwarded, 1);
    } else {
        counters.drop(DropReason::QueueFull);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::links;
    use crate::wire::{Channel, Flags, Header, Writer};

    fn packet(connection: ConnectionId) -> [u8; 60] {
        let mut bytes = [0; 60];
        let mut writer = Writer::new(&mut bytes);
        let (channel, flags) = (Channel::Unreliable, Flags::SEALED);
        Header { connection, channel, flags, sequence: 1 }.put(&mut writer);
        bytes
    }

    fn datagram(payload: &mut [u8]) -> Datagram<'_> {
        Datagram { payload, from: SocketAddr::from(([10, 0, 0, 1], 9)) }
    }

    #[test]
    fn a_full_queue_drops_and_counts_and_the_others_still_take() {
        let room = ForwardRoom::unsteered(2, 1);
        let (mut gate, mut shards) = links(2, 1, room);
        let counters = Counters::default();
        let mut bytes = packet(ConnectionId::from_parts(1, 3, 4));
        for _ in 0..LEAST + 5 {
            assert!(gate.hand_on(&datagram(&mut bytes), &counters));
        }
        assert_eq!(counters.read(Counter::Forwarded), LEAST as u64);
        assert_eq!(counters.dropped(DropReason::QueueFull), 5);
        let mut other = packet(ConnectionId::from_parts(2, 3, 4));
        assert!(gate.hand_on(&datagram(&mut other), &counters));
        assert_eq!(counters.dropped(DropReason::QueueFull), 5);
        let mut arrived = 0;
        while let Some(mut it) = shards[0].forwards.take(0) {
            assert_eq!(it.datagram().payload, bytes);
            arrived += 1;
        }
        assert_eq!(arrived, LEAST);
        assert!(gate.hand_on(&datagram(&mut bytes), &counters));
        assert_eq!(counters.dropped_total(), 5, "there is room again");
    }

    #[test]
    fn what_cannot_be_a_packet_takes_no_place_in_a_queue() {
        let counters = Counters::default();
        let mut good = packet(ConnectionId::from_parts(1, 3, 4));
        let mut bad_header = good;
        bad_header[4] = 200;
        let wrong: [(&mut [u8], DropReason); 5] = [
            (&mut [], DropReason::Size),
            (&mut [0; DATAGRAM_MIN - 1], DropReason::Size),
            (&mut [1; DATAGRAM_MIN - 1], DropReason::Size),
            (&mut [1; DATAGRAM_MAX + 1], DropReason::Size),
            (&mut bad_header, DropReason::Header),
        ];
        for (bytes, reason) in wrong {
            let before = counters.dropped(reason);
            hand_on(&datagram(bytes), &counters, |it| panic!("handed on: {it:?}"));
            assert_eq!(counters.dropped(reason), before + 1);
        }
        hand_on(&datagram(&mut good), &counters, |_| true);
        hand_on(&datagram(&mut [0; 100]), &counters, |_| true);
        assert_eq!(counters.read(Counter::Forwarded), 2);
    }

    #[test]
    fn the_room_grows_with_the_players_and_is_what_it_is_said_to_be() {
        assert_eq!(ForwardRoom::unsteered(1, 4_000).to_shard, 8_000);
        assert_eq!(ForwardRoom::unsteered(3, 1_000).to_shard, 1_000);
        let room = ForwardRoom::unsteered(3, 8);
        let places = (0..4).flat_map(|from| (0..4).map(move |to| room.between(from, to)));
        let bytes = places.sum::<usize>() * size_of::<(Tick, Forwarded)>();
        assert_eq!(room.memory_bytes(3), bytes);
    }
}
