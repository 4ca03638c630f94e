//! What one client may do, and what a breach of it costs: the numbers, without the counting.
//!
//! Owns: their names, their defaults and what the arithmetic over them can bear. The counting is in
//! `caps`, `budgets` and `violations`. Called by `table`, and by whoever builds one; the values
//! come from the settings.

use super::integrity::IntegrityPace;
use crate::limits::{
    ACK_MESSAGES_PER_S, CLIENT_BYTES_PER_S, CLIENT_PACKETS_BURST, CLIENT_PACKETS_PER_S,
    CONTROL_MESSAGES_PER_S, DATAGRAM_MAX, ENTER_MESSAGES_PER_S, INPUT_BUCKET, INPUT_MESSAGES_PER_S,
    PING_MESSAGES_PER_S, VIOLATION_DECAY_PER_S, VIOLATION_FALSE_ACK, VIOLATION_INTEGRITY,
    VIOLATION_INTEGRITY_SHARE, VIOLATION_LIMIT, VIOLATION_MESSAGE, VIOLATION_MESSAGE_RATE,
};
use crate::metrics::DropReason;

/// Everything that a table of sessions holds its clients to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Packets, bytes and inputs.
    pub rates: ClientRates,
    /// Messages of each type.
    pub messages: MessageBudgets,
    /// What breaches cost.
    pub scores: Scores,
    /// When clients are asked for the keys of their build.
    pub integrity: IntegrityPace,
    /// Seconds that a session ended for violations is told to stay away, 0 = not told.
    pub cool_down_s: u16,
}

/// What one client may send: sustained, and at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientRates {
    /// Packets each second.
    pub packets_per_s: u32,
    /// Packets at once, at most [`Self::PACKETS_MAX`].
    pub packets_burst: u32,
    /// Bytes of payload each second, and at once; [`DATAGRAM_MAX`] to [`Self::BYTES_MAX`].
    pub bytes_per_s: u32,
    /// Inputs ahead of one per tick.
    pub inputs_burst: u32,
}

impl ClientRates {
    /// Most packets, per second or at once, that the accounts can hold.
    pub const PACKETS_MAX: u32 = u16::MAX as u32;
    /// Most bytes that they can hold.
    pub const BYTES_MAX: u32 = 1 << 20;

    /// Whether the accounts can hold these rates, and a full packet fits.
    pub(super) fn are_possible(&self) -> bool {
        self.packets_per_s <= Self::PACKETS_MAX
            && (1..=Self::PACKETS_MAX).contains(&self.packets_burst)
            && (DATAGRAM_MAX as u32..=Self::BYTES_MAX).contains(&self.bytes_per_s)
    }
}

impl Default for ClientRates {
    fn default() -> Self {
        Self {
            packets_per_s: CLIENT_PACKETS_PER_S,
            packets_burst: CLIENT_PACKETS_BURST,
            bytes_per_s: CLIENT_BYTES_PER_S,
            inputs_burst: INPUT_BUCKET,
        }
    }
}

/// Messages of one type that one client may send within a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageBudgets {
    /// Messages Ping, and as many Pong.
    pub pings: u16,
    /// Messages Ack. Acknowledgment blocks have no budget of their own: a packet has one at most.
    pub acks: u16,
    /// Messages EnterToWorld, and as many CryptoTest.
    pub enters: u16,
    /// Messages with inputs beyond the first of each packet.
    pub inputs: u16,
    /// Everything else of the channel Control.
    pub others: u16,
}

impl Default for MessageBudgets {
    fn default() -> Self {
        Self {
            pings: PING_MESSAGES_PER_S,
            acks: ACK_MESSAGES_PER_S,
            enters: ENTER_MESSAGES_PER_S,
            inputs: INPUT_MESSAGES_PER_S,
            others: CONTROL_MESSAGES_PER_S,
        }
    }
}

/// What a violation adds to the score of its session, and what becomes of the score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scores {
    /// A session whose score reaches this is ended.
    pub limit: u32,
    /// What the score loses each second.
    pub decay_per_s: u32,
    /// A message that does not parse, is out of range or not allowed where it stands.
    pub message: u32,
    /// An acknowledgment of a packet that was never sent.
    pub false_ack: u32,
    /// A message beyond the budget of its type.
    pub message_rate: u32,
    /// An integrity check answered wrongly or not at all.
    pub integrity: u32,
    /// Most of the score that integrity checks may be; less than the limit.
    pub integrity_share: u32,
}

impl Default for Scores {
    fn default() -> Self {
        Self {
            limit: VIOLATION_LIMIT,
            decay_per_s: VIOLATION_DECAY_PER_S,
            message: VIOLATION_MESSAGE,
            false_ack: VIOLATION_FALSE_ACK,
            message_rate: VIOLATION_MESSAGE_RATE,
            integrity: VIOLATION_INTEGRITY,
            integrity_share: VIOLATION_INTEGRITY_SHARE,
        }
    }
}

impl Scores {
    /// What a packet costs of which a part was dropped for `reason`.
    pub(super) fn of(&self, reason: DropReason) -> u32 {
        match reason {
            DropReason::FalseAck => self.false_ack,
            DropReason::MessageRate => self.message_rate,
            DropReason::Integrity => self.integrity,
            _ => self.message,
        }
    }
}
