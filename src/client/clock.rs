//! The server's time as a client sees it: from the ticks of the snapshots and when they arrived.
//!
//! Owns: the estimate of the server's tick, the jitter, the delay at which others are drawn and the
//! render clock. Reads no clock: `now` is an argument. The program calls [`ServerClock::observe`]
//! for each applied snapshot and [`ServerClock::advance`] once per frame. Bots do not need one.
//!
//! ```text
//! offset = arrival − tick · period, the smallest of the last two seconds: the packet that waited
//!          nowhere. What changes of it is taken over at 5 % of the time that passes.
//! ───────────────┬───────────────────────┬──────────────────────────┬──▶ ticks
//!          render tick           arriving tick                server's tick
//!                └─ 2 ticks + 3 · jitter ┘└─ half a round trip ──────┘
//! ```

use super::acks::Rtt;
use crate::time::Nanos;
use crate::units::{Tick, TickRate};

/// Ticks by which others are drawn in the past at least.
pub const DELAY_TICKS: u32 = 2;
/// The same at most, milliseconds.
pub const DELAY_MAX_MS: u64 = 200;
/// Jitters added to it.
const DELAY_JITTERS: f64 = 3.0;
/// Part of the time that passes by which offset and delay may change: seen by nobody.
const SLEW: f64 = 0.05;
/// An offset that is wrong by more milliseconds is replaced at once.
const JUMP_MS: u64 = 250;
/// Part of a new difference in the jitter, as in RFC 3550.
const JITTER_GAIN: f64 = 1.0 / 16.0;
/// Time of which the smallest offset counts: so many spans of so many milliseconds.
const SPANS: usize = 8;
const SPAN_MS: u64 = 250;

/// What this client knows of the server's time.
#[derive(Clone, Debug)]
pub struct ServerClock {
    rate: TickRate,
    period_ns: f64,
    /// Tick and arrival of the first snapshot; everything is counted from it.
    origin: Option<(Tick, Nanos)>,
    least: Least,
    /// Nanoseconds that a packet arrives after its tick, the first one's taken as zero.
    offset_ns: f64,
    /// Of the newest snapshot.
    newest_offset_ns: f64,
    jitter_ns: f64,
    delay_ns: f64,
    advanced: Nanos,
    /// In ticks. Never goes back.
    render: f64,
}

impl ServerClock {
    /// Of a server with this tick rate.
    pub fn new(rate: TickRate) -> Self {
        let period_ns = 1e9 / f64::from(rate.hz());
        Self {
            rate,
            period_ns,
            origin: None,
            least: Least::default(),
            offset_ns: 0.0,
            newest_offset_ns: 0.0,
            jitter_ns: 0.0,
            delay_ns: f64::from(DELAY_TICKS) * period_ns,
            advanced: Nanos(0),
            render: 0.0,
        }
    }

    /// A snapshot of `tick` arrived at `now` and was applied.
    pub fn observe(&mut self, tick: Tick, now: Nanos) {
        let (first, start) = *self.origin.get_or_insert_with(|| {
            self.advanced = now;
            (tick, now)
        });
        let ticks = f64::from(tick.wrapping_sub(first).cast_signed());
        let offset_ns = now.since(start).0 as f64 - ticks * self.period_ns;
        let difference = (offset_ns - self.newest_offset_ns).abs();
        self.newest_offset_ns = offset_ns;
        self.jitter_ns += (difference - self.jitter_ns) * JITTER_GAIN;
        self.least.note(offset_ns, now);
    }

    /// A frame is to be drawn at `now`: the tick at which others are to be drawn, with its
    /// fraction. It never goes back, and runs between 90 and 110 % of real time unless the
    /// estimate was wrong by more than 250 ms. 0 before the first snapshot.
    pub fn advance(&mut self, now: Nanos) -> f64 {
        let Some((first, start)) = self.origin else { return 0.0 };
        let most = now.since(self.advanced).0 as f64 * SLEW;
        self.advanced = self.advanced.max(now);
        let wrong = self.least.of_late(now).map_or(0.0, |least| least - self.offset_ns);
        let jumps = wrong.abs() > Nanos::from_ms(JUMP_MS).0 as f64;
        self.offset_ns += if jumps { wrong } else { wrong.clamp(-most, most) };
        let wanted = f64::from(DELAY_TICKS) * self.period_ns + DELAY_JITTERS * self.jitter_ns;
        let wanted = wanted.min(Nanos::from_ms(DELAY_MAX_MS).0 as f64);
        self.delay_ns += (wanted - self.delay_ns).clamp(-most, most);
        let passed_ns = now.since(start).0 as f64 - self.offset_ns - self.delay_ns;
        self.render = self.render.max(f64::from(first) + passed_ns / self.period_ns).max(0.0);
        self.render
    }

    /// The tick, with its fraction, whose snapshot would arrive at `now` if it waits nowhere;
    /// `None` before the first.
    pub fn arriving_tick(&self, now: Nanos) -> Option<f64> {
        let (first, start) = self.origin?;
        let passed_ns = now.since(start).0 as f64 - self.offset_ns;
        Some(f64::from(first) + passed_ns / self.period_ns)
    }

    /// The tick at which the server is at `now`: half a round trip later than what arrives.
    pub fn server_tick(&self, now: Nanos, rtt: Rtt) -> Option<f64> {
        let half_ns = f64::from(rtt.smallest_us) * 500.0;
        self.arriving_tick(now).map(|tick| tick + half_ns / self.period_ns)
    }

    /// Mean difference of the delays of two packets in a row (RFC 3550), microseconds.
    pub fn jitter_us(&self) -> u32 {
        (self.jitter_ns / 1e3) as u32
    }

    /// How far behind what arrives others are drawn: 2 ticks + 3 jitters, at most 200 ms.
    pub fn delay(&self) -> Nanos {
        Nanos(self.delay_ns as u64)
    }

    /// Ticks per second.
    pub fn rate(&self) -> TickRate {
        self.rate
    }
}

/// The smallest value of the last two seconds.
#[derive(Clone, Copy, Debug, Default)]
struct Least {
    /// Number of the span (0 = none) and its smallest value, at number mod 8.
    spans: [(u64, f64); SPANS],
}

impl Least {
    fn number(now: Nanos) -> u64 {
        now.as_ms() / SPAN_MS + 1
    }

    fn note(&mut self, value: f64, now: Nanos) {
        let number = Self::number(now);
        let span = &mut self.spans[number as usize % SPANS];
        *span = (number, if span.0 == number { span.1.min(value) } else { value });
    }

    fn of_late(&self, now: Nanos) -> Option<f64> {
        let since = (Self::number(now) + 1).saturating_sub(SPANS as u64);
        let late = self.spans.iter().filter(|(number, _)| *number > 0 && *number >= since);
        late.map(|(_, value)| *value).reduce(f64::min)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Seeded;
    use super::*;

    const RATE: TickRate = TickRate::DEFAULT;

    /// A server, a network and a program that draws 144 frames a second.
    struct Simulation {
        random: Seeded,
        clock: ServerClock,
        /// Milliseconds that a packet travels, and at most in addition.
        travel_ms: f64,
        jitter_ms: f64,
        /// By how much the client's clock is fast.
        drift: f64,
        tick: Tick,
        arrivals: Vec<(f64, Tick)>,
        now_ms: f64,
        render: f64,
        /// Snapshots that came after they were to be drawn.
        late: u32,
        slowest: f64,
        fastest: f64,
    }

    impl Simulation {
        fn new(seed: u64, travel_ms: f64, jitter_ms: f64) -> Self {
            Self {
                random: Seeded(seed),
                clock: ServerClock::new(RATE),
                travel_ms,
                jitter_ms,
                drift: 0.0,
                tick: 1000,
                arrivals: Vec::new(),
                now_ms: 5000.0,
                render: 0.0,
                late: 0,
                slowest: 1.0,
                fastest: 1.0,
            }
        }

        fn sent_ms(tick: Tick) -> f64 {
            5000.0 + f64::from(tick - 1000) * 1000.0 / 60.0
        }

        fn now(&self) -> Nanos {
            Nanos((self.now_ms * (1.0 + self.drift) * 1e6) as u64)
        }

        fn run(&mut self, seconds: f64) {
            (self.late, self.slowest, self.fastest) = (0, 1.0, 1.0);
            let end = self.now_ms + seconds * 1000.0;
            while self.now_ms < end {
                self.now_ms += 1000.0 / 144.0;
                while Self::sent_ms(self.tick) <= self.now_ms {
                    let part = self.random.next() as f64 / u64::MAX as f64;
                    let arrival = Self::sent_ms(self.tick) + self.travel_ms + part * self.jitter_ms;
                    if !self.random.next().is_multiple_of(10) {
                        self.arrivals.push((arrival, self.tick));
                    }
                    self.tick += 1;
                }
                self.arrivals.sort_by(|a, b| a.0.total_cmp(&b.0));
                while self.arrivals.first().is_some_and(|(at, _)| *at <= self.now_ms) {
                    let (at, tick) = self.arrivals.remove(0);
                    self.clock.observe(tick, Nanos((at * (1.0 + self.drift) * 1e6) as u64));
                    self.late += u32::from(f64::from(tick) < self.render);
                }
                let render = self.clock.advance(self.now());
                assert!(render >= self.render, "the render clock went back");
                if self.render > 0.0 {
                    let speed = (render - self.render) * 144.0 / 60.0;
                    self.slowest = self.slowest.min(speed);
                    self.fastest = self.fastest.max(speed);
                }
                self.render = render;
            }
        }

        /// Ticks by which the clock is ahead of what arrives without waiting.
        fn error(&self) -> f64 {
            let true_tick = 1000.0 + (self.now_ms - self.travel_ms - 5000.0) * 0.06;
            self.clock.arriving_tick(self.now()).expect("started") - true_tick
        }
    }

    #[test]
    fn the_clock_finds_the_tick_that_arrives_however_packets_wait() {
        for seed in 1..=20 {
            for jitter_ms in [0.0, 5.0, 30.0, 60.0] {
                let mut simulation = Simulation::new(seed, 40.0, jitter_ms);
                simulation.run(6.0);
                let context = format!("seed {seed}, jitter {jitter_ms} ms");
                simulation.run(10.0);
                assert!(simulation.error().abs() < 0.25, "{context}: {}", simulation.error());
                // The mean difference of two evenly spread delays is a third of their range.
                let jitter = f64::from(simulation.clock.jitter_us()) / 1e3;
                assert!((jitter_ms * 0.15..=jitter_ms * 0.6).contains(&jitter), "{context}");
                assert!(simulation.late <= 12, "{context}: {} of 540 late", simulation.late);
                let delay = simulation.clock.delay().as_ms();
                assert!((33..=DELAY_MAX_MS).contains(&delay), "{context}: delay {delay}");
                let speeds = (simulation.slowest, simulation.fastest);
                assert!(speeds.0 > 0.89 && speeds.1 < 1.11, "{context}: {speeds:?}");
                let rtt = Rtt { smallest_us: 80_000, ..Rtt::default() };
                let ahead = simulation.clock.server_tick(simulation.now(), rtt).expect("started");
                let true_tick = 1000.0 + (simulation.now_ms - 5000.0) * 0.06;
                assert!((ahead - true_tick).abs() < 0.3, "{context}: {ahead} {true_tick}");
            }
        }
    }

    #[test]
    fn a_clock_that_is_fast_or_slow_is_followed() {
        for drift in [-3e-4, 3e-4] {
            let mut simulation = Simulation::new(7, 40.0, 10.0);
            simulation.drift = drift;
            simulation.run(120.0);
            assert!(simulation.error().abs() < 0.25, "{drift}: {}", simulation.error());
        }
    }

    #[test]
    fn a_longer_or_shorter_way_is_taken_over_without_a_jump() {
        for (before, after) in [(40.0, 120.0), (120.0, 40.0)] {
            let mut simulation = Simulation::new(3, before, 5.0);
            simulation.run(4.0);
            simulation.travel_ms = after;
            simulation.run(6.0);
            assert!(simulation.error().abs() < 0.25, "{before} → {after}: {}", simulation.error());
            assert!(simulation.slowest > 0.89 && simulation.fastest < 1.11);
        }
    }

    #[test]
    fn whatever_the_network_does_the_delay_is_bounded() {
        let mut simulation = Simulation::new(3, 40.0, 3_000.0);
        simulation.run(20.0);
        assert_eq!(simulation.clock.delay().as_ms(), DELAY_MAX_MS);
        let mut calm = Simulation::new(3, 40.0, 0.0);
        calm.run(20.0);
        assert_eq!(calm.clock.delay().as_ms(), 33);
    }
}
