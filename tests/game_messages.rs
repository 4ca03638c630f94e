//! Worked examples of game messages, and of the question by which a client proves a new address:
//! what the code writes is what an independent program made of the document, and is read back.

use serde_json::Value;
use tidelock::state::{Kind, QuantizedState, flags};
use tidelock::units::EntityId;
use tidelock::wire::snapshot::{EntityUpdate, OwnState, OwnUpdate};
use tidelock::wire::{
    BenchmarkAnswer, BenchmarkRequest, Channel, ControlMessage, InputFrame, InputFrames, Message,
    Messages, Writer, buttons, put_shortest_input_frames,
};

const NONCE: u64 = 0x0102_0304_0506_0708;
const PATH_NONCE: u64 = 0xFEDC_BA98_7654_3210;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().map(|c| c.to_digit(16).expect("hexadecimal") as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// Checks that `put` writes the example `name`, and hands its one message to `read`.
fn check(
    name: &str,
    channel: Channel,
    put: impl FnOnce(&mut Writer<'_>),
    read: impl FnOnce(Message<'_>),
) {
    let all: Value = serde_json::from_str(include_str!("vectors/game_messages.json"))
        .expect("the vectors are JSON");
    let vector = hex(all[name].as_str().unwrap_or_else(|| panic!("no example {name}")));
    let mut out = [0; 256];
    let mut writer = Writer::new(&mut out);
    put(&mut writer);
    let length = writer.finish().expect("the examples are small");
    assert_eq!(out[..length], vector, "{name}");
    let mut messages = Messages::new(&vector, channel);
    read(messages.next().expect("one message").expect("well framed"));
    assert!(messages.next().is_none(), "{name}");
}

#[test]
fn input_frames_of_three_bytes() {
    let still = InputFrame::default();
    let north_west = InputFrame { move_x: -72, move_y: 72, ..still };
    let sprint = InputFrame { move_x: 127, yaw: 0x4000, buttons: buttons::SPRINT, ..still };
    let frames = [sprint, north_west, still];
    check(
        "sync_entity_quantized",
        Channel::Unreliable,
        |writer| put_shortest_input_frames(writer, 3, &frames),
        |message| {
            assert_eq!(message.kind, 1);
            let read = InputFrames::read_quantized(message.body).expect("well formed");
            assert!(read.newest_first().eq([3, 2, 1].into_iter().zip(frames)));
        },
    );
}

#[test]
fn question_and_answer_of_a_benchmark() {
    let request = BenchmarkRequest { nonce: NONCE, length: 24 };
    check(
        "benchmark_request",
        Channel::Unreliable,
        |writer| request.put(writer),
        |message| {
            assert_eq!((message.kind, BenchmarkRequest::read(message.body)), (17, Ok(request)));
        },
    );
    let (received_us, answered_us) = (5_000_000, 5_012_345);
    let answer = BenchmarkAnswer { nonce: NONCE, received_us, answered_us, length: 24 };
    check(
        "benchmark_answer",
        Channel::Unreliable,
        |writer| answer.put(writer),
        |message| {
            assert_eq!((message.kind, BenchmarkAnswer::read(message.body)), (0, Ok(answer)));
        },
    );
}

#[test]
fn entities_outside_a_snapshot() {
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
    let update = OwnUpdate { tick: 7_800, last_processed_input: 3, own };
    check(
        "update_entity",
        Channel::Unreliable,
        |writer| update.put(writer),
        |message| assert_eq!((message.kind, OwnUpdate::read(message.body)), (2, Ok(update))),
    );
    let monster = QuantizedState {
        x: 262_144,
        y: 131_000,
        velocity: [-100, 0, 0],
        flags: moving,
        faction: 3,
        ..QuantizedState::DEFAULT
    };
    let update = EntityUpdate::new(7_800, EntityId(0x0020_0006), Kind::Monster, &monster);
    check(
        "update_entity_quantized",
        Channel::Unreliable,
        |writer| update.put(writer),
        |message| assert_eq!((message.kind, EntityUpdate::read(message.body)), (4, Ok(update))),
    );
}

#[test]
fn the_question_at_a_new_address_and_its_answer() {
    let ping = ControlMessage::Ping { nonce: PATH_NONCE };
    let pong = ControlMessage::Pong { nonce: PATH_NONCE, clock_us: 2_000_000 };
    for (name, control) in [("path_ping", ping), ("path_pong", pong)] {
        check(
            name,
            Channel::Control,
            |writer| control.write(writer),
            |message| assert_eq!(ControlMessage::read(&message), Ok(control)),
        );
    }
}
