//! Which sequences of one direction were seen: a sliding window of bits.
//!
//! The two steps are separate on purpose. A packet is peeked before it is opened, which costs
//! nothing, and committed after it opened: a forged packet must not move the window. Called per
//! packet by `connection` and `client`.

use crate::limits::SEQUENCE_MAX;

/// A sequence that was committed before, is too old to tell, is 0, or lies beyond the end of the
/// protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replayed;

/// The newest `WORDS * 64` sequences. One word on the server, sixteen on the client.
///
/// ```text
///   too old │            the window: newest - positions < s <= newest            │ new
/// ──────────┼────────────────────────────────────────────────────────────────────┼─────▶ sequence
///  Replayed │ bit (s mod positions) says whether s was committed            newest│ accepted
/// ```
///
/// Invariant: the bit of a sequence in the window is set if and only if it was committed. `newest`
/// is 0 before the first commit, and sequences start at 1, so an empty window needs no special
/// case.
#[derive(Clone, Copy, Debug)]
pub struct ReplayWindow<const WORDS: usize> {
    newest: u64,
    seen: [u64; WORDS],
}

impl<const WORDS: usize> Default for ReplayWindow<WORDS> {
    fn default() -> Self {
        Self { newest: 0, seen: [0; WORDS] }
    }
}

impl<const WORDS: usize> ReplayWindow<WORDS> {
    /// Sequences the window tells apart.
    pub const POSITIONS: u64 = WORDS as u64 * 64;

    /// The largest committed sequence, 0 if there is none.
    pub fn newest(&self) -> u64 {
        self.newest
    }

    /// Whether a packet with `sequence` is worth opening. Changes nothing.
    pub fn peek(&self, sequence: u64) -> Result<(), Replayed> {
        if sequence > self.newest {
            return if sequence < SEQUENCE_MAX { Ok(()) } else { Err(Replayed) };
        }
        // By subtraction: `sequence + positions` could wrap.
        let age = self.newest - sequence;
        if sequence == 0 || age >= Self::POSITIONS || self.bit(sequence) {
            return Err(Replayed);
        }
        Ok(())
    }

    /// Marks `sequence`, which was just peeked and whose packet has opened, as seen.
    pub fn commit(&mut self, sequence: u64) {
        debug_assert_eq!(self.peek(sequence), Ok(()), "peek first, then open, then commit");
        if sequence > self.newest {
            self.advance(sequence);
        }
        let (word, mask) = Self::place(sequence);
        self.seen[word] |= mask;
    }

    /// Moves the window so that it ends at `sequence`. The positions that it enters belonged to
    /// sequences that have just become too old, so they are cleared.
    fn advance(&mut self, sequence: u64) {
        if sequence - self.newest >= Self::POSITIONS {
            self.seen = [0; WORDS];
        } else {
            for entered in self.newest + 1..=sequence {
                let (word, mask) = Self::place(entered);
                self.seen[word] &= !mask;
            }
        }
        self.newest = sequence;
    }

    fn bit(&self, sequence: u64) -> bool {
        let (word, mask) = Self::place(sequence);
        self.seen[word] & mask != 0
    }

    fn place(sequence: u64) -> (usize, u64) {
        let position = sequence % Self::POSITIONS;
        ((position / 64) as usize, 1 << (position % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// The dumber model: every committed sequence in a set.
    #[derive(Default)]
    struct Model(BTreeSet<u64>);

    impl Model {
        fn peek(&self, sequence: u64, positions: u64) -> bool {
            let newest = self.0.last().copied().unwrap_or(0);
            sequence != 0
                && sequence < SEQUENCE_MAX
                && !self.0.contains(&sequence)
                && (sequence > newest || newest - sequence < positions)
        }
    }

    fn agrees_with_the_model<const WORDS: usize>(start: u64, steps: &[(i64, bool)]) {
        let (mut window, mut model) = (ReplayWindow::<WORDS>::default(), Model::default());
        if start > 0 {
            window.commit(start);
            model.0.insert(start);
        }
        for &(offset, opens) in steps {
            let sequence = window.newest().saturating_add_signed(offset);
            let fresh = window.peek(sequence).is_ok();
            assert_eq!(fresh, model.peek(sequence, WORDS as u64 * 64), "sequence {sequence}");
            if fresh && opens {
                window.commit(sequence);
                model.0.insert(sequence);
                assert_eq!(window.newest(), *model.0.last().unwrap());
            }
        }
    }

    proptest! {
        #[test]
        fn the_window_agrees_with_a_set(
            start in prop_oneof![Just(0), 1..2000u64, SEQUENCE_MAX - 2000..SEQUENCE_MAX],
            steps in prop::collection::vec((-1100..1100i64, any::<bool>()), 0..400),
            near in prop::collection::vec((-70..4i64, any::<bool>()), 0..400),
        ) {
            agrees_with_the_model::<1>(start, &steps);
            agrees_with_the_model::<1>(start, &near);
            agrees_with_the_model::<16>(start, &steps);
            agrees_with_the_model::<16>(start, &near);
        }
    }

    #[test]
    fn a_replayed_packet_is_refused() {
        let mut window = ReplayWindow::<1>::default();
        for sequence in 1..=200 {
            window.peek(sequence).unwrap();
            window.commit(sequence);
            assert_eq!(window.peek(sequence), Err(Replayed));
        }
    }

    #[test]
    fn the_edge_of_the_window_is_exact() {
        let mut window = ReplayWindow::<1>::default();
        window.commit(100);
        assert_eq!(window.peek(37), Ok(()), "63 behind the newest is the oldest position");
        assert_eq!(window.peek(36), Err(Replayed), "64 behind the newest is too old");
    }

    #[test]
    fn a_forged_packet_does_not_move_the_window() {
        let mut window = ReplayWindow::<1>::default();
        window.commit(5);
        window.peek(SEQUENCE_MAX - 1).unwrap();
        assert_eq!(window.newest(), 5);
        assert_eq!(window.peek(4), Ok(()));
    }

    #[test]
    fn zero_and_the_end_of_the_protocol_are_refused() {
        let window = ReplayWindow::<1>::default();
        assert_eq!(window.peek(0), Err(Replayed));
        assert_eq!(window.peek(SEQUENCE_MAX), Err(Replayed));
        assert_eq!(window.peek(u64::MAX), Err(Replayed));
        assert_eq!(window.peek(1), Ok(()));
    }
}
