//! The packets that carried a message: whichever of them is acknowledged, the message has arrived.
//!
//! Owns: the sequences of the last four. On a path that is slower than the longest patience every
//! acknowledgment comes after the message was sent once more, or three times. Called by `sender`.

/// Low halves of sequences, which tell apart all packets that are under way, the newest first. Four
/// span six seconds and more once something is sent every two: longer than round trips get.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Carriers {
    last: [u32; 4],
    count: u8,
}

impl Carriers {
    /// The packet with `sequence` carries it, too.
    pub(super) fn add(&mut self, sequence: u64) {
        self.last.rotate_right(1);
        self.last[0] = sequence as u32;
        self.count = (self.count + 1).min(self.last.len() as u8);
    }

    /// Whether `sequence` is one of them.
    pub(super) fn contains(&self, sequence: u64) -> bool {
        self.last[..self.count.into()].contains(&(sequence as u32))
    }

    /// How much later than the newest of them `sequence` is; not above 0 if it is not.
    pub(super) fn age_at(&self, sequence: u64) -> i32 {
        (sequence as u32).wrapping_sub(self.last[0]).cast_signed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_four_count_and_nothing_else() {
        let mut carriers = Carriers::default();
        assert!(!carriers.contains(0) && !carriers.contains(1 << 32), "none yet");
        let first = (1 << 32) - 2;
        for sequence in first..first + 5 {
            carriers.add(sequence);
        }
        let known: Vec<u64> = (first - 9..first + 9).filter(|&it| carriers.contains(it)).collect();
        assert_eq!(known, [first + 1, first + 2, first + 3, first + 4]);
        let ages = [first + 3, first + 4, first + 6].map(|it| carriers.age_at(it));
        assert_eq!(ages, [-1, 0, 2], "across the end of the low half, too");
    }
}
