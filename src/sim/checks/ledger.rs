//! An address that has not proven that it gets what is sent to it is sent at most three times the
//! bytes that came from it, or seemed to.
//!
//! Proven: something arrived from it that its owner made after he got something there. The
//! simulator knows that because it is the owner; the server has to find out.

use super::Verdict;
use std::collections::BTreeMap;
use std::net::SocketAddr;

const CHECK: &str = "bytes to an unvalidated address <= 3x received";

#[derive(Clone, Copy, Debug, Default)]
struct Account {
    received: u64,
    sent: u64,
    is_proven: bool,
}

/// What went to and came from every address.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    accounts: BTreeMap<SocketAddr, Account>,
    /// Datagrams sent to addresses that had proven nothing.
    pub(crate) unproven: u64,
}

impl Ledger {
    /// A datagram arrives at the server from `from`.
    pub(crate) fn received(&mut self, from: SocketAddr, bytes: usize, proof: bool) {
        let account = self.accounts.entry(from).or_default();
        account.received += bytes as u64;
        account.is_proven |= proof;
    }

    /// The server sends to `to`.
    pub(crate) fn sent(&mut self, to: SocketAddr, bytes: usize) -> Verdict {
        let account = self.accounts.entry(to).or_default();
        account.sent += bytes as u64;
        if account.is_proven {
            return Ok(());
        }
        self.unproven += 1;
        let Account { received, sent, .. } = *account;
        if sent <= 3 * received {
            return Ok(());
        }
        Err((CHECK, format!("{to}: {sent} bytes to it, {received} from it")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_three_times_is_found_unless_the_address_is_proven() {
        let [a, b] = [1, 2].map(|n| SocketAddr::from(([192, 0, 2, n], 7)));
        let mut ledger = Ledger::default();
        ledger.received(a, 100, false);
        assert_eq!(ledger.sent(a, 200), Ok(()));
        assert_eq!(ledger.sent(a, 100), Ok(()));
        assert!(ledger.sent(a, 1).is_err());
        assert!(ledger.sent(b, 1).is_err(), "nothing came from there");
        ledger.received(a, 1, true);
        assert_eq!(ledger.sent(a, 10_000), Ok(()));
        assert_eq!(ledger.unproven, 4);
    }
}
