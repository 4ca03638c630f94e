//! The answer to `tidelock waf` as JSON, described in `docs/OPERATIONS.md`: who may not play, and
//! who behaves worst.

use crate::connection::Scorers;
use crate::gate::{Cause, CoolDown};
use serde::{Deserialize, Serialize};

/// The state of the rules, as of one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WafReport {
    /// The score that ends a session.
    pub limit: u32,
    /// Players that may not play, in all.
    pub barred: usize,
    /// Those of them with the most offences, as far as the list goes.
    pub cool_downs: Vec<Barred>,
    /// The living sessions with the highest scores.
    pub worst: Vec<Suspect>,
}

/// A player that may not play.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Barred {
    /// The player.
    pub player: u64,
    /// `violations` or `banned`.
    pub cause: String,
    /// Seconds that are left, rounded up; `null` = for good.
    pub seconds_left: Option<u64>,
    /// Sessions that ended for violations and are not forgotten.
    pub offences: u32,
}

/// A living session with a score.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Suspect {
    /// The player.
    pub player: u64,
    /// The shard that has it, from 1.
    pub shard: u16,
    /// The score now.
    pub score: u32,
    /// Violations of the session so far.
    pub violations: u32,
}

/// What an order to the rules came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WafDone {
    /// The player that it was about.
    pub player: u64,
    /// `lifted`, `banned` or `kicked`.
    pub done: String,
    /// Sessions of the player that end because of it.
    pub sessions: usize,
}

impl WafReport {
    /// Enters who may not play, the most offences first.
    pub(crate) fn set_cool_downs(&mut self, mut cool_downs: Vec<CoolDown>, all: usize) {
        cool_downs.sort_by_key(|it| (std::cmp::Reverse(it.offences), it.player));
        self.barred = all;
        self.cool_downs = cool_downs.into_iter().map(Barred::from).collect();
    }

    /// Enters the worst of one shard.
    pub(crate) fn add_worst(&mut self, shard: u16, sheet: &Scorers) {
        self.limit = self.limit.max(sheet.limit());
        self.worst.extend(sheet.lines().iter().map(|line| Suspect {
            player: line.player,
            shard,
            score: line.score,
            violations: line.violations,
        }));
        self.worst.sort_by_key(|it| (std::cmp::Reverse(it.score), it.player));
        self.worst.truncate(Scorers::MOST);
    }

    /// One line.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a report is numbers and strings")
    }

    /// Reads what [`Self::to_json`] wrote.
    pub fn from_json(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| format!("no list of cool-downs: {error}"))
    }
}

impl WafDone {
    /// One line.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("an answer is numbers and strings")
    }

    /// Reads what [`Self::to_json`] wrote.
    pub fn from_json(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| format!("no answer to an order: {error}"))
    }
}

impl From<CoolDown> for Barred {
    fn from(it: CoolDown) -> Self {
        let cause = match it.cause {
            Cause::Violations => "violations",
            Cause::Banned => "banned",
        };
        Self {
            player: it.player,
            cause: cause.to_owned(),
            seconds_left: it.left.map(|left| left.as_ms().div_ceil(1_000)),
            offences: it.offences,
        }
    }
}
