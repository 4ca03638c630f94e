//! Which connect tokens were seen, from where, and whether they are used up. A second table is of
//! the tickets of sessions that somebody came with; which of them are good at all says `valid`.
//!
//! A token is pending from the first handshake that proves knowledge of its secret, and consumed
//! when the first sealed packet opens. It is remembered until it expires; a full table refuses
//! newcomers instead of forgetting a token that could then be used again.

use super::map::{FixedMap, words};
use crate::crypto::cookie::Origin;
use crate::metrics::DropReason;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Pending(Origin),
    Consumed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    state: Use,
    expiry_s: u64,
}

/// Tokens by their id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TokenTable {
    seen: FixedMap<2, Seen>,
    limit: usize,
}

impl TokenTable {
    /// Newcomers are refused from `limit` tokens on.
    pub(super) fn new(limit: usize, seed: [u64; 2]) -> Self {
        Self { seen: FixedMap::new(limit, seed), limit }
    }

    fn is_full(&self) -> bool {
        self.seen.len() >= self.limit
    }

    /// Whether the handshake may go on. Changes nothing.
    pub(super) fn check(&self, id: &[u8; 16], origin: Origin) -> Result<(), DropReason> {
        match self.seen.get(&words(id)).map(|seen| seen.state) {
            None if self.is_full() => Err(DropReason::TokenTableFull),
            None => Ok(()),
            Some(Use::Pending(first)) if first == origin => Ok(()),
            Some(_) => Err(DropReason::TokenReplayed),
        }
    }

    /// Binds a token that was just checked to its origin.
    pub(super) fn begin(&mut self, id: &[u8; 16], origin: Origin, expiry_s: u64) {
        let seen = Seen { state: Use::Pending(origin), expiry_s };
        let inserted = self.seen.insert(words(id), seen);
        debug_assert_eq!(inserted, Ok(()), "check found room");
    }

    /// Nobody may use the token any more. One that is forgotten has expired and needs no entry.
    pub(super) fn consume(&mut self, id: &[u8; 16]) {
        if let Some(seen) = self.seen.get(&words(id)) {
            let replaced = self.seen.insert(words(id), Seen { state: Use::Consumed, ..seen });
            debug_assert_eq!(replaced, Ok(()), "replacing needs no room");
        }
    }

    /// Forgets expired tokens among the next `cells` cells.
    pub(super) fn sweep(&mut self, cells: usize, unix_s: u64) {
        self.seen.sweep(cells, |seen| seen.expiry_s >= unix_s);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Origin = Origin { ip: [1; 16], port: 2 };
    const THERE: Origin = Origin { ip: [1; 16], port: 3 };

    #[test]
    fn a_token_is_bound_to_its_first_address_and_then_used_up() {
        let mut table = TokenTable::new(4, [1, 2]);
        assert_eq!(table.check(&[7; 16], HERE), Ok(()));
        table.begin(&[7; 16], HERE, 100);
        assert_eq!(table.check(&[7; 16], HERE), Ok(()));
        assert_eq!(table.check(&[7; 16], THERE), Err(DropReason::TokenReplayed));
        table.consume(&[7; 16]);
        assert_eq!(table.check(&[7; 16], HERE), Err(DropReason::TokenReplayed));
    }

    #[test]
    fn a_full_table_refuses_newcomers_and_keeps_the_unexpired() {
        let mut table = TokenTable::new(4, [1, 2]);
        for id in 0..4 {
            table.begin(&[id; 16], HERE, 100 + u64::from(id));
        }
        assert_eq!(table.check(&[9; 16], HERE), Err(DropReason::TokenTableFull));
        table.sweep(usize::MAX, 100);
        assert_eq!(table.check(&[9; 16], HERE), Err(DropReason::TokenTableFull));
        assert_eq!(table.check(&[0; 16], HERE), Ok(()), "the old ones go on");
        table.sweep(usize::MAX, 102);
        assert_eq!(table.check(&[9; 16], HERE), Ok(()));
        assert_eq!(table.check(&[3; 16], THERE), Err(DropReason::TokenReplayed));
    }
}
