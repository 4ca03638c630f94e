//! What a client is told that cannot be served now, or not with this token.
//!
//! Owns: which failures are answered, with which reason, and when it is worth coming back. Only
//! whoever has shown a good cookie is told anything, so nobody can aim these packets, and each is
//! far shorter than its question. Called by `handshake`.

use super::handshake::put;
use super::{Gate, GateAction, random};
use crate::crypto::cookie::Attempt;
use crate::limits::DATAGRAM_MAX;
use crate::metrics::{Counter, Counters, DropReason};
use crate::time::Entropy;
use crate::wire::{DENIED_LEN, Denial, DeniedPacket};

/// A token that is no good will be none in a while, either; a full table needs its time.
const LATER_MS: u32 = 5_000;
/// A player who is on its way to another shard has arrived by then.
const MOVING_MS: u32 = 250;
/// Bounds of the pause after which a busy gate may have time; random, so that a crowd spreads.
const BUSY_MS: std::ops::Range<u32> = 250..1_000;

impl Gate {
    /// Answers a handshake that failed for `reason`, if its client should know; else it is dropped.
    pub(super) fn deny(
        &self,
        attempt: &Attempt<'_>,
        reason: DropReason,
        counters: &Counters,
        entropy: &mut dyn Entropy,
        out: &mut [u8; DATAGRAM_MAX],
    ) -> Result<GateAction, DropReason> {
        let (denial, retry_ms) = match reason {
            DropReason::DhBudget => {
                let dice = u32::from_le_bytes(random(entropy));
                (Denial::Busy, BUSY_MS.start + dice % (BUSY_MS.end - BUSY_MS.start))
            }
            DropReason::TokenTableFull => (Denial::Busy, LATER_MS),
            DropReason::PlayerMoving => (Denial::Busy, MOVING_MS),
            DropReason::TokenExpired | DropReason::TokenKey | DropReason::TokenBeforeBoot => {
                (Denial::TokenExpired, LATER_MS)
            }
            DropReason::TokenReplayed => (Denial::TokenUsed, LATER_MS),
            _ => return Err(reason),
        };
        counters.drop(reason);
        counters.add(Counter::Denied, 1);
        let mut packet = [0; DENIED_LEN];
        DeniedPacket { client_nonce: *attempt.client_nonce, reason: denial, retry_ms }
            .write(self.config.protocol_id, &mut packet);
        put(out, &packet);
        Ok(GateAction::Reply(DENIED_LEN))
    }
}
