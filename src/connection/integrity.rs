//! Questions of the integrity check: when they are put, and what becomes of the answers.
//!
//! Telemetry: who does not answer, or wrongly, gets a score that is bounded, so that it alone never
//! ends a session; a determined player can forge every answer. Owns: the questioning of each
//! session. Never draws at random: questions follow from a secret seed that came with the
//! admission. Called by `liveness` when a question is due, and by `decode`.

use super::decode::Stop;
use super::table::{FAR, Sessions};
use crate::crypto::integrity::{Examiner, INTEGRITY_LEN, Question};
use crate::limits::{INTEGRITY_INTERVAL_S, INTEGRITY_PATIENCE_S};
use crate::metrics::{Counter, Counters, DropReason};
use crate::time::Nanos;
use crate::wire::Stage;

/// A question is repeated, in new packets, until it is answered: packets get lost.
const REPEAT: Nanos = Nanos::from_ms(1_000);

/// When questions are put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntegrityPace {
    /// Seconds from one question to the next.
    pub interval_s: u32,
    /// Seconds that an answer may take; less than the interval.
    pub patience_s: u32,
}

impl Default for IntegrityPace {
    fn default() -> Self {
        Self { interval_s: INTEGRITY_INTERVAL_S, patience_s: INTEGRITY_PATIENCE_S }
    }
}

impl IntegrityPace {
    fn interval(&self) -> Nanos {
        Nanos::from_ms(u64::from(self.interval_s) * 1_000)
    }

    fn patience(&self) -> Nanos {
        Nanos::from_ms(u64::from(self.patience_s) * 1_000)
    }
}

/// The questioning of one session.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    examiner: Option<Examiner>,
    /// Questions put so far.
    asked: u32,
    /// The one that waits for its answer, and since when.
    open: Option<(Question, Nanos)>,
    /// When it is time to ask, to repeat or to give up; `FAR` for a session that is not questioned.
    pub(super) due: Nanos,
    /// What the next control packet is to ask.
    pub(super) outgoing: Option<Question>,
}

impl Watch {
    /// Nobody is asked.
    pub(super) const NONE: Self =
        Self { examiner: None, asked: 0, open: None, due: FAR, outgoing: None };

    /// From `now` on; sessions that come together are not asked together.
    pub(super) fn new(examiner: Option<Examiner>, pace: &IntegrityPace, now: Nanos) -> Self {
        let Some(examiner) = examiner else { return Self::NONE };
        let (_, chance) = examiner.question(0);
        let wait_ms = u64::from(chance) % pace.interval().as_ms().max(1);
        let due = now.plus(Nanos::from_ms(wait_ms));
        Self { examiner: Some(examiner), due, ..Self::NONE }
    }
}

impl Sessions {
    /// Asks, repeats or gives up, as is due. Tells whether the session is to be ended for its
    /// violations, of which these are never the only ones.
    #[cold]
    pub(super) fn examine(
        &mut self,
        index: usize,
        stage: Stage,
        now: Nanos,
        counters: &Counters,
    ) -> bool {
        let rules = &self.config.rules;
        let (interval, patience) = (rules.integrity.interval(), rules.integrity.patience());
        let watch = &mut self.watch[index];
        let Some(examiner) = &watch.examiner else {
            watch.due = FAR;
            return false;
        };
        if stage == Stage::Unconfirmed {
            watch.due = now.plus(REPEAT);
            return false;
        }
        let (question, since) = match watch.open {
            Some((_, since)) if now.since(since) >= patience => {
                (watch.open, watch.outgoing) = (None, None);
                watch.due = since.plus(interval).max(now);
                counters.add(Counter::IntegrityUnanswered, 1);
                return self.violations[index].add(DropReason::Integrity, &rules.scores, now);
            }
            Some(open) => open,
            None => {
                let (question, _) = examiner.question(watch.asked);
                watch.asked = watch.asked.wrapping_add(1);
                counters.add(Counter::IntegrityAsked, 1);
                (question, now)
            }
        };
        watch.open = Some((question, since));
        watch.outgoing = Some(question);
        watch.due = now.plus(REPEAT).min(since.plus(patience));
        false
    }

    /// An answer has come. One to a question that is not open is late or a repetition.
    #[cold]
    pub(super) fn take_answer(
        &mut self,
        index: usize,
        key: u16,
        answer: &[u8; INTEGRITY_LEN],
        counters: &Counters,
    ) -> Result<(), Stop> {
        let watch = &mut self.watch[index];
        let open = watch.open.filter(|(question, _)| question.index == key);
        let (Some((question, since)), Some(examiner)) = (open, &watch.examiner) else {
            return Ok(());
        };
        (watch.open, watch.outgoing) = (None, None);
        watch.due = since.plus(self.config.rules.integrity.interval());
        if examiner.accepts(&question, answer) {
            counters.add(Counter::IntegrityPassed, 1);
            return Ok(());
        }
        Err(Stop::Fault(DropReason::Integrity))
    }
}
