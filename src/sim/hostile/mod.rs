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
use crate::limits::SEQUENCE_MAX;
use crate::time::{Entropy, Nanos};
use crate::wire::{
    AckBlock, Channel, ControlMessage, Flags, InputFrame, Writer, put_enter_to_world,
    put_input_frames, put_message,
};
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// How a peer misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Conduct {
    /// Acknowledges what was never sent, and everything else, too.
    AckLiar,
    /// Begins fragmented messages and never ends them.
    FragmentHoarder,
    /// Plays well and never answers a request to change keys.
    RekeyRefuser,
    /// Sends inputs ten times as fast as it may.
    InputFlooder,
    /// Leaps ahead in its sequences, up to the last one there is.
    SequenceJumper,
    /// Uses one token from many addresses, and old Connects again.
    TicketReplayer,
    /// Says that it has no room for reliable messages, and never acknowledges.
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

/// Types of messages that `wire` has no writer for.
const SYNC_ENTITY_QUANTIZED: u8 = 1;
const RELIABLE_HANDSHAKE: u8 = 9;

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
    /// Times that a session of its was ended by the server.
    pub(crate) ended: u64,
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
            ended: 0,
        }
    }

    /// Whether it needs a ticket.
    pub(crate) fn wants_ticket(&self, now: Nanos) -> bool {
        now >= self.until
    }

    /// It begins anew with a ticket.
    pub(crate) fn begin(&mut self, now: Nanos, ticket: Ticket) {
        self.attempt = Attempt::new(&ticket, &mut self.dice);
        self.ticket = Some(ticket);
        self.session = None;
        self.once = Once::default();
        self.asked.clear();
        let life_ms = if self.conduct == Conduct::HalfOpen { 700 } else { 12_000 };
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

    /// A datagram has come.
    pub(crate) fn handle(&mut self, now: Nanos, datagram: &mut [u8]) -> Verdict {
        self.has_heard = true;
        let Some(session) = &mut self.session else {
            let accepted = self.attempt.as_mut().and_then(|attempt| attempt.handle(datagram));
            self.session = accepted;
            return Ok(());
        };
        match session.handle(datagram) {
            Heard::Pong(nonce) if self.asked.contains(&nonce) => self.once.answered(nonce),
            Heard::Ended => {
                self.ended += 1;
                self.until = self.until.min(now.plus(Nanos::from_ms(500)));
                self.session = None;
                self.attempt = None;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What it sends in a tick: from which address, and what.
    pub(crate) fn act(&mut self, now: Nanos) -> Vec<(SocketAddr, Vec<u8>)> {
        let home = self.addresses[0];
        if let Some(mut session) = self.session.take() {
            let sent = self.speak(&mut session);
            self.session = Some(session);
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
        let ack = session.ack();
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
            Conduct::FragmentHoarder if is_time => {
                let size = 1 + word as u32 % 20_000;
                sent.push(session.packet(Channel::ReliableOrdered, Flags::FRAGMENT, None, |w| {
                    w.u16(word as u16);
                    w.u16((word >> 16) as u16 & 0x3C00);
                    w.u32(size);
                    w.zeros(1_024);
                }));
            }
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
                sent.push(session.packet(Channel::Control, none, None, |w| {
                    put_message(w, RELIABLE_HANDSHAKE, |w| w.zeros(16));
                }));
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
}
