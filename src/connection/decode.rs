//! Phase decode: the plaintext of an opened packet becomes events.
//!
//! Acknowledgments first, then the messages, each checked against the table of what may be said at
//! this stage. The first fault ends the packet: what stood before it counts, what follows is
//! dropped, and the packet is not acknowledged. Calls the `Sink`; never sends. Called by the shard
//! or `handle_datagram`.

use super::admission::CloseReason;
use super::batch::Batch;
use super::budgets::is_input;
use super::open::{Opened, plaintext};
use super::table::{Sessions, Slot, State};
use crate::crypto::secret::Secret;
use crate::metrics::{Counter, Counters, DropReason};
use crate::time::Nanos;
use crate::wire::{
    AckBlock, Channel, ControlMessage, Direction, DisconnectReason, Flags, InputError, InputFrame,
    InputFrames, IntegrityRole, Message, Messages, ReadError, Reader, Stage, control_kind,
    is_allowed, read_enter_to_world, to_server,
};
use std::net::SocketAddr;

/// Who learns what the clients of a shard said. Called only for packets that opened.
pub trait Sink {
    /// The first packet of the session in `slot` opened: its token is used up.
    fn confirmed(&mut self, slot: Slot);
    /// The player in `slot` wants its entity. Called once per session.
    fn enter(&mut self, slot: Slot);
    /// The player in `slot` wants its entity, which it has: its snapshots may not arrive.
    fn enter_again(&mut self, _slot: Slot) {}
    /// The player in `slot`, which has entered, sent a frame that is newer than all before. In
    /// order of sequence, gaps possible.
    fn input(&mut self, slot: Slot, sequence: u32, frame: InputFrame);
    /// The client has processed the packet with this sequence. Called once per packet.
    fn acked(&mut self, slot: Slot, packet_sequence: u64);
    /// The session in `slot` has ended. Its slot can be given to another at once.
    fn closed(&mut self, slot: Slot, reason: CloseReason);
    /// The client of the session in `slot` is at another address from now on, which was not told
    /// before, or by another table. `false` if there is no room for that now: it is told again.
    fn readdressed(&mut self, _slot: Slot, _address: SocketAddr) -> bool {
        true
    }
    /// From now on packets to `slot` are sealed with `key`, that of `epoch`, which was not told
    /// before, or by another table. `false` if there is no room for that now: it is told again.
    fn rekeyed(&mut self, _slot: Slot, _epoch: u16, _key: &Secret) -> bool {
        true
    }
    /// Nothing is forwarded from `slot` any more. It can be given to another session.
    fn released(&mut self, _slot: Slot) {}
    /// The client in `slot` sent bytes for the game on a reliable channel: each message once, those
    /// of channel 1 in order.
    fn game_data(&mut self, _slot: Slot, _channel: Channel, _body: &[u8]) {}
}

/// What all steps of decoding one packet need.
#[derive(Clone, Copy)]
pub(super) struct Pass<'a> {
    pub(super) now: Nanos,
    pub(super) slot: Slot,
    pub(super) channel: Channel,
    pub(super) flags: Flags,
    /// Where the packet came from, if not from the active address, and its sequence.
    pub(super) stray: Option<(SocketAddr, u64)>,
    pub(super) counters: &'a Counters,
}

/// Why the rest of a packet is not read.
pub(super) enum Stop {
    /// The client is at fault; what that costs is in the rules.
    Fault(DropReason),
    /// There is no room: the client has to send it again.
    Refused,
    /// The client has left.
    Left(DisconnectReason),
}

pub(super) const MALFORMED: Stop = Stop::Fault(DropReason::Malformed);
pub(super) const UNEXPECTED: Stop = Stop::Fault(DropReason::Unexpected);
const FALSE_ACK: Stop = Stop::Fault(DropReason::FalseAck);

/// Which of the flags go with which channel. Clients do not compress.
#[cold]
fn check_reliable(pass: Pass<'_>) -> Result<(), Stop> {
    let allowed = match pass.channel {
        Channel::Unreliable => Flags::default(),
        Channel::ReliableOrdered | Channel::ReliableUnordered => Flags::FRAGMENT,
        Channel::Control => Flags::RELIABLE_HANDSHAKE,
    };
    let has = Flags(pass.flags.0 & RELIABLE.0);
    if allowed.contains(has) { Ok(()) } else { Err(UNEXPECTED) }
}

impl From<ReadError> for Stop {
    fn from(_: ReadError) -> Self {
        MALFORMED
    }
}

/// Flags of packets that serve reliable delivery.
const RELIABLE: Flags = Flags::FRAGMENT.with(Flags::COMPRESSED).with(Flags::RELIABLE_HANDSHAKE);

impl Sessions {
    /// Turns an opened packet into calls of `sink`.
    pub fn decode(
        &mut self,
        now: Nanos,
        opened: Opened<'_>,
        counters: &Counters,
        sink: &mut impl Sink,
    ) {
        let header = opened.admitted.header;
        let session = opened.admitted.session;
        let slot = session.slot();
        let index = usize::from(slot);
        if self.ingress[index].id != session {
            // An earlier packet of the same batch ended the session.
            return counters.drop(DropReason::UnknownConnection);
        }
        if header.connection == session {
            // After a hand-over this is the proof that the client knows the new id.
            self.flow[index].id = session;
        }
        if !self.pending[index].confirmed {
            self.pending[index].confirmed = true;
            counters.add(Counter::Confirmed, 1);
            sink.confirmed(slot);
        }
        let stray = opened.from.map(|from| (*from, header.sequence));
        let (channel, flags) = (header.channel, header.flags);
        let pass = Pass { now, slot, channel, flags, stray, counters };
        match self.read_packet(pass, opened.plaintext, sink) {
            Ok(asks_for_ack) => {
                let processed = &mut self.flow[index].processed;
                processed.add(header.sequence, now);
                if asks_for_ack {
                    if self.unacked[index] == 0 {
                        processed.waiting_since = now;
                    }
                    self.unacked[index] = self.unacked[index].saturating_add(1);
                }
            }
            Err(Stop::Fault(reason)) => {
                counters.drop(reason);
                let scores = &self.config.rules.scores;
                if self.violations[index].add(reason, scores, now) {
                    self.end_for_violations(slot, counters, sink);
                }
            }
            Err(Stop::Refused) => counters.add(Counter::MessagesRefused, 1),
            Err(Stop::Left(reason)) => {
                counters.add(Counter::Closed, 1);
                self.release(index);
                sink.closed(slot, CloseReason::Peer(reason));
            }
        }
    }

    /// Decodes every datagram of `batch` and empties it.
    pub fn decode_batch(
        &mut self,
        now: Nanos,
        batch: &mut Batch,
        counters: &Counters,
        sink: &mut impl Sink,
    ) {
        batch.retain(|entry, datagram| {
            let admitted = entry.admitted.expect("admit_batch comes before decode_batch");
            let from = admitted.is_stray.then_some(&entry.from);
            let opened = Opened { admitted, plaintext: plaintext(datagram), from };
            self.decode(now, opened, counters, sink);
            true
        });
        batch.clear();
    }

    /// All three phases for one datagram: admit, open, decode. Nothing is forwarded from here or to
    /// here.
    pub fn handle_datagram(
        &mut self,
        now: Nanos,
        from: SocketAddr,
        datagram: &mut [u8],
        counters: &Counters,
        sink: &mut impl Sink,
    ) {
        let admitted = match self.admit(now, from, datagram) {
            Err(DropReason::Address) => self.admit_elsewhere(now, from, datagram),
            admitted => admitted,
        };
        let opened = admitted.and_then(|admitted| match admitted.is_stray {
            true => self.open_stray(now, admitted, &from, datagram, counters),
            false => self.open(now, admitted, datagram),
        });
        match opened {
            Ok(opened) => {
                counters.add(Counter::PacketsOpened, 1);
                self.decode(now, opened, counters, sink);
            }
            Err(reason) => counters.drop(reason),
        }
    }

    /// Acknowledgments and messages of one packet. Tells whether the packet asks to be
    /// acknowledged.
    fn read_packet(
        &mut self,
        pass: Pass<'_>,
        plaintext: &[u8],
        sink: &mut impl Sink,
    ) -> Result<bool, Stop> {
        let is_reliable = pass.channel.has_message_ids() || pass.flags.intersects(RELIABLE);
        if is_reliable {
            check_reliable(pass)?;
        }
        let mut body = plaintext;
        if pass.flags.contains(Flags::ACKNOWLEDGMENT) {
            let mut reader = Reader::new(body);
            let block = AckBlock::read(&mut reader).map_err(|error| match error {
                ReadError::Value => FALSE_ACK,
                _ => MALFORMED,
            })?;
            self.read_acks(pass, &block, sink)?;
            body = reader.slice(reader.remaining())?;
        }
        if is_reliable && pass.channel != Channel::Control {
            return self.read_reliable(pass, body, sink);
        }
        let (mut asks_for_ack, mut has_input) = (false, false);
        for message in Messages::new(body, pass.channel) {
            let message = message?;
            // The message with inputs that an ordinary packet has costs what its packet costs.
            let is_input = is_input(message.kind) && pass.channel == Channel::Unreliable;
            if !is_input || std::mem::replace(&mut has_input, true) {
                self.spend(pass, message.kind)?;
            }
            self.read_message(pass, &message, sink)?;
            asks_for_ack |= message.kind != control_kind::ACK;
        }
        Ok(asks_for_ack)
    }

    /// Takes a message of type `kind` from the budget of its type. Channels with message ids have
    /// windows of their own.
    fn spend(&mut self, pass: Pass<'_>, kind: u8) -> Result<(), Stop> {
        let budgets = &self.config.rules.messages;
        let spent = &mut self.spent[usize::from(pass.slot)];
        if pass.channel.has_message_ids() || spent.allow(budgets, pass.channel, kind, pass.now) {
            return Ok(());
        }
        Err(Stop::Fault(DropReason::MessageRate))
    }

    /// The session in `slot` has broken the rules too often.
    #[cold]
    fn end_for_violations(&mut self, slot: Slot, counters: &Counters, sink: &mut impl Sink) {
        counters.add(Counter::Violations, 1);
        self.say_farewell(usize::from(slot), DisconnectReason::Violation, counters);
        sink.closed(slot, CloseReason::Violation);
    }

    /// Hands on what `block` acknowledges for the first time, and lets the budget follow.
    #[inline]
    fn read_acks(
        &mut self,
        pass: Pass<'_>,
        block: &AckBlock,
        sink: &mut impl Sink,
    ) -> Result<(), Stop> {
        let index = usize::from(pass.slot);
        let (flow, delivery) = (&mut self.flow[index], &mut self.delivery);
        let is_reliable = delivery.is_used(index);
        let mut fresh = 0;
        let each = |sequence| {
            fresh += 1;
            sink.acked(pass.slot, sequence);
            if is_reliable {
                delivery.acknowledged(index, sequence, pass.now);
            }
        };
        flow.sent.acknowledge(block, each).map_err(|_| FALSE_ACK)?;
        if is_reliable && fresh > 0 {
            self.due[index] = self.due[index].min(delivery.due(index));
        }
        if flow.meter.acknowledged(fresh, block.largest, pass.now) {
            let range = self.config.budget;
            let (meter, sent) = (&mut flow.meter, &flow.sent);
            let is_cut = self.control[index].heard(meter, sent, block, pass.now, range);
            pass.counters.add(Counter::BudgetCuts, is_cut.into());
        }
        Ok(())
    }

    fn read_message(
        &mut self,
        pass: Pass<'_>,
        message: &Message<'_>,
        sink: &mut impl Sink,
    ) -> Result<(), Stop> {
        let slot = pass.slot;
        let State::Live(stage) = self.state[usize::from(slot)] else { return Err(UNEXPECTED) };
        if !is_allowed(Direction::ToServer, pass.channel, stage, message.kind) {
            return Err(UNEXPECTED);
        }
        if pass.channel == Channel::Control {
            return self.read_control(pass, message, sink);
        }
        match message.kind {
            to_server::SYNC_ENTITY => self.read_input(pass, InputFrames::read(message.body), sink),
            to_server::SYNC_ENTITY_QUANTIZED => {
                self.read_input(pass, InputFrames::read_quantized(message.body), sink)
            }
            to_server::BENCHMARK => {
                Ok(self.read_benchmark(pass.now, slot, message.body, pass.counters)?)
            }
            to_server::ENTER_TO_WORLD => {
                read_enter_to_world(message.body)?;
                if stage == Stage::Confirmed {
                    self.state[usize::from(slot)] = State::Live(Stage::Entered);
                    sink.enter(slot);
                } else {
                    sink.enter_again(slot);
                }
                Ok(())
            }
            _ => Err(UNEXPECTED),
        }
    }

    /// Messages that serve the connection. Answers are left for `poll_control`.
    fn read_control(
        &mut self,
        pass: Pass<'_>,
        message: &Message<'_>,
        sink: &mut impl Sink,
    ) -> Result<(), Stop> {
        let index = usize::from(pass.slot);
        match ControlMessage::read(message)? {
            ControlMessage::Ping { nonce } => {
                self.pending[index].pong = Some(nonce);
                self.due[index] = Nanos(0);
            }
            ControlMessage::CryptoTest(bytes) => {
                if self.state[index] == State::Live(Stage::Unconfirmed) {
                    self.state[index] = State::Live(Stage::Confirmed);
                }
                self.pending[index].crypto_test = Some(bytes);
                self.due[index] = Nanos(0);
            }
            ControlMessage::ReliableHandshake(hello) => self.read_hello(pass, hello)?,
            ControlMessage::Disconnect { reason, .. } => return Err(Stop::Left(reason)),
            ControlMessage::Pong { nonce, .. } => {
                // From the active address, that it arrived is all there is to know.
                if let Some(stray) = pass.stray {
                    self.path_answered(pass.now, pass.slot, stray, nonce, pass.counters, sink);
                }
            }
            ControlMessage::Ack => {}
            ControlMessage::CheckIntegrity { index: key, role: IntegrityRole::Answer, bytes } => {
                return self.take_answer(index, key, &bytes, pass.counters);
            }
            ControlMessage::RekeyResponse(part) => {
                self.take_rekey_part(index, part, pass.now).map_err(|_| UNEXPECTED)?;
            }
            ControlMessage::CheckIntegrity { .. }
            | ControlMessage::CryptoTestAck(_)
            | ControlMessage::RekeyRequest(_)
            | ControlMessage::Moved { .. } => {
                return Err(UNEXPECTED);
            }
        }
        Ok(())
    }

    /// Hands on the frames that are new, oldest first, as far as one per tick allows.
    fn read_input(
        &mut self,
        pass: Pass<'_>,
        frames: Result<InputFrames<'_>, InputError>,
        sink: &mut impl Sink,
    ) -> Result<(), Stop> {
        let slot = pass.slot;
        let frames = frames.map_err(|error| match error {
            InputError::Malformed(_) => MALFORMED,
            InputError::Range => Stop::Fault(DropReason::InputRange),
        })?;
        if self.state[usize::from(slot)] != State::Live(Stage::Entered) {
            return Ok(());
        }
        let flow = &mut self.flow[usize::from(slot)];
        let ahead = frames.newest.wrapping_sub(flow.newest_input) as i32;
        for (sequence, frame) in frames.oldest_first(ahead.max(0) as usize) {
            flow.newest_input = sequence;
            let rate = u32::from(self.config.tick_hz);
            let burst = self.config.rules.rates.inputs_burst;
            if flow.input_allowance.take(1, rate, burst, pass.now) {
                sink.input(slot, sequence, frame);
            } else {
                pass.counters.drop(DropReason::InputRate);
            }
        }
        Ok(())
    }
}
