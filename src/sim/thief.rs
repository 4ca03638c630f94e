//! A thief of resume tickets: copies one of a player who is in the world, waits until the player
//! has joined anew, and tries to come back in his place, from an address of its own.
//!
//! The ticket is that of a session which the player's newest one has made worthless. Called by
//! `universe` like the hostile peers.

use super::checks::Verdict;
use super::dice::Dice;
use super::hostile::Attempt;
use super::player::Player;
use crate::client::Ticket;
use crate::time::Nanos;
use std::net::{Ipv4Addr, SocketAddr};

const CHECK: &str = "a ticket is worth nothing once its owner has joined anew";
/// How long it tries.
const PATIENCE: Nanos = Nanos::from_ms(4_000);

/// What it has copied: whose, in which of his logins, and at which server.
struct Loot {
    ticket: Ticket,
    owner: usize,
    login: u64,
    server: usize,
}

/// What it does with it, until it gives up.
struct Break {
    attempt: Attempt,
    server: usize,
    until: Nanos,
}

/// See the module.
pub(crate) struct Thief {
    pub(crate) address: SocketAddr,
    dice: Dice,
    loot: Option<Loot>,
    deed: Option<Break>,
    pub(crate) has_heard: bool,
    /// Attempts that were refused, the ticket being used.
    pub(crate) refused: u64,
}

impl Thief {
    pub(crate) fn new(dice: Dice) -> Self {
        let address = SocketAddr::from((Ipv4Addr::new(10, 77, 0, 1), 7_000));
        Self { address, dice, loot: None, deed: None, has_heard: false, refused: 0 }
    }

    /// Looks for something to steal, or whether what it has can be used by now.
    pub(crate) fn look_around(&mut self, now: Nanos, players: &[Player]) {
        if self.deed.as_ref().is_some_and(|deed| now >= deed.until) {
            self.deed = None;
        }
        let Some(loot) = &self.loot else {
            let owner = self.dice.below(players.len() as u64) as usize;
            let copied = players[owner].resume_ticket();
            self.loot = copied.map(|(ticket, server)| {
                let login = players[owner].tally.logins;
                Loot { ticket, owner, login, server }
            });
            return;
        };
        let owner = &players[loot.owner];
        // That he has a ticket again shows that the gate knows of his newer session.
        let Some((newer, server)) = owner.resume_ticket().filter(|_| self.deed.is_none()) else {
            return;
        };
        if server == loot.server && owner.tally.logins == loot.login {
            return;
        }
        let Some(Loot { ticket, .. }) = self.loot.take().filter(|loot| loot.server == server)
        else {
            return;
        };
        debug_assert_ne!(newer.psk, ticket.psk, "of another session");
        if let Some(attempt) = Attempt::new(&ticket, &mut self.dice) {
            self.deed = Some(Break { attempt, server, until: now.plus(PATIENCE) });
        }
    }

    /// What it sends, if that is due.
    pub(crate) fn act(&mut self, now: Nanos) -> Option<Vec<u8>> {
        self.deed.as_mut()?.attempt.poll(now)
    }

    /// A datagram of the `server` with this number has come.
    pub(crate) fn handle(&mut self, datagram: &[u8], server: usize) -> Verdict {
        self.has_heard = true;
        let Some(deed) = &mut self.deed else { return Ok(()) };
        if deed.attempt.is_refused_as_used(datagram) {
            self.refused += 1;
            self.deed = None;
            return Ok(());
        }
        if deed.attempt.handle(datagram).is_some() && server == deed.server {
            return Err((CHECK, "a thief came back in the place of its owner".to_owned()));
        }
        Ok(())
    }
}
