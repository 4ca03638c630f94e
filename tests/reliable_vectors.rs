//! The worked examples of reliable delivery (`tests/vectors/reliable.json`, made by another
//! implementation of `docs/PROTOCOL.md`): what the code writes is what they say, and what they say
//! is read back.

mod document;

use document::CONNECTION;
use std::collections::BTreeMap;
use tidelock::crypto::aead::PacketKey;
use tidelock::wire::*;

fn vectors(text: &str) -> BTreeMap<String, Vec<u8>> {
    let json: serde_json::Value = serde_json::from_str(text).expect("the vectors are JSON");
    let entries = json.as_object().expect("an object").iter();
    let texts = entries.filter_map(|(name, value)| Some((name.clone(), value.as_str()?)));
    let bytes = |text: &str| {
        let pairs = (0..text.len()).step_by(2).map(|at| text.get(at..at + 2));
        pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect::<Option<Vec<u8>>>()
    };
    texts.filter_map(|(name, text)| Some((name, bytes(text)?))).collect()
}

/// A packet of the example: plaintext and whole.
fn packet(
    key: &[u8],
    channel: Channel,
    more: Flags,
    sequence: u64,
    body: impl FnOnce(&mut Writer<'_>),
) -> [Vec<u8>; 2] {
    let flags = Flags::SEALED.with(Flags::ACKNOWLEDGMENT).with(more);
    let mut out = vec![0; 1_200];
    let mut writer = Writer::new(&mut out[..1_184]);
    Header { connection: CONNECTION, channel, flags, sequence }.put(&mut writer);
    AckBlock { largest: 5, bitmap: 0x0f, delay: 10 }.write(&mut writer);
    body(&mut writer);
    let end = writer.finish().expect("the examples are small");
    out.truncate(end + 16);
    let plaintext = out[14..end].to_vec();
    PacketKey::new(key.try_into().expect("a key has 32 bytes")).seal(&mut out);
    [plaintext, out]
}

fn put(writer: &mut Writer<'_>, id: u16, body: &[u8]) {
    writer.array(reliable_head(to_server::GAME_DATA, id, body.len()).expect("short"));
    writer.slice(body);
}

fn hello(first_ordered: u16, first_unordered: u16, max_message_kib: u16) -> ControlMessage {
    ControlMessage::ReliableHandshake(ReliableHandshake {
        first_ordered,
        first_unordered,
        max_inflight: 256,
        max_message_kib,
        recv_bytes: 65_536,
    })
}

#[test]
fn what_the_code_writes_is_what_the_examples_say() {
    let keys = vectors(include_str!("vectors/handshake.json"));
    let expected = vectors(include_str!("vectors/reliable.json"));
    let (to_server, to_client) = (&keys["c2s_key0"], &keys["s2c_key0"]);
    let says_hello = Flags::RELIABLE_HANDSHAKE;
    let long: Vec<u8> = (0..1_500).map(|i| (i % 251) as u8).collect();
    let mut whole = reliable_head(to_server::GAME_DATA, 7, long.len()).expect("short").to_vec();
    whole.extend_from_slice(&long);
    let part = |offset: usize| {
        let length = (whole.len() - offset).min(1_024);
        let bytes = whole[offset..offset + length].to_vec();
        let header = FragmentHeader { id: 7, offset: offset as u16, total: whole.len() as u32 };
        packet(to_server, Channel::ReliableUnordered, Flags::FRAGMENT, 8 + offset as u64 / 1_024, {
            move |writer: &mut Writer<'_>| {
                header.write(writer);
                writer.slice(&bytes);
            }
        })
    };
    let none = Flags::default();
    let made = [
        (
            "hello_client",
            packet(to_server, Channel::Control, says_hello, 6, |it| {
                hello(65_535, 7, 64).write(it);
            }),
        ),
        (
            "hello_server",
            packet(to_client, Channel::Control, says_hello, 5, |it| {
                hello(300, 400, 16).write(it);
            }),
        ),
        (
            "ordered",
            packet(to_server, Channel::ReliableOrdered, none, 7, |it| {
                put(it, 65_535, b"first");
                put(it, 0, b"second");
            }),
        ),
        ("fragment_0", part(0)),
        ("fragment_1", part(1_024)),
    ];
    for (name, [plaintext, sealed]) in made {
        assert_eq!(plaintext, expected[&format!("{name}_plaintext")], "{name}");
        assert_eq!(sealed, expected[&format!("{name}_packet")], "{name}");
    }
}

#[test]
fn the_compressed_example_opens_and_says_what_it_said_before() {
    let keys = vectors(include_str!("vectors/handshake.json"));
    let vectors = vectors(include_str!("vectors/reliable.json"));
    let mut packet = vectors["compressed_packet"].clone();
    let header = Header::read(&packet).expect("a header");
    assert_eq!((header.channel, header.sequence), (Channel::ReliableOrdered, 6));
    assert!(header.flags.contains(Flags::COMPRESSED) && !header.flags.contains(Flags::FRAGMENT));
    let key = PacketKey::new(keys["s2c_key0"][..].try_into().expect("32 bytes"));
    let plaintext = key.open(&mut packet).expect("it opens");
    assert_eq!(plaintext, vectors["compressed_plaintext"]);
    let (kind, id, body) = parse_reliable(&plaintext[18..]).expect("one message");
    assert_eq!((kind, id, raw_len(body)), (to_client::GAME_DATA, 300, Ok(600)));
    let mut out = [0xEE; 700];
    assert_eq!(decompress(body, &mut out), Ok(600));
    assert!(out[..600].iter().eq(b"tidelock ".iter().cycle().take(600)));
}
