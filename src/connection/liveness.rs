//! What a session needs besides snapshots: answers, acknowledgments, Pings, timeouts, farewells.
//!
//! Owns: everything that happens because time has passed. Never reads a clock. Called by the shard
//! once per tick, after the snapshots: those carry acknowledgments, and what they carry needs no
//! packet of its own.
//!
//! Cost: a scan of two columns, nine bytes per slot. `due` is a lower bound: a packet that arrives
//! moves `heard`, not `due`, and the scan finds out when the bound has passed.

use super::admission::CloseReason;
use super::decode::Sink;
use super::rekey::Tended;
use super::table::{FAR, Sessions, Slot, State};
use crate::crypto::integrity::Question;
use crate::limits::{
    ACK_DELAY_MS, ACK_ELICITING_MAX, DISCONNECT_INTERVAL_MS, DISCONNECT_REPEATS, FAILED_OPENS_MAX,
    HEARTBEAT_MS, MOVED_INTERVAL_MS, TAG_LEN, TIMEOUT_MS, UNCONFIRMED_TIMEOUT_MS,
};
use crate::metrics::{Counter, Counters};
use crate::time::Nanos;
use crate::wire::{
    CRYPTO_TEST_LEN, Channel, ConnectionId, ControlMessage, DisconnectReason, IntegrityRole, Stage,
    Writer,
};
use std::net::SocketAddr;

const HEARTBEAT: Nanos = Nanos::from_ms(HEARTBEAT_MS);
pub(super) const TIMEOUT: Nanos = Nanos::from_ms(TIMEOUT_MS);
const UNCONFIRMED: Nanos = Nanos::from_ms(UNCONFIRMED_TIMEOUT_MS);
const ACK_DELAY: Nanos = Nanos::from_ms(ACK_DELAY_MS);
const MOVED_INTERVAL: Nanos = Nanos::from_ms(MOVED_INTERVAL_MS);

/// Slots whose columns are looked at in one go.
const SCAN: usize = 64;

/// A control packet, sealed, ready to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// The session it is for.
    pub slot: Slot,
    /// Where it goes.
    pub to: SocketAddr,
    /// Bytes of the datagram in the buffer.
    pub length: usize,
}

/// What is rarely looked at: answers that wait, and the times of rare events.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pending {
    accepted_at: Nanos,
    /// Whether a packet has opened.
    pub(super) confirmed: bool,
    /// The nonce of the last Ping not answered yet.
    pub(super) pong: Option<u64>,
    /// The last key confirmation not answered yet.
    pub(super) crypto_test: Option<[u8; CRYPTO_TEST_LEN]>,
    /// When the last Ping was sent.
    pinged: Nanos,
    /// The last Benchmark not answered yet.
    pub(super) benchmark: super::benchmark::Asked,
    /// Disconnects still to be sent, and their reason.
    farewell: Option<(DisconnectReason, u8)>,
}

impl Pending {
    pub(super) fn new(accepted_at: Nanos) -> Self {
        Self { accepted_at, ..Self::default() }
    }
}

impl Sessions {
    /// Ends the session in `slot`: nothing it sends opens any more, and a Disconnect is sent three
    /// times by the next calls of `poll_control`. The sink is not told, the caller knows. `false`
    /// without a session.
    pub fn disconnect(
        &mut self,
        slot: Slot,
        reason: DisconnectReason,
        counters: &Counters,
    ) -> bool {
        let live = self.stage(slot).is_some();
        if live {
            self.say_farewell(usize::from(slot), reason, counters);
        }
        live
    }

    /// The next control packet, written into `out` (1,200 bytes). Call until `None`: then
    /// everything that was due at `now` is done, and the next call starts over.
    pub fn poll_control(
        &mut self,
        now: Nanos,
        out: &mut [u8],
        counters: &Counters,
        sink: &mut impl Sink,
    ) -> Option<Transmit> {
        if self.poll_at == 0 && self.delivery.is_starved() {
            self.end_hoarders(now, counters);
        }
        while let Some(index) = self.next_candidate(now) {
            self.poll_at = index + 1;
            let length = match self.state[index] {
                State::Free => None,
                State::Closing => self.repeat_farewell(index, now, out),
                State::Moved => {
                    self.vacate(index);
                    sink.released(index as Slot);
                    None
                }
                State::Live(stage) => {
                    if self.route[index].is_untold() {
                        self.tell_address(index, sink);
                    }
                    let apart = self
                        .probe_path(index, now, out)
                        .or_else(|| self.answer_benchmark(index, now, out, counters));
                    if apart.is_some() {
                        // What else there is goes in a packet of its own.
                        self.poll_at = index;
                        return apart;
                    }
                    self.serve(index, stage, now, out, counters, sink)
                }
            };
            if let Some(length) = length {
                return Some(Transmit { slot: index as Slot, to: self.address[index], length });
            }
        }
        self.poll_at = 0;
        None
    }

    /// The first slot from `poll_at` on that may have something to do.
    fn next_candidate(&self, now: Nanos) -> Option<usize> {
        let mut start = self.poll_at;
        while start < self.due.len() {
            let end = (start + SCAN).min(self.due.len());
            let (due, unacked) = (&self.due[start..end], &self.unacked[start..end]);
            // No early exit: this form compiles to vector compares.
            let late = due.iter().fold(false, |any, &at| any | (at <= now));
            let waiting = unacked.iter().fold(0, |any, &count| any | count);
            if late || waiting != 0 {
                let busy = |&i: &usize| self.due[i] <= now || self.unacked[i] != 0;
                if let Some(index) = (start..end).find(busy) {
                    return Some(index);
                }
            }
            start = end;
        }
        None
    }

    /// A session that lives: ends it when its time is over, else sends what is due.
    fn serve(
        &mut self,
        index: usize,
        stage: Stage,
        now: Nanos,
        out: &mut [u8],
        counters: &Counters,
        sink: &mut impl Sink,
    ) -> Option<usize> {
        let slot = index as Slot;
        if stage == Stage::Unconfirmed && now.since(self.pending[index].accepted_at) >= UNCONFIRMED
        {
            counters.add(Counter::Closed, 1);
            self.release(index);
            sink.closed(slot, CloseReason::Unconfirmed);
            return None;
        }
        let request = match self.find_end(index, stage, now, counters, sink) {
            Ok(request) => request,
            Err((reason, close)) => {
                self.say_farewell(index, reason, counters);
                sink.closed(slot, close);
                return self.repeat_farewell(index, now, out);
            }
        };
        let length = self.write_due(index, now, out, request);
        let mut length = length.or_else(|| self.write_reliable(index, now, out, counters));
        if length.is_none() && self.outbox[index].due() <= now {
            length = self.write_ticket(index, now, out);
        }
        self.due[index] = self.next_due(index, stage).min(self.delivery.due(index));
        length
    }

    /// Whether the session has come to its end, and why; if not, what its keys want to be said.
    fn find_end(
        &mut self,
        index: usize,
        stage: Stage,
        now: Nanos,
        counters: &Counters,
        sink: &mut impl Sink,
    ) -> Result<Option<ControlMessage>, (DisconnectReason, CloseReason)> {
        if now.since(self.ingress[index].heard) >= TIMEOUT {
            counters.add(Counter::TimedOut, 1);
            return Err((DisconnectReason::TimedOut, CloseReason::TimedOut));
        }
        if self.failed_opens[index] >= FAILED_OPENS_MAX || self.flow[index].sent.is_over() {
            return Err((DisconnectReason::Exhausted, CloseReason::Exhausted));
        }
        if now >= self.watch[index].due && self.examine(index, stage, now, counters) {
            counters.add(Counter::Violations, 1);
            return Err((DisconnectReason::Violation, CloseReason::Violation));
        }
        if self.delivery.has_failed(index, now) {
            counters.add(Counter::Undelivered, 1);
            return Err((DisconnectReason::TimedOut, CloseReason::Undelivered));
        }
        if now < self.rekey[index].due() {
            return Ok(None);
        }
        match self.tend_keys(index, now, counters, sink) {
            Tended::Kept => Ok(None),
            Tended::Ask(request) => Ok(Some(request)),
            Tended::WornOut => Err((DisconnectReason::Exhausted, CloseReason::Exhausted)),
            Tended::Forged => {
                counters.add(Counter::Violations, 1);
                Err((DisconnectReason::Violation, CloseReason::Violation))
            }
        }
    }

    /// One packet with everything that is due for a session, `request` among it; `None` when
    /// nothing is.
    fn write_due(
        &mut self,
        index: usize,
        now: Nanos,
        out: &mut [u8],
        request: Option<ControlMessage>,
    ) -> Option<usize> {
        let flow = &self.flow[index];
        let ack = self.unacked[index] >= ACK_ELICITING_MAX
            || (self.unacked[index] > 0 && now.since(flow.processed.waiting_since) >= ACK_DELAY);
        let ping = now >= self.ping_at(index);
        let announce = self.announce_at(index) <= now;
        let pending = &mut self.pending[index];
        let (crypto_test, pong) = (pending.crypto_test.take(), pending.pong.take());
        let question = self.watch[index].outgoing.take();
        let has_answers = crypto_test.is_some() || pong.is_some() || question.is_some();
        if !ack && !ping && !announce && !has_answers && request.is_none() {
            return None;
        }
        if ping {
            pending.pinged = now;
        }
        if announce {
            self.transfer[index].announce_at = now.plus(MOVED_INTERVAL);
        }
        let messages = [
            crypto_test.map(ControlMessage::CryptoTestAck),
            pong.map(|nonce| ControlMessage::Pong { nonce, clock_us: now.as_us() }),
            // The nonce tells late answers apart; what counts is that any packet opens.
            ping.then_some(ControlMessage::Ping { nonce: now.0 }),
            request,
            announce.then_some(ControlMessage::Moved { connection: self.ingress[index].id }),
            question.map(|Question { index, nonce: bytes }| ControlMessage::CheckIntegrity {
                index,
                role: IntegrityRole::Question,
                bytes,
            }),
        ];
        self.write_control(index, now, out, &messages)
    }

    /// One of three Disconnects. After the last the slot is free.
    fn repeat_farewell(&mut self, index: usize, now: Nanos, out: &mut [u8]) -> Option<usize> {
        let (reason, left) = self.pending[index].farewell.unwrap_or((DisconnectReason::Left, 0));
        let retry_s = match reason {
            DisconnectReason::Violation => self.config.rules.cool_down_s,
            _ => reason.retry_s(),
        };
        let message = ControlMessage::Disconnect { reason, retry_s };
        let sent =
            if left > 0 { self.write_control(index, now, out, &[Some(message)]) } else { None };
        if left <= 1 || sent.is_none() {
            self.vacate(index);
        } else {
            self.pending[index].farewell = Some((reason, left - 1));
            self.due[index] = now.plus(Nanos::from_ms(DISCONNECT_INTERVAL_MS));
        }
        sent
    }

    /// A sealed control packet with `messages`.
    pub(super) fn write_control(
        &mut self,
        index: usize,
        now: Nanos,
        out: &mut [u8],
        messages: &[Option<ControlMessage>],
    ) -> Option<usize> {
        let begun = self.begin_at(index, Channel::Control, now, out)?;
        let room = out.len() - TAG_LEN;
        let mut writer = Writer::new(&mut out[begun.body..room]);
        for message in messages.iter().flatten() {
            message.write(&mut writer);
        }
        let length = writer.finish().expect("a few control messages fit any datagram");
        Some(self.seal(index as Slot, out, begun.body + length))
    }

    /// Turns a living session into one that is being closed.
    pub(super) fn say_farewell(
        &mut self,
        index: usize,
        reason: DisconnectReason,
        counters: &Counters,
    ) {
        counters.add(Counter::Closed, 1);
        self.live -= 1;
        self.ingress[index].id = ConnectionId::GATE;
        self.delivery.forget(index);
        self.state[index] = State::Closing;
        self.unacked[index] = 0;
        self.pending[index].farewell = Some((reason, DISCONNECT_REPEATS));
        self.due[index] = Nanos(0);
    }

    /// When the next Ping is to be sent if nothing is heard until then.
    fn ping_at(&self, index: usize) -> Nanos {
        self.ingress[index].heard.max(self.pending[index].pinged).plus(HEARTBEAT)
    }

    /// Nothing has to be done for the living session in `index` before this time.
    fn next_due(&self, index: usize, stage: Stage) -> Nanos {
        let confirm_by = match stage {
            Stage::Unconfirmed => self.pending[index].accepted_at.plus(UNCONFIRMED),
            Stage::Confirmed | Stage::Entered => FAR,
        };
        if self.route[index].is_untold() {
            return Nanos(0);
        }
        let gone_at = self.ingress[index].heard.plus(TIMEOUT);
        let ping_at = self.ping_at(index).min(self.route[index].ping_at());
        let ping_at = ping_at.min(self.outbox[index].due());
        let rare = self.announce_at(index).min(self.rekey[index].due()).min(self.watch[index].due);
        ping_at.min(gone_at).min(confirm_by).min(rare)
    }

    /// When the client of the session in `index` is to be told its new id; `FAR` if it knows.
    fn announce_at(&self, index: usize) -> Nanos {
        if self.is_known_by_id(index) { FAR } else { self.transfer[index].announce_at }
    }
}
