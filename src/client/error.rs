//! Why a client did not use a datagram, a reason for each counter.

use crate::wire::snapshot::SnapshotError;
use crate::wire::{HandshakeError, ReadError};

macro_rules! client_errors {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// Why a client did not use a datagram. Nothing of the datagram was applied or
        /// acknowledged.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum ClientError { $($(#[$doc])* $variant,)* }

        impl ClientError {
            /// All reasons in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word used in reports.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

client_errors! {
    /// Fewer than 30 or more than 1,200 bytes.
    Size = "size",
    /// A header whose fields contradict each other.
    Header = "header",
    /// A handshake packet of the wrong size, type or version, or with a reserved byte set.
    Handshake = "handshake",
    /// A CRC32C that does not match.
    Crc = "crc",
    /// An answer to another attempt, or one that nobody waits for.
    Attempt = "attempt",
    /// A second Noise message that does not authenticate, or whose content does not fit.
    Noise = "noise",
    /// A sealed packet of another session, or before there is one.
    Connection = "connection",
    /// A sequence seen before or too old for the window.
    Replay = "replay",
    /// A packet under a key epoch that nobody agreed on.
    Epoch = "epoch",
    /// A packet that does not authenticate.
    Open = "open",
    /// Framing or a message body that does not parse.
    Message = "message",
    /// A message that is not allowed here: wrong channel, direction or stage.
    Unexpected = "unexpected",
    /// An acknowledgment of a packet that was never sent.
    FalseAck = "false_ack",
    /// A snapshot that ends too early, has bytes left over or a badly formed integer.
    SnapshotSyntax = "snapshot_syntax",
    /// A snapshot with a reserved bit or byte set.
    SnapshotReserved = "snapshot_reserved",
    /// A snapshot with a number out of its range, or a place outside the map.
    SnapshotRange = "snapshot_range",
    /// An entry that relies on an age the head does not give, or changes nothing.
    SnapshotForm = "snapshot_form",
    /// Two entries for one slot.
    SlotTwice = "slot_twice",
    /// A delta for a slot that holds nothing.
    EmptySlot = "empty_slot",
    /// A delta against a tick of which this client has no state for that slot.
    NoBaseline = "no_baseline",
}

impl ClientError {
    /// Whether the packet was authentic: the server itself broke the rules, or there is a bug here.
    pub const fn is_after_open(self) -> bool {
        self as u8 >= Self::Message as u8
    }
}

impl From<ReadError> for ClientError {
    fn from(_: ReadError) -> Self {
        Self::Message
    }
}

impl From<SnapshotError> for ClientError {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::Read(ReadError::Value) | SnapshotError::Range => Self::SnapshotRange,
            SnapshotError::Read(_) => Self::SnapshotSyntax,
            SnapshotError::Reserved => Self::SnapshotReserved,
            SnapshotError::Form => Self::SnapshotForm,
        }
    }
}

impl From<HandshakeError> for ClientError {
    fn from(error: HandshakeError) -> Self {
        match error {
            HandshakeError::Crc => Self::Crc,
            HandshakeError::Header(_) => Self::Header,
            HandshakeError::Size
            | HandshakeError::Kind
            | HandshakeError::Version
            | HandshakeError::Reserved => Self::Handshake,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_reason_has_its_own_name_and_number() {
        let names: HashSet<_> = ClientError::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), ClientError::ALL.len());
        assert!(ClientError::ALL.iter().enumerate().all(|(i, &reason)| reason as usize == i));
    }
}
