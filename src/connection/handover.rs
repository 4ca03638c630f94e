//! A session goes from one table to another between two ticks: keys, counters, windows, by value.
//!
//! Owns: what travels, and what stays behind. Nothing is renegotiated: sequences, acknowledgments,
//! rates and times go on where they were, so no nonce comes twice; only the connection id is new,
//! because its first byte names the socket. The table that the session leaves keeps a forwarding
//! address for the packets that still come under the former id. Never decides who goes where, and
//! never carries anything: the shard owns the queues. Called by the shard between two ticks.
//!
//! ```text
//!  old table       Live ──hand_over──▶ Moved: forwards ──15 s, Sink::released──▶ Free
//!  new table       take_over ──▶ Live: writes the former id, repeats Moved every 250 ms
//!                                  └─a packet under the new id opens─▶ writes the new id
//! ```

use super::admission::AdmissionError;
use super::budgets::Spent;
use super::congestion::Control;
use super::delivery::Cargo;
use super::integrity::Watch;
use super::liveness::{Pending, TIMEOUT};
use super::path::Route;
use super::rekey::Rekey;
use super::table::{Flow, Ingress, Keys, Origin, Sessions, Slot, State};
use super::tickets::Outbox;
use super::violations::Violations;
use crate::time::Nanos;
use crate::wire::{ConnectionId, Stage};
use std::net::SocketAddr;

/// What a hand-over leaves in the columns of a slot. Read only when a packet names no session, and
/// in control packets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transfer {
    /// The id that the session had before it came, or had here before it went; 0 for neither.
    pub(super) former: ConnectionId,
    /// The id that the session has now, if it went; else 0.
    pub(super) to: ConnectionId,
    /// When the next Moved is due, if the session came and its client has not used the new id.
    pub(super) announce_at: Nanos,
}

impl Transfer {
    pub(super) const NONE: Self =
        Self { former: ConnectionId::GATE, to: ConnectionId::GATE, announce_at: Nanos(0) };
}

/// A session between two tables. Dropping it ends the session without a word; the keys are erased.
pub struct HandedOver {
    /// Already under the new id.
    ingress: Ingress,
    /// Still under the former one.
    flow: Flow,
    control: Control,
    keys: Keys,
    unacked: u8,
    pending: Pending,
    violations: Violations,
    spent: Spent,
    watch: Watch,
    failed_opens: u64,
    address: SocketAddr,
    origin: Origin,
    route: Route,
    /// Reliable messages under way, if there are any.
    reliable: Option<Box<Cargo>>,
    outbox: Outbox,
    /// A rekey under way goes on where it is.
    rekey: Rekey,
}

const _: () = {
    const fn travels<T: Send>() {}
    travels::<HandedOver>();
};

impl HandedOver {
    /// The id of the session from now on.
    pub fn id(&self) -> ConnectionId {
        self.ingress.id
    }

    /// The id that it had in the table that it left.
    pub fn former(&self) -> ConnectionId {
        self.flow.id
    }

    /// Who plays.
    pub fn player(&self) -> u64 {
        self.origin.player
    }
}

impl std::fmt::Debug for HandedOver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HandedOver")
            .field("id", &self.id())
            .field("former", &self.former())
            .field("address", &self.address)
            .field("player", &self.player())
            .finish_non_exhaustive()
    }
}

impl Sessions {
    /// Whether the session in `slot` may go to another table: its player is in the world, it is not
    /// being closed, and its client knows the id that it has here.
    pub fn can_hand_over(&self, slot: Slot) -> bool {
        self.has_entered(slot) && self.is_known_by_id(usize::from(slot))
    }

    /// Takes the session in `slot` out; it is `to` from now on. For 15 s its slot forwards what
    /// comes under the id it had (see `admit_batch`), then `Sink::released` tells that the slot is
    /// free. `None`, and nothing has changed, unless `can_hand_over`.
    pub fn hand_over(&mut self, slot: Slot, to: ConnectionId, now: Nanos) -> Option<HandedOver> {
        debug_assert!(to.socket() > 0, "the gate has no sessions");
        let index = usize::from(slot);
        if !self.can_hand_over(slot) {
            return None;
        }
        let keys = take_erased(&mut self.keys[index])?;
        let former = self.ingress[index].id;
        let handed = HandedOver {
            ingress: Ingress { id: to, ..self.ingress[index].clone() },
            flow: self.flow[index].clone(),
            control: self.control[index],
            keys,
            unacked: self.unacked[index],
            pending: self.pending[index],
            violations: self.violations[index],
            spent: self.spent[index],
            // The one that stays behind is erased with the slot.
            watch: self.watch[index].clone(),
            failed_opens: self.failed_opens[index],
            address: self.address[index],
            origin: self.origin[index],
            route: self.route[index],
            reliable: self.delivery.pack(index),
            outbox: self.outbox[index].clone(),
            rekey: self.rekey[index].take(),
        };
        self.release(index);
        self.route[index] = Route::left_behind(now);
        self.state[index] = State::Moved;
        self.transfer[index] = Transfer { former, to, ..Transfer::NONE };
        self.due[index] = now.plus(TIMEOUT);
        Some(handed)
    }

    /// Takes a session in. The next `poll_control` tells its client the new id, and until the
    /// client has used it the former one is written into headers.
    ///
    /// # Errors
    /// As `vacancy` tells before; the session is lost then, as if `handed` had been dropped.
    pub fn take_over(&mut self, handed: HandedOver, now: Nanos) -> Result<Slot, AdmissionError> {
        let slot = self.vacancy(handed.id())?;
        let index = usize::from(slot);
        let former = handed.former();
        self.ingress[index] = handed.ingress;
        self.flow[index] = handed.flow;
        self.control[index] = handed.control;
        self.keys[index] = Some(handed.keys);
        self.state[index] = State::Live(Stage::Entered);
        self.unacked[index] = handed.unacked;
        self.due[index] = Nanos(0);
        self.pending[index] = handed.pending;
        self.violations[index] = handed.violations;
        self.spent[index] = handed.spent;
        self.watch[index] = handed.watch;
        self.failed_opens[index] = handed.failed_opens;
        self.address[index] = handed.address;
        self.origin[index] = handed.origin;
        self.route[index] = handed.route.arrived();
        self.outbox[index] = handed.outbox;
        self.rekey[index] = handed.rekey.arrived();
        self.transfer[index] = Transfer { former, announce_at: now, ..Transfer::NONE };
        self.delivery.unpack(index, handed.reliable);
        self.live += 1;
        Ok(slot)
    }

    /// Where the session went that was `id` in this table, while packets for it are forwarded.
    pub fn moved_to(&self, id: ConnectionId) -> Option<ConnectionId> {
        let index = usize::from(id.slot());
        let went = self.state.get(index) == Some(&State::Moved);
        (went && self.transfer[index].former == id).then(|| self.transfer[index].to)
    }

    /// Whether the client of the living session in `index` has used the id that it has here: only
    /// then is that id written into headers.
    pub(super) fn is_known_by_id(&self, index: usize) -> bool {
        self.flow[index].id == self.ingress[index].id
    }
}

/// Takes keys out of their place. `take` alone would leave the bytes where they were: other keys go
/// there first, and those are erased as keys are.
fn take_erased(place: &mut Option<Keys>) -> Option<Keys> {
    let taken = place.as_mut().map(|keys| std::mem::replace(keys, Keys::new(&[0; 32], &[0; 32])));
    *place = None;
    taken
}
