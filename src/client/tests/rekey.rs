//! New keys from the client's side: when it takes part, when it turns, and what cannot make it do
//! so.

use super::*;
use crate::client::CloseReason;
use crate::crypto::dh;
use crate::limits::{KEY_AGE_MAX_MS, REKEY_HOLD_MS, REKEY_INTERVAL_MS};
use crate::wire::{Flags, RekeyPart};

const SERVER_SECRET: [u8; 32] = [0x51; 32];
const CLIENT_SECRET: [u8; 32] = [0x52; 32];

/// The keys that the server has put aside, of the epoch before or after.
struct Aside {
    open_key: PacketKey,
    seal_key: PacketKey,
    parity: Flags,
}

impl Pair {
    /// Another pair of keys in place of the server's.
    fn swap(&mut self, aside: &mut Aside) {
        std::mem::swap(&mut self.server.open_key, &mut aside.open_key);
        std::mem::swap(&mut self.server.seal_key, &mut aside.seal_key);
        std::mem::swap(&mut self.server.parity, &mut aside.parity);
    }

    fn request(&mut self, epoch: u16) -> Vec<u8> {
        let public = dh::public_of(&SERVER_SECRET);
        self.server.control(ControlMessage::RekeyRequest(RekeyPart { epoch, public }))
    }

    /// What the client says now, its acknowledgments aside.
    fn says(&mut self) -> Vec<ControlMessage> {
        let mut all = Vec::new();
        while let Some(heard) = self.heard() {
            if !heard.messages.is_empty() && heard.channel == Channel::Control {
                all.push(heard.control());
            }
        }
        all.retain(|message| *message != ControlMessage::Ack);
        all
    }

    /// The server asks, the client answers; the keys of the next epoch, which nobody uses yet.
    fn negotiated(&mut self, epoch: u16) -> Aside {
        let request = self.request(epoch);
        assert_eq!(self.deliver(&request), Ok(Event::RekeyRequested));
        assert!(self.client.is_rekey_requested() && self.says().is_empty());
        self.client.answer_rekey(CLIENT_SECRET, self.now);
        let public = dh::public_of(&CLIENT_SECRET);
        let part = RekeyPart { epoch, public };
        assert_eq!(self.says(), [ControlMessage::RekeyResponse(part)]);
        self.aside(epoch, public)
    }

    fn aside(&mut self, epoch: u16, public: [u8; 32]) -> Aside {
        let shared = dh::agree(&SERVER_SECRET, &public).expect("a good point");
        let ours = dh::public_of(&SERVER_SECRET);
        let root = &mut self.server.root;
        root.advance(epoch, &ours, &public, &shared);
        Aside {
            open_key: PacketKey::new(&root.client_to_server(epoch)),
            seal_key: PacketKey::new(&root.server_to_client(epoch)),
            parity: if epoch % 2 == 1 { Flags::REKEY } else { Flags::default() },
        }
    }

    fn ping(&mut self) -> Vec<u8> {
        self.server.control(ControlMessage::Ping { nonce: 9 })
    }

    fn pass_ms(&mut self, ms: u64) {
        self.now = self.now.plus(Nanos::from_ms(ms));
    }
}

#[test]
fn the_client_turns_with_the_first_packet_under_the_new_key_again_and_again() {
    let mut pair = Pair::in_world();
    for epoch in 1..=6 {
        let mut old = pair.negotiated(epoch);
        assert_eq!(pair.client.key_epoch(), epoch - 1, "it goes on under the old key");
        let before = pair.ping();
        assert_eq!(pair.deliver(&before), Ok(Event::Nothing));
        assert!(matches!(pair.says()[..], [ControlMessage::Pong { .. }]));
        pair.swap(&mut old);
        let turning = pair.ping();
        assert_eq!(pair.deliver(&turning), Ok(Event::Nothing));
        assert_eq!(pair.client.key_epoch(), epoch);
        // `says` opens with the new key, and requires its parity.
        let out = transmit(&mut pair.client, pair.now).expect("the Pong");
        let flags = Header::read(&out).expect("a header").flags;
        assert_eq!(flags.and(Flags::REKEY), pair.server.parity);
        assert!(matches!(pair.server.open(&out).control(), ControlMessage::Pong { .. }));
        pair.pass_ms(REKEY_INTERVAL_MS);
        assert_eq!(pair.says(), [], "nothing is repeated any more");
        assert_eq!(pair.deliver(&turning), Err(ClientError::Replay), "one window for all epochs");
        pair.pass_ms(4_000);
    }
    assert_eq!(pair.client.statistics().errors_total(), 6);
}

#[test]
fn the_answer_is_repeated_in_new_packets_with_one_part_until_the_client_has_turned() {
    let mut pair = Pair::in_world();
    let mut next = pair.negotiated(1);
    let part = RekeyPart { epoch: 1, public: dh::public_of(&CLIENT_SECRET) };
    for _ in 0..5 {
        pair.pass_ms(REKEY_INTERVAL_MS - 1);
        assert_eq!(pair.says(), []);
        pair.pass_ms(1);
        assert_eq!(pair.client.next_timeout().map(|at| at <= pair.now), Some(true));
        assert_eq!(pair.says(), [ControlMessage::RekeyResponse(part)]);
        // A repeated request changes nothing, nor does another secret.
        let request = pair.request(1);
        assert_eq!(pair.deliver(&request), Ok(Event::Nothing));
        pair.client.answer_rekey([0x99; 32], pair.now);
    }
    pair.swap(&mut next);
    let turning = pair.ping();
    assert_eq!(pair.deliver(&turning), Ok(Event::Nothing));
    assert_eq!(pair.client.key_epoch(), 1);
}

#[test]
fn a_request_that_nobody_answered_is_an_event_each_time_it_comes() {
    let mut pair = Pair::in_world();
    for _ in 0..3 {
        let request = pair.request(1);
        assert_eq!(pair.deliver(&request), Ok(Event::RekeyRequested));
        assert_eq!(pair.says(), []);
    }
    // Together with something else that the caller must hear of, it waits for its repetition.
    let mut text = [0; 64];
    let mut writer = Writer::new(&mut text);
    let connection = ConnectionId::from_parts(2, 1, 1);
    let public = dh::public_of(&SERVER_SECRET);
    ControlMessage::Moved { connection }.write(&mut writer);
    ControlMessage::RekeyRequest(RekeyPart { epoch: 1, public }).write(&mut writer);
    let length = writer.finish().expect("room");
    let both = pair.server.seal(Channel::Control, None, &text[..length]);
    assert_eq!(pair.deliver(&both), Ok(Event::Moved(connection)));
    assert!(pair.client.is_rekey_requested());
}

#[test]
fn late_packets_open_under_the_former_key_for_three_seconds_and_turn_nothing_back() {
    let mut pair = Pair::in_world();
    let mut next = pair.negotiated(1);
    let late = [pair.ping(), pair.ping(), pair.request(1)];
    pair.swap(&mut next);
    let turning = pair.ping();
    pair.deliver(&turning).expect("it turns");
    let first = pair.server.sequence;
    pair.says();
    assert_eq!(pair.deliver(&late[0]), Ok(Event::Nothing));
    assert_eq!(pair.deliver(&late[2]), Ok(Event::Nothing), "a late request is no fault");
    assert_eq!((pair.client.key_epoch(), pair.client.is_rekey_requested()), (1, false));
    assert!(matches!(pair.says()[..], [ControlMessage::Pong { .. }]), "under the new key");
    // The former key names sequences from before the turn only.
    pair.swap(&mut next);
    assert_eq!(pair.server.sequence, first);
    let after = pair.ping();
    assert_eq!(pair.deliver(&after), Err(ClientError::Epoch));
    pair.pass_ms(REKEY_HOLD_MS);
    assert_eq!(pair.deliver(&late[1]), Err(ClientError::Epoch));
    assert_eq!(pair.client.key_epoch(), 1);
}

#[test]
fn packets_of_the_epoch_before_last_and_garbage_turn_nothing() {
    let mut pair = Pair::in_world();
    let stale: Vec<_> = (0..4).map(|_| pair.ping()).collect();
    let mut ages = stale.iter();
    for epoch in 1..=3u16 {
        let mut garbage = pair.ping();
        garbage[5] ^= Flags::REKEY.0;
        assert_eq!(pair.deliver(&garbage), Err(ClientError::Epoch), "nothing is negotiated");
        let mut next = pair.negotiated(epoch);
        let mut garbage = pair.ping();
        garbage[5] ^= Flags::REKEY.0;
        assert_eq!(pair.deliver(&garbage), Err(ClientError::Open), "not the next key");
        if epoch == 2 {
            // Of epoch 0, with the parity of epoch 2.
            let stale = ages.next().expect("one of four");
            assert_eq!(pair.deliver(stale), Err(ClientError::Open));
        }
        assert_eq!(pair.client.key_epoch(), epoch - 1);
        pair.swap(&mut next);
        let turning = pair.ping();
        pair.deliver(&turning).expect("it turns");
        assert_eq!(pair.client.key_epoch(), epoch);
        pair.says();
        pair.pass_ms(REKEY_HOLD_MS + 1_000);
    }
}

#[test]
fn a_request_for_another_epoch_than_the_next_is_refused() {
    let mut pair = Pair::in_world();
    for epoch in [0, 2, 100, u16::MAX] {
        let request = pair.request(epoch);
        assert_eq!(pair.deliver(&request), Err(ClientError::Unexpected), "{epoch}");
    }
    let response = RekeyPart { epoch: 1, public: [1; 32] };
    let response = pair.server.control(ControlMessage::RekeyResponse(response));
    assert_eq!(pair.deliver(&response), Err(ClientError::Unexpected));
    assert!(!pair.client.is_rekey_requested());
}

#[test]
fn a_part_of_small_order_gets_no_answer() {
    let mut pair = Pair::in_world();
    let part = RekeyPart { epoch: 1, public: [0; 32] };
    let request = pair.server.control(ControlMessage::RekeyRequest(part));
    assert_eq!(pair.deliver(&request), Ok(Event::RekeyRequested));
    pair.client.answer_rekey(CLIENT_SECRET, pair.now);
    assert_eq!(pair.says(), []);
    let ping = pair.ping();
    assert_eq!(pair.deliver(&ping), Ok(Event::Nothing), "the session goes on under the old key");
}

#[test]
fn a_client_whose_server_never_asks_leaves_after_two_hours() {
    let mut pair = Pair::in_world();
    for _ in 0..KEY_AGE_MAX_MS / 10_000 - 1 {
        pair.pass_ms(10_000);
        let ping = pair.ping();
        assert_eq!(pair.deliver(&ping), Ok(Event::Nothing));
        assert!(matches!(pair.says()[..], [ControlMessage::Pong { .. }]));
    }
    pair.pass_ms(10_000);
    let reason = DisconnectReason::Exhausted;
    for _ in 0..3 {
        assert_eq!(pair.says(), [ControlMessage::Disconnect { reason, retry_s: 0 }]);
        pair.pass_ms(50);
    }
    assert_eq!(pair.says(), []);
    assert_eq!(pair.client.state(), State::Closed(CloseReason::WornOut));
}
