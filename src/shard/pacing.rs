//! The thread of a shard: an absolute schedule, and what it does until the next tick.
//!
//! Tick n starts at the start of the server plus n periods, never at the end of tick n−1 plus
//! something. Until then the thread sleeps in the port and takes in what arrives. A tick that ends
//! after the next should have begun is an overrun: it is counted, and the next one begins at once;
//! no tick is ever left out.

use super::ladder::{Rung, Shed};
use super::laps::Timer;
use super::{Regroup, Report, Shard, Waiters};
use crate::exchange::Meeting;
use crate::metrics::Counter;
use crate::net::Port;
use crate::time::Nanos;
use crate::units::{Tick, TickRate};
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Datagrams for which a sleeping shard is woken before its time is up.
const WAKE_AT: u32 = 64;
/// Longest sleep in one call, so that mail is read and the socket buffer stays shallow.
const NAP: Nanos = Nanos::from_ms(1);

/// A shard that is further behind does not race to catch up: its schedule moves, and time passes
/// more slowly in the world.
const CATCH_UP_MAX: Nanos = Nanos::from_ms(250);

/// How long a shard without others waits to be told how to go on, and how often it looks.
const REGROUP_PATIENCE: Nanos = Nanos::from_ms(5_000);
const REGROUP_NAP: Duration = Duration::from_micros(200);

/// When a shard works.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Ticks per second.
    pub rate: TickRate,
    /// Start of the schedule, the same for all shards: tick n is due n periods later.
    pub origin: Nanos,
    /// Time before a tick in which the thread polls instead of sleeping.
    pub spin: Nanos,
    /// Time for which a shard that waits for others does so without sleeping.
    pub meeting_spin: Nanos,
}

/// How a shard came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All shards are done.
    Done,
    /// It was given up, or there is nobody any more to tell it how to go on.
    Expelled,
}

/// Runs `shard` on `port` until the gate ends all shards, or is gone.
///
/// # Errors
/// If the port is of no use any more.
pub fn run(
    shard: &mut Shard,
    port: &mut dyn Port,
    pace: Pace,
    mut waiters: Arc<Waiters>,
    timer: &impl Timer,
) -> io::Result<Ended> {
    let mut course = Course::new(pace.rate, pace.origin);
    loop {
        receive_until(shard, port, course.planned(shard), pace.spin, timer)?;
        course.begin(shard, timer);
        while waiters.meet(&mut shard.member, pace.meeting_spin, timer) == Meeting::Closed {
            let Some(regroup) = await_regroup(shard, timer) else { return Ok(Ended::Expelled) };
            waiters = Arc::clone(&regroup.waiters);
            course.regroup(shard, *regroup, timer);
        }
        if course.finish(shard, port, timer)? {
            return Ok(Ended::Done);
        }
    }
}

/// The course of a shard from tick to tick, without the waiting: [`run`] does that on a thread, and
/// the simulator steps several shards in turn.
///
/// In each tick, at or after [`Self::planned`]: [`Self::begin`], then the shard arrives at the
/// meeting. Once all have met, [`Self::finish`]; if the meeting was closed, [`Self::regroup`] and
/// arrive again.
#[derive(Clone, Copy, Debug)]
pub struct Course {
    schedule: Schedule,
    /// What the last tick took, waiting for others left out.
    busy: Nanos,
    planned: Nanos,
    began: Nanos,
    arrived: Nanos,
}

impl Course {
    /// Tick n is due n periods after `origin`.
    pub fn new(rate: TickRate, origin: Nanos) -> Self {
        let schedule = Schedule::new(rate, origin);
        Self { schedule, busy: Nanos(0), planned: origin, began: origin, arrived: origin }
    }

    /// When the next tick of `shard` is due.
    pub fn planned(&self, shard: &Shard) -> Nanos {
        self.schedule.start_of(shard.tick + 1)
    }

    /// First half of a tick; then the shard is to arrive at the meeting.
    pub fn begin(&mut self, shard: &mut Shard, timer: &impl Timer) {
        self.planned = self.planned(shard);
        self.began = timer.now();
        let late = self.began.since(self.planned);
        shard.simulate(Report { late, busy: self.busy, done: shard.is_done() }, timer);
        self.arrived = timer.now();
    }

    /// Goes on in the exchange that succeeds the closed one; the shard is to arrive there.
    pub fn regroup(&mut self, shard: &mut Shard, regroup: Regroup, timer: &impl Timer) {
        self.schedule = Schedule::new(self.schedule.rate, regroup.origin);
        shard.rejoin(regroup, timer.now());
    }

    /// Second half of a tick, after the meeting. Tells whether all shards are done and end.
    ///
    /// # Errors
    /// If the port is of no use any more.
    pub fn finish(
        &mut self,
        shard: &mut Shard,
        port: &mut dyn Port,
        timer: &impl Timer,
    ) -> io::Result<bool> {
        let Self { schedule, began, planned, .. } = self;
        let waited = timer.now().since(self.arrived);
        shard.replicate(port, timer)?;
        let ended = timer.now();
        self.busy = Nanos(ended.since(*began).0 - waited.0).plus(shard.intake);
        schedule.keep_pace(shard.tick, shard.ladder.shed());
        let next = schedule.start_of(shard.tick + 1);
        shard.histograms.tick.saturating_record(ended.since(*began).0);
        shard.histograms.start_jitter.saturating_record(began.since(*planned).0);
        shard.histograms.meeting.saturating_record(waited.0);
        if ended > next {
            shard.counters.add(Counter::Overruns, 1);
        }
        shard.counters.set(Counter::CpuNs, timer.cpu_ns());
        // Everybody reads the same reports, so the schedule moves for all and they end together.
        let behind = shard.reports().map(|report| report.late).max().unwrap_or_default();
        if behind > CATCH_UP_MAX {
            schedule.shift(behind);
            shard.counters.add(Counter::ScheduleShifts, 1);
        }
        Ok(shard.reports().all(|report| report.done))
    }
}

/// When each tick starts: an absolute schedule from an anchor on, at the pace of a rung.
#[derive(Clone, Copy, Debug)]
struct Schedule {
    rate: TickRate,
    /// The tick that starts at `anchor`.
    tick: Tick,
    anchor: Nanos,
    shed: &'static Shed,
}

impl Schedule {
    /// Tick n starts n periods after `origin`.
    fn new(rate: TickRate, origin: Nanos) -> Self {
        Self { rate, tick: 0, anchor: origin, shed: Rung::FULL.shed() }
    }

    fn start_of(&self, tick: Tick) -> Nanos {
        let full = Nanos(self.rate.start_ns((tick - self.tick).into()));
        self.anchor.plus(self.shed.period(full))
    }

    /// From `tick` on time runs as `shed` says.
    fn keep_pace(&mut self, tick: Tick, shed: &'static Shed) {
        if self.shed.pace != shed.pace {
            *self = Self { tick, anchor: self.start_of(tick), shed, ..*self };
        }
    }

    fn shift(&mut self, by: Nanos) {
        self.anchor = self.anchor.plus(by);
    }
}

/// Waits until the gate says how to go on after the exchange was closed; `None` if it will not.
fn await_regroup(shard: &mut Shard, timer: &impl Timer) -> Option<Box<Regroup>> {
    let start = timer.now();
    while timer.now().since(start) < REGROUP_PATIENCE && !shard.is_abandoned() {
        shard.read_mail(timer);
        if let Some(regroup) = shard.take_regroup() {
            return Some(regroup);
        }
        thread::sleep(REGROUP_NAP);
    }
    None
}

/// Takes in datagrams until `planned`. What has arrived is taken in even if the time is already up,
/// so that a late shard does not starve its players of input.
fn receive_until(
    shard: &mut Shard,
    port: &mut dyn Port,
    planned: Nanos,
    spin: Nanos,
    timer: &impl Timer,
) -> io::Result<()> {
    loop {
        let left = planned.since(timer.now());
        let nap = left.since(spin).0.min(NAP.0);
        shard.receive(port, if nap > 0 { WAKE_AT } else { 0 }, Duration::from_nanos(nap), timer)?;
        if timer.now() >= planned {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_runs_slower_from_the_tick_of_the_step_on_and_never_jumps() {
        let ms = |schedule: &Schedule, tick| schedule.start_of(tick).as_us() as f64 / 1000.0;
        let mut schedule = Schedule::new(TickRate::DEFAULT, Nanos::from_ms(1000));
        assert_eq!(ms(&schedule, 60), 2000.0);
        schedule.keep_pace(60, Rung::FLOOR.shed());
        assert_eq!((ms(&schedule, 60), ms(&schedule, 90)), (2000.0, 3000.0));
        schedule.shift(Nanos::from_ms(7));
        schedule.keep_pace(90, Rung::FLOOR.shed());
        schedule.keep_pace(120, Rung::FULL.shed());
        assert_eq!((ms(&schedule, 120), ms(&schedule, 180)), (4007.0, 5007.0));
    }
}
