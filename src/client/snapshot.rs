//! From the bytes of a snapshot to the states of the slots, all or nothing.
//!
//! Every entry is decoded into a staging area first, as a delta's baseline may be missing or the
//! bytes may end early; only when the last one has been read does anything change. Called by
//! `session`.

use super::error::ClientError;
use super::history::History;
use crate::limits::VISIBLE_MAX;
use crate::state::{Kind, QuantizedState};
use crate::units::{EntityId, Tick};
use crate::wire::snapshot::{OwnState, SnapshotReader};

/// In `Staged::newer`: the entry is full, there is no baseline.
const FULL: u8 = u8::MAX;

#[derive(Clone, Copy)]
struct Staged {
    slot: u8,
    /// States of the slot newer than the baseline, or `FULL`.
    newer: u8,
    kind: Kind,
    entity: EntityId,
    state: QuantizedState,
}

/// Memory for the entries of one snapshot. One per thread serves any number of clients.
pub struct Scratch {
    staged: [Staged; VISIBLE_MAX],
    /// A message that came compressed.
    pub(super) inflated: Vec<u8>,
}

impl Default for Scratch {
    fn default() -> Self {
        let nothing = Staged {
            slot: 0,
            newer: FULL,
            kind: Kind::Player,
            entity: EntityId::NONE,
            state: QuantizedState::DEFAULT,
        };
        Self { staged: [nothing; VISIBLE_MAX], inflated: Vec::new() }
    }
}

/// Things a correct server never does, although the format allows them. Bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Breach(pub u8);

impl Breach {
    /// One entity in two slots.
    pub const DUPLICATE_ENTITY: Self = Self(0x01);
    /// An entity id whose generation is zero.
    pub const ENTITY_ID: Self = Self(0x02);
    /// The id of the player's own entity changed.
    pub const OWN_ID_CHANGED: Self = Self(0x04);
    /// The player's own entity among the visible ones.
    pub const OWN_VISIBLE: Self = Self(0x08);
    /// The own state is missing after the player entered the world.
    pub const OWN_MISSING: Self = Self(0x10);
    /// `last_processed_input` went back, or names an input that was never sent.
    pub const INPUT_ORDER: Self = Self(0x20);
    /// Number of kinds of breaches.
    pub const COUNT: usize = 6;

    /// The words used in reports, by bit.
    pub const NAMES: [&'static str; Self::COUNT] = [
        "duplicate_entity",
        "entity_id",
        "own_id_changed",
        "own_visible",
        "own_missing",
        "input_order",
    ];

    /// Whether all bits of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub(super) fn note(&mut self, other: Self, happened: bool) {
        self.0 |= if happened { other.0 } else { 0 };
    }
}

/// What one snapshot did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Applied {
    /// The tick it shows.
    pub tick: Tick,
    /// Ticks between the one applied before it and this one: their snapshots were lost or are late.
    pub missed_ticks: u32,
    /// Newest input the server had applied.
    pub last_processed_input: u32,
    /// `last_processed_input` of the snapshot applied before it.
    pub previous_input: u32,
    /// Entries.
    pub entries: u8,
    /// Of those, the full ones.
    pub full_entries: u8,
    /// Slots named as removed, the repeated ones included.
    pub removals: u8,
    /// Sum of the ages of the deltas, in ticks.
    pub age_sum: u16,
    /// Bytes of the message body.
    pub body_len: u16,
    /// Faults of the server.
    pub breaches: Breach,
}

/// What a snapshot says besides the slots.
pub(super) struct Told {
    pub(super) tick: Tick,
    pub(super) last_processed_input: u32,
    pub(super) own: Option<OwnState>,
    pub(super) relations: Option<u64>,
    pub(super) entries: u8,
    pub(super) full_entries: u8,
    pub(super) removals: u8,
    pub(super) age_sum: u16,
    pub(super) breaches: Breach,
}

/// A set of slots.
#[derive(Clone, Copy, Default)]
struct SlotBits([u64; 2]);

impl SlotBits {
    fn has(&self, slot: u8) -> bool {
        self.0[usize::from(slot >> 6 & 1)] >> (slot & 63) & 1 == 1
    }

    fn set(&mut self, slot: u8) {
        self.0[usize::from(slot >> 6 & 1)] |= 1 << (slot & 63);
    }
}

/// Applies `body` to `history` if its tick is newer than `newest`; `None` if it is not.
pub(super) fn apply(
    history: &mut History,
    newest: Tick,
    body: &[u8],
    scratch: &mut Scratch,
) -> Result<Option<Told>, ClientError> {
    let mut reader = SnapshotReader::parse(body)?;
    let head = *reader.head();
    if head.tick <= newest {
        return Ok(None);
    }
    let removed = reader.removed();
    let mut removed_bits = SlotBits::default();
    removed.iter().for_each(|&slot| removed_bits.set(slot));
    let (staged, told) = stage(history, newest, &mut reader, removed_bits, scratch)?;
    for &slot in removed {
        history.remove(slot);
    }
    let mut breaches = Breach::default();
    for entry in staged {
        if entry.newer == FULL {
            history.place(entry.slot, entry.entity, entry.kind, head.tick, &entry.state);
        } else {
            history.advance(entry.slot, entry.newer, head.tick, &entry.state);
        }
    }
    if told.full_entries > 0 {
        for entry in staged.iter().filter(|entry| entry.newer == FULL) {
            let slots = history.slots_of(entry.entity);
            breaches.note(Breach::DUPLICATE_ENTITY, slots.count_ones() != 1);
            breaches.note(Breach::ENTITY_ID, entry.entity.generation() == 0);
        }
    }
    Ok(Some(Told { breaches, ..told }))
}

/// Decodes all entries without changing anything.
fn stage<'a>(
    history: &History,
    newest: Tick,
    reader: &mut SnapshotReader<'_>,
    removed: SlotBits,
    scratch: &'a mut Scratch,
) -> Result<(&'a [Staged], Told), ClientError> {
    let head = *reader.head();
    let (mut named, mut count, mut full_entries, mut age_sum) = (SlotBits::default(), 0, 0, 0);
    while let Some(entry) = reader.next_entry()? {
        if named.has(entry.slot) {
            return Err(ClientError::SlotTwice);
        }
        named.set(entry.slot);
        let place = scratch.staged.get_mut(count).ok_or(ClientError::SnapshotRange)?;
        count += 1;
        if entry.age == 0 {
            let full = reader.read_full()?;
            full_entries += 1;
            *place = Staged {
                slot: entry.slot,
                newer: FULL,
                kind: full.kind,
                entity: full.id,
                state: full.state,
            };
            continue;
        }
        age_sum += u16::from(entry.age);
        // The state is built where it is staged: returning it by value through three calls costs
        // more than decoding it, as the copies wait for the stores of single fields before them.
        let base = head.tick.wrapping_sub(u32::from(entry.age));
        let kind = match history.baseline(entry.slot, base, newest, &mut place.state) {
            Some((newer, kind)) if !removed.has(entry.slot) => {
                place.newer = newer;
                kind
            }
            Some(_) => return Err(ClientError::EmptySlot),
            None if !history.is_occupied(entry.slot) => return Err(ClientError::EmptySlot),
            None => return Err(ClientError::NoBaseline),
        };
        reader.apply_delta(kind, &mut place.state)?;
        place.slot = entry.slot;
    }
    let told = Told {
        tick: head.tick,
        last_processed_input: head.last_processed_input,
        own: head.own,
        relations: head.relations,
        entries: head.entries,
        full_entries,
        removals: head.removals,
        age_sum,
        breaches: Breach::default(),
    };
    Ok((scratch.staged.get(..count).unwrap_or_default(), told))
}
