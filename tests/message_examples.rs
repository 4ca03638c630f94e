//! Every message and every packet of the handshake has a worked example in `tests/vectors/`, made
//! from the tables of `docs/PROTOCOL.md` by a program of its own: what the code writes is that, and
//! it is read back. The table of who may say what is the same in the document and in the code.

mod document;

use document::{Blocks, CONNECTION, DOCUMENT, documented, hex, written};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use tidelock::crypto::aead::PacketKey;
use tidelock::crypto::dh;
use tidelock::limits::{ACK_BLOCK_LEN, HEADER_LEN, TAG_LEN};
use tidelock::state::{Kind, QuantizedState, flags};
use tidelock::units::EntityId;
use tidelock::wire::snapshot::{EntityUpdate, OwnState, OwnUpdate};
use tidelock::wire::*;

const NONCE: u64 = 0x0102_0304_0506_0708;
const PATH_NONCE: u64 = 0xFEDC_BA98_7654_3210;

/// Direction (to the server?), channel, type.
type Saying = (bool, u8, u8);

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("the vectors are JSON")
}

struct Example {
    name: String,
    to_server: bool,
    header: Header,
    /// The one message, as it stands behind the acknowledgment block.
    message: Vec<u8>,
    plaintext: Vec<u8>,
    packet: Vec<u8>,
}

fn key(blocks: &Blocks, to_server: bool) -> PacketKey {
    let name = if to_server { "c2s_key0" } else { "s2c_key0" };
    PacketKey::new(blocks[name].as_slice().try_into().expect("a key has 32 bytes"))
}

/// The examples, opened with the code.
fn examples() -> Vec<Example> {
    let all = json(include_str!("vectors/messages.json"));
    let (rows, blocks) = (all["messages"].as_array().expect("a list"), documented());
    let examples = rows.iter().map(|row| {
        let field = |name: &str| row[name].as_str().unwrap_or_else(|| panic!("{row}: {name}"));
        let (name, to_server) = (field("name").to_owned(), field("from") == "client");
        let (plaintext, packet) = (hex(field("plaintext")), hex(field("packet")));
        let header = Header::read(&packet).expect("a good header");
        let mut opened = packet.clone();
        let text = key(&blocks, to_server).open(&mut opened).expect("it opens");
        assert_eq!(text, plaintext, "{name}");
        let has_block = header.flags.contains(Flags::ACKNOWLEDGMENT);
        let message = plaintext[if has_block { ACK_BLOCK_LEN } else { 0 }..].to_vec();
        Example { name, to_server, header, message, plaintext, packet }
    });
    examples.collect()
}

/// What the messages of channel 3 say, but for the ticket.
fn control() -> BTreeMap<&'static str, ControlMessage> {
    use ControlMessage::*;
    let vectors = json(include_str!("vectors/integrity.json"));
    let mac = hex(vectors["integrity_answer"].as_str().expect("hexadecimal"));
    let test = std::array::from_fn(|i| i as u8);
    let integrity = |role, bytes| CheckIntegrity { index: 5, role, bytes };
    let part = |first: u8| {
        let secret = std::array::from_fn(|i| first + i as u8);
        RekeyPart { epoch: 1, public: dh::public_of(&secret) }
    };
    let hello = |first_ordered, first_unordered, max_message_kib| {
        let (max_inflight, recv_bytes) = (256, 65_536);
        ReliableHandshake(tidelock::wire::ReliableHandshake {
            first_ordered,
            first_unordered,
            max_inflight,
            max_message_kib,
            recv_bytes,
        })
    };
    BTreeMap::from([
        ("crypto_test", CryptoTest(test)),
        ("crypto_test_ack", CryptoTestAck(test)),
        ("disconnect_client", Disconnect { reason: DisconnectReason::Left, retry_s: 0 }),
        ("disconnect_server", Disconnect { reason: DisconnectReason::Maintenance, retry_s: 30 }),
        ("ping_client", Ping { nonce: NONCE }),
        ("pong_server", Pong { nonce: NONCE, clock_us: 1_234_567 }),
        ("ping_server", Ping { nonce: PATH_NONCE }),
        ("pong_client", Pong { nonce: PATH_NONCE, clock_us: 2_000_000 }),
        ("ack_client", Ack),
        ("ack_server", Ack),
        (
            "integrity_question",
            integrity(IntegrityRole::Question, std::array::from_fn(|i| 0x10 + i as u8)),
        ),
        ("integrity_answer", integrity(IntegrityRole::Answer, mac.try_into().expect("16 bytes"))),
        ("rekey_request", RekeyRequest(part(0x0a))),
        ("rekey_response", RekeyResponse(part(0x32))),
        ("moved", Moved { connection: ConnectionId(0x0bb0_1402) }),
        ("hello_client", hello(65_535, 7, 64)),
        ("hello_server", hello(300, 400, 16)),
    ])
}

/// What the messages of channels 1 and 2 say: channel, type, id and body.
fn reliable() -> BTreeMap<&'static str, (Channel, u8, u16, Vec<u8>)> {
    use Channel::{ReliableOrdered, ReliableUnordered};
    let entity = EntityId(0x0020_0006);
    let created = written(|writer| put_create_entity(writer, entity, b"Gatekeeper"));
    let removed = written(|writer| put_remove_entity(writer, entity));
    let (up, down) = (to_server::GAME_DATA, to_client::GAME_DATA);
    BTreeMap::from([
        ("game_data_ordered_client", (ReliableOrdered, up, 65_535, b"first".to_vec())),
        ("game_data_unordered_client", (ReliableUnordered, up, 7, Vec::new())),
        ("create_entity", (ReliableOrdered, to_client::CREATE_ENTITY, 300, created)),
        ("remove_entity", (ReliableOrdered, to_client::REMOVE_ENTITY, 301, removed)),
        ("game_data_ordered_server", (ReliableOrdered, down, 302, b"in order".to_vec())),
        ("game_data_unordered_server", (ReliableUnordered, down, 400, b"any".to_vec())),
    ])
}

fn inputs(is_short: bool) -> [InputFrame; 3] {
    let still = InputFrame::default();
    let east = InputFrame { move_x: 127, ..still };
    let second = InputFrame { move_x: -72, move_y: 72, ..still };
    let sprint = InputFrame { yaw: 0x4000, buttons: buttons::SPRINT, ..east };
    [sprint, if is_short { second } else { east }, still]
}

fn own_update() -> OwnUpdate {
    let own = OwnState {
        id: EntityId(0x0010_0005),
        position: [409_600.0, 204_800.0, 0.0],
        velocity: [900.0, 0.0, 0.0],
        yaw: 0x4000,
        animation: 0,
        flags: flags::IS_ALIVE | flags::IS_MOVING,
        health: 255,
        mana: 255,
        faction: 2,
        effects: 0,
    };
    OwnUpdate { tick: 7_800, last_processed_input: 3, own }
}

fn entity_update() -> EntityUpdate {
    let monster = QuantizedState {
        x: 262_144,
        y: 131_000,
        velocity: [-100, 0, 0],
        flags: flags::IS_ALIVE | flags::IS_MOVING,
        faction: 3,
        ..QuantizedState::DEFAULT
    };
    EntityUpdate::new(7_800, EntityId(0x0020_0006), Kind::Monster, &monster)
}

fn question() -> BenchmarkRequest {
    BenchmarkRequest { nonce: NONCE, length: 24 }
}

fn answer() -> BenchmarkAnswer {
    let (received_us, answered_us) = (5_000_000, 5_012_345);
    BenchmarkAnswer { nonce: NONCE, received_us, answered_us, length: 24 }
}

/// The message of every example, as the code writes it.
fn made() -> BTreeMap<&'static str, Vec<u8>> {
    let control = control().into_iter().map(|(name, it)| (name, written(|w| it.write(w))));
    let reliable = reliable().into_iter().map(|(name, (_, kind, id, body))| {
        let head = reliable_head(kind, id, body.len()).expect("short");
        (name, [&head[..], &body].concat())
    });
    let all = json(include_str!("vectors/resume.json"));
    let ticket = hex(all["resume_ticket_plaintext"].as_str().expect("hexadecimal"));
    let ticket = read_resume_ticket(&ticket[ACK_BLOCK_LEN + 3..]).expect("a ticket");
    // That the code writes this is the business of `protocol_document`.
    let snapshot = documented()["snapshot_plaintext"][ACK_BLOCK_LEN..].to_vec();
    let game = [
        ("resume_ticket", written(|w| put_resume_ticket(w, &ticket))),
        ("enter_to_world", written(put_enter_to_world)),
        ("sync_entity", written(|w| put_input_frames(w, 3, &inputs(false)))),
        ("sync_entity_quantized", written(|w| put_shortest_input_frames(w, 3, &inputs(true)))),
        ("benchmark_question", written(|w| question().put(w))),
        ("benchmark_answer", written(|w| answer().put(w))),
        ("update_entity", written(|w| own_update().put(w))),
        ("update_entity_quantized", written(|w| entity_update().put(w))),
        ("delta_sync", snapshot),
    ];
    control.chain(reliable).chain(game).collect()
}

#[test]
fn what_the_code_writes_is_what_the_examples_say() {
    let (mut made, blocks) = (made(), documented());
    for Example { name, to_server, header, message, plaintext, packet } in examples() {
        let ours = made.remove(name.as_str()).unwrap_or_else(|| panic!("nobody makes {name}"));
        assert_eq!(ours, message, "{name}");
        let sealed = Flags::SEALED;
        let mut flags = sealed.with(Flags::ACKNOWLEDGMENT);
        if name == "crypto_test" {
            flags = sealed;
        } else if name.starts_with("hello") {
            flags = flags.with(Flags::RELIABLE_HANDSHAKE);
        }
        let head = Header { connection: CONNECTION, flags, ..header };
        let text = written(|writer| {
            if name != "crypto_test" {
                AckBlock { largest: 5, bitmap: 0x0f, delay: 10 }.write(writer);
            }
            writer.slice(&ours);
        });
        assert_eq!(text, plaintext, "{name}");
        let mut out = written(|writer| {
            head.put(writer);
            writer.slice(&text);
            writer.zeros(TAG_LEN);
        });
        assert_eq!(out.len(), HEADER_LEN + text.len() + TAG_LEN);
        key(&blocks, to_server).seal(&mut out);
        assert_eq!(out, packet, "{name}");
    }
    assert!(made.is_empty(), "without an example: {:?}", made.keys());
}

#[test]
fn what_the_examples_say_is_read_back() {
    let (control, reliable) = (control(), reliable());
    let mut read = 0;
    for Example { name, header, message, .. } in examples() {
        read += 1;
        let mut messages = Messages::new(&message, header.channel);
        let it = messages.next().expect("one message").expect("well framed");
        assert!(messages.next().is_none(), "{name}");
        if let Some(&said) = control.get(name.as_str()) {
            assert_eq!(ControlMessage::read(&it), Ok(said), "{name}");
            continue;
        }
        if let Some((channel, kind, id, body)) = reliable.get(name.as_str()) {
            let expected = (*channel, Some((*kind, *id, body.as_slice())));
            assert_eq!((header.channel, parse_reliable(&message)), expected, "{name}");
            continue;
        }
        let frames = |is_short| [3, 2, 1].into_iter().zip(inputs(is_short));
        match name.as_str() {
            "resume_ticket" => assert_eq!(read_resume_ticket(it.body).map(|it| it.key_id), Ok(7)),
            "enter_to_world" => assert_eq!(read_enter_to_world(it.body), Ok(())),
            "sync_entity" => {
                let read = InputFrames::read(it.body).expect("well formed");
                assert!(read.newest_first().eq(frames(false)));
            }
            "sync_entity_quantized" => {
                let read = InputFrames::read_quantized(it.body).expect("well formed");
                assert!(read.newest_first().eq(frames(true)));
            }
            "benchmark_question" => assert_eq!(BenchmarkRequest::read(it.body), Ok(question())),
            "benchmark_answer" => assert_eq!(BenchmarkAnswer::read(it.body), Ok(answer())),
            "update_entity" => assert_eq!(OwnUpdate::read(it.body), Ok(own_update())),
            "update_entity_quantized" => {
                assert_eq!(EntityUpdate::read(it.body), Ok(entity_update()));
            }
            // Applied, with what it builds on, by the tests of the client.
            "delta_sync" => assert_eq!(it.kind, to_client::DELTA_SYNC),
            other => panic!("nobody reads {other}"),
        }
    }
    assert!(read > 30, "{read}");
}

/// The table of 6.3: what may be said, and whether also before both sides have proved their keys.
fn table() -> BTreeMap<Saying, bool> {
    let (_, rest) = DOCUMENT.split_once("### 6.3 Messages").expect("the section");
    let (section, _) = rest.split_once("\n### ").expect("the next one");
    let mut table = BTreeMap::new();
    for line in section.lines().filter(|line| line.contains(" → ")) {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [direction, channels, kind, _, stage] = cells[..] else { panic!("{line}") };
        let to_server = direction == "client → server";
        assert!(to_server || direction == "server → client", "{line}");
        let (channels, _) = channels.rsplit_once(' ').expect("numbers and a name");
        for channel in channels.split(", ") {
            let channel = channel.parse().unwrap_or_else(|_| panic!("{line}"));
            let kind = kind.parse().unwrap_or_else(|_| panic!("{line}"));
            let before = table.insert((to_server, channel, kind), stage == "unconfirmed");
            assert_eq!(before, None, "twice: {line}");
        }
    }
    assert!(table.len() > 30, "{table:?}");
    table
}

#[test]
fn every_message_of_the_document_has_an_example() {
    let kind = |it: &Example| {
        let message = Messages::new(&it.message, it.header.channel).next();
        message.expect("one message").expect("well framed").kind
    };
    let shown: BTreeSet<Saying> =
        examples().iter().map(|it| (it.to_server, it.header.channel as u8, kind(it))).collect();
    let said: BTreeSet<Saying> = table().into_keys().collect();
    let without: Vec<_> = said.difference(&shown).collect();
    assert!(without.is_empty(), "without an example (to server, channel, type): {without:?}");
    let unknown: Vec<_> = shown.difference(&said).collect();
    assert!(unknown.is_empty(), "not in the table of 6.3: {unknown:?}");
}

#[test]
fn the_table_of_who_may_say_what_is_that_of_the_code() {
    let table = table();
    for direction in [Direction::ToServer, Direction::ToClient] {
        for channel in Channel::ALL {
            for kind in 0..=255 {
                let saying = (direction == Direction::ToServer, channel as u8, kind);
                let early = table.get(&saying);
                let allowed = |stage| is_allowed(direction, channel, stage, kind);
                assert_eq!(allowed(Stage::Entered), early.is_some(), "{saying:?}");
                assert_eq!(allowed(Stage::Confirmed), early.is_some(), "{saying:?}");
                assert_eq!(allowed(Stage::Unconfirmed), early == Some(&true), "{saying:?}");
            }
        }
    }
}

#[test]
fn every_packet_of_the_handshake_has_an_example() {
    let files = [include_str!("vectors/handshake.json"), include_str!("vectors/resume.json")];
    let mut shown = BTreeSet::new();
    for file in files {
        for value in json(file).as_object().expect("an object").values() {
            let Some(mut packet) = value.as_str().map(hex) else { continue };
            if packet.len() == 460 {
                packet.resize(CONNECT_LEN, 0);
            }
            if packet.starts_with(&[0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0]) {
                shown.insert((packet[14], packet.len()));
            }
        }
    }
    let titles: Vec<_> = DOCUMENT.lines().filter(|line| line.starts_with("### 4.")).collect();
    let mut packets = 0;
    for title in titles.iter().filter(|title| title.ends_with(" bytes")) {
        let length = title.rsplit(' ').nth(1).expect("a number").replace(',', "");
        let length = length.parse().unwrap_or_else(|_| panic!("{title}"));
        let example = shown.contains(&(packets, length));
        assert!(example, "no example of {title}, type {packets}");
        packets += 1;
    }
    assert_eq!(packets, 4_u8, "{titles:?}");
}
