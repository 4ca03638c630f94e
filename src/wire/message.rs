//! Messages: what a sealed packet carries behind its acknowledgment block.
//!
//! Owns: their framing (length, type, id), the type numbers, and the table of which type may come
//! from whom, on which channel, at which stage. Never interprets a body. Called by `connection`,
//! `replicate`, `client`.
//!
//! ```text
//!  | length u16 | type u8 | message id u16, channels 1 and 2 only | body |
//!               '------------------- length counts this ------------------'
//! ```

use super::cursor::{ReadError, Reader, Writer};
use super::header::Channel;

/// Type numbers of the messages that serve the connection itself (channel Control).
pub mod control {
    /// Asks for a Pong.
    pub const PING: u8 = 4;
    /// Answers a Ping.
    pub const PONG: u8 = 5;
    /// Ends the session.
    pub const DISCONNECT: u8 = 6;
    /// Carries nothing; a packet may hold an acknowledgment block and no message at all.
    pub const ACK: u8 = 7;
    /// Opens the reliable channels.
    pub const RELIABLE_HANDSHAKE: u8 = 9;
    /// Proves that the client holds the keys.
    pub const CRYPTO_TEST: u8 = 10;
    /// Proves that the server holds the keys.
    pub const CRYPTO_TEST_ACK: u8 = 11;
    /// Whether a client knows the keys of its build.
    pub const CHECK_INTEGRITY: u8 = 12;
    /// Asks for new keys.
    pub const REKEY_REQUEST: u8 = 13;
    /// Agrees to new keys.
    pub const REKEY_RESPONSE: u8 = 14;
    /// With which the client may come back.
    pub const RESUME_TICKET: u8 = 15;
    /// Gives the session another connection id.
    pub const MOVED: u8 = 16;
}

/// Type numbers of game messages, client to server.
pub mod to_server {
    /// Input frames.
    pub const SYNC_ENTITY: u8 = 0;
    /// Input frames of three bytes.
    pub const SYNC_ENTITY_QUANTIZED: u8 = 1;
    /// Asks for an entity in the world.
    pub const ENTER_TO_WORLD: u8 = 3;
    /// Bytes that only the game understands.
    pub const GAME_DATA: u8 = 24;
    /// Asks for as many bytes back.
    pub const BENCHMARK: u8 = 17;
}

/// Type numbers of game messages, server to client.
pub mod to_client {
    /// Answers a Benchmark.
    pub const BENCHMARK: u8 = 0;
    /// The description of an entity in sight.
    pub const CREATE_ENTITY: u8 = 1;
    /// The player's own entity, outside a snapshot.
    pub const UPDATE_ENTITY: u8 = 2;
    /// The description of an entity can be forgotten.
    pub const REMOVE_ENTITY: u8 = 3;
    /// Another entity, outside a snapshot.
    pub const UPDATE_ENTITY_QUANTIZED: u8 = 4;
    /// A snapshot.
    pub const DELTA_SYNC: u8 = 6;
    /// Bytes that only the game understands.
    pub const GAME_DATA: u8 = 24;
}

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// A client sends, the server checks.
    ToServer,
    /// The server sends, a client checks.
    ToClient,
}

/// How far a session has come, in the eyes of the receiver of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// The handshake is done; the other side has not proved its keys.
    Unconfirmed,
    /// Both sides hold the same keys.
    Confirmed,
    /// The player has an entity in the world.
    Entered,
}

impl Stage {
    const COUNT: usize = 3;
}

struct Rule {
    direction: Direction,
    channel: Channel,
    kind: u8,
    /// The stages from this one on.
    from: Stage,
}

const fn rule(direction: Direction, channel: Channel, kind: u8, from: Stage) -> Rule {
    Rule { direction, channel, kind, from }
}

/// Everything that may be said. What is not in this table is a violation.
const ALLOWED: [Rule; 32] = {
    use Channel::{Control, ReliableOrdered, ReliableUnordered, Unreliable};
    use Direction::{ToClient, ToServer};
    use Stage::{Confirmed, Unconfirmed};
    [
        rule(ToServer, Control, control::CRYPTO_TEST, Unconfirmed),
        rule(ToServer, Control, control::DISCONNECT, Unconfirmed),
        rule(ToServer, Control, control::PING, Confirmed),
        rule(ToServer, Control, control::PONG, Confirmed),
        rule(ToServer, Control, control::ACK, Confirmed),
        rule(ToServer, Control, control::CHECK_INTEGRITY, Confirmed),
        rule(ToServer, Control, control::RELIABLE_HANDSHAKE, Confirmed),
        rule(ToServer, ReliableOrdered, to_server::GAME_DATA, Confirmed),
        rule(ToServer, ReliableUnordered, to_server::GAME_DATA, Confirmed),
        rule(ToServer, Control, control::REKEY_RESPONSE, Confirmed),
        rule(ToServer, Unreliable, to_server::ENTER_TO_WORLD, Confirmed),
        // Frames that overtake the packet with EnterToWorld are no fault; they move nobody.
        rule(ToServer, Unreliable, to_server::SYNC_ENTITY, Confirmed),
        rule(ToServer, Unreliable, to_server::SYNC_ENTITY_QUANTIZED, Confirmed),
        rule(ToServer, Unreliable, to_server::BENCHMARK, Confirmed),
        rule(ToClient, Control, control::CRYPTO_TEST_ACK, Unconfirmed),
        rule(ToClient, Control, control::DISCONNECT, Unconfirmed),
        rule(ToClient, Control, control::PING, Unconfirmed),
        rule(ToClient, Control, control::PONG, Unconfirmed),
        rule(ToClient, Control, control::ACK, Unconfirmed),
        rule(ToClient, Control, control::CHECK_INTEGRITY, Confirmed),
        // It may overtake the CryptoTestAck.
        rule(ToClient, Control, control::RESUME_TICKET, Unconfirmed),
        rule(ToClient, Control, control::REKEY_REQUEST, Confirmed),
        // A server moves players in the world only. The client may not have seen itself there yet.
        rule(ToClient, Control, control::MOVED, Confirmed),
        rule(ToClient, Unreliable, to_client::DELTA_SYNC, Confirmed),
        rule(ToClient, Control, control::RELIABLE_HANDSHAKE, Unconfirmed),
        rule(ToClient, ReliableOrdered, to_client::CREATE_ENTITY, Confirmed),
        rule(ToClient, ReliableOrdered, to_client::REMOVE_ENTITY, Confirmed),
        rule(ToClient, ReliableOrdered, to_client::GAME_DATA, Confirmed),
        rule(ToClient, ReliableUnordered, to_client::GAME_DATA, Confirmed),
        rule(ToClient, Unreliable, to_client::UPDATE_ENTITY, Confirmed),
        rule(ToClient, Unreliable, to_client::UPDATE_ENTITY_QUANTIZED, Confirmed),
        rule(ToClient, Unreliable, to_client::BENCHMARK, Confirmed),
    ]
};

/// The table as bits: [direction][channel][stage], bit = type.
const MASKS: [[[u32; Stage::COUNT]; Channel::COUNT]; 2] = {
    let mut masks = [[[0; Stage::COUNT]; Channel::COUNT]; 2];
    let mut index = 0;
    while index < ALLOWED.len() {
        let rule = &ALLOWED[index];
        let mut stage = rule.from as usize;
        while stage < Stage::COUNT {
            masks[rule.direction as usize][rule.channel as usize][stage] |= 1 << rule.kind;
            stage += 1;
        }
        index += 1;
    }
    masks
};

/// Whether a message of type `kind` may arrive. Anything else is a violation of its sender.
#[inline]
pub fn is_allowed(direction: Direction, channel: Channel, stage: Stage, kind: u8) -> bool {
    let mask = MASKS[direction as usize][channel as usize][stage as usize];
    kind < 32 && mask >> kind & 1 == 1
}

/// One message, its body not yet interpreted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// The type number.
    pub kind: u8,
    /// The message id on channels 1 and 2, else 0.
    pub id: u16,
    /// What follows.
    pub body: &'a [u8],
}

/// The messages of a packet, one after the other. After an error there is nothing more.
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    reader: Reader<'a>,
    with_ids: bool,
}

impl<'a> Messages<'a> {
    /// The messages in `bytes`, which is a plaintext without its acknowledgment block.
    pub fn new(bytes: &'a [u8], channel: Channel) -> Self {
        Self { reader: Reader::new(bytes), with_ids: channel.has_message_ids() }
    }

    fn take(&mut self) -> Result<Message<'a>, ReadError> {
        let length = self.reader.u16()?;
        let mut reader = Reader::new(self.reader.slice(usize::from(length))?);
        let kind = reader.u8()?;
        let id = if self.with_ids { reader.u16()? } else { 0 };
        let body = reader.slice(reader.remaining())?;
        Ok(Message { kind, id, body })
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, ReadError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.remaining() == 0 {
            return None;
        }
        let message = self.take();
        if message.is_err() {
            self.reader = Reader::new(&[]);
        }
        Some(message)
    }
}

/// Appends a message without an id; `body` writes its body.
#[inline]
pub fn put_message(writer: &mut Writer<'_>, kind: u8, body: impl FnOnce(&mut Writer<'_>)) {
    let start = writer.position();
    writer.u16(0);
    writer.u8(kind);
    body(writer);
    let length = writer.position() - start;
    // An overflow leaves a shorter text, which `finish` reports; no datagram is near 64 KiB.
    writer.patch_u16(start, length.saturating_sub(2) as u16);
}

/// Bytes in front of the body of a message on channels 1 and 2.
pub const RELIABLE_HEAD_LEN: usize = 5;

/// What stands in front of the body of a message on channels 1 and 2. `None` for a body that is too
/// long for any message.
pub fn reliable_head(kind: u8, id: u16, body_len: usize) -> Option<[u8; RELIABLE_HEAD_LEN]> {
    let [a, b] = u16::try_from(body_len + 3).ok()?.to_le_bytes();
    let [c, d] = id.to_le_bytes();
    Some([a, b, kind, c, d])
}

/// Type, id and body of the one message that `bytes` are, with an id.
pub fn parse_reliable(bytes: &[u8]) -> Option<(u8, u16, &[u8])> {
    let mut messages = Messages { reader: Reader::new(bytes), with_ids: true };
    let Message { kind, id, body } = messages.next()?.ok()?;
    messages.next().is_none().then_some((kind, id, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Vec<u8> {
        let mut out = [0; 64];
        let mut writer = Writer::new(&mut out);
        put_message(&mut writer, 4, |w| w.u64(9));
        put_message(&mut writer, 7, |_| {});
        put_message(&mut writer, 255, |w| w.slice(&[1, 2, 3]));
        let length = writer.finish().expect("64 bytes are enough");
        out[..length].to_vec()
    }

    #[test]
    fn messages_round_trip_and_length_counts_what_follows_it() {
        let bytes = three();
        assert_eq!(bytes[..3], [9, 0, 4]);
        let all: Vec<_> = Messages::new(&bytes, Channel::Control).collect();
        assert_eq!(
            all,
            [
                Ok(Message { kind: 4, id: 0, body: &9u64.to_le_bytes() }),
                Ok(Message { kind: 7, id: 0, body: &[] }),
                Ok(Message { kind: 255, id: 0, body: &[1, 2, 3] }),
            ]
        );
        assert_eq!(Messages::new(&[], Channel::Unreliable).next(), None);
    }

    #[test]
    fn channels_one_and_two_carry_a_message_id() {
        let bytes = [5, 0, 9, 0x34, 0x12, 1, 2];
        for channel in Channel::ALL {
            let message = Messages::new(&bytes, channel).next();
            let expected = match channel {
                Channel::ReliableOrdered | Channel::ReliableUnordered => {
                    Message { kind: 9, id: 0x1234, body: &[1, 2] }
                }
                _ => Message { kind: 9, id: 0, body: &[0x34, 0x12, 1, 2] },
            };
            assert_eq!(message, Some(Ok(expected)), "{channel:?}");
        }
        let short = Messages::new(&[2, 0, 9, 1], Channel::ReliableOrdered).next();
        assert_eq!(short, Some(Err(ReadError::Truncated)));
    }

    #[test]
    fn a_truncated_packet_yields_its_whole_messages_and_then_one_error() {
        let bytes = three();
        let ends = [0, 11, 14, 20];
        assert_eq!(bytes.len(), 20);
        for cut in 0..bytes.len() {
            let all: Vec<_> = Messages::new(&bytes[..cut], Channel::Control).collect();
            let whole = ends.iter().filter(|&&end| end > 0 && end <= cut).count();
            assert_eq!(all.iter().filter(|m| m.is_ok()).count(), whole, "cut at {cut}");
            assert_eq!(all.len() - whole, usize::from(!ends.contains(&cut)), "cut at {cut}");
        }
    }

    #[test]
    fn a_length_of_zero_or_beyond_the_end_stops_the_packet() {
        for bad in [&[0, 0, 1, 0, 7][..], &[0xFF, 0xFF, 4], &[3, 0, 4, 1], &[1], &[1, 0]] {
            let mut messages = Messages::new(bad, Channel::Control);
            assert_eq!(messages.next(), Some(Err(ReadError::Truncated)), "{bad:x?}");
            assert_eq!(messages.next(), None);
        }
    }

    #[test]
    fn a_reliable_message_is_its_head_and_its_body_and_nothing_else() {
        let head = reliable_head(9, 0x1234, 2).expect("two bytes fit");
        let bytes = [&head[..], &[1, 2]].concat();
        assert_eq!(bytes, [5, 0, 9, 0x34, 0x12, 1, 2]);
        assert_eq!(parse_reliable(&bytes), Some((9, 0x1234, &[1, 2][..])));
        let longer = [&bytes[..], &[0]].concat();
        let twice = bytes.repeat(2);
        for bad in [&[][..], &bytes[..6], &bytes[..4], &longer, &twice] {
            assert_eq!(parse_reliable(bad), None, "{bad:x?}");
        }
        assert!(reliable_head(0, 0, 65_532).is_some() && reliable_head(0, 0, 65_533).is_none());
    }

    #[test]
    fn a_message_that_does_not_fit_is_reported_by_the_writer() {
        let mut out = [0; 10];
        let mut writer = Writer::new(&mut out);
        put_message(&mut writer, 4, |w| w.u64(9));
        assert!(writer.finish().is_err());
    }

    #[test]
    fn nothing_is_allowed_that_the_table_does_not_list() {
        let stages = [Stage::Unconfirmed, Stage::Confirmed, Stage::Entered];
        let mut allowed = 0;
        for direction in [Direction::ToServer, Direction::ToClient] {
            for channel in Channel::ALL {
                for stage in stages {
                    for kind in 0..=255 {
                        let listed = ALLOWED.iter().any(|rule| {
                            rule.direction == direction
                                && rule.channel == channel
                                && rule.kind == kind
                                && rule.from <= stage
                        });
                        let answer = is_allowed(direction, channel, stage, kind);
                        assert_eq!(answer, listed, "{direction:?} {channel:?} {stage:?} {kind}");
                        allowed += usize::from(answer);
                    }
                }
            }
        }
        assert_eq!(allowed, 2 * 3 + 10 * 2 + 7 * 3 + 8 * 2 + 5 * 2);
    }
}
