//! What a client with good keys may say: any plaintext in any packet, in any order and at any time.

use super::bytes::Bytes;
use super::peer::Peer;
use tidelock::wire::{Channel, Flags};

const STEPS: usize = 64;

/// Steps: a packet of a client that has or has not entered, or time, or the server's turn.
pub fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    let mut peer = if bytes.u8() & 1 == 0 { Peer::entered() } else { Peer::accepted() };
    for _ in 0..STEPS {
        if bytes.is_empty() {
            break;
        }
        step(&mut peer, &mut bytes);
    }
    peer.poll();
}

fn step(peer: &mut Peer, bytes: &mut Bytes<'_>) {
    let kind = bytes.u8();
    let channel = Channel::ALL[usize::from(kind >> 6)];
    match kind % 8 {
        // Any plaintext under any flags, or what nobody has sealed.
        0 if kind & 0x38 == 0x38 => peer.forge(bytes.u64() >> 2 | 1),
        0 | 1 => {
            let flags = Flags(bytes.u8() & 0x7C | 0x03);
            let ahead = i64::from(bytes.u8() as i8);
            let plaintext = bytes.sized();
            peer.say(channel, flags, ahead, plaintext);
        }
        // Messages that are framed well.
        2..=4 => {
            let mut plaintext = Vec::new();
            for _ in 0..1 + kind / 8 % 4 {
                let (number, body) = (bytes.u8(), bytes.sized());
                plaintext.extend_from_slice(&(body.len() as u16 + 1).to_le_bytes());
                plaintext.push(number);
                plaintext.extend_from_slice(body);
            }
            peer.say(channel, Flags::SEALED, 1, &plaintext);
        }
        // Input frames, newest first, around a number.
        5 => {
            let newest = bytes.u32();
            let count = bytes.u8() % 10;
            let mut plaintext = vec![0, 0, 0];
            plaintext.extend_from_slice(&newest.to_le_bytes());
            plaintext.push(count);
            plaintext.extend_from_slice(bytes.take(usize::from(count) * 6));
            let length = plaintext.len() as u16 - 2;
            plaintext[..2].copy_from_slice(&length.to_le_bytes());
            peer.say(Channel::Unreliable, Flags::SEALED, 1, &plaintext);
        }
        6 => {
            peer.begin();
            peer.poll();
        }
        _ => {
            peer.pass_ms(u64::from(bytes.u8()) * u64::from(bytes.u8() % 64));
            peer.poll();
        }
    }
}
