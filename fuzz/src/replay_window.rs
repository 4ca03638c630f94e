//! The replay windows of both directions against a set that forgets nothing.

use super::bytes::Bytes;
use std::collections::BTreeSet;
use tidelock::crypto::replay::ReplayWindow;

const END: u64 = 1 << 62;

/// Steps of three bytes: whether the packet opens, how to choose the sequence, and a number for it.
pub fn run(data: &[u8]) {
    one::<1>(Bytes(data));
    one::<16>(Bytes(data));
}

fn one<const WORDS: usize>(mut bytes: Bytes<'_>) {
    let mut window = ReplayWindow::<WORDS>::default();
    let mut seen = BTreeSet::new();
    let positions = WORDS as u64 * 64;
    while !bytes.is_empty() {
        let kind = bytes.u8();
        let newest = window.newest();
        let sequence = match kind % 8 {
            0 | 1 => newest.wrapping_add(1),
            2 => newest.wrapping_add(u64::from(bytes.u8())),
            3 => newest.wrapping_sub(u64::from(bytes.u8())),
            4 => newest.wrapping_sub(u64::from(bytes.u16())),
            5 => newest.wrapping_add(u64::from(bytes.u16())),
            6 => bytes.u64(),
            _ => (END - 32).wrapping_add(u64::from(bytes.u8())),
        };
        let last = seen.last().copied().unwrap_or(0);
        let fresh = (1..END).contains(&sequence)
            && !seen.contains(&sequence)
            && (sequence > last || last - sequence < positions);
        assert_eq!(window.peek(sequence).is_ok(), fresh, "{sequence} behind {last}");
        assert_eq!(window.newest(), last, "a peek moves nothing");
        if fresh && kind & 0x80 == 0 {
            window.commit(sequence);
            seen.insert(sequence);
        }
    }
}
