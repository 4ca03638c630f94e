//! The answers to accepted handshakes whose sessions are not confirmed yet.
//!
//! An answer that was lost must be given again byte by byte: another one would be another session.
//! Kept until the session confirms or closes; their number is the limit of unconfirmed sessions.

use super::map::{FixedMap, words};
use crate::wire::ACCEPTED_LEN;

/// One accepted handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// The client's ephemeral key, under which it is found.
    pub(super) client_ephemeral: [u8; 32],
    /// Hash of everything the client's Noise message binds.
    pub(super) fingerprint: u64,
    /// The token it used.
    pub(super) token_id: [u8; 16],
    /// The packet, not a secret.
    pub(super) packet: [u8; ACCEPTED_LEN],
}

/// Place of an answer.
pub(super) type Place = u16;

/// At most `limit` answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answers {
    places: FixedMap<4, Place>,
    answers: Vec<Option<Answer>>,
    free: Vec<Place>,
}

impl Answers {
    pub(super) fn new(limit: u16, seed: [u64; 2]) -> Self {
        Self {
            places: FixedMap::new(usize::from(limit), seed),
            answers: vec![None; usize::from(limit)],
            free: (0..limit).rev().collect(),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.free.is_empty()
    }

    pub(super) fn find(&self, client_ephemeral: &[u8; 32]) -> Option<&Answer> {
        let place = self.places.get(&words(client_ephemeral))?;
        self.answers[usize::from(place)].as_ref()
    }

    /// Keeps an answer under a key that was just not found. `None` if there is no room.
    pub(super) fn insert(&mut self, answer: Answer) -> Option<Place> {
        let place = self.free.pop()?;
        let inserted = self.places.insert(words(&answer.client_ephemeral), place);
        debug_assert!(inserted.is_ok(), "as many keys as places");
        self.answers[usize::from(place)] = Some(answer);
        Some(place)
    }

    /// Forgets the answer at `place`.
    pub(super) fn remove(&mut self, place: Place) -> Option<Answer> {
        let answer = self.answers[usize::from(place)].take()?;
        self.places.remove(&words(&answer.client_ephemeral));
        self.free.push(place);
        Some(answer)
    }
}
