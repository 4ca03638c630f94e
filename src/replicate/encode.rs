//! Phase encode: differences become the bytes of one snapshot per viewer.
//!
//! The bytes of (entity, baseline age) do not depend on the viewer, so they are made once per tick
//! and copied to everybody who needs them. The cache has one 64-byte line per row: three entries of
//! up to 16 bytes. Longer entries (newcomers, many fields at once) are rare and are encoded each
//! time.
//!
//! N.B. Prefetching the lines of a block's rows while diff knows them did not pay: per viewer with
//! 50 entities encode won 20 ns of 680, and diff lost 165 ns.

use super::diff::ChangedSlots;
use super::slots::{SlotTable, bits};
use crate::exchange::{HISTORY_REACH, Published};
use crate::limits::VISIBLE_MAX;
use crate::units::{EntityId, Tick};
use crate::wire::snapshot::{
    ENTRY_MAX, EntryBody, OWN_STATE_LEN, OwnState, SNAPSHOT_HEAD_LEN, SnapshotHead,
    write_entry_head,
};

const WAYS: usize = 3;
const CELL: usize = 16;
const EMPTY: u8 = 0xFF;

/// Most bytes that one entry takes, its slot and age included.
const ENTRY_TOTAL_MAX: usize = 2 + ENTRY_MAX;

/// Smallest room that [`Replicator::encode`](super::Replicator::encode) accepts: head, own state,
/// every removal and one full entry.
pub const SNAPSHOT_ROOM_MIN: usize =
    SNAPSHOT_HEAD_LEN + OWN_STATE_LEN + VISIBLE_MAX + ENTRY_TOTAL_MAX;

/// The entries of one row encoded in the current tick.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line {
    tick: Tick,
    id: EntityId,
    ages: [u8; WAYS],
    lens: [u8; WAYS],
    cells: [[u8; CELL]; WAYS],
}

const _: () = assert!(size_of::<Line>() == 64, "one cache line per row");

/// Entries encoded in the current tick, by row.
#[derive(Debug)]
pub(super) struct EncodeCache {
    lines: Vec<Line>,
}

/// What happened in one tick, for the counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EncodeTally {
    /// Entries written.
    pub sent: u64,
    /// Entries that had to be encoded; the others were copied.
    pub encoded: u64,
    /// Entries that did not fit the budget.
    pub deferred: u64,
}

impl EncodeCache {
    /// For `rows` published rows.
    pub(super) fn new(rows: usize) -> Self {
        let line = Line {
            tick: 0,
            id: EntityId::NONE,
            ages: [EMPTY; WAYS],
            lens: [0; WAYS],
            cells: [[0; CELL]; WAYS],
        };
        Self { lines: vec![line; rows] }
    }

    /// Bytes held for good.
    pub(super) fn memory_bytes(&self) -> usize {
        size_of_val(&*self.lines)
    }
}

/// What a snapshot needs besides the viewer's slots.
#[derive(Clone, Copy, Debug)]
pub struct ViewerState {
    /// Newest input of the player that was applied.
    pub last_processed_input: u32,
    /// The player's own entity.
    pub own: Option<OwnState>,
    /// Sequence of the packet that will carry the snapshot.
    pub sequence: u64,
}

/// Where an entry's bytes come from.
enum Entry<'a> {
    Cached(&'a [u8; CELL], u8),
    Long(EntryBody),
    /// The state went back to what the viewer has: nothing to say.
    Equal,
    /// The row has another occupant by now; `select` will remove the slot.
    Gone,
}

/// Encodes the snapshots of one tick.
#[derive(Debug)]
pub(super) struct Encoder<'a> {
    /// What was published of the tick.
    pub published: Published<'a>,
    /// Entries encoded so far in the tick.
    pub cache: &'a mut EncodeCache,
    /// What happened so far.
    pub tally: EncodeTally,
}

impl Encoder<'_> {
    /// Writes one snapshot body into `out` (its length is the budget, at least
    /// [`SNAPSHOT_ROOM_MIN`]), remembers what it described and returns its length.
    pub(super) fn snapshot(
        &mut self,
        table: &mut SlotTable,
        changed: ChangedSlots,
        viewer: &ViewerState,
        out: &mut [u8],
    ) -> usize {
        let tick = self.published.tick();
        let base_age = baseline_age(tick, table.newest_acknowledged);
        let head = SnapshotHead {
            tick,
            last_processed_input: viewer.last_processed_input,
            base_age,
            removals: table.leaving().count_ones() as u8,
            entries: 0,
            own: viewer.own,
        };
        let mut at = head.write(out);
        for slot in bits(table.leaving()) {
            out[at] = slot;
            at += 1;
        }
        let (mut described, mut entries, mut cursor) = (0_u128, 0_u8, 0);
        // What did not fit last time comes first now.
        let from_cursor = u128::MAX << table.cursor;
        for slot in bits(changed & from_cursor).chain(bits(changed & !from_cursor)) {
            let index = usize::from(slot);
            let age = baseline_age(tick, table.acknowledged[index]);
            let entry = self.entry(table.row[index], table.id[index], age);
            let Some(written) = write_entry(&entry, slot, age, base_age, &mut out[at..]) else {
                cursor = slot;
                self.tally.deferred += u64::from((changed & !described).count_ones());
                break;
            };
            at += written;
            if written != 0 {
                described |= 1 << slot;
                entries += 1;
            }
        }
        SnapshotHead::patch_entries(out, entries);
        table.cursor = cursor;
        table.remember(viewer.sequence, tick, described);
        self.tally.sent += u64::from(entries);
        at
    }

    /// Finds the bytes of (row, age) or makes them.
    #[inline]
    fn entry(&mut self, row: u32, id: EntityId, age: u8) -> Entry<'_> {
        let tick = self.published.tick();
        let line = &mut self.cache.lines[row as usize];
        if line.tick != tick {
            line.tick = tick;
            line.id = self.published.id(row);
            line.ages = [EMPTY; WAYS];
        }
        if line.id != id {
            return Entry::Gone;
        }
        let way = usize::from(age) % WAYS;
        if line.ages[way] != age {
            let now = self.published.state(row, tick);
            let body = match age {
                0 => Some(EntryBody::full(id, self.published.kind(row), now)),
                _ => EntryBody::delta(now, self.published.state(row, tick - Tick::from(age))),
            };
            let Some(body) = body else { return Entry::Equal };
            self.tally.encoded += 1;
            let bytes = body.as_slice();
            let Some(cell) = line.cells[way].get_mut(..bytes.len()) else {
                return Entry::Long(body);
            };
            cell.copy_from_slice(bytes);
            line.ages[way] = age;
            line.lens[way] = bytes.len() as u8;
        }
        Entry::Cached(&line.cells[way], line.lens[way])
    }
}

/// Age of the baseline `acknowledged` seen from `tick`: 1..=62, or 0 if there is none that can
/// still be read while the next tick is written.
#[inline]
pub fn baseline_age(tick: Tick, acknowledged: Tick) -> u8 {
    let age = tick.wrapping_sub(acknowledged);
    if acknowledged != 0 && (1..=HISTORY_REACH).contains(&age) { age as u8 } else { 0 }
}

/// Writes the entry if it fits; `Some(0)` if there is nothing to write, `None` if it does not fit.
#[inline]
fn write_entry(
    entry: &Entry<'_>,
    slot: u8,
    age: u8,
    base_age: u8,
    out: &mut [u8],
) -> Option<usize> {
    let (bytes, len): (&[u8], usize) = match entry {
        Entry::Equal | Entry::Gone => return Some(0),
        Entry::Long(body) => (body.as_slice(), body.as_slice().len()),
        Entry::Cached(cell, len) => {
            let len = usize::from(*len);
            // The usual case: a copy of constant length is one load and one store.
            if let Some(room) = out.first_chunk_mut::<{ CELL + 2 }>() {
                let head = write_entry_head(slot, age, base_age, room);
                room[head..head + CELL].copy_from_slice(*cell);
                return Some(head + len);
            }
            (&cell[..len], len)
        }
    };
    let head = if age != 0 && age == base_age { 1 } else { 2 };
    let room = out.get_mut(..head + len)?;
    write_entry_head(slot, age, base_age, room);
    room[head..].copy_from_slice(bytes);
    Some(head + len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_baseline_is_usable_exactly_as_long_as_the_history_holds_it() {
        assert_eq!(baseline_age(100, 0), 0, "never acknowledged");
        assert_eq!(baseline_age(100, 99), 1);
        assert_eq!(baseline_age(100, 38), 62);
        assert_eq!(baseline_age(100, 37), 0, "its page is being overwritten");
        assert_eq!(baseline_age(100, 100), 0, "a tick is no baseline of itself");
    }
}
