//! The worked example of `docs/PROTOCOL.md` is executable: every block of hexadecimal in it is what
//! the code produces, and it shows all of them.

mod document;

use document::{Blocks, CONNECTION, DOCUMENT, documented, hex, written};
use std::collections::BTreeMap;
use tidelock::crypto::aead::PacketKey;
use tidelock::crypto::dh;
use tidelock::crypto::integrity::KeyTable;
use tidelock::crypto::kdf::Prk;
use tidelock::crypto::schedule::Root;
use tidelock::crypto::token::{Token, TokenAddress, TokenHead, TokenKind, seal_token};
use tidelock::state::{Kind, QuantizedState, effects, flags};
use tidelock::units::EntityId;
use tidelock::wire::snapshot::{EntryBody, OwnState, SnapshotHead, write_entry_head};
use tidelock::wire::{
    Accepted, AckBlock, Channel, ClientOffer, Connect, ControlMessage, DENIED_LEN, Denial,
    DeniedPacket, DisconnectReason, Flags, Header, InputFrame, IntegrityRole, PublicToken,
    RekeyPart, Status, Writer, buttons, put_enter_to_world, put_input_frames, put_message,
    put_resume_ticket, to_client,
};

const PROTOCOL_ID: u64 = 0x1122_3344_5566_7788;
const TEST: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// 32 bytes to a line, four to a group: how the document shows them.
fn shown(bytes: &[u8]) -> String {
    let group = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let line = |bytes: &[u8]| bytes.chunks(4).map(group).collect::<Vec<_>>().join(" ");
    bytes.chunks(32).map(line).collect::<Vec<_>>().join("\n")
}

/// What an independent implementation of the same text has produced.
fn vectors() -> Blocks {
    let files = [
        include_str!("vectors/handshake.json"),
        include_str!("vectors/resume.json"),
        include_str!("vectors/rekey.json"),
    ];
    let mut blocks = Blocks::new();
    for text in files {
        let json: serde_json::Value = serde_json::from_str(text).expect("the vectors are JSON");
        let outputs = json.as_object().expect("an object").iter();
        blocks
            .extend(outputs.filter_map(|(name, value)| Some((name.clone(), hex(value.as_str()?)))));
    }
    blocks
}

fn sealed(key: &[u8], channel: Channel, sequence: u64, ack: bool, plaintext: &[u8]) -> Vec<u8> {
    let flags = if ack { Flags::SEALED.with(Flags::ACKNOWLEDGMENT) } else { Flags::SEALED };
    sealed_with(key, channel, flags, sequence, plaintext)
}

fn sealed_with(
    key: &[u8],
    channel: Channel,
    flags: Flags,
    sequence: u64,
    plaintext: &[u8],
) -> Vec<u8> {
    let header = Header { connection: CONNECTION, channel, flags, sequence };
    let mut packet = written(|writer| {
        header.put(writer);
        writer.slice(plaintext);
        writer.zeros(16);
    });
    PacketKey::new(key.try_into().expect("a key has 32 bytes")).seal(&mut packet);
    packet
}

fn acked(largest: u64, bitmap: u64, delay: u16, body: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    written(|writer| {
        AckBlock { largest, bitmap, delay }.write(writer);
        body(writer);
    })
}

fn token(server_public: &[u8]) -> Vec<u8> {
    written(|writer| {
        writer.u64(42);
        writer.u64(1_893_455_960_000);
        writer.array(TEST);
        writer.slice(&(0x61..=0x80).collect::<Vec<u8>>());
        writer.u32(1);
        writer.zeros(4 + 16);
        writer.slice(server_public);
        writer.zeros(8 + 4 + 124);
    })
}

/// A ticket for the session of the example, as it is before it is sealed, and what travels of it.
fn ticket(server_public: &[u8], psk: &[u8]) -> (Vec<u8>, PublicToken) {
    let issued_s = 1_893_455_962;
    let head = TokenHead {
        kind: TokenKind::ResumeTicket,
        key_id: 7,
        nonce: std::array::from_fn(|i| 0xC0 + i as u8),
        expiry_s: issued_s + 300,
    };
    let token = Token {
        player_id: 42,
        issued_at_ms: issued_s * 1000,
        token_id: std::array::from_fn(|i| 0xB0 + i as u8),
        psk: psk.try_into().expect("32 bytes"),
        realm: 1,
        address: TokenAddress::Any,
        server_public: server_public.try_into().expect("32 bytes"),
        entity_hint: 0,
        auth_level: 0,
        user_data: [0; 124],
    };
    let text = written(|writer| {
        writer.u64(token.player_id);
        writer.u64(token.issued_at_ms);
        writer.array(token.token_id);
        writer.array(token.psk);
        writer.u32(token.realm);
        writer.zeros(4 + 16);
        writer.array(token.server_public);
        writer.zeros(8 + 4 + 124);
    });
    let key = std::array::from_fn(|i| 0x81 + i as u8);
    let sealed = seal_token(&key, PROTOCOL_ID, &head, &token);
    let TokenHead { kind, key_id, nonce, expiry_s } = head;
    (text, PublicToken { kind: kind as u8, key_id, nonce, expiry_s, sealed })
}

fn denied() -> Vec<u8> {
    let client_nonce = std::array::from_fn(|i| 0xA0 + i as u8);
    let mut out = [0; DENIED_LEN];
    DeniedPacket { client_nonce, reason: Denial::Busy, retry_ms: 700 }.write(PROTOCOL_ID, &mut out);
    out.to_vec()
}

fn inputs(writer: &mut Writer<'_>) {
    let still = InputFrame::default();
    let east = InputFrame { move_x: 127, ..still };
    let sprint = InputFrame { yaw: 0x4000, buttons: buttons::SPRINT, ..east };
    put_input_frames(writer, 3, &[sprint, east, still]);
}

fn snapshot(writer: &mut Writer<'_>) {
    let moving = flags::IS_ALIVE | flags::IS_MOVING;
    let own = OwnState {
        id: EntityId(0x0010_0005),
        position: [409_600.0, 204_800.0, 0.0],
        velocity: [900.0, 0.0, 0.0],
        yaw: 0x4000,
        animation: 0,
        flags: moving,
        health: 255,
        mana: 255,
        faction: 2,
        effects: 0,
    };
    let head = SnapshotHead {
        tick: 7_800,
        last_processed_input: 3,
        base_age: 2,
        removals: 1,
        entries: 4,
        own: Some(own),
        relations: Some(1 << 3),
    };
    let base = QuantizedState { x: 1_000, y: 1_000, yaw: 9, ..QuantizedState::DEFAULT };
    let monster = QuantizedState {
        x: 262_144,
        y: 131_000,
        velocity: [-100, 0, 0],
        flags: moving,
        faction: 3,
        ..QuantizedState::DEFAULT
    };
    let moved = QuantizedState { x: 1_006, y: 998, yaw: 8, ..base };
    let hurt = QuantizedState { health: 200, mana: 100, ..base };
    let banks = QuantizedState { effects: effects::BURNING, pitch: 300, roll: -2, ..base };
    let differs = "the states differ";
    let entries = [
        (3, 0, EntryBody::full(EntityId(0x0020_0006), Kind::Monster, &monster)),
        (4, 2, EntryBody::delta(&moved, &base).expect(differs)),
        (5, 7, EntryBody::delta(&hurt, &base).expect(differs)),
        (6, 2, EntryBody::delta(&banks, &base).expect(differs)),
    ];
    put_message(writer, to_client::DELTA_SYNC, |writer| {
        let mut out = [0; 64];
        let length = head.write(&mut out);
        writer.slice(&out[..length]);
        writer.u8(9);
        for (slot, age, body) in entries {
            let length = write_entry_head(slot, age, head.base_age, &mut out);
            writer.slice(&out[..length]);
            writer.slice(body.as_slice());
        }
    });
}

/// The integrity check, held against what an independent implementation has produced.
fn integrity(blocks: &mut Blocks) {
    let text = include_str!("vectors/integrity.json");
    let json: serde_json::Value = serde_json::from_str(text).expect("the vectors are JSON");
    let inputs = &json["inputs"];
    let bytes = |name: &str| hex(inputs[name].as_str().expect("hexadecimal"));
    let number = |name: &str| inputs[name].as_u64().expect("a number");
    let (key, nonce) = (bytes("key"), bytes("nonce"));
    let (key, nonce) = (key.try_into().expect("32 bytes"), nonce.try_into().expect("16 bytes"));
    let index = number("index") as u16;
    let mut keys = vec![[0; 32]; usize::from(index)];
    keys.push(key);
    let table = KeyTable::new(number("build") as u32, keys).expect("a few keys");
    let exporter = blocks["exporter"].as_slice().try_into().expect("32 bytes");
    let answer = table.answer(&exporter, &nonce, index).expect("there is such a key");
    let message = |role, bytes| {
        written(|writer| ControlMessage::CheckIntegrity { index, role, bytes }.write(writer))
    };
    let question = message(IntegrityRole::Question, nonce);
    let answered = message(IntegrityRole::Answer, answer);
    let asked = number("question_sequence");
    let packet = sealed(&blocks["s2c_key0"], Channel::Control, asked, false, &question);
    let replied = number("answer_sequence");
    let reply = sealed(&blocks["c2s_key0"], Channel::Control, replied, false, &answered);
    for (name, bytes) in [
        ("integrity_answer", answer.to_vec()),
        ("integrity_question_plaintext", question),
        ("integrity_question_packet", packet),
        ("integrity_answer_plaintext", answered),
        ("integrity_answer_packet", reply),
    ] {
        assert_eq!(bytes, hex(json[name].as_str().expect("hexadecimal")), "{name}");
        blocks.insert(name.into(), bytes);
    }
}

/// What the code makes of the inputs of the rekey.
fn rekey(root: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let secret = |first: u8| std::array::from_fn(|i| first + i as u8);
    let (server, client): ([u8; 32], [u8; 32]) = (secret(0x0a), secret(0x32));
    let (ours, theirs) = (dh::public_of(&server), dh::public_of(&client));
    let shared = dh::agree(&client, &ours).expect("a good point");
    let root: [u8; 32] = root.try_into().expect("a root has 32 bytes");
    let mut salt = vec![0; 32];
    Prk::from_bytes(&root).expand(&[b"tdl1 rekey", &[1, 0], &ours, &theirs], &mut salt);
    let before = Root::from_bytes(root);
    let mut after = before.clone();
    after.advance(1, &ours, &theirs, &shared);
    let keys = [before.server_to_client(0), before.client_to_server(0), after.client_to_server(1)];
    let untold = AckBlock::DELAY_UNKNOWN;
    let all = u64::MAX;
    let asks = ControlMessage::RekeyRequest(RekeyPart { epoch: 1, public: ours });
    let answers = ControlMessage::RekeyResponse(RekeyPart { epoch: 1, public: theirs });
    let nonce = 0x0807_0605_0403_0201;
    let pong = ControlMessage::Pong { nonce, clock_us: 1_234_567 };
    let request = acked(2_900, all, 10, |writer| asks.write(writer));
    let response = acked(4_240, all, untold, |writer| answers.write(writer));
    let turned = acked(4_242, all, untold, |writer| pong.write(writer));
    let ping = written(|writer| ControlMessage::Ping { nonce }.write(writer));
    let flags = Flags::SEALED.with(Flags::REKEY);
    let turning_key = after.server_to_client(1);
    let odd = flags.with(Flags::ACKNOWLEDGMENT);
    let control = Channel::Control;
    vec![
        ("rekey_server_pub", ours.to_vec()),
        ("rekey_client_pub", theirs.to_vec()),
        ("rekey_shared", shared.to_vec()),
        ("rekey_salt", salt),
        ("root1", after.to_bytes().to_vec()),
        ("c2s_key1", keys[2].to_vec()),
        ("s2c_key1", turning_key.to_vec()),
        ("rekey_request_packet", sealed(&keys[0], control, 4_240, true, &request)),
        ("rekey_response_packet", sealed(&keys[1], control, 2_901, true, &response)),
        ("ping_epoch1_packet", sealed_with(&turning_key, control, flags, 4_242, &ping)),
        ("rekey_turned_packet", sealed_with(&keys[2], control, odd, 2_903, &turned)),
        ("rekey_request_plaintext", request),
        ("rekey_response_plaintext", response),
        ("rekey_turned_plaintext", turned),
    ]
}

fn expected() -> Blocks {
    let mut blocks = vectors();
    let (to_server, to_client) = (blocks["c2s_key0"].clone(), blocks["s2c_key0"].clone());
    let mut connect = blocks["connect_first_460_with_cookie"].clone();
    connect.resize(1_200, 0);
    let prologue = Connect::read(&connect).expect("the vector is a Connect").prologue().to_vec();
    let answer = Accepted {
        tick: 7_777,
        server_time_us: 1_893_455_961_000_000,
        ..Accepted::new(Status::Ok, CONNECTION, 42, 60)
    };
    let untold = AckBlock::DELAY_UNKNOWN;
    let test = written(|writer| ControlMessage::CryptoTest(TEST).write(writer));
    let reply = acked(1, 0, 31, |writer| ControlMessage::CryptoTestAck(TEST).write(writer));
    let enter = acked(1, 0, untold, put_enter_to_world);
    let input = acked(3, 3, untold, inputs);
    let shown = acked(5, 0x0f, 10, snapshot);
    let (ticket, public) = ticket(&blocks["server_static_pub"], &blocks["resume_psk"]);
    let resume = acked(5, 0x0f, 10, |writer| put_resume_ticket(writer, &public));
    let reason = DisconnectReason::Maintenance;
    let goodbye = ControlMessage::Disconnect { reason, retry_s: reason.retry_s() };
    let goodbye = acked(5, 0x0f, 10, |writer| goodbye.write(writer));
    for (name, bytes) in
        [("ticket", ticket), ("sealed_ticket", public.sealed.to_vec()), ("denied_packet", denied())]
    {
        assert_eq!(blocks[name], bytes, "{name} is not the vector");
    }
    let packets = [
        ("crypto_test", sealed(&to_server, Channel::Control, 1, false, &test), test),
        ("crypto_test_ack", sealed(&to_client, Channel::Control, 1, true, &reply), reply),
        ("enter", sealed(&to_server, Channel::Unreliable, 2, true, &enter), enter),
        ("input", sealed(&to_server, Channel::Unreliable, 5, true, &input), input),
        ("resume_ticket", sealed(&to_client, Channel::Control, 6, true, &resume), resume),
        ("disconnect", sealed(&to_client, Channel::Control, 7, true, &goodbye), goodbye),
        ("snapshot", sealed(&to_client, Channel::Unreliable, 4, true, &shown), shown),
    ];
    for (name, packet, plaintext) in packets {
        let vector = blocks.insert(format!("{name}_packet"), packet.clone());
        assert!(vector.is_none_or(|vector| vector == packet), "{name} is not the vector");
        let vector = blocks.insert(format!("{name}_plaintext"), plaintext.clone());
        assert!(vector.is_none_or(|vector| vector == plaintext), "{name} is not the vector");
    }
    integrity(&mut blocks);
    let offer = ClientOffer { build: 1_001, features: 0, max_datagram: 1_200 };
    blocks.insert("token".into(), token(&blocks["server_static_pub"]));
    blocks.insert("prologue".into(), prologue);
    blocks.insert("offer".into(), offer.write().to_vec());
    blocks.insert("answer".into(), answer.write().to_vec());
    for (name, bytes) in rekey(&blocks["root0"]) {
        let vector = blocks.insert(name.to_owned(), bytes.clone());
        assert_eq!(vector, Some(bytes), "{name} is not the vector");
    }
    // A key that the example does not need.
    blocks.remove("server_eph_pub").expect("a name of the vectors");
    blocks
}

#[test]
fn the_worked_example_is_what_the_code_produces() {
    let (documented, expected) = (documented(), expected());
    let wrong: Vec<_> = expected
        .iter()
        .filter(|(name, bytes)| documented.get(*name) != Some(bytes))
        .map(|(name, bytes)| format!("```hex {name}\n{}\n```\n", shown(bytes)))
        .collect();
    assert!(wrong.is_empty(), "blocks that are missing or wrong:\n{}", wrong.join("\n"));
    let unknown: Vec<_> = documented.keys().filter(|name| !expected.contains_key(*name)).collect();
    assert!(unknown.is_empty(), "blocks that nothing computes: {unknown:?}");
}

#[test]
fn the_document_lists_every_reason_with_its_text() {
    let mut all = BTreeMap::<_, String>::new();
    let mut add = |number: u8, name: &str, text: &str, place: &str| {
        let places = all.entry((number, name.to_owned(), text.to_owned())).or_default();
        *places += if places.is_empty() { "" } else { ", " };
        *places += place;
    };
    for status in Status::ALL {
        add(status as u8, status.name(), status.text(), "A");
    }
    Denial::ALL.iter().for_each(|it| add(*it as u8, it.name(), it.text(), "D"));
    DisconnectReason::ALL.iter().for_each(|it| add(*it as u8, it.name(), it.text(), "X"));
    let rows = all
        .iter()
        .map(|((number, name, text), places)| format!("| {number} | {places} | {name} | {text} |"));
    let (_, table) = DOCUMENT.split_once("| number | in | name | text |\n").expect("the table");
    let written: Vec<_> = table.lines().skip(1).take_while(|line| line.starts_with('|')).collect();
    let mut rows: Vec<_> = rows.collect();
    let mut written: Vec<_> = written.into_iter().map(str::to_owned).collect();
    rows.sort();
    written.sort();
    assert_eq!(written, rows);
}
