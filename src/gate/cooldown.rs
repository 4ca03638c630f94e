//! Which accounts may not play for a while, and why: cool-downs that follow from violations, and
//! bans.
//!
//! An account is judged by what its own sessions sent under their keys, never by an address: what
//! arrives unauthenticated harms nobody. Each cool-down of an account is twice as long as the one
//! before, up to a bound, and a long time without one starts over. The table is fixed: who only has
//! a past makes room for who has a present, and when all of it is in force a newcomer is not taken
//! in, which is counted. Nothing of it survives the server. Called by the other files of this
//! module.

use super::map::{FixedMap, Full};
use crate::limits;
use crate::time::Nanos;

/// For good: later than anything that happens.
const FOR_GOOD: Nanos = Nanos(u64::MAX);

/// How long accounts cool down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoolDownRules {
    /// Seconds of the first one; 0 = there are none.
    pub first_s: u32,
    /// Seconds of the longest one.
    pub most_s: u32,
    /// Seconds after one has ended until it is forgotten.
    pub memory_s: u32,
    /// Accounts remembered at a time.
    pub accounts: usize,
}

impl Default for CoolDownRules {
    fn default() -> Self {
        Self {
            first_s: limits::COOL_DOWN_S,
            most_s: limits::COOL_DOWN_MAX_S,
            memory_s: limits::COOL_DOWN_MEMORY_S,
            accounts: limits::COOL_DOWNS_MAX,
        }
    }
}

/// Why an account may not play.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its sessions were ended for violations.
    Violations,
    /// The operator banned it.
    Banned,
}

/// An account that may not play.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoolDown {
    /// Whose it is.
    pub player: u64,
    /// Why.
    pub cause: Cause,
    /// How long it still lasts; `None` = for good.
    pub left: Option<Nanos>,
    /// Sessions ended for violations that are not forgotten.
    pub offences: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    cause: Cause,
    until: Nanos,
    offences: u32,
}

/// Accounts by player.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CoolDowns {
    rules: CoolDownRules,
    entries: FixedMap<1, Entry>,
}

impl CoolDowns {
    /// `banned` may not play from the start; who does not fit into the table may.
    pub(super) fn new(rules: CoolDownRules, banned: &[u64], seed: [u64; 2]) -> Self {
        let mut all = Self { rules, entries: FixedMap::new(rules.accounts, seed) };
        for &player in banned {
            let entry = Entry { cause: Cause::Banned, until: FOR_GOOD, offences: 0 };
            // The configuration takes no more than fit.
            let _ = all.entries.insert([player], entry);
        }
        all
    }

    /// How long `player` may not play from `now` on; `None` if it may.
    pub(super) fn left(&self, player: u64, now: Nanos) -> Option<CoolDown> {
        let entry = self.entries.get(&[player]).filter(|entry| entry.until > now)?;
        Some(entry.shown(player, now))
    }

    /// A session of `player` was ended for violations. Tells for how long the account cools down
    /// now, zero if there are no cool-downs.
    pub(super) fn offend(&mut self, player: u64, now: Nanos) -> Result<Nanos, Full> {
        let CoolDownRules { first_s, most_s, .. } = self.rules;
        if first_s == 0 {
            return Ok(Nanos(0));
        }
        let known = self.remembered(player, now);
        let offences = known.map_or(0, |entry| entry.offences).saturating_add(1);
        let doubled = u64::from(first_s) << (offences - 1).min(31);
        let length = seconds(doubled.min(u64::from(most_s)));
        let until = now.plus(length);
        // A ban that lasts longer goes on.
        let entry = match known {
            Some(entry) if entry.until > until => Entry { offences, ..entry },
            _ => Entry { cause: Cause::Violations, until, offences },
        };
        self.insert(player, entry, now).map(|()| length)
    }

    /// Nobody plays as `player` for `seconds` from `now` on; `None` = for good. Never shortens what
    /// is in force.
    pub(super) fn ban(
        &mut self,
        player: u64,
        length_s: Option<u32>,
        now: Nanos,
    ) -> Result<(), Full> {
        let until = length_s.map_or(FOR_GOOD, |length| now.plus(seconds(length.into())));
        let known = self.remembered(player, now);
        let offences = known.map_or(0, |entry| entry.offences);
        let until = known.map_or(until, |entry| entry.until.max(until));
        self.insert(player, Entry { cause: Cause::Banned, until, offences }, now)
    }

    /// `player` may play, and its past is forgotten. Tells whether it might not.
    pub(super) fn lift(&mut self, player: u64, now: Nanos) -> bool {
        self.entries.remove(&[player]).is_some_and(|entry| entry.until > now)
    }

    /// Forgets what is long past among the next `cells` cells.
    pub(super) fn sweep(&mut self, cells: usize, now: Nanos) {
        let memory = seconds(self.rules.memory_s.into());
        self.entries.sweep(cells, |entry| entry.until.plus(memory) > now);
    }

    /// Everybody who may not play, at most `most` of them, and how many that are in all.
    pub(super) fn list(&self, most: usize, now: Nanos) -> (Vec<CoolDown>, usize) {
        let in_force = || self.entries.iter().filter(|(_, entry)| entry.until > now);
        let shown = in_force().take(most).map(|([player], entry)| entry.shown(player, now));
        (shown.collect(), in_force().count())
    }

    fn remembered(&self, player: u64, now: Nanos) -> Option<Entry> {
        let memory = seconds(self.rules.memory_s.into());
        self.entries.get(&[player]).filter(|entry| entry.until.plus(memory) > now)
    }

    fn insert(&mut self, player: u64, entry: Entry, now: Nanos) -> Result<(), Full> {
        self.entries.insert([player], entry).or_else(|Full| {
            self.entries.sweep(usize::MAX, |other| other.until > now);
            self.entries.insert([player], entry)
        })
    }
}

impl Entry {
    fn shown(&self, player: u64, now: Nanos) -> CoolDown {
        let left = (self.until != FOR_GOOD).then(|| self.until.since(now));
        CoolDown { player, cause: self.cause, left, offences: self.offences }
    }
}

fn seconds(seconds: u64) -> Nanos {
    Nanos::from_ms(seconds * 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Nanos {
        super::seconds(seconds)
    }

    fn table(accounts: usize, banned: &[u64]) -> CoolDowns {
        let rules = CoolDownRules { first_s: 60, most_s: 300, memory_s: 1_000, accounts };
        CoolDowns::new(rules, banned, [1, 2])
    }

    #[test]
    fn each_cool_down_is_twice_as_long_as_the_one_before_up_to_a_bound() {
        let mut table = table(4, &[]);
        let mut now = at(100);
        for expected in [60, 120, 240, 300, 300] {
            assert_eq!(table.offend(7, now), Ok(at(expected)));
            assert!(table.left(7, now.plus(at(expected - 1))).is_some());
            now = now.plus(at(expected));
            assert_eq!(table.left(7, now), None, "over after {expected} s");
        }
        for _ in 0..100 {
            assert_eq!(table.offend(7, now), Ok(at(300)), "no count of offences overflows");
        }
        assert_eq!(table.left(8, now), None, "nobody else is concerned");
    }

    #[test]
    fn a_long_time_without_violations_starts_over() {
        let mut table = table(4, &[]);
        assert_eq!(table.offend(7, at(0)), Ok(at(60)));
        assert_eq!(table.offend(7, at(60 + 999)), Ok(at(120)), "remembered");
        let end = 60 + 999 + 120;
        assert_eq!(table.offend(7, at(end + 1_000)), Ok(at(60)), "forgotten");
    }

    #[test]
    fn a_ban_lasts_as_long_as_it_was_said_and_is_not_shortened_by_anything_but_a_word() {
        let mut table = table(4, &[99]);
        assert_eq!(table.ban(7, Some(500), at(0)), Ok(()));
        assert_eq!(table.offend(7, at(1)), Ok(at(60)));
        assert_eq!(table.ban(7, Some(5), at(1)), Ok(()));
        let shown = table.left(7, at(100)).expect("banned");
        assert_eq!((shown.cause, shown.left), (Cause::Banned, Some(at(400))));
        assert_eq!((shown.offences, table.left(7, at(500))), (1, None));
        assert_eq!(table.left(99, Nanos(u64::MAX - 1)).map(|it| it.left), Some(None), "for good");
        assert_eq!(table.ban(8, None, at(1)), Ok(()));
        assert!(table.lift(8, at(2)) && !table.lift(8, at(2)) && table.lift(99, at(2)));
        assert_eq!((table.left(8, at(2)), table.left(99, at(2))), (None, None));
    }

    #[test]
    fn what_was_lifted_leaves_no_past() {
        let mut table = table(4, &[]);
        for _ in 0..3 {
            table.offend(7, at(0)).expect("room");
        }
        assert!(table.lift(7, at(1)));
        assert_eq!(table.offend(7, at(2)), Ok(at(60)));
        assert!(!table.lift(7, at(500)), "it was over already");
    }

    #[test]
    fn a_full_table_forgets_the_past_and_never_lets_anybody_go() {
        let mut table = table(4, &[]);
        for player in 0..4 {
            table.offend(player, at(player)).expect("room");
        }
        assert_eq!(table.offend(9, at(10)), Err(Full));
        assert_eq!(table.ban(9, None, at(10)), Err(Full));
        assert_eq!(table.list(9, at(10)).1, 4, "everybody is still in");
        assert_eq!(table.offend(2, at(11)), Ok(at(120)), "who is in the table needs no room");
        // At 61 s the first two are over.
        assert_eq!(table.offend(9, at(61)), Ok(at(60)));
        let (mut listed, all) = table.list(2, at(61));
        assert_eq!((listed.len(), all), (2, 3));
        listed.extend(table.list(9, at(61)).0);
        assert!(listed.iter().all(|it| [2, 3, 9].contains(&it.player)), "{listed:?}");
    }

    #[test]
    fn without_a_first_cool_down_there_is_none() {
        let rules = CoolDownRules { first_s: 0, ..CoolDownRules::default() };
        let mut table = CoolDowns::new(rules, &[], [1, 2]);
        assert_eq!((table.offend(7, at(0)), table.left(7, at(0))), (Ok(Nanos(0)), None));
        assert_eq!(table.ban(7, Some(1), at(0)), Ok(()), "the operator may ban all the same");
        assert!(table.left(7, at(0)).is_some());
    }

    #[test]
    fn sweeping_keeps_what_is_in_force_or_remembered() {
        let mut table = table(8, &[5]);
        table.offend(1, at(0)).expect("room");
        table.offend(2, at(900)).expect("room");
        table.sweep(usize::MAX, at(1_100));
        assert_eq!(table.offend(1, at(1_100)), Ok(at(60)), "swept");
        assert_eq!(table.offend(2, at(1_100)), Ok(at(120)), "remembered");
        assert!(table.left(5, at(1_100)).is_some());
    }
}
