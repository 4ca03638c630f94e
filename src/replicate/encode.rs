//! Phase encode: differences become the bytes of one snapshot per viewer.
//!
//! The most urgent go first, until the budget is used up; the others have become more urgent in the
//! next tick. The bytes of (entity, baseline age) do not depend on the viewer. Of those who only
//! walked, the owner of the row has published them for all ages (`kernel::trail`). Others are made
//! once per tick and copied to everybody who needs them: the cache has one 64-byte line per row,
//! three entries of up to 16 bytes. Longer entries (newcomers, many fields at once) are rare and
//! are encoded each time.
//!
//! N.B. Prefetching the lines of a block's rows while diff knows them did not pay: per viewer with
//! 50 entities encode won 20 ns of 680, and diff lost 165 ns.

use super::diff::ChangedSlots;
use super::slots::{SlotTable, bits};
use crate::exchange::{HISTORY_REACH, Published};
use crate::limits::VISIBLE_MAX;
use crate::units::Tick;
use crate::wire::snapshot::{
    ENTRY_MAX, EntryBody, OWN_STATE_LEN, OwnState, RELATIONS_LEN, SNAPSHOT_HEAD_LEN, STEP_LEN,
    SnapshotHead, step_body, write_entry_head,
};

/// Most bytes of an entry that says that somebody walked on.
const STEP_TOTAL_MAX: usize = 2 + STEP_LEN;

const WAYS: usize = 3;
const CELL: usize = 16;
const EMPTY: u8 = 0xFF;
/// Slots whose bits are one word.
const HALF: usize = VISIBLE_MAX / 2;

/// Most bytes that one entry takes, its slot and age included.
const ENTRY_TOTAL_MAX: usize = 2 + ENTRY_MAX;

/// Smallest room that [`Replicator::encode`](super::Replicator::encode) accepts: head, own state,
/// relations, every removal and one full entry.
pub const SNAPSHOT_ROOM_MIN: usize =
    SNAPSHOT_HEAD_LEN + OWN_STATE_LEN + RELATIONS_LEN + VISIBLE_MAX + ENTRY_TOTAL_MAX;

/// The entries of one row encoded in the current tick.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line {
    tick: Tick,
    /// Since when the row has had its occupant.
    since: Tick,
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
    /// Bytes of those.
    pub bytes: u64,
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
            since: 0,
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
    /// Bit f: faction f is an enemy of the player.
    pub enemies: u64,
    /// Sequence of the packet that will carry the snapshot.
    pub sequence: u64,
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
        relations: Option<u64>,
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
            relations,
        };
        let mut at = head.write(out);
        for slot in bits(table.leaving()) {
            out[at] = slot;
            at += 1;
        }
        let entries_at = at;
        let (len, described) = self.entries(table, changed, base_age, out, at);
        let entries = described.count_ones();
        SnapshotHead::patch_entries(out, entries as u8);
        table.remember(viewer.sequence, tick, described);
        self.tally.sent += u64::from(entries);
        self.tally.bytes += (len - entries_at) as u64;
        len
    }

    /// Writes the entries of the slots in `changed` behind `at`, the most urgent first, as many as
    /// fit; returns the end and the slots that were described.
    #[inline]
    fn entries(
        &mut self,
        table: &mut SlotTable,
        changed: ChangedSlots,
        base_age: u8,
        out: &mut [u8],
        mut at: usize,
    ) -> (usize, u128) {
        let tick = self.published.tick();
        let sets = changed.into_iter().flat_map(|level| [level as u64, (level >> 64) as u64]);
        let mut described = [0; 2];
        'room: for (part, set) in sets.enumerate() {
            let half = part % 2;
            let rows = &table.row.as_chunks::<HALF>().0[half];
            let acknowledged = &table.acknowledged.as_chunks::<HALF>().0[half];
            let (mut left, mut silent) = (set, 0);
            while left != 0 {
                let place = left.trailing_zeros() as usize % HALF;
                let slot = (half * HALF + place) as u8;
                let age = slot_age(tick, acknowledged[place]);
                let trail = self.published.trail(rows[place]);
                if let Some(step) = trail.step(age)
                    && trail.since <= table.selected
                    && let Some(room) = out.get_mut(at..at + STEP_TOTAL_MAX)
                {
                    // The usual case: somebody walked on.
                    let head = write_entry_head(slot, age, base_age, room);
                    room[head..head + STEP_LEN].copy_from_slice(&step_body(step));
                    at += head + STEP_LEN;
                    left &= left - 1;
                    continue;
                }
                let line = &self.cache.lines[rows[place] as usize];
                let way = usize::from(age) % WAYS;
                let known = line.tick == tick && line.ages[way] == age;
                if known
                    && line.since <= table.selected
                    && let Some(room) = out.get_mut(at..at + CELL + 2)
                {
                    // A copy of constant length is one load and one store.
                    let head = write_entry_head(slot, age, base_age, room);
                    room[head..head + CELL].copy_from_slice(&line.cells[way]);
                    at += head + usize::from(line.lens[way]);
                } else {
                    let entry = Entry { slot, row: rows[place], age, base_age };
                    match self.unusual(&entry, table.selected, &mut out[at..]) {
                        Some(0) => silent |= 1 << place,
                        Some(written) => at += written,
                        None => {
                            described[half] |= set & !left & !silent;
                            let all = changed.iter().fold(0, |all, level| all | level);
                            let rest = all & !join(described);
                            self.tally.deferred += u64::from(rest.count_ones());
                            break 'room;
                        }
                    }
                }
                left &= left - 1;
            }
            described[half] |= set & !silent;
        }
        (at, join(described))
    }

    /// Makes the bytes of an entry that is not in the cache, or that might not fit. `Some(0)` if
    /// there is nothing to write, `None` if it does not fit.
    #[cold]
    #[inline(never)]
    fn unusual(&mut self, entry: &Entry, selected: Tick, out: &mut [u8]) -> Option<usize> {
        let &Entry { row, age, .. } = entry;
        let tick = self.published.tick();
        let line = &mut self.cache.lines[row as usize];
        if line.tick != tick {
            line.tick = tick;
            line.since = self.published.trail(row).since;
            line.ages = [EMPTY; WAYS];
        }
        if line.since > selected {
            // The row has another occupant by now; `select` will remove the slot.
            return Some(0);
        }
        let now = self.published.state(row, tick);
        if now.is_hidden() {
            // It has hidden since the last selection; nobody is told where it went from there.
            return Some(0);
        }
        let way = usize::from(age) % WAYS;
        if line.ages[way] == age {
            return entry.write(&line.cells[way][..usize::from(line.lens[way])], out);
        }
        let body = match age {
            0 => Some(EntryBody::full(self.published.id(row), self.published.kind(row), now)),
            _ => EntryBody::delta(now, self.published.state(row, tick - Tick::from(age))),
        };
        // Nothing to say if the state went back to what the viewer has.
        let Some(body) = body else { return Some(0) };
        self.tally.encoded += 1;
        let bytes = body.as_slice();
        if let Some(cell) = line.cells[way].get_mut(..bytes.len()) {
            cell.copy_from_slice(bytes);
            line.ages[way] = age;
            line.lens[way] = bytes.len() as u8;
        }
        entry.write(bytes, out)
    }
}

/// A set of slots from its two words.
fn join([low, high]: [u64; 2]) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}

/// What is to be described, and against what.
struct Entry {
    slot: u8,
    row: u32,
    age: u8,
    base_age: u8,
}

impl Entry {
    /// Writes the entry with the body `bytes` if it fits.
    fn write(&self, bytes: &[u8], out: &mut [u8]) -> Option<usize> {
        let head = if self.age != 0 && self.age == self.base_age { 1 } else { 2 };
        let room = out.get_mut(..head + bytes.len())?;
        write_entry_head(self.slot, self.age, self.base_age, room);
        room[head..].copy_from_slice(bytes);
        Some(head + bytes.len())
    }
}

/// Age of the baseline `acknowledged` seen from `tick`: 1..=62, or 0 if there is none that can
/// still be read while the next tick is written.
#[inline]
pub fn baseline_age(tick: Tick, acknowledged: Tick) -> u8 {
    let age = tick.wrapping_sub(acknowledged);
    if acknowledged != 0 && (1..=HISTORY_REACH).contains(&age) { age as u8 } else { 0 }
}

/// [`baseline_age`] for a tick of 16 bits; what is not known is out of reach.
#[inline]
pub(super) fn slot_age(tick: Tick, acknowledged: u16) -> u8 {
    let age = (tick as u16).wrapping_sub(acknowledged);
    if (1..=HISTORY_REACH as u16).contains(&age) { age as u8 } else { 0 }
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
