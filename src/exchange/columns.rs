//! The memory of the exchange: columns that one thread writes while others read what it wrote
//! before. The one place of the exchange with `unsafe`, and its argument.
//!
//! Every column consists of pages: 64 of states (the history), two of everything else. Page
//! `tick mod pages` belongs to a tick. **The law**, kept by `member`, which alone calls the
//! functions of this file:
//!
//! 1. In tick k a member writes pages of tick k only, and of these only the rows it owns (the table
//!    of owners below) and the pages of its own.
//! 2. A member reads pages of ticks k − 62 to k (states) and k (everything else) only after all
//!    members have arrived at the meeting of tick k, and not after it arrived at the meeting of
//!    k + 1 itself.
//!
//! Why no two threads touch the same element, one of them writing: let R read in the view of tick
//! k and W write in tick j. While R reads, it has not arrived at the meeting of k + 1.
//!
//! * j ≤ k: W arrived at the meeting of j after its writes and R read after that of k, so the
//!   writes happened before (each arrival releases, whoever finds that all have met acquires).
//! * j = k + 1: k + 1 and k differ modulo two, and k + 1 differs from each of k − 62 .. k modulo
//!   64, so the pages are different ones.
//! * j ≥ k + 2: W is past the meeting of k + 1, at which R arrived after its reads, so the reads
//!   happened before. This is why an arrival releases even if nothing was written.
//!
//! Two writers of one place in different ticks are ordered by the meeting between them. In one
//! tick they write different rows, or one row in turn: a row has one owner, nobody but the owner
//! takes it from him (so what he checked still holds when he writes), and whoever gives it away
//! releases it after its writes and the next owner acquires it before his. Ticks may wrap, as both
//! moduli divide 2³²; the count of meetings may not, and is kept apart from them.
//!
//! `tests/exchange_protocol.rs` runs this argument through a model checker.
//!
//! A member that was given up (the barrier was closed) can still read and write by this law, and
//! nobody gets past the meeting that it missed: the survivors go on with another exchange, the
//! *successor*. Before its first meeting
//!
//! 3. a member writes, besides what rule 1 allows, states of earlier ticks of rows it owns, and
//!    nobody reads states (`Published::state` refuses them until the first meeting took place).
//!    What it writes there it reads from the old exchange, own rows only: nobody writes those any
//!    more, and whoever wrote them before released the row to us.
#![allow(unsafe_code, reason = "shards read without a lock what others wrote; argued above")]

use crate::limits::HISTORY_TICKS;
use crate::state::{Kind, QuantizedState, Stir, Trail};
use crate::units::{EntityId, Tick};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicU8, Ordering};

/// Pages of a column that shows the last tick only.
const PAGES: usize = 2;

/// Ticks before the last one whose states can be read while the next one is written.
pub const HISTORY_REACH: Tick = HISTORY_TICKS as Tick - 2;

/// Nobody owns the row: the gate may grant it.
const KEEPER: u8 = 0;

/// A place that several threads see and that the law above gives to one of them at a time.
#[derive(Debug)]
#[repr(transparent)]
struct Place<T>(UnsafeCell<T>);

// SAFETY: a place is written by one thread at a time and read by others only while nobody writes:
// the law at the top of the file. `Send` since a value may be dropped on another thread than the
// one that wrote it, `Sync` since several threads read it.
unsafe impl<T: Send + Sync> Sync for Place<T> {}

fn places<T: Clone>(count: usize, value: &T) -> Box<[Place<T>]> {
    (0..count).map(|_| Place(UnsafeCell::new(value.clone()))).collect()
}

/// A slice of places as a slice of values.
///
/// # Safety
/// Nobody writes one of the places as long as the result lives.
unsafe fn values<T>(places: &[Place<T>]) -> &[T] {
    // SAFETY: `Place` is transparent over `UnsafeCell`, which "has the same in-memory
    // representation as its inner type T" (std); so pointer and length stay valid, and the caller
    // promises that nothing is written meanwhile.
    unsafe { std::slice::from_raw_parts(places.as_ptr().cast(), places.len()) }
}

/// Columns over all published rows.
#[derive(Debug)]
pub(super) struct Columns {
    rows: usize,
    /// Member + 1 that writes the row, or `KEEPER`.
    owner: Box<[AtomicU8]>,
    history: Box<[Place<QuantizedState>]>,
    changed: Box<[Place<Tick>]>,
    ids: Box<[Place<EntityId>]>,
    trails: Box<[Place<Trail>]>,
    kinds: Box<[Place<Kind>]>,
    stirs: Box<[Place<Stir>]>,
    hosts: Box<[Place<u8>]>,
}

/// One value per member and tick.
#[derive(Debug)]
pub(super) struct Pages<P>(Box<[Place<P>]>);

/// What is published of one entity.
#[derive(Clone, Copy, Debug)]
pub struct PublishedRow {
    /// State at the tick.
    pub state: QuantizedState,
    /// Tick at which the state last differed from the tick before.
    pub changed: Tick,
    /// The entity, or `EntityId::NONE` for a row without one.
    pub id: EntityId,
    /// Since when it has had the row, and what it did lately.
    pub trail: Trail,
    /// Its kind.
    pub kind: Kind,
    /// How much is going on with it.
    pub stir: Stir,
    /// The member that will have the entity in the tick after the next: what is sent to the entity
    /// in the next tick goes there. A hand-over is announced here one tick ahead, so that nothing
    /// arrives where the entity has just left.
    pub host: u8,
}

impl PublishedRow {
    /// A row without an entity.
    pub const EMPTY: Self = Self {
        state: QuantizedState::DEFAULT,
        changed: 0,
        id: EntityId::NONE,
        trail: Trail::NONE,
        kind: Kind::Player,
        stir: Stir::Still,
        host: 0,
    };

    /// A row that has been without an entity since `since`.
    pub fn empty_since(since: Tick) -> Self {
        Self { trail: Trail { since, ..Trail::NONE }, ..Self::EMPTY }
    }
}

impl Columns {
    /// Columns in which every row has been empty since `since`.
    pub(super) fn new(rows: usize, since: Tick) -> Self {
        let empty = PublishedRow::empty_since(since);
        Self {
            rows,
            owner: (0..rows).map(|_| AtomicU8::new(KEEPER)).collect(),
            history: places(rows * HISTORY_TICKS, &empty.state),
            changed: places(rows * PAGES, &empty.changed),
            ids: places(rows * PAGES, &empty.id),
            trails: places(rows * PAGES, &empty.trail),
            kinds: places(rows * PAGES, &empty.kind),
            stirs: places(rows * PAGES, &empty.stir),
            hosts: places(rows * PAGES, &empty.host),
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes held for good.
    pub(super) fn memory_bytes(&self) -> usize {
        size_of_val(&*self.owner)
            + size_of_val(&*self.history)
            + size_of_val(&*self.changed)
            + size_of_val(&*self.ids)
            + size_of_val(&*self.trails)
            + size_of_val(&*self.kinds)
            + size_of_val(&*self.stirs)
            + size_of_val(&*self.hosts)
    }

    /// The member that owns `row`; `None` if it is the gate's to grant.
    pub(super) fn owner(&self, row: u32) -> Option<usize> {
        usize::from(self.owner[row as usize].load(Ordering::Acquire)).checked_sub(1)
    }

    /// Gives `row` from one owner to another, `None` being the gate. Tells whether `from` owned it.
    pub(super) fn give(&self, row: u32, from: Option<usize>, to: Option<usize>) -> bool {
        let [from, to] = [from, to].map(|member| member.map_or(KEEPER, |m| m as u8 + 1));
        let owner = &self.owner[row as usize];
        owner.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    fn history_page(&self, tick: Tick) -> &[Place<QuantizedState>] {
        &self.history[(tick as usize % HISTORY_TICKS) * self.rows..][..self.rows]
    }

    fn page<'a, T>(&self, column: &'a [Place<T>], tick: Tick) -> &'a [Place<T>] {
        &column[(tick as usize % PAGES) * self.rows..][..self.rows]
    }

    /// Writes a row of `tick`.
    ///
    /// # Safety
    /// The caller keeps rule 1 of the law: it owns `row` and is in tick `tick`.
    pub(super) unsafe fn write(&self, tick: Tick, row: u32, value: &PublishedRow) {
        let row = row as usize;
        // SAFETY: the caller owns the row in this tick, so by the argument at the top no other
        // thread reads or writes these places now, and no reference to them lives.
        unsafe {
            *self.history_page(tick)[row].0.get() = value.state;
            *self.page(&self.changed, tick)[row].0.get() = value.changed;
            *self.page(&self.ids, tick)[row].0.get() = value.id;
            *self.page(&self.trails, tick)[row].0.get() = value.trail;
            *self.page(&self.kinds, tick)[row].0.get() = value.kind;
            *self.page(&self.stirs, tick)[row].0.get() = value.stir;
            *self.page(&self.hosts, tick)[row].0.get() = value.host;
        }
    }

    /// State of one row at `tick`.
    ///
    /// # Safety
    /// The caller owns `row` and `tick` is within reach of its last one.
    pub(super) unsafe fn state(&self, tick: Tick, row: u32) -> QuantizedState {
        // SAFETY: the owner alone writes the row, and the caller is the owner.
        unsafe { *self.history_page(tick)[row as usize].0.get() }
    }

    /// Writes a state of an earlier tick.
    ///
    /// # Safety
    /// Rule 3 of the law: the caller owns `row`, and the first meeting has not taken place.
    pub(super) unsafe fn write_state(&self, tick: Tick, row: u32, state: QuantizedState) {
        // SAFETY: nobody reads states before the first meeting, and the owner alone writes.
        unsafe { *self.history_page(tick)[row as usize].0.get() = state }
    }

    /// States of `tick`.
    ///
    /// # Safety
    /// The caller keeps rule 2 of the law as long as the result lives.
    pub(super) unsafe fn states(&self, tick: Tick) -> &[QuantizedState] {
        // SAFETY: by rule 2 nobody writes this page meanwhile.
        unsafe { values(self.history_page(tick)) }
    }

    /// Everything as of `tick`, with the states of as many ticks before it as `reach` says.
    ///
    /// # Safety
    /// The caller keeps rule 2 of the law as long as the result lives.
    pub(super) unsafe fn published(&self, tick: Tick, reach: Option<Tick>) -> Published<'_> {
        // SAFETY: by rule 2 nobody writes these pages meanwhile.
        unsafe {
            Published {
                columns: self,
                tick,
                reach,
                changed: values(self.page(&self.changed, tick)),
                ids: values(self.page(&self.ids, tick)),
                trails: values(self.page(&self.trails, tick)),
                kinds: values(self.page(&self.kinds, tick)),
                stirs: values(self.page(&self.stirs, tick)),
                hosts: values(self.page(&self.hosts, tick)),
            }
        }
    }
}

impl<P: Clone> Pages<P> {
    pub(super) fn new(members: usize, value: &P) -> Self {
        Self(places(members * PAGES, value))
    }
}

impl<P> Pages<P> {
    /// The value of `member` for `tick`, to write to.
    ///
    /// # Safety
    /// The caller is `member`, is in tick `tick` (rule 1 of the law), and holds no other reference
    /// to this value.
    #[expect(clippy::mut_from_ref, reason = "the law of the file makes it the only reference")]
    pub(super) unsafe fn page_mut(&self, member: usize, tick: Tick) -> &mut P {
        // SAFETY: by rule 1 nobody but the caller touches this place, and it holds one reference.
        unsafe { &mut *self.0[member * PAGES + tick as usize % PAGES].0.get() }
    }

    /// The value of `member` for `tick`.
    ///
    /// # Safety
    /// The caller keeps rule 2 of the law as long as the result lives.
    pub(super) unsafe fn page(&self, member: usize, tick: Tick) -> &P {
        // SAFETY: by rule 2 nobody writes this place meanwhile.
        unsafe { &*self.0[member * PAGES + tick as usize % PAGES].0.get() }
    }
}

/// What all members published up to one tick. All columns have one item per row.
#[derive(Clone, Copy)]
pub struct Published<'a> {
    columns: &'a Columns,
    tick: Tick,
    /// Ticks before this one whose states can be read; `None` before the first meeting.
    reach: Option<Tick>,
    changed: &'a [Tick],
    ids: &'a [EntityId],
    trails: &'a [Trail],
    kinds: &'a [Kind],
    stirs: &'a [Stir],
    hosts: &'a [u8],
}

impl<'a> Published<'a> {
    /// The tick.
    pub fn tick(&self) -> Tick {
        self.tick
    }

    /// Rows in all.
    pub fn rows(&self) -> usize {
        self.changed.len()
    }

    /// State of `row` at `tick`, at most [`HISTORY_REACH`] ticks before this one.
    ///
    /// # Panics
    /// If the tick is out of reach.
    #[inline]
    pub fn state(&self, row: u32, tick: Tick) -> &'a QuantizedState {
        let age = self.tick.wrapping_sub(tick);
        assert!(self.reach.is_some_and(|reach| age <= reach), "the page is being overwritten");
        // SAFETY: whoever made `self` keeps rule 2 of the law as long as `'a` lasts, and the page
        // is one of those that the rule allows.
        let states = unsafe { self.columns.states(tick) };
        &states[row as usize]
    }

    /// Tick at which each row last changed.
    #[inline]
    pub fn changed(&self) -> &'a [Tick] {
        self.changed
    }

    /// Occupant of `row`, `EntityId::NONE` if there is none.
    #[inline]
    pub fn id(&self, row: u32) -> EntityId {
        self.ids[row as usize]
    }

    /// Occupant of each row.
    pub fn ids(&self) -> &'a [EntityId] {
        self.ids
    }

    /// What the occupant of `row` did lately, and since when it has had the row. A slot remembers
    /// the row of its entity and not the entity: whoever came after the viewer's last selection is
    /// another one.
    #[inline]
    pub fn trail(&self, row: u32) -> &'a Trail {
        &self.trails[row as usize]
    }

    /// How much is going on with the occupant of `row`.
    #[inline]
    pub fn stir(&self, row: u32) -> Stir {
        self.stirs[row as usize]
    }

    /// Kind of the occupant of `row`.
    #[inline]
    pub fn kind(&self, row: u32) -> Kind {
        self.kinds[row as usize]
    }

    /// The member that will have the occupant of `row` in the tick after the next.
    #[inline]
    pub fn host(&self, row: u32) -> usize {
        usize::from(self.hosts[row as usize])
    }
}

impl std::fmt::Debug for Published<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Published").field("tick", &self.tick).field("rows", &self.rows()).finish()
    }
}
