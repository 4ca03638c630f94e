//! No (key, nonce) twice.
//!
//! A nonce is connection id and sequence, and sequences are never reset, not by a rekey and not by
//! a hand-over. So within one session, as the gate opened it, no two different datagrams have the
//! same id and sequence, whatever key they are under. The same bytes twice are no harm: farewells.

use super::{Verdict, fingerprint};
use crate::wire::{ConnectionId, Header};
use std::collections::BTreeMap;

const CHECK: &str = "no (key, nonce) twice";

/// The sealed packets of one direction: id, which of the successive sessions under it, sequence.
#[derive(Debug, Default)]
pub(crate) struct Nonces {
    /// How many sessions were opened under an id so far.
    sessions: BTreeMap<ConnectionId, u32>,
    seen: BTreeMap<(ConnectionId, u32, u64), u64>,
    /// Sealed packets looked at.
    pub(crate) looked: u64,
}

impl Nonces {
    /// A session begins under `id`, or comes to it from another one: whatever comes from now on is
    /// under another key than what came before.
    pub(crate) fn begin(&mut self, id: ConnectionId) {
        *self.sessions.entry(id).or_default() += 1;
    }

    /// A datagram leaves.
    pub(crate) fn sent(&mut self, datagram: &[u8]) -> Verdict {
        let Ok(header) = Header::read(datagram) else {
            return Err((CHECK, format!("sent what is no packet: {} bytes", datagram.len())));
        };
        if header.connection == ConnectionId::GATE {
            return Ok(());
        }
        self.looked += 1;
        let (id, sequence) = (header.connection, header.sequence);
        let session = self.sessions.get(&id).copied().unwrap_or_default();
        let print = fingerprint(datagram);
        let known = *self.seen.entry((id, session, sequence)).or_insert(print);
        if known == print {
            return Ok(());
        }
        Err((CHECK, format!("{id:?} sealed two packets under sequence {sequence}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Channel, Flags, Writer};

    fn packet(generation: u16, sequence: u64, last: u8) -> [u8; 40] {
        let mut bytes = [0; 40];
        let (channel, flags) = (Channel::Unreliable, Flags::SEALED);
        let connection = ConnectionId::from_parts(1, 2, generation);
        Header { connection, channel, flags, sequence }.put(&mut Writer::new(&mut bytes));
        bytes[39] = last;
        bytes
    }

    #[test]
    fn a_nonce_that_repeats_is_found_and_a_repeated_datagram_is_not() {
        let mut nonces = Nonces::default();
        nonces.begin(ConnectionId::from_parts(1, 2, 3));
        assert_eq!(nonces.sent(&packet(3, 7, 1)), Ok(()));
        assert_eq!(nonces.sent(&packet(3, 8, 1)), Ok(()));
        assert_eq!(nonces.sent(&packet(4, 7, 2)), Ok(()), "another id is another nonce");
        assert_eq!(nonces.sent(&packet(3, 7, 1)), Ok(()), "the same bytes");
        assert!(nonces.sent(&packet(3, 7, 2)).is_err());
        let mut rekeyed = packet(3, 8, 1);
        rekeyed[5] |= Flags::REKEY.0;
        assert!(nonces.sent(&rekeyed).is_err(), "a rekey starts no new count");
        nonces.begin(ConnectionId::from_parts(1, 2, 3));
        assert_eq!(nonces.sent(&packet(3, 7, 2)), Ok(()), "another session has other keys");
        assert!(nonces.sent(&[1; 20]).is_err(), "not a packet at all");
    }
}
