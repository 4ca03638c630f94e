//! What a viewer knows of who is its enemy: a word that is told until a packet with it was
//! acknowledged.
//!
//! Every snapshot from the tick of a change on carries the word, so any acknowledged one from that
//! tick on is proof enough, and which packet carried what need not be kept.

use crate::units::Tick;

/// The word as it was last told. At first a viewer knows of no enemies, which needs no telling.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Relations {
    word: u64,
    /// The first tick that told it, 0 = known from the start.
    since: Tick,
}

impl Relations {
    /// What the snapshot of `tick` is to say if the word is `now` and the viewer has acknowledged
    /// `newest_acknowledged`; called once for every snapshot.
    #[inline]
    pub(super) fn news(&mut self, now: u64, tick: Tick, newest_acknowledged: Tick) -> Option<u64> {
        if now != self.word {
            *self = Self { word: now, since: tick };
        }
        (newest_acknowledged < self.since).then_some(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_told_until_it_was_acknowledged_and_again_when_it_changes() {
        let mut relations = Relations::default();
        assert_eq!(relations.news(0, 10, 0), None, "nothing is the default");
        assert_eq!(relations.news(6, 11, 10), Some(6));
        assert_eq!(relations.news(6, 12, 10), Some(6), "not acknowledged");
        assert_eq!(relations.news(6, 13, 11), None);
        assert_eq!(relations.news(4, 14, 13), Some(4));
        assert_eq!(relations.news(6, 15, 13), Some(6), "the viewer may have seen the 4");
        assert_eq!(relations.news(6, 16, 14), Some(6));
        assert_eq!(relations.news(6, 17, 15), None);
        assert_eq!(relations.news(0, 18, 17), Some(0), "peace is news too");
        assert_eq!(relations.news(0, 19, 18), None);
    }
}
