//! One attempt to join: Connect, Cookie, Accepted. Afterwards there is a `Session`.
//!
//! Message 1 is made once and is the same bytes in every Connect of the attempt, as the protocol
//! demands: one key and nonce must not authenticate two texts. Called by `machine`.

use super::error::ClientError;
use super::resumption::Resumption;
use super::session::Session;
use crate::crypto::noise::{Initiator, NoiseError};
use crate::crypto::schedule::Root;
use crate::limits::DATAGRAM_MAX;
use crate::time::{Entropy, Nanos};
use crate::wire::{
    Accepted, CONNECT_LEN, COOKIE_LEN, ClientOffer, ConnectRequest, ConnectionId, Denial,
    NOISE_MESSAGE_1_LEN, PublicToken, Reply, Status,
};

/// Time between two Connects.
const RESEND: Nanos = Nanos::from_ms(250);
/// Longest time from one Connect to the next, however many Denied there are: anybody on the way can
/// send them.
const RETRY_MAX: Nanos = Nanos::from_ms(5_000);

/// What a player gets from the trusted backend, over HTTPS, or from the server itself, to come
/// back, and needs to join.
#[derive(Clone)]
pub struct Ticket {
    /// Which game and build family.
    pub protocol_id: u64,
    /// The sealed token with its public head.
    pub token: PublicToken,
    /// The secret inside the token, for the player.
    pub psk: [u8; 32],
    /// The server's static key, pinned.
    pub server_public: [u8; 32],
    /// Number of the client's build.
    pub build: u32,
}

/// A refusal that nobody has proven to be the server's: to be shown, and never a reason to give up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied {
    /// Why, with a text for the player.
    pub reason: Denial,
    /// Milliseconds after which it may work; the client waits 5 s at most.
    pub retry_ms: u32,
}

/// What a handshake packet led to.
pub(super) enum Answer {
    /// The next Connect carries the cookie and is due at once.
    Cookie,
    /// The server's advice, not authenticated.
    Advice(Denied),
    /// The server's refusal, authenticated.
    Refused { status: Status, retry_s: u16 },
    /// There is a session.
    Accepted(Session, Accepted, Box<Resumption>),
}

/// An attempt that has not been answered.
pub(super) struct Attempt {
    request: ConnectRequest,
    protocol_id: u64,
    server_public: [u8; 32],
    build: u32,
    client_nonce: [u8; 8],
    initiator: Initiator,
    message: [u8; NOISE_MESSAGE_1_LEN],
    cookie: [u8; COOKIE_LEN],
    /// For the key confirmation of the session to come.
    crypto_test: [u8; 16],
    next_send: Nanos,
    /// When the last Connect left.
    sent: Nanos,
    pub(super) started: Nanos,
}

impl Attempt {
    /// Fails only if `server_public` is a point of small order, which is no key.
    pub(super) fn start(
        ticket: &Ticket,
        client_nonce: [u8; 8],
        now: Nanos,
        entropy: &mut impl Entropy,
    ) -> Result<Self, NoiseError> {
        let request = ConnectRequest::new(ticket.protocol_id, client_nonce, &ticket.token);
        let offer =
            ClientOffer { build: ticket.build, features: 0, max_datagram: DATAGRAM_MAX as u16 };
        let (initiator, message) = Initiator::start(
            &request.prologue(),
            &ticket.server_public,
            &ticket.psk,
            entropy.bytes(),
            &offer.write(),
        )?;
        Ok(Self {
            request,
            protocol_id: ticket.protocol_id,
            server_public: ticket.server_public,
            build: ticket.build,
            client_nonce,
            initiator,
            message,
            cookie: [0; COOKIE_LEN],
            crypto_test: entropy.bytes(),
            next_send: now,
            sent: now,
            started: now,
        })
    }

    pub(super) fn next_send(&self) -> Nanos {
        self.next_send
    }

    /// Writes a Connect if one is due.
    pub(super) fn poll_transmit(
        &mut self,
        now: Nanos,
        out: &mut [u8; CONNECT_LEN],
    ) -> Option<usize> {
        if now < self.next_send {
            return None;
        }
        (self.sent, self.next_send) = (now, now.plus(RESEND));
        self.request.write(&self.cookie, &self.message, out);
        Some(CONNECT_LEN)
    }

    pub(super) fn handle_datagram(
        &mut self,
        now: Nanos,
        datagram: &[u8],
    ) -> Result<Answer, ClientError> {
        match Reply::read(self.protocol_id, datagram)? {
            Reply::Cookie(packet) => {
                self.answers(packet.client_nonce)?;
                if self.cookie != packet.cookie {
                    self.cookie = packet.cookie;
                    self.next_send = now;
                }
                Ok(Answer::Cookie)
            }
            Reply::Denied(packet) => {
                self.answers(packet.client_nonce)?;
                let retry = RESEND.max(Nanos::from_ms(packet.retry_ms.into()));
                self.next_send = now.plus(retry).min(self.sent.plus(RETRY_MAX));
                Ok(Answer::Advice(Denied { reason: packet.reason, retry_ms: packet.retry_ms }))
            }
            Reply::Accepted(packet) => {
                self.answers(packet.client_nonce)?;
                self.finish(now, &packet.noise_message)
            }
        }
    }

    fn answers(&self, client_nonce: [u8; 8]) -> Result<(), ClientError> {
        if client_nonce == self.client_nonce { Ok(()) } else { Err(ClientError::Attempt) }
    }

    fn finish(&self, now: Nanos, message: &[u8; 112]) -> Result<Answer, ClientError> {
        let noise = |_| ClientError::Noise;
        let (handshake, payload) = self.initiator.finish(message).map_err(noise)?;
        let accepted = Accepted::read(&payload).map_err(|_| ClientError::Noise)?;
        if accepted.status != Status::Ok {
            let Accepted { status, retry_s, .. } = accepted;
            return Ok(Answer::Refused { status, retry_s });
        }
        if accepted.connection == ConnectionId::GATE || accepted.connection.socket() == 0 {
            return Err(ClientError::Noise);
        }
        let root = Root::from_handshake(&handshake);
        let session = Session::new(accepted.connection, &root, self.crypto_test, now);
        let Self { protocol_id, server_public, build, .. } = *self;
        let psk = root.resume();
        let resumption = Resumption { protocol_id, server_public, build, psk, token: None };
        Ok(Answer::Accepted(session, accepted, Box::new(resumption)))
    }
}
