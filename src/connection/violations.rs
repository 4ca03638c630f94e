//! How badly a client behaves: a score that rises with every violation and falls with time.
//!
//! Only what came out of an opened packet counts; nobody is punished for what others send in his
//! name. Called by `decode`, and by whoever wants to know who behaves worst.

use super::rules::Scores;
use super::table::{Sessions, Slot};
use crate::metrics::DropReason;
use crate::time::Nanos;
use crate::wire::ConnectionId;

/// The score of one session. What is not forgiven when it ends, the next one of its player goes on
/// with: who comes back is who left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Violations {
    score: u32,
    /// What integrity checks have contributed to it, less what has been forgiven.
    integrity: u32,
    /// Violations so far, saturating.
    count: u32,
    updated: Nanos,
}

impl Violations {
    /// Adds what a breach costs and tells whether the limit is reached. Integrity checks are
    /// telemetry: what they add is bounded.
    pub(super) fn add(&mut self, breach: DropReason, scores: &Scores, now: Nanos) -> bool {
        self.decay(scores, now);
        let mut score = scores.of(breach);
        if breach == DropReason::Integrity {
            score = score.min(scores.integrity_share.saturating_sub(self.integrity));
            self.integrity += score;
        }
        self.score = self.score.saturating_add(score);
        self.count = self.count.saturating_add(1);
        self.score >= scores.limit
    }

    /// Adds what an earlier session has left.
    fn inherit(&mut self, mut record: Self, scores: &Scores, now: Nanos) {
        self.decay(scores, now);
        record.decay(scores, now);
        let integrity = self.integrity + record.integrity;
        let beyond = integrity.saturating_sub(scores.integrity_share);
        self.score = self.score.saturating_add(record.score - beyond.min(record.integrity));
        self.integrity = integrity - beyond;
        self.count = self.count.saturating_add(record.count);
    }

    fn decay(&mut self, scores: &Scores, now: Nanos) {
        let seconds = now.since(self.updated).as_ms() / 1_000;
        if seconds > 0 {
            let decay = seconds.saturating_mul(u64::from(scores.decay_per_s));
            self.score = u64::from(self.score).saturating_sub(decay) as u32;
            self.integrity = u64::from(self.integrity).saturating_sub(decay) as u32;
            self.updated = self.updated.plus(Nanos::from_ms(seconds * 1_000));
        }
    }
}

/// A session and its score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scorer {
    /// Who plays.
    pub player: u64,
    /// The score now.
    pub score: u32,
    /// Violations of the session so far.
    pub violations: u32,
}

/// The sessions with the highest scores, the highest first: a sheet of fixed size, to be filled in
/// by one table after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scorers {
    lines: [Scorer; Self::MOST],
    len: usize,
    limit: u32,
}

impl Scorers {
    /// Sessions on one sheet.
    pub const MOST: usize = 32;

    /// What stands on the sheet.
    pub fn lines(&self) -> &[Scorer] {
        &self.lines[..self.len]
    }

    /// The score that ends a session, once a table has filled in the sheet.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// Wipes the sheet.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Puts a session in its place; the lowest falls off a full sheet.
    pub fn add(&mut self, scorer: Scorer) {
        let worse = |other: &&Scorer| other.score >= scorer.score;
        let place = self.lines().iter().take_while(worse).count();
        if place < Self::MOST {
            self.len = (self.len + 1).min(Self::MOST);
            self.lines[place..self.len].rotate_right(1);
            self.lines[place] = scorer;
        }
    }
}

impl Sessions {
    /// What the session that was last given `slot` has done.
    ///
    /// # Panics
    /// When there is no such slot.
    pub fn record(&self, slot: Slot) -> Violations {
        self.violations[usize::from(slot)]
    }

    /// The session in `slot` goes on with the `record` of an earlier one of its player.
    ///
    /// # Panics
    /// When there is no such slot.
    pub fn inherit(&mut self, slot: Slot, record: Violations, now: Nanos) {
        self.violations[usize::from(slot)].inherit(record, &self.config.rules.scores, now);
    }

    /// Enters the sessions that have a score into `sheet`. A scan of all slots: to be asked for by
    /// people, not every tick.
    pub fn worst(&self, now: Nanos, sheet: &mut Scorers) {
        sheet.limit = self.config.rules.scores.limit;
        let living = self.ingress.iter().filter(|ingress| ingress.id != ConnectionId::GATE);
        for index in living.map(|ingress| usize::from(ingress.id.slot())) {
            let mut violations = self.violations[index];
            violations.decay(&self.config.rules.scores, now);
            if violations.score > 0 {
                sheet.add(Scorer {
                    player: self.origin[index].player,
                    score: violations.score,
                    violations: violations.count,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds a breach that costs `message`.
    fn add(violations: &mut Violations, message: u32, now: Nanos) -> bool {
        let scores = Scores { message, ..Scores::default() };
        violations.add(DropReason::Malformed, &scores, now)
    }

    #[test]
    fn twenty_bad_messages_at_once_end_a_session() {
        let mut violations = Violations::default();
        let now = Nanos::from_ms(5_000);
        assert!((0..19).all(|_| !add(&mut violations, 5, now)));
        assert!(add(&mut violations, 5, now));
    }

    #[test]
    fn one_bad_message_every_five_seconds_is_forgiven_for_ever() {
        let mut violations = Violations::default();
        assert!((0..10_000).all(|i| !add(&mut violations, 5, Nanos::from_ms(i * 5_000))));
    }

    #[test]
    fn fractions_of_a_second_add_up() {
        let mut violations = Violations::default();
        add(&mut violations, 50, Nanos(0));
        for ms in (100..=10_000).step_by(100) {
            assert!(!add(&mut violations, 0, Nanos::from_ms(ms)));
        }
        assert!(!add(&mut violations, 59, Nanos::from_ms(10_000)), "ten seconds take ten");
        assert!(add(&mut violations, 1, Nanos::from_ms(10_000)));
    }

    #[test]
    fn the_limit_and_the_decay_are_those_of_the_rules() {
        let add = |violations: &mut Violations, message, decay_per_s, now| {
            let scores = Scores { limit: 7, decay_per_s, message, ..Scores::default() };
            violations.add(DropReason::Malformed, &scores, now)
        };
        let mut violations = Violations::default();
        assert!(!add(&mut violations, 6, 3, Nanos(0)));
        assert!(!add(&mut violations, 3, 3, Nanos::from_ms(1_000)), "6 - 3 + 3");
        assert!(add(&mut violations, 1, 3, Nanos::from_ms(1_999)));
        let mut violations = Violations::default();
        assert!(!add(&mut violations, 6, 0, Nanos(0)));
        assert!(add(&mut violations, 1, 0, Nanos(u64::MAX)), "nothing is forgiven");
    }

    #[test]
    fn integrity_checks_add_up_to_their_share_and_no_further() {
        let scores = Scores { decay_per_s: 1, ..Scores::default() };
        let mut violations = Violations::default();
        for round in 1..=50 {
            assert!(!violations.add(DropReason::Integrity, &scores, Nanos(0)));
            assert_eq!(violations.score, (10 * round).min(50));
        }
        // What is forgiven may be added again.
        assert!(!violations.add(DropReason::Integrity, &scores, Nanos::from_ms(7_000)));
        assert_eq!((violations.score, violations.integrity), (50, 50));
        for _ in 0..9 {
            assert!(!violations.add(DropReason::Malformed, &scores, Nanos::from_ms(7_000)));
        }
        assert!(violations.add(DropReason::Malformed, &scores, Nanos::from_ms(7_000)));
    }

    #[test]
    fn who_comes_back_goes_on_with_what_is_not_forgiven() {
        let scores = Scores { decay_per_s: 1, ..Scores::default() };
        let at = |seconds: u64| Nanos::from_ms(seconds * 1_000);
        let (mut before, mut after) = (Violations::default(), Violations::default());
        for _ in 0..5 {
            before.add(DropReason::Integrity, &scores, at(100));
            after.add(DropReason::Integrity, &scores, at(130));
        }
        add(&mut before, 30, at(100));
        assert_eq!((before.score, after.score), (80, 50));
        after.inherit(before, &scores, at(130));
        assert_eq!((after.score, after.integrity), (80, 50), "20 + 30 of integrity, and 30");
        assert_eq!(after.count, 11);
        assert!(!add(&mut after, 19, at(130)) && add(&mut after, 1, at(130)));
        let mut late = Violations::default();
        late.inherit(before, &scores, at(1_000));
        assert_eq!((late.score, late.integrity), (0, 0), "all is forgiven");
    }

    #[test]
    fn a_sheet_holds_the_worst_in_order_whoever_comes_first() {
        let mut sheet = Scorers::default();
        // Every score from 0 to 100 once, in an order that is none.
        for i in 0..101u64 {
            let player = i * 37 % 101;
            sheet.add(Scorer { player, score: player as u32, violations: 1 });
        }
        let scores: Vec<_> = sheet.lines().iter().map(|line| line.score).collect();
        let worst: Vec<_> = (0..=100).rev().take(Scorers::MOST).collect();
        assert_eq!(scores, worst);
        sheet.clear();
        assert_eq!(sheet.lines(), []);
    }
}
