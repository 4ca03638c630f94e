//! What connects one shard with the others besides the exchange: queues from each to each.

use super::effects::{Effects, effects};
use super::forward::{ForwardRoom, Forwarded, hand_on};
use super::handover::{PARCELS, Parcel};
use super::post::{Post, mesh, mesh_with};
use crate::metrics::Counters;
use crate::net::Datagram;

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

    /// Whether `datagram` is for a shard: then it is handed on, or dropped, and counted.
    pub fn hand_on(&mut self, datagram: &Datagram<'_>, counters: &Counters) -> bool {
        let place = usize::from(datagram.payload.first().copied().unwrap_or_default());
        let is_for_shard = place > 0 && place < self.0.places();
        if is_for_shard {
            hand_on(datagram, counters, |it| self.0.send(place, 0, it).is_ok());
        }
        is_for_shard
    }

    /// Sockets of the port: place n is that of socket n.
    pub fn places(&self) -> usize {
        self.0.places()
    }

    /// Datagrams that the socket at `place` has handed on to the gate.
    pub fn waiting(&self, place: usize) -> usize {
        self.0.waiting(place)
    }

    /// Takes one of them.
    pub fn take(&mut self, place: usize) -> Option<Forwarded> {
        self.0.take(place)
    }
}

/// Places by socket: the gate, which is never replaced, stands in front.
fn sockets(places: &[bool]) -> Vec<bool> {
    std::iter::once(&false).chain(places).copied().collect()
}

/// The links of `members` shards of at most `entities` entities each, and those of the gate; `room`
/// is for datagrams that come to the wrong socket.
pub fn links(members: usize, entities: usize, room: ForwardRoom) -> (GateLinks, Vec<Links>) {
    let forwards = mesh_with(members + 1, |from, to| room.between(from, to));
    let mut forwards = forwards.into_iter();
    let gate = GateLinks(forwards.next().expect("the gate has a place"));
    let shards = effects(members, entities).into_iter().zip(mesh(members, PARCELS)).zip(forwards);
    let shards = shards.map(|((effects, parcels), forwards)| Links { effects, parcels, forwards });
    (gate, shards.collect())
}
