//! Requests about the rules: who may not play, who behaves worst, and orders to change that.

use super::{Request, exchange};
use crate::report::waf::{WafDone, WafReport};
use crate::wire::DisconnectReason;
use std::fmt;
use std::path::Path;
use std::str::SplitAsciiWhitespace;

/// What may be asked of the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WafRequest {
    /// Who may not play, and who behaves worst.
    List,
    /// A player may play again, and its past is forgotten.
    Lift(u64),
    /// A player may not play for so many seconds; `None` = for good.
    Ban(u64, Option<u32>),
    /// The player's session ends; it may come back at once.
    Kick(u64, DisconnectReason),
}

/// The request as it is sent, behind the word `waf`.
impl fmt::Display for WafRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List => write!(f, "list"),
            Self::Lift(player) => write!(f, "lift {player}"),
            Self::Ban(player, None) => write!(f, "ban {player}"),
            Self::Ban(player, Some(seconds)) => write!(f, "ban {player} {seconds}"),
            Self::Kick(player, reason) => write!(f, "kick {player} {}", reason.name()),
        }
    }
}

impl WafRequest {
    /// Reads the words behind `waf`; whether they are all of the line, the caller checks.
    pub(super) fn parse(words: &mut SplitAsciiWhitespace<'_>) -> Option<Self> {
        let order = words.next()?;
        if order == "list" {
            return Some(Self::List);
        }
        let player = words.next()?.parse().ok()?;
        Some(match order {
            "lift" => Self::Lift(player),
            "ban" => Self::Ban(player, words.next().map(str::parse).transpose().ok()?),
            "kick" => {
                let name = words.next()?;
                let reason = DisconnectReason::ALL.into_iter().find(|it| it.name() == name)?;
                Self::Kick(player, reason)
            }
            _ => return None,
        })
    }
}

/// Asks the server whose admin socket is at `path` who may not play, and who behaves worst.
pub fn waf_report(path: &Path) -> Result<WafReport, String> {
    WafReport::from_json(&exchange(path, Request::Waf(WafRequest::List))?)
}

/// Gives the server whose admin socket is at `path` an order: anything but [`WafRequest::List`].
pub fn waf_order(path: &Path, order: WafRequest) -> Result<WafDone, String> {
    WafDone::from_json(&exchange(path, Request::Waf(order))?)
}
