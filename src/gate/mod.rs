//! The gate: strangers become sessions here, or are dropped as cheaply as possible.
//!
//! Owns the handshake from Connect to Accepted, its tables and limits, and who has which slot of
//! which shard. Reads no clock, no socket and no random source: they are arguments. Allocates
//! nothing after construction except what an [`Admission`] carries by value. Called by the thread
//! of socket 0; the shards report back which sessions confirmed and which closed.

mod answers;
mod bodies;
mod config;
mod cooldown;
mod denials;
mod endings;
mod farewell;
mod handshake;
mod limiter;
mod map;
mod population;
mod sessions;
mod source;
#[cfg(test)]
mod tests;
mod tickets;
mod tokens;
mod valid;
mod warden;

pub use config::{GateConfig, TokenKey};
pub use cooldown::{Cause, CoolDown, CoolDownRules};
pub use limiter::HandshakeRates;
pub use source::{Network, NetworkError};
pub use warden::TooManyBans;

use crate::connection::Admission;
use crate::crypto::cookie::CookieKeys;
use crate::exchange::Keeper;
use crate::limits::DATAGRAM_MAX;
use crate::metrics::{Counters, DropReason};
use crate::time::{Entropy, Nanos, TokenBucket};
use crate::units::{EntityId, Tick};
use crate::wire::{ConnectionId, DisconnectReason};
use answers::Answers;
use bodies::{Bodies, Body, Departure};
use cooldown::CoolDowns;
use farewell::Farewells;
use limiter::Limiter;
use population::Population;
use sessions::{Session, Sessions};
use std::collections::VecDeque;
use std::net::SocketAddr;
use tickets::Rounds;
use tokens::TokenTable;
use valid::ValidTickets;

/// Cells of the token table, and of the cool-downs, looked at per millisecond: all of them in about
/// a second.
const SWEEP_PER_MS: u64 = 128;

/// When a datagram is handled, on the three clocks that a handshake knows.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Monotonic, for limits and cookies.
    pub now: Nanos,
    /// Unix seconds, for the expiry of tokens.
    pub unix_s: u64,
    /// The server's tick, for the client's information.
    pub tick: Tick,
}

/// What the caller is to do with a datagram.
#[derive(Debug)]
pub enum GateAction {
    /// Nothing. It has been counted already.
    Drop(DropReason),
    /// Send this many bytes of the buffer back to the sender.
    Reply(usize),
    /// Hand the admission to its shard, then send the reply; if the shard cannot take it, call
    /// [`Gate::undelivered`] instead, which changes the reply.
    Accept {
        /// Bytes of the buffer to send back.
        reply_len: usize,
        /// Index of the shard, from 0; the socket of the connection id is one more.
        shard: u8,
        /// The new session.
        admission: Admission,
        /// An unconfirmed session of the same player that its shard is to close.
        replaces: Option<ConnectionId>,
    },
}

/// The tables and limits of all handshakes of one server.
#[derive(Debug)]
pub struct Gate {
    config: GateConfig,
    limiter: Limiter,
    cookies: CookieKeys,
    dh_budget: TokenBucket,
    tokens: TokenTable,
    tickets: TokenTable,
    valid: ValidTickets,
    rounds: Rounds,
    answers: Answers,
    sessions: Sessions,
    population: Population,
    bodies: Bodies,
    farewells: Farewells,
    /// Shards that are to be told that a session is to end, see `endings`.
    endings: VecDeque<(ConnectionId, DisconnectReason)>,
    cool_downs: CoolDowns,
    seed: [u64; 2],
    maintenance: bool,
    /// Latest unix time seen: a clock that is set back does not revive forgotten tokens.
    unix_s: u64,
    swept: Nanos,
}

impl Gate {
    /// Takes all the memory the gate will ever use. Players become entities in the rows of
    /// `keeper`.
    ///
    /// # Panics
    /// If the configuration asks for no shard or for more than 4,096 slots in one.
    pub fn new(config: GateConfig, keeper: Keeper, now: Nanos, entropy: &mut dyn Entropy) -> Self {
        let seed = [random(entropy), random(entropy)].map(u64::from_le_bytes);
        Self {
            limiter: Limiter::new(config.rates, config.trusted_sources.clone(), seed, now),
            cookies: CookieKeys::new(random(entropy), 0, now),
            dh_budget: TokenBucket::full(dh_burst(config.dh_per_s), now),
            tokens: TokenTable::new(config.tokens, seed),
            tickets: TokenTable::new(config.tickets, seed),
            valid: ValidTickets::new(config.slots(), config.tickets, seed),
            rounds: Rounds::new(config.slots()),
            answers: Answers::new(config.unconfirmed, seed),
            sessions: Sessions::new(
                config.shards,
                (config.slots_per_shard, config.spare_slots),
                config.sessions,
                seed,
            ),
            population: Population::new(keeper, config.shards.into(), config.entities_per_shard),
            bodies: Bodies::new(config.bodies(), seed),
            farewells: Farewells::default(),
            // A session each, and those under way to or from a lost shard.
            endings: VecDeque::with_capacity(2 * config.slots()),
            cool_downs: CoolDowns::new(config.cool_downs, &config.banned, seed),
            seed,
            maintenance: false,
            unix_s: 0,
            swept: now,
            config,
        }
    }

    /// Handles one datagram of the gate's socket. A reply is in the first bytes of `out`.
    pub fn handle_datagram(
        &mut self,
        at: Moment,
        from: SocketAddr,
        datagram: &[u8],
        counters: &Counters,
        entropy: &mut dyn Entropy,
        out: &mut [u8; DATAGRAM_MAX],
    ) -> GateAction {
        self.tick(at, entropy);
        let at = Moment { unix_s: self.unix_s, ..at };
        let action = self.handshake(at, from, datagram, counters, entropy, out);
        action.unwrap_or_else(|reason| {
            counters.drop(reason);
            GateAction::Drop(reason)
        })
    }

    /// What time alone brings about: new cookie keys, forgotten tokens. `handle_datagram` calls it;
    /// an idle gate calls it every second or so.
    pub fn tick(&mut self, at: Moment, entropy: &mut dyn Entropy) {
        self.unix_s = self.unix_s.max(at.unix_s);
        if self.cookies.rotation_due(at.now) {
            self.cookies.rotate(random(entropy), at.now);
        }
        let elapsed_ms = at.now.since(self.swept).as_ms();
        if elapsed_ms > 0 {
            self.swept = at.now;
            let cells = (elapsed_ms * SWEEP_PER_MS) as usize;
            self.tokens.sweep(cells, self.unix_s);
            self.cool_downs.sweep(cells, at.now);
            self.tickets.sweep(cells, self.unix_s);
            self.valid.sweep(cells, self.unix_s);
            self.rounds.pass_ms(elapsed_ms);
            // A round in a quarter of a second.
            let cells = (self.bodies.cells() as u64).div_ceil(256);
            self.bodies.sweep((elapsed_ms * cells) as usize, at.now);
        }
    }

    /// A shard opened the first sealed packet of `id`: its token is used up, and the player's older
    /// session, which is returned, is to be closed by its shard.
    pub fn confirmed(&mut self, id: ConnectionId) -> Option<ConnectionId> {
        let session = self.sessions.session_mut(id)?;
        let player = session.player;
        let answer = session.answer.take();
        let ticket = self.sessions.resumption(id).map(|resumption| resumption.id);
        self.bodies.claimed(player);
        let sessions = &self.sessions;
        self.rounds.add(id, |id| sessions.lives(id));
        let answer = self.answers.remove(answer?)?;
        self.tokens.consume(&answer.token_id);
        self.tickets.consume(&answer.token_id);
        if let Some(ticket) = ticket {
            // Nobody comes back with the tickets of an earlier session, wherever that is by now.
            self.valid.confirmed(player, ticket);
        }
        self.sessions.confirm(id, player)
    }

    /// A shard closed `id`, confirmed or not: its slot is free again. Ids that name no session are
    /// ignored, so reporting twice is harmless.
    pub fn closed(&mut self, id: ConnectionId) {
        self.settle_hold(id);
        self.finish(id, true);
    }

    /// The same, and the player said goodbye or was thrown out: the tickets of the session are
    /// worth nothing.
    pub fn left(&mut self, id: ConnectionId) {
        self.settle_hold(id);
        self.finish(id, false);
    }

    fn finish(&mut self, id: ConnectionId, may_return: bool) {
        if let Some(body) = self.close(id, may_return) {
            self.population.release(body.entity, body.seat, body.shard.into());
        }
    }

    /// A shard closed `id`, whose player may come back: `entity` stands in the world until then, or
    /// until [`Self::poll_departure`] says that it is to go.
    pub fn lingers(&mut self, id: ConnectionId, entity: EntityId, now: Nanos) {
        self.settle_hold(id);
        match self.close_session(id, true) {
            Some(session) => self.bodies.lingers(session.player, now.plus(self.config.linger)),
            None => {
                let shard = id.socket() - 1;
                self.bodies.add_stray(entity, shard);
                self.population.comes(shard.into());
            }
        }
    }

    /// The next entity for which nobody came back in time, if its shard `has_room` for the message
    /// that it is to go: the index of the shard, and who goes.
    pub fn poll_departure(&mut self, has_room: impl Fn(u8) -> bool) -> Option<(u8, EntityId)> {
        self.bodies.poll_departure(has_room)
    }

    /// A shard reports that an entity of [`Self::poll_departure`] is gone.
    pub fn departed(&mut self, entity: EntityId) {
        if let Some(departure) = self.bodies.departed(entity) {
            release(&mut self.population, departure);
        }
    }

    /// The admission of `id` could not be handed to its shard, which never heard of it. The answer
    /// in `out` becomes a denial, of the length that is returned.
    pub fn undelivered(
        &mut self,
        id: ConnectionId,
        counters: &Counters,
        entropy: &mut dyn Entropy,
        out: &mut [u8; DATAGRAM_MAX],
    ) -> usize {
        if let Some(body) = self.close(id, true) {
            self.population.release_unused(body.entity, body.seat, body.shard.into());
        }
        self.deny_answered(DropReason::QueueFull, counters, entropy, out)
    }

    /// Asks for the session `from` to go to the shard with index `shard`: its id there, which the
    /// caller tells the shard it is on. `None` if it cannot go.
    pub fn hand_over(
        &mut self,
        from: ConnectionId,
        shard: usize,
        entropy: &mut dyn Entropy,
    ) -> Option<ConnectionId> {
        if self.population.room_in(shard) == 0 {
            return None;
        }
        let to = self.sessions.reserve(from, shard, u16::from_le_bytes(random(entropy)))?;
        self.population.comes(shard);
        Some(to)
    }

    /// A shard reports that a session has arrived as `to`. Tells whether it may stay: if not, the
    /// shard is told so, see [`Self::poll_ending`].
    pub fn moved(&mut self, to: ConnectionId) -> bool {
        let stays = self.arrived(to);
        // What was sent to the shard that it left may not have reached it.
        let sessions = &self.sessions;
        if sessions.lives(to) {
            self.rounds.add(to, |id| sessions.lives(id));
        }
        match self.sessions.ending(to) {
            // The shard that it left was told, and had nobody to end any more.
            Some(reason) => self.tell_ending(to, reason),
            None if stays => return true,
            None => self.end(to, DisconnectReason::Replaced),
        }
        false
    }

    /// What [`Self::moved`] means for slots and entities.
    fn arrived(&mut self, to: ConnectionId) -> bool {
        let from = self.sessions.reserved_for(to);
        let stays = self.sessions.moved(to).is_some();
        if let Some(session) = self.sessions.session_mut(to)
            && let Some(from) = from
        {
            self.bodies.moved(session.player, to.socket() - 1);
            self.population.goes(usize::from(from.socket()) - 1);
        }
        stays
    }

    /// The shard of `id` has ended it, or will never have it: whatever held its slot without a
    /// session is over.
    fn settle_hold(&mut self, id: ConnectionId) {
        // Who came from another shard and found no room there never arrived, and is here all the
        // same: the shard that it has left knows nothing of it any more.
        self.arrived(id);
        self.release_hold(id);
    }

    fn release_hold(&mut self, id: ConnectionId) {
        if self.sessions.reserved_for(id).is_some() {
            self.population.goes(usize::from(id.socket()) - 1);
        }
        self.sessions.release(id);
    }

    /// A shard reports that the client of `id` is at another address, where a farewell is to go.
    pub fn readdressed(&mut self, id: ConnectionId, address: SocketAddr) {
        self.sessions.readdress(id, address);
    }

    /// A shard reports that it seals what it sends to `id` with the key of `epoch`. The client
    /// takes packets under that key already.
    pub fn rekeyed(&mut self, id: ConnectionId, epoch: u16, key: &[u8; 32]) {
        self.sessions.rekeyed(id, epoch, key);
    }

    /// A shard reports that the session that was to be `id` stays where it is, or that nothing is
    /// forwarded from `id` any more.
    pub fn released(&mut self, id: ConnectionId) {
        self.release_hold(id);
    }

    /// Some sessions of the shard with index `shard` that may move, at most `most`.
    pub fn some_of(&self, shard: usize, most: usize) -> Vec<ConnectionId> {
        self.sessions.some_of(shard, most)
    }

    /// The session of `player`, confirmed if there is a confirmed one.
    pub fn session_of(&self, player: u64) -> Option<ConnectionId> {
        self.sessions.of_player(player)
    }

    /// Some of the players, at most `most`, and how many sessions there are in all.
    pub fn players(&self, most: usize) -> (Vec<u64>, usize) {
        self.sessions.players(most)
    }

    /// The shards in `lost`, by index, are gone with all their sessions; their successors share the
    /// rows of `keeper` with the survivors. The players are told, see [`Self::poll_farewell`], and
    /// may join again.
    ///
    /// Returns the sessions that were under way from or to one of them and may be on a survivor:
    /// their shards are to disconnect them.
    pub fn lose_shards(&mut self, lost: &[bool], keeper: Keeper, now: Nanos) -> Vec<ConnectionId> {
        self.population.succeed(keeper, lost);
        self.endings.retain(|(id, _)| !lost[usize::from(id.socket()) - 1]);
        let gone = self.sessions.of_shards(lost);
        // Before their slots are free: until then former ids are those of nobody else.
        gone.iter().for_each(|&id| self.bid_farewell(id, now));
        let mut strays = Vec::new();
        for (from, to) in self.sessions.release_all(lost) {
            if !lost[usize::from(from.socket()) - 1] {
                // It may have left for the lost shard already. Its client knew it by this id.
                self.bid_farewell(from, now);
            }
            if lost[usize::from(to.socket()) - 1] {
                self.population.goes(usize::from(to.socket()) - 1);
            }
            self.finish(from, true);
            strays.extend([from, to].into_iter().filter(|id| !lost[usize::from(id.socket()) - 1]));
        }
        gone.into_iter().for_each(|id| self.closed(id));
        let population = &mut self.population;
        self.bodies.lose(lost, |departure| release(population, departure));
        strays
    }

    fn bid_farewell(&mut self, id: ConnectionId, now: Nanos) {
        if let Some(farewell) = self.sessions.farewell(id) {
            let former = self.sessions.former(id);
            let ids = std::iter::once(id).chain(former);
            ids.for_each(|id| self.farewells.add(id, farewell, now));
        }
    }

    /// The next packet to a player of a lost shard, into `out`: its length, and where it goes.
    pub fn poll_farewell(&mut self, now: Nanos, out: &mut [u8]) -> Option<(usize, SocketAddr)> {
        self.farewells.poll(now, out)
    }

    /// An entity, and a seat that `shard` owns, for somebody who is no player; `None` if there is
    /// no room.
    pub fn populate(&mut self, shard: usize) -> Option<(EntityId, u32)> {
        self.population.allocate(shard)
    }

    /// Takes back what [`Self::populate`] gave for `shard`; whoever was it is gone.
    pub fn depopulate(&mut self, entity: EntityId, seat: u32, shard: usize) {
        self.population.release(entity, seat, shard);
    }

    /// Ends a session, whose player `may_return` with its ticket. Returns the entity that nobody
    /// holds any more.
    fn close(&mut self, id: ConnectionId, may_return: bool) -> Option<Body> {
        let session = self.close_session(id, may_return)?;
        self.bodies.closed(session.player)
    }

    fn close_session(&mut self, id: ConnectionId, may_return: bool) -> Option<Session> {
        let ticket = self.sessions.resumption(id).map(|resumption| resumption.id);
        let ending = self.sessions.ending(id);
        let may_return = may_return && ending.is_none_or(DisconnectReason::may_resume);
        let session = self.sessions.close(id)?;
        if let Some(ticket) = ticket {
            self.valid.ended(session.player, ticket, may_return, self.unix_s);
        }
        if let Some(place) = session.answer {
            self.answers.remove(place);
        }
        Some(session)
    }

    /// Whether newcomers are denied because the server is about to stop.
    pub fn set_maintenance(&mut self, maintenance: bool) {
        self.maintenance = maintenance;
    }
}

/// Nobody is in the world as this any more.
fn release(population: &mut Population, departure: Departure) {
    let Departure { entity, shard, seat } = departure;
    match seat {
        Some(seat) => population.release(entity, seat, shard.into()),
        None => population.goes(shard.into()),
    }
}

/// A quarter of a second's key agreements at once, so that a crowd does not stall the gate.
fn dh_burst(dh_per_s: u32) -> u32 {
    (dh_per_s / 4).max(1)
}

fn random<const N: usize>(entropy: &mut dyn Entropy) -> [u8; N] {
    let mut out = [0; N];
    entropy.fill(&mut out);
    out
}
