//! How many bytes a snapshot may have: congestion control of what the server sends one session.
//!
//! Owns, per session, the byte budget of its packets and what it is derived from: the round trip of
//! every fourth packet or so, and how many packets were acknowledged. Never delays a packet, never
//! changes how many there are: one per tick leaves, and its size is what adapts. Reads no clock.
//! Called by `seal` (a packet begins), `decode` (acknowledgments) and the shard (`budget`).
//!
//! One decision per period of a quarter of a second or more. The least round trip of the period,
//! less the least of the last 15 to 30 seconds, is the queue on the way:
//!
//! ```text
//!  queue    0 ──────────── 30 ms ──────────────── 50 ms ───────────────▶
//!           grow, if used   grow slowly, unless    cut below what came through,
//!                           it rises               unless it shrinks already
//! ```
//!
//! More than a tenth of the packets lost is a cut, too, and a second without an acknowledgment is
//! one to the floor. `docs/decisions/009-congestion-control.md` says why it is like this.
//!
//! Cost: per packet a few instructions in a cache line that egress and decode have in hand
//! (`Meter`); everything else once per probe (`Control`).

use super::acks::Sent;
use super::table::{Sessions, Slot, State};
use crate::limits::{PLAINTEXT_MAX, SNAPSHOT_BUDGET};
use crate::time::Nanos;
use crate::wire::AckBlock;

/// Points in time and durations here: units of 1,024 ns, which a shift makes of nanoseconds. Wraps
/// after 73 minutes, longer than any session is silent.
type Stamp = u32;

/// One packet in this many may be a probe.
const PROBE_EVERY: u64 = 4;
/// Least time between two decisions.
const PERIOD: Stamp = ms(250);
/// Probes that a decision needs: one that a busy client has answered late must not decide alone.
const PROBES_MIN: u8 = 2;
/// A shorter queue counts as none: more than a tick, and more than busy hosts make of nothing.
const QUEUE_LOW: Stamp = ms(30);
/// A longer queue is cut.
const QUEUE_HIGH: Stamp = ms(50);
/// A queue that has grown by more in a period is rising.
const QUEUE_RISE: Stamp = ms(4);
/// The least round trip is that of at least the last window and at most the last two.
const BASE_WINDOW: Stamp = ms(15_000);
/// A probe that is unanswered for longer, while packets before it are acknowledged, tells of a
/// queue before it comes back.
const OVERDUE: Stamp = ms(150);
/// A probe without an answer for longer is silence.
const SILENCE: Stamp = ms(1_000);
/// Of 64 packets, how many must be missing for a cut ...
const LOST_CUT: u32 = 7;
/// ... and how many for no growth. Random loss of one in fifty rarely comes to that.
const LOST_HOLD: u32 = 4;
/// The budget grows by one part in this many per period, at most.
const GROWTH: u32 = 20;
/// Where the path was full the last time, it grows by so many bytes: the same for everybody, so
/// that sessions on one path come to equal shares ...
const STEP: u32 = 6;
/// ... and by one part in this many of the distance to there, below and above.
const APPROACH: u32 = 8;
/// Bytes on the wire besides the datagram: headers of IPv4 and UDP.
const IP_UDP_LEN: u32 = 28;
/// Bytes on the wire besides the plaintext.
const OVERHEAD: u32 = IP_UDP_LEN + (crate::limits::HEADER_LEN + crate::limits::TAG_LEN) as u32;
/// Most bytes a second to one session.
const RATE_MAX: u32 = 512 * 1024;

const _: () = assert!(
    (PLAINTEXT_MAX as u32 + OVERHEAD) * 120 <= RATE_MAX,
    "one packet per tick stays below the highest rate at every tick rate"
);
const _: () = assert!(size_of::<Meter>() + size_of::<Control>() <= 64, "a cache line per session");

const fn ms(ms: u64) -> Stamp {
    (ms * 1_000_000 / 1_024) as Stamp
}

const fn stamp(at: Nanos) -> Stamp {
    (at.0 >> 10) as Stamp
}

const fn nanos(duration: Stamp) -> Nanos {
    Nanos((duration as u64) << 10)
}

/// Between which bounds, and from where, the budgets of a table's sessions move. Bytes of plaintext
/// in one packet, acknowledgment block included; floor ≤ start ≤ ceiling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetRange {
    floor: u16,
    start: u16,
    ceiling: u16,
}

impl Default for BudgetRange {
    /// 256 kbit/s on the wire at 60 Hz, whatever the path is like.
    fn default() -> Self {
        Self::fixed(SNAPSHOT_BUDGET)
    }
}

impl BudgetRange {
    /// Sessions begin at `start`, which is at most 1,170. A floor above it and a ceiling below it
    /// count as `start`, a ceiling above 1,170 as 1,170.
    pub fn new(floor: usize, start: usize, ceiling: usize) -> Self {
        let start = start.min(PLAINTEXT_MAX);
        Self {
            floor: floor.min(start) as u16,
            start: start as u16,
            ceiling: ceiling.clamp(start, PLAINTEXT_MAX) as u16,
        }
    }

    /// Always `bytes`.
    pub fn fixed(bytes: usize) -> Self {
        Self::new(bytes, bytes, bytes)
    }

    /// Bytes that a session begins with.
    pub fn start(self) -> usize {
        usize::from(self.start)
    }
}

/// What is known of the way to a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathState {
    /// Bytes of plaintext that a packet may have.
    pub budget: usize,
    /// Whether congestion holds the budget down.
    pub is_held_down: bool,
    /// Smoothed round trip, without what the client says it took; zero before the first.
    pub rtt: Nanos,
    /// Least round trip of the last 15 to 30 seconds; zero before the first.
    pub base_rtt: Nanos,
}

/// What every packet touches. Lies in the lines that decode and egress work on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meter {
    /// Low half of the sequence of the packet whose answer is awaited; 0: of none.
    probe: u32,
    probe_at: Stamp,
    /// Bytes of the datagrams of this period, saturating.
    sent: u32,
    /// Packets acknowledged in this period, saturating.
    acked: u16,
    budget: Budget,
}

/// Bytes in the low 15 bits, and in the highest whether congestion holds them down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Budget(u16);

const HELD: u16 = 1 << 15;
const _: () = assert!(PLAINTEXT_MAX < HELD as usize);

impl Budget {
    fn new(bytes: u16, is_held_down: bool) -> Self {
        Self(bytes | if is_held_down { HELD } else { 0 })
    }

    fn bytes(self) -> u16 {
        self.0 & !HELD
    }
}

impl Meter {
    pub(super) fn new(range: BudgetRange) -> Self {
        let budget = Budget::new(range.start, false);
        Self { probe: 0, probe_at: 0, sent: 0, acked: 0, budget }
    }

    /// The packet `sequence` begins at `now`.
    #[inline]
    pub(super) fn begin(&mut self, sequence: u64, now: Nanos, range: BudgetRange) {
        if !sequence.is_multiple_of(PROBE_EVERY) {
            return;
        }
        if self.probe == 0 {
            (self.probe, self.probe_at) = (sequence as u32, stamp(now));
        } else if stamp(now).wrapping_sub(self.probe_at) > SILENCE
            && self.budget.bytes() > range.floor
        {
            self.budget = Budget::new(range.floor, true);
        }
    }

    /// A datagram of `length` bytes leaves.
    #[inline]
    pub(super) fn sent(&mut self, length: usize) {
        self.sent = self.sent.saturating_add(length as u32);
    }

    /// `fresh` packets were acknowledged for the first time, in a block whose largest sequence is
    /// `largest`. Whether that says something about the probe: then call `Control::heard`.
    #[inline]
    pub(super) fn acknowledged(&mut self, fresh: u16, largest: u64, now: Nanos) -> bool {
        self.acked = self.acked.saturating_add(fresh);
        self.probe != 0
            && (self.is_answered_by(largest)
                || (fresh > 0 && stamp(now).wrapping_sub(self.probe_at) > OVERDUE))
    }

    /// A later packet answers as well: the probe may be lost, or two came at once.
    fn is_answered_by(&self, largest: u64) -> bool {
        (largest as u32).wrapping_sub(self.probe) as i32 >= 0
    }
}

/// What every probe touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Control {
    /// Smoothed round trip, 0 before the first.
    rtt: Stamp,
    /// Least round trip in this window and in the one before.
    base: [Stamp; 2],
    window_at: Stamp,
    period_at: Stamp,
    /// Least round trip of the period.
    least: Stamp,
    /// The queue in the period before; `MAX` when it is not known how long it became.
    queue: Stamp,
    /// Low half of the sequence that was next when the period began.
    first: u32,
    /// Low half of the sequence up to which losses have been counted.
    counted: u32,
    /// Bytes on the wire per packet that came through when the path was full the last time; 0:
    /// never, or the path has changed since.
    full_at: u16,
    /// Probes answered in this period.
    probes: u8,
}

/// What a period has shown. Bytes are those of one packet on the wire.
struct Period {
    queue: Stamp,
    /// Bytes sent, mean.
    used: u32,
    /// Bytes that came through, mean over all packets sent.
    through: u32,
    /// Of the last 64 packets.
    lost: u32,
    /// None of those has been counted for a cut before.
    is_loss_new: bool,
}

impl Control {
    pub(super) fn new(now: Nanos) -> Self {
        Self {
            rtt: 0,
            base: [Stamp::MAX; 2],
            window_at: stamp(now),
            period_at: stamp(now),
            least: Stamp::MAX,
            queue: 0,
            first: 1,
            counted: Sent::REORDERED_MAX,
            full_at: 0,
            probes: 0,
        }
    }

    /// Takes a block that says something about the probe of `meter`. Returns whether the budget
    /// was cut.
    pub(super) fn heard(
        &mut self,
        meter: &mut Meter,
        sent: &Sent,
        block: &AckBlock,
        now: Nanos,
        range: BudgetRange,
    ) -> bool {
        let now = stamp(now);
        let age = now.wrapping_sub(meter.probe_at);
        if !meter.is_answered_by(block.largest) {
            return self.wait(meter, sent, now, range);
        }
        meter.probe = 0;
        // In units of 32 µs. Not told: the round trip seems longer by what it was.
        let is_told = block.delay != AckBlock::DELAY_UNKNOWN;
        let held = if is_told { u32::from(block.delay) * 125 / 4 } else { 0 };
        // A client that held the packet longer than it was away lies, and measures nothing.
        let Some(rtt) = age.checked_sub(held) else { return false };
        self.sample(rtt, now);
        if self.probes < PROBES_MIN || now.wrapping_sub(self.period_at) < PERIOD {
            return false;
        }
        let queue = self.least.saturating_sub(self.base());
        let period = self.finish(meter, sent, queue);
        let before = meter.budget.bytes();
        self.decide(meter, &period, range);
        self.begin(meter, sent, queue, now);
        meter.budget.bytes() < before
    }

    /// The probe has no answer yet, though packets before it are acknowledged. If it is so late
    /// that there must be a queue, and fewer packets come through than are sent, the queue is
    /// growing, and that is enough for a cut: with a second of it, answers would take a second.
    fn wait(&mut self, meter: &mut Meter, sent: &Sent, now: Stamp, range: BudgetRange) -> bool {
        // What the client holds is not told yet; it is a tick or two.
        let queue = now.wrapping_sub(meter.probe_at).saturating_sub(OVERDUE - QUEUE_HIGH);
        if queue < self.base().saturating_add(QUEUE_HIGH) {
            return false;
        }
        if now.wrapping_sub(self.period_at) < PERIOD {
            return false;
        }
        let queue = queue - self.base();
        let period = self.finish(meter, sent, queue);
        if period.through >= period.used - period.used / 8 {
            return false;
        }
        let before = meter.budget.bytes();
        let bytes = u32::from(before) + OVERHEAD;
        let next = self.cut(bytes, &period, period.through * keep_percent(queue) / 100, range);
        self.set(meter, next, range);
        // What is on its way left before the cut and says nothing about it.
        meter.probe = 0;
        self.begin(meter, sent, Stamp::MAX, now);
        next < bytes
    }

    /// Begins a period, `queue` being that of the last.
    fn begin(&mut self, meter: &mut Meter, sent: &Sent, queue: Stamp, now: Stamp) {
        (self.queue, self.period_at, self.first) = (queue, now, sent.next() as u32);
        (self.least, self.probes) = (Stamp::MAX, 0);
        (meter.sent, meter.acked) = (0, 0);
    }

    /// For a way to the client that is another one from `now` on. Packets that left before say
    /// nothing about it.
    fn restarted(sent: &Sent, now: Nanos) -> Self {
        let first = sent.next() as u32;
        Self { first, counted: first.wrapping_add(Sent::REORDERED_MAX), ..Self::new(now) }
    }

    fn base(&self) -> Stamp {
        self.base[0].min(self.base[1])
    }

    fn sample(&mut self, rtt: Stamp, now: Stamp) {
        self.rtt = if self.rtt == 0 { rtt } else { self.rtt - self.rtt / 8 + rtt / 8 };
        let age = now.wrapping_sub(self.window_at);
        if age >= BASE_WINDOW {
            self.base = [Stamp::MAX, if age < 2 * BASE_WINDOW { self.base[0] } else { Stamp::MAX }];
            self.window_at = now;
        }
        self.base[0] = self.base[0].min(rtt);
        self.least = self.least.min(rtt);
        self.probes = self.probes.saturating_add(1);
    }

    fn finish(&mut self, meter: &Meter, sent: &Sent, queue: Stamp) -> Period {
        let packets = (sent.next() as u32).wrapping_sub(self.first).max(1);
        let used = meter.sent / packets + IP_UDP_LEN;
        let through = u64::from(used) * u64::from(packets.min(meter.acked.into()));
        let fresh = (sent.newest() as u32).wrapping_sub(self.counted);
        let is_loss_new = (64..1 << 31).contains(&fresh);
        if is_loss_new {
            self.counted = sent.newest() as u32;
        }
        let is_young = sent.newest() < u64::from(Sent::REORDERED_MAX) + 64;
        Period {
            queue,
            used,
            through: (through / u64::from(packets)) as u32,
            lost: if is_young { 0 } else { sent.lost_of_64() },
            is_loss_new,
        }
    }

    fn decide(&mut self, meter: &mut Meter, period: &Period, range: BudgetRange) {
        let bytes = u32::from(meter.budget.bytes()) + OVERHEAD;
        let queue = period.queue;
        let is_used = period.used >= bytes - bytes / 4;
        let decided = if period.lost >= LOST_CUT && period.is_loss_new {
            self.cut(bytes, period, period.used * (128 - period.lost) / 128, range)
        } else if queue >= QUEUE_HIGH {
            // A queue that came from nowhere may go there; one that shrinks needs time, no cut.
            if self.queue >= QUEUE_LOW && queue > self.queue - self.queue / 8 {
                self.cut(bytes, period, period.through * keep_percent(queue) / 100, range)
            } else {
                bytes
            }
        } else if !is_used || period.lost >= LOST_HOLD {
            // Nobody knows whether the path would carry more.
            bytes
        } else if queue >= QUEUE_LOW {
            if queue > self.queue.saturating_add(QUEUE_RISE) { bytes } else { bytes + STEP }
        } else {
            self.grow(bytes)
        };
        self.set(meter, decided, range);
    }

    fn set(&mut self, meter: &mut Meter, bytes: u32, range: BudgetRange) {
        let next = (bytes - OVERHEAD).clamp(range.floor.into(), range.ceiling.into()) as u16;
        if next == range.ceiling {
            self.full_at = 0;
        }
        meter.budget = Budget::new(next, self.full_at > 0 || next < range.start);
    }

    /// The budget after a cut to `target`: not more than it is, not less than half of what was
    /// used.
    fn cut(&mut self, bytes: u32, period: &Period, target: u32, range: BudgetRange) -> u32 {
        let floor = u32::from(range.floor) + OVERHEAD;
        let target = target.max(period.used / 2).max(floor).min(bytes);
        if target < bytes {
            self.full_at = period.through.min(bytes) as u16;
        }
        target
    }

    fn grow(&mut self, bytes: u32) -> u32 {
        let full_at = u32::from(self.full_at);
        if bytes > full_at + full_at / 2 {
            self.full_at = 0;
        }
        bytes + (STEP + bytes.abs_diff(full_at) / APPROACH).min(bytes / GROWTH)
    }
}

/// What of the bytes that come through is left after a cut: the longer the queue, the less, so that
/// it is gone in a second.
fn keep_percent(queue: Stamp) -> u32 {
    90 - (queue / ms(20)).min(40)
}

impl Sessions {
    /// Bytes of plaintext that a packet to `slot` may have now, acknowledgment block included.
    ///
    /// # Panics
    /// When there is no such slot.
    #[inline]
    pub fn budget(&self, slot: Slot) -> usize {
        self.flow[usize::from(slot)].meter.budget.bytes().into()
    }

    /// Whether congestion holds the budget of `slot` down: it was cut and has not been restored.
    ///
    /// # Panics
    /// When there is no such slot.
    #[inline]
    pub fn is_held_down(&self, slot: Slot) -> bool {
        self.flow[usize::from(slot)].meter.budget.0 & HELD != 0
    }

    /// Nothing is known of the way to the client in `index` any more.
    pub(super) fn restart_congestion(&mut self, index: usize, now: Nanos) {
        let flow = &mut self.flow[index];
        flow.meter = Meter::new(self.config.budget);
        self.control[index] = Control::restarted(&flow.sent, now);
    }

    /// What is known of the way to the client in `slot`; `None` without a session.
    pub fn path(&self, slot: Slot) -> Option<PathState> {
        let index = usize::from(slot);
        let Some(State::Live(_)) = self.state.get(index) else { return None };
        let control = &self.control[index];
        let base = control.base();
        Some(PathState {
            budget: self.budget(slot),
            is_held_down: self.is_held_down(slot),
            rtt: nanos(control.rtt),
            base_rtt: nanos(if base == Stamp::MAX { 0 } else { base }),
        })
    }
}
