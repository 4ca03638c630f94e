//! `waf`: who may not play and who behaves worst, and orders to change that.

use crate::admin::{self, WafRequest};
use crate::config::DEFAULT_PORT;
use crate::report::waf::{WafDone, WafReport};
use crate::server::RunDir;
use crate::wire::DisconnectReason;
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// List players that may not play and those that behave worst; lift, ban, kick.
///
/// A session whose violation score reaches the limit ends, and its account cools down: it is
/// refused for a while, which doubles each time. What is lifted or banned here holds until the
/// server ends; who is to be banned for ever belongs into `waf.banned` of the settings.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidelock waf list                            who cools down, who is banned, who scores
  tidelock waf list --json | jq '.worst[] | select(.score > 50)'
  tidelock waf lift 7                          player 7 may play again, its past is forgotten
  tidelock waf ban 7 --for 2h                  refused for two hours; its session ends
  tidelock waf kick 7 --reason maintenance     its session ends; it may come back at once

The columns are described in docs/OPERATIONS.md.")]
pub(super) struct WafArgs {
    #[command(subcommand)]
    order: Order,
    /// Print the answer as one line of JSON.
    #[arg(long, global = true)]
    json: bool,
    /// UDP port of the server.
    #[arg(long, global = true, default_value_t = DEFAULT_PORT)]
    port: u16,
    /// Folder of its admin socket.
    #[arg(long, global = true, env = "TIDELOCK_RUN_DIR")]
    run_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Order {
    /// Players that may not play, and the sessions with the highest scores
    List,
    /// End a cool-down or a ban
    #[command(alias = "unban")]
    Lift {
        /// The player, by the id in its token.
        player: u64,
    },
    /// Refuse a player for a time, and end its session
    Ban {
        /// The player, by the id in its token.
        player: u64,
        /// How long: seconds, or a number with s, m, h or d. Without it: until the server ends.
        #[arg(long = "for", value_parser = duration)]
        length: Option<u32>,
    },
    /// End a player's session
    Kick {
        /// The player, by the id in its token.
        player: u64,
        /// What its client is told: left, full, banned, build, replaced, maintenance, timed_out,
        /// violation, exhausted or shard_lost.
        #[arg(long, default_value = "left", value_parser = reason)]
        reason: DisconnectReason,
    },
}

pub(super) fn run(arguments: &WafArgs) -> Result<ExitCode, String> {
    let path = RunDir::locate(arguments.run_dir.as_deref()).admin_socket(arguments.port);
    let order = match arguments.order {
        Order::List => {
            let report = admin::waf_report(&path)?;
            super::say(if arguments.json { report.to_json() } else { text(&report) }.trim_end());
            return Ok(ExitCode::SUCCESS);
        }
        Order::Lift { player } => WafRequest::Lift(player),
        Order::Ban { player, length } => WafRequest::Ban(player, length),
        Order::Kick { player, reason } => WafRequest::Kick(player, reason),
    };
    let done = admin::waf_order(&path, order)?;
    super::say(if arguments.json { done.to_json() } else { sentence(&done) });
    Ok(ExitCode::SUCCESS)
}

fn sentence(done: &WafDone) -> String {
    let ended = match done.sessions {
        0 => String::new(),
        1 => "; its session ends".to_owned(),
        more => format!("; {more} sessions of it end"),
    };
    format!("player {}: {}{ended}", done.player, done.done)
}

fn text(report: &WafReport) -> String {
    let mut text = match report.barred {
        0 => "nobody cools down or is banned\n".to_owned(),
        all => format!("{all} may not play\n\n"),
    };
    if !report.cool_downs.is_empty() {
        text += "              player  cause             left  offences\n";
    }
    for it in &report.cool_downs {
        let left = it.seconds_left.map_or("for good".to_owned(), |seconds| format!("{seconds} s"));
        text += &format!("{:>20}  {:<10}  {left:>10}  {:>8}\n", it.player, it.cause, it.offences);
    }
    if report.cool_downs.len() < report.barred {
        text += &format!("… and {} more\n", report.barred - report.cool_downs.len());
    }
    if report.worst.is_empty() {
        return text + "\nno session has a violation score";
    }
    text += &format!("\nviolation scores, of {} that end a session\n\n", report.limit);
    text += "              player  shard       score  violations\n";
    for it in &report.worst {
        text += &format!(
            "{:>20}  {:>5}  {:>10}  {:>10}\n",
            it.player, it.shard, it.score, it.violations
        );
    }
    text
}

/// Seconds of a text such as `90`, `90s`, `15m`, `2h` or `7d`.
fn duration(text: &str) -> Result<u32, String> {
    let (number, unit) = match text.char_indices().last() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 3_600),
        Some((at, 'd')) => (&text[..at], 86_400),
        _ => (text, 1),
    };
    let seconds = number.parse().ok().and_then(|number: u32| number.checked_mul(unit));
    let seconds = seconds.filter(|&seconds| seconds > 0);
    seconds.ok_or_else(|| "expected a length such as 90s, 15m, 2h or 7d".to_owned())
}

fn reason(name: &str) -> Result<DisconnectReason, String> {
    let found = DisconnectReason::ALL.into_iter().find(|reason| reason.name() == name);
    found.ok_or_else(|| {
        let names = DisconnectReason::ALL.map(DisconnectReason::name).join(", ");
        format!("no reason of that name; there are: {names}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::waf::{Barred, Suspect};

    #[test]
    fn a_length_is_a_number_with_a_unit() {
        for (text, seconds) in [("90", 90), ("90s", 90), ("15m", 900), ("2h", 7200), ("1d", 86400)]
        {
            assert_eq!(duration(text), Ok(seconds), "{text}");
        }
        let wrong = ["", "0", "0h", "-1", "h", "1.5h", "1w", "99999999d", "9ä"];
        assert!(wrong.iter().all(|text| duration(text).is_err()));
    }

    #[test]
    fn the_list_shows_everybody_and_says_so_when_there_is_nobody() {
        let mut report = WafReport { limit: 100, ..WafReport::default() };
        assert_eq!(
            text(&report),
            "nobody cools down or is banned\n\nno session has a violation score"
        );
        report.barred = 9;
        report.cool_downs = vec![
            Barred { player: 7, cause: "violations".into(), seconds_left: Some(59), offences: 2 },
            Barred { player: u64::MAX, cause: "banned".into(), seconds_left: None, offences: 0 },
        ];
        report.worst = vec![Suspect { player: 8, shard: 3, score: 55, violations: 11 }];
        let shown = text(&report);
        for part in ["9 may not play", "59 s", "for good", "… and 7 more", "of 100 that end"] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        let widths: Vec<_> = shown.lines().filter(|line| line.starts_with("   ")).collect();
        assert!(widths.iter().all(|line| line.len() <= 60), "{shown}");
    }
}
