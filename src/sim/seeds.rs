//! Seeds that found something: how they are made small, and how they are kept in `tests/seeds/`.
//!
//! A kept seed is a text file: lines of comment, which say what it found, then `seed = N` and, if
//! it takes fewer ticks of storm than usual, `storm_ticks = M`. `faults = F` says which faults
//! there were, 1 if it is missing: those thought of later must not make another world of it.

use super::{Outcome, Plan, play};
use std::fmt;

/// One file of `tests/seeds/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptSeed {
    /// The seed.
    pub seed: u64,
    /// Ticks of storm, if not as many as usual.
    pub storm_ticks: Option<u64>,
    /// Which faults there were: see `Plan::draw_of`.
    pub faults: u32,
    /// What it found.
    pub found: String,
}

impl KeptSeed {
    /// What it plays.
    pub fn plan(&self) -> Plan {
        Plan::draw_of(self.faults, self.seed, self.storm_ticks)
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut seed, mut storm_ticks, mut found) = (None, None, String::new());
        let mut faults = 1;
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if let Some(comment) = line.strip_prefix('#') {
                found += comment.trim();
                found.push('\n');
                continue;
            }
            let (key, value) = line.split_once('=').ok_or(format!("no `key = value`: {line}"))?;
            let number = value.trim().parse().map_err(|_| format!("no number: {line}"))?;
            match key.trim() {
                "seed" => seed = Some(number),
                "storm_ticks" => storm_ticks = Some(number),
                "faults" => faults = number as u32,
                other => return Err(format!("unknown key `{other}`")),
            }
        }
        let seed = seed.ok_or("no line `seed = N`")?;
        if found.is_empty() {
            return Err("no comment that says what it found".to_owned());
        }
        Ok(Self { seed, storm_ticks, faults, found })
    }
}

impl fmt::Display for KeptSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.found.lines().try_for_each(|line| writeln!(f, "# {line}"))?;
        writeln!(f, "seed = {}\nfaults = {}", self.seed, self.faults)?;
        match self.storm_ticks {
            Some(ticks) => writeln!(f, "storm_ticks = {ticks}"),
            None => Ok(()),
        }
    }
}

/// Finds a shorter storm in which the seed still fails the same check. `failed` is what it came to.
pub fn minimise(failed: &Outcome) -> Outcome {
    let Plan { faults, seed, .. } = failed.plan;
    shorten(failed, &|storm_ticks| play(Plan::draw_of(faults, seed, Some(storm_ticks))))
}

/// Bisects the length of the storm; `play` plays one of a given length.
fn shorten(failed: &Outcome, play: &dyn Fn(u64) -> Outcome) -> Outcome {
    let Some(violation) = &failed.violation else { return failed.clone() };
    // What strikes in the storm needs no more of it than until then.
    let (mut least, mut best) = (0, failed.clone());
    let until = violation.tick.min(best.plan.storm_ticks);
    let mut most = best.plan.storm_ticks;
    let outcome = play(until);
    if is_same(&outcome, failed) {
        (most, best) = (until, outcome);
    }
    while least + 1 < most {
        let middle = least.midpoint(most);
        let outcome = play(middle);
        if is_same(&outcome, failed) {
            (most, best) = (middle, outcome);
        } else {
            least = middle;
        }
    }
    best
}

fn is_same(outcome: &Outcome, failed: &Outcome) -> bool {
    let check = |outcome: &Outcome| outcome.violation.as_ref().map(|violation| violation.check);
    check(outcome).is_some() && check(outcome) == check(failed)
}

#[cfg(test)]
mod tests {
    use super::super::{Sometimes, Violation};
    use super::*;

    #[test]
    fn a_kept_seed_reads_back_and_must_say_what_it_found() {
        let found = "it leaks\n".to_owned();
        let kept = KeptSeed { seed: 7, storm_ticks: Some(41), faults: 2, found };
        assert_eq!(KeptSeed::parse(&kept.to_string()), Ok(kept));
        let short = KeptSeed::parse("# x\nseed = 9").expect("enough");
        assert_eq!((short.storm_ticks, short.faults), (None, 1));
        let plans = (0..50).map(|seed| KeptSeed { seed, ..short.clone() }.plan());
        assert!(plans.into_iter().all(|plan| !plan.has_thief && !plan.is_full));
        for bad in ["seed = 9", "# x\nseeds = 9", "# x\nseed = many", "# x", "# x\nseed 9"] {
            assert!(KeptSeed::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_failing_seed_becomes_as_short_as_it_still_fails_the_same_check() {
        let outcome = |ticks: u64| {
            let check = if ticks < 30 { "another" } else { "this" };
            let violation = Violation { check, tick: ticks, what: String::new() };
            let violation = (ticks >= 20).then_some(violation);
            let plan = Plan::draw(1, Some(ticks));
            Outcome { plan, violation, hash: 0, ticks, sometimes: Sometimes::default() }
        };
        assert_eq!(shorten(&outcome(900), &outcome).plan.storm_ticks, 30);
        assert_eq!(shorten(&outcome(10), &outcome).plan.storm_ticks, 10, "it does not fail");
    }
}
