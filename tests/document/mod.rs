//! `docs/PROTOCOL.md` as tests read it: its worked example, and the session that this shows.
#![allow(dead_code, reason = "each test uses its part of it")]

use std::collections::BTreeMap;
use tidelock::wire::{ConnectionId, Writer};

/// The document.
pub(crate) const DOCUMENT: &str = include_str!("../../docs/PROTOCOL.md");
/// The session of the worked example.
pub(crate) const CONNECTION: ConnectionId = ConnectionId(0x00ab_c103);

/// Blocks of bytes by name.
pub(crate) type Blocks = BTreeMap<String, Vec<u8>>;

/// The bytes of hexadecimal digits, whatever space is between them.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16).expect("hexadecimal") as u8)
        .collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// The blocks of the document by the name behind the fence.
pub(crate) fn documented() -> Blocks {
    let blocks = DOCUMENT.split("```hex ").skip(1).map(|rest| {
        let (name, rest) = rest.split_once('\n').expect("a line behind the fence");
        let (text, _) = rest.split_once("```").expect("a closing fence");
        (name.to_owned(), hex(text))
    });
    blocks.collect()
}

/// What is written by `body`, at most a packet.
pub(crate) fn written(body: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = [0; 1_170];
    let mut writer = Writer::new(&mut out);
    body(&mut writer);
    let length = writer.finish().expect("the examples are small");
    out[..length].to_vec()
}
