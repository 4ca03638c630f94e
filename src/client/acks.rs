//! Acknowledgments of one client in both directions: which packets it processed, and what the
//! server says of the packets it sent (round-trip time, loss).
//!
//! Reads no bytes: the caller moves acknowledgment blocks in and out. Called by `session`.

use crate::time::Nanos;
use crate::wire::AckBlock;

/// Unit of the delay field of an acknowledgment block, nanoseconds.
const DELAY_UNIT_NS: u64 = 32_000;
/// Packets whose send time is remembered.
const SENT_WINDOW: u64 = 64;

/// Packets of the server that this client processed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Processed {
    largest: u64,
    bitmap: u64,
    largest_at: Nanos,
    /// Something was processed since the last block went out.
    pub(super) unsent: bool,
}

impl Processed {
    /// Marks `sequence` as processed at `now`.
    pub(super) fn note(&mut self, sequence: u64, now: Nanos) {
        self.unsent = true;
        if sequence > self.largest {
            let step = sequence - self.largest;
            let shifted = if step < 64 { self.bitmap << step } else { 0 };
            let previous = if self.largest > 0 && step <= 64 { 1 << (step - 1) } else { 0 };
            self.bitmap = shifted | previous;
            self.largest = sequence;
            self.largest_at = now;
        } else if sequence < self.largest && self.largest - sequence <= 64 {
            self.bitmap |= 1 << (self.largest - sequence - 1);
        }
    }

    /// What to tell the server at `now`; nothing before the first packet.
    pub(super) fn block(&self, now: Nanos) -> Option<AckBlock> {
        let delay = now.since(self.largest_at).0 / DELAY_UNIT_NS;
        let delay = u16::try_from(delay).unwrap_or(AckBlock::DELAY_UNKNOWN);
        (self.largest > 0).then_some(AckBlock { largest: self.largest, bitmap: self.bitmap, delay })
    }
}

/// Smoothed round-trip time (RFC 6298 weights).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rtt {
    /// Smoothed value, microseconds; 0 before the first sample.
    pub smoothed_us: u32,
    /// Mean deviation, microseconds.
    pub variation_us: u32,
    /// Newest sample, microseconds.
    pub latest_us: u32,
    /// Smallest sample, microseconds.
    pub smallest_us: u32,
}

impl Rtt {
    pub(super) fn sample(&mut self, us: u32) {
        self.latest_us = us;
        if self.smoothed_us == 0 {
            *self = Self { smoothed_us: us, variation_us: us / 2, latest_us: us, smallest_us: us };
            return;
        }
        let deviation = self.smoothed_us.abs_diff(us);
        self.variation_us = self.variation_us - self.variation_us / 4 + deviation / 4;
        self.smoothed_us = self.smoothed_us - self.smoothed_us / 8 + us / 8;
        self.smallest_us = self.smallest_us.min(us);
    }
}

/// Packets this client sent, as far as their fate is of interest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    /// Send time of sequence s at index s mod 64, microseconds, wrapping.
    at_us: [u32; SENT_WINDOW as usize],
    newest: u64,
    largest_acked: u64,
    /// Bit i: sequence `largest_acked − 1 − i` was acknowledged.
    acked: u64,
    /// Packets that left the 64-packet window without an acknowledgment.
    pub(super) lost: u32,
    pub(super) rtt: Rtt,
}

impl Default for Sent {
    fn default() -> Self {
        Self {
            at_us: [0; SENT_WINDOW as usize],
            newest: 0,
            largest_acked: 0,
            acked: 0,
            lost: 0,
            rtt: Rtt::default(),
        }
    }
}

/// Which packets were acknowledged at some time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Acknowledged {
    largest: u64,
    acked: u64,
}

impl Acknowledged {
    /// What `block` acknowledges for the first time, oldest first.
    pub(super) fn fresh(self, block: &AckBlock) -> impl Iterator<Item = u64> {
        let oldest = block.largest.saturating_sub(64).max(1);
        let block = *block;
        (oldest..=block.largest)
            .filter(move |&sequence| block.acknowledges(sequence) && !self.is_known(sequence))
    }

    /// What fell out of the window counts as known: nobody waits for it any more.
    fn is_known(self, sequence: u64) -> bool {
        match self.largest.checked_sub(sequence) {
            None => false,
            Some(0) => true,
            Some(age @ 1..=64) => self.acked >> (age - 1) & 1 == 1,
            Some(_) => true,
        }
    }
}

/// The server acknowledged a packet that was never sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FalseAck;

impl Sent {
    /// Notes that `sequence` left at `now`.
    pub(super) fn note(&mut self, sequence: u64, now: Nanos) {
        self.at_us[(sequence % SENT_WINDOW) as usize] = now.as_us() as u32;
        self.newest = sequence;
    }

    /// What was acknowledged so far.
    pub(super) fn acknowledged(&self) -> Acknowledged {
        Acknowledged { largest: self.largest_acked, acked: self.acked }
    }

    /// Takes in a block of the server.
    pub(super) fn handle(&mut self, acks: AckBlock, now: Nanos) -> Result<(), FalseAck> {
        if acks.largest > self.newest {
            return Err(FalseAck);
        }
        if acks.largest > self.largest_acked {
            self.advance(acks.largest);
            if acks.delay != AckBlock::DELAY_UNKNOWN && self.newest - acks.largest < SENT_WINDOW {
                let sent = self.at_us[(acks.largest % SENT_WINDOW) as usize];
                let elapsed = (now.as_us() as u32).wrapping_sub(sent);
                let held = u32::from(acks.delay) * (DELAY_UNIT_NS / 1000) as u32;
                self.rtt.sample(elapsed.saturating_sub(held).max(1));
            }
        }
        let behind = self.largest_acked - acks.largest;
        if behind < 64 {
            self.acked |= acks.bitmap << behind;
            if behind > 0 {
                self.acked |= 1 << (behind - 1);
            }
        }
        Ok(())
    }

    fn advance(&mut self, largest: u64) {
        let step = largest - self.largest_acked;
        // The sequences that fall out of the window now: those from 65 below the old largest
        // upwards. The window also covers numbers below 1, which were never sent and are not lost.
        let in_window = self.largest_acked.saturating_sub(1).min(64);
        let leaving = step.min(64);
        let leaving_bits = if leaving == 64 { u64::MAX } else { !(u64::MAX >> leaving) };
        let sent_bits = if in_window == 64 { u64::MAX } else { (1u64 << in_window) - 1 };
        self.lost += (leaving_bits & sent_bits & !self.acked).count_ones();
        self.lost += step.saturating_sub(65).min(u64::from(u32::MAX)) as u32;
        let shifted = if step < 64 { self.acked << step } else { 0 };
        let previous = if self.largest_acked > 0 && step <= 64 { 1 << (step - 1) } else { 0 };
        self.acked = shifted | previous;
        self.largest_acked = largest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_block_names_exactly_the_processed_packets_of_the_last_65() {
        for seed in 1..50u64 {
            let mut random = seed;
            let (mut processed, mut model) = (Processed::default(), BTreeSet::new());
            let mut base = 0u64;
            for _ in 0..300 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let step = random >> 60;
                base += if random >> 40 & 0xFF == 0 { 70 + step } else { step / 8 };
                let sequence = (base + 1 + (random >> 33 & 15)).saturating_sub(random >> 20 & 63);
                if sequence == 0 {
                    continue;
                }
                processed.note(sequence, Nanos(0));
                model.insert(sequence);
                let block = processed.block(Nanos(0)).expect("one was processed");
                assert_eq!(Some(&block.largest), model.last(), "seed {seed}");
                for back in 0..64u64 {
                    let Some(named) = block.largest.checked_sub(back + 1) else { break };
                    let bit = block.bitmap >> back & 1 == 1;
                    // The model never forgets, the bitmap forgets what a jump pushed out: both
                    // agree within the window because a late packet sets its bit again.
                    assert_eq!(bit, model.contains(&named), "sequence {named}, seed {seed}");
                }
            }
        }
    }

    #[test]
    fn a_lost_packet_is_counted_once_when_the_window_has_passed_it() {
        let mut sent = Sent::default();
        let mut processed = Processed::default();
        for sequence in 1..=500u64 {
            let now = Nanos::from_ms(sequence * 16);
            sent.note(sequence, now);
            if sequence % 50 != 7 {
                processed.note(sequence, now);
                let block = processed.block(now).expect("processed");
                sent.handle(block, now.plus(Nanos::from_us(300))).expect("a true ack");
            }
        }
        // 7, 57, …, 407 are more than 64 behind 500; 457 is still within the window.
        assert_eq!(sent.lost, 9);
        assert_eq!(sent.rtt.latest_us, 300);
        assert!((250..=300).contains(&sent.rtt.smoothed_us), "{:?}", sent.rtt);
    }

    #[test]
    fn a_lost_acknowledgment_loses_nothing() {
        let mut sent = Sent::default();
        let mut processed = Processed::default();
        for sequence in 1..=1000u64 {
            sent.note(sequence, Nanos(0));
            processed.note(sequence, Nanos(0));
            if sequence % 60 == 0 {
                sent.handle(processed.block(Nanos(0)).expect("some"), Nanos(0)).expect("true");
            }
        }
        assert_eq!(sent.lost, 0);
    }

    #[test]
    fn an_acknowledgment_of_a_packet_never_sent_is_refused() {
        let mut sent = Sent::default();
        sent.note(5, Nanos(0));
        let lie = AckBlock { largest: 6, bitmap: 0, delay: 0 };
        assert_eq!(sent.handle(lie, Nanos(0)), Err(FalseAck));
        assert_eq!(sent.largest_acked, 0);
    }

    #[test]
    fn the_time_an_acknowledgment_was_held_back_is_not_part_of_the_round_trip() {
        let mut sent = Sent::default();
        sent.note(1, Nanos::from_ms(100));
        let block = AckBlock { largest: 1, bitmap: 0, delay: 500 };
        sent.handle(block, Nanos::from_ms(120)).expect("a true ack");
        assert_eq!(sent.rtt.latest_us, 20_000 - 500 * 32);
    }
}
