//! What must happen sometimes. A simulation that holds everything because nothing happens proves
//! nothing: each of these conditions must come about at least once in a night.

use crate::limits::REPLAY_WINDOW_SERVER;
use crate::wire::{ConnectionId, Flags, Header};
use std::collections::BTreeMap;

/// Conditions and how often each came about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sometimes(BTreeMap<&'static str, u64>);

macro_rules! conditions {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        $($(#[$doc])* pub(crate) const $name: &str = $text;)*

        impl Sometimes {
            /// All conditions there are.
            pub const ALL: &'static [&'static str] = &[$($text,)*];
        }
    };
}

conditions! {
    /// A client was told the id of its session on another shard.
    MOVED = "a player is handed over",
    /// A session ended by silence.
    TIMED_OUT = "a client hears nothing for 15 s",
    /// A shard was lost and replaced.
    SHARD_LOST = "a shard is lost",
    /// Its players were told.
    FAREWELL = "a player is told that its shard is lost",
    /// A shard woke up after it had been replaced.
    GHOST = "a shard stands still and is replaced",
    /// The server ended and began anew.
    RESTARTED = "the server restarts",
    /// All shards were given up.
    GAVE_UP = "the server gives up",
    /// The schedule was moved because shards were too late.
    SHIFTED = "the schedule moves",
    /// Somebody joined while the network was at its worst.
    JOINED_IN_STORM = "somebody joins in the storm",
    /// A packet came that had come before.
    REPLAYED = "the server drops a replay",
    /// A packet was changed on the way.
    SPOILT = "the server drops what does not open",
    /// A packet came from an address that was not its session's.
    FOREIGN = "a packet comes from a foreign address",
    /// There was no room for another player.
    FULL = "the server is full",
    /// Every place for an entity was taken when somebody was asked to go to another shard.
    FULL_MOVING = "a player is handed over in a full world",
    /// A token from before the start of the server was refused.
    BEFORE_BOOT = "a token is older than the server",
    /// A token had been used from another address.
    TOKEN_USED = "a token is used from two addresses",
    /// A cookie was too old or another's.
    COOKIE = "a cookie does not fit",
    /// More handshakes from one address than its limit.
    LIMITED = "handshakes from one address are limited",
    /// A session was ended for violations.
    VIOLATION = "a session is ended for violations",
    /// Acknowledgment of what was never sent.
    FALSE_ACK = "somebody acknowledges what was never sent",
    /// More inputs than one per tick.
    INPUT_RATE = "inputs come too fast",
    /// More packets than allowed.
    PACKET_RATE = "packets come too fast",
    /// Shards handed datagrams on.
    FORWARDED = "a datagram is handed on",
    /// A client got a snapshot that was older than its newest.
    STALE = "a snapshot comes late",
    /// A peer that counts got answers.
    AUDITED = "a Ping with a nonce of its own is answered",
    /// A session took over from an older one of the same player.
    REPLACED = "a login replaces another",
    /// A path lost all that was large.
    SWALLOWED = "a path swallows what is large",
    /// A path was cut.
    CUT = "a path is cut",
    /// A path was clogged.
    CLOGGED = "a path is clogged",
    /// A client's address changed while it played.
    ADDRESS_CHANGED = "an address changes",
    /// The gate ended, and its shards after it.
    GATE_LOST = "the gate ends and its shards say goodbye",
    /// A player came back with the ticket of the session that he had lost.
    RESUMED = "a player comes back with a ticket",
    /// And got the entity that he had.
    FOUND_AGAIN = "a player who comes back finds his entity",
    /// And from another address than the one at which he was lost.
    RESUMED_ELSEWHERE = "a player comes back from another address",
    /// And while at least four others were joining.
    RESUMED_IN_STORM = "a player comes back while many join",
    /// A ticket that was good before is refused.
    TICKET_USED = "a ticket is used a second time",
    /// Nobody came back in time.
    LINGER_EXPIRED = "an entity without a player is given up",
    /// A session turned to the next epoch on the client's side.
    REKEYED = "a session gets new keys",
    /// An address changed between a client's answer and the turn.
    REKEYED_ELSEWHERE = "an address changes during a rekey",
    /// The session got another id between a client's answer and the turn.
    REKEYED_MOVING = "a player is handed over during a rekey",
    /// A packet of an epoch long past came.
    EPOCH = "a packet comes under keys of the past",
    /// A client that did not answer a RekeyRequest was disconnected.
    REKEY_REFUSED = "who refuses new keys is ended",
    /// Bytes for the game, or from it, arrived.
    DELIVERED = "a reliable message arrives",
    /// Nearly as long as there are any.
    LONGEST = "a reliable message of more than 60 KiB arrives",
    /// A packet with a part of a message left the server, or came to it.
    PART = "a message goes in parts",
    /// A compressed packet left the server.
    COMPRESSED = "a message goes compressed",
    /// As much was under way as the other side takes.
    WINDOW_FULL = "the window of reliable messages is full",
    /// A session ended because a message could not be delivered, or one was never completed.
    UNDELIVERED = "a session ends for what cannot be delivered",
    /// A packet came that was too old for the window of its session.
    TOO_OLD = "a packet is too old for the window",
    /// A player joined anew before the server could have heard its goodbye.
    CHANGED_MIND = "a player joins anew within 5 ms of his goodbye",
    /// A ticket of a session that another one of its player came after was refused to a thief.
    STOLEN = "a stolen ticket is refused, its owner having joined anew",
    /// The order came at most three ticks after the player was asked to go to another shard.
    BANNED_MOVING = "a player is banned while he is handed over",
    /// His client was told.
    BANNED = "a player is told that he is banned",
    /// No token could be remembered any more.
    TOKENS_FULL = "the table of tokens is full",
}

impl Sometimes {
    /// It came about, so many times.
    pub(crate) fn note(&mut self, condition: &'static str, times: u64) {
        if times > 0 {
            *self.0.entry(condition).or_default() += times;
        }
    }

    /// Looks at what comes to the server; `newest` are the sequences by session.
    pub(crate) fn look_up(&mut self, newest: &mut BTreeMap<ConnectionId, u64>, bytes: &[u8]) {
        let Ok(header) = Header::read(bytes) else { return };
        if header.connection == ConnectionId::GATE {
            return;
        }
        let newest = newest.entry(header.connection).or_insert(header.sequence);
        let is_old = header.sequence + REPLAY_WINDOW_SERVER as u64 <= *newest;
        self.note(TOO_OLD, is_old.into());
        // Nobody honest leaps; what somebody made up must not count.
        if header.sequence < *newest + 1_000 {
            *newest = (*newest).max(header.sequence);
        }
        self.note(PART, header.flags.contains(Flags::FRAGMENT).into());
    }

    /// Looks at what the server sends.
    pub(crate) fn look_down(&mut self, bytes: &[u8]) {
        let Ok(header) = Header::read(bytes) else { return };
        self.note(PART, header.flags.contains(Flags::FRAGMENT).into());
        self.note(COMPRESSED, header.flags.contains(Flags::COMPRESSED).into());
    }

    /// Adds what another run saw.
    pub fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|(condition, &times)| self.note(condition, times));
    }

    /// How often a condition came about.
    pub fn count(&self, condition: &str) -> u64 {
        self.0.get(condition).copied().unwrap_or_default()
    }

    /// The conditions that never came about.
    pub fn missing(&self) -> Vec<&'static str> {
        Self::ALL.iter().copied().filter(|condition| self.count(condition) == 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_happened_is_missing_until_one_run_of_many_saw_it() {
        let mut all = Sometimes::default();
        assert_eq!(all.missing().len(), Sometimes::ALL.len());
        let mut one = Sometimes::default();
        one.note(MOVED, 3);
        one.note(CUT, 0);
        all.merge(&one);
        all.merge(&one);
        assert_eq!((all.count(MOVED), all.count(CUT)), (6, 0));
        assert!(!all.missing().contains(&MOVED) && all.missing().contains(&CUT));
    }
}
