//! What the world shows the other shards: its rows, each at its seat.
//!
//! The end of phase quantize, called by the shard.

use super::{Row, World};
use crate::exchange::{Member, PublishedRow};
use crate::units::EntityId;

impl World {
    /// Publishes `row` once more, with the shard that will have it in the tick after the next.
    pub fn publish_host<P>(&self, row: Row, member: &mut Member<P>, host: u8) {
        let (columns, row) = (self.columns(), row as usize);
        let shown = PublishedRow {
            state: columns.quantized[row],
            changed: columns.changed[row],
            id: columns.ids[row],
            kind: columns.kinds[row],
            host,
        };
        member.publish(columns.seats[row], &shown);
    }

    /// Publishes every living row for the tick that was just quantized. A seat that `member` does
    /// not own stays as it is.
    pub fn publish<P>(&self, member: &mut Member<P>) {
        let columns = self.columns();
        for (row, &id) in columns.ids.iter().enumerate().filter(|(_, id)| **id != EntityId::NONE) {
            let shown = PublishedRow {
                state: columns.quantized[row],
                changed: columns.changed[row],
                id,
                kind: columns.kinds[row],
                host: member.place() as u8,
            };
            member.publish(columns.seats[row], &shown);
        }
    }
}
