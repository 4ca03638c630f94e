//! The overload ladder: what a server leaves out, and in which order, when its ticks do not fit.
//!
//! Owns the table of rungs and the rule that moves between them; a pure state machine that reads no
//! clock and never leaves out the simulation step itself. The tick tells it once per tick how busy
//! the busiest shard was, and asks the rung what it may leave out. Decisions count ticks and
//! compare integers: shards that are told the same numbers stand on the same rung without talking.
//! To climb is to shed more, to descend is to restore.

#[cfg(test)]
mod tests;

use crate::time::Nanos;
use crate::units::{Tick, TickRate};

/// A tick that takes more than this share of its period is hot. The rest is the jitter of the
/// host: a server that waits for 100 % has already been late.
const HOT_PERCENT: u64 = 95;
/// Hot ticks within the window that make the server climb. A host that stood still for 100 ms makes
/// a handful of them until the backlog is gone; with three, such stalls kept a server with room to
/// spare on a rung that it did not need.
const HOT_TICKS: u32 = 8;
/// Ticks of the window, the bits of `Ladder::hot`.
const HOT_WINDOW: u32 = 16;
/// Ticks between two climbs. The selection of what is visible passes over all viewers in four
/// ticks, and the window must fill with ticks of the new rung: after that its effect is known.
const CLIMB_DWELL: u32 = 20;

/// A tick that takes more than this share of its period is severe: half of all ticks come late,
/// and no single rung can mend that.
const SEVERE_PERCENT: u64 = 200;
/// Severe ticks in a row that make the server climb at once, and faster from then on.
const SEVERE_TICKS: u32 = 3;
/// Ticks between two climbs then: the first tick of a rung is not judged, the next three are.
const SEVERE_DWELL: u32 = 4;

/// A tick is calm if it takes at most this share of its period. The distance to hot must be more
/// than what one rung gives back, or the server would climb again after every descent.
const CALM_PERCENT: u64 = 75;
/// A calm tick also takes at most this share of the period on the rung below. Only the pace changes
/// the period, and it changes the work of a tick hardly at all: the load after the descent is known
/// beforehand, so the margin may be smaller than for the rungs that change the work.
const FIT_PERCENT: u64 = 85;
/// Calm ticks that one tick that is not calm takes back. A host with one late tick in a hundred
/// must recover all the same, and a load that is calm for seven ticks of eight must not.
const CALM_SETBACK: u32 = 8;

/// Milliseconds of calm before a descent: load in a game comes in fights, not in milliseconds.
const WAIT_MIN_MS: u64 = 2_000;
/// A descent that has to be undone within this many milliseconds was wrong: the wait doubles. With
/// ten seconds a load that swings around the limit moved the simulated server eight times a minute
/// instead of six.
const UNDONE_WITHIN_MS: u64 = 15_000;
/// Longest wait: a ladder at its limit tries at most twice a minute.
const WAIT_MAX_MS: u64 = 30_000;
/// Milliseconds without pressure after which a doubled wait is halved. Longer than the longest
/// wait, or attempts that fail would be forgotten before the next one.
const DECAY_MS: u64 = 60_000;

const _: () = assert!(HOT_WINDOW == u16::BITS && HOT_WINDOW < CLIMB_DWELL);
const _: () = assert!(SEVERE_TICKS < SEVERE_DWELL && SEVERE_TICKS < HOT_TICKS);
const _: () = assert!(CALM_PERCENT < FIT_PERCENT && FIT_PERCENT < HOT_PERCENT);
const _: () = assert!(WAIT_MAX_MS + UNDONE_WITHIN_MS < DECAY_MS);

/// A part of a whole as a fraction, so that two thirds are two thirds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    /// Parts that are left.
    pub(super) of: u8,
    /// Parts of the whole, not 0.
    pub(super) parts: u8,
}

/// What one rung does; it includes all that the rungs below it do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shed {
    /// The word of messages and documents.
    pub(super) name: &'static str,
    /// The far tier gets one part in this many of its rate.
    pub(super) far_every: u8,
    /// Of the bytes of a snapshot.
    pub(super) budget: Share,
    /// Of the interest radius.
    pub(super) radius: Share,
    /// An NPC takes its decisions in one tick of this many.
    pub(super) npc_every: u8,
    /// Of the speed of time.
    pub(super) pace: Share,
}

const fn shed(
    name: &'static str,
    far_every: u8,
    [budget, radius, pace]: [(u8, u8); 3],
    npc_every: u8,
) -> Shed {
    const fn share((of, parts): (u8, u8)) -> Share {
        Share { of, parts }
    }
    let (budget, radius, pace) = (share(budget), share(radius), share(pace));
    Shed { name, far_every, budget, radius, npc_every, pace }
}

/// The rungs, lowest first: far tier, then budget, radius, NPCs, and last the pace of time, which
/// every player feels. The last rung is the floor; docs/OPERATIONS.md has the same table.
const LADDER: [Shed; 12] = [
    // Far tier, [budget, radius, pace], NPCs.
    shed("full", 1, [(1, 1), (1, 1), (1, 1)], 1),
    shed("far_2", 2, [(1, 1), (1, 1), (1, 1)], 1),
    shed("far_3", 3, [(1, 1), (1, 1), (1, 1)], 1),
    shed("budget_75", 3, [(3, 4), (1, 1), (1, 1)], 1),
    shed("budget_50", 3, [(1, 2), (1, 1), (1, 1)], 1),
    shed("radius_75", 3, [(1, 2), (3, 4), (1, 1)], 1),
    shed("radius_50", 3, [(1, 2), (1, 2), (1, 1)], 1),
    shed("npc_2", 3, [(1, 2), (1, 2), (1, 1)], 2),
    shed("npc_4", 3, [(1, 2), (1, 2), (1, 1)], 4),
    shed("pace_80", 3, [(1, 2), (1, 2), (4, 5)], 4),
    shed("pace_67", 3, [(1, 2), (1, 2), (2, 3)], 4),
    shed("pace_50", 3, [(1, 2), (1, 2), (1, 2)], 4),
];

/// The name of a rung in statistics; a number beyond the last one is the last one.
pub fn rung_name(index: u64) -> &'static str {
    LADDER[(index as usize).min(LADDER.len() - 1)].name
}

impl Shed {
    /// Bytes of a snapshot whose full budget is `base`, never less than the `minimum` that the
    /// encoder needs.
    pub(super) fn budget(&self, base: usize, minimum: usize) -> usize {
        let left = base * usize::from(self.budget.of) / usize::from(self.budget.parts);
        left.max(minimum)
    }

    /// What the square of an interest radius is multiplied with. A fraction of small powers of two,
    /// hence exact.
    pub(super) fn radius_squared_factor(&self) -> f32 {
        let left = f32::from(self.radius.of) / f32::from(self.radius.parts);
        left * left
    }

    /// Whether the NPC with this entity index decides in `tick`. Staggered, so that every tick has
    /// its part of them.
    pub(super) fn is_npc_due(&self, entity_index: u32, tick: Tick) -> bool {
        entity_index % u32::from(self.npc_every) == tick % u32::from(self.npc_every)
    }

    /// Time from one tick to the next where it is `base` at full pace.
    pub(super) fn period(&self, base: Nanos) -> Nanos {
        Nanos(base.0 * u64::from(self.pace.parts) / u64::from(self.pace.of))
    }
}

/// Index of a row of the ladder: 0 sheds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rung(u8);

impl Rung {
    /// Nothing is shed.
    pub(super) const FULL: Self = Self(0);
    /// Nothing more can be shed.
    pub(super) const FLOOR: Self = Self(LADDER.len() as u8 - 1);

    /// The number in documents and statistics.
    pub(super) fn index(self) -> u8 {
        self.0
    }

    /// What this rung does.
    pub(super) fn shed(self) -> &'static Shed {
        &LADDER[usize::from(self.0)]
    }

    fn above(self) -> Option<Self> {
        (self < Self::FLOOR).then(|| Self(self.0 + 1))
    }

    fn below(self) -> Option<Self> {
        self.0.checked_sub(1).map(Self)
    }
}

/// A move between two neighbouring rungs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// More is shed.
    Climb {
        /// The rung left.
        from: Rung,
        /// The one above it.
        to: Rung,
    },
    /// Something is restored.
    Descend {
        /// The rung left.
        from: Rung,
        /// The one below it.
        to: Rung,
    },
}

/// Where the server stands, and what it remembers to decide the next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ladder {
    rate: TickRate,
    rung: Rung,
    /// The last ticks of this rung, the newest lowest: one bit per hot tick.
    hot: u16,
    /// Severe ticks in a row on this rung.
    severe: u32,
    /// Calm ticks on this rung, less those taken back.
    calm: u32,
    /// Calm ticks that a descent needs.
    wait: u32,
    /// Ticks since the last climb.
    climbed: u32,
    /// Ticks since the last descent that has not been undone.
    descended: u32,
    /// Ticks since there was pressure, or since the wait was halved.
    quiet: u32,
}

/// Longer ago than anything that matters.
const LONG_AGO: u32 = u32::MAX;

impl Ladder {
    /// On the lowest rung.
    pub(super) fn new(rate: TickRate) -> Self {
        Self {
            rate,
            rung: Rung::FULL,
            hot: 0,
            severe: 0,
            calm: 0,
            wait: rate.ticks_in_ms(WAIT_MIN_MS),
            climbed: LONG_AGO,
            descended: LONG_AGO,
            quiet: 0,
        }
    }

    /// Where the server stands.
    pub(super) fn rung(&self) -> Rung {
        self.rung
    }

    /// What it sheds there.
    pub(super) fn shed(&self) -> &'static Shed {
        self.rung.shed()
    }

    /// Once per tick: the busiest shard worked for `busy` in the tick that ended. Work is all that
    /// must fit into the period, the intake of datagrams included, sleeping and spinning excluded.
    /// Returns the step taken, if any; it holds from the next tick on.
    pub(super) fn observe(&mut self, busy: Nanos) -> Option<Step> {
        self.climbed = self.climbed.saturating_add(1);
        self.descended = self.descended.saturating_add(1);
        self.quiet += 1;
        let period = self.period(self.rung);
        self.hot = self.hot << 1 | u16::from(busy > percent(period, HOT_PERCENT));
        let severe = busy > percent(period, SEVERE_PERCENT);
        self.severe = if severe { (self.severe + 1).min(SEVERE_TICKS) } else { 0 };
        self.calm = match busy <= self.calm_most() {
            true => (self.calm + 1).min(self.wait),
            false => self.calm.saturating_sub(CALM_SETBACK),
        };
        if self.hot.count_ones() >= HOT_TICKS || self.severe >= SEVERE_TICKS {
            // Pressure on the floor is pressure too: it is no time to forget or to recover.
            self.calm = 0;
            self.quiet = 0;
            return self.climb();
        }
        if self.quiet >= self.rate.ticks_in_ms(DECAY_MS) {
            self.quiet = 0;
            self.wait = (self.wait / 2).max(self.rate.ticks_in_ms(WAIT_MIN_MS));
        }
        if self.calm >= self.wait { self.descend() } else { None }
    }

    fn period(&self, rung: Rung) -> Nanos {
        rung.shed().period(Nanos(self.rate.start_ns(1)))
    }

    /// Longest time that a calm tick takes on this rung.
    fn calm_most(&self) -> Nanos {
        let here = percent(self.period(self.rung), CALM_PERCENT);
        let below = self.rung.below().unwrap_or(self.rung);
        here.min(percent(self.period(below), FIT_PERCENT))
    }

    fn climb(&mut self) -> Option<Step> {
        let dwell = if self.severe >= SEVERE_TICKS { SEVERE_DWELL } else { CLIMB_DWELL };
        if self.climbed < dwell {
            return None;
        }
        let (from, to) = (self.rung, self.rung.above()?);
        if self.descended <= self.rate.ticks_in_ms(UNDONE_WITHIN_MS) {
            self.wait = (self.wait * 2).min(self.rate.ticks_in_ms(WAIT_MAX_MS));
        }
        self.climbed = 0;
        // One wrong descent doubles the wait once, however many climbs follow.
        self.descended = LONG_AGO;
        self.stand_on(to);
        Some(Step::Climb { from, to })
    }

    fn descend(&mut self) -> Option<Step> {
        let (from, to) = (self.rung, self.rung.below()?);
        self.descended = 0;
        self.stand_on(to);
        Some(Step::Descend { from, to })
    }

    /// What was measured on one rung says nothing about another.
    fn stand_on(&mut self, rung: Rung) {
        self.rung = rung;
        self.hot = 0;
        self.severe = 0;
        self.calm = 0;
    }
}

fn percent(period: Nanos, percent: u64) -> Nanos {
    Nanos(period.0 * percent / 100)
}
