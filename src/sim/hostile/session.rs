//! A session that says whatever it is told to, under valid keys: the handshake of the protocol and
//! sealed packets, without the manners of `client`.

use crate::client::Ticket;
use crate::crypto::aead::PacketKey;
use crate::crypto::noise::Initiator;
use crate::crypto::schedule::Root;
use crate::limits::{ACK_BLOCK_LEN, DATAGRAM_MAX, HEADER_LEN, SEQUENCE_MAX, TAG_LEN};
use crate::time::{Entropy, Nanos};
use crate::wire::{
    Accepted, AckBlock, Channel, ClientOffer, ConnectRequest, ConnectionId, ControlMessage, Denial,
    DisconnectReason, Flags, Header, Messages, NOISE_MESSAGE_1_LEN, PublicToken, Reply, Status,
    Writer, control_kind, read_resume_ticket,
};
use std::collections::BTreeSet;

/// Time between two Connects.
const RESEND: Nanos = Nanos::from_ms(250);

/// What a received datagram says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Nothing of interest.
    Nothing,
    /// The keys are confirmed.
    Confirmed,
    /// A Ping with this nonce.
    Ping(u64),
    /// A Pong with this nonce.
    Pong(u64),
    /// The server ended it.
    Ended(DisconnectReason),
    /// There is a resume ticket.
    Ticket,
    /// The server wants other keys.
    RekeyRequest,
    /// The server said hello for reliable delivery.
    Hello,
}

/// Before there is a session.
pub(crate) struct Attempt {
    request: ConnectRequest,
    nonce: [u8; 8],
    initiator: Initiator,
    message: [u8; NOISE_MESSAGE_1_LEN],
    protocol_id: u64,
    cookie: [u8; 48],
    next: Nanos,
}

/// An accepted session.
pub(crate) struct Session {
    pub(crate) id: ConnectionId,
    seal: PacketKey,
    open: PacketKey,
    /// Of the last packet sent.
    pub(crate) sequence: u64,
    heard: BTreeSet<u64>,
    /// Largest sequence received.
    pub(crate) newest: u64,
    pub(crate) is_confirmed: bool,
    /// The secret that goes with its resume tickets, and the newest of them.
    resume: [u8; 32],
    token: Option<PublicToken>,
}

impl Attempt {
    /// An attempt with `ticket`, as any client makes one.
    pub(crate) fn new(ticket: &Ticket, entropy: &mut impl Entropy) -> Option<Self> {
        let nonce = entropy.bytes();
        let request = ConnectRequest::new(ticket.protocol_id, nonce, &ticket.token);
        let offer = ClientOffer { build: 0, features: 0, max_datagram: DATAGRAM_MAX as u16 };
        let (initiator, message) = Initiator::start(
            &request.prologue(),
            &ticket.server_public,
            &ticket.psk,
            entropy.bytes(),
            &offer.write(),
        )
        .ok()?;
        let protocol_id = ticket.protocol_id;
        let (cookie, next) = ([0; 48], Nanos(0));
        Some(Self { request, nonce, initiator, message, protocol_id, cookie, next })
    }

    /// The Connect, whether it is due or not.
    pub(crate) fn connect(&self) -> Vec<u8> {
        let mut out = [0; DATAGRAM_MAX];
        self.request.write(&self.cookie, &self.message, &mut out);
        out.to_vec()
    }

    /// The Connect, if it is due.
    pub(crate) fn poll(&mut self, now: Nanos) -> Option<Vec<u8>> {
        if now < self.next {
            return None;
        }
        self.next = now.plus(RESEND);
        Some(self.connect())
    }

    /// Takes in an answer of the gate.
    pub(crate) fn handle(&mut self, datagram: &[u8]) -> Option<Session> {
        self.handle_reply(Reply::read(self.protocol_id, datagram).ok()?)
    }

    /// Whether the datagram refuses this attempt for a ticket that was used.
    pub(crate) fn is_refused_as_used(&self, datagram: &[u8]) -> bool {
        let Ok(Reply::Denied(denied)) = Reply::read(self.protocol_id, datagram) else {
            return false;
        };
        denied.client_nonce == self.nonce && denied.reason == Denial::TokenUsed
    }

    fn handle_reply(&mut self, reply: Reply) -> Option<Session> {
        match reply {
            Reply::Cookie(packet) => {
                self.cookie = packet.cookie;
                self.next = Nanos(0);
                None
            }
            Reply::Denied(_) => None,
            Reply::Accepted(packet) => {
                let (handshake, payload) = self.initiator.finish(&packet.noise_message).ok()?;
                let accepted = Accepted::read(&payload).ok()?;
                if accepted.status != Status::Ok {
                    return None;
                }
                let root = Root::from_handshake(&handshake);
                Some(Session {
                    id: accepted.connection,
                    seal: PacketKey::new(&root.client_to_server(0)),
                    open: PacketKey::new(&root.server_to_client(0)),
                    sequence: 0,
                    heard: BTreeSet::new(),
                    newest: 0,
                    is_confirmed: false,
                    resume: root.resume(),
                    token: None,
                })
            }
        }
    }
}

impl Session {
    /// Takes in a datagram of the server.
    pub(crate) fn handle(&mut self, datagram: &mut [u8]) -> Heard {
        let Ok(header) = Header::read(datagram) else { return Heard::Nothing };
        let Ok(plaintext) = self.open.open(datagram) else { return Heard::Nothing };
        if !self.heard.insert(header.sequence) {
            return Heard::Nothing;
        }
        self.newest = self.newest.max(header.sequence);
        let skip = if header.flags.contains(Flags::ACKNOWLEDGMENT) { ACK_BLOCK_LEN } else { 0 };
        let Some(messages) = plaintext.get(skip..) else { return Heard::Nothing };
        for message in Messages::new(messages, header.channel).flatten() {
            if header.channel != Channel::Control {
                continue;
            }
            if message.kind == control_kind::RESUME_TICKET {
                self.token = read_resume_ticket(message.body).ok();
                return Heard::Ticket;
            }
            match ControlMessage::read(&message) {
                Ok(ControlMessage::CryptoTestAck(_)) => {
                    self.is_confirmed = true;
                    return Heard::Confirmed;
                }
                Ok(ControlMessage::Moved { connection }) => self.id = connection,
                Ok(ControlMessage::Ping { nonce }) => return Heard::Ping(nonce),
                Ok(ControlMessage::Pong { nonce, .. }) => return Heard::Pong(nonce),
                Ok(ControlMessage::Disconnect { reason, .. }) => return Heard::Ended(reason),
                Ok(ControlMessage::RekeyRequest(_)) => return Heard::RekeyRequest,
                Ok(ControlMessage::ReliableHandshake(_)) => return Heard::Hello,
                _ => {}
            }
        }
        Heard::Nothing
    }

    /// A ticket like `other`, with what the server gave this session to come back with.
    pub(crate) fn ticket(&self, other: &Ticket) -> Option<Ticket> {
        let (token, psk) = (self.token.clone()?, self.resume);
        Some(Ticket { token, psk, ..other.clone() })
    }

    /// An acknowledgment of what was received last.
    pub(crate) fn ack(&self) -> Option<AckBlock> {
        let (largest, delay) = (self.newest, AckBlock::DELAY_UNKNOWN);
        (largest > 0).then_some(AckBlock { largest, bitmap: 0, delay })
    }

    /// Seals a packet under the next sequence.
    pub(crate) fn packet(
        &mut self,
        channel: Channel,
        flags: Flags,
        ack: Option<AckBlock>,
        messages: impl FnOnce(&mut Writer<'_>),
    ) -> Vec<u8> {
        self.sequence = (self.sequence + 1).min(SEQUENCE_MAX - 1);
        let mut out = [0; DATAGRAM_MAX];
        let mut writer = Writer::new(&mut out[..DATAGRAM_MAX - TAG_LEN]);
        let mut flags = Flags::SEALED.with(flags);
        if ack.is_some() {
            flags = flags.with(Flags::ACKNOWLEDGMENT);
        }
        let (connection, sequence) = (self.id, self.sequence);
        Header { connection, channel, flags, sequence }.put(&mut writer);
        if let Some(block) = ack {
            block.write(&mut writer);
        }
        messages(&mut writer);
        // A packet with too much to say says nothing.
        let end = writer.finish().unwrap_or(HEADER_LEN);
        self.seal.seal(&mut out[..end + TAG_LEN]);
        out[..end + TAG_LEN].to_vec()
    }
}
