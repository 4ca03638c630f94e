//! What shards and the operator say about players: offences, bans, their end.
//!
//! Nobody is judged here by what arrives at the gate: a shard reports what opened under a session's
//! keys, and the operator says who. Called by the thread of socket 0.

use super::Gate;
use super::cooldown::CoolDown;
use crate::metrics::{Counter, Counters};
use crate::time::Nanos;
use crate::wire::ConnectionId;

impl Gate {
    /// The shard of `id` has ended it for violations, and is about to report it closed: the account
    /// cools down. Returns the player's other sessions, which their shards are to end.
    pub fn violated(
        &mut self,
        id: ConnectionId,
        now: Nanos,
        counters: &Counters,
    ) -> [Option<ConnectionId>; 2] {
        let Some(player) = self.sessions.session_mut(id).map(|session| session.player) else {
            return [None; 2];
        };
        match self.cool_downs.offend(player, now) {
            Ok(Nanos(0)) => return [None; 2],
            Ok(_) => counters.add(Counter::CoolDowns, 1),
            Err(_) => counters.add(Counter::CoolDownsLost, 1),
        }
        self.sessions.all_of(player).map(|other| other.filter(|&other| other != id))
    }

    /// `player` may not play for `seconds`, or for good. Returns its sessions, which their shards
    /// are to end.
    ///
    /// # Errors
    /// The table is full of accounts that may not play; nothing has changed.
    pub fn ban(
        &mut self,
        player: u64,
        seconds: Option<u32>,
        now: Nanos,
    ) -> Result<[Option<ConnectionId>; 2], TooManyBans> {
        self.cool_downs.ban(player, seconds, now).map_err(|_| TooManyBans)?;
        Ok(self.sessions.all_of(player))
    }

    /// `player` may play again, and what it did is forgotten. Tells whether it might not.
    pub fn lift(&mut self, player: u64, now: Nanos) -> bool {
        self.cool_downs.lift(player, now)
    }

    /// Players that may not play, at most `most`, and how many they are in all.
    pub fn cool_downs(&self, most: usize, now: Nanos) -> (Vec<CoolDown>, usize) {
        self.cool_downs.list(most, now)
    }
}

/// No room for another account that may not play.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyBans;
