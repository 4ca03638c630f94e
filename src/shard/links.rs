//! What connects one shard with the others besides the exchange: queues from each to each.

use super::effects::{Effects, effects};
use super::handover::{FORWARDS, Forwarded, PARCELS, Parcel};
use super::post::{Post, mesh};

/// One shard's ends of the queues to all shards, itself included.
#[derive(Debug)]
pub struct Links {
    pub(super) effects: Effects,
    pub(super) parcels: Post<Parcel>,
    /// By socket: the gate is at place 0.
    pub(super) forwards: Post<Forwarded>,
}

/// The gate's ends of the queues of datagrams that came to the wrong socket.
#[derive(Debug)]
pub struct GateLinks(Post<Forwarded>);

impl Links {
    /// Takes the ends to and from the shards in `places` of `other`: those shards were replaced.
    pub(super) fn relink(&mut self, other: Self, places: &[bool]) {
        self.effects.relink(other.effects, places);
        self.parcels.relink(other.parcels, places);
        self.forwards.relink(other.forwards, &sockets(places));
    }
}

impl GateLinks {
    /// As the shards do, when those in `places` were replaced.
    pub fn relink(&mut self, other: Self, places: &[bool]) {
        self.0.relink(other.0, &sockets(places));
    }

    /// Hands a datagram on to the shard with this socket. Tells whether there was room.
    pub fn send(&mut self, socket: u8, datagram: Forwarded) -> bool {
        self.0.send(socket.into(), 0, datagram).is_ok()
    }

    /// Whether there is a shard with this socket.
    pub fn has(&self, socket: u8) -> bool {
        socket > 0 && usize::from(socket) < self.0.places()
    }

    /// A datagram that a shard has handed on to the gate.
    pub fn receive(&mut self) -> Option<Forwarded> {
        self.0.receive_one(0)
    }
}

/// Places by socket: the gate, which is never replaced, stands in front.
fn sockets(places: &[bool]) -> Vec<bool> {
    std::iter::once(&false).chain(places).copied().collect()
}

/// The links of `members` shards of at most `entities` entities each, and those of the gate.
pub fn links(members: usize, entities: usize) -> (GateLinks, Vec<Links>) {
    let mut forwards = mesh(members + 1, FORWARDS).into_iter();
    let gate = GateLinks(forwards.next().expect("the gate has a place"));
    let shards = effects(members, entities).into_iter().zip(mesh(members, PARCELS)).zip(forwards);
    let shards = shards.map(|((effects, parcels), forwards)| Links { effects, parcels, forwards });
    (gate, shards.collect())
}
