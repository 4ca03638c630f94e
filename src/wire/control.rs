//! Bodies of the messages that serve the connection itself.
//!
//! Owns: their layouts and the reasons to disconnect. Never answers a message. Called by
//! `connection` and `client`.

use super::cursor::{ReadError, Reader, Writer};
use super::denial::Denial;
use super::header::ConnectionId;
use super::message::{Message, control, put_message};

/// Bytes of a key confirmation.
pub const CRYPTO_TEST_LEN: usize = 16;

/// Bytes of the nonce of an integrity check, and of its answer.
pub const INTEGRITY_LEN: usize = 16;

/// Which half of an integrity check a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum IntegrityRole {
    /// The server asks; the bytes are a nonce.
    Question,
    /// The client answers; the bytes are a MAC.
    Answer,
}

impl IntegrityRole {
    fn from_wire(number: u8) -> Option<Self> {
        [Self::Question, Self::Answer].get(usize::from(number)).copied()
    }
}

/// Why a session ends. 1..=5 mean what the same numbers mean in `Status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum DisconnectReason {
    /// The sender leaves on its own account.
    Left,
    /// No room for the player in the world.
    Full,
    /// The account may not play any longer.
    Banned,
    /// The client's build does not fit this server any longer.
    Build,
    /// A newer session of the same player took over.
    Replaced,
    /// The server stops or takes no players now.
    Maintenance,
    /// Nothing was received for 15 s.
    TimedOut,
    /// The other side broke the protocol too often.
    Violation,
    /// A sequence or key has served as long as it may.
    Exhausted,
    /// The part of the server that the player was on failed; the player may join again at once.
    ShardLost,
}

impl DisconnectReason {
    /// All of them in the order of their wire numbers.
    pub const ALL: [Self; 10] = [
        Self::Left,
        Self::Full,
        Self::Banned,
        Self::Build,
        Self::Replaced,
        Self::Maintenance,
        Self::TimedOut,
        Self::Violation,
        Self::Exhausted,
        Self::ShardLost,
    ];

    /// The reason with this wire number.
    pub fn from_wire(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// The word used in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Full => "full",
            Self::Banned => "banned",
            Self::Build => "build",
            Self::Replaced => "replaced",
            Self::Maintenance => "maintenance",
            Self::TimedOut => "timed_out",
            Self::Violation => "violation",
            Self::Exhausted => "exhausted",
            Self::ShardLost => "shard_lost",
        }
    }

    /// A sentence for the player.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Left => "Goodbye.",
            Self::Full => Denial::Full.text(),
            Self::Banned => Denial::Banned.text(),
            Self::Build => Denial::Build.text(),
            Self::Replaced => Denial::Replaced.text(),
            Self::Maintenance => Denial::Maintenance.text(),
            Self::TimedOut => "The connection was lost.",
            Self::Violation => "The game sent what the server does not accept.",
            Self::Exhausted => "The connection has served as long as it may; connect again.",
            Self::ShardLost => "The part of the server that you were on failed; connect again.",
        }
    }

    /// Whether the player may want to come back with a resume ticket: nobody said goodbye, and
    /// nobody was thrown out.
    pub const fn may_resume(self) -> bool {
        match self {
            Self::Full | Self::Maintenance | Self::TimedOut | Self::Exhausted | Self::ShardLost => {
                true
            }
            Self::Left | Self::Banned | Self::Build | Self::Replaced | Self::Violation => false,
        }
    }

    /// What a server tells clients to wait before they come back, seconds; 0 = not at all.
    pub const fn retry_s(self) -> u16 {
        match self {
            Self::Maintenance => 30,
            Self::Full => 5,
            Self::Left
            | Self::Banned
            | Self::Build
            | Self::Replaced
            | Self::TimedOut
            | Self::Violation
            | Self::Exhausted
            | Self::ShardLost => 0,
        }
    }
}

/// The body of a ReliableHandshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReliableHandshake {
    /// Id of the first message that the sender will send on channel 1.
    pub first_ordered: u16,
    /// The same for channel 2.
    pub first_unordered: u16,
    /// Messages that it lets the other have on their way.
    pub max_inflight: u16,
    /// Longest message that it takes, in units of 1,024 bytes.
    pub max_message_kib: u16,
    /// Bytes that it lets the other have on their way.
    pub recv_bytes: u32,
}

impl ReliableHandshake {
    fn read(reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        let value = Self {
            first_ordered: reader.u16()?,
            first_unordered: reader.u16()?,
            max_inflight: reader.u16()?,
            max_message_kib: reader.u16()?,
            recv_bytes: reader.u32()?,
        };
        reader.zeros(4)?;
        Ok(value)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.u16(self.first_ordered);
        writer.u16(self.first_unordered);
        writer.u16(self.max_inflight);
        writer.u16(self.max_message_kib);
        writer.u32(self.recv_bytes);
        writer.zeros(4);
    }
}

/// One side's part in a rekey.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RekeyPart {
    /// The epoch to come.
    pub epoch: u16,
    /// The sender's fresh X25519 public key.
    pub public: [u8; 32],
}

impl RekeyPart {
    fn read(reader: &mut Reader<'_>) -> Result<Self, ReadError> {
        Ok(Self { epoch: reader.u16()?, public: reader.array()? })
    }
}

/// A message of channel Control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlMessage {
    /// Asks for a Pong with the same nonce.
    Ping {
        /// Chosen by the sender.
        nonce: u64,
    },
    /// Answers a Ping.
    Pong {
        /// The nonce of the Ping.
        nonce: u64,
        /// Microseconds on the clock of the one who answers; for information only.
        clock_us: u64,
    },
    /// Ends the session.
    Disconnect {
        /// Why.
        reason: DisconnectReason,
        /// Seconds after which a new attempt may succeed; 0 = at once.
        retry_s: u16,
    },
    /// Nothing: the packet exists for its acknowledgment block.
    Ack,
    /// Asks for the same bytes back.
    CryptoTest([u8; CRYPTO_TEST_LEN]),
    /// The bytes of a `CryptoTest`.
    CryptoTestAck([u8; CRYPTO_TEST_LEN]),
    /// Whether a client knows the keys of its build.
    CheckIntegrity {
        /// Which key.
        index: u16,
        /// Question or answer.
        role: IntegrityRole,
        /// A nonce or a MAC.
        bytes: [u8; INTEGRITY_LEN],
    },
    /// What the sender takes on channels 1 and 2, and with which ids it will begin there.
    ReliableHandshake(ReliableHandshake),
    /// Asks for new keys.
    RekeyRequest(RekeyPart),
    /// Agrees to new keys.
    RekeyResponse(RekeyPart),
    /// From now on the session has another id, and nothing else of it changes.
    Moved {
        /// The new id. It never names the socket of the gate.
        connection: ConnectionId,
    },
}

impl ControlMessage {
    /// Reads the body of `message`.
    ///
    /// # Errors
    /// `Truncated`, `Trailing`; `Value` for a reserved byte, an unknown reason or type, or a
    /// session that is moved to the gate.
    pub fn read(message: &Message<'_>) -> Result<Self, ReadError> {
        let mut reader = Reader::new(message.body);
        let value = match message.kind {
            control::PING => Self::Ping { nonce: reader.u64()? },
            control::PONG => Self::Pong { nonce: reader.u64()?, clock_us: reader.u64()? },
            control::DISCONNECT => {
                let reason = DisconnectReason::from_wire(reader.u8()?).ok_or(ReadError::Value)?;
                reader.zeros(1)?;
                Self::Disconnect { reason, retry_s: reader.u16()? }
            }
            control::ACK => Self::Ack,
            control::CRYPTO_TEST => Self::CryptoTest(reader.array()?),
            control::CRYPTO_TEST_ACK => Self::CryptoTestAck(reader.array()?),
            control::CHECK_INTEGRITY => {
                let index = reader.u16()?;
                let role = IntegrityRole::from_wire(reader.u8()?).ok_or(ReadError::Value)?;
                reader.zeros(1)?;
                Self::CheckIntegrity { index, role, bytes: reader.array()? }
            }
            control::RELIABLE_HANDSHAKE => {
                Self::ReliableHandshake(ReliableHandshake::read(&mut reader)?)
            }
            control::REKEY_REQUEST => Self::RekeyRequest(RekeyPart::read(&mut reader)?),
            control::REKEY_RESPONSE => Self::RekeyResponse(RekeyPart::read(&mut reader)?),
            control::MOVED => {
                let connection = ConnectionId(reader.u32()?);
                if connection.socket() == 0 {
                    return Err(ReadError::Value);
                }
                Self::Moved { connection }
            }
            _ => return Err(ReadError::Value),
        };
        reader.finish().map(|()| value)
    }

    /// Appends the message, length and type included.
    pub fn write(&self, writer: &mut Writer<'_>) {
        put_message(writer, self.kind(), |writer| match *self {
            Self::Ping { nonce } => writer.u64(nonce),
            Self::Pong { nonce, clock_us } => {
                writer.u64(nonce);
                writer.u64(clock_us);
            }
            Self::Disconnect { reason, retry_s } => {
                writer.u8(reason as u8);
                writer.zeros(1);
                writer.u16(retry_s);
            }
            Self::Ack => {}
            Self::CryptoTest(bytes) | Self::CryptoTestAck(bytes) => writer.array(bytes),
            Self::CheckIntegrity { index, role, bytes } => {
                writer.u16(index);
                writer.u8(role as u8);
                writer.zeros(1);
                writer.array(bytes);
            }
            Self::ReliableHandshake(hello) => hello.write(writer),
            Self::RekeyRequest(part) | Self::RekeyResponse(part) => {
                writer.u16(part.epoch);
                writer.array(part.public);
            }
            Self::Moved { connection } => writer.u32(connection.0),
        });
    }

    /// The type number.
    pub fn kind(&self) -> u8 {
        match self {
            Self::Ping { .. } => control::PING,
            Self::Pong { .. } => control::PONG,
            Self::Disconnect { .. } => control::DISCONNECT,
            Self::Ack => control::ACK,
            Self::CryptoTest(_) => control::CRYPTO_TEST,
            Self::CryptoTestAck(_) => control::CRYPTO_TEST_ACK,
            Self::CheckIntegrity { .. } => control::CHECK_INTEGRITY,
            Self::ReliableHandshake(_) => control::RELIABLE_HANDSHAKE,
            Self::RekeyRequest(_) => control::REKEY_REQUEST,
            Self::RekeyResponse(_) => control::REKEY_RESPONSE,
            Self::Moved { .. } => control::MOVED,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Channel, Messages};
    use super::*;

    fn all() -> Vec<ControlMessage> {
        let mut all = vec![
            ControlMessage::Ping { nonce: u64::MAX - 1 },
            ControlMessage::Pong { nonce: 1, clock_us: 2 },
            ControlMessage::Ack,
            ControlMessage::CryptoTest(std::array::from_fn(|i| i as u8)),
            ControlMessage::CryptoTestAck([0xAA; CRYPTO_TEST_LEN]),
            ControlMessage::RekeyRequest(RekeyPart { epoch: 0x0102, public: [7; 32] }),
            ControlMessage::RekeyResponse(RekeyPart {
                epoch: u16::MAX,
                public: std::array::from_fn(|i| i as u8),
            }),
            ControlMessage::Moved { connection: ConnectionId(0x00ab_c103) },
            ControlMessage::Moved { connection: ConnectionId(0xFFFF_FFFF) },
            ControlMessage::ReliableHandshake(ReliableHandshake {
                first_ordered: 0x0102,
                first_unordered: 0x0304,
                max_inflight: 256,
                max_message_kib: 16,
                recv_bytes: 0x0001_0000,
            }),
        ];
        for (index, role) in [(0x0201, IntegrityRole::Question), (9, IntegrityRole::Answer)] {
            all.push(ControlMessage::CheckIntegrity { index, role, bytes: [0xA5; 16] });
        }
        let reasons = DisconnectReason::ALL.into_iter();
        all.extend(reasons.map(|reason| ControlMessage::Disconnect { reason, retry_s: 77 }));
        all
    }

    fn bytes(message: ControlMessage) -> Vec<u8> {
        let mut out = [0; 64];
        let mut writer = Writer::new(&mut out);
        message.write(&mut writer);
        let length = writer.finish().expect("64 bytes are enough");
        out[..length].to_vec()
    }

    #[test]
    fn every_control_message_round_trips() {
        for message in all() {
            let bytes = bytes(message);
            let mut messages = Messages::new(&bytes, Channel::Control);
            let read = messages.next().expect("one message").expect("well framed");
            assert_eq!(read.kind, message.kind());
            assert_eq!(ControlMessage::read(&read), Ok(message));
            assert!(messages.next().is_none());
        }
    }

    #[test]
    fn truncated_and_extended_bodies_are_errors_at_every_length() {
        for message in all() {
            let bytes = bytes(message);
            let body = &bytes[3..];
            for cut in 0..body.len() {
                let short = Message { kind: message.kind(), id: 0, body: &body[..cut] };
                assert_eq!(ControlMessage::read(&short), Err(ReadError::Truncated), "{message:?}");
            }
            let long = [body, &[0]].concat();
            let long = Message { kind: message.kind(), id: 0, body: &long };
            assert_eq!(ControlMessage::read(&long), Err(ReadError::Trailing), "{message:?}");
        }
    }

    #[test]
    fn unknown_reasons_types_and_reserved_bytes_are_errors() {
        for (kind, body) in [
            (control::DISCONNECT, &[10, 0, 0, 0][..]),
            (control::DISCONNECT, &[0, 1, 0, 0]),
            (control::MOVED, &[0, 0xC1, 0xAB, 0]),
            (control::MOVED, &[0, 0, 0, 0]),
            (control::CHECK_INTEGRITY, &[0, 0, 2, 0]),
            (control::CHECK_INTEGRITY, &[0, 0, 1, 1]),
            (0, &[]),
            (255, &[]),
        ] {
            let read = ControlMessage::read(&Message { kind, id: 0, body });
            assert_eq!(read, Err(ReadError::Value), "{kind}");
        }
        for (number, reason) in DisconnectReason::ALL.into_iter().enumerate() {
            assert_eq!(DisconnectReason::from_wire(number as u8), Some(reason));
        }
    }

    #[test]
    fn moved_is_the_new_id_in_four_bytes() {
        let moved = ControlMessage::Moved { connection: ConnectionId(0x00ab_c103) };
        assert_eq!(bytes(moved), [5, 0, 16, 0x03, 0xC1, 0xAB, 0x00]);
    }
}
