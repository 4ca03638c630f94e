//! A client with a server of a few lines whose keys we have: it answers the handshake and says
//! whatever an input wants, in packets that open.
#![allow(dead_code, reason = "targets and museum pieces use their parts of it")]

use super::random::Counting;
use std::collections::BTreeSet;
use tidelock::client::{Client, Event, Scratch, State, Ticket};
use tidelock::crypto::aead::PacketKey;
use tidelock::crypto::noise::{Responder, StaticKeys};
use tidelock::crypto::schedule::Root;
use tidelock::limits::DATAGRAM_MAX;
use tidelock::time::Nanos;
use tidelock::units::{EntityId, STEPS_XY, STEPS_Z};
use tidelock::wire::snapshot::{OwnState, SnapshotHead};
use tidelock::wire::{
    ACCEPTED_LEN, Accepted, AcceptedPacket, AckBlock, COOKIE_LEN, COOKIE_PACKET_LEN, Channel,
    Connect, ConnectionId, ControlMessage, CookiePacket, Flags, Header, InputFrame, Message,
    Messages, PublicToken, Reader, SEALED_TOKEN_LEN, Status, Writer, put_message, to_client,
};

const PROTOCOL_ID: u64 = 0x5449_4445;
const SECRET: [u8; 32] = [3; 32];
const PSK: [u8; 32] = [9; 32];
const START: Nanos = Nanos::from_ms(1_000);

/// A client that starts to connect.
fn newcomer() -> Client {
    let token = PublicToken {
        kind: 1,
        key_id: 7,
        nonce: [2; 24],
        expiry_s: 2_000_000_000,
        sealed: [5; SEALED_TOKEN_LEN],
    };
    let server_public = StaticKeys::from_secret(SECRET).public;
    let ticket = Ticket { protocol_id: PROTOCOL_ID, token, psk: PSK, server_public, build: 1 };
    let client = Client::new(&ticket, [1; 8], START, &mut Counting(5));
    client.expect("the server's key is a key")
}

/// A client and its keys after a handshake without a network.
pub(crate) fn handshake() -> (Client, Root, ConnectionId, Nanos) {
    let keys = StaticKeys::from_secret(SECRET);
    let (mut client, now) = (newcomer(), START);
    let mut out = [0; DATAGRAM_MAX];
    client.poll_transmit(now, &mut out).expect("a Connect");
    let connect = Connect::read(&out).expect("the client writes good packets");
    let (responder, _) = Responder::read(&connect.prologue(), &keys, &PSK, connect.noise_message())
        .expect("the client is honest");
    let id = ConnectionId::from_parts(1, 1, 0x5A5);
    let accepted = Accepted::new(Status::Ok, id, 42, 60);
    let (handshake, noise_message) =
        responder.reply([11; 32], &accepted.write()).expect("the client's key is a key");
    let root = Root::from_handshake(&handshake);
    let mut answer = [0; ACCEPTED_LEN];
    AcceptedPacket { client_nonce: *connect.client_nonce(), noise_message }
        .write(PROTOCOL_ID, &mut answer);
    let event = client.handle_datagram(now, &mut answer, &mut Scratch::default());
    assert!(matches!(event, Ok(Event::Accepted { .. })), "{event:?}");
    (client, root, id, now)
}

/// Both ends and the time.
pub(crate) struct Server {
    pub(crate) client: Client,
    pub(crate) now: Nanos,
    scratch: Scratch,
    id: ConnectionId,
    seal_key: PacketKey,
    open_key: PacketKey,
    /// Of the last packet made.
    sequence: u64,
    said: BTreeSet<u64>,
    /// Of the newest packet of the client.
    heard: u64,
    /// The tick of the last snapshot made.
    tick: u32,
}

impl Server {
    /// Both Connects of one attempt, and the cookie between them.
    pub(crate) fn connects() -> ([u8; DATAGRAM_MAX], [u8; COOKIE_LEN], [u8; DATAGRAM_MAX]) {
        let (mut client, now) = (newcomer(), START);
        let (mut first, mut second) = ([0; DATAGRAM_MAX], [0; DATAGRAM_MAX]);
        client.poll_transmit(now, &mut first).expect("a Connect");
        let client_nonce = *Connect::read(&first).expect("a good packet").client_nonce();
        let cookie = [0xC0; COOKIE_LEN];
        let mut answer = [0; COOKIE_PACKET_LEN];
        CookiePacket { client_nonce, cookie }.write(PROTOCOL_ID, &mut answer);
        let event = client.handle_datagram(now, &mut answer, &mut Scratch::default());
        assert_eq!(event, Ok(Event::Nothing));
        client.poll_transmit(now, &mut second).expect("another Connect, at once");
        (first, cookie, second)
    }

    /// A client that has been accepted and has not heard a sealed packet.
    pub(crate) fn accepted() -> Self {
        let (client, root, id, now) = handshake();
        Self {
            client,
            now,
            scratch: Scratch::default(),
            id,
            seal_key: PacketKey::new(&root.server_to_client(0)),
            open_key: PacketKey::new(&root.client_to_server(0)),
            sequence: 0,
            said: BTreeSet::new(),
            heard: 0,
            tick: 0,
        }
    }

    /// A client that has seen itself in the world.
    pub(crate) fn in_world() -> Self {
        let mut server = Self::accepted();
        let Some(ControlMessage::CryptoTest(test)) = server.poll() else {
            panic!("the first sealed packet is a CryptoTest");
        };
        let mut plaintext = vec![17, 0, 11];
        plaintext.extend_from_slice(&test);
        server.say(Channel::Control, Flags::SEALED, 1, &plaintext);
        server.snapshot(1, 0, &[]);
        assert_eq!(server.client.state(), State::InWorld);
        server
    }

    pub(crate) fn pass_ms(&mut self, ms: u64) {
        self.now = self.now.plus(Nanos::from_ms(ms));
    }

    /// Seals this plaintext `ahead` sequences after the last, and delivers it twice: the copy
    /// leads to nothing.
    pub(crate) fn say(&mut self, channel: Channel, flags: Flags, ahead: i64, plaintext: &[u8]) {
        let sequence = self.sequence.saturating_add_signed(ahead).max(1);
        self.sequence = self.sequence.max(sequence);
        self.said.insert(sequence);
        let header = Header { connection: self.id, channel, flags, sequence };
        let mut datagram = vec![0; 14 + plaintext.len() + 16];
        let mut writer = Writer::new(&mut datagram);
        header.put(&mut writer);
        writer.slice(plaintext);
        self.seal_key.seal(&mut datagram);
        let mut copy = datagram.clone();
        if let Ok(Event::Moved(id)) = self.deliver(&mut datagram) {
            self.id = id;
        }
        let again = self.deliver(&mut copy);
        assert!(again.is_err(), "a replay is nothing: {again:?}");
    }

    /// Delivers what nobody has sealed, under a sequence that its forger chose.
    pub(crate) fn forge(&mut self, sequence: u64) {
        let mut datagram = [0xA5; 64];
        let connection = self.id;
        let (channel, flags) = (Channel::Unreliable, Flags::SEALED);
        Header { connection, channel, flags, sequence }.put(&mut Writer::new(&mut datagram));
        assert!(self.deliver(&mut datagram).is_err(), "a forgery is nothing");
    }

    /// A snapshot `ahead` ticks after the last, with an own state, whose entries are `rest`.
    pub(crate) fn snapshot(&mut self, ahead: u32, base_age: u8, rest: &[u8]) {
        self.tick = self.tick.saturating_add(ahead);
        let own = OwnState {
            id: EntityId::from_parts(1000, 1),
            position: [100.0, 200.0, 0.0],
            flags: 1,
            health: 255,
            mana: 255,
            ..OwnState::default()
        };
        let head = SnapshotHead {
            tick: self.tick,
            base_age,
            entries: rest.first().map_or(0, |count| count % 8),
            own: Some(own),
            ..SnapshotHead::default()
        };
        let mut front = [0; 60];
        let length = head.write(&mut front);
        let mut plaintext = [0; 512];
        let mut writer = Writer::new(&mut plaintext);
        put_message(&mut writer, to_client::DELTA_SYNC, |writer| {
            writer.slice(&front[..length]);
            writer.slice(rest.get(1..).unwrap_or_default());
        });
        let length = writer.finish().expect("at most 256 bytes of entries");
        self.say(Channel::Unreliable, Flags::SEALED, 1, &plaintext[..length]);
    }

    /// Whether the client has closed.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.client.state(), State::Closed(_))
    }

    fn deliver(&mut self, datagram: &mut [u8]) -> Result<Event, tidelock::client::ClientError> {
        let result = self.client.handle_datagram(self.now, datagram, &mut self.scratch);
        for seen in self.client.world().entities() {
            let state = seen.state;
            assert!(state.x < STEPS_XY && state.y < STEPS_XY && u32::from(state.z) < STEPS_Z);
        }
        result
    }

    /// The client plays a tick.
    pub(crate) fn input(&mut self, yaw: u16) {
        let buttons = yaw & 0x0F;
        self.client.set_input(InputFrame { move_x: 1, move_y: -1, yaw, buttons });
    }

    /// All that the client wants to send now, opened and checked; the first control message in it.
    pub(crate) fn poll(&mut self) -> Option<ControlMessage> {
        let mut first = None;
        let mut out = [0; DATAGRAM_MAX];
        for _ in 0..8 {
            let closed = matches!(self.client.state(), State::Closed(_));
            let Some(length) = self.client.poll_transmit(self.now, &mut out) else { return first };
            assert!(!closed, "who is closed says nothing");
            let control = self.heard_packet(&mut out[..length]);
            first = first.or(control);
        }
        panic!("the client does not stop talking");
    }

    fn heard_packet(&mut self, datagram: &mut [u8]) -> Option<ControlMessage> {
        let header = Header::read(datagram).expect("the client writes headers");
        assert!(header.sequence > self.heard, "{} after {}", header.sequence, self.heard);
        self.heard = header.sequence;
        let plaintext = self.open_key.open(datagram).expect("the client's packets open");
        let mut reader = Reader::new(plaintext);
        if header.flags.contains(Flags::ACKNOWLEDGMENT) {
            let block = AckBlock::read(&mut reader).expect("a block");
            let ages = (0..=64).filter_map(|age| block.largest.checked_sub(age));
            let lie = ages.into_iter().find(|&s| block.acknowledges(s) && !self.said.contains(&s));
            assert_eq!(lie, None, "it acknowledges what was never said");
        }
        let rest = reader.slice(reader.remaining()).expect("what remains");
        let mut control = None;
        for message in Messages::new(rest, header.channel) {
            let Message { kind, id, body } = message.expect("the client frames messages");
            if header.channel == Channel::Control {
                let read = ControlMessage::read(&Message { kind, id, body });
                control = control.or(Some(read.expect("a control message")));
            }
        }
        control
    }
}
