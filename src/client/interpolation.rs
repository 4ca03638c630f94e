//! Where to draw the others: between the states that the server told, a little in the past.
//!
//! Owns the last told states of each slot. Never changes what the client knows and reads no clock.
//! The program calls [`Interpolation::observe`] after each applied snapshot,
//! [`Interpolation::advance`] once per frame with the tick of
//! [`ServerClock::advance`](super::ServerClock::advance), then [`Interpolation::poses`].
//!
//! ```text
//!  told           100     103      106          near ones every tick, far ones 18 times a second
//!  ────────────────┼───────┼────▲───┼──────▲──────────▲──▶ ticks
//!                            between    ahead, by its velocity, at most 100 ms, then held
//! ```
//! An entity that is absent from a snapshot has not changed, or waits for its turn. So one that
//! stood still stood there until just before the next told state; and one that is told of less
//! often is drawn as much later as it takes to know where it goes ([`LAG_MS`] at most).

use super::smoothing::{Offset, TELEPORT_CM, distance, length};
use super::world::{Seen, WorldView};
use crate::limits::VISIBLE_MAX;
use crate::state::{Kind, QuantizedState};
use crate::units::{EntityId, MAP_XY, MAP_Z, Tick, TickRate};

/// Longest time for which an entity is drawn ahead of what is known, milliseconds.
pub const AHEAD_MS: u64 = 100;
/// Most by which an entity that is told of less often is drawn later than the others,
/// milliseconds.
pub const LAG_MS: u64 = 50;
/// Updates per second of what moves far away.
const FAR_HZ: u16 = 18;
/// Told states that are kept: the longest delay and lag at 120 Hz fit.
const KEPT: usize = 32;
/// Part of the time that passes by which a lag may change.
const SLEW: f64 = 0.1;

/// How a place came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drawn {
    /// It lies between two told states, or the entity stands still.
    Between,
    /// The next state is late: the entity goes on as it went.
    Ahead,
    /// The next state is so late that the entity waits.
    Held,
}

/// An entity as it is to be drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pose {
    /// Who it is.
    pub entity: EntityId,
    /// What it is.
    pub kind: Kind,
    /// Centimetres.
    pub position: [f32; 3],
    /// 65,536ths of a turn.
    pub yaw: u16,
    /// Up or down, 65,536ths of a turn.
    pub pitch: i16,
    /// To the right or left, 65,536ths of a turn.
    pub roll: i16,
    /// The told state that was in force, for what does not lie between two: animation, health.
    pub state: QuantizedState,
    /// How the place came about.
    pub drawn: Drawn,
}

/// The others, by slot.
#[derive(Clone, Debug)]
pub struct Interpolation {
    rate: TickRate,
    /// The tick that is drawn, before any lag.
    render: f64,
    tracks: Box<[Track]>,
}

impl Interpolation {
    /// Nobody is there yet. Allocates everything that it will ever need, 150 KiB.
    pub fn new(rate: TickRate) -> Self {
        Self { rate, render: 0.0, tracks: vec![Track::EMPTY; VISIBLE_MAX].into() }
    }

    /// Takes in what the newest snapshot told. Call it after each: of two states of one entity it
    /// sees the newer one only.
    pub fn observe(&mut self, world: &WorldView) {
        for slot in 0..VISIBLE_MAX as u8 {
            self.note(slot, world.seen(slot), world.tick());
        }
    }

    /// What a slot holds at `tick`.
    fn note(&mut self, slot: u8, seen: Option<Seen>, tick: Tick) {
        let track = &mut self.tracks[usize::from(slot)];
        let Some(seen) = seen else {
            track.gone = track.gone.or((track.count > 0).then_some(tick));
            return;
        };
        if seen.entity != track.entity || track.gone.is_some() {
            *track = Track { entity: seen.entity, kind: seen.kind, ..Track::EMPTY };
        } else if track.count > 0 && seen.tick <= track.sample(0).tick {
            return;
        }
        let drawn = track.pose(self.render, self.rate);
        track.push(Sample { tick: seen.tick, state: seen.state }, self.rate);
        // The state may be another than was drawn ahead of it.
        let known = track.pose(self.render, self.rate);
        if let (Some(drawn), Some(known)) = (drawn, known)
            && drawn.position != known.position
        {
            track.shown.absorb(drawn.position, known.position, self.render, self.rate);
        }
    }

    /// A frame is to be drawn that shows the tick `render`, with its fraction. One before that of
    /// the last frame is that of the last frame.
    pub fn advance(&mut self, render: f64) {
        let passed = (render - self.render).max(0.0);
        self.render += passed;
        for track in self.tracks.iter_mut().filter(|track| track.count > 0) {
            let most = passed * SLEW;
            track.lag += (track.wanted_lag - track.lag).clamp(-most, most);
            let at = self.render - track.lag;
            if track.gone.is_some_and(|gone| at >= f64::from(gone)) {
                *track = Track::EMPTY;
            }
        }
    }

    /// The entity in `slot`; `None` if none is there, or not yet at the tick that is drawn.
    pub fn pose(&self, slot: u8) -> Option<Pose> {
        self.tracks.get(usize::from(slot))?.pose(self.render, self.rate)
    }

    /// All that are to be drawn.
    pub fn poses(&self) -> impl Iterator<Item = Pose> + '_ {
        self.tracks.iter().filter_map(|track| track.pose(self.render, self.rate))
    }
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    tick: Tick,
    state: QuantizedState,
}

impl Sample {
    fn velocity(&self) -> [f32; 3] {
        self.state.velocity.map(f32::from)
    }

    fn is_still(&self) -> bool {
        self.state.velocity == [0; 3]
    }
}

/// One slot.
#[derive(Clone, Copy, Debug)]
struct Track {
    entity: EntityId,
    kind: Kind,
    /// A ring, the newest at `count` − 1.
    samples: [Sample; KEPT],
    /// States ever told of this entity.
    count: usize,
    /// The tick from which on it is not in sight any longer.
    gone: Option<Tick>,
    /// Ticks by which it is drawn later than the others, and by which it should be.
    lag: f64,
    wanted_lag: f64,
    shown: Offset,
}

impl Track {
    const EMPTY: Self = Self {
        entity: EntityId::NONE,
        kind: Kind::Player,
        samples: [Sample { tick: 0, state: QuantizedState::DEFAULT }; KEPT],
        count: 0,
        gone: None,
        lag: 0.0,
        wanted_lag: 0.0,
        shown: Offset::NONE,
    };

    /// The one `back` before the newest; fewer than are kept.
    fn sample(&self, back: usize) -> &Sample {
        &self.samples[(self.count - 1 - back) % KEPT]
    }

    fn push(&mut self, sample: Sample, rate: TickRate) {
        if self.count > 0 && !self.sample(0).is_still() {
            let gap = f64::from(sample.tick.wrapping_sub(self.sample(0).tick));
            let wanted = (gap - 1.0).min(f64::from(rate.ticks_in_ms(LAG_MS)));
            // At once to more, in the course of some states to less.
            let rises = wanted > self.wanted_lag;
            self.wanted_lag += (wanted - self.wanted_lag) * if rises { 1.0 } else { 0.125 };
        }
        self.samples[self.count % KEPT] = sample;
        self.count += 1;
    }

    /// The newest state that is in force at the tick `at`, and the one after it if it was told
    /// already; `None` before the first.
    fn around(&self, at: f64) -> Option<(&Sample, Option<&Sample>)> {
        let kept = self.count.min(KEPT);
        let later = (0..kept).take_while(|&back| f64::from(self.sample(back).tick) > at).count();
        match later {
            _ if kept == 0 => None,
            0 => Some((self.sample(0), None)),
            _ if later < kept => Some((self.sample(later), Some(self.sample(later - 1)))),
            // More lies ahead than is kept: the oldest has to do.
            _ if self.count > KEPT => Some((self.sample(kept - 1), None)),
            _ => None,
        }
    }

    /// At the tick `render` of those that are told of every tick.
    fn pose(&self, render: f64, rate: TickRate) -> Option<Pose> {
        let at = render - self.lag;
        let (older, newer) = self.around(at)?;
        let (mut position, mut part, mut drawn) = (older.state.position(), 0.0, Drawn::Between);
        match newer {
            Some(newer) if is_teleport(older, newer, rate) => {}
            Some(newer) => {
                part = part_of(older, newer, at, rate);
                position = between(position, newer.state.position(), part);
            }
            None => {
                let ahead = at - f64::from(older.tick);
                let most = f64::from(rate.ticks_in_ms(AHEAD_MS));
                if ahead > 0.0 && !older.is_still() {
                    drawn = if ahead <= most { Drawn::Ahead } else { Drawn::Held };
                    position = went_on(older, ahead.min(most) as f32 * rate.seconds());
                }
            }
        }
        let (from, to) = (&older.state, &newer.unwrap_or(older).state);
        let tilt = |from: i16, to: i16| turned(from as u16, to as u16, part) as i16;
        let offset = self.shown.at(render, rate);
        Some(Pose {
            entity: self.entity,
            kind: self.kind,
            position: std::array::from_fn(|axis| position[axis] + offset[axis]),
            yaw: turned(from.yaw, to.yaw, part),
            pitch: tilt(from.pitch, to.pitch),
            roll: tilt(from.roll, to.roll),
            state: *from,
            drawn,
        })
    }
}

/// A place between two.
fn between(from: [f32; 3], to: [f32; 3], part: f32) -> [f32; 3] {
    std::array::from_fn(|axis| from[axis] + (to[axis] - from[axis]) * part)
}

/// An angle between two, the shorter way round.
fn turned(from: u16, to: u16, part: f32) -> u16 {
    let turn = f32::from(to.wrapping_sub(from).cast_signed());
    from.wrapping_add_signed((turn * part).round() as i16)
}

/// How much of the way between two states lies behind at the tick `at`, 0 to 1.
fn part_of(older: &Sample, newer: &Sample, at: f64, rate: TickRate) -> f32 {
    let (mut start, end) = (f64::from(older.tick), f64::from(newer.tick));
    if older.is_still() {
        // It is told at once when somebody sets out, so that was hardly before the newer state.
        start = start.max(end - f64::from(rate.hz().div_ceil(FAR_HZ)));
    }
    (((at - start) / (end - start)) as f32).clamp(0.0, 1.0)
}

/// Whether nobody can have walked from one state to the other.
fn is_teleport(older: &Sample, newer: &Sample, rate: TickRate) -> bool {
    let seconds = newer.tick.wrapping_sub(older.tick) as f32 * rate.seconds();
    let speed = length(older.velocity()).max(length(newer.velocity()));
    let way = distance(older.state.position(), newer.state.position());
    way > TELEPORT_CM + 2.0 * speed * seconds
}

/// Where somebody is `seconds` after a state who does what he did, within the map.
fn went_on(sample: &Sample, seconds: f32) -> [f32; 3] {
    let (from, velocity) = (sample.state.position(), sample.velocity());
    let edges = [MAP_XY, MAP_XY, MAP_Z];
    std::array::from_fn(|axis| (from[axis] + velocity[axis] * seconds).clamp(0.0, edges[axis]))
}

#[cfg(test)]
mod tests {
    use super::super::tests::Seeded;
    use super::*;
    use crate::units::{STEP, STEPS_XY};

    const RATE: TickRate = TickRate::DEFAULT;
    const ID: EntityId = EntityId(1 << 20 | 5);

    /// Somebody at so many steps from the west edge, with a velocity in cm/s.
    fn state(x: u32, velocity: i16) -> QuantizedState {
        QuantizedState { x, y: 9000, velocity: [velocity, 0, 0], ..QuantizedState::DEFAULT }
    }

    fn told(others: &mut Interpolation, tick: Tick, state: QuantizedState) {
        let seen = Seen { slot: 7, entity: ID, kind: Kind::Player, tick, state };
        others.note(7, Some(seen), tick);
    }

    /// Position in steps along x at a tick, and how it came about.
    fn drawn(others: &mut Interpolation, render: f64) -> Option<(f32, Drawn)> {
        others.advance(render);
        others.pose(7).map(|pose| (pose.position[0] / STEP, pose.drawn))
    }

    #[test]
    fn between_two_told_states_the_way_is_straight_whatever_lies_between_them() {
        for gap in 1..=12 {
            let mut others = Interpolation::new(RATE);
            told(&mut others, 100, state(1000, 600));
            told(&mut others, 100 + gap, state(1000 + 120, 600));
            for part in [0.0, 0.25, 0.5, 0.75] {
                // Without passing time there is no lag.
                others.render = 100.0 + f64::from(gap) * part;
                let place = others.pose(7).expect("told").position[0] / STEP;
                assert!((place - 1000.0 - 120.0 * part as f32).abs() < 0.1, "{gap}: {place}");
            }
        }
    }

    #[test]
    fn who_stood_still_sets_out_just_before_he_is_told_to() {
        let mut others = Interpolation::new(RATE);
        told(&mut others, 100, state(1000, 0));
        assert_eq!(drawn(&mut others, 400.0), Some((1000.0, Drawn::Between)), "absent: unchanged");
        told(&mut others, 500, state(1006, 600));
        assert_eq!(drawn(&mut others, 496.0), Some((1000.0, Drawn::Between)));
        assert_eq!(drawn(&mut others, 498.0), Some((1003.0, Drawn::Between)));
        assert_eq!(drawn(&mut others, 500.0), Some((1006.0, Drawn::Between)));
    }

    #[test]
    fn who_is_late_goes_on_for_100_ms_and_waits_and_never_leaves_the_map() {
        let mut others = Interpolation::new(RATE);
        told(&mut others, 100, state(1000, 600));
        let (place, how) = drawn(&mut others, 103.0).expect("told");
        assert!((place - 1000.0 - 30.0 / STEP).abs() < 0.1 && how == Drawn::Ahead, "{place}");
        let (place, how) = drawn(&mut others, 120.0).expect("told");
        assert!((place - 1000.0 - 60.0 / STEP).abs() < 0.1 && how == Drawn::Held, "{place}");
        let mut edge = Interpolation::new(RATE);
        told(&mut edge, 100, state(STEPS_XY - 1, 30_000));
        edge.advance(106.0);
        assert!(edge.pose(7).expect("told").position[0] <= MAP_XY);
    }

    #[test]
    fn what_was_drawn_wrong_fades_instead_of_jumping() {
        let mut others = Interpolation::new(RATE);
        told(&mut others, 100, state(1000, 600));
        let (ahead, _) = drawn(&mut others, 104.0).expect("told");
        // He stopped at once.
        told(&mut others, 101, state(1000, 0));
        let (place, _) = drawn(&mut others, 104.0).expect("told");
        assert!((place - ahead).abs() < 0.01, "{place} instead of {ahead}");
        let mut before = place;
        for frame in 1..=30 {
            let (place, _) = drawn(&mut others, 104.0 + f64::from(frame) * 0.2).expect("told");
            assert!(place <= before && before - place < 1.0, "frame {frame}");
            before = place;
        }
        assert_eq!(before, 1000.0);
    }

    #[test]
    fn who_teleports_is_there_at_once_and_what_is_fast_is_no_teleport() {
        let mut others = Interpolation::new(RATE);
        told(&mut others, 100, state(1000, 600));
        told(&mut others, 103, state(5000, 600));
        assert_eq!(drawn(&mut others, 102.0), Some((1000.0, Drawn::Between)));
        others.render = 103.0 + others.tracks[7].lag;
        let place = others.pose(7).expect("told").position[0] / STEP;
        assert!((place - 5000.0).abs() < 0.1, "{place}");
        let mut arrow = Interpolation::new(RATE);
        told(&mut arrow, 100, state(1000, 30_000));
        told(&mut arrow, 102, state(1640, 30_000));
        arrow.render = 101.0;
        let place = arrow.pose(7).expect("told").position[0] / STEP;
        assert!((place - 1320.0).abs() < 0.1, "{place}");
    }

    #[test]
    fn angles_turn_the_shorter_way() {
        let mut others = Interpolation::new(RATE);
        let angles = |yaw, pitch| QuantizedState { yaw, pitch, ..state(1000, 600) };
        told(&mut others, 100, angles(65_000, -300));
        told(&mut others, 102, angles(464, 300));
        others.render = 101.0;
        let pose = others.pose(7).expect("told");
        assert_eq!((pose.yaw, pose.pitch), (65_500, 0));
    }

    #[test]
    fn who_appears_or_leaves_does_so_when_his_tick_is_drawn() {
        let mut others = Interpolation::new(RATE);
        others.advance(95.0);
        told(&mut others, 100, state(1000, 0));
        assert_eq!(drawn(&mut others, 99.0), None);
        assert!(drawn(&mut others, 100.0).is_some());
        others.note(7, None, 110);
        others.note(7, None, 111);
        assert!(drawn(&mut others, 109.0).is_some());
        assert_eq!(drawn(&mut others, 110.0), None);
        assert_eq!(others.poses().count(), 0);
        told(&mut others, 112, state(1000, 0));
        assert!(drawn(&mut others, 112.0).is_some(), "back again");
        let next = EntityId(2 << 20 | 5);
        let seen = Seen { slot: 7, entity: next, kind: Kind::Npc, tick: 113, state: state(5, 0) };
        others.note(7, Some(seen), 113);
        others.advance(113.0);
        assert_eq!(others.pose(7).map(|pose| pose.entity), Some(next), "no mixture of the two");
    }

    /// Somebody on a circle who is told of so often, over a network that loses a fifth.
    /// Returns the share of frames drawn between two states and the worst error in centimetres.
    fn walk(seed: u64, hz: f64, lost: u64) -> (f64, f32) {
        let mut random = Seeded(seed);
        let mut others = Interpolation::new(RATE);
        let place = |tick: f64| {
            let angle = tick / 60.0;
            [409_600.0 + 600.0 * angle.cos(), 409_600.0 + 600.0 * angle.sin()]
        };
        let (mut urgency, mut frames, mut known, mut worst) = (0.0, 0, 0, 0.0_f32);
        let mut last: Option<[f32; 3]> = None;
        for tick in 1..1200_u32 {
            urgency += hz / 60.0;
            if urgency >= 1.0 {
                urgency -= 1.0;
                let [x, y] = place(tick.into()).map(|cm| (cm / f64::from(STEP)).round() as u32);
                let angle = f64::from(tick) / 60.0;
                let velocity = [-600.0 * angle.sin(), 600.0 * angle.cos(), 0.0].map(|v| v as i16);
                if random.next() % 100 >= lost {
                    told(&mut others, tick, QuantizedState { x, y, velocity, ..state(0, 0) });
                }
            }
            for part in [0.0, 0.4, 0.8] {
                others.advance(f64::from(tick) + part - 2.0);
                let Some(pose) = others.pose(7).filter(|_| tick > 60) else { continue };
                let at = others.render - others.tracks[7].lag;
                let [x, y] = place(at);
                let error = distance(pose.position, [x as f32, y as f32, 0.0]);
                worst = worst.max(error);
                frames += 1;
                known += u32::from(pose.drawn == Drawn::Between);
                let step = last.map_or(0.0, |last| distance(last, pose.position));
                assert!(step < 4.0 * 0.4 * 10.0, "a jump of {step} cm at {tick}, seed {seed}");
                last = Some(pose.position);
            }
        }
        (f64::from(known) / f64::from(frames), worst)
    }

    #[test]
    fn near_and_far_are_drawn_between_told_states_where_they_were() {
        for hz in [60.0, 30.0, 18.0] {
            let (known, worst) = walk(1, hz, 0);
            assert!(known > 0.999 && worst < 5.0, "{hz} Hz: {known}, {worst} cm");
        }
    }

    #[test]
    fn loss_costs_accuracy_and_no_jumps() {
        for seed in 1..=20 {
            for hz in [60.0, 30.0, 18.0] {
                let (known, worst) = walk(seed, hz, 20);
                // Five states lost in a row at 18 Hz are 280 ms, of which 100 are drawn ahead.
                assert!(known > 0.7 && worst < 200.0, "{hz} Hz, seed {seed}: {known}, {worst} cm");
            }
        }
    }
}
