//! The protocol of the exchange under a model checker: interleavings of two or three members, and
//! the values that the memory model lets an atomic return. Models without a bound are explored in
//! full; the others up to the preemptions that each names, and three members that wait look a few
//! times only, so for those it is a search and no proof.
//!
//! The barrier and the sleepers are the very files of the product, compiled here over `loom`'s
//! atomics. Pages, history and owners are models of `src/exchange/columns.rs`: the same arithmetic
//! and orderings around cells whose accesses `loom` watches. A model that must fail stands next to
//! each that must hold, so that it is known what the checker would see.

use barrier::{Barrier, Meeting};
use loom::cell::UnsafeCell;
use loom::sync::atomic::AtomicU8;
use loom::thread;
use sleepers::Sleepers;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};
use sync::Ordering::{self, AcqRel, Acquire};

#[path = "../src/exchange/barrier.rs"]
#[allow(unreachable_pub, dead_code, reason = "part of the library, compiled a second time")]
mod barrier;

#[path = "../src/shard/meeting/sleepers.rs"]
mod sleepers;

/// What the product gets from the standard library. A place of `OnceLock` is written before it is
/// announced by an atomic, and by one thread; the standard one is outside the model.
mod sync {
    pub(super) use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
    pub(super) use loom::thread::{Thread, current};
    pub(super) use std::sync::OnceLock;
}

/// Runs all interleavings of `members` threads with at most `preemptions` of them interrupted where
/// they need not be; `None` is no bound.
fn explore<S: Send + Sync + 'static>(
    name: &str,
    members: usize,
    preemptions: Option<usize>,
    state: fn(usize) -> S,
    member: fn(&S, usize),
    end: fn(&S),
) {
    let executions = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&executions);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.max_branches = 10_000;
    builder.check(move || {
        counted.fetch_add(1, Relaxed);
        let state = Arc::new(state(members));
        // No member is the first thread: that one blocks in `join`, from where `loom` would wake it
        // by an `unpark` that comes late.
        let threads: Vec<_> = (0..members)
            .map(|place| {
                let state = Arc::clone(&state);
                thread::spawn(move || member(&state, place))
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("it does not panic"));
        end(&state);
    });
    println!("{name}, {members} threads: {} executions", executions.load(Relaxed));
}

/// A place of a column. `loom` watches the cell; the value is beside it, so that no pointer is
/// followed here.
struct Place {
    watched: UnsafeCell<()>,
    value: AtomicU32,
}

// SAFETY: the cell holds nothing. Its bookkeeping is shared between threads of the model, which
// `loom` runs on one thread of the machine, and reports what the cell of the product forbids.
unsafe impl Sync for Place {}

impl Place {
    fn new() -> Self {
        Self { watched: UnsafeCell::new(()), value: AtomicU32::new(0) }
    }

    fn write(&self, value: u32) {
        self.watched.with_mut(|_| self.value.store(value, Relaxed));
    }

    fn read(&self) -> u32 {
        self.watched.with(|_| self.value.load(Relaxed))
    }
}

fn places(count: usize) -> Vec<Place> {
    (0..count).map(|_| Place::new()).collect()
}

/// Waits as `shard::meeting` does before it sleeps. Two members wait as long as it takes. Three
/// that wait could yield to each other for ever, so there a member that had to look too often
/// leaves, and what it did until then is what was checked.
fn met(barrier: &Barrier, round: u64, members: usize) -> Meeting {
    let looks = if members == 2 { usize::MAX } else { 2 };
    for _ in 0..looks {
        match barrier.poll(round) {
            Meeting::Waiting => thread::yield_now(),
            meeting => return meeting,
        }
    }
    Meeting::Waiting
}

fn nothing<S>(_: &S) {}

/// Columns with one row per member, of `PAGES` pages of which `REACH` before the last can be read.
struct Columns<const PAGES: usize, const REACH: u32> {
    barrier: Barrier,
    members: usize,
    places: Vec<Place>,
    /// Members that met in every tick.
    whole: AtomicUsize,
}

impl<const PAGES: usize, const REACH: u32> Columns<PAGES, REACH> {
    fn new(members: usize) -> Self {
        let places = places(PAGES * members);
        let whole = AtomicUsize::new(0);
        Self { barrier: Barrier::new(members), members, places, whole }
    }

    fn at(&self, tick: u32, row: usize) -> &Place {
        &self.places[(tick as usize % PAGES) * self.members + row]
    }

    /// A member's life: it writes its row of each tick, meets, and reads what it can reach.
    fn live(&self, place: usize, ticks: u32) {
        let shown = |tick: u32, row: usize| tick * 10 + row as u32;
        for tick in 1..=ticks {
            self.at(tick, place).write(shown(tick, place));
            self.barrier.arrive(tick.into());
            match met(&self.barrier, tick.into(), self.members) {
                Meeting::Met => {}
                Meeting::Waiting if self.members > 2 => return,
                other => panic!("{other:?}"),
            }
            for row in 0..self.members {
                for seen in tick.saturating_sub(REACH).max(1)..=tick {
                    assert_eq!(self.at(seen, row).read(), shown(seen, row));
                }
            }
        }
        self.whole.fetch_add(1, Relaxed);
    }
}

/// Executions of three members of which none left early.
static WHOLE: AtomicUsize = AtomicUsize::new(0);

#[test]
fn two_pages_keep_the_writers_of_a_tick_and_the_readers_of_the_one_before_apart() {
    type Pages = Columns<2, 0>;
    explore("pages", 2, None, Pages::new, |pages, place| pages.live(place, 2), nothing);
    explore("pages", 2, Some(3), Pages::new, |pages, place| pages.live(place, 3), nothing);
    let end = |pages: &Pages| _ = WHOLE.fetch_add(pages.whole.load(Relaxed) / 3, Relaxed);
    explore("pages", 3, Some(1), Pages::new, |pages, place| pages.live(place, 2), end);
    println!("nobody left early in {}", WHOLE.load(Relaxed));
    assert!(WHOLE.load(Relaxed) > 0);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn one_page_would_not() {
    type Pages = Columns<1, 0>;
    explore("one page", 2, None, Pages::new, |pages, place| pages.live(place, 2), nothing);
}

#[test]
fn the_ring_of_states_is_never_overwritten_where_it_can_be_read() {
    type Ring = Columns<4, 2>;
    explore("ring", 2, Some(2), Ring::new, |ring, place| ring.live(place, 5), nothing);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_reach_that_is_longer_by_one_tick_would_read_what_is_being_written() {
    type Ring = Columns<4, 3>;
    explore("too far", 2, Some(3), Ring::new, |ring, place| ring.live(place, 5), nothing);
}

struct Closing {
    columns: Columns<2, 0>,
    last: Vec<AtomicU32>,
    closed: AtomicU32,
}

/// Member 0 is given up by the last thread, which is no member, while the others go on.
fn closing(state: &Closing, place: usize) {
    let columns = &state.columns;
    if place == columns.members {
        state.closed.store(columns.barrier.close() as u32, Relaxed);
        return;
    }
    let mut tick = 0;
    loop {
        let next = tick + 1;
        columns.at(next, place).write(next);
        // Member 0 is stuck in its second tick.
        if place == 0 && next == 2 {
            break;
        }
        columns.barrier.arrive(next.into());
        match met(&columns.barrier, next.into(), columns.members) {
            Meeting::Met => {}
            Meeting::Closed => break,
            Meeting::Waiting => return,
        }
        tick = next;
        (0..columns.members).for_each(|row| assert_eq!(columns.at(tick, row).read(), tick));
    }
    state.last[place].store(tick, Relaxed);
}

#[test]
fn after_closing_all_agree_on_the_last_meeting_and_nobody_waits() {
    let state = |threads: usize| Closing {
        columns: Columns::new(threads - 1),
        last: (1..threads).map(|_| AtomicU32::new(9)).collect(),
        closed: AtomicU32::new(9),
    };
    let end = |state: &Closing| {
        let closed = state.closed.load(Relaxed);
        assert!(closed <= 1);
        // 9: left before it knew.
        let known = |last: &u32| *last != 9 || state.columns.members == 2;
        let last = state.last.iter().map(|last| last.load(Relaxed)).filter(known);
        last.for_each(|last| assert_eq!(last, closed));
    };
    explore("closing", 3, Some(3), state, closing, end);
    explore("closing", 4, Some(0), state, closing, end);
}

/// One row in one page of one tick: member 0 owns it, writes and gives it to member 1, who writes
/// as soon as it is his, which nothing but the table of owners orders.
struct Owned {
    owner: AtomicU8,
    place: Place,
}

fn owned(_: usize) -> Owned {
    Owned { owner: AtomicU8::new(1), place: Place::new() }
}

fn pass_on(state: &Owned, place: usize, give: Ordering, look: Ordering) {
    let me = place as u8 + 1;
    // Whoever is third looks a few times only, as in `met`.
    let looks = if place < 2 { usize::MAX } else { 3 };
    let mut mine = false;
    for _ in 0..looks {
        mine = state.owner.load(look) == me;
        if mine {
            break;
        }
        thread::yield_now();
    }
    if mine {
        state.place.write(u32::from(me));
        assert_eq!(state.owner.compare_exchange(me, me + 1, give, Relaxed), Ok(me));
    }
}

#[test]
fn a_row_that_is_handed_over_has_one_writer_at_a_time() {
    let acquired = |state: &Owned, place| pass_on(state, place, AcqRel, Acquire);
    explore("hand-over", 2, None, owned, acquired, |state| assert_eq!(state.place.read(), 2));
    explore("hand-over", 3, None, owned, acquired, |state| assert!(state.place.read() >= 2));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_hand_over_without_release_would_let_two_write() {
    let relaxed = |state: &Owned, place| pass_on(state, place, Relaxed, Relaxed);
    explore("relaxed", 2, None, owned, relaxed, nothing);
}

/// The hand-over in full: the row changes hands in tick 2 and everybody reads it in every tick.
struct Moving {
    columns: Columns<2, 0>,
    owner: AtomicU8,
}

fn moving(state: &Moving, place: usize) {
    let columns = &state.columns;
    for tick in 1..=3 {
        if state.owner.load(Acquire) == place as u8 && (place == 0 || tick == 3) {
            columns.at(tick, 0).write(tick);
            if place == 0 && tick == 2 {
                let given = (AcqRel, Relaxed);
                assert_eq!(state.owner.compare_exchange(0, 1, given.0, given.1), Ok(0));
            }
        }
        columns.barrier.arrive(tick.into());
        assert_eq!(met(&columns.barrier, tick.into(), 2), Meeting::Met);
        assert_eq!(columns.at(tick, 0).read(), tick);
    }
}

#[test]
fn a_row_that_changes_hands_is_read_in_every_tick() {
    let state = |members| Moving { columns: Columns::new(members), owner: AtomicU8::new(0) };
    explore("moving", 2, Some(3), state, moving, nothing);
}

struct Sleeping {
    barrier: Barrier,
    sleepers: Sleepers,
}

fn sleeping(members: usize) -> Sleeping {
    Sleeping { barrier: Barrier::new(members), sleepers: Sleepers::new(members) }
}

fn look(state: &Sleeping, round: u64) -> Option<Meeting> {
    Some(state.barrier.poll(round)).filter(|meeting| *meeting != Meeting::Waiting)
}

/// The sleep has no end but the wake-up: one that is lost is a deadlock.
fn sleep_and_meet(state: &Sleeping, place: usize, rounds: u64) {
    for round in 1..=rounds {
        if state.barrier.arrive(round) {
            state.sleepers.wake();
        }
        let found = state.sleepers.sleep(place, || look(state, round), thread::park);
        assert_eq!(found, Meeting::Met);
    }
}

#[test]
fn nobody_sleeps_through_a_meeting() {
    let twice = |state: &Sleeping, place| sleep_and_meet(state, place, 2);
    explore("sleepers", 2, Some(3), sleeping, twice, nothing);
    let once = |state: &Sleeping, place| sleep_and_meet(state, place, 1);
    explore("sleepers", 3, Some(2), sleeping, once, nothing);
}

#[test]
fn nobody_sleeps_through_the_closing() {
    // The second one is given up and closes instead of arriving.
    let member = |state: &Sleeping, place: usize| {
        if place == 1 {
            state.barrier.close();
            state.sleepers.wake();
            return;
        }
        state.barrier.arrive(1);
        let found = state.sleepers.sleep(place, || look(state, 1), thread::park);
        assert_eq!(found, Meeting::Closed);
    };
    explore("sleepers and the closing", 2, None, sleeping, member, nothing);
}

#[test]
#[should_panic(expected = "deadlock")]
fn who_looks_for_sleepers_before_the_arrival_would_leave_one_asleep() {
    let member = |state: &Sleeping, place: usize| {
        if place == 1 {
            state.sleepers.wake();
            state.barrier.arrive(1);
            return;
        }
        state.barrier.arrive(1);
        state.sleepers.sleep(place, || look(state, 1), thread::park);
    };
    explore("woken too early", 2, None, sleeping, member, nothing);
}
