//! Both sides of acknowledgment: what we say we processed, and what the client says it processed.
//!
//! The law of this project: a packet is acknowledged after it has been *processed*, not when it
//! opened. Owns the sequences of one session, those given out, those left out on purpose, those
//! acknowledged. Never sends. Called by `decode` and `seal`.

use crate::limits::{SEQUENCE_MAX, SKIP_MAX, SKIP_MIN};
use crate::time::Nanos;
use crate::wire::AckBlock;

/// The packets of the client that have been processed: what the next acknowledgment block will say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Processed {
    /// Largest sequence, 0 before the first.
    largest: u64,
    /// Bit i: `largest` − 1 − i.
    bitmap: u64,
    /// When `largest` was processed.
    at: Nanos,
    /// When the oldest packet that waits for an acknowledgment was processed.
    pub(super) waiting_since: Nanos,
}

impl Processed {
    /// Adds `sequence`.
    #[inline]
    pub(super) fn add(&mut self, sequence: u64, now: Nanos) {
        if sequence > self.largest {
            let step = sequence - self.largest;
            // The former largest becomes bit `step` − 1. Sequence 0 exists on no wire and is not
            // carried on.
            let former = u128::from(self.bitmap) << 1 | u128::from(self.largest > 0);
            self.bitmap = if step > 64 { 0 } else { (former << (step - 1)) as u64 };
            (self.largest, self.at) = (sequence, now);
        } else if let age @ 1..=64 = self.largest - sequence {
            self.bitmap |= 1 << (age - 1);
        }
    }

    /// What to tell the client at `now`; nothing before the first packet.
    #[inline]
    pub(super) fn block(&self, now: Nanos) -> Option<AckBlock> {
        let units = now.since(self.at).as_us() / 32;
        let delay = units.min(u64::from(AckBlock::DELAY_UNKNOWN - 1)) as u16;
        (self.largest > 0).then_some(AckBlock { largest: self.largest, bitmap: self.bitmap, delay })
    }
}

/// The client acknowledged what was never sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FalseAck;

/// The packets sent to the client, and which of them it has acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    /// The sequence of the next packet.
    next: u64,
    /// The sequence to leave out next.
    skip_at: u64,
    /// The sequence left out last, 0 before the first. Who names an earlier one is more than a
    /// thousand packets behind: whatever it names, its budget has fallen to the floor.
    skipped: u64,
    /// State of the generator of `skip_at`, never 0.
    random: u64,
    /// Largest acknowledged sequence, 0 before the first.
    newest: u64,
    /// Bit i: `newest` − i is acknowledged. Two words, low first: a `u128` would need a larger row.
    acked: [u64; 2],
}

impl Sent {
    /// Nothing sent yet. `seed` decides which sequences are left out.
    pub(super) fn new(seed: u64) -> Self {
        let mut sent = Self {
            next: 1,
            skip_at: 0,
            skipped: 0,
            random: mix(seed) | 1,
            newest: 0,
            acked: [0; 2],
        };
        sent.plan_skip();
        sent
    }

    /// The sequence for one packet; `None` when the direction has come to its end.
    #[inline]
    pub(super) fn allocate(&mut self) -> Option<u64> {
        if self.next == self.skip_at {
            self.skipped = self.next;
            self.next += 1;
            self.plan_skip();
        }
        let sequence = self.next;
        if sequence >= SEQUENCE_MAX {
            return None;
        }
        self.next += 1;
        Some(sequence)
    }

    /// The sequence of the next packet.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// The largest acknowledged sequence, 0 before the first.
    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    /// Packets that a path may hold back while later ones overtake them.
    pub(super) const REORDERED_MAX: u32 = 8;

    /// Whether `sequence`, one of the last 128 that were sent before the newest acknowledged, is
    /// acknowledged. Of older ones nothing is known any more.
    pub(super) fn is_acknowledged(&self, sequence: u64) -> bool {
        let known = u128::from(self.acked[0]) | u128::from(self.acked[1]) << 64;
        let age = self.newest.checked_sub(sequence).filter(|&age| age < 128);
        age.is_some_and(|age| known >> age & 1 == 1)
    }

    /// How many of 64 packets are not acknowledged; the latest of them is `REORDERED_MAX` behind
    /// the newest acknowledged. A sequence left out on purpose counts, and so do those below 1.
    pub(super) fn lost_of_64(&self) -> u32 {
        let known = u128::from(self.acked[0]) | u128::from(self.acked[1]) << 64;
        ((known >> Self::REORDERED_MAX) as u64).count_zeros()
    }

    /// Whether no further packet can be sent.
    pub(super) fn is_over(&self) -> bool {
        self.next >= SEQUENCE_MAX
    }

    /// Takes `block` from the client and hands every sequence acknowledged for the first time to
    /// `each`, oldest first. A block is taken whole or not at all.
    #[inline]
    pub(super) fn acknowledge(
        &mut self,
        block: &AckBlock,
        mut each: impl FnMut(u64),
    ) -> Result<(), FalseAck> {
        if block.largest >= self.next || (self.skipped > 0 && block.acknowledges(self.skipped)) {
            return Err(FalseAck);
        }
        let mut claimed = u128::from(block.bitmap) << 1 | 1;
        let mut known = u128::from(self.acked[0]) | u128::from(self.acked[1]) << 64;
        if block.largest >= self.newest {
            let step = (block.largest - self.newest).min(128) as u32;
            known = known.checked_shl(step).unwrap_or(0);
            self.newest = block.largest;
        } else {
            let age = (self.newest - block.largest).min(128) as u32;
            claimed = claimed.checked_shl(age).unwrap_or(0);
        }
        let mut fresh = claimed & !known;
        known |= claimed;
        self.acked = [known as u64, (known >> 64) as u64];
        while fresh != 0 {
            let oldest = u128::BITS - 1 - fresh.leading_zeros();
            fresh &= !(1 << oldest);
            each(self.newest - u64::from(oldest));
        }
        Ok(())
    }

    /// Uses up every sequence.
    #[cfg(test)]
    pub(super) fn exhaust(&mut self) {
        (self.next, self.skip_at) = (SEQUENCE_MAX, u64::MAX);
    }

    fn plan_skip(&mut self) {
        self.random = mix(self.random) | 1;
        self.skip_at = self.next + SKIP_MIN + (self.random >> 32) % (SKIP_MAX - SKIP_MIN);
    }
}

/// Scatters 64 bits (the finalizer of splitmix64). Not cryptography: a client that predicts which
/// sequence is left out can only lie to itself about what it has received.
pub(super) fn mix(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ z >> 31
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// The bits of a bitmap below `largest` that name sequences from 1 on; others no wire carries.
    fn real(largest: u64) -> u64 {
        if largest > 64 { u64::MAX } else { (1 << (largest - 1)) - 1 }
    }

    proptest! {
        #[test]
        fn the_block_says_what_a_set_of_processed_sequences_says(
            start in 1..1u64 << 40,
            steps in prop::collection::vec(-80..80i64, 1..300),
        ) {
            let (mut processed, mut model) = (Processed::default(), BTreeSet::new());
            let mut at = start;
            for step in steps {
                at = at.saturating_add_signed(step).max(1);
                processed.add(at, Nanos(0));
                model.insert(at);
                let block = processed.block(Nanos(0)).expect("something was processed");
                let largest = *model.last().expect("not empty");
                prop_assert_eq!(block.largest, largest);
                for age in 1..=64 {
                    let sequence = largest.saturating_sub(age);
                    let expected = largest > age && model.contains(&sequence);
                    prop_assert_eq!(block.bitmap >> (age - 1) & 1 == 1, expected, "age {}", age);
                }
            }
        }

        #[test]
        fn every_sequence_is_reported_acknowledged_once_and_only_if_claimed(
            blocks in prop::collection::vec((0..200u64, any::<u64>()), 1..60),
        ) {
            let mut sent = Sent::new(7);
            let mut reported = BTreeSet::new();
            let mut largest = 0;
            for (behind, bitmap) in blocks {
                for _ in 0..50 {
                    sent.allocate();
                }
                let at = (sent.next - 1).saturating_sub(behind).max(1);
                let bitmap = bitmap & real(at);
                let block = AckBlock { largest: at, bitmap, delay: 0 };
                let mut last = 0;
                let before = sent;
                let result = sent.acknowledge(&block, |sequence| {
                    assert!(block.acknowledges(sequence), "{sequence} was not claimed");
                    assert!(sequence > last, "oldest first");
                    last = sequence;
                    assert!(reported.insert(sequence), "{sequence} reported twice");
                });
                if block.acknowledges(before.skipped) && before.skipped > 0 {
                    prop_assert_eq!(result, Err(FalseAck));
                    prop_assert_eq!(sent, before);
                    continue;
                }
                prop_assert_eq!(result, Ok(()));
                largest = largest.max(at);
                let oldest = at.saturating_sub(64).max(1).max(largest.saturating_sub(127));
                for sequence in (oldest..=at).filter(|&s| block.acknowledges(s)) {
                    prop_assert!(reported.contains(&sequence), "{} is lost", sequence);
                }
            }
        }
    }

    #[test]
    fn an_ack_of_what_was_never_sent_is_refused_whole() {
        let mut sent = Sent::new(1);
        for _ in 0..10 {
            sent.allocate();
        }
        let before = sent;
        for largest in [11, 12, u64::MAX] {
            let block = AckBlock { largest, bitmap: u64::MAX, delay: 0 };
            assert_eq!(sent.acknowledge(&block, |_| panic!("nothing is new")), Err(FalseAck));
            assert_eq!(sent, before);
        }
        let block = AckBlock { largest: 10, bitmap: 0, delay: 0 };
        assert_eq!(sent.acknowledge(&block, |sequence| assert_eq!(sequence, 10)), Ok(()));
    }

    #[test]
    fn a_client_that_acks_everything_is_caught_by_the_sequences_left_out() {
        for seed in 0..20 {
            let mut sent = Sent::new(seed);
            let mut used = BTreeSet::new();
            let caught = (0..5_000).find(|_| {
                used.extend(sent.allocate());
                let largest = *used.last().expect("just sent");
                let bitmap = real(largest);
                let block = AckBlock { largest, bitmap, delay: 0 };
                sent.acknowledge(&block, |_| {}).is_err()
            });
            let caught = caught.expect("a sequence is left out within 4,096");
            assert!((1_000..4_200).contains(&caught), "seed {seed}: after {caught}");
            assert!(!used.contains(&sent.skipped) && used.contains(&(sent.skipped - 1)));
        }
    }

    #[test]
    fn the_direction_ends_before_its_counter_does() {
        let mut sent = Sent::new(1);
        (sent.next, sent.skip_at) = (SEQUENCE_MAX - 1, u64::MAX);
        assert_eq!(sent.allocate(), Some(SEQUENCE_MAX - 1));
        assert_eq!(sent.allocate(), None);
        assert_eq!(sent.allocate(), None);
    }

    #[test]
    fn the_delay_counts_units_of_32_microseconds_and_saturates() {
        let mut processed = Processed::default();
        assert_eq!(processed.block(Nanos(0)), None);
        processed.add(5, Nanos::from_us(1_000));
        let delay = |us| processed.block(Nanos::from_us(us)).expect("one packet").delay;
        assert_eq!((delay(0), delay(1_031), delay(1_032), delay(2_000)), (0, 0, 1, 31));
        assert_eq!(delay(u64::MAX / 2_000), AckBlock::DELAY_UNKNOWN - 1);
    }
}
