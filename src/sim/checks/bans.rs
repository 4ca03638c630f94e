//! Whoever is banned is not in the world: soon after the order no entity of his is published.

use super::Verdict;
use crate::sim::plan::Plan;
use crate::time::Nanos;
use crate::units::Tick;

const CHECK: &str = "who is banned does not play";
/// Published ticks from the order on in which he may still be there: he may be under way, his shard
/// or the gate may stand still, and more than once.
const GONE_WITHIN: Tick = Plan::ticks(8_000);

/// A player who may not play.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ban {
    pub(crate) player: u64,
    /// The newest tick when the order was given.
    pub(crate) since: Tick,
    pub(crate) until: Nanos,
}

/// All of them, of the server that runs.
#[derive(Debug, Default)]
pub(crate) struct Bans(Vec<Ban>);

impl Bans {
    pub(crate) fn begin(&mut self, ban: Ban) {
        self.0.retain(|other| other.player != ban.player);
        self.0.push(ban);
    }

    /// Whoever is banned is not any more, and is named.
    pub(crate) fn lift(&mut self) -> Vec<u64> {
        self.0.drain(..).map(|ban| ban.player).collect()
    }

    /// Looks at a tick that was published; `lives` says whether an entity of a player was.
    pub(crate) fn look(&mut self, now: Nanos, tick: Tick, lives: impl Fn(u64) -> bool) -> Verdict {
        self.0.retain(|ban| now < ban.until);
        let late = |ban: &&Ban| tick >= ban.since + GONE_WITHIN && lives(ban.player);
        match self.0.iter().find(late) {
            Some(ban) => Err((CHECK, format!("player {} lives at {tick}: {ban:?}", ban.player))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_lives_on_under_a_ban_is_found_and_nobody_else_is() {
        let until = Nanos::from_ms(30_000);
        let banned = || {
            let mut bans = Bans::default();
            bans.begin(Ban { player: 7, since: 100, until });
            bans
        };
        let (at, late) = (Nanos::from_ms(20_000), 100 + GONE_WITHIN);
        assert!(banned().look(at, late, |player| player == 7).is_err());
        assert!(banned().look(at, late, |player| player == 8).is_ok(), "another");
        assert!(banned().look(at, late - 1, |player| player == 7).is_ok(), "he may be under way");
        assert!(banned().look(until, late, |player| player == 7).is_ok(), "it is over");
        let mut lifted = banned();
        assert_eq!(lifted.lift(), [7]);
        assert!(lifted.look(at, late, |player| player == 7).is_ok());
    }
}
