//! A server of a few lines, for the tests of the client: it answers the handshake and seals what a
//! test wants to say. It encodes nothing on its own.

mod delivering;
mod integrity;
mod joining;
mod moving;
mod rekey;
mod resuming;
mod snapshots;

use super::{Client, ClientError, Event, Scratch, State, Ticket};
use crate::crypto::aead::PacketKey;
use crate::crypto::noise::{Responder, StaticKeys};
use crate::crypto::schedule::Root;
use crate::limits::DATAGRAM_MAX;
use crate::time::{Entropy, Nanos};
use crate::units::EntityId;
use crate::wire::snapshot::{EntryBody, OwnState, SnapshotHead, write_entry_head};
use crate::wire::*;

pub(super) const PROTOCOL: u64 = 0x5449_4445;
const PSK: [u8; 32] = [9; 32];
const SECRET: [u8; 32] = [3; 32];

/// A reproducible stream: a counter through a mixing function.
pub(super) struct Seeded(pub(super) u64);

impl Seeded {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 31)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        mixed ^ (mixed >> 32)
    }
}

impl Entropy for Seeded {
    fn fill(&mut self, out: &mut [u8]) {
        out.fill_with(|| self.next() as u8);
    }
}

pub(super) fn ticket() -> Ticket {
    Ticket {
        protocol_id: PROTOCOL,
        token: PublicToken {
            kind: 1,
            key_id: 7,
            nonce: [2; TOKEN_NONCE_LEN],
            expiry_s: 2_000_000_000,
            sealed: [5; SEALED_TOKEN_LEN],
        },
        psk: PSK,
        server_public: StaticKeys::from_secret(SECRET).public,
        build: 1,
    }
}

/// A packet of the client that the server opened.
pub(super) struct Heard {
    pub(super) channel: Channel,
    pub(super) acks: Option<AckBlock>,
    pub(super) messages: Vec<(u8, Vec<u8>)>,
}

impl Heard {
    pub(super) fn control(&self) -> ControlMessage {
        let (kind, body) = &self.messages[0];
        ControlMessage::read(&Message { kind: *kind, id: 0, body }).unwrap()
    }
}

/// The server's half.
pub(super) struct FakeServer {
    pub(super) connection: ConnectionId,
    pub(super) sequence: u64,
    pub(super) exporter: [u8; 32],
    pub(super) open_key: PacketKey,
    pub(super) seal_key: PacketKey,
    /// Of the epoch that those two are of.
    pub(super) root: Root,
    /// Written into every header beside what a sealed packet has.
    pub(super) parity: Flags,
    /// The secret of whoever resumes the session.
    pub(super) resume: [u8; 32],
}

impl FakeServer {
    /// The cookie that answers `connect`.
    pub(super) fn cookie(connect: &[u8]) -> Vec<u8> {
        let mut out = [0; COOKIE_PACKET_LEN];
        let client_nonce = *Connect::read(connect).unwrap().client_nonce();
        CookiePacket { client_nonce, cookie: [0xC0; COOKIE_LEN] }.write(PROTOCOL, &mut out);
        out.to_vec()
    }

    /// Accepts `connect` (or refuses it, authenticated); the packet to send is the second value.
    pub(super) fn accept(connect: &[u8], status: Status) -> (Self, Vec<u8>) {
        let connect = Connect::read(connect).unwrap();
        assert!(connect.crc_matches() && connect.protocol_id() == PROTOCOL);
        let keys = StaticKeys::from_secret(SECRET);
        let (responder, offer) =
            Responder::read(&connect.prologue(), &keys, &PSK, connect.noise_message()).unwrap();
        assert_eq!(ClientOffer::read(&offer).unwrap().max_datagram, 1200);
        let connection = ConnectionId::from_parts(1, 77, 0x5A5);
        let accepted = Accepted::new(status, connection, 42, 60);
        let (handshake, noise_message) = responder.reply([11; 32], &accepted.write()).unwrap();
        let mut out = [0; ACCEPTED_LEN];
        AcceptedPacket { client_nonce: *connect.client_nonce(), noise_message }
            .write(PROTOCOL, &mut out);
        let root = Root::from_handshake(&handshake);
        let server = Self {
            connection,
            sequence: 0,
            exporter: root.exporter(),
            open_key: PacketKey::new(&root.client_to_server(0)),
            seal_key: PacketKey::new(&root.server_to_client(0)),
            resume: root.resume(),
            parity: Flags::default(),
            root,
        };
        (server, out.to_vec())
    }

    /// Seals `messages` under the next sequence.
    pub(super) fn seal(
        &mut self,
        channel: Channel,
        acks: Option<AckBlock>,
        messages: &[u8],
    ) -> Vec<u8> {
        self.sequence += 1;
        let mut out = vec![0; DATAGRAM_MAX];
        let flags = acks.map_or(Flags::SEALED, |_| Flags::SEALED.with(Flags::ACKNOWLEDGMENT));
        let flags = flags.with(self.parity);
        let mut writer = Writer::new(&mut out);
        let sequence = self.sequence;
        Header { connection: self.connection, channel, flags, sequence }.put(&mut writer);
        if let Some(block) = acks {
            block.write(&mut writer);
        }
        writer.slice(messages);
        let end = writer.finish().unwrap();
        out.truncate(end + 16);
        self.seal_key.seal(&mut out);
        out
    }

    pub(super) fn control(&mut self, message: ControlMessage) -> Vec<u8> {
        let mut text = [0; 64];
        let mut writer = Writer::new(&mut text);
        message.write(&mut writer);
        let len = writer.finish().unwrap();
        self.seal(Channel::Control, None, &text[..len])
    }

    pub(super) fn snapshot(&mut self, body: &[u8]) -> Vec<u8> {
        let mut text = vec![0; 1170];
        let mut writer = Writer::new(&mut text);
        put_message(&mut writer, to_client::DELTA_SYNC, |writer| writer.slice(body));
        let len = writer.finish().unwrap();
        self.seal(Channel::Unreliable, None, &text[..len])
    }

    pub(super) fn open(&self, datagram: &[u8]) -> Heard {
        let header = Header::read(datagram).unwrap();
        assert_eq!(header.connection, self.connection);
        let mut datagram = datagram.to_vec();
        let text = self.open_key.open(&mut datagram).unwrap();
        let mut reader = Reader::new(text);
        let has_acks = header.flags.contains(Flags::ACKNOWLEDGMENT);
        let acks = has_acks.then(|| AckBlock::read(&mut reader).unwrap());
        let rest = reader.slice(reader.remaining()).unwrap();
        let messages = Messages::new(rest, header.channel)
            .map(|message| message.map(|m| (m.kind, m.body.to_vec())).unwrap())
            .collect();
        Heard { channel: header.channel, acks, messages }
    }
}

/// A client with its server and clock.
pub(super) struct Pair {
    pub(super) client: Client,
    pub(super) server: FakeServer,
    pub(super) scratch: Scratch,
    pub(super) now: Nanos,
}

pub(super) fn new_client() -> Client {
    Client::new(&ticket(), [1; 8], Nanos(0), &mut Seeded(5)).unwrap()
}

pub(super) fn transmit(client: &mut Client, now: Nanos) -> Option<Vec<u8>> {
    let mut out = [0; DATAGRAM_MAX];
    client.poll_transmit(now, &mut out).map(|len| out[..len].to_vec())
}

impl Pair {
    /// A client that was accepted.
    pub(super) fn accepted() -> Self {
        let mut client = new_client();
        let mut scratch = Scratch::default();
        let connect = transmit(&mut client, Nanos(0)).unwrap();
        let mut cookie = FakeServer::cookie(&connect);
        client.handle_datagram(Nanos(0), &mut cookie, &mut scratch).unwrap();
        let connect = transmit(&mut client, Nanos(0)).unwrap();
        let (server, mut accepted) = FakeServer::accept(&connect, Status::Ok);
        let event = client.handle_datagram(Nanos(0), &mut accepted, &mut scratch).unwrap();
        assert_eq!(event, Event::Accepted { tick_hz: 60, tick: 0 });
        Self { client, server, scratch, now: Nanos(0) }
    }

    /// A client that is confirmed and asks for a place in the world.
    pub(super) fn confirmed() -> Self {
        let mut pair = Self::accepted();
        let ControlMessage::CryptoTest(test) = pair.heard().unwrap().control() else {
            panic!("the first sealed packet is a CryptoTest");
        };
        let ack = pair.server.control(ControlMessage::CryptoTestAck(test));
        assert_eq!(pair.deliver(&ack), Ok(Event::Confirmed));
        pair
    }

    /// A client in the world, at tick 1.
    pub(super) fn in_world() -> Self {
        let mut pair = Self::confirmed();
        let first = body(1, &[], &[]);
        assert!(matches!(pair.say(&first), Ok(Event::Snapshot(_))));
        assert_eq!(pair.client.state(), State::InWorld);
        pair.drain();
        pair
    }

    pub(super) fn deliver(&mut self, datagram: &[u8]) -> Result<Event, ClientError> {
        self.client.handle_datagram(self.now, &mut datagram.to_vec(), &mut self.scratch)
    }

    /// Delivers a snapshot with this body.
    pub(super) fn say(&mut self, body: &[u8]) -> Result<Event, ClientError> {
        let datagram = self.server.snapshot(body);
        self.deliver(&datagram)
    }

    pub(super) fn heard(&mut self) -> Option<Heard> {
        transmit(&mut self.client, self.now).map(|datagram| self.server.open(&datagram))
    }

    pub(super) fn drain(&mut self) {
        while transmit(&mut self.client, self.now).is_some() {}
    }

    /// What the client acknowledges with its next packet.
    pub(super) fn acks(&mut self) -> AckBlock {
        self.client.set_input(InputFrame::default());
        self.heard().unwrap().acks.unwrap()
    }
}

pub(super) fn own() -> OwnState {
    OwnState {
        id: EntityId::from_parts(1000, 1),
        position: [100.0, 200.0, 0.0],
        flags: 1,
        health: 255,
        mana: 255,
        ..OwnState::default()
    }
}

/// A snapshot body with the own state: entries are (slot, age, body).
pub(super) fn body(tick: u32, removed: &[u8], entries: &[(u8, u8, EntryBody)]) -> Vec<u8> {
    let head = SnapshotHead {
        tick,
        last_processed_input: 0,
        base_age: 1,
        removals: removed.len() as u8,
        entries: entries.len() as u8,
        own: Some(own()),
        relations: None,
    };
    let mut out = vec![0; DATAGRAM_MAX];
    let mut at = head.write(&mut out);
    out[at..at + removed.len()].copy_from_slice(removed);
    at += removed.len();
    for (slot, age, entry) in entries {
        at += write_entry_head(*slot, *age, head.base_age, &mut out[at..]);
        out[at..at + entry.as_slice().len()].copy_from_slice(entry.as_slice());
        at += entry.as_slice().len();
    }
    out.truncate(at);
    out
}
