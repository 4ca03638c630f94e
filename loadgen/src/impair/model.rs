//! What a bad path does to datagrams, one direction of it. Sans-IO: a datagram goes in at a time,
//! and none, one or two come out, each with the time at which it arrives.
//!
//! Every decision is drawn from the seed. A datagram costs the same number of draws whatever
//! becomes of it, so what happens to the n-th one depends on the seed and on n alone; only the
//! bottleneck's queue also knows the time, and the black hole the length. Never reads a clock, owns
//! no socket. Called by `relay`, once for each client and direction.
//!
//! ```text
//!  in ─▶ black hole ─▶ bottleneck and its queue ─▶ loss ─▶ delay, jitter ─▶ corruption ─▶ out
//!                                                          '─ held back    '─ out again
//! ```

use serde::Serialize;
use tidelock::host::entropy::SeededEntropy;
use tidelock::time::Nanos;

/// Bytes that IPv4 and UDP put in front of a payload.
const ENVELOPE: usize = 28;
/// A second copy of a datagram arrives within this time after the first.
const DUPLICATE_LAG: Nanos = Nanos::from_ms(20);

/// One direction of a path. Shares are of 1; zero switches a fault off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Impairment {
    /// Share of the datagrams lost, each on its own.
    pub(crate) loss: f64,
    /// Share of the datagrams lost in bursts (a Gilbert-Elliott channel whose bad state loses all).
    pub(crate) burst_loss: f64,
    /// Mean length of a burst, datagrams.
    pub(crate) burst_length: f64,
    /// Time on the way.
    pub(crate) delay_ms: f64,
    /// Time added to that, evenly distributed from 0 on. Order is kept, as in a queue.
    pub(crate) jitter_ms: f64,
    /// Share of the datagrams held back, so that later ones overtake them.
    pub(crate) reorder: f64,
    /// For how long, evenly distributed from 0 on.
    pub(crate) reorder_ms: f64,
    /// Share of the datagrams that arrive twice.
    pub(crate) duplicate: f64,
    /// Share of the datagrams of which one bit is wrong.
    pub(crate) corrupt: f64,
    /// What the bottleneck carries, kbit/s, envelopes included. 0: there is none.
    pub(crate) rate_kbit: u32,
    /// The bottleneck's queue, as the time it takes to drain.
    pub(crate) queue_ms: u32,
    /// Largest packet that arrives, bytes with its envelope. 0: any.
    pub(crate) mtu: u32,
}

/// What became of the datagrams of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Tally {
    /// Datagrams in.
    pub(crate) datagrams: u64,
    /// Payload bytes of those.
    pub(crate) bytes: u64,
    /// Larger than the MTU.
    pub(crate) too_large: u64,
    /// Did not fit the bottleneck's queue.
    pub(crate) queue_full: u64,
    /// Lost alone.
    pub(crate) lost: u64,
    /// Lost in bursts.
    pub(crate) lost_in_bursts: u64,
    /// Held back.
    pub(crate) reordered: u64,
    /// Delivered with a wrong bit.
    pub(crate) corrupted: u64,
    /// Second copies.
    pub(crate) duplicated: u64,
    /// On their way, second copies included.
    pub(crate) passed: u64,
}

impl Tally {
    /// Names and values, in the order of a table.
    pub(crate) fn rows(&self) -> [(&'static str, u64); 10] {
        [
            ("datagrams", self.datagrams),
            ("bytes", self.bytes),
            ("too large", self.too_large),
            ("queue full", self.queue_full),
            ("lost", self.lost),
            ("lost in bursts", self.lost_in_bursts),
            ("reordered", self.reordered),
            ("corrupted", self.corrupted),
            ("duplicated", self.duplicated),
            ("passed on", self.passed),
        ]
    }
}

/// One direction of the path of one client.
#[derive(Clone, Debug)]
pub(crate) struct Path {
    impairment: Impairment,
    random: SeededEntropy,
    /// In a burst of losses.
    bad: bool,
    /// When the bottleneck has sent all it holds.
    line_free: Nanos,
    /// Arrival of the latest datagram that keeps the order.
    latest: Nanos,
}

impl Path {
    pub(crate) fn new(impairment: Impairment, seed: u64) -> Self {
        let (line_free, latest) = (Nanos(0), Nanos(0));
        Self { impairment, random: SeededEntropy(seed), bad: false, line_free, latest }
    }

    /// Takes in `datagram` at `now`. `deliver` is given each copy that arrives, and when; the bytes
    /// of `datagram` may have been changed.
    pub(crate) fn pass(
        &mut self,
        now: Nanos,
        datagram: &mut [u8],
        tally: &mut Tally,
        deliver: &mut dyn FnMut(Nanos, &[u8]),
    ) {
        let Impairment { delay_ms, jitter_ms, reorder, reorder_ms, .. } = self.impairment;
        let [lost, turn, jitter, held, hold, twice, lag, broken, which] = self.draw();
        tally.datagrams += 1;
        tally.bytes += datagram.len() as u64;
        let in_burst = self.step_burst(turn);
        let wire = datagram.len() + ENVELOPE;
        if self.impairment.mtu > 0 && wire > self.impairment.mtu as usize {
            tally.too_large += 1;
            return;
        }
        let Some(sent) = self.through_bottleneck(now, wire) else {
            tally.queue_full += 1;
            return;
        };
        if in_burst {
            tally.lost_in_bursts += 1;
            return;
        }
        if lost < self.impairment.loss {
            tally.lost += 1;
            return;
        }
        let mut at = sent.plus(from_ms(delay_ms + jitter * jitter_ms)).max(self.latest);
        if held < reorder {
            at = at.plus(from_ms(hold * reorder_ms));
            tally.reordered += 1;
        } else {
            self.latest = at;
        }
        if broken < self.impairment.corrupt && !datagram.is_empty() {
            let bit = (which * (datagram.len() * 8) as f64) as usize;
            datagram[bit / 8] ^= 1 << (bit % 8);
            tally.corrupted += 1;
        }
        tally.passed += 1;
        deliver(at, datagram);
        if twice < self.impairment.duplicate {
            tally.duplicated += 1;
            tally.passed += 1;
            deliver(at.plus(Nanos((lag * DUPLICATE_LAG.0 as f64) as u64)), datagram);
        }
    }

    /// Numbers from 0 to below 1.
    fn draw<const N: usize>(&mut self) -> [f64; N] {
        std::array::from_fn(|_| (self.random.next_u64() >> 11) as f64 / (1u64 << 53) as f64)
    }

    /// Moves the channel between its good and its bad state; true if this datagram meets the bad
    /// one. The mean stay in the bad state is `burst_length` datagrams, and its share of all of
    /// them `burst_loss`.
    fn step_burst(&mut self, turn: f64) -> bool {
        let Impairment { burst_loss, burst_length, .. } = self.impairment;
        if burst_loss <= 0.0 {
            return false;
        }
        let leave = 1.0 / burst_length.max(1.0);
        let enter = leave * burst_loss / (1.0 - burst_loss).max(f64::EPSILON);
        self.bad = if self.bad { turn >= leave } else { turn < enter };
        self.bad
    }

    /// When the bottleneck has sent the last bit, `None` if its queue is full.
    fn through_bottleneck(&mut self, now: Nanos, wire: usize) -> Option<Nanos> {
        let Impairment { rate_kbit, queue_ms, .. } = self.impairment;
        if rate_kbit == 0 {
            return Some(now);
        }
        if self.line_free.since(now) > Nanos::from_ms(u64::from(queue_ms)) {
            return None;
        }
        // A bit at 1 kbit/s takes a millisecond.
        let service = Nanos(wire as u64 * 8 * 1_000_000 / u64::from(rate_kbit));
        self.line_free = self.line_free.max(now).plus(service);
        Some(self.line_free)
    }
}

fn from_ms(ms: f64) -> Nanos {
    Nanos((ms.max(0.0) * 1e6) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: u64 = 7;
    const MANY: u64 = 100_000;

    /// Arrivals of `count` datagrams of `len` bytes sent `gap` apart: (number, when).
    fn run(
        impairment: Impairment,
        seed: u64,
        count: u64,
        len: usize,
        gap: Nanos,
    ) -> (Vec<(u64, Nanos)>, Tally) {
        let mut path = Path::new(impairment, seed);
        let (mut arrivals, mut tally) = (Vec::new(), Tally::default());
        for number in 0..count {
            let mut datagram = vec![0; len];
            datagram[..8].copy_from_slice(&number.to_le_bytes());
            path.pass(Nanos(number * gap.0), &mut datagram, &mut tally, &mut |at, _| {
                arrivals.push((number, at));
            });
        }
        assert_eq!(arrivals.len() as u64, tally.passed, "seed {seed}");
        (arrivals, tally)
    }

    fn near(share: f64, wished: f64, tolerance: f64) {
        assert!((share - wished).abs() <= tolerance, "{share} instead of {wished}, seed {SEED}");
    }

    #[test]
    fn a_path_without_faults_delivers_everything_at_once_and_unchanged() {
        let mut path = Path::new(Impairment::default(), SEED);
        let mut seen = Vec::new();
        let mut tally = Tally::default();
        path.pass(Nanos(5), &mut [1, 2, 3], &mut tally, &mut |at, datagram| {
            seen.push((at, datagram.to_vec()));
        });
        assert_eq!(seen, [(Nanos(5), vec![1, 2, 3])]);
        assert_eq!((tally.datagrams, tally.bytes, tally.passed), (1, 3, 1));
    }

    #[test]
    fn single_losses_have_the_share_that_was_asked_for_and_do_not_cluster() {
        let impairment = Impairment { loss: 0.1, ..Impairment::default() };
        let (arrivals, tally) = run(impairment, SEED, MANY, 40, Nanos::from_ms(1));
        near(tally.lost as f64 / MANY as f64, 0.1, 0.005);
        assert_eq!(tally.lost + tally.passed, MANY);
        near(mean_burst(&arrivals), 1.0 / 0.9, 0.03);
    }

    /// Mean length of the runs of datagrams that never arrived.
    fn mean_burst(arrivals: &[(u64, Nanos)]) -> f64 {
        let gaps: Vec<u64> =
            arrivals.windows(2).map(|two| two[1].0 - two[0].0 - 1).filter(|&gap| gap > 0).collect();
        gaps.iter().sum::<u64>() as f64 / gaps.len() as f64
    }

    #[test]
    fn bursts_have_the_share_and_the_mean_length_that_were_asked_for() {
        for (share, length) in [(0.3, 3.0), (0.05, 10.0), (0.6, 4.0)] {
            let impairment =
                Impairment { burst_loss: share, burst_length: length, ..Impairment::default() };
            let (arrivals, tally) = run(impairment, SEED, MANY, 40, Nanos::from_ms(1));
            near(tally.lost_in_bursts as f64 / MANY as f64, share, 0.03);
            near(mean_burst(&arrivals) / length, 1.0, 0.07);
            assert_eq!(tally.lost, 0);
        }
    }

    #[test]
    fn delay_and_jitter_stay_in_their_bounds_and_keep_the_order() {
        let impairment = Impairment { delay_ms: 30.0, jitter_ms: 20.0, ..Impairment::default() };
        let gap = Nanos::from_ms(16);
        let (arrivals, _) = run(impairment, SEED, 10_000, 40, gap);
        let late = |&(number, at): &(u64, Nanos)| at.since(Nanos(number * gap.0)).0 as f64 / 1e6;
        let lates: Vec<f64> = arrivals.iter().map(late).collect();
        assert!(lates.iter().all(|&ms| (30.0..=50.0).contains(&ms)));
        near(lates.iter().sum::<f64>() / 10_000.0, 40.0, 0.5);
        assert!(arrivals.windows(2).all(|two| two[0].1 <= two[1].1), "later ones do not overtake");
    }

    #[test]
    fn some_are_held_back_for_at_most_the_given_time_and_overtaken() {
        let impairment = Impairment { reorder: 0.2, reorder_ms: 500.0, ..Impairment::default() };
        let gap = Nanos::from_ms(10);
        let (arrivals, tally) = run(impairment, SEED, MANY, 40, gap);
        near(tally.reordered as f64 / MANY as f64, 0.2, 0.005);
        let holds: Vec<u64> =
            arrivals.iter().map(|&(n, at)| at.since(Nanos(n * gap.0)).as_ms()).collect();
        assert!(holds.iter().all(|&ms| ms <= 500));
        assert!(holds.iter().any(|&ms| ms > 480), "the whole range is used");
        let mut by_time = arrivals.clone();
        by_time.sort_by_key(|&(number, at)| (at, number));
        assert_ne!(by_time, arrivals);
    }

    #[test]
    fn duplicates_and_wrong_bits_have_the_share_that_was_asked_for() {
        let impairment = Impairment { duplicate: 0.1, corrupt: 0.05, ..Impairment::default() };
        let mut path = Path::new(impairment, SEED);
        let (mut wrong, mut tally) = (0, Tally::default());
        for _ in 0..MANY {
            let mut bits = Vec::new();
            path.pass(Nanos(0), &mut [0; 40], &mut tally, &mut |_, datagram| {
                bits.push(datagram.iter().map(|byte| byte.count_ones()).sum::<u32>());
            });
            assert!((1..=2).contains(&bits.len()) && bits.iter().all(|&bits| bits <= 1));
            wrong += u64::from(bits[0]);
        }
        assert_eq!(wrong, tally.corrupted);
        near(wrong as f64 / MANY as f64, 0.05, 0.004);
        near(tally.duplicated as f64 / MANY as f64, 0.1, 0.005);
        assert_eq!(tally.passed, MANY + tally.duplicated);
    }

    #[test]
    fn the_bottleneck_carries_its_rate_and_its_queue_is_bounded() {
        let impairment = Impairment { rate_kbit: 800, queue_ms: 100, ..Impairment::default() };
        // 1,000 bytes with the envelope: 10 ms each. Twice as many come.
        let (arrivals, tally) = run(impairment, SEED, 2_000, 972, Nanos::from_ms(5));
        let seconds = arrivals.last().expect("some arrive").1.0 as f64 / 1e9;
        near(tally.passed as f64 * 8_000.0 / seconds / 800_000.0, 1.0, 0.01);
        assert_eq!(tally.queue_full + tally.passed, 2_000);
        let longest = arrivals.iter().map(|&(n, at)| at.since(Nanos::from_ms(5 * n)).as_ms());
        let longest = longest.max().expect("some arrive");
        assert!((100..=120).contains(&longest), "{longest} ms");
    }

    #[test]
    fn a_black_hole_swallows_what_is_larger_and_nothing_else() {
        let impairment = Impairment { mtu: 1_280, ..Impairment::default() };
        for (len, passes) in [(1_200, true), (1_252, true), (1_253, false)] {
            let (arrivals, tally) = run(impairment, SEED, 10, len, Nanos::from_ms(1));
            assert_eq!((arrivals.len() == 10, tally.too_large == 0), (passes, passes), "{len}");
        }
    }

    #[test]
    fn the_same_seed_decides_the_same_whatever_the_lengths_and_times_and_another_does_not() {
        let impairment = Impairment {
            loss: 0.1,
            burst_loss: 0.1,
            burst_length: 4.0,
            reorder: 0.1,
            reorder_ms: 50.0,
            duplicate: 0.1,
            ..Impairment::default()
        };
        let fates = |seed, len, gap| {
            let arrivals = run(impairment, seed, 5_000, len, gap).0;
            arrivals.into_iter().map(|(number, _)| number).collect::<Vec<_>>()
        };
        let one = fates(SEED, 40, Nanos::from_ms(1));
        assert_eq!(one, fates(SEED, 1_200, Nanos::from_ms(9)));
        assert_ne!(one, fates(SEED + 1, 40, Nanos::from_ms(1)));
    }
}
