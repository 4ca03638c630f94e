//! Peers that break the rules under valid keys, each in a way of its own, and one that keeps them
//! and counts how often it is answered.
//!
//! What they do must cost nobody but themselves: the checks look at everybody else. Called by
//! `universe` like players.

mod session;

pub(crate) use session::{Attempt, Heard, Session};

use super::checks::{Once, Verdict};
use super::dice::Dice;
use crate::client::Ticket;
use crate::limits::{FRAGMENT_LEN, MESSAGE_MAX_TO_SERVER, RELIABLE_WINDOW, SEQUENCE_MAX};
use crate::time::{Entropy, Nanos};
use crate::wire::{
    AckBlock, Channel, ControlMessage, DisconnectReason, Flags, FragmentHeader, InputFrame,
    ReliableHandshake, Writer, put_enter_to_world, put_input_frames, put_message,
};
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// How a peer misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Conduct {
    /// Acknowledges what was never sent, and everything else, too.
    AckLiar,
    /// Negotiates reliable delivery, begins long messages and never ends one.
    FragmentHoarder,
    /// Plays well and never answers a request to change keys.
    RekeyRefuser,
    /// Sends inputs ten times as fast as it may.
    InputFlooder,
    /// Leaps ahead in its sequences, up to the last one there is.
    SequenceJumper,
    /// Uses one token from many addresses, old Connects again, and the ticket with which it has
    /// come back once more.
    TicketReplayer,
    /// Says that it has no room for reliable messages, or says it has and acknowledges none.
    ZeroWindow,
    /// Says where it is instead of where it goes.
    Teleporter,
    /// Answers Pings with wrong nonces, and pongs unasked.
    PingLiar,
    /// Shakes hands and never says a word, again and again.
    HalfOpen,
    /// Seals random bytes.
    Babbler,
    /// Keeps the rules; each of its many Pings has a nonce of its own.
    Auditor,
}

impl Conduct {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::AckLiar,
        Self::FragmentHoarder,
        Self::RekeyRefuser,
        Self::InputFlooder,
        Self::SequenceJumper,
        Self::TicketReplayer,
        Self::ZeroWindow,
        Self::Teleporter,
        Self::PingLiar,
        Self::HalfOpen,
        Self::Babbler,
        Self::Auditor,
    ];
}

const GOOD_ONCE: &str = "a ticket is good once";
const WORN: &str = "who refuses other keys is ended";
/// 30 s after the first RekeyRequest, and what a storm may add.
const FOUND_OUT_WITHIN: Nanos = Nanos::from_ms(40_000);
/// How long a patient one speaks and hears nothing before it begins anew.
const DEAF_AFTER: Nanos = Nanos::from_ms(5_000);
/// Types of messages that `wire` has no writer for.
const SYNC_ENTITY_QUANTIZED: u8 = 1;

/// One such peer.
pub(crate) struct Hostile {
    pub(crate) conduct: Conduct,
    pub(crate) number: u64,
    /// Addresses it speaks from; it hears at the first.
    pub(crate) addresses: Vec<SocketAddr>,
    dice: Dice,
    ticket: Option<Ticket>,
    attempt: Option<Attempt>,
    session: Option<Session>,
    /// When it gives up what it has and begins anew.
    until: Nanos,
    input: u32,
    once: Once,
    asked: BTreeSet<u64>,
    has_heard: bool,
    is_patient: bool,
    /// Whether the server has said hello for reliable delivery, and messages begun since.
    is_open: bool,
    begun: u16,
    /// Newest sequence of the server, and when it came.
    heard: (u64, Nanos),
    /// When the server asked for other keys first.
    asked_at: Option<Nanos>,
    replay: Replay,
    pub(crate) tally: Tally,
}

/// How far a replayer has come with the ticket that a server gave it.
#[derive(Default)]
enum Replay {
    /// It has none.
    #[default]
    Nothing,
    /// It comes back with this one.
    Resuming(Ticket),
    /// It has come back, and the gate of this server knows; and yet it tries the ticket again.
    Again(usize, Box<Attempt>),
}

/// What became of hostile peers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Attempts with a ticket that was used, refused.
    pub(crate) refused: u64,
    /// Sessions ended since they would not change keys.
    pub(crate) worn_out: u64,
}

impl Hostile {
    pub(crate) fn new(
        conduct: Conduct,
        number: u64,
        addresses: Vec<SocketAddr>,
        dice: Dice,
    ) -> Self {
        Self {
            conduct,
            number,
            addresses,
            dice,
            ticket: None,
            attempt: None,
            session: None,
            until: Nanos(0),
            input: 0,
            once: Once::default(),
            asked: BTreeSet::new(),
            has_heard: false,
            is_patient: false,
            is_open: false,
            begun: 0,
            heard: (0, Nanos(0)),
            asked_at: None,
            replay: Replay::Nothing,
            tally: Tally::default(),
        }
    }

    /// Those whose offence takes long to show go on after the storm, if the plan is `patient`.
    pub(crate) fn with_patience(self, patient: bool) -> Self {
        let takes_long = matches!(self.conduct, Conduct::RekeyRefuser | Conduct::ZeroWindow);
        Self { is_patient: patient && takes_long, ..self }
    }

    /// Whether it goes on after the storm.
    pub(crate) fn is_patient(&self) -> bool {
        self.is_patient
    }

    /// Whether the game writes to it.
    pub(crate) fn is_written_to(&self) -> bool {
        matches!(self.conduct, Conduct::ZeroWindow | Conduct::FragmentHoarder)
    }

    /// Whether it needs a ticket.
    pub(crate) fn wants_ticket(&self, now: Nanos) -> bool {
        // The others notice only in the end that a server is gone.
        let is_deaf = now.since(self.heard.1) >= DEAF_AFTER;
        now >= self.until || (self.is_patient && is_deaf)
    }

    /// It begins anew with a ticket.
    pub(crate) fn begin(&mut self, now: Nanos, ticket: Ticket) {
        self.attempt = Attempt::new(&ticket, &mut self.dice);
        self.ticket = Some(ticket);
        self.session = None;
        self.replay = Replay::Nothing;
        self.heard.1 = now;
        self.forget_session();
        let life_ms = match self.conduct {
            Conduct::HalfOpen => 700,
            _ if self.is_patient => 60_000,
            _ => 12_000,
        };
        self.until = now.plus(Nanos::from_ms(life_ms));
    }

    /// Answers it got to Pings, in this session.
    pub(crate) fn answers(&self) -> usize {
        self.once.answers()
    }

    /// Whether it has got anything.
    pub(crate) fn has_heard(&self) -> bool {
        self.has_heard
    }

    fn forget_session(&mut self) {
        self.once = Once::default();
        self.asked.clear();
        (self.is_open, self.begun, self.asked_at) = (false, 0, None);
        self.heard.0 = 0;
    }

    /// A datagram of the `server` with this number has come.
    pub(crate) fn handle(&mut self, now: Nanos, datagram: &mut [u8], server: usize) -> Verdict {
        self.has_heard = true;
        if let Replay::Again(used_at, attempt) = &mut self.replay {
            self.tally.refused += u64::from(attempt.is_refused_as_used(datagram));
            if attempt.handle(datagram).is_some() && *used_at == server {
                return Err((GOOD_ONCE, format!("peer {} came back with it twice", self.number)));
            }
        }
        let Some(session) = &mut self.session else {
            let accepted = self.attempt.as_mut().and_then(|attempt| attempt.handle(datagram));
            if accepted.is_some() {
                self.forget_session();
            }
            self.session = accepted;
            return Ok(());
        };
        let heard = session.handle(datagram);
        if session.newest > self.heard.0 {
            self.heard = (session.newest, now);
        }
        match heard {
            Heard::Pong(nonce) if self.asked.contains(&nonce) => self.once.answered(nonce)?,
            Heard::Hello => self.is_open = true,
            Heard::RekeyRequest => _ = self.asked_at.get_or_insert(now),
            Heard::Ticket if self.conduct == Conduct::TicketReplayer => self.come_back(server),
            Heard::Ended(reason) => {
                let refused = self.conduct == Conduct::RekeyRefuser && self.asked_at.is_some();
                let is_worn = refused && reason == DisconnectReason::Exhausted;
                self.tally.worn_out += u64::from(is_worn);
                self.until = self.until.min(now.plus(Nanos::from_ms(500)));
                self.session = None;
                self.attempt = None;
                self.replay = Replay::Nothing;
            }
            _ => {}
        }
        Ok(())
    }

    /// There is a ticket: it comes back with it; or it has, and tries the one that it used again.
    /// That there is another one shows that the gate knows of the session.
    fn come_back(&mut self, server: usize) {
        let (Some(session), Some(first)) = (&self.session, &self.ticket) else { return };
        self.replay = match std::mem::take(&mut self.replay) {
            Replay::Nothing => {
                let Some(ticket) = session.ticket(first) else { return };
                self.attempt = Attempt::new(&ticket, &mut self.dice);
                self.session = None;
                Replay::Resuming(ticket)
            }
            Replay::Resuming(used) => match Attempt::new(&used, &mut self.dice) {
                Some(attempt) => Replay::Again(server, Box::new(attempt)),
                None => Replay::Nothing,
            },
            again @ Replay::Again(..) => again,
        };
    }

    /// Whoever refuses other keys is not served for long.
    pub(crate) fn is_found_out(&self, now: Nanos) -> Verdict {
        let refuses = self.conduct == Conduct::RekeyRefuser && self.session.is_some();
        let asked_at = self.asked_at.filter(|_| refuses);
        let is_late = asked_at.is_some_and(|at| now.since(at) > FOUND_OUT_WITHIN);
        if is_late && now.since(self.heard.1) < Nanos::from_ms(1_000) {
            return Err((WORN, format!("peer {} has been served on", self.number)));
        }
        Ok(())
    }

    /// What it sends in a tick: from which address, and what.
    pub(crate) fn act(&mut self, now: Nanos) -> Vec<(SocketAddr, Vec<u8>)> {
        let home = self.addresses[0];
        if let Some(mut session) = self.session.take() {
            let mut sent = self.speak(&mut session);
            self.session = Some(session);
            if let Replay::Again(_, attempt) = &mut self.replay {
                sent.extend(attempt.poll(now));
            }
            return sent.into_iter().map(|bytes| (home, bytes)).collect();
        }
        let Some(attempt) = &mut self.attempt else { return Vec::new() };
        let mut sent: Vec<_> = attempt.poll(now).map(|bytes| (home, bytes)).into_iter().collect();
        if self.conduct == Conduct::TicketReplayer {
            let from = self.dice.pick(&self.addresses);
            sent.push((from, attempt.connect()));
            if let Some(ticket) = self.ticket.as_ref().filter(|_| self.dice.percent(20)) {
                let other = Attempt::new(ticket, &mut self.dice);
                sent.extend(other.map(|other| (from, other.connect())));
            }
        }
        sent
    }

    fn speak(&mut self, session: &mut Session) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        if self.conduct == Conduct::HalfOpen {
            return sent;
        }
        if !session.is_confirmed {
            let test = ControlMessage::CryptoTest([7; 16]);
            sent.push(session.packet(Channel::Control, Flags(0), None, |w| test.write(w)));
            return sent;
        }
        let ack = session.ack().filter(|_| self.conduct != Conduct::ZeroWindow);
        let (plain, none) = (Channel::Unreliable, Flags(0));
        if self.input.is_multiple_of(8) {
            sent.push(session.packet(plain, none, ack, put_enter_to_world));
        }
        self.input = self.input.wrapping_add(1);
        let (input, frame) = (self.input, self.frame());
        sent.push(session.packet(plain, none, ack, |w| put_input_frames(w, input, &[frame])));
        self.misbehave(session, &mut sent);
        sent
    }

    fn frame(&mut self) -> InputFrame {
        let [x, y, yaw, _, ..] = self.dice.word().to_le_bytes();
        let walk = |byte: u8| (byte as i8).max(-127);
        InputFrame { move_x: walk(x), move_y: walk(y), yaw: u16::from(yaw) << 8, buttons: 2 }
    }

    fn misbehave(&mut self, session: &mut Session, sent: &mut Vec<Vec<u8>>) {
        let (plain, none) = (Channel::Unreliable, Flags(0));
        let word = self.dice.word();
        let is_time = self.dice.once_in(10);
        match self.conduct {
            Conduct::AckLiar if is_time => {
                let largest = session.newest + word % 3_000;
                let ack = AckBlock { largest, bitmap: u64::MAX, delay: word as u16 };
                sent.push(session.packet(Channel::Control, none, Some(ack), |w| {
                    ControlMessage::Ack.write(w);
                }));
            }
            Conduct::FragmentHoarder if is_time => sent.push(self.begin_message(session)),
            Conduct::InputFlooder => {
                for _ in 0..20 {
                    self.input = self.input.wrapping_add(8);
                    let (input, frames) = (self.input, [self.frame(); 8]);
                    sent.push(session.packet(plain, none, None, |w| {
                        put_input_frames(w, input, &frames);
                    }));
                }
            }
            Conduct::SequenceJumper if is_time => {
                session.sequence = match word % 4 {
                    0 => SEQUENCE_MAX - 2,
                    1 => session.sequence + 1_000,
                    2 => session.sequence.saturating_sub(70),
                    _ => session.sequence + (1 << 40),
                }
                .min(SEQUENCE_MAX - 2);
            }
            Conduct::ZeroWindow if is_time => {
                // One takes nothing, the other says that it does.
                let is_honest = self.number.is_multiple_of(2);
                sent.push(say_hello(session, if is_honest { 0 } else { RELIABLE_WINDOW }));
            }
            Conduct::Teleporter if is_time => {
                let place = |w: &mut Writer<'_>| {
                    put_message(w, SYNC_ENTITY_QUANTIZED, |w| w.u64(word));
                };
                sent.push(session.packet(plain, none, None, place));
            }
            Conduct::PingLiar => {
                let lie = ControlMessage::Pong { nonce: word, clock_us: u64::MAX - word };
                sent.push(session.packet(Channel::Control, none, None, |w| lie.write(w)));
            }
            Conduct::Babbler if is_time => {
                let (mut babble, length) = ([0; 600], word as usize % 600);
                self.dice.fill(&mut babble);
                let channel = self.dice.pick(&Channel::ALL);
                let flags = Flags(word as u8 & 0x7C);
                sent.push(session.packet(channel, flags, None, |w| w.slice(&babble[..length])));
            }
            Conduct::Auditor if self.input.is_multiple_of(2) => {
                self.asked.insert(word);
                let ask = ControlMessage::Ping { nonce: word };
                sent.push(session.packet(Channel::Control, none, None, |w| ask.write(w)));
            }
            _ => {}
        }
    }

    /// The first parts of a message of the greatest length, and never the last.
    fn begin_message(&mut self, session: &mut Session) -> Vec<u8> {
        if !self.is_open {
            return say_hello(session, RELIABLE_WINDOW);
        }
        let parts = (MESSAGE_MAX_TO_SERVER / FRAGMENT_LEN) as u16;
        let (id, part) = (self.begun / (parts - 1), self.begun % (parts - 1));
        self.begun = self.begun.wrapping_add(1);
        let (offset, total) = (part * FRAGMENT_LEN as u16, MESSAGE_MAX_TO_SERVER as u32);
        session.packet(Channel::ReliableOrdered, Flags::FRAGMENT, None, |w| {
            FragmentHeader { id, offset, total }.write(w);
            w.zeros(FRAGMENT_LEN);
        })
    }
}

/// A hello for reliable delivery from somebody who takes so many messages.
fn say_hello(session: &mut Session, max_inflight: u16) -> Vec<u8> {
    let hello = ControlMessage::ReliableHandshake(ReliableHandshake {
        first_ordered: 0,
        first_unordered: 0,
        max_inflight,
        max_message_kib: 64,
        recv_bytes: u32::from(max_inflight) * 1_024,
    });
    session.packet(Channel::Control, Flags::RELIABLE_HANDSHAKE, None, |w| hello.write(w))
}
