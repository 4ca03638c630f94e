//! One shard's hands on the exchange: writing the next tick, arriving, reading what was met at.
//!
//! Keeps the law of `columns`: the borrow checker ends every reading before `arrive`, the turn
//! forbids both reading and writing until the meeting took place, and the table of owners keeps the
//! hands off other members' rows.
#![allow(unsafe_code, reason = "the only caller of the columns; each block names the rule")]

use super::columns::Pages;
use super::{HISTORY_REACH, Meeting, Published, PublishedRow, Shared};
use crate::state::QuantizedState;
use crate::units::Tick;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Where a member is in its tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// It may read the last tick and write the next.
    Open,
    /// It has arrived at the meeting of the next tick, and must not read or write.
    Arrived,
}

/// What came of taking back a row that was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reclaim {
    /// It is this member's again.
    Done,
    /// It is still being published as empty: two ticks at most.
    Later,
    /// Somebody else has it.
    Taken,
}

/// One shard's part of the exchange. There is one per member and no way to copy it.
#[derive(Debug)]
pub struct Member<P> {
    shared: Arc<Shared>,
    pages: Arc<Pages<P>>,
    place: usize,
    /// Last tick whose meeting took place.
    tick: Tick,
    /// Meetings that have taken place. Of its own, as ticks wrap and the count must not.
    met: u64,
    turn: Turn,
    /// Rows that were given up in this tick and in the one before: they are published as empty in
    /// both pages, then nobody owns them.
    vacated: [Vec<u32>; 2],
    /// Whether each row is in `vacated`: a row that is there twice would be given up once more
    /// after it was granted anew.
    leaving: Box<[bool]>,
}

impl<P> Member<P> {
    pub(super) fn new(shared: Arc<Shared>, pages: Arc<Pages<P>>, place: usize) -> Self {
        let rows = shared.columns.rows();
        let tick = shared.base;
        let vacated = [Vec::with_capacity(rows), Vec::with_capacity(rows)];
        let leaving = vec![false; rows].into_boxed_slice();
        Self { shared, pages, place, tick, met: 0, turn: Turn::Open, vacated, leaving }
    }

    /// Index among the members.
    pub fn place(&self) -> usize {
        self.place
    }

    /// Members in all.
    pub fn members(&self) -> usize {
        self.shared.arrived.len()
    }

    /// Rows in all.
    pub fn rows(&self) -> usize {
        self.shared.columns.rows()
    }

    /// Bytes that the shared columns hold for good, without what `P` points to.
    pub fn memory_bytes(&self) -> usize {
        self.shared.columns.memory_bytes()
    }

    /// The tick that this member writes.
    fn next(&self) -> Tick {
        self.tick.wrapping_add(1)
    }

    /// The last tick all members have met at.
    pub fn tick(&self) -> Tick {
        self.tick
    }

    /// Whether the row is this member's to write.
    pub fn owns(&self, row: u32) -> bool {
        self.shared.columns.owner(row) == Some(self.place)
    }

    /// What all members published of [`Self::tick`].
    ///
    /// # Panics
    /// Between [`Self::arrive`] and the meeting: others may be past it already.
    #[inline]
    pub fn published(&self) -> Published<'_> {
        assert_eq!(self.turn, Turn::Open, "reading ends with the arrival");
        let reach = (self.met > 0).then_some(HISTORY_REACH);
        // SAFETY: rule 2 of the law. The meeting of `tick` has taken place, since `poll` sets
        // `tick` only then (before the first one nobody has written), and we have not arrived at
        // the next: `arrive` takes `&mut self`, so what is borrowed here is gone by then.
        unsafe { self.shared.columns.published(self.tick, reach) }
    }

    /// What `member` published of [`Self::tick`].
    ///
    /// # Panics
    /// Between [`Self::arrive`] and the meeting.
    #[inline]
    pub fn page_of(&self, member: usize) -> &P {
        assert_eq!(self.turn, Turn::Open, "reading ends with the arrival");
        // SAFETY: rule 2 of the law, as in `published`.
        unsafe { self.pages.page(member, self.tick) }
    }

    /// The state of a row at the last tick; `None` before the first meeting.
    #[inline]
    pub fn last_state(&self, row: u32) -> Option<&QuantizedState> {
        (self.met > 0).then(|| self.published().state(row, self.tick))
    }

    /// Publishes a row of the next tick; nothing happens to a row that is not this member's.
    /// Everything a member owns is to be published in every tick.
    #[inline]
    pub fn publish(&mut self, row: u32, value: &PublishedRow) {
        assert_eq!(self.turn, Turn::Open, "writing ends with the arrival");
        if self.owns(row) {
            // SAFETY: rule 1 of the law: the row is ours, and the next tick is the one we are in,
            // as its meeting cannot have taken place without us.
            unsafe {
                self.shared.columns.write(self.next(), row, value);
            }
        }
    }

    /// What this member publishes of the next tick besides its rows, to be overwritten: it holds
    /// what was published two ticks before.
    pub fn page_mut(&mut self) -> &mut P {
        assert_eq!(self.turn, Turn::Open, "writing ends with the arrival");
        // SAFETY: rule 1 of the law: the page of the next tick is ours alone until we arrive, and
        // `&mut self` makes this the only reference.
        unsafe { self.pages.page_mut(self.place, self.next()) }
    }

    /// Gives up a row: it is published as empty in this tick and the next, then the gate may grant
    /// it again. Nothing happens to a row that is not this member's or that it gives up already.
    pub fn vacate(&mut self, row: u32) {
        if self.owns(row) && !self.leaving[row as usize] {
            self.leaving[row as usize] = true;
            self.vacated[0].push(row);
        }
    }

    /// Gives a row to another member, from its next tick on. This member has published it for the
    /// tick under way and does not write it again. Tells whether that is so: nothing happens to a
    /// row that is not this member's or that it gives up already.
    ///
    /// # Panics
    /// If there is no member `to`.
    pub fn hand_over(&mut self, row: u32, to: usize) -> bool {
        assert!(to < self.members(), "a member");
        !self.leaving[row as usize] && self.shared.columns.give(row, Some(self.place), Some(to))
    }

    /// Takes a row that nobody owns. Nothing happens to one that somebody does.
    pub fn claim(&mut self, row: u32) {
        self.shared.columns.give(row, None, Some(self.place));
    }

    /// Takes back a row that this member has given up and that was granted to nobody since.
    pub fn reclaim(&mut self, row: u32) -> Reclaim {
        if self.leaving[row as usize] {
            return Reclaim::Later;
        }
        self.claim(row);
        if self.owns(row) { Reclaim::Done } else { Reclaim::Taken }
    }

    /// Arrives at the meeting of the next tick, with everything published. Returns whether this
    /// member was the last.
    pub fn arrive(&mut self) -> bool {
        assert_eq!(self.turn, Turn::Open, "one arrival per tick");
        for age in [0, 1] {
            for place in 0..self.vacated[age].len() {
                let empty = PublishedRow::empty_since(self.next());
                self.publish(self.vacated[age][place], &empty);
            }
        }
        for row in self.vacated[1].drain(..) {
            self.leaving[row as usize] = false;
            let free = self.shared.columns.give(row, Some(self.place), None);
            debug_assert!(free, "a row that is given up is not handed over");
        }
        self.vacated.swap(0, 1);
        self.turn = Turn::Arrived;
        self.shared.arrived[self.place].store(self.next(), Ordering::Release);
        self.shared.barrier.arrive(self.met + 1)
    }

    /// Takes over, from this member of the exchange that this one succeeds, the rows it owned and
    /// their history; to be called before the first meeting. What it had published of the tick that
    /// was never met is to be published again.
    pub fn inherit(&mut self, old: &Self) {
        let base = self.shared.base;
        assert!(self.turn == Turn::Open && self.met == 0, "before the first meeting");
        assert_eq!((old.tick, old.rows(), old.place), (base, self.rows(), self.place));
        for row in (0..self.rows() as u32).filter(|&row| old.owns(row)) {
            if !self.shared.columns.give(row, None, Some(self.place)) {
                // We were about to let go of it, and the gate has granted it already.
                continue;
            }
            for age in 0..=HISTORY_REACH {
                let tick = base.wrapping_sub(age);
                // SAFETY: rule 3 of the law: we own the row in both exchanges, and the first
                // meeting of ours has not taken place.
                unsafe {
                    let state = old.shared.columns.state(tick, row);
                    self.shared.columns.write_state(tick, row, state);
                }
            }
            if old.leaving[row as usize] {
                let age = usize::from(!old.vacated[0].contains(&row));
                self.leaving[row as usize] = true;
                self.vacated[age].push(row);
            }
        }
    }

    /// Whether all have arrived. Once they have, the tick is theirs and can be read.
    pub fn poll(&mut self) -> Meeting {
        if self.turn == Turn::Open {
            return Meeting::Met;
        }
        let meeting = self.shared.barrier.poll(self.met + 1);
        if meeting == Meeting::Met {
            self.met += 1;
            self.tick = self.next();
            self.turn = Turn::Open;
        }
        meeting
    }
}

/// Who is gone never arrives, so the others must not wait: the exchange is closed. They look at
/// least every few milliseconds, see `shard::meeting`.
impl<P> Drop for Member<P> {
    fn drop(&mut self) {
        self.shared.barrier.close();
    }
}
