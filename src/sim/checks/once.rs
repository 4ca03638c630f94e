//! Each sequence is accepted once: by the clients, and by the server.
//!
//! A client says so itself when it takes a datagram. The server does not, but it answers each Ping
//! that it accepts with one Pong: a peer whose Pings all have nonces of their own counts the
//! answers.

use super::Verdict;
use std::collections::{BTreeMap, BTreeSet};

const CHECK: &str = "each sequence accepted once";

/// What one receiver accepted.
#[derive(Debug, Default)]
pub(crate) struct Once {
    sequences: BTreeSet<u64>,
    /// Answers by nonce.
    pongs: BTreeMap<u64, u32>,
}

impl Once {
    /// The receiver took the packet with this sequence.
    pub(crate) fn accepted(&mut self, sequence: u64) -> Verdict {
        match self.sequences.insert(sequence) {
            true => Ok(()),
            false => Err((CHECK, format!("a client took sequence {sequence} twice"))),
        }
    }

    /// An answer to the only Ping with this nonce, which was sent in one packet.
    pub(crate) fn answered(&mut self, nonce: u64) -> Verdict {
        let answers = self.pongs.entry(nonce).or_default();
        *answers += 1;
        match *answers {
            1 => Ok(()),
            n => Err((CHECK, format!("one Ping, {nonce:x}, had {n} Pongs"))),
        }
    }

    /// Answers so far.
    pub(crate) fn answers(&self) -> usize {
        self.pongs.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_taken_twice_is_found_on_either_side() {
        let mut once = Once::default();
        assert!((1..50).all(|sequence| once.accepted(sequence).is_ok()));
        assert!(once.accepted(7).is_err());
        assert!(once.answered(1).is_ok() && once.answered(2).is_ok());
        assert!(once.answered(1).is_err());
        assert_eq!(once.answers(), 2);
    }
}
