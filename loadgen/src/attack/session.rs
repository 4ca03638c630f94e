//! The protocol as an attacker speaks it: a handshake that stops wherever he likes, and a session
//! with genuine keys that says whatever he likes. `tidelock::client` would not.

use tidelock::crypto::aead::PacketKey;
use tidelock::crypto::noise::Initiator;
use tidelock::crypto::schedule::Root;
use tidelock::host::clock;
use tidelock::host::entropy::OsEntropy;
use tidelock::keys::{BackendKeys, TicketFile, TicketRequest};
use tidelock::limits::{ACK_BLOCK_LEN, DATAGRAM_MAX, HEADER_LEN, PLAINTEXT_MAX, TAG_LEN};
use tidelock::time::Entropy;
use tidelock::wire::{
    Accepted, COOKIE_LEN, Channel, ClientOffer, ConnectRequest, ConnectionId, Flags, Header,
    Messages, NOISE_MESSAGE_1_LEN, Reply, Status, control_kind,
};

/// A handshake under way.
pub(super) struct Attempt {
    request: ConnectRequest,
    protocol_id: u64,
    initiator: Initiator,
    message: [u8; NOISE_MESSAGE_1_LEN],
}

/// What the gate said to an attempt.
pub(super) enum Answer {
    /// Nothing of use.
    Nothing,
    Cookie([u8; COOKIE_LEN]),
    /// Authenticated: no.
    Refused,
    Accepted(Session),
}

/// A ticket for `player`.
pub(super) fn ticket(keys: &BackendKeys, player: u64) -> TicketFile {
    let request = TicketRequest { player, spawn: None, ttl_s: 60 };
    keys.mint(&request, clock::unix_ms(), &mut OsEntropy)
}

impl Attempt {
    /// An attempt with `ticket`, named by `number` and some random bytes.
    pub(super) fn new(ticket: &TicketFile, number: u32) -> Self {
        let mut nonce: [u8; 8] = OsEntropy.bytes();
        nonce[..4].copy_from_slice(&number.to_le_bytes());
        let ticket = ticket.for_client();
        let request = ConnectRequest::new(ticket.protocol_id, nonce, &ticket.token);
        let offer = ClientOffer { build: 0, features: 0, max_datagram: DATAGRAM_MAX as u16 };
        let (initiator, message) = Initiator::start(
            &request.prologue(),
            &ticket.server_public,
            &ticket.psk,
            OsEntropy.bytes(),
            &offer.write(),
        )
        .expect("the server's key was checked when it started");
        Self { request, protocol_id: ticket.protocol_id, initiator, message }
    }

    /// Writes a Connect.
    pub(super) fn connect(&self, cookie: &[u8; COOKIE_LEN], out: &mut [u8; DATAGRAM_MAX]) -> usize {
        self.request.write(cookie, &self.message, out);
        DATAGRAM_MAX
    }

    /// Takes in what came from the gate.
    pub(super) fn answer(&self, datagram: &[u8]) -> Answer {
        match Reply::read(self.protocol_id, datagram) {
            Ok(Reply::Cookie(packet)) => Answer::Cookie(packet.cookie),
            Ok(Reply::Accepted(packet)) => match self.initiator.finish(&packet.noise_message) {
                Ok((handshake, payload)) => match Accepted::read(&payload) {
                    Ok(accepted) if accepted.status == Status::Ok => {
                        let root = Root::from_handshake(&handshake);
                        Answer::Accepted(Session::new(accepted.connection, &root))
                    }
                    _ => Answer::Refused,
                },
                Err(_) => Answer::Nothing,
            },
            Ok(Reply::Denied(_)) => Answer::Refused,
            Err(_) => Answer::Nothing,
        }
    }
}

/// Number and cookie of a Cookie packet that answers an attempt, without the attempt.
pub(super) fn cookie_of(protocol_id: u64, datagram: &[u8]) -> Option<(u32, [u8; COOKIE_LEN])> {
    let Ok(Reply::Cookie(packet)) = Reply::read(protocol_id, datagram) else { return None };
    let number = packet.client_nonce.first_chunk().copied()?;
    Some((u32::from_le_bytes(number), packet.cookie))
}

/// Whether `datagram` is an Accepted, whoever it is for and whatever it says.
pub(super) fn is_accepted(protocol_id: u64, datagram: &[u8]) -> bool {
    matches!(Reply::read(protocol_id, datagram), Ok(Reply::Accepted(_)))
}

/// What the server said in a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// It has proven that it holds the keys.
    pub(super) confirmed: bool,
    /// It ended the session.
    pub(super) over: bool,
}

/// A session with genuine keys.
pub(super) struct Session {
    pub(super) id: ConnectionId,
    pub(super) sequence: u64,
    seal: PacketKey,
    open: PacketKey,
}

impl Session {
    fn new(id: ConnectionId, root: &Root) -> Self {
        let seal = PacketKey::new(&root.client_to_server(0));
        let open = PacketKey::new(&root.server_to_client(0));
        Self { id, sequence: 0, seal, open }
    }

    /// Seals `plaintext` under the next sequence, whatever it says.
    pub(super) fn say(
        &mut self,
        channel: Channel,
        flags: Flags,
        plaintext: &[u8],
        out: &mut [u8; DATAGRAM_MAX],
    ) -> usize {
        let len = plaintext.len().min(PLAINTEXT_MAX);
        self.sequence += 1;
        let flags = Flags::SEALED.with(flags);
        let header = Header { connection: self.id, channel, flags, sequence: self.sequence };
        header.write(out.first_chunk_mut().expect("a datagram has a header"));
        out[HEADER_LEN..HEADER_LEN + len].copy_from_slice(&plaintext[..len]);
        let total = HEADER_LEN + len + TAG_LEN;
        self.seal.seal(&mut out[..total]);
        total
    }

    /// Takes in a sealed packet.
    pub(super) fn hear(&self, datagram: &mut [u8]) -> Heard {
        let mut heard = Heard::default();
        let Ok(header) = Header::read(datagram) else { return heard };
        let Ok(plaintext) = self.open.open(datagram) else { return heard };
        if header.channel != Channel::Control {
            return heard;
        }
        let skip = if header.flags.contains(Flags::ACKNOWLEDGMENT) { ACK_BLOCK_LEN } else { 0 };
        let messages = plaintext.get(skip..).unwrap_or_default();
        for message in Messages::new(messages, header.channel).flatten() {
            heard.confirmed |= message.kind == control_kind::CRYPTO_TEST_ACK;
            heard.over |= message.kind == control_kind::DISCONNECT;
        }
        heard
    }
}

/// A message with its length and type, and its id where `id` is given.
pub(super) fn message(kind: u8, id: Option<u16>, body: &[u8]) -> Vec<u8> {
    let id = id.map(u16::to_le_bytes);
    let id = id.as_ref().map_or(&[][..], |id| &id[..]);
    let length = (1 + id.len() + body.len()) as u16;
    [&length.to_le_bytes()[..], &[kind], id, body].concat()
}
