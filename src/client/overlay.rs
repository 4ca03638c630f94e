//! The figures of a debug overlay: what a player's programmer wants to see in a corner of the
//! screen.
//!
//! Owns what was counted when it was last asked, to make rates of counts. Changes nothing. The
//! program calls [`Overlay::update`] about once per second and shows the [`Figures`].

use super::clock::ServerClock;
use super::event::State;
use super::machine::Client;
use super::prediction::Prediction;
use super::statistics::Statistics;
use crate::time::Nanos;
use std::fmt;

/// What a client's programmer wants to see. Rates and losses are those since the last update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// How far the client has come.
    pub state: State,
    /// Where the server is, ticks.
    pub server_tick: f64,
    /// Smoothed round-trip time, microseconds.
    pub rtt_us: u32,
    /// Mean difference of the delays of two snapshots, microseconds.
    pub jitter_us: u32,
    /// How far behind what arrives others are drawn, milliseconds.
    pub delay_ms: u64,
    /// Sequence of the newest input.
    pub input: u32,
    /// Inputs that the server has not confirmed.
    pub pending: u32,
    /// Snapshots that did not come or came too late, percent.
    pub lost_in_percent: f64,
    /// Packets whose arrival the server did not confirm, percent.
    pub lost_out_percent: f64,
    /// UDP payload received per second.
    pub bytes_in_per_s: f64,
    /// UDP payload sent per second.
    pub bytes_out_per_s: f64,
    /// Snapshots since the start that moved the predicted player.
    pub corrections: u32,
    /// How far the last of them moved it, centimetres.
    pub last_correction_cm: f32,
    /// Entities in sight.
    pub visible: u32,
}

/// Makes [`Figures`].
#[derive(Clone, Debug, Default)]
pub struct Overlay {
    before: Statistics,
    at: Nanos,
}

impl Overlay {
    /// Rates count from `now`.
    pub fn new(now: Nanos) -> Self {
        Self { before: Statistics::default(), at: now }
    }

    /// The figures at `now`, and of the time since the last call.
    pub fn update(
        &mut self,
        now: Nanos,
        client: &Client,
        clock: &ServerClock,
        prediction: &Prediction,
    ) -> Figures {
        let counted = client.statistics();
        // A client that came back counts from zero.
        let is_another =
            counted.bytes_out < self.before.bytes_out || counted.bytes_in < self.before.bytes_in;
        if is_another {
            self.before = Statistics::default();
        }
        let before = &self.before;
        let seconds = now.since(self.at).0 as f64 / 1e9;
        let per_second = |bytes: u64| if seconds > 0.0 { bytes as f64 / seconds } else { 0.0 };
        let missed = counted.missed_ticks.saturating_sub(before.missed_ticks);
        let applied = counted.snapshots.saturating_sub(before.snapshots);
        let lost = counted.lost_to_server.saturating_sub(before.lost_to_server);
        let sent = counted.datagrams_out.wrapping_sub(before.datagrams_out);
        let figures = Figures {
            state: client.state(),
            server_tick: clock.server_tick(now, counted.rtt).unwrap_or_default(),
            rtt_us: counted.rtt.smoothed_us,
            jitter_us: clock.jitter_us(),
            delay_ms: clock.delay().as_ms(),
            input: client.next_input().wrapping_sub(1),
            pending: prediction.pending(),
            lost_in_percent: percent(missed, missed + applied),
            lost_out_percent: percent(lost, sent),
            bytes_in_per_s: per_second(counted.bytes_in - before.bytes_in),
            bytes_out_per_s: per_second(counted.bytes_out - before.bytes_out),
            corrections: prediction.corrections(),
            last_correction_cm: prediction.last_correction_cm(),
            visible: client.world().visible(),
        };
        (self.before, self.at) = (counted, now);
        figures
    }
}

fn percent(part: u32, whole: u32) -> f64 {
    if whole == 0 { 0.0 } else { 100.0 * f64::from(part) / f64::from(whole) }
}

impl fmt::Display for Figures {
    /// One line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.state {
            State::Connecting => f.write_str("connecting")?,
            State::Confirming => f.write_str("confirming")?,
            State::Entering => f.write_str("entering")?,
            State::InWorld => f.write_str("in world")?,
            State::Closed(reason) => write!(f, "closed ({reason:?})")?,
        }
        let ms = |us: u32| f64::from(us) / 1e3;
        write!(f, " | tick {:.1} | rtt {:.1} ms", self.server_tick, ms(self.rtt_us))?;
        write!(f, ", jitter {:.1}, delay {}", ms(self.jitter_us), self.delay_ms)?;
        write!(f, " | input {}, {} pending", self.input, self.pending)?;
        let (lost_in, lost_out) = (self.lost_in_percent, self.lost_out_percent);
        write!(f, " | lost {lost_in:.1} % in, {lost_out:.1} % out")?;
        let [down, up] = [self.bytes_in_per_s, self.bytes_out_per_s].map(|bytes| bytes / 1e3);
        write!(f, " | {down:.1} kB/s in, {up:.1} out | corrected {}×", self.corrections)?;
        write!(f, ", last {:.1} cm | sees {}", self.last_correction_cm, self.visible)
    }
}

#[cfg(test)]
mod tests {
    use super::super::CloseReason;
    use super::super::tests::Pair;
    use super::*;
    use crate::units::TickRate;
    use crate::wire::InputFrame;

    #[test]
    fn rates_and_losses_are_those_since_the_last_look() {
        let mut pair = Pair::in_world();
        let (clock, mut prediction) =
            (ServerClock::new(TickRate::DEFAULT), Prediction::new(TickRate::DEFAULT));
        let mut overlay = Overlay::new(Nanos(0));
        let first = overlay.update(Nanos::from_ms(500), &pair.client, &clock, &prediction);
        assert_eq!(first.state, State::InWorld);
        let bytes = pair.client.statistics().bytes_in as f64;
        assert!(bytes > 100.0 && (first.bytes_in_per_s - bytes * 2.0).abs() < 1e-6, "{first:?}");
        let sequence = pair.client.set_input(InputFrame::default());
        prediction.predict(sequence, InputFrame::default());
        let out = &mut [0; 1200];
        let length = pair.client.poll_transmit(Nanos::from_ms(700), out).expect("the input is due");
        let second = overlay.update(Nanos::from_ms(1000), &pair.client, &clock, &prediction);
        assert_eq!((second.input, second.pending), (1, 1));
        assert_eq!((second.bytes_in_per_s, second.lost_in_percent), (0.0, 0.0));
        assert_eq!(second.bytes_out_per_s, length as f64 * 2.0);
        let again = overlay.update(Nanos::from_ms(1000), &pair.client, &clock, &prediction);
        assert_eq!(again.bytes_out_per_s, 0.0, "no time, no rate");
    }

    #[test]
    fn a_client_that_came_back_counts_anew() {
        let (mut overlay, pair) = (Overlay::new(Nanos(0)), Pair::in_world());
        let (clock, prediction) =
            (ServerClock::new(TickRate::DEFAULT), Prediction::new(TickRate::DEFAULT));
        let counted = pair.client.statistics();
        overlay.before = counted.clone();
        overlay.before.bytes_in += 1;
        overlay.before.missed_ticks += 1;
        let figures = overlay.update(Nanos::from_ms(1000), &pair.client, &clock, &prediction);
        assert_eq!(figures.bytes_in_per_s, counted.bytes_in as f64);
        assert_eq!(figures.bytes_out_per_s, counted.bytes_out as f64);
    }

    #[test]
    fn the_line_says_it_all_in_one_line() {
        let figures = Figures {
            state: State::Closed(CloseReason::TimedOut),
            server_tick: 1234.56,
            rtt_us: 20_400,
            jitter_us: 1_250,
            delay_ms: 37,
            input: 99,
            pending: 3,
            lost_in_percent: 0.5,
            lost_out_percent: 1.0,
            bytes_in_per_s: 8_300.0,
            bytes_out_per_s: 5_140.0,
            corrections: 2,
            last_correction_cm: 0.04,
            visible: 12,
        };
        assert_eq!(
            figures.to_string(),
            "closed (TimedOut) | tick 1234.6 | rtt 20.4 ms, jitter 1.2, delay 37 | input 99, \
             3 pending | lost 0.5 % in, 1.0 % out | 8.3 kB/s in, 5.1 out | corrected 2×, last \
             0.0 cm | sees 12"
        );
    }
}
