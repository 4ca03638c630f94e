//! The integrity check: whether a client knows the keys that were handed out with its build.
//!
//! Owns: the table of keys of one build, and question and answer as bytes. Says nothing about a
//! client that a determined player could not forge; what that is worth is decided elsewhere. Called
//! by `connection`, which asks, and by `client`, which answers.

use super::kdf::MacKey;
use super::opaque_debug;
use crate::limits::INTEGRITY_KEYS_MAX;
use crate::time::Entropy;
use std::sync::Arc;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes of a nonce, and of an answer.
pub const INTEGRITY_LEN: usize = 16;

/// The keys of one build. Erased on drop.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct KeyTable {
    build: u32,
    keys: Vec<[u8; 32]>,
}

opaque_debug!(KeyTable);

impl KeyTable {
    /// The table of `build` with these keys; `None` unless there are 1 to [`INTEGRITY_KEYS_MAX`].
    pub fn new(build: u32, keys: Vec<[u8; 32]>) -> Option<Self> {
        (1..=INTEGRITY_KEYS_MAX).contains(&keys.len()).then_some(Self { build, keys })
    }

    /// A fresh table of `count` keys, within the bounds of [`Self::new`].
    pub fn generate(build: u32, count: usize, entropy: &mut dyn Entropy) -> Self {
        let fresh = |_| {
            let mut key = [0; 32];
            entropy.fill(&mut key);
            key
        };
        let count = count.clamp(1, INTEGRITY_KEYS_MAX);
        Self { build, keys: (0..count).map(fresh).collect() }
    }

    /// The build that it belongs to.
    pub fn build(&self) -> u32 {
        self.build
    }

    /// The keys.
    pub fn keys(&self) -> &[[u8; 32]] {
        &self.keys
    }

    /// What a client of this build answers; `None` if there is no key of that index.
    pub fn answer(
        &self,
        exporter: &[u8; 32],
        nonce: &[u8; INTEGRITY_LEN],
        index: u16,
    ) -> Option<[u8; INTEGRITY_LEN]> {
        let key = MacKey::new(self.keys.get(usize::from(index))?);
        let mac = key.mac(&[exporter, nonce, &index.to_le_bytes()]);
        mac.first_chunk().copied()
    }

    /// Whether `answer` is that of a client of this build. Compares in constant time.
    pub fn verify(
        &self,
        exporter: &[u8; 32],
        nonce: &[u8; INTEGRITY_LEN],
        index: u16,
        answer: &[u8; INTEGRITY_LEN],
    ) -> bool {
        self.keys.get(usize::from(index)).is_some_and(|key| {
            MacKey::new(key).verify(&[exporter, nonce, &index.to_le_bytes()], answer)
        })
    }
}

/// What it takes to question one session: the table of its build, the secret that only the two ends
/// know, and a secret from which the questions follow, so that nobody needs to be random later.
/// Erased on drop.
#[derive(Clone, ZeroizeOnDrop)]
pub struct Examiner {
    #[zeroize(skip)]
    table: Arc<KeyTable>,
    exporter: [u8; 32],
    seed: [u8; 32],
}

opaque_debug!(Examiner);

/// A question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Which key is asked for.
    pub index: u16,
    /// Never the same twice in a session.
    pub nonce: [u8; INTEGRITY_LEN],
}

impl Examiner {
    /// For a session with this secret. `seed` is random.
    pub fn new(table: Arc<KeyTable>, exporter: [u8; 32], seed: [u8; 32]) -> Self {
        Self { table, exporter, seed }
    }

    /// The question with this number, and 32 random bits for whoever decides when to put it.
    pub fn question(&self, number: u32) -> (Question, u32) {
        let seed = MacKey::new(&self.seed);
        let bytes = seed.mac(&[b"tdl1 integrity", &number.to_le_bytes()]);
        let (nonce, rest) = bytes.split_first_chunk().expect("32 bytes");
        let word = |at: usize| {
            let bytes = rest[at..at + 4].first_chunk().expect("four bytes");
            u32::from_le_bytes(*bytes)
        };
        let index = word(0) as usize % self.table.keys.len();
        (Question { index: index as u16, nonce: *nonce }, word(4))
    }

    /// Whether `answer` answers `question`.
    pub fn accepts(&self, question: &Question, answer: &[u8; INTEGRITY_LEN]) -> bool {
        let Question { index, nonce } = question;
        self.table.verify(&self.exporter, nonce, *index, answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn table() -> KeyTable {
        let keys = (0..7).map(|i| [i; 32]).collect();
        KeyTable::new(1001, keys).expect("seven keys")
    }

    #[test]
    fn an_answer_is_bound_to_build_session_question_and_index() {
        let table = table();
        let answer = table.answer(&[1; 32], &[2; 16], 3).expect("there is such a key");
        assert!(table.verify(&[1; 32], &[2; 16], 3, &answer));
        assert!(!table.verify(&[9; 32], &[2; 16], 3, &answer), "another session");
        assert!(!table.verify(&[1; 32], &[9; 16], 3, &answer), "another question");
        assert!(!table.verify(&[1; 32], &[2; 16], 4, &answer), "another key");
        let same_keys = KeyTable::new(1, vec![[3; 32]; 7]).expect("seven keys");
        assert!(!same_keys.verify(&[1; 32], &[2; 16], 4, &answer), "the index itself counts");
        for bit in 0..128 {
            let mut forged = answer;
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(!table.verify(&[1; 32], &[2; 16], 3, &forged));
        }
    }

    #[test]
    fn an_index_beyond_the_table_has_no_answer() {
        for index in [7, 8, u16::MAX] {
            assert_eq!(table().answer(&[1; 32], &[2; 16], index), None);
            assert!(!table().verify(&[1; 32], &[2; 16], index, &[0; 16]));
        }
        assert!(KeyTable::new(1, Vec::new()).is_none());
        assert!(KeyTable::new(1, vec![[0; 32]; INTEGRITY_KEYS_MAX + 1]).is_none());
        assert!(KeyTable::new(1, vec![[0; 32]; INTEGRITY_KEYS_MAX]).is_some());
    }

    #[test]
    fn questions_follow_from_the_seed_never_repeat_and_use_every_key() {
        let table = Arc::new(table());
        let examiner = |seed| Examiner::new(Arc::clone(&table), [1; 32], [seed; 32]);
        let (one, other) = (examiner(1), examiner(2));
        let mut nonces = BTreeSet::new();
        let mut indices = BTreeSet::new();
        for number in 0..200 {
            let (question, _) = one.question(number);
            assert_eq!(question, one.question(number).0);
            assert!(nonces.insert(question.nonce) && nonces.insert(other.question(number).0.nonce));
            indices.insert(question.index);
            let answer = table.answer(&[1; 32], &question.nonce, question.index).expect("a key");
            assert!(one.accepts(&question, &answer));
        }
        assert_eq!(indices.len(), 7);
    }

    #[test]
    fn secrets_are_not_printed() {
        let examiner = Examiner::new(Arc::new(table()), [0xAB; 32], [0xCD; 32]);
        let shown = format!("{examiner:?} {:?}", table());
        assert!(!shown.contains("171") && !shown.contains("205") && !shown.contains("build"));
    }
}
