//! The slot table of one viewer: which row stands in which slot, what of it the viewer has
//! acknowledged, and how urgently it waits to be told.
//!
//! A slot is empty, live or leaving. It becomes live when `select` finds a newcomer, leaving when
//! the entity is out of sight or gone, and empty when the viewer acknowledged a packet that carried
//! the removal. Every packet carries every pending removal, so any acknowledged packet from the
//! tick of the departure on is proof enough and no list of removals per packet is kept.

use crate::kernel::age::AGE_UNKNOWN;
use crate::kernel::prefetch::prefetch;
use crate::kernel::urgency::{self, DUE, LEVELS};
use crate::limits::VISIBLE_MAX;
use crate::units::Tick;

/// Slots, acknowledgments and packets in flight of one viewer. Fixed size, no pointers.
///
/// Ticks of 16 bits are the low half of a tick. [`Self::renew`] keeps them young enough.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(super) struct SlotTable {
    live: u128,
    leaving: u128,
    /// Places of `sent` and `described` that hold a packet, as bits.
    in_flight: u64,
    /// Tick of the newest packet.
    clock: Tick,
    /// Tick of the newest acknowledged packet, 0 = none.
    pub(super) newest_acknowledged: Tick,
    /// Tick of the last selection: the slots stand for whoever had their rows then.
    pub(super) selected: Tick,
    /// Tick at which the ticks of 16 bits were last renewed.
    renewed: Tick,
    /// Bytes of the newest snapshot, and how many it was allowed.
    pub(super) length: [u32; 2],
    /// Row of the occupant in the published columns.
    pub(super) row: [u32; VISIBLE_MAX],
    /// Newest tick whose state of the occupant the viewer acknowledged; older than
    /// [`AGE_UNKNOWN`] if there is none. Of a leaving slot: the tick at which it began to leave.
    pub(super) acknowledged: [u16; VISIBLE_MAX],
    /// How urgently each slot waits, see `kernel::urgency`.
    urgency: [u8; VISIBLE_MAX],
    /// What the urgency grows by in a tick.
    pace: [u8; VISIBLE_MAX],
    sent: [SentPacket; SENT_RING],
    /// Which slots each packet of `sent` described, as two words.
    described: [[u64; 2]; SENT_RING],
}

/// Packets in flight that are remembered: more than a second at one per tick.
const SENT_RING: usize = 64;

/// A packet in flight.
#[derive(Clone, Copy, Debug, Default)]
struct SentPacket {
    /// Which lap of the ring it belongs to. The ring is far too short for two laps that agree in
    /// 16 bits.
    lap: u16,
    tick: u16,
}

/// Age at which ticks of 16 bits are renewed, and that no known one is beyond afterwards. A packet
/// this old is forgotten.
const RENEWAL: u16 = 0x1000;
/// Who was left alone for so long knows nothing any more.
const RENEWAL_MISSED: Tick = 0x3000;
/// Age of a tick that is not known: well behind those that can be, and `RENEWAL_MISSED` does not
/// bring it to where they begin again.
const NEVER: u16 = 0xC000;

const _: () = assert!(RENEWAL as Tick + RENEWAL_MISSED < AGE_UNKNOWN as Tick);
const _: () = assert!(NEVER as Tick + RENEWAL_MISSED < 1 << 16);

impl Default for SlotTable {
    fn default() -> Self {
        Self {
            live: 0,
            leaving: 0,
            in_flight: 0,
            clock: 0,
            newest_acknowledged: 0,
            selected: 0,
            renewed: 0,
            length: [0; 2],
            row: [0; VISIBLE_MAX],
            acknowledged: [0; VISIBLE_MAX],
            urgency: [0; VISIBLE_MAX],
            pace: [0; VISIBLE_MAX],
            sent: [SentPacket::default(); SENT_RING],
            described: [[0; 2]; SENT_RING],
        }
    }
}

impl SlotTable {
    /// Asks for the columns of the lower half of the slots: the slots are filled from below.
    #[inline]
    pub(super) fn anticipate(&self) {
        const LIKELY: usize = VISIBLE_MAX / 2;
        // The head, up to the rows.
        prefetch(std::slice::from_ref(&self.live));
        prefetch(&self.row[..LIKELY]);
        prefetch(&self.acknowledged[..LIKELY]);
        prefetch(&self.urgency[..LIKELY]);
        prefetch(&self.pace[..LIKELY]);
    }

    /// Slots with an entity that the viewer sees, as bits.
    #[inline]
    pub(super) fn live(&self) -> u128 {
        self.live
    }

    /// Slots whose removal the viewer has yet to acknowledge, as bits.
    #[inline]
    pub(super) fn leaving(&self) -> u128 {
        self.leaving
    }

    /// Puts who occupies `row` in `tick` into the lowest empty slot and returns it, or `None`
    /// if all are taken.
    pub(super) fn enter(&mut self, row: u32, tick: Tick) -> Option<u8> {
        let empty = !(self.live | self.leaving);
        if empty == 0 {
            return None;
        }
        let slot = empty.trailing_zeros() as usize;
        // Packets in flight speak of an earlier occupant.
        for described in &mut self.described {
            described[slot / 64] &= !(1 << (slot % 64));
        }
        self.row[slot] = row;
        self.acknowledged[slot] = (tick as u16).wrapping_sub(NEVER);
        // Newcomers come first.
        self.urgency[slot] = u8::MAX;
        self.live |= 1 << slot;
        Some(slot as u8)
    }

    /// Starts the removal of the live slots in `slots`.
    pub(super) fn leave(&mut self, slots: u128, tick: Tick) {
        debug_assert_eq!(slots & !self.live, 0, "only a live slot can leave");
        self.live &= !slots;
        self.leaving |= slots;
        for slot in bits(slots) {
            self.acknowledged[usize::from(slot)] = tick as u16;
        }
    }

    /// From `tick` on, the occupant of a live slot is told of at `pace`.
    ///
    /// When it is its turn depends on its row and the pace and not on the viewer: so all viewers
    /// are told in the same ticks against the same baselines, and the bytes can be shared.
    #[inline]
    pub(super) fn set_pace(&mut self, slot: u8, pace: u8, tick: Tick) {
        let slot = usize::from(slot);
        // What will have been added by any tick, modulo DUE; an odd factor spreads the rows.
        let added = pace.wrapping_mul(tick as u8);
        let turn = (self.row[slot] as u8).wrapping_mul(13).wrapping_add(added) % DUE;
        self.pace[slot] = pace;
        self.urgency[slot] = self.urgency[slot] / DUE * DUE + turn;
    }

    /// One tick passes: the slots that may be told in it as bits, the most urgent level first.
    #[inline]
    pub(super) fn due(&mut self) -> [u128; LEVELS] {
        urgency::grow(&mut self.urgency, &self.pace).map(|level| level & self.live)
    }

    /// Remembers that the packet `sequence` of `tick` described `slots` (and every pending
    /// removal).
    #[inline]
    pub(super) fn remember(&mut self, sequence: u64, tick: Tick, slots: u128) {
        let place = sequence as usize % SENT_RING;
        self.sent[place] = SentPacket { lap: lap(sequence), tick: tick as u16 };
        self.described[place] = [slots as u64, (slots >> 64) as u64];
        urgency::start_again(&mut self.urgency, slots);
        self.in_flight |= 1 << place;
        self.clock = tick;
    }

    /// The viewer has processed packet `sequence`. Packets that are no longer remembered are
    /// ignored: their slots are described again anyway.
    pub(super) fn acknowledge(&mut self, sequence: u64) {
        let place = sequence as usize % SENT_RING;
        let SentPacket { lap: sent, tick } = self.sent[place];
        if self.in_flight >> place & 1 == 0 || sent != lap(sequence) {
            return;
        }
        self.in_flight &= !(1 << place);
        let clock = self.clock as u16;
        let whole = self.clock.wrapping_sub(u32::from(clock.wrapping_sub(tick)));
        self.newest_acknowledged = self.newest_acknowledged.max(whole);
        let [low, high] = self.described[place];
        let described = u128::from(high) << 64 | u128::from(low);
        raise(&mut self.acknowledged, described & self.live, tick, clock);
        if self.leaving != 0 {
            let has_left = |slot: &u8| {
                // The slot may have left after the newest packet.
                tick.wrapping_sub(self.acknowledged[usize::from(*slot)]) as i16 >= 0
            };
            let removed = bits(self.leaving).filter(has_left);
            self.leaving &= !removed.fold(0, |removed, slot| removed | 1_u128 << slot);
        }
    }

    /// Tick of the newest packet, 0 = none.
    pub(super) fn newest(&self) -> Tick {
        self.clock
    }

    /// Slots that the newest packet described, as bits.
    pub(super) fn newest_described(&self) -> u128 {
        let newest = |packet: &SentPacket| packet.tick == self.clock as u16;
        let place = self.sent.iter().position(newest).unwrap_or_default();
        let [low, high] = self.described[place];
        u128::from(high) << 64 | u128::from(low)
    }

    /// Urgency and pace of a live slot.
    pub(super) fn waits(&self, slot: u8) -> (u8, u8) {
        (self.urgency[usize::from(slot)], self.pace[usize::from(slot)])
    }

    /// Ticks from the newest acknowledged state of the occupant to `tick`, at most `RENEWAL`: older
    /// ones are not told apart. `None` if there is none.
    pub(super) fn acknowledged_age(&self, slot: u8, tick: Tick) -> Option<Tick> {
        let age = (tick as u16).wrapping_sub(self.acknowledged[usize::from(slot)]);
        (age < AGE_UNKNOWN).then(|| age.min(RENEWAL).into())
    }

    /// Ticks from the newest state that the viewer was sent of the occupant to `tick`, whether it
    /// arrived or not. `None` if there is none, or it was sent more than 64 packets ago and never
    /// acknowledged.
    pub(super) fn told_age(&self, slot: u8, tick: Tick) -> Option<Tick> {
        let (word, bit) = (usize::from(slot) / 64, slot % 64);
        let sent = self.sent.iter().zip(&self.described);
        let told = sent.filter(|(_, described)| described[word] >> bit & 1 == 1);
        let ages = told.map(|(packet, _)| (tick as u16).wrapping_sub(packet.tick));
        let remembered = ages.filter(|&age| age <= RENEWAL).map(Tick::from);
        remembered.chain(self.acknowledged_age(slot, tick)).min()
    }

    /// Before anything else in `tick`: keeps the ticks of 16 bits from coming to mean others.
    #[inline]
    pub(super) fn renew(&mut self, tick: Tick, changed: &[Tick]) {
        if tick.wrapping_sub(self.renewed) >= u32::from(RENEWAL) {
            self.renew_all(tick, changed);
        }
    }

    #[cold]
    fn renew_all(&mut self, now: Tick, changed: &[Tick]) {
        let missed = now.wrapping_sub(self.renewed) >= RENEWAL_MISSED;
        self.renewed = now;
        let oldest = (now as u16).wrapping_sub(RENEWAL);
        for slot in bits(self.live).map(usize::from) {
            let age = (now as u16).wrapping_sub(self.acknowledged[slot]);
            let then = now.wrapping_sub(u32::from(age));
            if missed || age >= AGE_UNKNOWN {
                self.acknowledged[slot] = (now as u16).wrapping_sub(NEVER);
            } else if age > RENEWAL {
                // No baseline any more, and all that matters is whether there is something to say.
                let silent = changed[self.row[slot] as usize] <= then;
                let never = (now as u16).wrapping_sub(NEVER);
                self.acknowledged[slot] = if silent { oldest } else { never };
            }
        }
        for slot in bits(self.leaving).map(usize::from) {
            if missed {
                self.acknowledged[slot] = now as u16;
            } else if oldest.wrapping_sub(self.acknowledged[slot]) as i16 > 0 {
                self.acknowledged[slot] = oldest;
            }
        }
        for (place, packet) in self.sent.iter().enumerate() {
            if missed || (now as u16).wrapping_sub(packet.tick) > RENEWAL {
                self.in_flight &= !(1 << place);
            }
        }
    }
}

/// Which time around the ring `sequence` is.
fn lap(sequence: u64) -> u16 {
    (sequence / SENT_RING as u64) as u16
}

/// Raises the ticks of the slots in `described` to `tick`, as seen from `clock`. Eight lanes at a
/// time and without a branch per slot: this runs for every acknowledged packet over all it
/// described.
fn raise(acknowledged: &mut [u16; VISIBLE_MAX], described: u128, tick: u16, clock: u16) {
    let described = described.to_le_bytes();
    let age = clock.wrapping_sub(tick);
    for (lanes, bits) in acknowledged.as_chunks_mut::<8>().0.iter_mut().zip(described) {
        if bits == 0 {
            continue;
        }
        for (lane, value) in lanes.iter_mut().enumerate() {
            let untaken = u16::from(bits >> lane & 1).wrapping_sub(1);
            let held = clock.wrapping_sub(*value);
            *value = clock.wrapping_sub(held.min(age | untaken));
        }
    }
}

/// The set bits of `set`, lowest first.
#[inline]
pub(super) fn bits(set: u128) -> impl Iterator<Item = u8> {
    let mut halves = [set as u64, (set >> 64) as u64];
    std::iter::from_fn(move || {
        let (half, offset) =
            if halves[0] != 0 { (&mut halves[0], 0) } else { (&mut halves[1], 64) };
        if *half == 0 {
            return None;
        }
        let bit = half.trailing_zeros() as u8 + offset;
        *half &= *half - 1;
        Some(bit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replication_state_of_a_player_fits_thirty_seven_cache_lines() {
        // An odd number, so that the tables do not compete for the same sets of a cache.
        assert_eq!(size_of::<SlotTable>(), 37 * 64);
    }

    #[test]
    fn bits_come_lowest_first_from_both_halves() {
        let set = 1 | 1 << 63 | 1 << 64 | 1 << 127;
        assert_eq!(bits(set).collect::<Vec<_>>(), [0, 63, 64, 127]);
        assert_eq!(bits(0).count(), 0);
        assert_eq!(bits(u128::MAX).count(), 128);
    }

    #[test]
    fn a_slot_is_reused_only_after_its_removal_was_acknowledged() {
        let mut slots = SlotTable::default();
        assert_eq!(slots.enter(7, 9), Some(0));
        slots.remember(1, 10, slots.live());
        slots.leave(1, 11);
        assert_eq!(slots.enter(8, 9), Some(1), "slot 0 still waits");
        slots.acknowledge(1);
        assert_eq!(slots.leaving(), 1, "that packet was sent before the removal");
        slots.remember(2, 12, 0b10);
        slots.acknowledge(2);
        assert_eq!(slots.leaving(), 0);
        assert_eq!(slots.enter(9, 9), Some(0));
    }

    #[test]
    fn an_old_packet_says_nothing_about_the_new_occupant() {
        let mut slots = SlotTable::default();
        slots.enter(7, 9);
        slots.remember(1, 10, 1);
        slots.leave(1, 11);
        slots.remember(2, 11, 0);
        slots.acknowledge(2);
        slots.enter(8, 9);
        slots.acknowledge(1);
        assert!(11_u16.wrapping_sub(slots.acknowledged[0]) >= AGE_UNKNOWN);
        slots.remember(3, 12, 1);
        slots.acknowledge(3);
        assert_eq!(slots.acknowledged[0], 12);
    }

    #[test]
    fn acknowledgments_never_move_backwards() {
        let mut slots = SlotTable::default();
        slots.enter(7, 9);
        slots.remember(1, 10, 1);
        slots.remember(2, 11, 1);
        slots.acknowledge(2);
        slots.acknowledge(1);
        assert_eq!((slots.acknowledged[0], slots.newest_acknowledged), (11, 11));
        slots.acknowledge(2);
        slots.acknowledge(77);
        slots.acknowledge(0);
        assert_eq!(slots.acknowledged[0], 11);
    }

    #[test]
    fn a_full_table_refuses_the_newcomer() {
        let mut slots = SlotTable::default();
        for index in 0..VISIBLE_MAX as u32 {
            assert_eq!(slots.enter(index, 9), Some(index as u8));
        }
        assert_eq!(slots.enter(500, 9), None);
    }
}
