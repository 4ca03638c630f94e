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
/// Where the ClientNonce is in all packets of a handshake that have one.
const NONCE_AT: usize = 16;
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
            DropReason::DhBudget | DropReason::ServerFull => (Denial::Busy, busy_ms(entropy)),
            DropReason::TokenTableFull => (Denial::Busy, LATER_MS),
            DropReason::PlayerMoving => (Denial::Busy, MOVING_MS),
            DropReason::TokenExpired | DropReason::TokenKey | DropReason::TokenBeforeBoot => {
                (Denial::TokenExpired, LATER_MS)
            }
            DropReason::TokenReplayed => (Denial::TokenUsed, LATER_MS),
            _ => return Err(reason),
        };
        counters.drop(reason);
        let denied = DeniedPacket { client_nonce: *attempt.client_nonce, reason: denial, retry_ms };
        Ok(GateAction::Reply(self.write_denied(&denied, counters, out)))
    }

    /// The same in place of the Accepted that is in `out`, for somebody whom nobody will serve now.
    /// Returns the length.
    pub(super) fn deny_answered(
        &self,
        reason: DropReason,
        counters: &Counters,
        entropy: &mut dyn Entropy,
        out: &mut [u8; DATAGRAM_MAX],
    ) -> usize {
        counters.drop(reason);
        let client_nonce = *out[NONCE_AT..].first_chunk().expect("an Accepted is longer");
        let retry_ms = busy_ms(entropy);
        let denied = DeniedPacket { client_nonce, reason: Denial::Busy, retry_ms };
        self.write_denied(&denied, counters, out)
    }

    fn write_denied(
        &self,
        denied: &DeniedPacket,
        counters: &Counters,
        out: &mut [u8; DATAGRAM_MAX],
    ) -> usize {
        counters.add(Counter::Denied, 1);
        let mut packet = [0; DENIED_LEN];
        denied.write(self.config.protocol_id, &mut packet);
        put(out, &packet);
        DENIED_LEN
    }
}

fn busy_ms(entropy: &mut dyn Entropy) -> u32 {
    let dice = u32::from_le_bytes(random(entropy));
    BUSY_MS.start + dice % (BUSY_MS.end - BUSY_MS.start)
}
