//! Every entity is owned by exactly one shard: what is published lives in one of the worlds that
//! are at that tick, and in no second one.

use super::Verdict;
use crate::units::{EntityId, Tick};
use std::collections::BTreeSet;

const CHECK: &str = "every entity owned by exactly one shard";

/// See the module. Remembers who was hidden in the tick before.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    hidden: BTreeSet<EntityId>,
}

impl Owners {
    /// `published` are the entities of `tick`, `populations` those of each living shard with the
    /// tick that it is at; there are `shards` in all. `regrouped`: it is the first tick of an
    /// exchange that took the place of another, so whoever was under way from one shard to another
    /// may be missing, this once.
    pub(crate) fn observe(
        &mut self,
        tick: Tick,
        published: &[EntityId],
        populations: impl Iterator<Item = (Tick, Vec<EntityId>)>,
        (shards, regrouped): (usize, bool),
    ) -> Verdict {
        let wrong = |what: String| Err((CHECK, format!("{what}, tick {tick}")));
        let (mut living, mut present) = (BTreeSet::new(), 0);
        for (at, population) in populations {
            present += usize::from(at == tick);
            if let Some(id) = population.into_iter().find(|&id| !living.insert(id)) {
                return wrong(format!("{id:?} lives in two shards"));
            }
        }
        let mut shown = BTreeSet::new();
        if let Some(id) = published.iter().find(|&&id| !shown.insert(id)) {
            return wrong(format!("{id:?} is published twice"));
        }
        // A shard that was lost has nobody any more, and one that is late has others.
        if present < shards {
            return Ok(());
        }
        if let Some(id) = shown.difference(&living).next() {
            return wrong(format!("{id:?} is published and lives nowhere"));
        }
        let hidden: BTreeSet<_> = living.difference(&shown).copied().collect();
        let before = std::mem::replace(&mut self.hidden, hidden);
        match self.hidden.iter().find(|id| !regrouped || before.contains(id)) {
            Some(id) => wrong(format!("{id:?} lives and is not published")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observe(owners: &mut Owners, shown: &[u32], shards: &[(Tick, &[u32])], new: bool) -> bool {
        let ids = |ids: &[u32]| ids.iter().map(|&id| EntityId(id)).collect::<Vec<_>>();
        let populations = shards.iter().map(|(tick, population)| (*tick, ids(population)));
        owners.observe(9, &ids(shown), populations, (2, new)).is_ok()
    }

    fn check(shown: &[u32], shards: &[(Tick, &[u32])]) -> bool {
        observe(&mut Owners::default(), shown, shards, false)
    }

    #[test]
    fn who_lives_twice_or_nowhere_is_found() {
        assert!(check(&[1, 2, 3], &[(9, &[1, 2]), (9, &[3])]));
        assert!(!check(&[1, 2, 3], &[(9, &[1, 2]), (9, &[2, 3])]), "in two shards");
        assert!(!check(&[1, 2, 3], &[(9, &[1]), (9, &[3])]), "in none");
        assert!(!check(&[1], &[(9, &[1]), (9, &[3])]), "hidden");
        assert!(!check(&[1, 1], &[(9, &[1]), (9, &[])]), "in two rows");
        assert!(check(&[1, 2], &[(9, &[1])]), "a shard is lost with everybody in it");
        assert!(!check(&[1], &[(9, &[1]), (8, &[1])]), "late, and in two shards");
    }

    #[test]
    fn who_was_under_way_when_a_shard_was_lost_may_be_missing_once() {
        let mut owners = Owners::default();
        let shards: [(Tick, &[u32]); 2] = [(9, &[1]), (9, &[3])];
        assert!(observe(&mut owners, &[1], &shards, true));
        assert!(!observe(&mut owners, &[1], &shards, true), "and not twice");
        assert!(observe(&mut owners, &[1, 3], &shards, false));
    }
}
