//! The keys of a session, epoch by epoch: which one seals, which one opens, and the client's part
//! in a rekey.
//!
//! The server asks; the client answers with one public key per epoch, takes packets of the next
//! epoch from then on, and turns to it, for both directions at once, when the first of them opens.
//! Reads no clock and draws no random number: the ephemeral secret is an argument. Never touches
//! sequences or windows: they go on. Called by `session`.

use super::Client;
use super::error::ClientError;
use crate::crypto::aead::PacketKey;
use crate::crypto::dh;
use crate::crypto::schedule::Root;
use crate::crypto::secret::Secret;
use crate::limits::{
    FAILED_OPENS_MAX, KEY_AGE_MAX_MS, KEY_BYTES_MAX, REKEY_HOLD_MS, REKEY_INTERVAL_MS,
};
use crate::time::Nanos;
use crate::wire::{ControlMessage, FLAGS_AT, Flags, Header, RekeyPart};

const INTERVAL: Nanos = Nanos::from_ms(REKEY_INTERVAL_MS);
const HOLD: Nanos = Nanos::from_ms(REKEY_HOLD_MS);
const KEY_AGE_MAX: Nanos = Nanos::from_ms(KEY_AGE_MAX_MS);
const FAR: Nanos = Nanos(u64::MAX);

/// The keys of both directions.
pub(super) struct Keys {
    open: PacketKey,
    seal: PacketKey,
    /// The flag for the parity of the current epoch, which is that of both keys.
    parity: Flags,
    epoch: u16,
    /// Bytes of the datagrams opened and sealed in this epoch.
    carried: u64,
    failed_opens: u64,
    /// When the epoch began.
    since: Nanos,
    /// The server's part, while the caller's secret is awaited.
    asked: Option<[u8; 32]>,
    /// Our part, while packets of the next epoch are awaited, and when to say it again.
    answered: Option<[u8; 32]>,
    answer_at: Nanos,
    /// Sequence of the first packet that opened in this epoch, and until when packets before it may
    /// open under `previous`.
    first: u64,
    hold_until: Nanos,
    /// Of this epoch, or of the next one while `answered`.
    root: Root,
    next_open: Secret,
    next_seal: Secret,
    /// Opens packets of the epoch before; while `answered`, kept for the current one.
    previous: Secret,
}

impl Client {
    /// How often the keys of the session were replaced, modulo 65,536; 0 without a session.
    pub fn key_epoch(&self) -> u16 {
        self.session().map_or(0, |session| session.keys().epoch)
    }

    /// Whether `answer_rekey` is awaited. The event `RekeyRequested` says so, unless something else
    /// happened with the same datagram; it is repeated.
    pub fn is_rekey_requested(&self) -> bool {
        self.session().is_some_and(|session| session.keys().asked.is_some())
    }

    /// Takes part in the rekey that the server asked for, with 32 fresh random bytes that serve
    /// nothing else. Without it the server ends the session after 30 s. Does nothing if the server
    /// did not ask.
    pub fn answer_rekey(&mut self, secret: [u8; 32], now: Nanos) {
        if let Some(session) = self.session_mut() {
            session.answer_rekey(secret, now);
        }
    }
}

impl Keys {
    /// Epoch 0, which begins at `now`.
    pub(super) fn new(root: &Root, now: Nanos) -> Self {
        Self {
            open: PacketKey::new(&root.server_to_client(0)),
            seal: PacketKey::new(&root.client_to_server(0)),
            parity: Flags::default(),
            epoch: 0,
            carried: 0,
            failed_opens: 0,
            since: now,
            asked: None,
            answered: None,
            answer_at: FAR,
            first: 0,
            hold_until: Nanos(0),
            root: root.clone(),
            next_open: Secret::default(),
            next_seal: Secret::default(),
            previous: Secret::default(),
        }
    }

    /// What an arriving packet touches.
    pub(super) fn opening(&self) -> &PacketKey {
        &self.open
    }

    /// Whether the keys must not be used any more: a server that has not asked for others by now
    /// never will.
    pub(super) fn are_worn_out(&self, now: Nanos) -> bool {
        self.carried >= KEY_BYTES_MAX
            || self.failed_opens >= FAILED_OPENS_MAX
            || now.since(self.since) >= KEY_AGE_MAX
    }

    /// Opens `datagram`, whose sequence is neither seen nor too old.
    #[inline]
    pub(super) fn open<'a>(
        &mut self,
        now: Nanos,
        header: Header,
        datagram: &'a mut [u8],
    ) -> Result<&'a [u8], ClientError> {
        if header.flags.and(Flags::REKEY) != self.parity {
            return self.open_other_epoch(now, header.sequence, datagram);
        }
        let length = datagram.len() as u64;
        let Ok(plaintext) = self.open.open(datagram) else { return Err(self.failed()) };
        self.carried += length;
        Ok(plaintext)
    }

    /// Under the key of the next epoch, if there is one, and then it is the current one; else under
    /// that of the one before, if the packet was sent before the first of this epoch.
    #[cold]
    fn open_other_epoch<'a>(
        &mut self,
        now: Nanos,
        sequence: u64,
        datagram: &'a mut [u8],
    ) -> Result<&'a [u8], ClientError> {
        let is_next = self.answered.is_some();
        if !is_next && (sequence >= self.first || now >= self.hold_until) {
            return Err(ClientError::Epoch);
        }
        let length = datagram.len() as u64;
        let key = if is_next { &self.next_open } else { &self.previous };
        let Ok(plaintext) = PacketKey::new(key.bytes()).open(datagram) else {
            return Err(self.failed());
        };
        if is_next {
            self.turn(now, sequence);
        }
        self.carried += length;
        Ok(plaintext)
    }

    fn failed(&mut self) -> ClientError {
        self.failed_opens += 1;
        ClientError::Open
    }

    /// The first packet of the next epoch has opened.
    fn turn(&mut self, now: Nanos, sequence: u64) {
        self.open = PacketKey::new(self.next_open.bytes());
        self.seal = PacketKey::new(self.next_seal.bytes());
        self.next_open.erase();
        self.next_seal.erase();
        self.parity = self.parity.toggled(Flags::REKEY);
        self.epoch = self.epoch.wrapping_add(1);
        (self.answered, self.answer_at) = (None, FAR);
        (self.first, self.hold_until) = (sequence, now.plus(HOLD));
        (self.since, self.carried) = (now, 0);
    }

    /// Seals `datagram`, whose header has no epoch yet.
    #[inline]
    pub(super) fn seal(&mut self, datagram: &mut [u8]) {
        datagram[FLAGS_AT] |= self.parity.0;
        self.carried += datagram.len() as u64;
        self.seal.seal(datagram);
    }

    /// The server asks for our part. Tells whether the caller's secret is awaited.
    ///
    /// # Errors
    /// When it asks for another epoch than the next.
    pub(super) fn handle_request(
        &mut self,
        part: RekeyPart,
        now: Nanos,
    ) -> Result<bool, ClientError> {
        if part.epoch == self.epoch && now < self.hold_until {
            // Late, under the key before.
            return Ok(false);
        }
        if part.epoch != self.epoch.wrapping_add(1) {
            return Err(ClientError::Unexpected);
        }
        if self.answered.is_none() && self.asked.is_none() {
            self.asked = Some(part.public);
        }
        Ok(self.asked.is_some())
    }

    /// Takes part with the ephemeral `secret`, if the server has asked: from now on packets of the
    /// next epoch open, and our part is sent.
    pub(super) fn answer(&mut self, secret: [u8; 32], now: Nanos) {
        let secret = Secret::new(secret);
        let Some(theirs) = self.asked.take() else { return };
        // A part of small order is no part: without an answer the server gives up.
        let Ok(shared) = dh::agree(secret.bytes(), &theirs) else { return };
        let ours = dh::public_of(secret.bytes());
        let next = self.epoch.wrapping_add(1);
        self.previous.set(self.root.server_to_client(self.epoch));
        self.root.advance(next, &theirs, &ours, &shared);
        self.next_open.set(self.root.server_to_client(next));
        self.next_seal.set(self.root.client_to_server(next));
        (self.answered, self.answer_at) = (Some(ours), now);
        // Two former keys are never held.
        self.hold_until = Nanos(0);
    }

    /// Our part, when it is due.
    pub(super) fn poll_answer(&mut self, now: Nanos) -> Option<ControlMessage> {
        if now >= self.hold_until && self.hold_until.0 > 0 {
            self.previous.erase();
            self.hold_until = Nanos(0);
        }
        let public = self.answered.filter(|_| now >= self.answer_at)?;
        self.answer_at = now.plus(INTERVAL);
        let epoch = self.epoch.wrapping_add(1);
        Some(ControlMessage::RekeyResponse(RekeyPart { epoch, public }))
    }

    /// When `poll_answer` has something to do.
    pub(super) fn next_timeout(&self) -> Nanos {
        if self.hold_until.0 > 0 { self.answer_at.min(self.hold_until) } else { self.answer_at }
    }
}
