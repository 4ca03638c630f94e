//! Pieces about reading what a peer wrote.

use crate::peer::Peer;
use crate::server::Server;
use tidelock::metrics::DropReason;
use tidelock::wire::{AckBlock, Channel, Flags, Reader, Writer};

/// quinn, RUSTSEC-2026-0037 (2026): an `unwrap` behind a length that a peer chose: one packet ended
/// the process. Here: every message number with a body of every length and of three contents, in
/// both directions and at two stages.
/// <https://rustsec.org/advisories/RUSTSEC-2026-0037.html>
#[test]
fn no_message_of_any_number_and_length_ends_the_process() {
    for fill in [0x00, 0x01, 0xFF] {
        for number in 0..=32 {
            for length in 0..=48_u16 {
                let mut plaintext = (length + 1).to_le_bytes().to_vec();
                plaintext.push(number);
                plaintext.resize(usize::from(length) + 3, fill);
                let channel = Channel::ALL[usize::from(length % 4)];
                for channel in [channel, Channel::Control, Channel::Unreliable] {
                    say_to_both(channel, &plaintext);
                }
            }
        }
    }
}

fn say_to_both(channel: Channel, plaintext: &[u8]) {
    thread_local! {
        static BOTH: std::cell::RefCell<Option<(Peer, Server)>> =
            const { std::cell::RefCell::new(None) };
    }
    BOTH.with_borrow_mut(|both| {
        let (peer, server) = both.get_or_insert_with(|| (Peer::entered(), Server::in_world()));
        peer.say(channel, Flags::SEALED, 1, plaintext);
        server.say(channel, Flags::SEALED, 1, plaintext);
        peer.pass_ms(100);
        server.pass_ms(100);
        server.poll();
        if peer.record.closed.is_some() || server.has_ended() {
            *both = None;
        }
    });
}

/// quiche, pull request 174 (2019): the lower end of an acknowledged range was computed by a
/// subtraction that a peer could make negative.
/// <https://github.com/cloudflare/quiche/pull/174>
#[test]
fn acknowledgments_that_reach_below_the_first_packet_are_refused() {
    for largest in 0..=64_u64 {
        // The first bit that names packet 0, and all bits.
        for bitmap in [1 << largest.saturating_sub(1).min(63), u64::MAX] {
            let mut plaintext = [0; 18];
            AckBlock { largest, bitmap, delay: 0 }.write(&mut Writer::new(&mut plaintext));
            assert!(AckBlock::read(&mut Reader::new(&plaintext)).is_err(), "{largest} {bitmap:x}");

            let mut peer = Peer::entered();
            (0..80).for_each(|_| peer.begin());
            let acked = peer.record.acked.clone();
            let flags = Flags::SEALED.with(Flags::ACKNOWLEDGMENT);
            peer.say(Channel::Control, flags, 1, &plaintext);
            assert_eq!(peer.counters.dropped(DropReason::FalseAck), 1, "{largest} {bitmap:x}");
            assert_eq!(peer.record.acked, acked, "and nothing of it is believed");
        }
    }
}
