//! Phase open: authenticated decryption, and the first change of state.
//!
//! A packet that opens was sealed by the session's client and by nobody else. Only then its
//! sequence is committed to the replay window, its size taken from the client's allowance, and the
//! session heard of. In a batch, admit has looked at all datagrams before the first is committed;
//! the commit looks again, so that the second of two equal datagrams is a replay in a batch, too.
//! Called by the shard or `handle_datagram`.

use super::admit::Admitted;
use super::batch::Batch;
use super::table::Sessions;
use crate::limits::{FAILED_OPENS_MAX, HEADER_LEN, TAG_LEN};
use crate::metrics::{Counter, Counters, DropReason};
use crate::time::Nanos;
use std::net::SocketAddr;

/// The plaintext of a packet, from the session's client beyond doubt.
#[derive(Clone, Copy, Debug)]
pub struct Opened<'a> {
    pub(super) admitted: Admitted,
    pub(super) plaintext: &'a [u8],
    /// Where it came from, if not from the session's active address.
    pub(super) from: Option<&'a SocketAddr>,
}

impl Sessions {
    /// Opens `datagram`, which `admit` was asked about, in place.
    ///
    /// # Errors
    /// Why it is to be dropped; the caller counts it. Nothing but the count of failed opens has
    /// changed.
    #[inline]
    pub fn open<'a>(
        &mut self,
        now: Nanos,
        admitted: Admitted,
        datagram: &'a mut [u8],
    ) -> Result<Opened<'a>, DropReason> {
        let index = usize::from(admitted.session.slot());
        let ingress = &mut self.ingress[index];
        let keys = self.keys[index].as_ref().filter(|_| ingress.id == admitted.session);
        let keys = keys.ok_or(DropReason::UnknownConnection)?;
        let length = datagram.len();
        let Ok(plaintext) = keys.open.open(datagram) else {
            self.failed_opens[index] += 1;
            if self.failed_opens[index] >= FAILED_OPENS_MAX {
                self.due[index] = Nanos(0);
            }
            return Err(DropReason::Open);
        };
        let sequence = admitted.header.sequence;
        ingress.window.peek(sequence).map_err(|_| DropReason::Replay)?;
        ingress.caps.take(length, &self.config.rules.rates, now)?;
        ingress.window.commit(sequence);
        ingress.heard = now;
        Ok(Opened { admitted, plaintext, from: None })
    }

    /// Opens every datagram of `batch`; those that fail are counted and leave it.
    pub fn open_batch(&mut self, now: Nanos, batch: &mut Batch, counters: &Counters) {
        let mut opened = 0;
        batch.retain(|entry, datagram| {
            let admitted = entry.admitted.expect("admit_batch comes before open_batch");
            let result = if admitted.is_stray {
                self.open_stray(now, admitted, &entry.from, datagram, counters)
            } else {
                self.open(now, admitted, datagram)
            };
            match result {
                Ok(_) => {
                    opened += 1;
                    true
                }
                Err(reason) => {
                    counters.drop(reason);
                    false
                }
            }
        });
        counters.add(Counter::PacketsOpened, opened);
    }
}

/// The plaintext of a datagram that was opened in place.
pub(super) fn plaintext(datagram: &[u8]) -> &[u8] {
    datagram.get(HEADER_LEN..datagram.len() - TAG_LEN).expect("it was opened, so it is long enough")
}
