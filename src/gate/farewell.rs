//! The last word to players whose shard was lost.
//!
//! Their sessions, and with them the counters of what was sent, are gone. But no sequence ever
//! reaches the last one that the protocol allows, so one packet under it repeats no nonce; it is
//! made once, and the same bytes are sent three times. A player who just moved may know only the
//! former id: a packet under that one is another nonce, as the id is part of it.

use crate::crypto::aead::PacketKey;
use crate::limits::{
    DISCONNECT_INTERVAL_MS, DISCONNECT_REPEATS, HEADER_LEN, SEQUENCE_MAX, TAG_LEN,
};
use crate::time::Nanos;
use crate::wire::{Channel, ConnectionId, ControlMessage, DisconnectReason, Flags, Header, Writer};
use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Room for a header, a Disconnect and a tag.
const FAREWELL_MAX: usize = HEADER_LEN + 16 + TAG_LEN;

/// What it takes to say goodbye to a player without its shard. Erased on drop, never printed.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub(super) struct Farewell {
    #[zeroize(skip)]
    pub(super) address: SocketAddr,
    /// Seals the packets to the client, the newest that its shard told of, and the epoch of it.
    pub(super) key: [u8; 32],
    #[zeroize(skip)]
    pub(super) epoch: u16,
    /// The id that the session had before it moved, if it did.
    #[zeroize(skip)]
    pub(super) former: Option<ConnectionId>,
}

impl fmt::Debug for Farewell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Farewell").field("address", &self.address).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Packet {
    due: Nanos,
    left: u8,
    to: SocketAddr,
    bytes: [u8; FAREWELL_MAX],
    length: usize,
}

/// The packets that still have to be sent, in the order in which they are due.
#[derive(Debug, Default)]
pub(super) struct Farewells(VecDeque<Packet>);

impl Farewells {
    /// Seals the packet under `id`, which is or was that of the session. Not twice for one id.
    pub(super) fn add(&mut self, id: ConnectionId, farewell: &Farewell, now: Nanos) {
        let mut bytes = [0; FAREWELL_MAX];
        let mut writer = Writer::new(&mut bytes[..FAREWELL_MAX - TAG_LEN]);
        let sequence = SEQUENCE_MAX - 1;
        let is_odd = farewell.epoch & 1 == 1;
        let flags = if is_odd { Flags::SEALED.with(Flags::REKEY) } else { Flags::SEALED };
        Header { connection: id, channel: Channel::Control, flags, sequence }.put(&mut writer);
        ControlMessage::Disconnect { reason: DisconnectReason::ShardLost, retry_s: 0 }
            .write(&mut writer);
        let length = writer.finish().expect("a Disconnect has room") + TAG_LEN;
        PacketKey::new(&farewell.key).seal(&mut bytes[..length]);
        let packet =
            Packet { due: now, left: DISCONNECT_REPEATS, to: farewell.address, bytes, length };
        self.0.push_back(packet);
    }

    /// The next packet that is due, into `out`.
    pub(super) fn poll(&mut self, now: Nanos, out: &mut [u8]) -> Option<(usize, SocketAddr)> {
        let mut packet = self.0.pop_front_if(|packet| packet.due <= now)?;
        out[..packet.length].copy_from_slice(&packet.bytes[..packet.length]);
        let sent = (packet.length, packet.to);
        packet.left -= 1;
        if packet.left > 0 {
            packet.due = now.plus(Nanos::from_ms(DISCONNECT_INTERVAL_MS));
            self.0.push_back(packet);
        }
        Some(sent)
    }
}
