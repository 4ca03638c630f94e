//! What must arrive and does not.

use super::resuming::token;
use super::*;
use crate::client::CloseReason;
use crate::limits::DESCRIPTIONS_MAX;
use crate::reliable::SendError;

impl Pair {
    /// The server acknowledges the newest packet of the client, and says `messages`.
    fn acknowledge(&mut self, largest: u64, messages: &[u8]) {
        let block = AckBlock { largest, bitmap: 0, delay: AckBlock::DELAY_UNKNOWN };
        let datagram = self.server.seal(Channel::Control, Some(block), messages);
        self.deliver(&datagram).unwrap();
    }

    /// Both sides have said hello.
    fn greet(&mut self) {
        let body = b"it must arrive";
        let pushed = self.client.send_game_data(self.now, Channel::ReliableOrdered, body);
        assert_eq!(pushed, Err(SendError::Opening));
        let mut largest = 0;
        while let Some(datagram) = transmit(&mut self.client, self.now) {
            largest = Header::read(&datagram).unwrap().sequence;
        }
        let hello = ControlMessage::ReliableHandshake(ReliableHandshake {
            first_ordered: 0,
            first_unordered: 0,
            max_inflight: 256,
            max_message_kib: 16,
            recv_bytes: 65_536,
        });
        let mut text = [0; 64];
        let mut writer = Writer::new(&mut text);
        hello.write(&mut writer);
        let len = writer.finish().unwrap();
        self.server.parity = Flags::RELIABLE_HANDSHAKE;
        self.acknowledge(largest, &text[..len]);
        self.server.parity = Flags::default();
        let pushed = self.client.send_game_data(self.now, Channel::ReliableOrdered, body);
        assert_eq!(pushed, Ok(0));
    }
}

#[test]
fn who_cannot_deliver_what_must_arrive_says_why_and_may_come_back() {
    let mut pair = Pair::in_world();
    pair.offer(&token(500)).unwrap();
    pair.greet();
    let (mut reasons, start) = (Vec::new(), pair.now);
    while !matches!(pair.client.state(), State::Closed(_)) {
        pair.now = pair.now.plus(Nanos::from_ms(20));
        assert!(pair.now.since(start) < Nanos::from_ms(40_000), "it was never given up");
        let alive = pair.server.seal(Channel::Control, None, &[]);
        pair.deliver(&alive).unwrap();
        while let Some(heard) = pair.heard() {
            if heard.channel == Channel::Control
                && !heard.messages.is_empty()
                && let ControlMessage::Disconnect { reason, .. } = heard.control()
            {
                reasons.push(reason);
            }
        }
    }
    assert_eq!(reasons, [DisconnectReason::TimedOut; 3]);
    assert_eq!(pair.client.state(), State::Closed(CloseReason::TimedOut));
    assert_eq!(pair.client.resume_ticket().map(|it| it.token.expiry_s), Some(500));
}

#[test]
fn a_server_that_describes_without_end_is_heard_up_to_the_limit() {
    let mut pair = Pair::in_world();
    pair.greet();
    for packet in 0..2 * DESCRIPTIONS_MAX as u32 / 64 {
        let mut text = [0; 1_100];
        let mut writer = Writer::new(&mut text);
        for number in packet * 64..(packet + 1) * 64 {
            let head = reliable_head(to_client::CREATE_ENTITY, number as u16, 5).unwrap();
            writer.slice(&head);
            put_create_entity(&mut writer, EntityId((number + 1) << 20), b"A");
        }
        let len = writer.finish().unwrap();
        let datagram = pair.server.seal(Channel::ReliableOrdered, None, &text[..len]);
        let told = pair.deliver(&datagram);
        assert_eq!(told.is_ok(), packet < DESCRIPTIONS_MAX as u32 / 64, "packet {packet}");
    }
    assert_eq!(pair.client.described().count(), DESCRIPTIONS_MAX);
}
