//! Acknowledgment blocks: parsed as the document says, and believed only as far as packets were
//! sent. The record in `peer` is the model: each packet acknowledged once, and none that never was.

use super::bytes::Bytes;
use super::peer::Peer;
use tidelock::wire::{AckBlock, Channel, Flags, ReadError, Reader, Writer};

const STEPS: usize = 128;

/// A block as raw bytes, then steps of a client that acknowledges.
pub fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    parse(bytes.take(18));
    let mut peer = Peer::entered();
    for _ in 0..STEPS {
        if bytes.is_empty() {
            break;
        }
        step(&mut peer, &mut bytes);
    }
}

fn parse(raw: &[u8]) {
    let block = match AckBlock::read(&mut Reader::new(raw)) {
        Ok(block) => block,
        Err(error) => return assert!(raw.len() < 18 || error == ReadError::Value),
    };
    let mut out = [0; 18];
    let mut writer = Writer::new(&mut out);
    block.write(&mut writer);
    assert_eq!(writer.finish(), Ok(18));
    assert_eq!(out, raw);
    for age in 0..70 {
        let Some(sequence) = block.largest.checked_sub(age) else { break };
        let named = age == 0 || (age <= 64 && block.bitmap >> (age - 1) & 1 == 1);
        assert_eq!(block.acknowledges(sequence), named);
        assert!(sequence > 0 || !named, "0 is no packet");
    }
    assert!(!block.acknowledges(block.largest.wrapping_add(1)));
}

fn step(peer: &mut Peer, bytes: &mut Bytes<'_>) {
    let kind = bytes.u8();
    match kind % 4 {
        0 => (0..=kind >> 4).for_each(|_| peer.begin()),
        1 => peer.pass_ms(u64::from(bytes.u8())),
        _ => {
            let newest = peer.record.begun.last().copied().unwrap_or(0);
            let largest = match kind >> 4 {
                0..=11 => newest.wrapping_sub(u64::from(bytes.u8())),
                12 => newest.wrapping_add(u64::from(bytes.u8())),
                _ => bytes.u64(),
            };
            let bitmap = bytes.u64();
            let block = AckBlock { largest, bitmap, delay: bytes.u16() };
            let names_unsent = (0..=64)
                .filter_map(|age| largest.checked_sub(age))
                .any(|sequence| block.acknowledges(sequence) && sequence > newest);
            let mut plaintext = [0; 18];
            block.write(&mut Writer::new(&mut plaintext));
            let before = peer.record.acked.len();
            peer.say(Channel::Control, Flags::SEALED.with(Flags::ACKNOWLEDGMENT), 1, &plaintext);
            if names_unsent {
                assert_eq!(peer.record.acked.len(), before, "a lie is believed in nothing");
            }
        }
    }
    peer.poll();
}
