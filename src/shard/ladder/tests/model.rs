//! The rules of the ladder restated as questions about the list of all ticks: slow, and with other
//! arithmetic than the ladder's. It also counts what happened, so that a test can tell that it has
//! seen everything.

use super::super::{Rung, Step};
use crate::time::Nanos;
use crate::units::TickRate;

/// The history of a server.
pub(super) struct Model {
    rate: TickRate,
    /// How long each tick took.
    busy: Vec<u128>,
    /// The tick after which each step was made, and the step.
    steps: Vec<(usize, Step)>,
    /// Number of ticks when there was last pressure or a halving.
    unquiet: usize,
    /// Ticks of calm before a descent.
    wait: usize,
    seen: Seen,
}

/// How often each thing happened.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    climbs: usize,
    fast_climbs: usize,
    descents: usize,
    undone: usize,
    halved: usize,
    floor: usize,
}

impl Seen {
    /// Adds what one server went through.
    pub(super) fn add(&mut self, model: &Model) {
        self.climbs += model.seen.climbs;
        self.fast_climbs += model.seen.fast_climbs;
        self.descents += model.seen.descents;
        self.undone += model.seen.undone;
        self.halved += model.seen.halved;
        self.floor += model.seen.floor;
    }

    /// A comparison that never met a rule proves nothing about it.
    pub(super) fn assert_everything(&self) {
        let least = [self.climbs, self.fast_climbs, self.descents, self.undone, self.halved];
        assert!(least.iter().chain([&self.floor]).all(|&count| count >= 10), "{self:?}");
    }
}

impl Model {
    /// A server that has just started.
    pub(super) fn new(rate: TickRate) -> Self {
        let wait = 2 * usize::from(rate.hz());
        Self { rate, busy: vec![], steps: vec![], unquiet: 0, wait, seen: Seen::default() }
    }

    /// What the rules say after one more tick.
    pub(super) fn observe(&mut self, busy: Nanos) -> Option<Step> {
        self.busy.push(u128::from(busy.0));
        let (rung, now) = (self.rung(), self.busy.len());
        let here = &self.busy[self.steps.last().map_or(0, |(tick, _)| *tick)..];
        let newest = |count: usize| &here[here.len().saturating_sub(count)..];
        let hot = newest(16).iter().filter(|&&busy| self.exceeds(busy, 95, rung)).count() >= 8;
        let severe = here.len() >= 3 && newest(3).iter().all(|&b| self.exceeds(b, 200, rung));
        let calm = self.calm(here, rung);
        if hot || severe {
            self.unquiet = now;
            let dwell = if severe { 4 } else { 20 };
            let rested = self.since(|step| matches!(step, Step::Climb { .. })) >= dwell;
            self.seen.floor += usize::from(rung == Rung::FLOOR);
            return (rested && rung != Rung::FLOOR).then(|| self.climb(rung, severe));
        }
        let second = usize::from(self.rate.hz());
        if now - self.unquiet >= 60 * second {
            self.unquiet = now;
            self.seen.halved += usize::from(self.wait > 2 * second);
            self.wait = (self.wait / 2).max(2 * second);
        }
        (calm >= self.wait && rung != Rung::FULL).then(|| self.descend(rung))
    }

    fn climb(&mut self, from: Rung, severe: bool) -> Step {
        let second = usize::from(self.rate.hz());
        let last_was_descent = matches!(self.steps.last(), Some((_, Step::Descend { .. })));
        if last_was_descent && self.since(|_| true) <= 15 * second {
            self.wait = (self.wait * 2).min(30 * second);
            self.seen.undone += 1;
        }
        self.seen.climbs += 1;
        self.seen.fast_climbs += usize::from(severe);
        let step = Step::Climb { from, to: Rung(from.0 + 1) };
        self.steps.push((self.busy.len(), step));
        step
    }

    fn descend(&mut self, from: Rung) -> Step {
        self.seen.descents += 1;
        let step = Step::Descend { from, to: Rung(from.0 - 1) };
        self.steps.push((self.busy.len(), step));
        step
    }

    fn rung(&self) -> Rung {
        match self.steps.last() {
            None => Rung::FULL,
            Some((_, Step::Climb { to, .. } | Step::Descend { to, .. })) => *to,
        }
    }

    /// Ticks since the last step that is `wanted`.
    fn since(&self, wanted: impl Fn(&Step) -> bool) -> usize {
        let last = self.steps.iter().rev().find(|(_, step)| wanted(step));
        last.map_or(usize::MAX, |(tick, _)| self.busy.len() - tick)
    }

    /// Calm ticks of a rung: each counts one, every other takes back eight, pressure all.
    fn calm(&self, here: &[u128], rung: Rung) -> usize {
        if rung == Rung::FULL {
            return 0;
        }
        let below = Rung(rung.0 - 1);
        let mut calm: usize = 0;
        for (index, &busy) in here.iter().enumerate() {
            let is_calm = !self.exceeds(busy, 75, rung) && !self.exceeds(busy, 85, below);
            calm = if is_calm { calm + 1 } else { calm.saturating_sub(8) };
            let window = &here[index.saturating_sub(15)..=index];
            let hot = window.iter().filter(|&&busy| self.exceeds(busy, 95, rung)).count();
            let newest = &here[index.saturating_sub(2)..=index];
            let severe = newest.len() == 3 && newest.iter().all(|&b| self.exceeds(b, 200, rung));
            calm = if hot >= 8 || severe { 0 } else { calm };
        }
        calm
    }

    /// Whether a tick took more than `percent` of the period that counts on `rung`.
    fn exceeds(&self, busy: u128, percent: u128, rung: Rung) -> bool {
        let period = u128::from(1_000_000_000 / u64::from(self.rate.hz()));
        let period = match rung.index() {
            9 => period * 5 / 4,
            10 => period * 3 / 2,
            11 => period * 2,
            _ => period,
        };
        busy * 100 > period * percent
    }
}
