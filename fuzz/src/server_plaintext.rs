//! What a server with good keys may say to a client: any plaintext in any packet, snapshots of any
//! content, in any order and at any time. A broken server, or a broken build, ends no player's
//! program.

use super::bytes::Bytes;
use super::server::Server;
use tidelock::wire::{Channel, Flags};

const STEPS: usize = 64;

/// Steps: a packet to a client that is or is not in the world, or time, or an input.
pub fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    let mut server = if bytes.u8() & 1 == 0 { Server::in_world() } else { Server::accepted() };
    for _ in 0..STEPS {
        if bytes.is_empty() {
            break;
        }
        step(&mut server, &mut bytes);
    }
    server.poll();
}

fn step(server: &mut Server, bytes: &mut Bytes<'_>) {
    let kind = bytes.u8();
    let channel = Channel::ALL[usize::from(kind >> 6)];
    match kind % 8 {
        // Any plaintext under any flags, or what nobody has sealed.
        0 if kind & 0x38 == 0x38 => server.forge(bytes.u64() >> 2 | 1),
        0 => {
            let flags = Flags(bytes.u8() & 0x7C | 0x03);
            let ahead = i64::from(bytes.u8() as i8);
            let plaintext = bytes.sized();
            server.say(channel, flags, ahead, plaintext);
        }
        // Messages that are framed well.
        1 | 2 => {
            let mut plaintext = Vec::new();
            for _ in 0..1 + kind / 8 % 4 {
                let (number, body) = (bytes.u8(), bytes.sized());
                plaintext.extend_from_slice(&(body.len() as u16 + 1).to_le_bytes());
                plaintext.push(number);
                plaintext.extend_from_slice(body);
            }
            server.say(channel, Flags::SEALED, 1, &plaintext);
        }
        // A snapshot with a good head.
        3..=5 => {
            let ages = bytes.u8();
            let entries = bytes.sized();
            server.snapshot(1 + u32::from(ages >> 6), ages & 0x3F, entries);
        }
        6 => {
            server.input(bytes.u16());
            server.poll();
        }
        _ => {
            server.pass_ms(u64::from(bytes.u8()) * u64::from(bytes.u8() % 64));
            server.poll();
        }
    }
}
