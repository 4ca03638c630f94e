//! A player whose snapshots do not arrive is told of itself, and of the few next to it, in a packet
//! that is small enough for any path.
//!
//! It shows by asking for an entity that it has: a client repeats EnterToWorld until it has seen
//! itself. Owns what such a packet says. Never sends one unasked, and at most one per player and
//! tick. Called by `tick`.

use super::Shard;
use super::laps::Timer;
use crate::connection::Slot;
use crate::kernel::nearest::distance_squared;
use crate::limits::{NEIGHBOURS_TOLD, TAG_LEN};
use crate::metrics::Counter;
use crate::net::Port;
use crate::time::Nanos;
use crate::wire::snapshot::{EntityUpdate, OwnUpdate};
use crate::wire::{Channel, Writer};

/// Who has asked since the last tick, each once.
#[derive(Debug)]
pub(super) struct Asking {
    slots: Vec<Slot>,
    /// By slot: it is among them.
    asks: Vec<bool>,
}

impl Asking {
    /// For `slots` players.
    pub(super) fn new(slots: usize) -> Self {
        Self { slots: Vec::with_capacity(slots), asks: vec![false; slots] }
    }

    /// The player in `slot` asks.
    pub(super) fn add(&mut self, slot: Slot) {
        if !std::mem::replace(&mut self.asks[usize::from(slot)], true) {
            self.slots.push(slot);
        }
    }

    fn take(&mut self) -> Option<Slot> {
        let slot = self.slots.pop()?;
        self.asks[usize::from(slot)] = false;
        Some(slot)
    }
}

impl Shard {
    /// Puts the packets for those who have asked into the port, from `place` on. Returns the next
    /// place; who finds none waits for the next tick.
    pub(super) fn push_updates(
        &mut self,
        port: &mut dyn Port,
        mut place: usize,
        timer: &impl Timer,
    ) -> usize {
        if self.players.asking.slots.is_empty() {
            return place;
        }
        let now = timer.now();
        while place < port.send_capacity() {
            let Some(viewer) = self.players.asking.take() else { break };
            let length = self.write_update(viewer, now, port.send_buffer(place));
            if let (Some(length), Some(to)) = (length, self.sessions.address(viewer)) {
                port.send_push(place, length, to);
                place += 1;
                self.counters.add(Counter::UpdatesSent, 1);
            }
        }
        place
    }

    /// The packet for `viewer`, sealed; `None` without an entity.
    fn write_update(&mut self, viewer: Slot, now: Nanos, out: &mut [u8]) -> Option<usize> {
        let row = self.players.row(viewer)?;
        let begun = self.sessions.begin(viewer, Channel::Unreliable, now, out)?;
        let state = self.viewer_state(row, begun.sequence);
        let room = out.len() - TAG_LEN;
        let mut writer = Writer::new(&mut out[begun.body..room]);
        let (tick, last_processed_input) = (self.tick, state.last_processed_input);
        OwnUpdate { tick, last_processed_input, own: state.own? }.put(&mut writer);
        let published = self.member.published();
        for row in self.neighbours(viewer).into_iter().flatten() {
            let state = published.state(row, tick);
            EntityUpdate::new(tick, published.id(row), published.kind(row), state).put(&mut writer);
        }
        let length = writer.finish().ok()?;
        Some(self.sessions.seal(viewer, out, begun.body + length))
    }

    /// Rows of the nearest entities that `viewer` sees, the nearest first.
    fn neighbours(&self, viewer: Slot) -> [Option<u32>; NEIGHBOURS_TOLD] {
        let published = self.member.published();
        let mut nearest = [(f32::INFINITY, None); NEIGHBOURS_TOLD];
        let Some(own) = self.players.row(viewer) else { return nearest.map(|(_, row)| row) };
        let eye = self.eye(own).position;
        for row in self.replicator.in_sight(viewer, published) {
            let state = published.state(row, self.tick);
            let mut found = (distance_squared(eye, state.position()), Some(row));
            for held in &mut nearest {
                if found.0 < held.0 {
                    std::mem::swap(held, &mut found);
                }
            }
        }
        nearest.map(|(_, row)| row)
    }
}
