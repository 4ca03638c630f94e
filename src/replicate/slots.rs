//! The slot table of one viewer: which row stands in which slot, and what of it the viewer has
//! acknowledged.
//!
//! A slot is empty, live or leaving. It becomes live when `select` finds a newcomer, leaving when
//! the entity is out of sight or gone, and empty when the viewer acknowledged a packet that carried
//! the removal. Every packet carries every pending removal, so any acknowledged packet from the
//! tick of the departure on is proof enough and no list of removals per packet is kept.

use crate::kernel::prefetch::prefetch;
use crate::limits::VISIBLE_MAX;
use crate::units::Tick;

/// Slots, acknowledgments and packets in flight of one viewer. Fixed size, no pointers.
#[derive(Clone, Debug)]
pub(super) struct SlotTable {
    /// Row of the occupant in the published columns.
    pub(super) row: [u32; VISIBLE_MAX],
    /// Newest tick whose state of the occupant the viewer acknowledged, 0 = none. Of a leaving
    /// slot: the tick at which it began to leave.
    pub(super) acknowledged: [Tick; VISIBLE_MAX],
    live: u128,
    leaving: u128,
    /// Slot at which the next packet starts when the last one was full.
    pub(super) cursor: u8,
    /// Tick of the newest acknowledged packet, 0 = none.
    pub(super) newest_acknowledged: Tick,
    /// Tick of the last selection: the slots stand for whoever had their rows then.
    pub(super) selected: Tick,
    sent: [SentPacket; SENT_RING],
}

/// Packets in flight that are remembered: more than a second at one per tick.
const SENT_RING: usize = 64;

/// Which slots a packet described. `tick` 0 means the place is free.
#[derive(Clone, Copy, Debug, Default)]
struct SentPacket {
    /// The low half: the ring is far too short for two that agree in it.
    sequence: u32,
    tick: Tick,
    slots: [u64; 2],
}

impl Default for SlotTable {
    fn default() -> Self {
        Self {
            row: [0; VISIBLE_MAX],
            acknowledged: [0; VISIBLE_MAX],
            live: 0,
            leaving: 0,
            cursor: 0,
            newest_acknowledged: 0,
            selected: 0,
            sent: [SentPacket::default(); SENT_RING],
        }
    }
}

impl SlotTable {
    /// Asks for the columns of the lower half of the slots: the slots are filled from below.
    #[inline]
    pub(super) fn anticipate(&self) {
        const LIKELY: usize = VISIBLE_MAX / 2;
        prefetch(std::slice::from_ref(&self.live));
        prefetch(&self.row[..LIKELY]);
        prefetch(&self.acknowledged[..LIKELY]);
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

    /// Puts the occupant of `row` into the lowest empty slot and returns it, or `None` if all are
    /// taken.
    pub(super) fn enter(&mut self, row: u32) -> Option<u8> {
        let empty = !(self.live | self.leaving);
        if empty == 0 {
            return None;
        }
        let slot = empty.trailing_zeros() as usize;
        // Packets in flight speak of an earlier occupant.
        for packet in &mut self.sent {
            packet.slots[slot / 64] &= !(1 << (slot % 64));
        }
        self.row[slot] = row;
        self.acknowledged[slot] = 0;
        self.live |= 1 << slot;
        Some(slot as u8)
    }

    /// Starts the removal of the live slots in `slots`.
    pub(super) fn leave(&mut self, slots: u128, tick: Tick) {
        debug_assert_eq!(slots & !self.live, 0, "only a live slot can leave");
        self.live &= !slots;
        self.leaving |= slots;
        for slot in bits(slots) {
            self.acknowledged[usize::from(slot)] = tick;
        }
    }

    /// Remembers that the packet `sequence` of `tick` described `slots` (and every pending
    /// removal).
    #[inline]
    pub(super) fn remember(&mut self, sequence: u64, tick: Tick, slots: u128) {
        self.sent[sequence as usize % SENT_RING] = SentPacket {
            sequence: sequence as u32,
            tick,
            slots: [slots as u64, (slots >> 64) as u64],
        };
    }

    /// The viewer has processed packet `sequence`. Packets that are no longer remembered are
    /// ignored: their slots are described again anyway.
    pub(super) fn acknowledge(&mut self, sequence: u64) {
        let place = &mut self.sent[sequence as usize % SENT_RING];
        if place.sequence != sequence as u32 || place.tick == 0 {
            return;
        }
        let SentPacket { tick, slots, .. } = std::mem::take(place);
        self.newest_acknowledged = self.newest_acknowledged.max(tick);
        let described = u128::from(slots[1]) << 64 | u128::from(slots[0]);
        raise(&mut self.acknowledged, described & self.live, tick);
        if self.leaving != 0 {
            let removed = bits(self.leaving)
                .filter(|&slot| tick >= self.acknowledged[usize::from(slot)])
                .fold(0, |removed, slot| removed | 1_u128 << slot);
            self.leaving &= !removed;
        }
    }
}

/// Raises the ticks of the slots in `described` to `tick`. Eight lanes at a time and without a
/// branch per slot: this runs for every acknowledged packet over all it described.
fn raise(acknowledged: &mut [Tick; VISIBLE_MAX], described: u128, tick: Tick) {
    let described = described.to_le_bytes();
    for (lanes, bits) in acknowledged.as_chunks_mut::<8>().0.iter_mut().zip(described) {
        if bits == 0 {
            continue;
        }
        for (lane, value) in lanes.iter_mut().enumerate() {
            let taken = 0_u32.wrapping_sub(u32::from(bits >> lane & 1));
            *value = (*value).max(tick & taken);
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
    fn replication_state_of_a_player_fits_four_kibibytes() {
        assert!(size_of::<SlotTable>() <= 4096, "{} bytes", size_of::<SlotTable>());
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
        assert_eq!(slots.enter(7), Some(0));
        slots.remember(1, 10, slots.live());
        slots.leave(1, 11);
        assert_eq!(slots.enter(8), Some(1), "slot 0 still waits");
        slots.acknowledge(1);
        assert_eq!(slots.leaving(), 1, "that packet was sent before the removal");
        slots.remember(2, 12, 0b10);
        slots.acknowledge(2);
        assert_eq!(slots.leaving(), 0);
        assert_eq!(slots.enter(9), Some(0));
    }

    #[test]
    fn an_old_packet_says_nothing_about_the_new_occupant() {
        let mut slots = SlotTable::default();
        slots.enter(7);
        slots.remember(1, 10, 1);
        slots.leave(1, 11);
        slots.remember(2, 11, 0);
        slots.acknowledge(2);
        slots.enter(8);
        slots.acknowledge(1);
        assert_eq!(slots.acknowledged[0], 0);
        slots.remember(3, 12, 1);
        slots.acknowledge(3);
        assert_eq!(slots.acknowledged[0], 12);
    }

    #[test]
    fn acknowledgments_never_move_backwards() {
        let mut slots = SlotTable::default();
        slots.enter(7);
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
            assert_eq!(slots.enter(index), Some(index as u8));
        }
        assert_eq!(slots.enter(500), None);
    }
}
