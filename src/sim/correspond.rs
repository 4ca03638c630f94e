//! What players and the game give each other that must arrive: at the rate of the plan, of all
//! lengths up to the longest there is, on both reliable channels.
//!
//! The game writes to hostile peers, too, so that those who take nothing have something to refuse.
//! Called by `universe` once per tick.

use super::checks::{LETTER_HEAD_LEN, LETTERS, To, Verdict};
use super::sometimes;
use super::universe::Universe;
use crate::client::SendError;
use crate::limits::{MESSAGE_MAX_TO_CLIENT, MESSAGE_MAX_TO_SERVER};
use crate::wire::{Channel, RELIABLE_HEAD_LEN};

/// Ticks between two messages of the game to a hostile peer.
const TO_HOSTILE: u64 = 8;

impl Universe {
    /// Everybody writes what he has to say, and reads what has come.
    pub(super) fn correspond(&mut self) -> Verdict {
        for number in 0..self.players.len() {
            if self.writes {
                self.write_up(number)?;
                self.write_down(number)?;
            }
            self.read(number)?;
        }
        self.write_to_hostile();
        Ok(())
    }

    /// Whether and what one side writes now: the channel, and how long the message is.
    fn draft(&mut self, most: usize) -> Option<(Channel, usize)> {
        let every = self.plan.letter_every;
        let (is_time, dice) = (self.pen.once_in(every), &mut self.pen);
        let channel = dice.pick(&[Channel::ReliableOrdered, Channel::ReliableUnordered]);
        let most = most - RELIABLE_HEAD_LEN;
        let length = match dice.below(100) {
            0..60 => dice.between(LETTER_HEAD_LEN as u64, 200),
            60..85 => dice.between(200, 1_500),
            85..98 => dice.between(1_500, 8_000),
            _ => dice.between(most as u64 / 2, most as u64),
        };
        is_time.then_some((channel, length as usize))
    }

    fn write_up(&mut self, number: usize) -> Verdict {
        let Some((channel, length)) = self.draft(MESSAGE_MAX_TO_SERVER) else { return Ok(()) };
        let now = self.clock.now();
        let player = &mut self.players[number];
        let whose = (player.number, player.tally.logins as u32);
        let body = self.letters.write(whose, To::Server, channel, length);
        let result = player.write(now, channel, &body);
        self.note_written(whose.0, To::Server, channel, result)
    }

    fn write_down(&mut self, number: usize) -> Verdict {
        let Some((channel, length)) = self.draft(MESSAGE_MAX_TO_CLIENT) else { return Ok(()) };
        let player = &self.players[number];
        let whose = (player.number, player.tally.logins as u32);
        // What it was told by a server that is gone may be somebody else's name by now.
        let entity = player.entity().filter(|id| self.bodies.get(id) == Some(&whose.0));
        let (Some(entity), Some(host)) = (entity, &mut self.host) else { return Ok(()) };
        let body = self.letters.write(whose, To::Client, channel, length);
        let result = host.write(entity, channel, &body);
        self.note_written(whose.0, To::Client, channel, result)
    }

    fn note_written(
        &mut self,
        player: u64,
        to: To,
        channel: Channel,
        result: Result<u16, SendError>,
    ) -> Verdict {
        match result {
            Ok(_) => self.letters.given(player, to, channel),
            Err(SendError::Window) => self.sometimes.note(sometimes::WINDOW_FULL, 1),
            // There is no session at present, or it has no room yet.
            Err(SendError::NoSession | SendError::Opening | SendError::NoMemory) => {}
            Err(error @ (SendError::TooLong | SendError::NotAllowed)) => {
                let what = format!("player {player}, to {to:?} on {channel:?}: {error}");
                return Err(("every message that keeps the rules is taken", what));
            }
        }
        Ok(())
    }

    /// The player reads, unless it is busy; what it does not read makes the server wait.
    fn read(&mut self, number: usize) -> Verdict {
        if self.is_storm && self.pen.percent(10) {
            return Ok(());
        }
        let player = &mut self.players[number];
        while let Some((channel, body)) = player.read() {
            let session = Some(player.tally.logins as u32);
            self.letters.arrived(player.number, session, channel, &body)?;
        }
        Ok(())
    }

    /// The game reads what its players have sent.
    pub(super) fn read_letters(&mut self) -> Verdict {
        let Some(host) = &mut self.host else { return Ok(()) };
        for (entity, channel, body) in host.take_letters() {
            let Some(&player) = self.bodies.get(&entity) else {
                return Err((LETTERS, format!("a message from {entity:?}, which is nobody's")));
            };
            // Hostile peers say what they like.
            if player <= self.players.len() as u64 {
                self.letters.arrived(player, None, channel, &body)?;
            }
        }
        Ok(())
    }

    fn write_to_hostile(&mut self) {
        let Some(host) = &mut self.host else { return };
        if !self.tick.is_multiple_of(TO_HOSTILE) {
            return;
        }
        for hostile in self.hostile.iter().filter(|it| it.is_written_to()) {
            let whose = self.bodies.iter().rev().find(|(_, player)| **player == hostile.number);
            if let Some((&entity, _)) = whose {
                // That it cannot be told is what it is here for.
                let result = host.write(entity, Channel::ReliableOrdered, &[7; 400]);
                let is_full = result == Err(SendError::Window);
                self.sometimes.note(sometimes::WINDOW_FULL, is_full.into());
            }
        }
    }

    /// Whether everything that must arrive has arrived.
    pub(super) fn letters_there(&mut self) -> Verdict {
        let letters = &mut self.letters;
        self.players[..self.plan.staying()]
            .iter()
            .try_for_each(|player| letters.all_there(player.number, player.tally.logins as u32))
    }
}
