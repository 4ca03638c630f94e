//! Reliable channels, end to end: what is given to one side comes out of the other, byte by byte,
//! each once, those of channel 1 in order; and after the storm nothing is missing.
//!
//! A letter says whose it is, in which of his sessions it was given and which of them it is; the
//! rest follows from that, so nothing needs to be kept to know it again. What a session had not
//! delivered when it ended is lost, which only the sender's side can tell: letters to the server
//! name the session, and in one they begin with 0 and have no gap. Those to a client go on
//! counting; in one session they have no gap, and from one to the next they go on upwards.

use super::Verdict;
use crate::sim::dice::Dice;
use crate::time::Entropy;
use crate::wire::Channel;
use std::collections::{BTreeMap, BTreeSet};

pub(crate) const CHECK: &str = "reliable messages in order and exactly once";
const CALM: &str = "reliable messages all arrive";
/// Bytes of player, session, number, way, style.
pub(crate) const HEAD_LEN: usize = 20;

/// Where letters go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum To {
    Server,
    Client,
}

/// Letters of one player: whose, which way, on which channel.
type Address = (u64, To, u8);

/// What was given to one side, and what came out of the other.
#[derive(Debug, Default)]
struct Stream {
    /// The session in which letters are given and taken at present.
    session: u32,
    /// Letters given; to a server, in that session.
    given: u32,
    /// The last number that came out on channel 1, and the session that it came out in.
    last: Option<(u32, u32)>,
    /// All that came out on channel 2, by session.
    out: BTreeSet<(u32, u32)>,
    /// From here on nothing may be missing, if the session is still the same.
    since: Option<(u32, u32)>,
}

/// All letters.
#[derive(Debug, Default)]
pub(crate) struct Letters {
    streams: BTreeMap<Address, Stream>,
    /// Letters that came out, and the longest.
    pub(crate) delivered: u64,
    pub(crate) longest: usize,
}

/// The letter with this number: 20 bytes of head, then what anybody can make anew from them.
fn letter(
    player: u64,
    session: u32,
    number: u32,
    (to, channel): (To, u8),
    length: usize,
) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length.max(HEAD_LEN));
    bytes.extend(player.to_le_bytes());
    bytes.extend(session.to_le_bytes());
    bytes.extend(number.to_le_bytes());
    bytes.extend([to as u8, channel, 0, 0]);
    let mut dice = Dice::new(player ^ u64::from(session) << 40, u64::from(number) + 77);
    // Every other one is dull, so that it becomes shorter under compression.
    let fill = bytes.len()..length.max(HEAD_LEN);
    if number.is_multiple_of(2) {
        bytes.extend(fill.map(|at| (at / 100) as u8));
    } else {
        bytes.resize(fill.end, 0);
        dice.fill(&mut bytes[HEAD_LEN..]);
    }
    bytes
}

impl Letters {
    /// The next letter of `player`, in his session number `session`, for a reliable `channel`.
    pub(crate) fn write(
        &mut self,
        (player, session): (u64, u32),
        to: To,
        channel: Channel,
        length: usize,
    ) -> Vec<u8> {
        let stream = self.streams.entry((player, to, channel as u8)).or_default();
        if stream.session != session {
            stream.session = session;
            // A server counts on: it is not told when a session begins.
            stream.given = if to == To::Server { 0 } else { stream.given };
        }
        letter(player, session_of(to, session), stream.given, (to, channel as u8), length)
    }

    /// That letter was taken over for delivery.
    pub(crate) fn given(&mut self, player: u64, to: To, channel: Channel) {
        self.streams.entry((player, to, channel as u8)).or_default().given += 1;
    }

    /// A letter came out at its end: at the server, from `player`; or at the client of `player`, in
    /// its session number `session`.
    pub(crate) fn arrived(
        &mut self,
        player: u64,
        session: Option<u32>,
        channel: Channel,
        body: &[u8],
    ) -> Verdict {
        let wrong = |what: String| Err((CHECK, format!("player {player}, {channel:?}: {what}")));
        let to = if session.is_some() { To::Client } else { To::Server };
        let Some((head, _)) = body.split_first_chunk::<HEAD_LEN>() else {
            return wrong(format!("{} bytes that nobody gave", body.len()));
        };
        let word = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|byte| head[at + byte]));
        let (named, number) = (word(8), word(12));
        let expected = letter(player, named, number, (to, channel as u8), body.len());
        if let Some(at) = (0..body.len()).find(|&at| expected[at] != body[at]) {
            let of = format!("number {number} of session {named} to {to:?}");
            return wrong(format!("{of}, {} bytes, is another's or changed at {at}", body.len()));
        }
        let stream = self.streams.entry((player, to, channel as u8)).or_default();
        if named == session_of(to, stream.session) && number >= stream.given {
            return wrong(format!("number {number} came out and was not given"));
        }
        // The session that it came out in.
        let session = session.unwrap_or(named);
        if channel == Channel::ReliableOrdered {
            let is_next = match stream.last {
                Some((before, last)) if before == session => number == last + 1,
                Some((_, last)) if to == To::Client => number > last,
                Some((before, _)) => before < session && number == 0,
                None => to == To::Client || number == 0,
            };
            if !is_next {
                let what = format!("number {number} of session {session}");
                return wrong(format!("{what} after {:?}", stream.last));
            }
            stream.last = Some((session, number));
        } else if !stream.out.insert((session_of(to, session), number)) {
            return wrong(format!("number {number} came out twice"));
        }
        self.delivered += 1;
        self.longest = self.longest.max(body.len());
        Ok(())
    }

    /// Whether everything that was given in this session, or since this was asked for the first
    /// time in it, has come out.
    pub(crate) fn all_there(&mut self, player: u64, session: u32) -> Verdict {
        for to in [To::Server, To::Client] {
            for channel in [Channel::ReliableOrdered, Channel::ReliableUnordered] {
                let Some(stream) = self.streams.get_mut(&(player, to, channel as u8)) else {
                    continue;
                };
                let since = match stream.since {
                    Some((begun, number)) if begun == session => number,
                    _ if to == To::Server => 0,
                    _ => stream.given,
                };
                stream.since = Some((session, since));
                if to == To::Server && stream.session != session {
                    continue;
                }
                let is_there = |number: u32| match channel {
                    Channel::ReliableOrdered => stream.last.is_some_and(|(in_session, last)| {
                        last >= number && (to == To::Client || in_session == session)
                    }),
                    _ => stream.out.contains(&(session_of(to, session), number)),
                };
                if let Some(number) = (since..stream.given).find(|&number| !is_there(number)) {
                    let what = format!("number {number} of {} to {to:?}", stream.given);
                    return Err((CALM, format!("player {player}, {channel:?}: {what}")));
                }
            }
        }
        Ok(())
    }
}

/// The session that a letter names: those to clients name none.
fn session_of(to: To, session: u32) -> u32 {
    if to == To::Server { session } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDERED: Channel = Channel::ReliableOrdered;
    const UNORDERED: Channel = Channel::ReliableUnordered;

    /// Gives a few letters in session 1 and one in session 2.
    fn given(to: To, channel: Channel) -> (Letters, Vec<Vec<u8>>) {
        let mut letters = Letters::default();
        let sessions = [1, 1, 1, 1, 2];
        let written = sessions.map(|session| {
            let bytes = letters.write((7, session), to, channel, 300);
            letters.given(7, to, channel);
            bytes
        });
        (letters, written.into())
    }

    fn arrives(letters: &mut Letters, session: Option<u32>, channel: Channel, body: &[u8]) -> bool {
        letters.arrived(7, session, channel, body).is_ok()
    }

    #[test]
    fn a_letter_that_overtakes_another_or_comes_twice_is_found() {
        for (to, session) in [(To::Server, None), (To::Client, Some(1))] {
            let (mut letters, all) = given(to, ORDERED);
            assert!(arrives(&mut letters, session, ORDERED, &all[0]));
            assert!(!arrives(&mut letters, session, ORDERED, &all[0]), "twice");
            assert!(!arrives(&mut letters, session, ORDERED, &all[2]), "before number 1");
            assert!(arrives(&mut letters, session, ORDERED, &all[1]));
            let (mut letters, all) = given(to, UNORDERED);
            assert!(arrives(&mut letters, session, UNORDERED, &all[2]));
            assert!(arrives(&mut letters, session, UNORDERED, &all[0]));
            assert!(!arrives(&mut letters, session, UNORDERED, &all[2]), "twice");
        }
    }

    #[test]
    fn a_new_session_begins_anew_and_the_old_one_is_over() {
        let (mut letters, all) = given(To::Server, ORDERED);
        assert!(arrives(&mut letters, None, ORDERED, &all[0]));
        assert!(arrives(&mut letters, None, ORDERED, &all[4]), "the first of session 2");
        assert!(!arrives(&mut letters, None, ORDERED, &all[1]), "from a session that is over");
        let (mut letters, all) = given(To::Client, ORDERED);
        assert!(arrives(&mut letters, Some(1), ORDERED, &all[1]));
        assert!(arrives(&mut letters, Some(2), ORDERED, &all[4]));
        assert!(!arrives(&mut letters, Some(3), ORDERED, &all[3]), "given before, told later");
    }

    #[test]
    fn what_is_another_s_or_not_what_was_given_is_found() {
        let (mut letters, mut all) = given(To::Server, UNORDERED);
        assert!(!arrives(&mut letters, None, ORDERED, &all[0]), "another channel");
        assert!(!arrives(&mut letters, Some(1), UNORDERED, &all[0]), "it was for the server");
        assert!(letters.arrived(8, None, UNORDERED, &all[0]).is_err(), "another's");
        all[1][200] ^= 1;
        assert!(!arrives(&mut letters, None, UNORDERED, &all[1]));
        assert!(!arrives(&mut letters, None, UNORDERED, &all[0][..10]));
        let never = letter(7, 2, 1, (To::Server, UNORDERED as u8), 99);
        assert!(!arrives(&mut letters, None, UNORDERED, &never), "not given yet");
    }

    #[test]
    fn a_letter_that_never_comes_is_missed() {
        for (to, session) in [(To::Server, None), (To::Client, Some(2))] {
            for channel in [ORDERED, UNORDERED] {
                let (mut letters, all) = given(to, channel);
                assert_eq!(letters.all_there(7, 2).is_err(), to == To::Server);
                assert_eq!(letters.all_there(9, 1), Ok(()), "he has none");
                assert!(arrives(&mut letters, session, channel, &all[4]));
                assert_eq!(letters.all_there(7, 2), Ok(()));
                letters.write((7, 2), to, channel, 50);
                letters.given(7, to, channel);
                assert!(letters.all_there(7, 2).is_err());
            }
        }
    }
}
