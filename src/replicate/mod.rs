//! World → one snapshot per viewer: phases select, diff and encode.
//!
//! Owns what each viewer has acknowledged and nothing else of the connection; packets are known
//! here by their sequence only. The shard calls, per tick and with what all shards published of it,
//! per viewer [`Replicator::select`] (for a quarter of them), [`Replicator::diff`] and
//! [`Replicator::encode`]; and between ticks [`Replicator::acknowledge`]. Nothing here allocates
//! after construction.

mod diff;
mod encode;
mod explain;
mod pace;
mod relations;
mod select;
mod slots;
mod survey;
#[cfg(test)]
mod tests;

pub use diff::ChangedSlots;
pub use encode::{EncodeTally, SNAPSHOT_ROOM_MIN, ViewerState, baseline_age};
pub use explain::{Explained, Explanation, Reason};
pub use pace::Tier;
pub use select::{Eye, is_due};
pub use survey::{Survey, is_surveyed};

use crate::exchange::Published;
use crate::units::{EntityId, TickRate};
use crate::world::Index;
use encode::{EncodeCache, Encoder};
use explain::View;
use relations::Relations;
use select::Selector;
use slots::SlotTable;

/// Viewers whose phases diff and encode run as one block, so that each phase is timed with two
/// readings of the clock per block instead of two per viewer.
pub const BLOCK: usize = 8;

/// Everything known of one viewer, under way from one shard to another.
#[derive(Debug)]
pub struct ViewerTable(SlotTable, Relations);

/// Replication state of the viewers of one shard.
#[derive(Debug)]
pub struct Replicator {
    tables: Vec<SlotTable>,
    /// What each viewer knows of its enemies.
    relations: Vec<Relations>,
    selector: Selector,
    cache: EncodeCache,
    changed: [ChangedSlots; BLOCK],
    tally: EncodeTally,
}

impl Replicator {
    /// For viewers `0..viewers` and `rows` published rows, those of all shards.
    pub fn new(viewers: usize, rows: usize, rate: TickRate) -> Self {
        Self {
            tables: vec![SlotTable::default(); viewers],
            relations: vec![Relations::default(); viewers],
            selector: Selector::new(rows, rate),
            cache: EncodeCache::new(rows),
            changed: [ChangedSlots::default(); BLOCK],
            tally: EncodeTally::default(),
        }
    }

    /// Bytes held for good: all viewers and the cache.
    pub fn memory_bytes(&self) -> usize {
        size_of_val(&*self.tables) + size_of_val(&*self.relations) + self.cache.memory_bytes()
    }

    /// Forgets everything about `viewer`; call it when a player enters or leaves.
    pub fn reset(&mut self, viewer: u16) {
        self.put_in(viewer, ViewerTable(SlotTable::default(), Relations::default()));
    }

    /// What is known of `viewer`, who goes to another shard.
    pub fn take_out(&mut self, viewer: u16) -> ViewerTable {
        let viewer = usize::from(viewer);
        let relations = std::mem::take(&mut self.relations[viewer]);
        ViewerTable(std::mem::take(&mut self.tables[viewer]), relations)
    }

    /// A viewer comes from another shard. Rows and ticks are those of the whole world, so it goes
    /// on as if nothing had happened.
    pub fn put_in(&mut self, viewer: u16, table: ViewerTable) {
        let viewer = usize::from(viewer);
        ViewerTable(self.tables[viewer], self.relations[viewer]) = table;
    }

    /// Phase select for one viewer, who sees the entities of all `indexes`.
    pub fn select<'i>(
        &mut self,
        viewer: u16,
        eye: Eye,
        indexes: impl Iterator<Item = &'i Index> + Clone,
        published: Published<'_>,
    ) {
        let table = &mut self.tables[usize::from(viewer)];
        table.renew(published.tick(), published.changed());
        self.selector.select(table, eye, indexes, published);
    }

    /// Asks for the part of a viewer's table that diff and encode will read, one block ahead of
    /// them.
    ///
    /// Ten thousand tables are larger than a last-level cache.
    pub fn anticipate(&self, viewer: u16) {
        self.tables[usize::from(viewer)].anticipate();
    }

    /// Phase diff for one viewer at `place` of the current block; once per viewer and tick.
    pub fn diff(&mut self, place: usize, viewer: u16, published: Published<'_>) {
        let table = &mut self.tables[usize::from(viewer)];
        table.renew(published.tick(), published.changed());
        self.changed[place] = diff::diff(table, published.changed(), published.tick());
    }

    /// Phase encode for the viewer at `place` of the current block: one snapshot body into `out`,
    /// whose length is the budget (at least [`SNAPSHOT_ROOM_MIN`]). Returns the length written.
    pub fn encode(
        &mut self,
        place: usize,
        viewer: u16,
        published: Published<'_>,
        state: &ViewerState,
        out: &mut [u8],
    ) -> usize {
        let mut encoder = Encoder { published, cache: &mut self.cache, tally: self.tally };
        let table = &mut self.tables[usize::from(viewer)];
        let relations = &mut self.relations[usize::from(viewer)];
        let newest = table.newest_acknowledged;
        let relations = relations.news(state.enemies, published.tick(), newest);
        let len = encoder.snapshot(table, self.changed[place], state, relations, out);
        table.length = [len as u32, out.len() as u32];
        self.tally = encoder.tally;
        len
    }

    /// The viewer has processed the packet with this sequence.
    pub fn acknowledge(&mut self, viewer: u16, sequence: u64) {
        self.tables[usize::from(viewer)].acknowledge(sequence);
    }

    /// Explains the snapshot that `viewer` was sent in this tick, into `out`: all its slots, or the
    /// entity that is `asked` for, whether it has a slot or not. To be called after encode and
    /// before the next acknowledgment, with what select was or would be given.
    ///
    /// Changes nothing but `out`. An entity that is asked for costs one pass over the ids of all
    /// rows, and perhaps one selection.
    pub fn explain<'i>(
        &mut self,
        viewer: u16,
        eye: Eye,
        indexes: impl Iterator<Item = &'i Index> + Clone,
        published: Published<'_>,
        asked: Option<EntityId>,
        out: &mut Explanation,
    ) {
        let table = &self.tables[usize::from(viewer)];
        out.begin(table, &eye, published);
        let Some(index) = indexes.clone().next() else { return };
        let rate = self.selector.rate();
        let view = View { viewer, eye, table, index, published, rate };
        match asked {
            Some(entity) => out.push(view.find(entity, &mut self.selector, indexes)),
            None => view.slots().for_each(|explained| out.push(explained)),
        }
    }

    /// Replication state of one viewer, bytes.
    pub const VIEWER_BYTES: usize = size_of::<SlotTable>() + size_of::<Relations>();

    /// Slots of those whom `viewer` sees as of its last selection, as bits.
    pub fn live(&self, viewer: u16) -> u128 {
        self.tables[usize::from(viewer)].live()
    }

    /// Row of who is in a live `slot` of `viewer`.
    ///
    /// # Panics
    /// If there is no such slot.
    pub fn row_in(&self, viewer: u16, slot: u8) -> u32 {
        self.tables[usize::from(viewer)].row[usize::from(slot)]
    }

    /// Rows of the entities that `viewer` sees and may be told of.
    pub fn in_sight<'a>(
        &'a self,
        viewer: u16,
        published: Published<'a>,
    ) -> impl Iterator<Item = u32> + 'a {
        let table = &self.tables[usize::from(viewer)];
        let rows = slots::bits(table.live()).map(|slot| table.row[usize::from(slot)]);
        // Who has left, and whoever was given the row since, goes with the next selection.
        let is_there = move |&row: &u32| published.trail(row).since <= table.selected;
        rows.filter(is_there)
            .filter(move |&row| !published.state(row, published.tick()).is_hidden())
    }

    /// Entities that `viewer` sees.
    pub fn visible(&self, viewer: u16) -> u32 {
        self.tables[usize::from(viewer)].live().count_ones()
    }

    /// What was encoded since the last call.
    pub fn take_tally(&mut self) -> EncodeTally {
        std::mem::take(&mut self.tally)
    }
}
