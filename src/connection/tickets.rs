//! Resume tickets on their way to the clients.
//!
//! Owns: the newest ticket of each session until its client has acknowledged it, and when it is
//! sent again. A packet of its own carries it, after 250 ms another one, then in growing intervals.
//! Never makes a ticket: the gate does, which alone has the keys, so that minting costs no tick
//! anything. Called by the shard ([`Sessions::offer_ticket`]) and by `liveness`.

use super::table::{FAR, Sessions, Slot};
use crate::limits::TAG_LEN;
use crate::time::Nanos;
use crate::wire::{
    Channel, ConnectionId, PublicToken, SEALED_TOKEN_LEN, TOKEN_NONCE_LEN, Writer,
    put_resume_ticket,
};

/// First interval between two packets with one ticket.
const RESEND_MS: u64 = 250;
/// The longest. What was sent so long ago can still be looked up in the acknowledgments, at 120
/// ticks per second, too.
const RESEND_MAX_MS: u64 = 1_000;
/// Packets with one ticket whose acknowledgment is looked for: those of the last four seconds or
/// so, as on a slow path it comes after later ones have left.
const COPIES: usize = 4;

/// A ticket that waits to be acknowledged, if there is one.
#[derive(Clone, Debug)]
pub(super) struct Outbox {
    token: PublicToken,
    /// Sequences of the last packets that carried it, the newest first; 0: not so many yet.
    sent_as: [u64; COPIES],
    /// When the next one is due; `FAR` without a ticket.
    next_at: Nanos,
    pause_ms: u64,
}

impl Outbox {
    pub(super) fn empty() -> Self {
        let token = PublicToken {
            kind: 0,
            key_id: 0,
            nonce: [0; TOKEN_NONCE_LEN],
            expiry_s: 0,
            sealed: [0; SEALED_TOKEN_LEN],
        };
        Self { token, sent_as: [0; COPIES], next_at: FAR, pause_ms: RESEND_MS }
    }

    /// When something has to be done for it.
    pub(super) fn due(&self) -> Nanos {
        self.next_at
    }

    /// There is nothing to send any more. What was sent is of use to its client only.
    pub(super) fn clear(&mut self) {
        self.next_at = FAR;
    }
}

impl Sessions {
    /// The ticket with which the client of the session `id` may come back, in place of any before.
    /// `poll_control` sends it until it is acknowledged. `false` if there is no such session.
    pub fn offer_ticket(&mut self, id: ConnectionId, token: PublicToken) -> bool {
        let Some(slot) = self.find(id) else { return false };
        let index = usize::from(slot);
        let next_at = Nanos(0);
        self.outbox[index] = Outbox { token, next_at, ..Outbox::empty() };
        self.due[index] = Nanos(0);
        true
    }

    /// The packet with the ticket of a living session, if it is due and has not been acknowledged.
    #[cold]
    pub(super) fn write_ticket(
        &mut self,
        index: usize,
        now: Nanos,
        out: &mut [u8],
    ) -> Option<usize> {
        let sent = &self.flow[index].sent;
        if self.outbox[index].sent_as.iter().any(|&it| it > 0 && sent.is_acknowledged(it)) {
            self.outbox[index].clear();
            return None;
        }
        let begun = self.begin_at(index, Channel::Control, now, out)?;
        let room = out.len() - TAG_LEN;
        let mut writer = Writer::new(&mut out[begun.body..room]);
        let outbox = &mut self.outbox[index];
        put_resume_ticket(&mut writer, &outbox.token);
        let length = writer.finish().expect("a ticket fits any datagram");
        outbox.sent_as.rotate_right(1);
        outbox.sent_as[0] = begun.sequence;
        outbox.next_at = now.plus(Nanos::from_ms(outbox.pause_ms));
        outbox.pause_ms = (outbox.pause_ms * 2).min(RESEND_MAX_MS);
        Some(self.seal(index as Slot, out, begun.body + length))
    }
}
