//! A player who holds a good token and real keys, and keeps no rule: it says whatever a test wants,
//! as often as it wants.
#![allow(dead_code, reason = "each test uses its part of it")]

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};
use tidelock::crypto::aead::PacketKey;
use tidelock::crypto::noise::Initiator;
use tidelock::crypto::schedule::Root;
use tidelock::host::clock;
use tidelock::host::entropy::OsEntropy;
use tidelock::keys::{BackendKeys, TicketRequest};
use tidelock::time::Entropy;
use tidelock::wire::{
    Accepted, CONNECT_LEN, COOKIE_LEN, Channel, ClientOffer, ConnectRequest, ConnectionId,
    ControlMessage, Flags, Header, Message, Messages, Reader, Reply, Status, Writer,
    put_enter_to_world, put_input_frames,
};

/// An open session.
pub(crate) struct Rogue {
    socket: UdpSocket,
    id: ConnectionId,
    seal: PacketKey,
    open: PacketKey,
    sequence: u64,
}

impl Rogue {
    /// Joins, or tells how it was refused. Its keys are not proven yet.
    pub(crate) fn join(
        keys: &BackendKeys,
        server: SocketAddr,
        player: u64,
    ) -> Result<Self, Accepted> {
        let request = TicketRequest { player, spawn: None, ttl_s: 30 };
        let ticket = keys.mint(&request, clock::unix_ms(), &mut OsEntropy).for_client();
        let request = ConnectRequest::new(ticket.protocol_id, OsEntropy.bytes(), &ticket.token);
        let offer = ClientOffer { build: 0, features: 0, max_datagram: 1200 };
        let (prologue, ephemeral) = (request.prologue(), OsEntropy.bytes());
        let public = &ticket.server_public;
        let (initiator, message) =
            Initiator::start(&prologue, public, &ticket.psk, ephemeral, &offer.write())
                .expect("a good server key");
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        socket.connect(server).expect("loopback");
        socket.set_read_timeout(Some(Duration::from_millis(300))).expect("a socket");
        let (mut cookie, mut buffer) = ([0; COOKIE_LEN], [0; 1500]);
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(20) {
            let mut connect = [0; CONNECT_LEN];
            request.write(&cookie, &message, &mut connect);
            socket.send(&connect).expect("loopback");
            let Ok(length) = socket.recv(&mut buffer) else { continue };
            match Reply::read(ticket.protocol_id, &buffer[..length]) {
                Ok(Reply::Cookie(packet)) => cookie = packet.cookie,
                Ok(Reply::Accepted(packet)) => {
                    let (keys, payload) = initiator.finish(&packet.noise_message).expect("proof");
                    let accepted = Accepted::read(&payload).expect("well-formed");
                    if accepted.status != Status::Ok {
                        return Err(accepted);
                    }
                    let root = Root::from_handshake(&keys);
                    socket.set_nonblocking(true).expect("a socket");
                    return Ok(Self {
                        socket,
                        id: accepted.connection,
                        seal: PacketKey::new(&root.client_to_server(0)),
                        open: PacketKey::new(&root.server_to_client(0)),
                        sequence: 0,
                    });
                }
                other => panic!("no answer to a Connect: {other:?}"),
            }
        }
        panic!("the gate gives no answer");
    }

    /// Proves its keys and asks for its entity, over and over until the server has told it where
    /// it is.
    pub(crate) fn enter(&mut self) {
        let start = Instant::now();
        while !self.hear().iter().any(|(channel, _)| *channel == Channel::Unreliable) {
            assert!(start.elapsed() < Duration::from_secs(20), "no snapshot");
            self.control(ControlMessage::CryptoTest([7; 16]));
            self.say(Channel::Unreliable, put_enter_to_world);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Seals and sends what `body` writes.
    pub(crate) fn say(&mut self, channel: Channel, body: impl FnOnce(&mut Writer<'_>)) {
        self.sequence += 1;
        let mut out = [0; 1200];
        let mut writer = Writer::new(&mut out);
        let (connection, flags, sequence) = (self.id, Flags::SEALED, self.sequence);
        Header { connection, channel, flags, sequence }.put(&mut writer);
        body(&mut writer);
        writer.zeros(16);
        let length = writer.finish().expect("it fits");
        self.seal.seal(&mut out[..length]);
        let _ = self.socket.send(&out[..length]);
    }

    pub(crate) fn control(&mut self, message: ControlMessage) {
        self.say(Channel::Control, |writer| message.write(writer));
    }

    /// Sends the input frame `sequence`, which stands still.
    pub(crate) fn input(&mut self, sequence: u32) {
        self.say(Channel::Unreliable, |writer| {
            put_input_frames(writer, sequence, &[Default::default()]);
        });
    }

    /// What the server has sent since the last time: channel and control messages of each packet.
    pub(crate) fn hear(&self) -> Vec<(Channel, Vec<ControlMessage>)> {
        let (mut heard, mut buffer) = (Vec::new(), [0; 1500]);
        while let Ok(length) = self.socket.recv(&mut buffer) {
            let datagram = &mut buffer[..length];
            let header = Header::read(datagram).expect("the server writes headers");
            let Ok(plaintext) = self.open.open(datagram) else { continue };
            let mut reader = Reader::new(plaintext);
            if header.flags.contains(Flags::ACKNOWLEDGMENT) {
                reader.slice(18).expect("a block");
            }
            let rest = reader.slice(reader.remaining()).expect("what remains");
            let control = |message: Message<'_>| ControlMessage::read(&message).ok();
            let messages = Messages::new(rest, header.channel).flatten();
            let is_control = header.channel == Channel::Control;
            let messages = messages.filter(|_| is_control).filter_map(control);
            heard.push((header.channel, messages.collect()));
        }
        heard
    }
}
