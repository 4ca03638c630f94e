//! Phase open: authenticated decryption, and the first change of state.
//!
//! Key epoch → open → commit. Packets of another epoch than the current one take the way through
//! `rekey`; no ordinary packet does.
//!
//! A packet that opens was sealed by the session's client and by nobody else. Only then its
//! sequence is committed to the replay window, its size taken from the client's allowance, and the
//! session heard of. In a batch, admit has looked at all datagrams before the first is committed;
//! the commit looks again, so that the second of two equal datagrams is a replay in a batch, too.
//! Called by the shard or `handle_datagram`.

use super::admit::Admitted;
use super::batch::Batch;
use super::rules::ClientRates;
use super::table::{Ingress, Keys, Sessions};
use crate::limits::{FAILED_OPENS_MAX, HEADER_LEN, TAG_LEN};
use crate::metrics::{Counter, Counters, DropReason};
use crate::time::Nanos;
use crate::wire::Flags;
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
        let keys = self.keys[index].as_mut().filter(|_| ingress.id == admitted.session);
        let keys = keys.ok_or(DropReason::UnknownConnection)?;
        if admitted.header.flags.and(Flags::REKEY) != keys.opens {
            let plaintext = self.open_other_epoch(now, admitted, datagram)?;
            return Ok(Opened { admitted, plaintext, from: None });
        }
        let length = datagram.len();
        let Ok(plaintext) = keys.open.open(datagram) else {
            self.count_failed_open(index);
            return Err(DropReason::Open);
        };
        let rates = &self.config.rules.rates;
        accept(ingress, keys, rates, admitted.header.sequence, length, now)?;
        Ok(Opened { admitted, plaintext, from: None })
    }

    /// A packet passed every check before `open` and failed there: too many, and the key is
    /// replaced; far too many, and the session ends.
    #[cold]
    pub(super) fn count_failed_open(&mut self, index: usize) {
        self.failed_opens[index] += 1;
        let failures = self.failed_opens[index];
        if failures == self.rekey[index].worn_failures() {
            self.rekey[index].wake();
            self.due[index] = Nanos(0);
        }
        if failures >= FAILED_OPENS_MAX {
            self.due[index] = Nanos(0);
        }
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

/// Takes note of a packet that opened: the first change of state.
///
/// # Errors
/// Why it is to be dropped all the same; then nothing has changed.
#[inline]
pub(super) fn accept(
    ingress: &mut Ingress,
    keys: &mut Keys,
    rates: &ClientRates,
    sequence: u64,
    length: usize,
    now: Nanos,
) -> Result<(), DropReason> {
    ingress.window.peek(sequence).map_err(|_| DropReason::Replay)?;
    ingress.caps.take(length, rates, now)?;
    ingress.window.commit(sequence);
    ingress.heard = now;
    keys.carried += length as u64;
    Ok(())
}

/// The plaintext of a datagram that was opened in place.
pub(super) fn plaintext(datagram: &[u8]) -> &[u8] {
    datagram.get(HEADER_LEN..datagram.len() - TAG_LEN).expect("it was opened, so it is long enough")
}
