//! Pieces about messages in parts, in order, and compressed.

use std::collections::BTreeMap;
use tidelock::limits::{MESSAGE_MAX_TO_SERVER, REORDER_BYTES};
use tidelock::reliable::{Delivered, Endpoint, Fault, Fragment, Lane, Part, Pool, Side, Taken};
use tidelock::time::Nanos;
use tidelock::wire::decompress;

const NOW: Nanos = Nanos::from_ms(1_000);

/// A server's end of a session, and what it delivered, by id.
struct Receiver {
    endpoint: Endpoint,
    pool: Pool,
    got: BTreeMap<u16, Vec<u8>>,
}

impl Receiver {
    fn new() -> Self {
        let mut endpoint = Endpoint::new(Side::Server, Side::Server.hello([1, 1]), NOW);
        assert_eq!(endpoint.hear(Side::Client.hello([0, 0])), Ok(()));
        Self { endpoint, pool: Pool::growing(4_096), got: BTreeMap::new() }
    }

    /// A part of an unordered message. Messages here are their id and something.
    fn part(&mut self, id: u16, offset: u16, total: u32, bytes: &[u8]) -> Result<Taken, Fault> {
        let part = Part { id, offset, total };
        let fragment = Fragment { lane: Lane::Unordered, part, is_compressed: false, bytes };
        let Self { endpoint, pool, got } = self;
        let mut deliver = |message: Delivered<'_>| {
            let id = u16::from_le_bytes([message.body[0], message.body[1]]);
            assert_eq!(got.insert(id, message.body.to_vec()), None, "{id} twice");
        };
        endpoint.accept_part(pool, fragment, NOW, parse, &mut deliver)
    }
}

fn parse(_: Lane, bytes: &[u8]) -> Option<(u8, u16, &[u8])> {
    Some((24, u16::from_le_bytes([bytes[0], bytes[1]]), bytes))
}

fn message(id: u16, length: usize) -> Vec<u8> {
    let mut message: Vec<u8> = (0..length).map(|i| (i / 7) as u8 ^ id as u8).collect();
    message[..2].copy_from_slice(&id.to_le_bytes());
    message
}

/// reliable, pull request 39 (2026): the size of a fragment was believed and copied, also where it
/// was too large or came to less than nothing. yojimbo, pull request 283, had the same.
/// <https://github.com/mas-bandwidth/reliable/pull/39>
#[test]
fn parts_of_a_wrong_size_or_place_are_refused() {
    let mut receiver = Receiver::new();
    let most = MESSAGE_MAX_TO_SERVER as u32;
    for (offset, total, length) in [
        (0, 3_000, 0),
        (0, 3_000, 1_023),
        (0, 3_000, 1_025),
        (2_048, 3_000, 951),
        (2_048, 3_000, 953),
        (2_048, 3_000, 1_024),
        (1, 3_000, 1_024),
        (3_072, 3_000, 1),
        (64_512, 3_000, 1_024),
        (1_024, 1_024, 0),
        (0, 0, 0),
        (0, most + 1, 1_024),
        (0, u32::MAX, 1_024),
    ] {
        let taken = receiver.part(7, offset, total, &vec![1; length]);
        assert_eq!(taken, Err(Fault::Part), "{length} bytes at {offset} of {total}");
        assert_eq!(receiver.endpoint.held_bytes(), 0, "and nothing of it is kept");
    }
    // Another size of the whole ends what was there.
    assert_eq!(receiver.part(7, 0, 3_000, &[1; 1_024]), Ok(Taken::Processed));
    assert_eq!(receiver.part(7, 1_024, 4_000, &[1; 1_024]), Err(Fault::Part));
    assert_eq!((receiver.endpoint.held_bytes(), receiver.pool.used()), (0, 0));
}

/// ENet, issue 134 (2020): with fragments, and jitter that repeated and reordered them, the
/// receiver freed what it still used, and crashed within seconds.
/// <https://github.com/lsalzman/enet/issues/134>
#[test]
fn parts_in_any_order_and_repeated_make_each_message_once() {
    let mut random = 0x2545_F491_4F6C_DD1D_u64;
    let mut below = |limit: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % limit as u64) as usize
    };
    let mut receiver = Receiver::new();
    // Two messages at a time, the most that a server puts together.
    for pair in 0..100_u16 {
        let messages = [0, 1].map(|i| message(2 * pair + i, 1_025 + below(9_000)));
        while receiver.got.len() < usize::from(2 * pair + 2) {
            let message = &messages[below(2)];
            let offset = below(message.len().div_ceil(1_024)) * 1_024;
            let end = message.len().min(offset + 1_024);
            let id = u16::from_le_bytes([message[0], message[1]]);
            let part = &message[offset..end];
            let taken = receiver.part(id, offset as u16, message.len() as u32, part);
            assert_eq!(taken, Ok(Taken::Processed));
        }
        for message in messages {
            let id = u16::from_le_bytes([message[0], message[1]]);
            assert_eq!(receiver.got[&id], message);
        }
    }
    assert_eq!(receiver.pool.used(), 0, "nothing stays behind");
}

/// quinn, RUSTSEC-2026-0185 (2026): fragments with gaps between them were all kept until the gaps
/// were filled, which a peer need not do.
/// <https://rustsec.org/advisories/RUSTSEC-2026-0185.html>
#[test]
fn a_gap_that_is_never_filled_holds_no_more_than_the_reorder_buffer() {
    let mut receiver = Receiver::new();
    let Receiver { endpoint, pool, .. } = &mut receiver;
    let body = [7; 1_100];
    for round in 0..3 {
        for id in 1..=255 {
            let (lane, kind, is_compressed) = (Lane::Ordered, 24, false);
            let message = Delivered { lane, kind, is_compressed, body: &body };
            let taken = endpoint.accept(pool, id, message, NOW, &mut |_| panic!("out of turn"));
            assert!(taken.is_ok(), "round {round}: {taken:?}");
            assert!(endpoint.held_bytes() <= REORDER_BYTES, "{} bytes", endpoint.held_bytes());
        }
    }
    assert!(endpoint.held_bytes() > REORDER_BYTES / 2, "something is held");
}

/// lz4_flex, RUSTSEC-2026-0041 (2026): a damaged block was decompressed into a buffer without all
/// of it being written, and what had been there before was taken for the result.
/// <https://rustsec.org/advisories/RUSTSEC-2026-0041.html>
#[test]
fn no_block_shows_what_was_in_the_buffer_before() {
    // Two literals, and a copy from before the beginning; two literals, and the end, 98 bytes too
    // early.
    let before_the_start = [100, 0, 0x24, b'a', b'b', 9, 0, 0x50, 1, 2, 3, 4, 5];
    let ends_early = [100, 0, 0x20, b'a', b'b'];
    for block in [&before_the_start[..], &ends_early] {
        let mut secrets = [0x5E; 128];
        assert!(decompress(block, &mut secrets).is_err(), "{block:?}");
        let mut short = [0x5E; 2];
        assert!(decompress(block, &mut short).is_err());
    }
    // What is as long as it says comes out, whatever was there.
    let honest = [2, 0, 0x20, b'a', b'b'];
    let mut secrets = [0x5E; 128];
    assert_eq!(decompress(&honest, &mut secrets), Ok(2));
    assert_eq!(secrets[..2], *b"ab");
}
