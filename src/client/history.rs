//! The states a client received, per slot: what deltas are applied to and what the view shows.
//!
//! Owns the slot table and its memory. Never reads bytes of a packet: `snapshot` decodes, this
//! remembers. Called by `snapshot` (look up a baseline, add a state) and by `view` (read the
//! newest).
//!
//! ```text
//! slot 17 ── ring { block 5, capacity 4, newest 2, live 3 }
//!              blocks[5..7] = [ tick 98 | tick 99 ] [ tick 100 | (free) ]
//!                                oldest                newest
//! ```
//! A ring is contiguous and starts with two states, which is one cache line: enough while every
//! acknowledgment is in time for the next tick. It doubles when more are needed, up to the 64 ticks
//! after which the protocol no longer refers to a state. A swarm has thousands of clients and
//! touches every one of them each tick, so what counts here is the number of cache lines, not the
//! number of instructions.

use super::Hint;
use crate::limits::{AGE_MAX, HISTORY_TICKS, VISIBLE_MAX};
use crate::state::{Kind, QuantizedState};
use crate::units::{EntityId, STEPS_XY, Tick};
use std::cmp::Ordering;
use std::slice::from_ref;

/// States in the smallest ring, and in the block that memory is handed out in.
const BLOCK: usize = 2;
/// Capacities: 2, 4, 8, 16, 32, 64.
const CLASSES: usize = 6;
/// Slots that are likely to be occupied: servers fill the lowest first.
const LIKELY: usize = 64;
/// End of a free list.
const NONE: u16 = u16::MAX;

const _: () = assert!(BLOCK << (CLASSES - 1) == HISTORY_TICKS);
const _: () = assert!(
    VISIBLE_MAX * (2 * HISTORY_TICKS / BLOCK) < NONE as usize,
    "block numbers fit 16 bits even if every slot went through every capacity"
);

/// A state and the tick it belongs to, in 32 bytes: the tick lies in bits that are zero in every
/// state inside the map, twelve above x, twelve above y and the reserved byte.
#[derive(Clone, Copy)]
struct Record(QuantizedState);

/// Bits of x and y that are the state's.
const STEP_BITS: u32 = 20;
const STEP_MASK: u32 = (1 << STEP_BITS) - 1;

const _: () = assert!(STEPS_XY <= 1 << STEP_BITS);

impl Record {
    const EMPTY: Self = Self(QuantizedState::DEFAULT);

    #[inline]
    fn new(tick: Tick, state: &QuantizedState) -> Self {
        Self(QuantizedState {
            x: state.x | tick << STEP_BITS,
            y: state.y | tick >> 12 << STEP_BITS,
            reserved: (tick >> 24) as u8,
            ..*state
        })
    }

    #[inline]
    fn tick(&self) -> Tick {
        let Self(QuantizedState { x, y, reserved, .. }) = *self;
        x >> STEP_BITS | y >> STEP_BITS << 12 | u32::from(reserved) << 24
    }

    #[inline]
    fn state(&self) -> QuantizedState {
        let Self(state) = *self;
        QuantizedState { x: state.x & STEP_MASK, y: state.y & STEP_MASK, reserved: 0, ..state }
    }
}

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Block([Record; BLOCK]);

const _: () = assert!(size_of::<Block>() == 64, "a ring of two is one cache line");

/// Where the states of one slot lie. A slot without an entity has `live == 0` and keeps its memory.
#[derive(Clone, Copy)]
struct Ring {
    /// First block, `NONE` before the slot was ever used.
    block: u16,
    /// Capacity is `BLOCK << class`.
    class: u8,
    /// Position of the newest state.
    newest: u8,
    /// States held, the newest and those before it.
    live: u8,
    kind: Kind,
}

impl Ring {
    const UNUSED: Self = Self { block: NONE, class: 0, newest: 0, live: 0, kind: Kind::Player };

    fn capacity(&self) -> usize {
        BLOCK << self.class
    }

    /// Position of the state `back` before the newest.
    fn position(&self, back: usize) -> usize {
        usize::from(self.newest).wrapping_sub(back) & (self.capacity() - 1)
    }
}

/// The slots of one client: at most `VISIBLE_MAX` entities, each with the states received for it.
pub(super) struct History {
    occupied: u128,
    entities: [u32; VISIBLE_MAX],
    rings: [Ring; VISIBLE_MAX],
    blocks: Vec<Block>,
    /// First free run of blocks per capacity; the next one is linked through its first record's
    /// tick.
    free: [u16; CLASSES],
}

impl History {
    /// An empty table. Memory for states is taken when slots are first used.
    pub(super) fn new() -> Self {
        Self {
            occupied: 0,
            entities: [0; VISIBLE_MAX],
            rings: [Ring::UNUSED; VISIBLE_MAX],
            blocks: Vec::new(),
            free: [NONE; CLASSES],
        }
    }

    /// Bit i is set if slot i holds an entity.
    pub(super) fn occupied(&self) -> u128 {
        self.occupied
    }

    /// Asks for the tables of the slots.
    pub(super) fn anticipate(&self, hint: &impl Hint) {
        hint.soon(from_ref(&self.occupied));
        hint.soon(&self.rings[..LIKELY]);
    }

    /// Asks for the states that the deltas of a snapshot are likely to need.
    pub(super) fn anticipate_states(&self, hint: &impl Hint) {
        for word in [self.occupied as u64, (self.occupied >> 64) as u64].into_iter().enumerate() {
            let (half, mut left) = word;
            while left != 0 {
                let ring = &self.rings[(half * 64 + left.trailing_zeros() as usize) & 127];
                left &= left - 1;
                let first = usize::from(ring.block);
                if let Some(blocks) =
                    self.blocks.get(first..first + 1 + usize::from(ring.class > 0))
                {
                    hint.soon(blocks);
                }
            }
        }
    }

    /// Whether `slot` holds an entity.
    pub(super) fn is_occupied(&self, slot: u8) -> bool {
        self.occupied >> (slot & 127) & 1 == 1
    }

    /// Bytes of heap memory held.
    pub(super) fn heap_bytes(&self) -> usize {
        self.blocks.capacity() * size_of::<Block>()
    }

    /// The entity in `slot` with its newest state and the tick of it.
    pub(super) fn newest(&self, slot: u8) -> Option<(EntityId, Kind, Tick, QuantizedState)> {
        let ring = self.rings.get(usize::from(slot)).filter(|ring| ring.live > 0)?;
        let entity = EntityId(*self.entities.get(usize::from(slot))?);
        let newest = self.record(ring, 0);
        Some((entity, ring.kind, newest.tick(), newest.state()))
    }

    /// The slots that hold `entity`, as bits. A correct server gives every entity one slot at most.
    pub(super) fn slots_of(&self, entity: EntityId) -> u128 {
        // Compares all slots and masks afterwards, so that there is no branch per slot.
        let mut equal = 0u128;
        for (slot, &held) in self.entities.iter().enumerate() {
            equal |= u128::from(held == entity.0) << slot;
        }
        equal & self.occupied
    }

    /// Copies the state of `slot` at `tick` to `out`, if the slot is occupied and that state was
    /// received and is still held. Returns how many states of the slot are newer than it, and the
    /// kind of its occupant. `applied` is the tick of the newest applied snapshot.
    #[inline]
    pub(super) fn baseline(
        &self,
        slot: u8,
        tick: Tick,
        applied: Tick,
        out: &mut QuantizedState,
    ) -> Option<(u8, Kind)> {
        let ring = self.rings.get(usize::from(slot)).filter(|ring| ring.live > 0)?;
        // What moves is in every snapshot: if none was lost, the state lies as many places back as
        // it is ticks old. One look then, and no line of the cache but the one that is needed.
        let guess = applied.wrapping_sub(tick).min(u32::from(ring.live) - 1) as u8;
        let newer = if self.record(ring, usize::from(guess)).tick() == tick {
            guess
        } else {
            self.search(ring, tick)?
        };
        *out = self.record(ring, usize::from(newer)).state();
        Some((newer, ring.kind))
    }

    /// How many states of `ring` are newer than the one at `tick`. A client that lags behind must
    /// not pay for its age, so this is a binary search.
    #[cold]
    fn search(&self, ring: &Ring, tick: Tick) -> Option<u8> {
        let (mut near, mut far) = (0, ring.live);
        while near < far {
            let middle = near.midpoint(far);
            let found = self.record(ring, usize::from(middle)).tick();
            match found.cmp(&tick) {
                Ordering::Equal => return Some(middle),
                Ordering::Greater => near = middle + 1,
                Ordering::Less => far = middle,
            }
        }
        None
    }

    /// Empties `slot`; an empty one stays as it is.
    pub(super) fn remove(&mut self, slot: u8) {
        self.occupied &= !(1u128 << (slot & 127));
        if let Some(ring) = self.rings.get_mut(usize::from(slot)) {
            ring.live = 0;
        }
    }

    /// Puts `entity` into `slot`, whatever was there, with a state that needs no baseline. If it
    /// was there already, its states stay: until one of them is acknowledged the server describes
    /// the entity in full each time, and then builds on any of them.
    pub(super) fn place(
        &mut self,
        slot: u8,
        entity: EntityId,
        kind: Kind,
        tick: Tick,
        state: &QuantizedState,
    ) {
        let index = usize::from(slot);
        let (Some(held), Some(&ring)) = (self.entities.get_mut(index), self.rings.get(index))
        else {
            debug_assert!(false, "slots are seven bits on the wire");
            return;
        };
        let stays = *held == entity.0 && ring.live > 0;
        *held = entity.0;
        self.occupied |= 1u128 << index;
        let ring = if ring.block == NONE {
            Ring { block: self.take_blocks(0), class: 0, ..ring }
        } else {
            ring
        };
        let live = if stays { ring.live } else { 0 };
        self.rings[index] = Ring { live, kind, ..ring };
        self.push(slot, tick, state);
    }

    /// Adds the state of `slot` at `tick`, made from a baseline that has `newer` states after it.
    /// States before that baseline are forgotten: the baselines of a slot never go back in time.
    pub(super) fn advance(&mut self, slot: u8, newer: u8, tick: Tick, state: &QuantizedState) {
        if let Some(ring) = self.rings.get_mut(usize::from(slot)) {
            ring.live = ring.live.min(newer + 1);
            self.push(slot, tick, state);
        }
    }

    fn push(&mut self, slot: u8, tick: Tick, state: &QuantizedState) {
        let mut ring = self.rings[usize::from(slot)];
        if usize::from(ring.live) == ring.capacity() {
            ring = self.make_room(ring, tick);
        }
        ring.newest = ring.position(ring.capacity() - 1) as u8;
        ring.live += 1;
        *self.record_mut(&ring, 0) = Record::new(tick, state);
        self.rings[usize::from(slot)] = ring;
    }

    /// Frees at least one place in a full ring: drops what is too old to be a baseline, else
    /// doubles it.
    #[cold]
    fn make_room(&mut self, mut ring: Ring, tick: Tick) -> Ring {
        let oldest_useful = tick.saturating_sub(AGE_MAX);
        while ring.live > 1 && self.record(&ring, usize::from(ring.live) - 1).tick() < oldest_useful
        {
            ring.live -= 1;
        }
        if usize::from(ring.live) < ring.capacity() {
            return ring;
        }
        if usize::from(ring.class) + 1 == CLASSES {
            // 64 states within 63 ticks cannot happen, as ticks only go up; a bound all the same.
            ring.live -= 1;
            return ring;
        }
        let block = self.take_blocks(ring.class + 1);
        let mut larger = Ring { block, class: ring.class + 1, newest: ring.live - 1, ..ring };
        for back in 0..usize::from(ring.live) {
            *self.record_mut(&larger, back) = *self.record(&ring, back);
        }
        let class = usize::from(ring.class);
        let next = self.free[class];
        self.free[class] = ring.block;
        self.blocks[usize::from(ring.block)].0[0] =
            Record::new(u32::from(next), &QuantizedState::DEFAULT);
        larger.live = ring.live;
        larger
    }

    /// A run of `1 << class` blocks: a free one, else new memory.
    fn take_blocks(&mut self, class: u8) -> u16 {
        let first = self.free[usize::from(class)];
        if first != NONE {
            self.free[usize::from(class)] = self.blocks[usize::from(first)].0[0].tick() as u16;
            return first;
        }
        let start = self.blocks.len();
        let wanted = 1 << class;
        if self.blocks.capacity() < start + wanted {
            // Sixteen blocks at a time, not doubling: thousands of clients share one process.
            self.blocks.reserve_exact(wanted.max(16));
        }
        self.blocks.resize(start + wanted, Block([Record::EMPTY; BLOCK]));
        start as u16
    }

    fn record(&self, ring: &Ring, back: usize) -> &Record {
        let position = ring.position(back);
        &self.blocks[usize::from(ring.block) + position / BLOCK].0[position % BLOCK]
    }

    fn record_mut(&mut self, ring: &Ring, back: usize) -> &mut Record {
        let position = ring.position(back);
        &mut self.blocks[usize::from(ring.block) + position / BLOCK].0[position % BLOCK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn state(n: u32) -> QuantizedState {
        QuantizedState { x: n % 524_288, effects: n, ..QuantizedState::DEFAULT }
    }

    fn lookup(history: &History, slot: u8, tick: Tick) -> Option<(QuantizedState, u8)> {
        let mut out = QuantizedState::DEFAULT;
        let (newer, _) = history.baseline(slot, tick, tick + 3, &mut out)?;
        Some((out, newer))
    }

    #[test]
    fn a_tick_and_a_state_share_a_record_and_neither_changes_the_other() {
        let corner = QuantizedState { x: STEPS_XY - 1, y: STEPS_XY - 1, ..state(77) };
        for tick in (0..32).map(|bit| 1 << bit).chain([0, 0x89AB_CDEF, Tick::MAX]) {
            for state in [QuantizedState::DEFAULT, corner] {
                let record = Record::new(tick, &state);
                assert_eq!((record.tick(), record.state()), (tick, state));
            }
        }
    }

    /// The dumber model: every slot is a map from tick to state.
    #[derive(Default)]
    struct Model {
        slots: BTreeMap<u8, (EntityId, BTreeMap<Tick, QuantizedState>)>,
    }

    fn check(history: &History, model: &Model, tick: Tick, seed: u64) {
        for slot in 0..128u8 {
            let held = history.newest(slot);
            let expected = model.slots.get(&slot);
            assert_eq!(held.is_some(), expected.is_some(), "slot {slot}, seed {seed}");
            assert_eq!(history.occupied() >> slot & 1 == 1, expected.is_some(), "seed {seed}");
            let Some((entity, states)) = expected else { continue };
            let (held_entity, _, newest_tick, newest) = held.expect("compared above");
            assert_eq!(held_entity, *entity);
            assert_eq!(Some((&newest_tick, &newest)), states.last_key_value());
            for age in 1..=AGE_MAX.min(tick) {
                let found = lookup(history, slot, tick - age).map(|(state, _)| state);
                assert_eq!(found.as_ref(), states.get(&(tick - age)), "age {age}, seed {seed}");
            }
        }
    }

    #[test]
    fn a_slot_remembers_exactly_what_a_map_from_tick_to_state_remembers() {
        for seed in 0..20u64 {
            let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
            let mut roll = |below: u64| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                random % below
            };
            let (mut history, mut model) = (History::new(), Model::default());
            for tick in 1..400 {
                for _ in 0..roll(40) {
                    let slot = roll(128) as u8;
                    let value = state(roll(1 << 30) as u32);
                    match (roll(8), model.slots.get_mut(&slot)) {
                        (0, _) => {
                            history.remove(slot);
                            model.slots.remove(&slot);
                        }
                        (_, None) => {
                            let entity = EntityId(roll(1 << 31) as u32 + 1);
                            history.place(slot, entity, Kind::Npc, tick, &value);
                            model.slots.insert(slot, (entity, BTreeMap::from([(tick, value)])));
                        }
                        (_, Some((_, states))) if !states.contains_key(&tick) => {
                            let useful = states.keys().filter(|&&held| held + AGE_MAX >= tick);
                            let Some(&base) = useful.clone().nth(roll(4) as usize) else {
                                continue;
                            };
                            let (_, newer) =
                                lookup(&history, slot, base).expect("the model has it");
                            history.advance(slot, newer, tick, &value);
                            states.retain(|&held, _| held >= base);
                            states.insert(tick, value);
                        }
                        _ => {}
                    }
                }
                if tick % 16 == 0 {
                    for (_, states) in model.slots.values_mut() {
                        let newest = *states.keys().next_back().expect("never empty");
                        states.retain(|&held, _| held + AGE_MAX >= tick || held == newest);
                    }
                    check(&history, &model, tick, seed);
                }
            }
        }
    }

    #[test]
    fn steady_deltas_need_no_more_memory() {
        let mut history = History::new();
        for slot in 0..50 {
            history.place(slot, EntityId(u32::from(slot) + 1), Kind::Player, 1, &state(1));
        }
        let mut settled = 0;
        for tick in 2..1000u32 {
            for slot in 0..50 {
                let base = tick.saturating_sub(3).max(1);
                let (_, newer) = lookup(&history, slot, base).expect("held");
                history.advance(slot, newer, tick, &state(tick));
            }
            if tick == 10 {
                settled = history.heap_bytes();
            }
        }
        assert_eq!(history.heap_bytes(), settled);
        assert!(settled <= 64 * 192, "{settled} bytes for 50 slots");
    }

    #[test]
    fn an_entity_is_found_by_its_slot_until_it_is_removed() {
        let mut history = History::new();
        history.place(127, EntityId(9), Kind::Item, 1, &state(1));
        assert_eq!(history.slots_of(EntityId(9)), 1 << 127);
        assert_eq!(history.slots_of(EntityId(0)), 0, "an empty slot holds nobody");
        history.remove(127);
        assert_eq!(history.slots_of(EntityId(9)), 0);
        assert_eq!(lookup(&history, 127, 1), None);
    }

    #[test]
    fn an_outage_of_acknowledgments_is_bounded_by_64_states_per_slot() {
        let mut history = History::new();
        history.place(0, EntityId(1), Kind::Player, 1, &state(1));
        for tick in 2..5000 {
            let (held, _) = lookup(&history, 0, tick - 1).expect("the previous one is always held");
            // A server whose baseline never moves: everything since tick 1 looks needed.
            history.advance(0, 255 - 1, tick, &state(tick));
            assert_eq!(held, state(tick - 1));
        }
        assert!(history.heap_bytes() <= 80 * size_of::<Block>(), "{}", history.heap_bytes());
    }
}
