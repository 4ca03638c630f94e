//! How badly a client behaves: a score that rises with every violation and falls with time.
//!
//! Only what came out of an opened packet counts; nobody is punished for what others send in his
//! name. Called by `decode`.

use crate::limits::{VIOLATION_DECAY_PER_S, VIOLATION_LIMIT};
use crate::time::Nanos;

/// The score of one session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Violations {
    score: u32,
    updated: Nanos,
}

impl Violations {
    /// Adds `score` and tells whether the limit is reached.
    pub(super) fn add(&mut self, score: u32, now: Nanos) -> bool {
        let seconds = now.since(self.updated).as_ms() / 1_000;
        if seconds > 0 {
            let decay = seconds.saturating_mul(u64::from(VIOLATION_DECAY_PER_S));
            self.score = u64::from(self.score).saturating_sub(decay) as u32;
            self.updated = self.updated.plus(Nanos::from_ms(seconds * 1_000));
        }
        self.score = self.score.saturating_add(score);
        self.score >= VIOLATION_LIMIT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_bad_messages_at_once_end_a_session() {
        let mut violations = Violations::default();
        let now = Nanos::from_ms(5_000);
        assert!((0..19).all(|_| !violations.add(5, now)));
        assert!(violations.add(5, now));
    }

    #[test]
    fn one_bad_message_every_five_seconds_is_forgiven_for_ever() {
        let mut violations = Violations::default();
        assert!((0..10_000).all(|i| !violations.add(5, Nanos::from_ms(i * 5_000))));
    }

    #[test]
    fn fractions_of_a_second_add_up() {
        let mut violations = Violations::default();
        violations.add(50, Nanos(0));
        for ms in (100..=10_000).step_by(100) {
            assert!(!violations.add(0, Nanos::from_ms(ms)));
        }
        assert!(!violations.add(59, Nanos::from_ms(10_000)), "ten seconds take ten");
        assert!(violations.add(1, Nanos::from_ms(10_000)));
    }
}
