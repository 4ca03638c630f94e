//! Why a viewer was told of an entity in the last snapshot, or was not: the answer to `tidelock
//! explain`, from the tables that made the snapshot.
//!
//! Owns the reasons and their words, and nothing of what it explains. Reads the tables as they are
//! between the snapshot of a tick and the next acknowledgment, changes nothing that a later
//! snapshot depends on, and allocates nothing. [`Replicator::explain`](super::Replicator::explain)
//! calls, once per question.

use super::encode::slot_age;
use super::pace::Tier;
use super::select::{Eye, Finding, Selector, ticks_until_due};
use super::slots::{SlotTable, bits};
use crate::exchange::Published;
use crate::kernel::age::is_newer;
use crate::kernel::nearest::distance_squared;
use crate::kernel::urgency::DUE;
use crate::limits::{SELECT_STAGGER, VISIBLE_MAX};
use crate::state::Kind;
use crate::units::{EntityId, Tick, TickRate};
use crate::wire::snapshot::EntryBody;
use crate::world::Index;
use std::fmt;

#[cfg(test)]
mod tests;

/// What a viewer was told and why, as of the end of one tick. Fixed size: what it can hold is what
/// a viewer can see.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The tick that is explained; all ages count back from it.
    pub tick: Tick,
    /// The own entity of the viewer.
    pub entity: EntityId,
    /// Where it is, centimetres.
    pub position: [f32; 3],
    /// Tick of the newest snapshot that was sent, 0 = none yet.
    pub snapshot_tick: Tick,
    /// Bytes of that snapshot.
    pub bytes: u32,
    /// Bytes that it was allowed.
    pub budget: u32,
    /// Tick of the newest snapshot that the viewer has acknowledged, 0 = none yet.
    pub acknowledged_tick: Tick,
    /// Entities in sight, which is to say in a slot.
    pub visible: u32,
    /// Slots whose removal the viewer has yet to acknowledge.
    pub removals: u32,
    entities: [Explained; VISIBLE_MAX],
    len: usize,
}

/// One entity, from the point of view of one viewer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Explained {
    /// Who it is; `EntityId::NONE` if a slot stands for somebody who has left the world.
    pub entity: EntityId,
    /// What it is, if it lives.
    pub kind: Option<Kind>,
    /// Distance from the viewer, centimetres.
    pub distance: Option<f32>,
    /// Its slot, if it has one.
    pub slot: Option<u8>,
    /// Its tier by the distance of now; of slots only.
    pub tier: Option<Tier>,
    /// How often the viewer is told of its changes at most, times per second.
    pub pace_hz: Option<f32>,
    /// How urgently it waits; from 1 on it may be told, and the more urgent goes first.
    pub urgency: Option<f32>,
    /// Ticks since it last changed.
    pub changed_age: Option<Tick>,
    /// Ticks since the newest state that the viewer was sent; 0 is the tick that is explained.
    pub told_age: Option<Tick>,
    /// Ticks since the newest state that the viewer has acknowledged, up to 4,096: what is older is
    /// not told apart.
    pub acknowledged_age: Option<Tick>,
    /// Why it was in the last snapshot, or was not.
    pub reason: Reason,
}

/// Why an entity was in the last snapshot of a viewer, or was not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reason {
    /// It was in the snapshot.
    Told,
    /// The viewer has acknowledged the state in which it is.
    NothingNew,
    /// It changed, and its pace lets it be told again in so many ticks.
    NotItsTurn {
        /// Ticks to wait, at least 1.
        ticks: Tick,
    },
    /// It changed, it was its turn, and others that wait more urgently filled the budget.
    NoRoom {
        /// How urgently it waits, from 1 on.
        urgency: f32,
    },
    /// No snapshot was sent in this tick: the session is ending.
    NoSnapshot,
    /// It has left the world since the last selection, which will empty its slot.
    Gone,
    /// It is invisible.
    Hidden,
    /// It left, and the viewer has yet to acknowledge the removal that is in every snapshot.
    Leaving {
        /// Ticks since it left.
        ticks: Tick,
    },
    /// It is the viewer's own entity, which is in every snapshot with its full state.
    Own,
    /// It is further away than entities of its kind are seen.
    OutOfSight {
        /// Distance, centimetres.
        distance: f32,
        /// Distance at which it would come into sight, centimetres.
        radius: f32,
    },
    /// It is not among the 128 nearest.
    Crowded {
        /// Distance of the farthest of those, centimetres.
        farthest: f32,
    },
    /// It is in sight, and all slots are taken: removals wait for acknowledgments.
    NoSlot,
    /// It came into sight after the last selection.
    NotYetSelected {
        /// Ticks to the next selection, at least 1.
        ticks: Tick,
    },
    /// No entity of this id lives in the world.
    Nowhere,
}

impl Reason {
    /// The word for programs: in the JSON of `tidelock explain`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Told => "told",
            Self::NothingNew => "nothing_new",
            Self::NotItsTurn { .. } => "not_its_turn",
            Self::NoRoom { .. } => "no_room",
            Self::NoSnapshot => "no_snapshot",
            Self::Gone => "gone",
            Self::Hidden => "hidden",
            Self::Leaving { .. } => "leaving",
            Self::Own => "own",
            Self::OutOfSight { .. } => "out_of_sight",
            Self::Crowded { .. } => "crowded",
            Self::NoSlot => "no_slot",
            Self::NotYetSelected { .. } => "not_yet_selected",
            Self::Nowhere => "nowhere",
        }
    }
}

/// The words for people.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let metres = |centimetres: f32| centimetres / 100.0;
        match *self {
            Self::Told => write!(f, "told"),
            Self::NothingNew => write!(f, "nothing new since what it acknowledged"),
            Self::NotItsTurn { ticks } => write!(f, "not its turn yet: in {}", counted(ticks)),
            Self::NoRoom { urgency } => {
                write!(f, "no room in the budget (urgency {urgency:.2})")
            }
            Self::NoSnapshot => write!(f, "no snapshot was sent: the session is ending"),
            Self::Gone => write!(f, "gone from the world, its slot is about to be emptied"),
            Self::Hidden => write!(f, "hidden: it is invisible"),
            Self::Leaving { ticks } => {
                write!(f, "left {} ago, the removal waits for acknowledgment", counted(ticks))
            }
            Self::Own => write!(f, "the player's own entity: in every snapshot, without a slot"),
            Self::OutOfSight { distance, radius } => {
                let (distance, radius) = (metres(distance), metres(radius));
                write!(f, "out of sight: {distance:.1} m away, seen within {radius:.1} m")
            }
            Self::Crowded { farthest } => {
                let farthest = metres(farthest);
                write!(f, "crowded out: {VISIBLE_MAX} are nearer, the last at {farthest:.1} m")
            }
            Self::NoSlot => write!(f, "no slot is free: removals wait for acknowledgments"),
            Self::NotYetSelected { ticks } => {
                write!(f, "in sight, and found by the next selection in {}", counted(ticks))
            }
            Self::Nowhere => write!(f, "no such entity lives in the world"),
        }
    }
}

fn counted(ticks: Tick) -> impl fmt::Display {
    fmt::from_fn(move |f| write!(f, "{ticks} tick{}", if ticks == 1 { "" } else { "s" }))
}

impl Explained {
    /// Nothing but a reason.
    fn nobody(reason: Reason) -> Self {
        Self {
            entity: EntityId::NONE,
            kind: None,
            distance: None,
            slot: None,
            tier: None,
            pace_hz: None,
            urgency: None,
            changed_age: None,
            told_age: None,
            acknowledged_age: None,
            reason,
        }
    }
}

impl Default for Explanation {
    fn default() -> Self {
        Self {
            tick: 0,
            entity: EntityId::NONE,
            position: [0.0; 3],
            snapshot_tick: 0,
            bytes: 0,
            budget: 0,
            acknowledged_tick: 0,
            visible: 0,
            removals: 0,
            entities: [Explained::nobody(Reason::Nowhere); VISIBLE_MAX],
            len: 0,
        }
    }
}

impl Explanation {
    /// The entities, by slot; or the one that was asked for.
    pub fn entities(&self) -> &[Explained] {
        &self.entities[..self.len]
    }

    /// Counts what a packet holds besides the snapshot: `budget` is what the whole was allowed.
    pub fn count_packet(&mut self, budget: u32) {
        self.bytes += budget.saturating_sub(self.budget);
        self.budget = budget;
    }

    /// Begins anew: what is known of the viewer itself.
    pub(super) fn begin(&mut self, table: &SlotTable, eye: &Eye, published: Published<'_>) {
        let [bytes, budget] = table.length;
        (self.tick, self.len) = (published.tick(), 0);
        (self.entity, self.position) = (published.id(eye.row), eye.position);
        (self.snapshot_tick, self.bytes, self.budget) = (table.newest(), bytes, budget);
        self.acknowledged_tick = table.newest_acknowledged;
        self.visible = table.live().count_ones();
        self.removals = table.leaving().count_ones();
    }

    /// Adds an entity, while there is room.
    pub(super) fn push(&mut self, explained: Explained) {
        if let Some(place) = self.entities.get_mut(self.len) {
            *place = explained;
            self.len += 1;
        }
    }
}

/// What an explanation is made from.
pub(super) struct View<'a> {
    pub(super) viewer: u16,
    pub(super) eye: Eye,
    pub(super) table: &'a SlotTable,
    /// Any index: it knows the distances of interest.
    pub(super) index: &'a Index,
    pub(super) published: Published<'a>,
    pub(super) rate: TickRate,
}

impl View<'_> {
    /// All slots that are not empty, by slot.
    pub(super) fn slots(&self) -> impl Iterator<Item = Explained> {
        bits(self.table.live() | self.table.leaving()).map(|slot| self.slot(slot))
    }

    /// The entity `asked`, wherever it is. `selector` lends its scratch, `indexes` are those of
    /// all shards.
    pub(super) fn find<'i>(
        &self,
        asked: EntityId,
        selector: &mut Selector,
        indexes: impl Iterator<Item = &'i Index>,
    ) -> Explained {
        let row = self.published.ids().iter().position(|&id| id == asked);
        let Some(row) = row.filter(|_| asked != EntityId::NONE) else {
            return Explained { entity: asked, ..Explained::nobody(Reason::Nowhere) };
        };
        let row = row as u32;
        if row == self.eye.row {
            return self.occupant(row, Reason::Own);
        }
        let is_its =
            |slot: &u8| self.table.row[usize::from(*slot)] == row && self.is_still_there(*slot);
        let live = bits(self.table.live()).find(is_its);
        if let Some(slot) = live.or_else(|| bits(self.table.leaving()).find(is_its)) {
            return self.slot(slot);
        }
        let (distance, reach) = (self.distance_squared(row), self.reach(row));
        let out_of_sight = Reason::OutOfSight { distance: distance.sqrt(), radius: reach.sqrt() };
        let reason = if self.published.state(row, self.published.tick()).is_hidden() {
            Reason::Hidden
        } else if distance > reach {
            out_of_sight
        } else {
            match selector.judge(self.table, &self.eye, indexes, self.published, row) {
                Finding::Enters => Reason::NotYetSelected {
                    ticks: ticks_until_due(self.viewer, self.published.tick()),
                },
                Finding::NoSlot => Reason::NoSlot,
                Finding::Crowded { farthest } => Reason::Crowded { farthest },
                Finding::OutOfSight => out_of_sight,
            }
        };
        self.occupant(row, reason)
    }

    fn slot(&self, slot: u8) -> Explained {
        let (table, tick) = (self.table, self.published.tick());
        let row = table.row[usize::from(slot)];
        let is_live = table.live() >> slot & 1 == 1;
        let is_there = self.is_still_there(slot);
        let reason = match is_live {
            true => self.reason(slot, is_there),
            false => Reason::Leaving { ticks: self.leaving_for(slot) },
        };
        let who = if is_there { self.occupant(row, reason) } else { Explained::nobody(reason) };
        let who = Explained { slot: Some(slot), ..who };
        if !is_live {
            return who;
        }
        let (urgency, pace) = table.waits(slot);
        Explained {
            tier: who.distance.map(|far| Tier::of(far * far, self.reach(row))),
            pace_hz: Some(f32::from(pace) * f32::from(self.rate.hz()) / f32::from(DUE)),
            urgency: Some(in_turns(urgency)),
            told_age: table.told_age(slot, tick),
            acknowledged_age: table.acknowledged_age(slot, tick),
            ..who
        }
    }

    /// Why the occupant of a live slot was in the newest snapshot or not: the checks of diff and
    /// encode, once more and one by one.
    fn reason(&self, slot: u8, is_there: bool) -> Reason {
        let (table, tick) = (self.table, self.published.tick());
        let row = table.row[usize::from(slot)];
        let (urgency, pace) = table.waits(slot);
        if table.newest_described() >> slot & 1 == 1 {
            Reason::Told
        } else if !is_there {
            Reason::Gone
        } else if self.published.state(row, tick).is_hidden() {
            Reason::Hidden
        } else if !self.has_news(slot, row) {
            Reason::NothingNew
        } else if urgency < DUE {
            Reason::NotItsTurn { ticks: (DUE - urgency).div_ceil(pace.max(1)).into() }
        } else if table.newest() != tick {
            Reason::NoSnapshot
        } else {
            Reason::NoRoom { urgency: in_turns(urgency) }
        }
    }

    /// Whether there is anything to say against what the viewer has acknowledged. An entity may
    /// have changed and changed back.
    fn has_news(&self, slot: u8, row: u32) -> bool {
        let tick = self.published.tick();
        let acknowledged = self.table.acknowledged[usize::from(slot)];
        if !is_newer(tick, self.published.changed()[row as usize], acknowledged) {
            return false;
        }
        let age = slot_age(tick, acknowledged);
        let state = |age: u8| self.published.state(row, tick - Tick::from(age));
        age == 0 || EntryBody::delta(state(0), state(age)).is_some()
    }

    /// Whether the row still has the occupant for whom the slot stands.
    fn is_still_there(&self, slot: u8) -> bool {
        let since = self.published.trail(self.table.row[usize::from(slot)]).since;
        if self.table.live() >> slot & 1 == 1 {
            return since <= self.table.selected;
        }
        // It was there at the selection before the one that no longer found it.
        let left = self.published.tick().wrapping_sub(self.leaving_for(slot));
        since <= left.saturating_sub(SELECT_STAGGER)
    }

    /// Ticks since the occupant of a leaving slot left.
    fn leaving_for(&self, slot: u8) -> Tick {
        let left = self.table.acknowledged[usize::from(slot)];
        (self.published.tick() as u16).wrapping_sub(left).into()
    }

    /// What is known of the occupant of a row without looking at slots.
    fn occupant(&self, row: u32, reason: Reason) -> Explained {
        Explained {
            entity: self.published.id(row),
            kind: Some(self.published.kind(row)),
            distance: Some(self.distance_squared(row).sqrt()),
            changed_age: Some(
                self.published.tick().wrapping_sub(self.published.changed()[row as usize]),
            ),
            ..Explained::nobody(reason)
        }
    }

    /// Squared distance at which the occupant of a row comes into sight, cm².
    fn reach(&self, row: u32) -> f32 {
        self.index.enter_squared(self.published.kind(row)) * self.eye.sight_squared
    }

    fn distance_squared(&self, row: u32) -> f32 {
        let state = self.published.state(row, self.published.tick());
        distance_squared(state.position(), self.eye.position)
    }
}

/// Urgency in units of what it takes to be told.
fn in_turns(urgency: u8) -> f32 {
    f32::from(urgency) / f32::from(DUE)
}
