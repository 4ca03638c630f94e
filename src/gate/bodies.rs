//! Which player has which entity, whether a session plays it or it lingers without one.
//!
//! Owns: the entity and the seat of every player that the gate has admitted, which shard they are
//! on, how many sessions hold them, and until when they linger. A player has one entity at most, so
//! all sessions of one player share it. Never talks to a shard: [`super::Gate`] says what is to be
//! told. Called by the gate alone.
//!
//! ```text
//!  first login ──▶ held by sessions ──the last one closes──▶ released
//!                     ▲     └──it was lost──▶ lingers ──time is over──▶ departs ──▶ released
//!                     └── a login of the player ─┘
//! ```

use super::map::FixedMap;
use crate::time::Nanos;
use crate::units::EntityId;
use std::collections::VecDeque;

/// The entity of one player.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Body {
    pub(super) player: u64,
    /// Who the player is in the world, and where that is published.
    pub(super) entity: EntityId,
    pub(super) seat: u32,
    /// Index of the shard that it is on.
    pub(super) shard: u8,
    /// Sessions that hold it: one plays, others may be about to or about to end.
    sessions: u16,
    /// Until when it stands in the world for a player who may come back. It is not given up while a
    /// session holds it.
    lingers_until: Option<Nanos>,
}

/// An entity that a shard is to remove because nobody came back for it, or has removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Departure {
    pub(super) entity: EntityId,
    pub(super) shard: u8,
    /// `None` if the gate has given it up before.
    pub(super) seat: Option<u32>,
}

/// The entities of all players.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bodies {
    bodies: FixedMap<1, Body>,
    lingering: usize,
    /// Their shards are not told yet, the longest waiting first.
    due: VecDeque<Departure>,
    /// Their shards are told and have not said that they are gone.
    told: Vec<Departure>,
}

impl Bodies {
    /// For `limit` players, those who linger counted.
    pub(super) fn new(limit: usize, seed: [u64; 2]) -> Self {
        Self {
            bodies: FixedMap::new(limit, seed),
            lingering: 0,
            due: VecDeque::with_capacity(limit),
            told: Vec::with_capacity(limit),
        }
    }

    pub(super) fn of(&self, player: u64) -> Option<Body> {
        self.bodies.get(&[player])
    }

    /// Entities that stand in the world without a session.
    pub(super) fn lingering(&self) -> usize {
        self.lingering
    }

    /// Another session of `player` holds the entity it has, or else the `fresh` one on `shard`.
    pub(super) fn hold(&mut self, player: u64, fresh: (EntityId, u32), shard: u8) -> Body {
        let (entity, seat) = fresh;
        let fresh = Body { player, entity, seat, shard, sessions: 0, lingers_until: None };
        let mut body = self.of(player).unwrap_or(fresh);
        body.sessions += 1;
        self.put(body);
        body
    }

    /// A session of `player` has ended and left nothing. Returns the entity if it was the last.
    pub(super) fn closed(&mut self, player: u64) -> Option<Body> {
        let mut body = self.of(player)?;
        body.sessions = body.sessions.saturating_sub(1);
        if body.sessions == 0 && body.lingers_until.is_none() {
            return self.bodies.remove(&[player]);
        }
        self.put(body);
        None
    }

    /// A session of `player` was lost, and its entity stands in the world until `until`.
    pub(super) fn lingers(&mut self, player: u64, until: Nanos) {
        let Some(mut body) = self.of(player) else { return };
        body.sessions = body.sessions.saturating_sub(1);
        self.lingering += usize::from(body.lingers_until.is_none());
        body.lingers_until = Some(until);
        self.put(body);
    }

    /// A session of `player` has proven itself: the entity is its own.
    pub(super) fn claimed(&mut self, player: u64) {
        let Some(mut body) = self.of(player) else { return };
        self.lingering -= usize::from(body.lingers_until.take().is_some());
        self.put(body);
    }

    /// The entity of `player` lives on another shard from now on.
    pub(super) fn moved(&mut self, player: u64, shard: u8) {
        if let Some(body) = self.of(player) {
            self.put(Body { shard, ..body });
        }
    }

    /// Gives up entities that have lingered long enough, among the next `cells` cells.
    pub(super) fn sweep(&mut self, cells: usize, now: Nanos) {
        let (due, lingering) = (&mut self.due, &mut self.lingering);
        self.bodies.sweep(cells, |body| {
            let is_over = body.lingers_until.is_some_and(|until| until <= now);
            if !is_over || body.sessions > 0 {
                return true;
            }
            let Body { entity, seat, shard, .. } = *body;
            due.push_back(Departure { entity, shard, seat: Some(seat) });
            *lingering -= 1;
            false
        });
    }

    /// Cells that a round of [`Self::sweep`] looks at.
    pub(super) fn cells(&self) -> usize {
        self.bodies.cells()
    }

    /// An entity stands on `shard` that the gate has given up before.
    pub(super) fn add_stray(&mut self, entity: EntityId, shard: u8) {
        self.due.push_back(Departure { entity, shard, seat: None });
    }

    /// The next entity that a shard is to be told to remove, if that shard `has_room` for a
    /// message: the index of the shard, and who goes.
    pub(super) fn poll_departure(
        &mut self,
        has_room: impl Fn(u8) -> bool,
    ) -> Option<(u8, EntityId)> {
        let departure = *self.due.front().filter(|next| has_room(next.shard))?;
        self.due.pop_front();
        self.told.push(departure);
        Some((departure.shard, departure.entity))
    }

    /// A shard has removed `entity`, if it was told to.
    pub(super) fn departed(&mut self, entity: EntityId) -> Option<Departure> {
        let place = self.told.iter().position(|departure| departure.entity == entity)?;
        Some(self.told.swap_remove(place))
    }

    /// The shards in `lost` are gone with everybody who lingered there. Calls `release` for what is
    /// no player's any more; what sessions hold is released as they close.
    pub(super) fn lose(&mut self, lost: &[bool], mut release: impl FnMut(Departure)) {
        let is_lost = |shard: u8| lost[usize::from(shard)];
        let (mut gone, mut held) = (Vec::new(), Vec::new());
        self.bodies.sweep(usize::MAX, |body| {
            let lingers = is_lost(body.shard) && body.lingers_until.is_some();
            if lingers {
                (if body.sessions == 0 { &mut gone } else { &mut held }).push(*body);
            }
            !lingers || body.sessions > 0
        });
        self.lingering -= gone.len();
        gone.iter().for_each(|&Body { entity, shard, seat, .. }| {
            release(Departure { entity, shard, seat: Some(seat) });
        });
        held.iter().for_each(|body| self.claimed(body.player));
        let waiting = self.due.iter().chain(&self.told).filter(|it| is_lost(it.shard));
        waiting.for_each(|&departure| release(departure));
        self.due.retain(|it| !is_lost(it.shard));
        self.told.retain(|it| !is_lost(it.shard));
    }

    fn put(&mut self, body: Body) {
        let inserted = self.bodies.insert([body.player], body);
        debug_assert!(inserted.is_ok(), "no more players than sessions and entities that linger");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held() -> (EntityId, u32) {
        (EntityId::from_parts(3, 1), 30)
    }

    #[test]
    fn all_sessions_of_a_player_hold_one_entity_and_the_last_one_gives_it_back() {
        let mut bodies = Bodies::new(4, [1, 2]);
        let first = bodies.hold(7, held(), 1);
        let second = bodies.hold(7, (EntityId::from_parts(9, 9), 90), 0);
        assert_eq!((second.entity, second.seat, second.shard), (first.entity, 30, 1));
        assert_eq!(bodies.closed(7), None, "the other session holds it");
        assert_eq!(bodies.closed(7).map(|body| body.seat), Some(30));
        assert_eq!((bodies.closed(7), bodies.of(7)), (None, None));
    }

    #[test]
    fn an_entity_lingers_until_its_time_is_over_and_longer_while_a_session_holds_it() {
        let mut bodies = Bodies::new(4, [1, 2]);
        bodies.hold(7, held(), 1);
        bodies.lingers(7, Nanos(100));
        assert_eq!(bodies.lingering(), 1);
        bodies.hold(7, held(), 1);
        bodies.sweep(usize::MAX, Nanos(200));
        assert!(bodies.of(7).is_some(), "somebody is about to come back");
        assert_eq!(bodies.closed(7), None, "and did not prove it");
        bodies.sweep(usize::MAX, Nanos(99));
        assert_eq!(bodies.poll_departure(|_| true), None);
        bodies.sweep(usize::MAX, Nanos(100));
        assert_eq!((bodies.of(7), bodies.lingering()), (None, 0));
        assert_eq!(bodies.poll_departure(|_| false), None, "its shard reads no mail");
        assert_eq!(bodies.poll_departure(|shard| shard == 1), Some((1, held().0)));
        let departed = bodies.departed(held().0).expect("it was told to go");
        assert_eq!((departed.shard, departed.seat), (1, Some(30)));
        assert_eq!(bodies.departed(held().0), None, "released once");
    }

    #[test]
    fn who_proved_itself_does_not_linger_any_more() {
        let mut bodies = Bodies::new(4, [1, 2]);
        bodies.hold(7, held(), 1);
        bodies.lingers(7, Nanos(100));
        bodies.hold(7, held(), 1);
        bodies.claimed(7);
        bodies.sweep(usize::MAX, Nanos(200));
        assert_eq!((bodies.lingering(), bodies.closed(7).map(|body| body.seat)), (0, Some(30)));
    }

    #[test]
    fn a_lost_shard_takes_those_who_lingered_there_and_nobody_else() {
        let mut bodies = Bodies::new(8, [1, 2]);
        for player in 0..6_u32 {
            let shard = (player % 2) as u8;
            bodies.hold(player.into(), (EntityId::from_parts(player, 1), player), shard);
            bodies.lingers(player.into(), Nanos(100 + u64::from(player)));
        }
        // 5 is about to be played again; 1 has been given up, and its shard is told; 3 not yet.
        bodies.hold(5, held(), 1);
        bodies.sweep(usize::MAX, Nanos(103));
        while bodies.poll_departure(|shard| shard == 0).is_some() {}
        let mut released = Vec::new();
        bodies.lose(&[false, true], |departure| released.push(departure.seat));
        released.sort_unstable();
        assert_eq!(released, [Some(1), Some(3)]);
        assert_eq!((bodies.of(3), bodies.lingering()), (None, 1));
        assert_eq!(bodies.closed(5).map(|body| body.seat), Some(5), "released as it closes");
        assert!(bodies.of(4).is_some());
    }
}
