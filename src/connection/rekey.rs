//! New keys for a session that lives on: when, step by step, and with which key a packet opens.
//!
//! Owns, per session, the root of its keys, and what is left of former and known of future ones.
//! Reads no clock and draws no random number: the host hands ephemeral secrets in, and when a rekey
//! is due is jittered from the session's seed. Never touches sequences or the replay window: they
//! go on. Called by `open` for packets of another epoch, by `decode` for answers, and by `liveness`
//! for what is due.
//!
//! ```text
//!  Resting   seals n,     opens n, and for 3 s n - 1
//!     | the keys are worn
//!  Asked     seals n,     opens n;     RekeyRequest every 250 ms
//!     | the client has answered, the keys of n + 1 are derived
//!  Derived   seals n + 1, opens n, and n + 1
//!     | a packet under n + 1 opens
//!  Turned    seals n + 1, opens n + 1, and for 3 s n;     counted, then Resting
//! ```
//!
//! The bit in the header is the parity of the epoch, so it names one of two keys: the current one,
//! and the other. A rekey begins only when the key before the current one has been erased; so the
//! other key is either the former or the next, never a choice between both.
//!
//! Cost: nothing for packets of the current epoch but a compare of two bytes that lie beside the
//! key, and one addition. To begin a rekey costs 13 µs, to derive its keys 41 µs (benches); two
//! begin and four derive per tick at most.

mod course;

pub use course::RekeyPolicy;

use super::acks::mix;
use super::admit::Admitted;
use super::decode::Sink;
use super::open::accept;
use super::table::{FAR, Keys, Sessions, Slot};
use crate::crypto::aead::PacketKey;
use crate::crypto::dh;
use crate::crypto::schedule::Root;
use crate::crypto::secret::Secret;
use crate::limits::{
    KEY_AGE_MAX_MS, KEY_BYTES_MAX, REKEY_HOLD_MS, REKEY_INTERVAL_MS, REKEY_TIMEOUT_MS,
    REKEYS_BEGUN_PER_TICK, REKEYS_DERIVED_PER_TICK,
};
use crate::metrics::{Counter, Counters, DropReason};
use crate::time::{Entropy, Nanos};
use crate::wire::{ControlMessage, RekeyPart};
use course::{Course, Phase};

const INTERVAL: Nanos = Nanos::from_ms(REKEY_INTERVAL_MS);
const HOLD: Nanos = Nanos::from_ms(REKEY_HOLD_MS);
const PATIENCE: Nanos = Nanos::from_ms(REKEY_TIMEOUT_MS);
const KEY_AGE_MAX: Nanos = Nanos::from_ms(KEY_AGE_MAX_MS);
/// How long a rekey waits when as many as may begin in this tick have begun, at least; at most
/// twice as long.
const POSTPONED: Nanos = Nanos::from_ms(100);

/// What a session has beside the keys it works with.
pub(super) struct Rekey {
    course: Course,
    /// Of the epoch that the sealing key is of.
    root: Root,
    /// Of our part, while the client is asked.
    ephemeral: Secret,
    /// Opens the client's packets of the epoch to come, once derived.
    next: Secret,
    /// Opens those of the epoch before; while `next` is there, those of the current one.
    previous: Secret,
}

/// What became of the keys of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tended {
    /// Nothing that the client has to be told.
    Kept,
    /// The client is to be asked for its part.
    Ask(ControlMessage),
    /// They have served as long as they may.
    WornOut,
    /// The client's part is one that nobody draws.
    Forged,
}

/// Secrets for the rekeys to come, and how many may still be begun and derived in this tick.
#[derive(Default)]
pub(super) struct Supply {
    secrets: [Secret; REKEYS_BEGUN_PER_TICK],
    wanted: usize,
    derived: usize,
}

/// The client gave its part without having been asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unasked;

impl Rekey {
    /// Of nobody.
    pub(super) fn empty() -> Self {
        Self::new(&Root::from_bytes([0; 32]), Nanos(0))
    }

    /// Of a session that begins at `now`; to be planned.
    pub(super) fn new(root: &Root, now: Nanos) -> Self {
        Self {
            course: Course::new(now),
            root: root.clone(),
            ephemeral: Secret::default(),
            next: Secret::default(),
            previous: Secret::default(),
        }
    }

    /// When `tend_keys` is to be called.
    pub(super) fn due(&self) -> Nanos {
        self.course.due
    }

    /// Packets that may fail to open before something has to be done.
    pub(super) fn worn_failures(&self) -> u64 {
        self.course.worn_failures
    }

    /// Which secrets are here: root, ephemeral, next, previous.
    #[cfg(test)]
    pub(super) fn held(&self) -> [bool; 4] {
        let Self { root, ephemeral, next, previous, .. } = self;
        let root = root.to_bytes() != [0; 32];
        [root, !ephemeral.is_erased(), !next.is_erased(), !previous.is_erased()]
    }

    /// Something has to be done now.
    pub(super) fn wake(&mut self) {
        self.course.due = Nanos(0);
    }

    /// Erases everything.
    pub(super) fn erase(&mut self) {
        let _ = self.take();
    }

    /// Takes everything out of its place, where zeros stay.
    pub(super) fn take(&mut self) -> Self {
        let course = std::mem::replace(&mut self.course, Course::new(Nanos(0)));
        Self {
            course,
            root: self.root.take(),
            ephemeral: self.ephemeral.take(),
            next: self.next.take(),
            previous: self.previous.take(),
        }
    }

    /// Arrived from another table: due at once, and whoever remembers the sealing key has to be
    /// told if it is not the first one, since what the other table told may come later.
    pub(super) fn arrived(mut self) -> Self {
        let course = &mut self.course;
        course.is_untold = course.epoch != 0 || course.phase == Phase::Derived;
        course.due = Nanos(0);
        self
    }

    fn ask(&mut self, secret: &Secret, now: Nanos) {
        let course = &mut self.course;
        (course.phase, course.asked_at, course.request_at) = (Phase::Asked, now, now);
        course.public = dh::public_of(secret.bytes());
        course.answer = None;
        self.ephemeral.set(*secret.bytes());
    }

    /// The epoch that the sealing key is of.
    fn sealing_epoch(&self) -> u16 {
        let is_ahead = self.course.phase == Phase::Derived;
        self.course.epoch.wrapping_add(is_ahead.into())
    }

    /// Agrees with the client's part: from now on `keys` seal under the next epoch, and its packets
    /// open. Returns the sealing key; `None` if the part is one of small order, and nothing has
    /// changed.
    fn derive(&mut self, answer: [u8; 32], keys: &mut Keys) -> Option<Secret> {
        let shared = dh::agree(self.ephemeral.bytes(), &answer).ok()?;
        let (epoch, next) = (self.course.epoch, self.course.epoch.wrapping_add(1));
        self.previous.set(self.root.client_to_server(epoch));
        self.root.advance(next, &self.course.public, &answer, &shared);
        self.ephemeral.erase();
        self.next.set(self.root.client_to_server(next));
        let seal = Secret::new(self.root.server_to_client(next));
        keys.seal_with(seal.bytes());
        (self.course.phase, self.course.answer) = (Phase::Derived, None);
        Some(seal)
    }

    /// The first packet of the next epoch has opened, under `sequence`.
    fn turn(&mut self, keys: &mut Keys, sequence: u64, now: Nanos) {
        keys.open_with(self.next.bytes());
        keys.carried = 0;
        self.next.erase();
        let course = &mut self.course;
        (course.phase, course.epoch) = (Phase::Turned, course.epoch.wrapping_add(1));
        (course.since, course.first, course.hold_until) = (now, sequence, now.plus(HOLD));
        (course.asked_at, course.request_at, course.due) = (FAR, FAR, Nanos(0));
    }
}

impl std::fmt::Debug for Rekey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.course.fmt(f)
    }
}

impl Sessions {
    /// Ephemeral secrets for rekeys that wait for one; draws nothing if none does. Call once per
    /// tick, before `poll_control`: a table that gets no secrets never rekeys, and ends its
    /// sessions after two hours.
    pub fn supply_secrets(&mut self, entropy: &mut dyn Entropy) {
        self.supply.derived = 0;
        let wanted = std::mem::take(&mut self.supply.wanted);
        for secret in self.supply.secrets.iter_mut().filter(|it| it.is_erased()).take(wanted) {
            secret.draw(entropy);
        }
    }

    /// Key epoch of what is opened and of what is sealed in `slot`; `None` without a session.
    pub fn epochs(&self, slot: Slot) -> Option<(u16, u16)> {
        let rekey = &self.rekey[usize::from(slot)];
        self.stage(slot).map(|_| (rekey.course.epoch, rekey.sealing_epoch()))
    }

    /// When the keys in `index` are to be replaced: an epoch has just begun.
    pub(super) fn plan_rekey(&mut self, index: usize) {
        let course = &mut self.rekey[index].course;
        let dice = mix(self.config.seed ^ u64::from(self.ingress[index].id.0));
        let dice = mix(dice ^ u64::from(course.epoch));
        course.plan(self.config.rekey, dice, self.failed_opens[index]);
    }

    /// Does what is due for the keys of the living session in `index`.
    #[cold]
    pub(super) fn tend_keys(
        &mut self,
        index: usize,
        now: Nanos,
        counters: &Counters,
        sink: &mut impl Sink,
    ) -> Tended {
        let tended = self.step(index, now, counters, sink);
        let carried = self.keys[index].as_ref().map_or(0, |keys| keys.carried);
        let course = &mut self.rekey[index].course;
        // A postponed one has set its own time.
        if course.due <= now || course.is_untold {
            course.due = course.next_due(now, carried);
        }
        tended
    }

    fn step(
        &mut self,
        index: usize,
        now: Nanos,
        counters: &Counters,
        sink: &mut impl Sink,
    ) -> Tended {
        // Who acknowledges, or wants to enter, knows that its keys are confirmed. Who does not know
        // it yet must not be asked: the answer to its CryptoTest may have been lost.
        let is_established = self.has_entered(index as Slot) || self.flow[index].sent.newest() > 0;
        let failures = self.failed_opens[index];
        let Some(keys) = &mut self.keys[index] else { return Tended::Kept };
        let rekey = &mut self.rekey[index];
        if rekey.course.is_untold {
            let epoch = rekey.sealing_epoch();
            let seal = Secret::new(rekey.root.server_to_client(epoch));
            rekey.course.is_untold = !sink.rekeyed(index as Slot, epoch, &seal);
        }
        if rekey.course.hold_until.0 > 0 && rekey.course.hold_until <= now {
            rekey.previous.erase();
            rekey.course.hold_until = Nanos(0);
        }
        let course = &mut rekey.course;
        if course.phase == Phase::Turned {
            course.phase = Phase::Resting;
            counters.add(Counter::RekeysCompleted, 1);
            self.plan_rekey(index);
            return Tended::Kept;
        }
        if matches!(course.phase, Phase::Asked | Phase::Derived)
            && now.since(course.asked_at) >= PATIENCE
        {
            counters.add(Counter::RekeysFailed, 1);
            return Tended::WornOut;
        }
        if keys.carried >= KEY_BYTES_MAX || now.since(course.since) >= KEY_AGE_MAX {
            return Tended::WornOut;
        }
        match (course.phase, course.answer) {
            (Phase::Resting, _) => {
                let is_worn = now >= course.worn_at
                    || keys.carried >= course.worn_bytes
                    || failures >= course.worn_failures;
                let spacing = self.config.rekey.spacing();
                let earliest = course.since.plus(spacing).max(course.hold_until);
                if is_worn && now < earliest {
                    course.due = if course.hold_until.0 > 0 { course.hold_until } else { earliest };
                } else if is_worn && is_established {
                    return self.begin_rekey(index, now, counters);
                }
            }
            (Phase::Asked, Some(answer)) if self.supply.derived < REKEYS_DERIVED_PER_TICK => {
                self.supply.derived += 1;
                let Some(seal) = rekey.derive(answer, keys) else {
                    counters.add(Counter::RekeysFailed, 1);
                    return Tended::Forged;
                };
                let epoch = rekey.sealing_epoch();
                rekey.course.is_untold = !sink.rekeyed(index as Slot, epoch, &seal);
            }
            (Phase::Asked, None) if now >= course.request_at => return self.request(index, now),
            (Phase::Asked | Phase::Derived | Phase::Turned, _) => {}
        }
        Tended::Kept
    }

    /// Asks the client for its part, if there is a secret for ours; else wants one and waits.
    fn begin_rekey(&mut self, index: usize, now: Nanos, counters: &Counters) -> Tended {
        let Some(secret) = self.supply.secrets.iter_mut().find(|it| !it.is_erased()) else {
            self.supply.wanted = REKEYS_BEGUN_PER_TICK;
            let course = &mut self.rekey[index].course;
            // Those who wait must not all come back in one tick, nor the same always first.
            let dice = mix(self.config.seed ^ now.0 ^ index as u64);
            course.due = now.plus(Nanos(POSTPONED.0 + dice % POSTPONED.0));
            return Tended::Kept;
        };
        self.rekey[index].ask(&secret.take(), now);
        counters.add(Counter::RekeysStarted, 1);
        self.request(index, now)
    }

    fn request(&mut self, index: usize, now: Nanos) -> Tended {
        let course = &mut self.rekey[index].course;
        course.request_at = now.plus(INTERVAL);
        let (epoch, public) = (course.epoch.wrapping_add(1), course.public);
        Tended::Ask(ControlMessage::RekeyRequest(RekeyPart { epoch, public }))
    }

    /// The client has given its part. The first one counts; others are repetitions.
    ///
    /// # Errors
    /// When it was not asked for that.
    pub(super) fn take_rekey_part(
        &mut self,
        index: usize,
        part: RekeyPart,
        now: Nanos,
    ) -> Result<(), Unasked> {
        let course = &mut self.rekey[index].course;
        let is_next = part.epoch == course.epoch.wrapping_add(1);
        match course.phase {
            Phase::Asked if is_next => {
                if course.answer.is_none() {
                    course.answer = Some(part.public);
                    course.due = Nanos(0);
                    self.due[index] = Nanos(0);
                }
                Ok(())
            }
            Phase::Derived if is_next => Ok(()),
            // Late, under the key before.
            _ if part.epoch == course.epoch && now < course.hold_until => Ok(()),
            _ => Err(Unasked),
        }
    }

    /// Opens a packet whose parity is not that of the current epoch: under the key of the next one,
    /// if it was derived, and then the session turns to it; else under that of the one before, if
    /// that is still held and the packet was sent before the first of this epoch.
    ///
    /// # Errors
    /// Why it is to be dropped. Nothing but the count of failed opens has changed.
    #[cold]
    pub(super) fn open_other_epoch<'a>(
        &mut self,
        now: Nanos,
        admitted: Admitted,
        datagram: &'a mut [u8],
    ) -> Result<&'a [u8], DropReason> {
        let index = usize::from(admitted.session.slot());
        let sequence = admitted.header.sequence;
        let Some(keys) = &mut self.keys[index] else { return Err(DropReason::UnknownConnection) };
        let rekey = &mut self.rekey[index];
        let (key, turns) = match rekey.course.phase {
            Phase::Derived => (&rekey.next, true),
            _ if sequence < rekey.course.first && now < rekey.course.hold_until => {
                (&rekey.previous, false)
            }
            _ => return Err(DropReason::Epoch),
        };
        let length = datagram.len();
        let Ok(plaintext) = PacketKey::new(key.bytes()).open(datagram) else {
            self.count_failed_open(index);
            return Err(DropReason::Open);
        };
        let rates = &self.config.rules.rates;
        accept(&mut self.ingress[index], keys, rates, sequence, length, now)?;
        if turns {
            rekey.turn(keys, sequence, now);
            self.due[index] = Nanos(0);
        }
        Ok(plaintext)
    }
}
