//! How many messages of each type a client has sent in the present second.
//!
//! Owns: which types share an account, and the accounts. A second is one of the server's clock, so
//! the account of a session is a number and a few counts, and a client that goes to the limit may
//! do so twice around a full second. Never opens a packet: only what authenticated counts. Called
//! by `decode`, for everything but the one message with inputs that an ordinary packet has.

use super::rules::MessageBudgets;
use crate::time::Nanos;
use crate::wire::{Channel, control_kind, to_server};

/// Messages with one account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Ping,
    Pong,
    Ack,
    CryptoTest,
    Enter,
    Inputs,
    Other,
}

impl Class {
    const COUNT: usize = 7;

    fn of(channel: Channel, kind: u8) -> Self {
        match (channel, kind) {
            (Channel::Control, control_kind::PING) => Self::Ping,
            (Channel::Control, control_kind::PONG) => Self::Pong,
            (Channel::Control, control_kind::ACK) => Self::Ack,
            (Channel::Control, control_kind::CRYPTO_TEST) => Self::CryptoTest,
            (Channel::Unreliable, to_server::ENTER_TO_WORLD) => Self::Enter,
            (Channel::Unreliable, kind) if is_input(kind) => Self::Inputs,
            _ => Self::Other,
        }
    }

    fn budget(self, budgets: &MessageBudgets) -> u16 {
        match self {
            Self::Ping | Self::Pong => budgets.pings,
            Self::Ack => budgets.acks,
            Self::CryptoTest | Self::Enter => budgets.enters,
            Self::Inputs => budgets.inputs,
            Self::Other => budgets.others,
        }
    }
}

/// Whether messages of type `kind` on channel Unreliable carry inputs.
#[inline]
pub(super) fn is_input(kind: u8) -> bool {
    matches!(kind, to_server::SYNC_ENTITY | to_server::SYNC_ENTITY_QUANTIZED)
}

/// What one session has sent in the second `second`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Spent {
    second: u32,
    counts: [u16; Class::COUNT],
}

impl Spent {
    /// Counts one message, and tells whether it is within its budget.
    pub(super) fn allow(
        &mut self,
        budgets: &MessageBudgets,
        channel: Channel,
        kind: u8,
        now: Nanos,
    ) -> bool {
        // 2^32 seconds are more than a century.
        let second = (now.as_ms() / 1_000) as u32;
        if self.second != second {
            *self = Self { second, ..Self::default() };
        }
        let class = Class::of(channel, kind);
        let count = &mut self.counts[class as usize];
        *count = count.saturating_add(1);
        *count <= class.budget(budgets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGETS: MessageBudgets =
        MessageBudgets { pings: 3, acks: 5, enters: 2, inputs: 4, others: 1 };

    fn allowed(spent: &mut Spent, channel: Channel, kind: u8, now: Nanos) -> usize {
        (0..100).filter(|_| spent.allow(&BUDGETS, channel, kind, now)).count()
    }

    #[test]
    fn each_type_has_its_own_budget_and_a_new_one_each_second() {
        let mut spent = Spent::default();
        for second in [0, 1, 7] {
            let now = Nanos::from_ms(second * 1_000 + 999);
            for (channel, kind, budget) in [
                (Channel::Control, control_kind::PING, 3),
                (Channel::Control, control_kind::PONG, 3),
                (Channel::Control, control_kind::ACK, 5),
                (Channel::Control, control_kind::CRYPTO_TEST, 2),
                (Channel::Unreliable, to_server::ENTER_TO_WORLD, 2),
                (Channel::Unreliable, to_server::SYNC_ENTITY, 4),
                (Channel::Control, control_kind::REKEY_RESPONSE, 1),
            ] {
                assert_eq!(allowed(&mut spent, channel, kind, now), budget, "{channel:?} {kind}");
            }
        }
    }

    #[test]
    fn types_that_nobody_knows_share_one_budget() {
        let mut spent = Spent::default();
        let kinds = 200..=255;
        let some = |spent: &mut Spent| {
            let kinds = kinds.clone();
            kinds.filter(|&kind| spent.allow(&BUDGETS, Channel::Control, kind, Nanos(0))).count()
        };
        assert_eq!(some(&mut spent), 1);
    }

    #[test]
    fn a_count_does_not_wrap_around_to_a_fresh_budget() {
        let mut spent = Spent::default();
        for _ in 0..200_000 {
            spent.allow(&BUDGETS, Channel::Control, control_kind::PING, Nanos(0));
        }
        assert!(!spent.allow(&BUDGETS, Channel::Control, control_kind::PING, Nanos(0)));
    }
}
