//! Peers that take the memory of the others for messages and give it back as late as they may.

use super::delivery::{TAKES_ALL, noise};
use super::*;
use crate::limits::{FRAGMENT_LEN, MESSAGE_MAX_TO_SERVER};
use crate::reliable::SendError;
use crate::wire::{FragmentHeader, reliable_head, to_client, to_server};

/// Accounts: by the shares alone, so many keep long messages of others out.
const HOARDERS: u16 = 50;
const HONEST: Slot = 120;

impl Bench {
    /// Everything that is due now goes to nobody. Who was told goodbye, and why.
    fn drain(&mut self, peers: &[Peer]) -> Vec<(Slot, DisconnectReason)> {
        let mut out = [0; DATAGRAM_MAX];
        let mut ended = Vec::new();
        let Self { sessions, counters, sink, now } = self;
        while let Some(sent) = sessions.poll_control(*now, &mut out, counters, sink) {
            let peer = peers.iter().find(|peer| peer.id.slot() == sent.slot).expect("a peer");
            let header = Header::read(&out[..sent.length]).expect("a header");
            if header.channel == Channel::Control {
                let heard = peer.open(&out[..sent.length]).control();
                ended.extend(heard.into_iter().filter_map(|message| match message {
                    ControlMessage::Disconnect { reason, .. } => Some((sent.slot, reason)),
                    _ => None,
                }));
            }
        }
        ended
    }

    /// A part of the message `id` of the longest kind. Whether it is acknowledged.
    fn part(&mut self, peer: &mut Peer, id: u16, part: usize) -> bool {
        let mut header = peer.header(Channel::ReliableOrdered);
        header.flags = header.flags.with(Flags::FRAGMENT);
        let total = MESSAGE_MAX_TO_SERVER as u32;
        let offset = (part * FRAGMENT_LEN) as u16;
        let head = reliable_head(to_server::GAME_DATA, id, MESSAGE_MAX_TO_SERVER - 5);
        let plaintext = write(|writer| {
            FragmentHeader { id, offset, total }.write(writer);
            match part {
                0 => {
                    writer.slice(&head.expect("16 KiB"));
                    writer.zeros(FRAGMENT_LEN - 5);
                }
                _ => writer.zeros(FRAGMENT_LEN),
            }
        });
        let packet = peer.seal(header, &plaintext);
        let refused =
            |this: &Self| this.read(Counter::MessagesRefused) + this.dropped(DropReason::ByteRate);
        let before = refused(self);
        self.deliver(peer, &packet);
        refused(self) == before
    }

    /// Messages from `first` on that have to wait for the one before.
    fn wait_behind(&mut self, peer: &mut Peer, first: u16) {
        for id in (first..first + 60).step_by(2) {
            let plaintext = write(|writer| {
                for id in [id, id + 1] {
                    let head = reliable_head(to_server::GAME_DATA, id, 530).expect("short");
                    writer.slice(&head);
                    writer.zeros(530);
                }
            });
            let packet = peer.packet(Channel::ReliableOrdered, &plaintext);
            self.deliver(peer, &packet);
        }
    }

    fn says_hello(&mut self, slot: Slot) -> Peer {
        let mut peer = self.confirmed(slot);
        self.greet(&mut peer, TAKES_ALL);
        peer
    }

    /// As much of what was received as each of them gets, begun messages `with_parts` among it, and
    /// somebody who wants nothing but to send one long message.
    fn besieged(hoarders: u16, with_parts: bool) -> (Self, Vec<Peer>) {
        let mut bench = Self::new(128);
        let mut peers: Vec<Peer> = (0..hoarders).map(|slot| bench.says_hello(slot)).collect();
        let (mut modest, honest) = (bench.says_hello(HONEST - 1), bench.says_hello(HONEST));
        for peer in &mut peers {
            bench.wait_behind(peer, 1);
            for id in [61, 62].into_iter().filter(|_| with_parts) {
                bench.part(peer, id, 0);
            }
        }
        // Somebody for whom others wait, too, but for little.
        let head = reliable_head(to_server::GAME_DATA, 1, 3).expect("short");
        let packet = modest.packet(Channel::ReliableOrdered, &[&head[..], b"two"].concat());
        bench.deliver(&modest, &packet);
        peers.extend([modest, honest]);
        assert_eq!(bench.read(Counter::Undelivered), 0);
        (bench, peers)
    }
}

/// The goodbyes of the hoarders that were ended.
fn ended(goodbyes: &[(Slot, DisconnectReason)]) -> usize {
    for (slot, reason) in goodbyes {
        assert_eq!(*reason, DisconnectReason::TimedOut, "they may come back");
        assert!(*slot < HONEST - 1, "{slot} took nothing from anybody");
    }
    goodbyes.len()
}

#[test]
fn who_hoards_what_others_need_is_ended_and_a_long_message_arrives() {
    let (mut bench, mut peers) = Bench::besieged(HOARDERS, true);
    let mut honest = peers.pop().expect("the last");
    let mut goodbyes = Vec::new();
    let mut left: Vec<usize> = (0..16).collect();
    for _ in 0..40 {
        bench.advance_ms(100);
        for _ in 0..4.min(left.len()) {
            let part = left.remove(0);
            left.extend((!bench.part(&mut honest, 0, part)).then_some(part));
        }
        peers.push(honest);
        goodbyes.extend(bench.drain(&peers));
        honest = peers.pop().expect("just pushed");
    }
    assert_eq!((left.len(), bench.read(Counter::MessagesIn)), (0, 1));
    let count = bench.read(Counter::HoardersEnded);
    assert!((1..=4).contains(&count), "{count} are enough");
    assert!(ended(&goodbyes) >= count as usize);
}

#[test]
fn nobody_is_ended_for_what_nobody_needs() {
    let (mut bench, peers) = Bench::besieged(HOARDERS, true);
    for _ in 0..40 {
        bench.advance_ms(100);
        assert_eq!(bench.drain(&peers), []);
    }
    assert_eq!(bench.read(Counter::HoardersEnded), 0);
}

#[test]
fn to_give_back_and_take_again_at_once_is_to_hoard() {
    let (mut bench, mut peers) = Bench::besieged(110, false);
    let mut honest = peers.pop().expect("the last");
    let (mut goodbyes, mut next, mut is_in) = (Vec::new(), 0, false);
    for round in 0..40_u16 {
        bench.advance_ms(100);
        for peer in &mut peers[..110] {
            if round % 10 == 9 && bench.sessions.find(peer.id).is_some() {
                // Everything that has waited is delivered, and as much begins to wait.
                let plaintext = write(|writer| {
                    for id in next..next + 61 {
                        let head = reliable_head(to_server::GAME_DATA, id, 0).expect("short");
                        writer.slice(&head);
                    }
                });
                let packet = peer.packet(Channel::ReliableOrdered, &plaintext);
                bench.deliver(peer, &packet);
                bench.wait_behind(peer, next + 62);
            }
        }
        next += if round % 10 == 9 { 61 } else { 0 };
        is_in |= bench.part(&mut honest, 0, 0);
        peers.push(honest);
        goodbyes.extend(bench.drain(&peers));
        honest = peers.pop().expect("just pushed");
    }
    assert!(is_in && ended(&goodbyes) > 0);
}

#[test]
fn who_does_not_acknowledge_what_others_need_to_be_sent_is_ended() {
    let mut bench = Bench::new(128);
    let mut peers: Vec<Peer> = (0..HOARDERS).map(|slot| bench.says_hello(slot)).collect();
    peers.push(bench.says_hello(HONEST));
    let long = noise(16_000);
    let tell = |bench: &mut Bench, slot, body: &[u8]| {
        let channel = Channel::ReliableOrdered;
        bench.sessions.send_reliable(slot, channel, to_client::GAME_DATA, body, bench.now)
    };
    for slot in 0..HOARDERS {
        while tell(&mut bench, slot, &long[..1_000]).is_ok() {}
    }
    let mut goodbyes = Vec::new();
    for _ in 0..20 {
        bench.advance_ms(100);
        goodbyes.extend(bench.drain(&peers));
    }
    assert_eq!(goodbyes, [], "nobody wants anything");
    assert_eq!(tell(&mut bench, HONEST, &long), Err(SendError::NoMemory));
    goodbyes.extend(bench.drain(&peers));
    // Who tried in vain tries again a second later.
    bench.advance_ms(1_000);
    assert!(tell(&mut bench, HONEST, &long).is_ok());
    assert_eq!((ended(&goodbyes), bench.read(Counter::HoardersEnded)), (1, 1));
}
