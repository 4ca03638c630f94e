//! Reliable messages: what they may cost.

use super::*;
use crate::limits::{ACK_BLOCK_LEN, DESCRIPTION_MAX, FRAGMENT_HEADER_LEN};
use crate::reliable::SendError;
use crate::wire::{ReliableHandshake, to_client};

const UNTOUCHED: u8 = 0xE7;
pub(super) const TAKES_ALL: ReliableHandshake = ReliableHandshake {
    first_ordered: 0,
    first_unordered: 0,
    max_inflight: 256,
    max_message_kib: 64,
    recv_bytes: 65_536,
};

/// Bytes that do not shrink.
pub(super) fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

impl Bench {
    /// Both sides say hello, the client this one. What the server says.
    pub(super) fn greet(&mut self, peer: &mut Peer, hello: ReliableHandshake) -> ControlMessage {
        let mut header = peer.header(Channel::Control);
        header.flags = header.flags.with(Flags::RELIABLE_HANDSHAKE);
        let message = ControlMessage::ReliableHandshake(hello);
        let packet = peer.seal(header, &write(|writer| message.write(writer)));
        self.deliver(peer, &packet);
        let heard = self.poll(peer);
        let flag = Flags::RELIABLE_HANDSHAKE;
        let told = heard.iter().find(|heard| heard.header.flags.contains(flag)).expect("a hello");
        let packet = peer.ack(told.header.sequence, 0);
        self.deliver(peer, &packet);
        self.sink.0.clear();
        told.control()[0]
    }

    fn tell(&mut self, body: &[u8]) -> Result<u16, SendError> {
        let channel = Channel::ReliableOrdered;
        self.sessions.send_reliable(1, channel, to_client::GAME_DATA, body, self.now)
    }

    /// Fragments that are sent now: sequences, and bytes without what every packet has.
    fn poll_fragments(&mut self, peer: &Peer) -> Vec<(u64, usize)> {
        let mut out = [0; DATAGRAM_MAX];
        let mut lengths = Vec::new();
        let Self { sessions, counters, sink, now } = self;
        while let Some(sent) = sessions.poll_control(*now, &mut out, counters, sink) {
            let header = Header::read(&out[..sent.length]).expect("a header");
            assert_eq!(header.connection, peer.id);
            if header.flags.contains(Flags::FRAGMENT) {
                let head = HEADER_LEN + ACK_BLOCK_LEN + FRAGMENT_HEADER_LEN;
                lengths.push((header.sequence, sent.length - head - TAG_LEN));
            }
        }
        lengths
    }

    /// Says it again and again, as a shard that describes an entity, for ten seconds. How often
    /// something was compressed, and how often it was taken over.
    fn insist(&mut self, body: &[u8]) -> (u32, u32) {
        let (mut compressions, mut taken) = (0, 0);
        for _ in 0..150 {
            self.sessions.delivery.compressor.out.fill(UNTOUCHED);
            taken += u32::from(self.tell(body).is_ok());
            let is_touched = self.sessions.delivery.compressor.out[..16] != [UNTOUCHED; 16];
            compressions += u32::from(is_touched);
            self.advance_ms(66);
        }
        (compressions, taken)
    }
}

#[test]
fn who_takes_too_little_makes_the_server_compress_once_a_second_at_most() {
    let body: Vec<u8> = (0..DESCRIPTION_MAX as u32).map(|i| ((i * i) >> 7) as u8).collect();
    for hello in [
        ReliableHandshake { recv_bytes: 0, ..TAKES_ALL },
        ReliableHandshake { max_inflight: 0, ..TAKES_ALL },
        ReliableHandshake { max_message_kib: 0, ..TAKES_ALL },
        ReliableHandshake { recv_bytes: 60, ..TAKES_ALL },
    ] {
        let mut bench = Bench::new(2);
        let mut peer = bench.confirmed(1);
        bench.greet(&mut peer, hello);
        assert_eq!(bench.insist(&body), (0, 0), "{hello:?}");
    }
    // Whether this is enough can only be known afterwards.
    let mut bench = Bench::new(2);
    let mut peer = bench.confirmed(1);
    bench.greet(&mut peer, ReliableHandshake { recv_bytes: 200, ..TAKES_ALL });
    let (compressions, taken) = bench.insist(&body);
    assert!((9..=11).contains(&compressions) && taken == 0, "{compressions} {taken}");
    let taken = (0..9).filter(|_| bench.tell(b"short").is_ok()).count();
    assert_eq!(taken, 0, "the pause is for all");
    bench.advance_ms(1_000);
    assert!(bench.tell(b"short").is_ok(), "and ends");
}

#[test]
fn who_makes_room_is_told_more_at_once() {
    let mut bench = Bench::new(2);
    let mut peer = bench.confirmed(1);
    bench.greet(&mut peer, ReliableHandshake { recv_bytes: 1_000, ..TAKES_ALL });
    // Nothing that shrinks.
    let noise = noise(700);
    assert!(bench.tell(&noise).is_ok());
    assert_eq!([bench.tell(&noise), bench.tell(b"?")], [Err(SendError::Window); 2]);
    let said = bench.poll(&peer);
    let packet = peer.ack(said[0].header.sequence, 0);
    bench.deliver(&peer, &packet);
    assert!(bench.tell(&noise).is_ok());
}

#[test]
fn what_reliable_messages_take_is_saved_in_the_snapshots_that_follow() {
    let mut bench = Bench::new(2);
    let mut peer = bench.confirmed(1);
    bench.greet(&mut peer, TAKES_ALL);
    let budget = bench.sessions.budget(1);
    assert_eq!(bench.sessions.snapshot_budget(1), budget);
    let noise = noise(4_000);
    bench.tell(&noise).expect("room");
    let (mut snapshots, mut reliable) = (0, 0);
    for _ in 0..60 {
        bench.advance_ms(17);
        let spent = bench.sessions.snapshot_budget(1);
        assert!(spent >= budget / 2, "a snapshot is never without room");
        snapshots += spent;
        for (sequence, length) in bench.poll_fragments(&peer) {
            reliable += length;
            let packet = peer.ack(sequence, 0);
            bench.deliver(&peer, &packet);
        }
    }
    assert_eq!(reliable, noise.len() + 5, "all parts were sent once");
    assert_eq!(snapshots + reliable, 60 * budget, "the whole keeps to the budget");
}

#[test]
fn the_first_ids_of_messages_tell_nothing_of_what_is_left_out_on_purpose() {
    let says = |seed, path_secret| {
        let mut bench = Bench::new(2);
        let config = SessionsConfig { seed, path_secret, ..bench.sessions.config };
        bench.sessions = Sessions::new(config);
        let mut peer = bench.confirmed(1);
        bench.greet(&mut peer, TAKES_ALL)
    };
    assert_eq!(says(9, [1, 2]), says(1 << 60, [1, 2]), "the seed is not in them");
    assert_ne!(says(9, [1, 2]), says(9, [1, 3]), "and nobody foretells them");
}

#[test]
fn what_is_still_to_be_saved_goes_along_to_another_table() {
    let mut bench = Bench::new(2);
    let mut peer = bench.entered(1);
    bench.advance_ms(30);
    bench.poll(&peer);
    bench.greet(&mut peer, TAKES_ALL);
    bench.tell(&noise(900)).expect("room");
    assert_eq!(bench.poll(&peer).len(), 1);
    let budget = bench.sessions.budget(1);
    let to = ConnectionId::from_parts(9, 0, 5);
    let handed = bench.sessions.hand_over(1, to, bench.now).expect("it may go");
    let mut new = Bench::on_socket(9, 2);
    new.sessions.take_over(handed, new.now).expect("vacant");
    let saved: usize = (0..9).map(|_| budget - new.sessions.snapshot_budget(0)).sum();
    assert_eq!(saved, 905);
    bench.advance_ms(15_000);
    bench.poll(&peer);
    bench.entered(1);
    assert_eq!(bench.sessions.snapshot_budget(1), budget, "who comes next owes nothing");
}
