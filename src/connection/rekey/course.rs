//! Of a rekey what is no secret: when it is due, and how far it has come.
//!
//! Owns times, numbers and public keys of one session. Never holds a secret, so all of it may be
//! printed. Called by `rekey`.

use super::super::table::FAR;
use super::{KEY_AGE_MAX, PATIENCE, POSTPONED};
use crate::limits::{
    FAILED_OPENS_REKEY, REKEY_BYTES, REKEY_BYTES_MIN, REKEY_SECONDS, REKEY_SECONDS_MIN,
    REKEY_SPACING_MS,
};
use crate::time::Nanos;

/// No session carries more: a bound on when a number of bytes can have been reached.
const BYTES_PER_S_MAX: u64 = 1 << 20;

/// When the keys of a session are worn, and are to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RekeyPolicy {
    bytes: u64,
    period: Nanos,
}

impl Default for RekeyPolicy {
    fn default() -> Self {
        Self::new(REKEY_BYTES, REKEY_SECONDS)
    }
}

impl RekeyPolicy {
    /// After so many bytes of both directions, or so many seconds; within the limits.
    pub fn new(bytes: u64, seconds: u32) -> Self {
        let seconds = seconds.clamp(REKEY_SECONDS_MIN, REKEY_SECONDS);
        Self {
            bytes: bytes.clamp(REKEY_BYTES_MIN, REKEY_BYTES),
            period: Nanos::from_ms(u64::from(seconds) * 1_000),
        }
    }

    /// Time from one rekey to the next, at least.
    pub(super) fn spacing(self) -> Nanos {
        self.period.min(Nanos::from_ms(REKEY_SPACING_MS))
    }
}

/// How far a rekey has come. See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Resting,
    Asked,
    Derived,
    Turned,
}

/// Times, numbers and public keys: what may be printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Course {
    pub(super) phase: Phase,
    /// Of the key in `Keys::open`.
    pub(super) epoch: u16,
    /// Nothing has to be done before.
    pub(super) due: Nanos,
    /// When the epoch began.
    pub(super) since: Nanos,
    /// Age and bytes at which the keys are worn, jitter included.
    pub(super) worn_at: Nanos,
    pub(super) worn_bytes: u64,
    /// Failed opens at which they are.
    pub(super) worn_failures: u64,
    /// Sequence of the first packet that opened in this epoch, and until when packets before it may
    /// open under the key of the epoch before.
    pub(super) first: u64,
    pub(super) hold_until: Nanos,
    /// When the rekey under way began, and when its request is due again.
    pub(super) asked_at: Nanos,
    pub(super) request_at: Nanos,
    /// Our part in the rekey under way, and the client's.
    pub(super) public: [u8; 32],
    pub(super) answer: Option<[u8; 32]>,
    /// The sink does not know the sealing key, and has to: it is not that of epoch 0, and came from
    /// another table, or the sink had no room for it.
    pub(super) is_untold: bool,
}

impl Course {
    pub(super) fn new(now: Nanos) -> Self {
        Self {
            phase: Phase::Resting,
            epoch: 0,
            due: FAR,
            since: now,
            worn_at: FAR,
            worn_bytes: u64::MAX,
            worn_failures: u64::MAX,
            first: 0,
            hold_until: Nanos(0),
            asked_at: FAR,
            request_at: FAR,
            public: [0; 32],
            answer: None,
            is_untold: false,
        }
    }

    /// An epoch has begun at `since`, when `failures` packets had failed to open. Both thresholds
    /// lie up to an eighth later than the policy says, so that sessions that began together do not
    /// end together.
    pub(super) fn plan(&mut self, policy: RekeyPolicy, dice: u64, failures: u64) {
        let jitter = |whole: u64, share: u32| {
            whole + ((u128::from(whole / 8) * u128::from(share)) >> 32) as u64
        };
        self.worn_bytes = jitter(policy.bytes, dice as u32);
        self.worn_at = self.since.plus(Nanos(jitter(policy.period.0, (dice >> 32) as u32)));
        self.worn_failures = failures.saturating_add(FAILED_OPENS_REKEY);
        self.due = Nanos(0);
    }

    /// When something has to be done next, at `now`, with `carried` bytes under these keys.
    pub(super) fn next_due(&self, now: Nanos, carried: u64) -> Nanos {
        let dead_at = self.since.plus(KEY_AGE_MAX);
        if self.is_untold {
            return now;
        }
        match self.phase {
            Phase::Resting => {
                let left_ms = self.worn_bytes.saturating_sub(carried) / (BYTES_PER_S_MAX / 1_000);
                let by_bytes = now.plus(POSTPONED.max(Nanos::from_ms(left_ms)));
                let hold_ends = if self.hold_until.0 > 0 { self.hold_until } else { FAR };
                self.worn_at.max(now.plus(POSTPONED)).min(by_bytes).min(hold_ends).min(dead_at)
            }
            Phase::Asked if self.answer.is_some() => now,
            Phase::Asked => self.request_at.min(self.asked_at.plus(PATIENCE)).min(dead_at),
            Phase::Derived => self.asked_at.plus(PATIENCE).min(dead_at),
            Phase::Turned => now,
        }
    }
}
