//! Whose resume tickets are good: those of the newest session of each player that has proven
//! itself, and of no other.
//!
//! Owns: per player the id of those tickets, as long as the session lives and then until none of
//! them can be good any more. So whoever comes later, with a ticket or without, makes all earlier
//! tickets of the player worthless, however the sessions before ended. Of players it knows nothing
//! about (a server that was started anew) it lets pass every ticket. Called by the gate alone.

use super::map::FixedMap;
use super::tickets::FORGET_S;
use crate::metrics::DropReason;

/// The entry of a session that lives.
const WHILE_IT_LIVES: u64 = u64::MAX;

/// What is known of one player.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Newest {
    /// Id of all tickets of the player's newest session; `None` if they are worth nothing.
    ticket: Option<[u8; 16]>,
    /// Unix seconds after which the entry is not needed.
    until_s: u64,
}

/// The tickets of all players that are good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ValidTickets {
    players: FixedMap<1, Newest>,
    /// Entries of sessions that have ended, and at most.
    ended: usize,
    limit: usize,
    /// Until then an entry may be missing that there was no room for.
    blind_until_s: u64,
}

impl ValidTickets {
    /// For `sessions` sessions that live and `limit` that have ended.
    pub(super) fn new(sessions: usize, limit: usize, seed: [u64; 2]) -> Self {
        let players = FixedMap::new(sessions + limit, seed);
        Self { players, ended: 0, limit, blind_until_s: 0 }
    }

    /// Whether a ticket with this id still brings `player` back. Changes nothing.
    pub(super) fn check(&self, player: u64, id: &[u8; 16], unix_s: u64) -> Result<(), DropReason> {
        let is_good = match self.players.get(&[player]) {
            Some(newest) => newest.ticket == Some(*id),
            // Who was forgotten for want of room may have had a newer one.
            None => unix_s > self.blind_until_s,
        };
        if is_good { Ok(()) } else { Err(DropReason::TokenReplayed) }
    }

    /// A session of `player` has proven itself, all of whose tickets have this id.
    pub(super) fn confirmed(&mut self, player: u64, id: [u8; 16]) {
        let had_ended = self.players.get(&[player]).is_some_and(|it| it.until_s < WHILE_IT_LIVES);
        self.ended -= usize::from(had_ended);
        self.put(player, Newest { ticket: Some(id), until_s: WHILE_IT_LIVES });
    }

    /// The session of `player` whose tickets have this id has ended. They stay good only if the
    /// player `may_return`; nothing changes if a newer session has proven itself.
    pub(super) fn ended(&mut self, player: u64, id: [u8; 16], may_return: bool, unix_s: u64) {
        let newest = Newest { ticket: Some(id), until_s: WHILE_IT_LIVES };
        if self.players.get(&[player]) != Some(newest) {
            return;
        }
        let until_s = unix_s + FORGET_S;
        if self.ended == self.limit {
            self.players.remove(&[player]);
            self.blind_until_s = until_s;
            return;
        }
        self.ended += 1;
        self.put(player, Newest { ticket: may_return.then_some(id), until_s });
    }

    /// Forgets, among the next `cells` cells, whom no ticket can bring back any more.
    pub(super) fn sweep(&mut self, cells: usize, unix_s: u64) {
        let ended = &mut self.ended;
        self.players.sweep(cells, |newest| {
            let is_needed = newest.until_s >= unix_s;
            *ended -= usize::from(!is_needed);
            is_needed
        });
    }

    fn put(&mut self, player: u64, newest: Newest) {
        let inserted = self.players.insert([player], newest);
        debug_assert!(inserted.is_ok(), "a living session each, and no more ended ones than fit");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: [u8; 16] = [1; 16];
    const NEW: [u8; 16] = [2; 16];

    fn refused(valid: &ValidTickets, player: u64, id: &[u8; 16], unix_s: u64) -> bool {
        valid.check(player, id, unix_s) == Err(DropReason::TokenReplayed)
    }

    #[test]
    fn a_newer_session_ends_the_tickets_of_all_before_however_those_ended() {
        for (may_return, is_first) in [(true, true), (true, false), (false, true)] {
            let mut valid = ValidTickets::new(2, 2, [1, 2]);
            valid.confirmed(7, OLD);
            assert_eq!(valid.check(7, &OLD, 100), Ok(()));
            if is_first {
                valid.ended(7, OLD, may_return, 100);
                assert_eq!(refused(&valid, 7, &OLD, 100), !may_return);
            }
            valid.confirmed(7, NEW);
            valid.ended(7, OLD, may_return, 101);
            assert!(refused(&valid, 7, &OLD, 101), "{may_return} {is_first}");
            assert_eq!(valid.check(7, &NEW, 101), Ok(()));
            valid.sweep(usize::MAX, 1_000_000);
            assert!(refused(&valid, 7, &OLD, 1_000_000), "as long as the newer one lives");
            assert_eq!(valid.ended, 0);
        }
    }

    #[test]
    fn who_has_ended_is_remembered_until_his_last_ticket_has_expired() {
        let mut valid = ValidTickets::new(2, 2, [1, 2]);
        valid.confirmed(7, NEW);
        valid.ended(7, NEW, true, 100);
        valid.sweep(usize::MAX, 100 + FORGET_S);
        assert!(refused(&valid, 7, &OLD, 100 + FORGET_S));
        assert_eq!(valid.check(7, &NEW, 100 + FORGET_S), Ok(()));
        valid.sweep(usize::MAX, 101 + FORGET_S);
        assert_eq!((valid.players.len(), valid.ended), (0, 0));
    }

    #[test]
    fn who_is_forgotten_for_want_of_room_does_not_come_back_with_an_old_ticket() {
        let mut valid = ValidTickets::new(3, 1, [1, 2]);
        for player in 7..10 {
            valid.confirmed(player, NEW);
            valid.ended(player, NEW, true, 100);
        }
        assert_eq!(valid.check(7, &NEW, 100), Ok(()), "there was room for one");
        assert!(refused(&valid, 8, &OLD, 100) && refused(&valid, 9, &NEW, 100));
        assert!(refused(&valid, 10, &OLD, 100 + FORGET_S), "it might be anybody");
        assert_eq!(valid.check(10, &OLD, 101 + FORGET_S), Ok(()));
        valid.confirmed(8, NEW);
        assert_eq!(valid.check(8, &NEW, 100), Ok(()), "who lives is known");
    }
}
