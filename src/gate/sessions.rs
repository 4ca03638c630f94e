//! Which slot of which shard belongs to whom: hands out connection ids and never a live slot twice.
//!
//! A slot comes back only when its shard reports the session closed. Free slots queue up, so one is
//! reused as late as possible, and its generation is random and differs from the one before: a
//! packet of the session before last that is still on its way finds no session.

#[cfg(test)]
mod tests;

use super::answers::Place;
use super::farewell::Farewell;
use super::map::FixedMap;
use super::tickets::Resumption;
use crate::limits::SLOTS_PER_SHARD;
use crate::wire::{ConnectionId, DisconnectReason};
use std::cmp::Reverse;
use std::collections::VecDeque;
use std::net::SocketAddr;
use zeroize::Zeroize;

/// Generations of one slot (12 bits).
const GENERATIONS: u16 = 1 << 12;

/// A session that a shard has, or is about to get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) player: u64,
    /// Where its answer is kept, until it is confirmed or replaced.
    pub(super) answer: Option<Place>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Slot {
    /// Of the session now in the slot, or of the last one.
    generation: u16,
    session: Option<Session>,
    farewell: Option<Farewell>,
    resumption: Option<Resumption>,
    /// Whether the session is asked to go to another shard.
    is_leaving: bool,
    /// Whether the shard that it left forwards nothing from here any more, although the one that
    /// has it now was not heard yet.
    is_left: bool,
    /// Why the session is to end, if its shard was or will be told so.
    ending: Option<DisconnectReason>,
    hold: Hold,
}

/// Why a slot without a session is not free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Hold {
    #[default]
    No,
    /// The session with this id is to come here from another shard.
    For(ConnectionId),
    /// Its session went to another shard, or may have, and what comes for it is forwarded.
    Forwards,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Shard {
    slots: Vec<Slot>,
    free: VecDeque<u16>,
}

/// The sessions of one player: the one that plays and the newest that may come to replace it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Logins {
    confirmed: Option<ConnectionId>,
    unconfirmed: Option<ConnectionId>,
}

/// The slots of all shards and the players in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sessions {
    shards: Vec<Shard>,
    players: FixedMap<1, Logins>,
    /// Free slots of each shard that only a player who has an entity there gets.
    spare: usize,
    /// Sessions now, and at most.
    alive: usize,
    limit: usize,
}

impl Sessions {
    /// `shards` 1..=255, each with `capacity` slots, at most 4,096, `spare` of them for those who
    /// have an entity there; `limit` sessions in all.
    pub(super) fn new(
        shards: u8,
        (capacity, spare): (u16, u16),
        limit: usize,
        seed: [u64; 2],
    ) -> Self {
        assert!(shards > 0 && usize::from(capacity) <= SLOTS_PER_SHARD, "slots fit their 12 bits");
        let slots = vec![Slot::default(); capacity.into()];
        let shard = Shard { slots, free: (0..capacity).collect() };
        let total = usize::from(shards) * usize::from(capacity);
        let players = FixedMap::new(total, seed);
        let shards = vec![shard; shards.into()];
        Self { shards, players, spare: spare.into(), alive: 0, limit }
    }

    /// A connection id that is free now, in the emptiest shard; `random` makes its generation.
    /// `lingering` entities wait for players who are to find room; `rows` tells how many more
    /// entities a shard can have. Changes nothing.
    pub(super) fn candidate(
        &self,
        lingering: usize,
        rows: impl Fn(usize) -> usize,
        random: u16,
    ) -> Option<ConnectionId> {
        if self.alive + lingering >= self.limit {
            return None;
        }
        let room = |shard: &usize| self.room_in(*shard).min(rows(*shard));
        let emptiest = (0..self.shards.len()).min_by_key(|shard| Reverse(room(shard)))?;
        if room(&emptiest) == 0 {
            return None;
        }
        self.candidate_in(emptiest, random)
    }

    /// Slots of `shard` for those who have no entity there.
    fn room_in(&self, shard: usize) -> usize {
        self.shards[shard].free.len().saturating_sub(self.spare)
    }

    /// The same in `shard`, for a player who has an entity there and takes no room.
    pub(super) fn candidate_in(&self, shard: usize, random: u16) -> Option<ConnectionId> {
        let socket = shard as u8 + 1;
        let shard = &self.shards[shard];
        let slot = *shard.free.front()?;
        let before = shard.slots[usize::from(slot)].generation;
        let generation = (before + 1 + random % (GENERATIONS - 1)) % GENERATIONS;
        Some(ConnectionId::from_parts(socket, slot, generation))
    }

    fn slot_mut(&mut self, id: ConnectionId) -> &mut Slot {
        &mut self.shards[usize::from(id.socket()) - 1].slots[usize::from(id.slot())]
    }

    /// Opens a session under the id that `candidate` just gave. Returns the unconfirmed session of
    /// the same player that it replaces.
    pub(super) fn open(
        &mut self,
        id: ConnectionId,
        session: Session,
        farewell: Farewell,
    ) -> Option<ConnectionId> {
        let shard = &mut self.shards[usize::from(id.socket()) - 1];
        let slot = shard.free.pop_front();
        debug_assert_eq!(slot, Some(id.slot()), "the id is the candidate");
        self.alive += 1;
        shard.slots[usize::from(id.slot())] = Slot {
            generation: id.generation(),
            session: Some(session),
            farewell: Some(farewell),
            ..Slot::default()
        };
        let logins = self.players.get(&[session.player]).unwrap_or_default();
        self.set_logins(session.player, Logins { unconfirmed: Some(id), ..logins });
        logins.unconfirmed
    }

    /// What the session `id`, which was just opened, leaves to the one that resumes it.
    pub(super) fn set_resumption(&mut self, id: ConnectionId, resumption: Resumption) {
        self.slot_mut(id).resumption = Some(resumption);
    }

    pub(super) fn resumption(&self, id: ConnectionId) -> Option<&Resumption> {
        self.slot(id)?.resumption.as_ref()
    }

    pub(super) fn lives(&self, id: ConnectionId) -> bool {
        self.slot(id).is_some_and(|slot| slot.session.is_some())
    }

    /// The session named `id`, if it is alive.
    pub(super) fn session_mut(&mut self, id: ConnectionId) -> Option<&mut Session> {
        let shard = self.shards.get_mut(usize::from(id.socket()).checked_sub(1)?)?;
        let slot = shard.slots.get_mut(usize::from(id.slot()))?;
        if slot.generation == id.generation() { slot.session.as_mut() } else { None }
    }

    /// A slot in `shard` for the confirmed session `from`, which is to move there. `random` makes
    /// its generation.
    pub(super) fn reserve(
        &mut self,
        from: ConnectionId,
        shard: usize,
        random: u16,
    ) -> Option<ConnectionId> {
        let player = self.session_mut(from)?.player;
        let logins = self.players.get(&[player]).unwrap_or_default();
        // Who is about to be replaced stays where the newcomer finds the entity.
        let stays = logins.confirmed != Some(from) || logins.unconfirmed.is_some();
        let stays = stays || self.ending(from).is_some();
        if stays || shard == usize::from(from.socket()) - 1 || self.room_in(shard) == 0 {
            return None;
        }
        let to = self.candidate_in(shard, random)?;
        self.slot_mut(from).is_leaving = true;
        let shard = &mut self.shards[shard];
        shard.free.pop_front();
        let (generation, hold) = (to.generation(), Hold::For(from));
        shard.slots[usize::from(to.slot())] = Slot { generation, hold, ..Slot::default() };
        Some(to)
    }

    /// Why the session `id` is to end, if it is.
    pub(super) fn ending(&self, id: ConnectionId) -> Option<DisconnectReason> {
        self.slot(id)?.ending
    }

    /// `id` is to end. Tells whether its shard does not know yet: of a session that is not alive
    /// here it never does.
    pub(super) fn set_ending(&mut self, id: ConnectionId, reason: DisconnectReason) -> bool {
        if !self.lives(id) {
            return true;
        }
        let ending = &mut self.slot_mut(id).ending;
        let is_news = ending.is_none();
        ending.get_or_insert(reason);
        is_news
    }

    /// Whether the session of `player` may be on its way to another shard.
    pub(super) fn is_leaving(&self, player: u64) -> bool {
        let confirmed = self.players.get(&[player]).and_then(|logins| logins.confirmed);
        confirmed.and_then(|id| self.slot(id)).is_some_and(|slot| slot.is_leaving)
    }

    /// Whoever was to go to `to` does not go any more.
    fn stay(&mut self, to: ConnectionId) {
        if let Some(from) = self.reserved_for(to)
            && self.session_mut(from).is_some()
        {
            self.slot_mut(from).is_leaving = false;
        }
    }

    /// The session that `to` was reserved for, if it is.
    pub(super) fn reserved_for(&self, to: ConnectionId) -> Option<ConnectionId> {
        let shard = self.shards.get(usize::from(to.socket()).checked_sub(1)?)?;
        match shard.slots.get(usize::from(to.slot()))? {
            Slot { generation, hold: Hold::For(from), .. } if *generation == to.generation() => {
                Some(*from)
            }
            _ => None,
        }
    }

    /// The session has arrived in `to`. `None` if it was closed meanwhile: `to` is to be closed.
    pub(super) fn moved(&mut self, to: ConnectionId) -> Option<()> {
        let from = self.reserved_for(to)?;
        let session = *self.session_mut(from)?;
        let left = self.slot_mut(from);
        let mut farewell = left.farewell.take();
        let resumption = left.resumption.clone();
        let ending = left.ending.take();
        left.resumption.zeroize();
        if let Some(farewell) = &mut farewell {
            farewell.former = Some(from);
        }
        (left.session, left.hold, left.is_leaving) = (None, Hold::Forwards, false);
        if left.is_left {
            self.release(from);
        }
        let slot = self.slot_mut(to);
        (slot.session, slot.farewell, slot.hold) = (Some(session), farewell, Hold::No);
        (slot.resumption, slot.ending) = (resumption, ending);
        let logins = self.players.get(&[session.player]).unwrap_or_default();
        let renamed =
            |login: Option<ConnectionId>| login.map(|id| if id == from { to } else { id });
        let logins =
            Logins { confirmed: renamed(logins.confirmed), unconfirmed: logins.unconfirmed };
        self.set_logins(session.player, logins);
        // A newer login has taken the player's place while the session was under way.
        (logins.confirmed == Some(to)).then_some(())
    }

    /// Whatever held the slot of `id` without a session is gone.
    pub(super) fn release(&mut self, id: ConnectionId) {
        self.stay(id);
        let Some(shard) = usize::from(id.socket()).checked_sub(1) else { return };
        let Some(shard) = self.shards.get_mut(shard) else { return };
        let Some(slot) = shard.slots.get_mut(usize::from(id.slot())) else { return };
        if slot.generation != id.generation() {
            return;
        }
        if slot.hold != Hold::No {
            slot.hold = Hold::No;
            shard.free.push_back(id.slot());
        } else {
            // Of two shards the one that was left may be heard first, if nobody listened for long.
            slot.is_left = slot.is_leaving;
        }
    }

    /// Slots of the shards in `lost` that are held without a session become free. Returns who was
    /// under way to or from those shards: where from, and where to. A survivor may forward from the
    /// slot of who was, for a while yet: it stays held when its session is closed.
    pub(super) fn release_all(&mut self, lost: &[bool]) -> Vec<(ConnectionId, ConnectionId)> {
        let mut under_way = Vec::new();
        for (shard, socket) in self.shards.iter_mut().zip(1..=u8::MAX) {
            for (slot, number) in shard.slots.iter_mut().zip(0..) {
                let is_lost = lost[usize::from(socket) - 1];
                let to = ConnectionId::from_parts(socket, number, slot.generation);
                if let Hold::For(from) = slot.hold
                    && (is_lost || lost[usize::from(from.socket()) - 1])
                {
                    under_way.push((from, to));
                }
                if is_lost && slot.hold != Hold::No {
                    slot.hold = Hold::No;
                    shard.free.push_back(number);
                }
            }
        }
        for &(from, _) in under_way.iter().filter(|it| !lost[usize::from(it.0.socket()) - 1]) {
            if self.lives(from) {
                self.slot_mut(from).hold = Hold::Forwards;
            }
        }
        under_way
    }

    /// Some confirmed sessions of a shard, at most `most`.
    pub(super) fn some_of(&self, shard: usize, most: usize) -> Vec<ConnectionId> {
        let slots = self.shards[shard].slots.iter().zip(0..);
        let living = slots.filter(|(slot, _)| slot.session.is_some_and(|s| s.answer.is_none()));
        let ids = living.map(|(slot, number)| {
            ConnectionId::from_parts(shard as u8 + 1, number, slot.generation)
        });
        ids.take(most).collect()
    }

    /// The session of `player`: the one that plays, else the one that is about to.
    pub(super) fn of_player(&self, player: u64) -> Option<ConnectionId> {
        let logins = self.players.get(&[player])?;
        logins.confirmed.or(logins.unconfirmed)
    }

    /// All sessions of `player`.
    pub(super) fn all_of(&self, player: u64) -> [Option<ConnectionId>; 2] {
        let logins = self.players.get(&[player]).unwrap_or_default();
        [logins.confirmed, logins.unconfirmed]
    }

    /// Some of the players, at most `most`, and how many sessions there are.
    pub(super) fn players(&self, most: usize) -> (Vec<u64>, usize) {
        let slots = self.shards.iter().flat_map(|shard| &shard.slots);
        let players = slots.filter_map(|slot| Some(slot.session?.player));
        (players.take(most).collect(), self.alive)
    }

    /// The living sessions of the shards in `lost`, by index.
    pub(super) fn of_shards(&self, lost: &[bool]) -> Vec<ConnectionId> {
        let shards = self.shards.iter().zip(1..=u8::MAX).zip(lost).filter(|(_, lost)| **lost);
        let living = |(shard, socket): (&Shard, u8)| {
            let slots = shard.slots.iter().zip(0..).filter(|(slot, _)| slot.session.is_some());
            let ids = slots.map(|(slot, n)| ConnectionId::from_parts(socket, n, slot.generation));
            ids.collect::<Vec<_>>()
        };
        shards.flat_map(|(shard, _)| living(shard)).collect()
    }

    /// What it takes to say goodbye in place of the shard of `id`.
    pub(super) fn farewell(&self, id: ConnectionId) -> Option<&Farewell> {
        self.slot(id)?.farewell.as_ref()
    }

    /// The client of `id` is at another address.
    pub(super) fn readdress(&mut self, id: ConnectionId, address: SocketAddr) {
        if self.session_mut(id).is_some()
            && let Some(farewell) = &mut self.slot_mut(id).farewell
        {
            farewell.address = address;
        }
    }

    /// The shard of `id` seals with another key from now on. Nothing if `id` is not alive.
    pub(super) fn rekeyed(&mut self, id: ConnectionId, epoch: u16, key: &[u8; 32]) {
        if self.session_mut(id).is_none() {
            return;
        }
        if let Some(farewell) = &mut self.slot_mut(id).farewell {
            farewell.key.copy_from_slice(key);
            farewell.epoch = epoch;
        }
    }

    /// The id that the session `id` had before, while packets under it are still forwarded.
    pub(super) fn former(&self, id: ConnectionId) -> Option<ConnectionId> {
        let former = self.farewell(id)?.former?;
        self.slot(former).filter(|left| left.hold == Hold::Forwards).map(|_| former)
    }

    /// The slot of `id`, if nobody else was given it since.
    fn slot(&self, id: ConnectionId) -> Option<&Slot> {
        let shard = self.shards.get(usize::from(id.socket()).checked_sub(1)?)?;
        let slot = shard.slots.get(usize::from(id.slot()))?;
        (slot.generation == id.generation()).then_some(slot)
    }

    /// The newest session of `player` has proven itself. Returns the one that it replaces.
    pub(super) fn confirm(&mut self, id: ConnectionId, player: u64) -> Option<ConnectionId> {
        let logins = self.players.get(&[player]).unwrap_or_default();
        if logins.unconfirmed != Some(id) {
            return None;
        }
        self.set_logins(player, Logins { confirmed: Some(id), unconfirmed: None });
        logins.confirmed
    }

    /// Takes the slot back. Returns the session that was in it, if `id` was alive.
    pub(super) fn close(&mut self, id: ConnectionId) -> Option<Session> {
        let session = *self.session_mut(id)?;
        let shard = &mut self.shards[usize::from(id.socket()) - 1];
        let slot = &mut shard.slots[usize::from(id.slot())];
        (slot.session, slot.farewell, slot.resumption) = (None, None, None);
        slot.ending = None;
        if slot.hold == Hold::No {
            shard.free.push_back(id.slot());
        }
        self.alive -= 1;
        let logins = self.players.get(&[session.player]).unwrap_or_default();
        let other = |login: Option<ConnectionId>| login.filter(|&login| login != id);
        let logins =
            Logins { confirmed: other(logins.confirmed), unconfirmed: other(logins.unconfirmed) };
        self.set_logins(session.player, logins);
        Some(session)
    }

    fn set_logins(&mut self, player: u64, logins: Logins) {
        if logins == Logins::default() {
            self.players.remove(&[player]);
            return;
        }
        let inserted = self.players.insert([player], logins);
        debug_assert!(inserted.is_ok(), "no more players than slots");
    }
}
