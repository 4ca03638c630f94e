//! What the world shows the other shards: its rows, each at its seat.
//!
//! The end of phase quantize, called by the shard.

use super::{Row, World};
use crate::exchange::{Member, PublishedRow};
use crate::state::Stir;

impl World {
    /// Publishes `row` once more, with the shard that will have it in the tick after the next.
    pub fn publish_host<P>(&self, row: Row, member: &mut Member<P>, host: u8) {
        let shown = PublishedRow { host, ..self.shown(row as usize) };
        member.publish(self.store.seat[row as usize], &shown);
    }

    /// Publishes every living row for the tick that was just quantized. A seat that `member` does
    /// not own stays as it is.
    pub fn publish<P>(&mut self, member: &mut Member<P>) {
        let host = member.place() as u8;
        for row in 0..self.roster.end() {
            if self.roster.id_of(row as Row).is_none() {
                continue;
            }
            let (since, seat) = (&mut self.store.since[row], self.store.seat[row]);
            if *since == 0 {
                *since = self.tick;
            } else if let Some(before) = member.last_state(seat) {
                let now = *self.store.state(row);
                self.store.walk[row].advance(self.tick, before, &now);
            }
            let shown = PublishedRow { host, ..self.shown(row) };
            member.publish(self.store.seat[row], &shown);
        }
    }

    fn shown(&self, row: usize) -> PublishedRow {
        let columns = self.columns();
        let (state, kind) = (columns.quantized[row], columns.kinds[row]);
        let mut trail = self.store.walk[row].trail(self.store.since[row]);
        if state.is_hidden() {
            trail.valid = 0;
        }
        PublishedRow {
            state,
            changed: columns.changed[row],
            id: columns.ids[row],
            trail,
            kind,
            stir: Stir::of(kind, state.flags),
            host: 0,
        }
    }
}
