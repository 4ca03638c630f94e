//! What the gate and a shard tell each other. Each message says who sends it when, and what happens
//! if the queue is full.

use super::explain::Question;
use super::links::Links;
use super::meeting::Waiters;
use super::page::Page;
use super::queue::{self, Receiver, Sender};
use crate::connection::{Admission, Scorers};
use crate::crypto::secret::Secret;
use crate::exchange::Member;
use crate::limits::SLOTS_PER_SHARD;
use crate::metrics::Histograms;
use crate::time::Nanos;
use crate::units::EntityId;
use crate::wire::{ConnectionId, DisconnectReason, PublicToken};
use crate::world::Spawn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Gate → shard. If the queue is full the gate denies the newcomer, counted as `queue_full`, and
/// tells later what can wait.
#[derive(Debug)]
pub enum ToShard {
    /// A handshake succeeded.
    Admit(Admission),
    /// A newer login of the same player, or the operator, ends the named session.
    Disconnect(ConnectionId, DisconnectReason),
    /// An empty set of histograms to record into from now on; the full one comes back.
    Window(Box<Histograms>),
    /// Why was a player told what? The answer comes back in the same box after the next tick; the
    /// gate has one question at a time under way.
    Explain(Box<Question>),
    /// Who behaves worst? The sheet comes back filled in.
    Scores(Box<Scorers>),
    /// The ticket with which the client of this session may come back, in place of any before. It
    /// is renewed before it expires, so one that gets lost is made good.
    Ticket(ConnectionId, PublicToken),
    /// Nobody came back for this entity: it leaves the world. The answer is `Departed`.
    Depart(EntityId),
    /// Say goodbye to everybody and stop.
    Stop,
    /// An NPC enters the world. It is sent at the start, and after a shard was lost.
    Spawn(Spawn),
    /// What players who see this entity are told of it, on whatever shard it lives; nothing any
    /// more, if it is empty. It waits for room.
    Describe(EntityId, Box<[u8]>),
    /// The player of the first session goes to the shard of the second, which is its session then.
    HandOver(ConnectionId, ConnectionId),
    /// A shard was lost: go on in the exchange that succeeds the closed one.
    Regroup(Box<Regroup>),
    /// For drills and tests: fail.
    Fail(Fault),
}

/// What a survivor needs to go on after another shard was lost.
#[derive(Debug)]
pub struct Regroup {
    /// Its part of the new exchange.
    pub member: Member<Page>,
    /// Its links; those to and from the replaced shards are to be used.
    pub links: Links,
    /// Which shards were replaced, by place.
    pub replaced: Box<[bool]>,
    /// How the shards of the new exchange wait for each other.
    pub waiters: Arc<Waiters>,
    /// When the schedule starts anew, see [`super::Pace`].
    pub origin: Nanos,
}

/// A way to fail, for drills and tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Its thread panics.
    Panic,
    /// Its thread does nothing for so long.
    Stall(Duration),
}

/// Shard → gate. The queue holds all messages of every slot twice over, and a shard takes
/// no admission while there is less room than its sessions may still need, so none is ever lost.
#[derive(Debug)]
pub enum ToGate {
    /// The first packet of the session opened: its token is used up.
    Confirmed(ConnectionId),
    /// The session has ended for violations; that it is closed comes next.
    Violated(ConnectionId),
    /// The session has ended, its slot is free.
    Closed(ConnectionId),
    /// The same, and its player said goodbye or was thrown out: its tickets are worth nothing.
    Left(ConnectionId),
    /// The same, and its entity stands in the world for a player who may come back.
    Lingers(ConnectionId, EntityId),
    /// The entity of a `Depart` is gone.
    Departed(EntityId),
    /// The session has arrived from another shard.
    Moved(ConnectionId),
    /// The client of the session is at another address. When more than half of the queue waits it
    /// is told later; until then a farewell of the gate goes to the address before.
    Readdressed(ConnectionId, SocketAddr),
    /// The session that was to be this one on another shard stays where it is.
    Stayed(ConnectionId),
    /// Nothing comes under the former id of a session that has moved; its slot is free.
    Released(ConnectionId),
    /// Packets to the session are sealed with this key, that of this epoch. It waits like the one
    /// above; until it is told the player does not understand a farewell of the gate.
    Rekeyed(ConnectionId, u16, Secret),
    /// What was recorded since the last window.
    Window(Box<Histograms>),
    /// A question of the gate, answered.
    Explained(Box<Question>),
    /// Who behaves worst.
    Scores(Box<Scorers>),
}

/// The gate's ends of the queues to one shard.
#[derive(Debug)]
pub struct GateEnd {
    /// To the shard.
    pub to_shard: Sender<ToShard>,
    /// From the shard.
    pub from_shard: Receiver<ToGate>,
}

/// The shard's ends of the queues to the gate.
#[derive(Debug)]
pub struct ShardEnd {
    /// To the gate.
    pub to_gate: Sender<ToGate>,
    /// From the gate.
    pub from_gate: Receiver<ToShard>,
}

/// Messages each session causes at most from its shard to the gate, but for new keys and
/// addresses.
pub(super) const MESSAGES_PER_SESSION: usize = 4;
/// Room that `Readdressed` and `Rekeyed` leave to the others.
pub(super) const RESERVED: usize = MESSAGES_PER_SESSION * SLOTS_PER_SHARD;

/// A pair of connected ends.
pub fn pair() -> (GateEnd, ShardEnd) {
    let (to_shard, from_gate) = queue::channel(SLOTS_PER_SHARD);
    let (to_gate, from_shard) = queue::channel(2 * RESERVED);
    (GateEnd { to_shard, from_shard }, ShardEnd { to_gate, from_gate })
}
