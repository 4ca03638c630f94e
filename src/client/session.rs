//! The sealed half of a client: keys, sequences, replay window, acknowledgments, and what serves
//! the connection itself. Knows nothing of the world; called by `machine`.

use super::Hint;
use super::acks::{Processed, Rtt, Sent};
use super::delivery::Delivery;
use super::error::ClientError;
use super::identity::Identity;
use super::rekey::Keys;
use crate::crypto::integrity::{KeyTable, Question};
use crate::crypto::replay::ReplayWindow;
use crate::crypto::schedule::Root;
use crate::limits::{
    DATAGRAM_MAX, DISCONNECT_INTERVAL_MS, DISCONNECT_REPEATS, HEADER_LEN, HEARTBEAT_MS,
    REPLAY_WINDOW_CLIENT, TAG_LEN, TIMEOUT_MS,
};
use crate::time::Nanos;
use crate::wire::{
    AckBlock, Channel, ConnectionId, ControlMessage, DisconnectReason, Flags, Header,
    IntegrityRole, Reader, Stage, Writer,
};
use std::slice::from_ref;
use zeroize::Zeroizing;

const CRYPTO_TEST_RESEND: Nanos = Nanos::from_ms(250);
const ACK_DELAY: Nanos = Nanos::from_ms(25);
const HEARTBEAT: Nanos = Nanos::from_ms(HEARTBEAT_MS);
const TIMEOUT: Nanos = Nanos::from_ms(TIMEOUT_MS);
/// Flags of packets that serve reliable delivery.
const RELIABLE: Flags = Flags::FRAGMENT.with(Flags::COMPRESSED).with(Flags::RELIABLE_HANDSHAKE);

/// What a control message led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ControlOutcome {
    Nothing,
    Confirmed,
    /// The session has another id.
    Moved,
    /// The server asks for new keys.
    RekeyRequested,
    Disconnected(DisconnectReason),
}

/// A packet that opened.
pub(super) struct Opened<'a> {
    pub(super) channel: Channel,
    pub(super) flags: Flags,
    pub(super) sequence: u64,
    /// The plaintext behind the acknowledgment block.
    pub(super) messages: &'a [u8],
}

/// Which of the flags go with which channel.
#[cold]
fn check_reliable(header: Header) -> Result<(), ClientError> {
    let allowed = match header.channel {
        Channel::Unreliable => Flags::default(),
        Channel::ReliableOrdered | Channel::ReliableUnordered => {
            Flags::FRAGMENT.with(Flags::COMPRESSED)
        }
        Channel::Control => Flags::RELIABLE_HANDSHAKE,
    };
    let has = Flags(header.flags.0 & RELIABLE.0);
    if allowed.contains(has) { Ok(()) } else { Err(ClientError::Unexpected) }
}

/// An accepted session.
pub(super) struct Session {
    identity: Identity,
    pub(super) stage: Stage,
    /// Of the last packet sent; the first has 1.
    sequence: u64,
    window: ReplayWindow<{ REPLAY_WINDOW_CLIENT / 64 }>,
    processed: Processed,
    heard_at: Nanos,
    spoke_at: Nanos,
    ack_sent_at: Nanos,
    ping_sent_at: Nanos,
    /// Something is to be said at once, if only a Ping.
    is_elsewhere: bool,
    /// Nonce of a Ping that waits for its Pong.
    pong_due: Option<u64>,
    /// The question of an integrity check that waits for its answer.
    question_due: Option<Question>,
    /// The secret of the integrity check.
    exporter: Zeroizing<[u8; 32]>,
    /// Next CryptoTest while unconfirmed, next Disconnect while leaving.
    next_step: Nanos,
    /// Disconnects still to be sent, once the client leaves, and why it does.
    farewells: Option<u8>,
    pub(super) leaves_for: DisconnectReason,
    crypto_test: [u8; 16],
    sent: Sent,
    /// Reliable messages, once there are any.
    pub(super) delivery: Option<Box<Delivery>>,
    keys: Keys,
}

impl Session {
    pub(super) fn new(
        connection: ConnectionId,
        root: &Root,
        crypto_test: [u8; 16],
        now: Nanos,
    ) -> Self {
        Self {
            identity: Identity::new(connection),
            stage: Stage::Unconfirmed,
            sequence: 0,
            window: ReplayWindow::default(),
            processed: Processed::default(),
            heard_at: now,
            spoke_at: now,
            ack_sent_at: now,
            ping_sent_at: now,
            is_elsewhere: false,
            pong_due: None,
            question_due: None,
            exporter: Zeroizing::new(root.exporter()),
            next_step: now,
            farewells: None,
            leaves_for: DisconnectReason::Left,
            crypto_test,
            sent: Sent::default(),
            delivery: None,
            keys: Keys::new(root, now),
        }
    }

    /// Asks for what an arriving packet touches.
    pub(super) fn anticipate(&self, hint: &impl Hint) {
        hint.soon(from_ref(self.keys.opening()));
        hint.soon(from_ref(&self.window));
        hint.soon(from_ref(&self.processed));
        hint.soon(from_ref(&self.heard_at));
    }

    pub(super) fn connection(&self) -> ConnectionId {
        self.identity.id()
    }

    pub(super) fn rtt(&self) -> Rtt {
        self.sent.rtt
    }

    /// Packets of this client that the server never acknowledged.
    pub(super) fn lost(&self) -> u32 {
        self.sent.lost
    }

    pub(super) fn is_timed_out(&self, now: Nanos) -> bool {
        now.since(self.heard_at) >= TIMEOUT
    }

    /// Opens `datagram`, whose header is `header`. Nothing has changed if this fails before the
    /// packet authenticated; liveness and acknowledgments have been taken in when it succeeds.
    pub(super) fn open<'a>(
        &mut self,
        now: Nanos,
        header: Header,
        datagram: &'a mut [u8],
    ) -> Result<Opened<'a>, ClientError> {
        if !self.identity.accepts(header.connection, now) {
            return Err(ClientError::Connection);
        }
        self.window.peek(header.sequence).map_err(|_| ClientError::Replay)?;
        let plaintext: &'a [u8] = self.keys.open(now, header, datagram)?;
        self.window.commit(header.sequence);
        self.heard_at = now;
        self.identity.opened(header.connection, now);
        if header.flags.intersects(RELIABLE) {
            check_reliable(header)?;
        }
        let mut messages = plaintext;
        if header.flags.contains(Flags::ACKNOWLEDGMENT) {
            let mut reader = Reader::new(plaintext);
            let block = AckBlock::read(&mut reader).map_err(|_| ClientError::Message)?;
            let before = self.delivery.is_some().then(|| self.sent.acknowledged());
            self.sent.handle(block, now).map_err(|_| ClientError::FalseAck)?;
            if let (Some(before), Some(delivery)) = (before, &mut self.delivery) {
                before.fresh(&block).for_each(|sequence| delivery.acknowledged(sequence, now));
            }
            messages = reader.slice(reader.remaining()).unwrap_or_default();
        }
        let Header { channel, flags, sequence, .. } = header;
        Ok(Opened { channel, flags, sequence, messages })
    }

    /// Marks a packet as processed, which is what acknowledges it.
    pub(super) fn processed(&mut self, sequence: u64, now: Nanos) {
        self.processed.note(sequence, now);
    }

    /// Takes in a message of the packet with `sequence`.
    pub(super) fn handle_control(
        &mut self,
        now: Nanos,
        sequence: u64,
        message: ControlMessage,
    ) -> Result<ControlOutcome, ClientError> {
        match message {
            ControlMessage::Ping { nonce } => self.pong_due = Some(nonce),
            ControlMessage::Pong { nonce, .. } => {
                // The nonce is the time the Ping left, so nothing needs to be remembered.
                let elapsed = now.as_us().checked_sub(nonce).filter(|&us| us < 1 << 31);
                self.sent.rtt.sample(elapsed.ok_or(ClientError::Unexpected)? as u32);
            }
            ControlMessage::Ack => {}
            ControlMessage::ReliableHandshake(hello) => self.hear_hello(now, hello)?,
            ControlMessage::Moved { connection } => {
                if self.identity.moved(connection, sequence) {
                    return Ok(ControlOutcome::Moved);
                }
            }
            ControlMessage::Disconnect { reason, .. } => {
                return Ok(ControlOutcome::Disconnected(reason));
            }
            ControlMessage::CryptoTestAck(echo) if echo == self.crypto_test => {
                if self.stage == Stage::Unconfirmed {
                    self.stage = Stage::Confirmed;
                    return Ok(ControlOutcome::Confirmed);
                }
            }
            ControlMessage::CheckIntegrity { index, role: IntegrityRole::Question, bytes } => {
                self.question_due = Some(Question { index, nonce: bytes });
            }
            ControlMessage::RekeyRequest(part) => {
                if self.keys.handle_request(part, now)? {
                    return Ok(ControlOutcome::RekeyRequested);
                }
            }
            ControlMessage::CheckIntegrity { .. }
            | ControlMessage::CryptoTestAck(_)
            | ControlMessage::CryptoTest(_)
            | ControlMessage::RekeyResponse(_) => {
                return Err(ClientError::Unexpected);
            }
        }
        Ok(ControlOutcome::Nothing)
    }

    /// The client speaks from another address: the server is to notice at once.
    pub(super) fn socket_changed(&mut self) {
        self.is_elsewhere = true;
    }

    /// The keys: what is asked of them, and how they fare.
    pub(super) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Takes part in the rekey that the server asked for.
    pub(super) fn answer_rekey(&mut self, secret: [u8; 32], now: Nanos) {
        self.keys.answer(secret, now);
    }

    /// Starts to leave: from now on nothing but Disconnects is sent.
    pub(super) fn leave(&mut self, now: Nanos, reason: DisconnectReason) {
        if self.farewells.is_none() {
            self.leaves_for = reason;
            self.farewells = Some(DISCONNECT_REPEATS);
            self.next_step = now;
        }
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.farewells.is_some()
    }

    /// The client has said goodbye as often as it should.
    pub(super) fn has_left(&self) -> bool {
        self.farewells == Some(0)
    }

    /// Writes what the connection itself has to say before any game message.
    pub(super) fn poll_urgent(
        &mut self,
        now: Nanos,
        out: &mut [u8; DATAGRAM_MAX],
    ) -> Option<usize> {
        if let Some(left) = self.farewells {
            if left == 0 || now < self.next_step {
                return None;
            }
            self.farewells = Some(left - 1);
            self.next_step = now.plus(Nanos::from_ms(DISCONNECT_INTERVAL_MS));
            let goodbye = ControlMessage::Disconnect { reason: self.leaves_for, retry_s: 0 };
            return Some(self.send_control(now, goodbye, out));
        }
        if self.stage == Stage::Unconfirmed && now >= self.next_step {
            self.next_step = now.plus(CRYPTO_TEST_RESEND);
            return Some(self.send_control(now, ControlMessage::CryptoTest(self.crypto_test), out));
        }
        // A server that asks an unconfirmed client has got its CryptoTest, perhaps from elsewhere.
        if let Some(nonce) = self.pong_due.take() {
            let pong = ControlMessage::Pong { nonce, clock_us: now.as_us() };
            return Some(self.send_control(now, pong, out));
        }
        let answer = self.keys.poll_answer(now)?;
        Some(self.send_control(now, answer, out))
    }

    /// Answers an integrity check if there is a question, and a key for it in `table`.
    pub(super) fn poll_answer(
        &mut self,
        now: Nanos,
        table: Option<&KeyTable>,
        out: &mut [u8; DATAGRAM_MAX],
    ) -> Option<usize> {
        let Question { index, nonce } = self.question_due.take()?;
        let bytes = table?.answer(&self.exporter, &nonce, index)?;
        let role = IntegrityRole::Answer;
        let answer = ControlMessage::CheckIntegrity { index, role, bytes };
        Some(self.send_control(now, answer, out))
    }

    /// Writes what is left when no game message has to go: a Ping after silence, or an
    /// acknowledgment that has waited long enough.
    pub(super) fn poll_idle(&mut self, now: Nanos, out: &mut [u8; DATAGRAM_MAX]) -> Option<usize> {
        if self.stage == Stage::Unconfirmed || self.is_leaving() {
            return None;
        }
        if now >= self.ping_due() || self.is_elsewhere {
            self.ping_sent_at = now;
            return Some(self.send_control(now, ControlMessage::Ping { nonce: now.as_us() }, out));
        }
        let ack_due = self.processed.unsent && now.since(self.ack_sent_at) >= ACK_DELAY;
        ack_due.then(|| self.send_control(now, ControlMessage::Ack, out))
    }

    fn ping_due(&self) -> Nanos {
        let silence = self.heard_at.min(self.spoke_at).plus(HEARTBEAT);
        silence.max(self.ping_sent_at.plus(HEARTBEAT))
    }

    /// When `poll_urgent` or `poll_idle` may have something, or the session times out.
    pub(super) fn next_timeout(&self) -> Nanos {
        let is_asked = self.is_elsewhere || self.question_due.is_some();
        if self.pong_due.is_some() || (is_asked && !self.is_leaving()) {
            return Nanos(0);
        }
        let mut next = self.heard_at.plus(TIMEOUT);
        if self.is_leaving() || self.stage == Stage::Unconfirmed {
            return next.min(self.next_step);
        }
        next = next.min(self.ping_due()).min(self.keys.next_timeout());
        if let Some(delivery) = &self.delivery {
            next = next.min(delivery.due());
        }
        if self.processed.unsent { next.min(self.ack_sent_at.plus(ACK_DELAY)) } else { next }
    }

    fn send_control(
        &mut self,
        now: Nanos,
        message: ControlMessage,
        out: &mut [u8; DATAGRAM_MAX],
    ) -> usize {
        self.send(now, Channel::Control, out, |writer| message.write(writer))
    }

    /// The sequence that the next packet will have.
    pub(super) fn next_sequence(&self) -> u64 {
        self.sequence + 1
    }

    /// Writes and seals a packet: header, acknowledgments, then what `messages` writes (the
    /// caller's own messages are bounded and fit). Returns the length of the datagram.
    #[inline]
    pub(super) fn send(
        &mut self,
        now: Nanos,
        channel: Channel,
        out: &mut [u8; DATAGRAM_MAX],
        messages: impl FnOnce(&mut Writer<'_>),
    ) -> usize {
        self.send_with(now, channel, Flags::default(), out, messages)
    }

    /// As `send`, with more flags in the header.
    #[inline]
    pub(super) fn send_with(
        &mut self,
        now: Nanos,
        channel: Channel,
        more: Flags,
        out: &mut [u8; DATAGRAM_MAX],
        messages: impl FnOnce(&mut Writer<'_>),
    ) -> usize {
        self.sequence += 1;
        let block = self.processed.block(now).filter(|_| self.stage != Stage::Unconfirmed);
        let flags =
            if block.is_some() { Flags::SEALED.with(Flags::ACKNOWLEDGMENT) } else { Flags::SEALED };
        let flags = flags.with(more);
        let mut writer = Writer::new(&mut out[..DATAGRAM_MAX - TAG_LEN]);
        let (connection, sequence) = (self.identity.id(), self.sequence);
        Header { connection, channel, flags, sequence }.put(&mut writer);
        if let Some(block) = block {
            block.write(&mut writer);
            self.processed.unsent = false;
            self.ack_sent_at = now;
        }
        messages(&mut writer);
        self.is_elsewhere = false;
        let end = writer.finish().expect("own messages are far smaller than a datagram");
        debug_assert!(end >= HEADER_LEN);
        self.keys.seal(&mut out[..end + TAG_LEN]);
        self.sent.note(self.sequence, now);
        self.spoke_at = now;
        end + TAG_LEN
    }
}
