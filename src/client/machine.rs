//! The client as a whole: from a ticket to a place in the world. Sans-IO: `now` and the datagrams
//! are arguments, and what is to be sent is asked for.
//!
//! ```text
//! Connecting ──Accepted──▶ Confirming ──CryptoTestAck──▶ Entering ──own state seen──▶ InWorld
//!  Connect every 250 ms     CryptoTest every 250 ms      EnterToWorld every 100 ms    inputs
//!      any of them ──Disconnect, refusal, 15 s of silence, leave()──▶ Closed
//! ```

use super::Hint;
use super::attempt::{Answer, Attempt, Denied, Ticket};
use super::closing::CloseReason;
use super::error::ClientError;
use super::event::{Event, State};
use super::resumption::Resumption;
use super::session::Session;
use super::snapshot::Scratch;
use super::statistics::Statistics;
use super::world::WorldView;
use crate::crypto::integrity::KeyTable;
use crate::crypto::noise::NoiseError;
use crate::limits::{BENCHMARK_MAX, BENCHMARK_MIN, DATAGRAM_MAX, DATAGRAM_MIN, TIMEOUT_MS};
use crate::time::{Entropy, Nanos};
use crate::wire::{
    BenchmarkRequest, Channel, ConnectionId, DisconnectReason, Header, InputFrame, Stage,
    put_enter_to_world, put_shortest_input_frames,
};
use std::sync::Arc;

mod messages;

const ENTER_RESEND: Nanos = Nanos::from_ms(100);
/// Without a snapshot for so long, a player in the world asks for it again, and how often: what is
/// too long for the path does not arrive, and the answer is short.
const DEAF_AFTER: Nanos = Nanos::from_ms(1_000);
const DEAF_RESEND: Nanos = Nanos::from_ms(250);
const TIMEOUT: Nanos = Nanos::from_ms(TIMEOUT_MS);
/// Frames in one packet: the newest and its predecessors, so that two lost packets in a row lose no
/// input.
const FRAMES: usize = 3;

/// The inputs that may still have to be repeated, newest first.
#[derive(Clone, Copy, Default)]
struct Inputs {
    frames: [InputFrame; FRAMES],
    /// Sequence of the newest, 0 before the first.
    newest: u32,
    /// The newest has not been sent.
    pending: bool,
}

enum Link {
    Connecting(Box<Attempt>),
    Open(Session),
    Closed(CloseReason),
}

/// One player.
///
/// Calls: `handle_datagram` for everything that arrives; `poll_transmit` until it returns `None`,
/// after each of the other calls and whenever `next_timeout` has passed.
pub struct Client {
    link: Link,
    enter_next: Nanos,
    /// When the last snapshot was applied.
    told_at: Nanos,
    /// Bytes of the Benchmark that is to be sent.
    benchmark: Option<u16>,
    inputs: Inputs,
    world: WorldView,
    statistics: Statistics,
    /// The keys of the client's build.
    key_table: Option<Arc<KeyTable>>,
    denied: Option<Denied>,
    resumption: Option<Box<Resumption>>,
    /// Seconds to stay away, once the server has ended it all and said so.
    retry_s: u16,
}

impl Client {
    /// A client that starts to connect at `now`. `client_nonce` names the attempt and must be new
    /// for each.
    ///
    /// # Errors
    /// If the ticket's server key is no key.
    pub fn new(
        ticket: &Ticket,
        client_nonce: [u8; 8],
        now: Nanos,
        entropy: &mut impl Entropy,
    ) -> Result<Self, NoiseError> {
        let attempt = Attempt::start(ticket, client_nonce, now, entropy)?;
        Ok(Self {
            link: Link::Connecting(Box::new(attempt)),
            enter_next: now,
            told_at: now,
            benchmark: None,
            inputs: Inputs::default(),
            world: WorldView::new(),
            statistics: Statistics::default(),
            key_table: None,
            denied: None,
            resumption: None,
            retry_s: 0,
        })
    }

    /// Gives it the keys of its build, of which the server may ask for one now and then. A client
    /// without them does not answer.
    pub fn set_key_table(&mut self, table: Arc<KeyTable>) {
        self.key_table = Some(table);
    }

    /// How far it has come.
    pub fn state(&self) -> State {
        match &self.link {
            Link::Connecting(_) => State::Connecting,
            Link::Closed(reason) => State::Closed(*reason),
            Link::Open(session) => match session.stage {
                Stage::Unconfirmed => State::Confirming,
                Stage::Confirmed => State::Entering,
                Stage::Entered => State::InWorld,
            },
        }
    }

    /// What the server said last when it did not take the attempt. It proves nothing, so the
    /// attempt goes on; a game shows `reason.text()`.
    pub fn denied(&self) -> Option<Denied> {
        self.denied
    }

    /// With which the same player may come back if the connection is lost, also as another process:
    /// a new [`Client`] with this ticket finds the entity where it was, for a minute. It is good
    /// until its `token.expiry_s`, and once. `None` before the server has sent one, and after an
    /// end that is meant to be one. It holds a secret; the client erases its own copy.
    pub fn resume_ticket(&self) -> Option<Ticket> {
        self.resumption.as_ref()?.ticket()
    }

    /// The session's id, once accepted and until closed.
    pub fn connection(&self) -> Option<ConnectionId> {
        match &self.link {
            Link::Open(session) => Some(session.connection()),
            Link::Connecting(_) | Link::Closed(_) => None,
        }
    }

    /// Seconds after which a new attempt may succeed, if the server has refused or ended the
    /// session and said so; 0 = it did not say.
    pub fn retry_s(&self) -> u16 {
        self.retry_s
    }

    /// What it sees.
    pub fn world(&self) -> &WorldView {
        &self.world
    }

    /// What it counted.
    pub fn statistics(&self) -> Statistics {
        let mut statistics = self.statistics.clone();
        if let Link::Open(session) = &self.link {
            (statistics.rtt, statistics.lost_to_server) = (session.rtt(), session.lost());
        }
        statistics
    }

    /// Bytes of memory, heap included.
    pub fn memory_bytes(&self) -> usize {
        let attempt = match &self.link {
            Link::Connecting(_) => size_of::<Attempt>(),
            Link::Open(_) | Link::Closed(_) => 0,
        };
        let resumption = self.resumption.as_ref().map_or(0, |_| size_of::<Resumption>());
        size_of::<Self>() + attempt + resumption + self.world.heap_bytes() + self.delivery_bytes()
    }

    /// Sequence that the next input will have.
    pub fn next_input(&self) -> u32 {
        self.inputs.newest.wrapping_add(1)
    }

    /// Gives the input of the next tick; the next `poll_transmit` sends it. Returns its sequence.
    pub fn set_input(&mut self, frame: InputFrame) -> u32 {
        let inputs = &mut self.inputs;
        inputs.frames.copy_within(..FRAMES - 1, 1);
        inputs.frames[0] = frame;
        inputs.newest = inputs.newest.wrapping_add(1);
        inputs.pending = true;
        inputs.newest
    }

    /// Asks the server for as many bytes as this sends, 24 to 1,024, with the next
    /// `poll_transmit`; [`Event::Benchmark`] has the answer. A server answers only if its
    /// configuration says so, and one question in a tick.
    pub fn benchmark(&mut self, bytes: usize) {
        self.benchmark = Some(bytes.clamp(BENCHMARK_MIN, BENCHMARK_MAX) as u16);
    }

    /// Says goodbye: three Disconnects, then the client is closed. One that has no session closes
    /// at once.
    pub fn leave(&mut self, now: Nanos) {
        match &mut self.link {
            Link::Connecting(_) => self.link = Link::Closed(CloseReason::Left),
            Link::Open(session) => session.leave(now, DisconnectReason::Left),
            Link::Closed(_) => {}
        }
    }

    /// The owner sends from another socket from now on, because the one before is gone or its
    /// network is. Nothing else needs to be done: the server asks for a proof at the new address,
    /// which the client gives, and goes on there. This makes a client that has nothing to send say
    /// something. One that still connects had better start anew: its ticket is in use at the
    /// address before.
    pub fn socket_changed(&mut self) {
        if let Link::Open(session) = &mut self.link {
            session.socket_changed();
        }
    }

    /// Takes in a datagram; it is decrypted in place. `scratch` may be shared by all clients of a
    /// thread.
    ///
    /// # Errors
    /// Why the datagram was not used. It has been counted; there is nothing else to do.
    pub fn handle_datagram(
        &mut self,
        now: Nanos,
        datagram: &mut [u8],
        scratch: &mut Scratch,
    ) -> Result<Event, ClientError> {
        self.statistics.datagrams_in = self.statistics.datagrams_in.wrapping_add(1);
        self.statistics.bytes_in += datagram.len() as u64;
        let result = self.dispatch(now, datagram, scratch);
        if let Err(reason) = result {
            self.statistics.count_error(reason);
        }
        result
    }

    /// Asks for what `handle_datagram` touches first. Worth calling a few datagrams ahead.
    #[inline]
    pub fn anticipate(&self, hint: &impl Hint) {
        if let Link::Open(session) = &self.link {
            session.anticipate(hint);
        }
        self.world.history().anticipate(hint);
    }

    /// Asks for the states that a snapshot will need; `anticipate` should have been called before.
    #[inline]
    pub fn anticipate_states(&self, hint: &impl Hint) {
        self.world.history().anticipate_states(hint);
    }

    fn dispatch(
        &mut self,
        now: Nanos,
        datagram: &mut [u8],
        scratch: &mut Scratch,
    ) -> Result<Event, ClientError> {
        if !(DATAGRAM_MIN..=DATAGRAM_MAX).contains(&datagram.len()) {
            return Err(ClientError::Size);
        }
        let header = Header::read(datagram).map_err(|_| ClientError::Header)?;
        match &mut self.link {
            Link::Open(session) if header.connection != ConnectionId::GATE => {
                let opened = session.open(now, header, datagram)?;
                self.handle_opened(now, opened, scratch)
            }
            Link::Connecting(attempt) if header.connection == ConnectionId::GATE => {
                let answer = attempt.handle_datagram(now, datagram)?;
                Ok(self.handle_answer(answer))
            }
            // The gate's answers to repeated Connects may come after the session has begun.
            Link::Open(_) | Link::Closed(_) if header.connection == ConnectionId::GATE => {
                Ok(Event::Nothing)
            }
            Link::Connecting(_) | Link::Open(_) | Link::Closed(_) => Err(ClientError::Connection),
        }
    }

    fn handle_answer(&mut self, answer: Answer) -> Event {
        match answer {
            Answer::Cookie => Event::Nothing,
            Answer::Advice(denied) => {
                self.denied = Some(denied);
                Event::Advice(denied)
            }
            Answer::Refused { status, retry_s } => {
                self.retry_s = retry_s;
                self.link = Link::Closed(CloseReason::Refused(status));
                Event::Closed
            }
            Answer::Accepted(session, accepted, resumption) => {
                self.resumption = Some(resumption);
                self.denied = None;
                self.link = Link::Open(session);
                Event::Accepted { tick_hz: accepted.tick_hz, tick: accepted.tick }
            }
        }
    }

    /// Writes the next datagram that is due at `now` and returns its length.
    pub fn poll_transmit(&mut self, now: Nanos, out: &mut [u8; DATAGRAM_MAX]) -> Option<usize> {
        let length = self.transmit(now, out)?;
        self.statistics.datagrams_out = self.statistics.datagrams_out.wrapping_add(1);
        self.statistics.bytes_out += length as u64;
        Some(length)
    }

    fn transmit(&mut self, now: Nanos, out: &mut [u8; DATAGRAM_MAX]) -> Option<usize> {
        let session = match &mut self.link {
            Link::Closed(_) => return None,
            Link::Connecting(attempt) if now.since(attempt.started) >= TIMEOUT => {
                self.link = Link::Closed(CloseReason::TimedOut);
                return None;
            }
            Link::Connecting(attempt) => return attempt.poll_transmit(now, out),
            Link::Open(session) => session,
        };
        if session.has_left() || session.is_timed_out(now) {
            let reason = match session.leaves_for {
                _ if !session.is_leaving() => CloseReason::TimedOut,
                DisconnectReason::Exhausted => CloseReason::WornOut,
                DisconnectReason::TimedOut => CloseReason::TimedOut,
                _ => CloseReason::Left,
            };
            self.close(reason);
            return None;
        }
        if session.keys().are_worn_out(now) {
            session.leave(now, DisconnectReason::Exhausted);
        }
        if let Some(length) = session.poll_urgent(now, out) {
            return Some(length);
        }
        if session.is_leaving() {
            return None;
        }
        if let Some(length) = session.poll_answer(now, self.key_table.as_deref(), out) {
            return Some(length);
        }
        if session.stage == Stage::Entered && self.inputs.pending {
            self.inputs.pending = false;
            let Inputs { frames, newest, .. } = &self.inputs;
            let known = FRAMES.min(*newest as usize);
            return Some(session.send(now, Channel::Unreliable, out, |writer| {
                put_shortest_input_frames(writer, *newest, &frames[..known]);
            }));
        }
        if now >= Self::enter_at(self.enter_next, self.told_at, session.stage) {
            let pause = if session.stage == Stage::Entered { DEAF_RESEND } else { ENTER_RESEND };
            self.enter_next = now.plus(pause);
            return Some(session.send(now, Channel::Unreliable, out, put_enter_to_world));
        }
        if session.delivery.is_some()
            && let Some(length) = session.poll_reliable(now, out)
        {
            return Some(length);
        }
        if session.stage > Stage::Unconfirmed
            && let Some(length) = self.benchmark.take()
        {
            let request = BenchmarkRequest { nonce: now.as_us(), length };
            return Some(session.send(now, Channel::Unreliable, out, |w| request.put(w)));
        }
        session.poll_idle(now, out)
    }

    /// When EnterToWorld is to be sent next.
    fn enter_at(enter_next: Nanos, told_at: Nanos, stage: Stage) -> Nanos {
        match stage {
            Stage::Unconfirmed => Nanos(u64::MAX),
            Stage::Confirmed => enter_next,
            Stage::Entered => enter_next.max(told_at.plus(DEAF_AFTER)),
        }
    }

    /// When `poll_transmit` has to be called again if nothing else happens; `None` once closed.
    pub fn next_timeout(&self) -> Option<Nanos> {
        match &self.link {
            Link::Closed(_) => None,
            Link::Connecting(attempt) => {
                Some(attempt.next_send().min(attempt.started.plus(TIMEOUT)))
            }
            Link::Open(session) => {
                let next = session.next_timeout();
                if session.is_leaving() {
                    return Some(next);
                }
                if self.benchmark.is_some() && session.stage > Stage::Unconfirmed {
                    return Some(Nanos(0));
                }
                Some(next.min(Self::enter_at(self.enter_next, self.told_at, session.stage)))
            }
        }
    }

    pub(super) fn session(&self) -> Option<&Session> {
        match &self.link {
            Link::Open(session) => Some(session),
            Link::Connecting(_) | Link::Closed(_) => None,
        }
    }

    pub(super) fn session_mut(&mut self) -> Option<&mut Session> {
        match &mut self.link {
            Link::Open(session) => Some(session),
            Link::Connecting(_) | Link::Closed(_) => None,
        }
    }

    /// Ends the session and keeps what it measured.
    fn close(&mut self, reason: CloseReason) {
        self.statistics = self.statistics();
        if !reason.may_resume() {
            self.resumption = None;
        }
        self.link = Link::Closed(reason);
    }
}
