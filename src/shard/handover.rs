//! A player goes from one shard to another between two ticks: session, entity, and what replication
//! knows of it, by value through a bounded queue.
//!
//! ```text
//! tick j      the gate asks; the old shard publishes who is the entity's host from j + 2 on
//! tick j + 1  the old shard simulates and publishes the entity for the last time, then packs it
//!   meeting
//!             the new shard unpacks it and sends the snapshot of j + 1
//! tick j + 2  the new shard simulates it
//! ```
//! So no tick is simulated twice or left out, no snapshot is missing, and what others send to the
//! entity arrives where it is. The published row stays where it is, so the history and what viewers
//! remember of the entity are as good as before. **Policy for a full queue:** room is reserved when
//! the move is announced; without room it waits.

use super::describe::Told;
use super::players::Newcomer;
use super::{Shard, ToGate};
use crate::connection::{HandedOver, Slot};
use crate::metrics::{Counter, DropReason};
use crate::replicate::ViewerTable;
use crate::time::Nanos;
use crate::units::Tick;
use crate::wire::{ConnectionId, DisconnectReason};
use crate::world::EntityRecord;

/// Players under way from one shard to another at a time.
pub(super) const PARCELS: usize = 8;

/// A player under way.
#[derive(Debug)]
pub(super) struct Parcel {
    session: HandedOver,
    entity: EntityRecord,
    table: ViewerTable,
    /// The descriptions that the player was told, if any.
    told: Option<Box<Told>>,
    newcomer: Newcomer,
}

/// A move that the gate asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Move {
    /// The session as it is called here.
    from: ConnectionId,
    /// As it will be called.
    to: ConnectionId,
    /// The tick in which the new host was published, 0 = not yet.
    announced: Tick,
}

impl Move {
    pub(super) fn new(from: ConnectionId, to: ConnectionId) -> Self {
        Self { from, to, announced: 0 }
    }

    fn host(&self) -> usize {
        usize::from(self.to.socket()) - 1
    }
}

impl Shard {
    /// Announces the moves that can be made in the next tick: the rows of their entities, published
    /// already, are published once more with their new host. Moves that have lost their point are
    /// dropped, and the gate is told.
    pub(super) fn announce_moves(&mut self) {
        let mut place = 0;
        while place < self.moves.len() {
            let Move { from, announced, .. } = self.moves[place];
            let host = self.moves[place].host();
            let slot = from.slot();
            let row = self.players.row(slot).filter(|_| self.sessions.id(slot) == Some(from));
            let Some(row) = row.filter(|_| self.sessions.can_hand_over(slot)) else {
                let Move { to, .. } = self.moves.swap_remove(place);
                self.tell_gate_stayed(to);
                continue;
            };
            let under_way = self.moves.iter().filter(|m| m.announced > 0 && m.host() == host);
            if announced == 0 && under_way.count() < self.links.parcels.room(host) {
                self.moves[place].announced = self.tick;
                self.world.publish_host(row, &mut self.member, host as u8);
            }
            place += 1;
        }
    }

    /// Packs the players whose move was announced in the tick before. Their entities have been
    /// simulated and published for the last time here.
    pub(super) fn send_parcels(&mut self, now: Nanos) {
        let mut place = 0;
        while place < self.moves.len() {
            let Move { announced, .. } = self.moves[place];
            if announced == 0 || announced >= self.tick {
                place += 1;
                continue;
            }
            let Move { from, to, .. } = self.moves.swap_remove(place);
            if !self.send_parcel(from, to, now) {
                self.tell_gate_stayed(to);
            }
        }
    }

    fn send_parcel(&mut self, from: ConnectionId, to: ConnectionId, now: Nanos) -> bool {
        let slot = from.slot();
        if self.sessions.id(slot) != Some(from) {
            return false;
        }
        let Some(row) = self.players.row(slot) else { return false };
        let Some(session) = self.sessions.hand_over(slot, to, now) else { return false };
        let newcomer = self.players.take_out(slot, to);
        let host = usize::from(to.socket()) - 1;
        self.world.publish_host(row, &mut self.member, host as u8);
        let entity = self.world.take_out(row).expect("a player inside has an entity");
        let table = self.replicator.take_out(slot);
        let told = self.descriptions.take_out(slot);
        self.member.hand_over(entity.seat(), host);
        let parcel = Parcel { session, entity, table, told, newcomer };
        let sent = self.links.parcels.send(host, self.tick, parcel);
        debug_assert!(sent.is_ok(), "room was reserved");
        self.counters.add(Counter::HandedOver, 1);
        true
    }

    /// Unpacks the players that came with the tick that was just met.
    pub(super) fn unpack_parcels(&mut self, now: Nanos) {
        let tick = self.tick;
        while let Some(parcel) = self.links.parcels.receive_one(tick) {
            let Parcel { session, entity, table, told, newcomer } = parcel;
            let id = session.id();
            let slot = match self.sessions.take_over(session, now) {
                Ok(slot) => slot,
                Err(_) => {
                    // The gate has given the slot to somebody else: its mistake, counted.
                    self.lose_parcel(&entity, id);
                    continue;
                }
            };
            let Ok(row) = self.world.put_in(&entity) else {
                self.end_unpacked(slot, &entity, id);
                continue;
            };
            // If a shard was lost meanwhile, and we went on before the player's old shard gave the
            // row away, it is nobody's now.
            self.member.claim(entity.seat());
            self.replicator.put_in(slot, table);
            self.descriptions.put_in(slot, told);
            self.players.put_in(slot, row, newcomer);
            self.tell_gate(ToGate::Moved(id));
            if self.stopping {
                self.end(slot, DisconnectReason::Maintenance);
            }
        }
    }

    fn end_unpacked(&mut self, slot: Slot, entity: &EntityRecord, id: ConnectionId) {
        self.sessions.disconnect(slot, DisconnectReason::Full, &self.counters);
        self.lose_parcel(entity, id);
    }

    fn lose_parcel(&mut self, entity: &EntityRecord, id: ConnectionId) {
        self.counters.as_ref().drop(DropReason::QueueFull);
        self.member.vacate(entity.seat());
        self.tell_gate(ToGate::Closed(id));
    }
}
