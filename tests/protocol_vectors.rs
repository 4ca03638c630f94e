//! The worked transcript of the protocol, step by step, both roles.
//!
//! `vectors/handshake.json` was produced by an independent implementation of the same text. Every
//! value in it is recomputed here from the inputs alone, through the code that the server and the
//! clients run.

mod document;

use document::hex;
use serde_json::Value;
use tidelock::crypto::aead::PacketKey;
use tidelock::crypto::cookie::{Attempt, CookieKeys, Origin};
use tidelock::crypto::dh;
use tidelock::crypto::noise::{Handshake, Initiator, Responder, StaticKeys};
use tidelock::crypto::reference::ReferenceKey;
use tidelock::crypto::schedule::Root;
use tidelock::crypto::token::{
    Token, TokenAddress, TokenHead, TokenKind, USER_DATA_LEN, open_token, seal_token,
};
use tidelock::time::Nanos;
use tidelock::wire::{
    Accepted, AcceptedPacket, AckBlock, Channel, ClientOffer, Connect, ConnectRequest,
    ConnectionId, ControlMessage, CookiePacket, Flags, Header, PublicToken, Status, Writer,
};

struct Vectors(Value);

impl Vectors {
    fn load() -> Self {
        let text = include_str!("vectors/handshake.json");
        Self(serde_json::from_str(text).expect("the vectors are JSON"))
    }

    fn output(&self, name: &str) -> Vec<u8> {
        hex(self.0[name].as_str().unwrap_or_else(|| panic!("no output {name}")))
    }

    fn bytes<const N: usize>(&self, name: &str) -> [u8; N] {
        let text = self.0["inputs"][name].as_str().unwrap_or_else(|| panic!("no input {name}"));
        hex(text).try_into().unwrap_or_else(|_| panic!("{name} has another length"))
    }

    fn number(&self, name: &str) -> u64 {
        let value = &self.0["inputs"][name];
        match value.as_str() {
            Some(text) => u64::from_str_radix(text.trim_start_matches("0x"), 16).expect("hex"),
            None => value.as_u64().unwrap_or_else(|| panic!("no input {name}")),
        }
    }

    fn protocol_id(&self) -> u64 {
        self.number("protocol_id")
    }

    fn server(&self) -> StaticKeys {
        StaticKeys::from_secret(self.bytes("server_static_sk"))
    }

    fn head(&self) -> TokenHead {
        TokenHead {
            kind: TokenKind::ConnectToken,
            key_id: self.number("token_key_id") as u32,
            nonce: self.bytes("token_nonce"),
            expiry_s: self.number("token_expiry"),
        }
    }

    fn token(&self) -> Token {
        Token {
            player_id: 42,
            issued_at_ms: 1_893_455_960_000,
            token_id: core::array::from_fn(|i| i as u8),
            psk: self.bytes("psk"),
            realm: 1,
            address: TokenAddress::Any,
            server_public: self.server().public,
            entity_hint: 0,
            auth_level: 0,
            user_data: [0; USER_DATA_LEN],
        }
    }

    fn request(&self) -> ConnectRequest {
        let head = self.head();
        let token = PublicToken {
            kind: head.kind as u8,
            key_id: head.key_id,
            nonce: head.nonce,
            expiry_s: head.expiry_s,
            sealed: seal_token(&self.bytes("token_key"), self.protocol_id(), &head, &self.token()),
        };
        ConnectRequest::new(self.protocol_id(), self.bytes("client_nonce"), &token)
    }

    fn initiator(&self) -> (Initiator, [u8; 64]) {
        let offer = ClientOffer { build: 1001, features: 0, max_datagram: 1200 };
        Initiator::start(
            &self.request().prologue(),
            &self.server().public,
            &self.bytes("psk"),
            self.bytes("client_eph_sk"),
            &offer.write(),
        )
        .expect("the server's key is a good point")
    }

    fn accepted(&self) -> Accepted {
        let connection = ConnectionId(self.number("connection_id") as u32);
        let accepted = Accepted::new(Status::Ok, connection, 42, 60);
        Accepted { tick: 7777, server_time_us: 1_893_455_961_000_000, ..accepted }
    }

    /// The whole handshake; the keys of both sides are equal.
    fn handshake(&self) -> (Handshake, [u8; 112]) {
        let (initiator, message1) = self.initiator();
        let prologue = self.request().prologue();
        let psk = self.bytes("psk");
        let (responder, offer) = Responder::read(&prologue, &self.server(), &psk, &message1)
            .expect("the client's own message");
        let offer = ClientOffer::read(&offer).expect("a well-formed offer");
        assert_eq!((offer.build, offer.max_datagram), (1001, 1200));
        let (theirs, message2) = responder
            .reply(self.bytes("server_eph_sk"), &self.accepted().write())
            .expect("the client's key is a good point");
        let (ours, payload) = initiator.finish(&message2).expect("the server's own message");
        assert_eq!(Accepted::read(&payload), Ok(self.accepted()));
        assert_eq!((ours.hash, ours.k1, ours.k2), (theirs.hash, theirs.k1, theirs.k2));
        (ours, message2)
    }

    fn roots(&self) -> [Root; 2] {
        let root = Root::from_handshake(&self.handshake().0);
        let (server, client) = (self.bytes("rekey_server_sk"), self.bytes("rekey_client_sk"));
        let public = (dh::public_of(&server), dh::public_of(&client));
        let shared = dh::agree(&server, &public.1).expect("a good point");
        assert_eq!(*shared, *dh::agree(&client, &public.0).expect("a good point"));
        let mut next = root.clone();
        next.advance(1, &public.0, &public.1, &shared);
        [root, next]
    }

    fn header(&self, flags: Flags, sequence: u64) -> Header {
        let connection = ConnectionId(self.number("connection_id") as u32);
        Header { connection, channel: Channel::Control, flags, sequence }
    }
}

/// Builds a sealed packet with the product, checks that the definition builds the same and opens
/// it.
fn sealed(
    key: &[u8; 32],
    header: Header,
    ack: Option<&AckBlock>,
    message: ControlMessage,
) -> Vec<u8> {
    let mut out = [0; 200];
    let mut writer = Writer::new(&mut out);
    header.put(&mut writer);
    if let Some(ack) = ack {
        ack.write(&mut writer);
    }
    message.write(&mut writer);
    writer.zeros(16);
    let length = writer.finish().expect("200 bytes are enough");
    let plain = out[..length].to_vec();
    let (mut product, mut definition) = (plain.clone(), plain.clone());
    PacketKey::new(key).seal(&mut product);
    ReferenceKey::new(key).seal(&mut definition);
    assert_eq!(product, definition);
    let opened = PacketKey::new(key).open(&mut definition).expect("an own packet");
    assert_eq!(opened, &plain[14..length - 16]);
    product
}

#[test]
fn the_public_keys_are_those_of_the_secrets() {
    let vectors = Vectors::load();
    for (public, secret) in [
        ("server_static_pub", "server_static_sk"),
        ("client_eph_pub", "client_eph_sk"),
        ("server_eph_pub", "server_eph_sk"),
    ] {
        assert_eq!(dh::public_of(&vectors.bytes(secret))[..], vectors.output(public), "{public}");
    }
}

#[test]
fn the_token_seals_to_the_same_bytes_and_opens_to_the_same_fields() {
    let vectors = Vectors::load();
    let (key, protocol_id, head) =
        (vectors.bytes("token_key"), vectors.protocol_id(), vectors.head());
    let sealed = seal_token(&key, protocol_id, &head, &vectors.token());
    assert_eq!(sealed[..], vectors.output("sealed_token"));
    let token = open_token(&key, protocol_id, &head, &sealed).expect("an own token");
    assert_eq!((token.player_id, token.realm, token.issued_at_ms), (42, 1, 1_893_455_960_000));
    assert_eq!(token.psk, vectors.bytes("psk"));
    assert_eq!(token.server_public, vectors.server().public);
}

#[test]
fn both_connect_packets_and_the_cookie_are_the_same_bytes() {
    let vectors = Vectors::load();
    let (_, message1) = vectors.initiator();
    let mut packet = [0; 1200];
    vectors.request().write(&[0; 48], &message1, &mut packet);
    assert_eq!(packet[..460], vectors.output("connect_first_460_no_cookie"));
    assert_eq!(packet[460..], [0; 740]);

    let now = Nanos::from_ms(vectors.number("cookie_ts_ms"));
    let [generation, tail @ ..] = vectors.bytes::<8>("cookie_nonce");
    let keys = CookieKeys::new(vectors.bytes("cookie_key"), generation, now);
    let port = vectors.number("client_port") as u16;
    let connect = Connect::read(&packet).expect("an own packet");
    let attempt = Attempt {
        origin: Origin { ip: vectors.bytes("client_ip_mapped"), port },
        client_nonce: connect.client_nonce(),
        client_ephemeral: connect.client_ephemeral(),
    };
    let cookie = keys.mint(now, tail, &attempt);
    assert!(keys.verify(now, &cookie, &attempt));
    let mut reply = [0; 76];
    CookiePacket { client_nonce: vectors.bytes("client_nonce"), cookie }
        .write(vectors.protocol_id(), &mut reply);
    assert_eq!(reply[..], vectors.output("cookie_packet"));

    let mut packet = [0; 1200];
    vectors.request().write(&cookie, &message1, &mut packet);
    assert_eq!(packet[..460], vectors.output("connect_first_460_with_cookie"));
    let connect = Connect::read(&packet).expect("an own packet");
    assert!(connect.crc_matches());
    assert_eq!(connect.prologue(), vectors.request().prologue());
}

#[test]
fn the_answer_and_the_keys_of_the_handshake_are_the_same_bytes() {
    let vectors = Vectors::load();
    let (keys, noise_message) = vectors.handshake();
    let mut reply = [0; 140];
    AcceptedPacket { client_nonce: vectors.bytes("client_nonce"), noise_message }
        .write(vectors.protocol_id(), &mut reply);
    assert_eq!(reply[..], vectors.output("accepted_packet"));
    assert_eq!(keys.hash[..], vectors.output("handshake_hash"));
    assert_eq!(keys.k1[..], vectors.output("split_k1"));
    assert_eq!(keys.k2[..], vectors.output("split_k2"));
}

#[test]
fn every_derived_secret_is_the_same() {
    let vectors = Vectors::load();
    let [root0, root1] = vectors.roots();
    for (name, secret) in [
        ("root0", root0.to_bytes()),
        ("c2s_key0", root0.client_to_server(0)),
        ("s2c_key0", root0.server_to_client(0)),
        ("resume_psk", root0.resume()),
        ("exporter", root0.exporter()),
        ("root1", root1.to_bytes()),
        ("c2s_key1", root1.client_to_server(1)),
        ("s2c_key1", root1.server_to_client(1)),
    ] {
        assert_eq!(secret[..], vectors.output(name), "{name}");
    }
}

#[test]
fn the_sealed_packets_are_the_same_bytes() {
    let vectors = Vectors::load();
    let [root0, root1] = vectors.roots();
    let test: [u8; 16] = core::array::from_fn(|i| i as u8);
    let header = vectors.header(Flags::SEALED, 1);
    let packet = sealed(&root0.client_to_server(0), header, None, ControlMessage::CryptoTest(test));
    assert_eq!(packet, vectors.output("crypto_test_packet"));

    let ack = AckBlock { largest: 1, bitmap: 0, delay: 31 };
    let header = vectors.header(Flags::SEALED.with(Flags::ACKNOWLEDGMENT), 1);
    let message = ControlMessage::CryptoTestAck(test);
    let packet = sealed(&root0.server_to_client(0), header, Some(&ack), message);
    assert_eq!(packet, vectors.output("crypto_test_ack_packet"));

    let header = vectors.header(Flags::SEALED.with(Flags::REKEY), 4242);
    let ping = ControlMessage::Ping { nonce: 0x0807_0605_0403_0201 };
    let packet = sealed(&root1.server_to_client(1), header, None, ping);
    assert_eq!(packet, vectors.output("ping_epoch1_packet"));
}

#[test]
fn no_value_of_the_file_is_left_out() {
    let vectors = Vectors::load();
    let source = include_str!("protocol_vectors.rs");
    let inputs = vectors.0["inputs"].as_object().expect("inputs is an object");
    let outputs = vectors.0.as_object().expect("the file is an object");
    for name in inputs.keys().chain(outputs.keys()) {
        assert!(source.contains(&format!("\"{name}\"")), "{name} is not checked");
    }
}
