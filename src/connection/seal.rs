//! Phase seal: a packet to a client, from its header to its tag.
//!
//! `begin` gives the packet a sequence of its own and writes what every packet starts with; the
//! caller appends messages; `seal` encrypts. Every packet carries an acknowledgment block once
//! there is something to acknowledge, so that a lost one is made good by the next. Called by the
//! shard for snapshots and by `liveness`.

use super::table::{Sessions, Slot, State};
use crate::limits::{ACK_BLOCK_LEN, HEADER_LEN, TAG_LEN};
use crate::time::Nanos;
use crate::wire::{Channel, FLAGS_AT, Flags, Header, Writer};

/// A packet that has its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// Names the packet in acknowledgments.
    pub sequence: u64,
    /// Where in the buffer the messages go.
    pub body: usize,
}

impl Sessions {
    /// Starts a packet for `slot` in `out`: allocates its sequence, writes its header and
    /// acknowledgment block. The messages go to `out[begun.body..out.len() - TAG_LEN]`; then call
    /// `seal`. A packet begun and not sealed costs nothing but its sequence.
    ///
    /// `None` when there is no session, when its sequences are used up, or when `out` has no room.
    #[inline]
    pub fn begin(
        &mut self,
        slot: Slot,
        channel: Channel,
        now: Nanos,
        out: &mut [u8],
    ) -> Option<Begun> {
        match self.state.get(usize::from(slot)) {
            Some(State::Live(_)) => self.begin_at(usize::from(slot), channel, now, out),
            _ => None,
        }
    }

    /// As `begin`, for sessions that are being closed, too.
    pub(super) fn begin_at(
        &mut self,
        index: usize,
        channel: Channel,
        now: Nanos,
        out: &mut [u8],
    ) -> Option<Begun> {
        if out.len() < HEADER_LEN + ACK_BLOCK_LEN + TAG_LEN {
            return None;
        }
        let flow = &mut self.flow[index];
        let Some(sequence) = flow.sent.allocate() else {
            self.due[index] = Nanos(0);
            return None;
        };
        flow.meter.begin(sequence, now, self.config.budget);
        let block = flow.processed.block(now);
        let flags = match block {
            Some(_) => Flags::SEALED.with(Flags::ACKNOWLEDGMENT),
            None => Flags::SEALED,
        };
        let mut writer = Writer::new(out);
        Header { connection: flow.id, channel, flags, sequence }.put(&mut writer);
        if let Some(block) = block {
            block.write(&mut writer);
            self.unacked[index] = 0;
        }
        Some(Begun { sequence, body: writer.position() })
    }

    /// Seals the packet in `out` whose plaintext ends before `plaintext_end`, and returns the
    /// length of the datagram.
    ///
    /// # Panics
    /// When no packet was begun for `slot`, or `out` has no room for the tag.
    #[inline]
    pub fn seal(&mut self, slot: Slot, out: &mut [u8], plaintext_end: usize) -> usize {
        let index = usize::from(slot);
        let keys = self.keys[index].as_mut().expect("begin found a session");
        let length = plaintext_end + TAG_LEN;
        self.flow[index].meter.sent(length);
        keys.carried += length as u64;
        // The epoch is that of the key, whatever it was when the packet was begun.
        out[FLAGS_AT] |= keys.seals.0;
        keys.seal.seal(&mut out[..length]);
        length
    }
}
