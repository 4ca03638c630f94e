//! `explain`: why a player was told what, as a table for people or as JSON for programs.

use crate::admin;
use crate::config::DEFAULT_PORT;
use crate::report::explain::{ExplainReport, ExplainedEntity};
use crate::server::RunDir;
use crate::units::EntityId;
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::process::ExitCode;

/// Print why a player was told of what it sees in its last snapshot, or was not.
///
/// One line per entity in sight: tier of distance, the pace at which its changes are told at most,
/// its urgency (from 1 on it may be told, and the most urgent go first), how old the state is that
/// was sent and the one that was acknowledged, when it last changed, and the reason. With --entity
/// it tells of any entity in the world why the player does not see it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tidelock explain --player 7                      everything that player 7 sees
  tidelock explain --player 7 --entity 1048579     why is he (not) told of this one?
  tidelock explain --player 7 --sort urgency       who waits longest, first
  tidelock explain --player 7 --json | jq '.entities[] | select(.reason == \"no_room\")'

The columns and all reasons are described in docs/OPERATIONS.md.")]
pub(super) struct ExplainArgs {
    /// The player, by the id in its token.
    #[arg(long)]
    player: u64,
    /// One entity, by its id as in the first column of the table.
    #[arg(long)]
    entity: Option<u32>,
    /// What comes first.
    #[arg(long, value_enum, default_value_t = Sort::Distance)]
    sort: Sort,
    /// Print the answer as one line of JSON.
    #[arg(long)]
    json: bool,
    /// UDP port of the server.
    #[arg(long, default_value_t = DEFAULT_PORT)]
    port: u16,
    /// Folder of its admin socket.
    #[arg(long, env = "TIDELOCK_RUN_DIR")]
    run_dir: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Sort {
    /// The nearest.
    Distance,
    /// The most urgent.
    Urgency,
}

/// The columns, and which of them are numbers.
const COLUMNS: [(&str, bool); 10] = [
    ("entity", true),
    ("kind", false),
    ("slot", true),
    ("distance", true),
    ("tier", false),
    ("pace", true),
    ("urgency", true),
    ("told", true),
    ("acked", true),
    ("changed", true),
];

pub(super) fn run(arguments: &ExplainArgs) -> Result<ExitCode, String> {
    let path = RunDir::locate(arguments.run_dir.as_deref()).admin_socket(arguments.port);
    let mut report = admin::explain(&path, arguments.player, arguments.entity.map(EntityId))?;
    if arguments.json {
        super::say(report.to_json());
    } else {
        sort(&mut report.entities, arguments.sort);
        super::say(text(&report).trim_end());
    }
    Ok(ExitCode::SUCCESS)
}

fn sort(entities: &mut [ExplainedEntity], by: Sort) {
    let distance = |it: &ExplainedEntity| it.distance_cm.unwrap_or(i64::MAX);
    let urgency = |it: &ExplainedEntity| it.urgency.unwrap_or(-1.0);
    entities.sort_by(|a, b| match by {
        Sort::Distance => distance(a).cmp(&distance(b)),
        Sort::Urgency => urgency(b).total_cmp(&urgency(a)),
    });
}

/// The header and the table.
fn text(report: &ExplainReport) -> String {
    let [x, y, z] = report.position_cm.map(|centimetres| centimetres as f64 / 100.0);
    let mut text = format!(
        "player {} is entity {} at ({x:.1}, {y:.1}, {z:.1}) m, on shard {}, in tick {}\n",
        report.player, report.entity, report.shard, report.tick
    );
    text += &match report.snapshot_tick {
        0 => "no snapshot yet".to_owned(),
        tick => format!("snapshot {tick}: {} of {} bytes", report.bytes, report.budget_bytes),
    };
    text += &match report.acknowledged_tick {
        0 => "; none acknowledged yet".to_owned(),
        at => {
            let before = age(report, Some(report.tick.saturating_sub(at)));
            format!("; newest acknowledged: {at} ({before} before)")
        }
    };
    text += &match report.rtt_us {
        0 => String::new(),
        rtt => {
            let [rtt, least] = [rtt, report.base_rtt_us].map(|us| us as f64 / 1_000.0);
            let congested = if report.is_held_down { "; congested" } else { "" };
            format!("\nround trip {rtt:.1} ms, at best {least:.1} ms{congested}")
        }
    };
    text += &format!(
        "\n{} entities in sight, {} removals not yet acknowledged\n\n",
        report.visible, report.pending_removals
    );
    text + &table(report)
}

fn table(report: &ExplainReport) -> String {
    let rows: Vec<_> = report.entities.iter().map(|it| cells(report, it)).collect();
    let headers = COLUMNS.map(|(name, _)| name.to_owned());
    let width = |column: usize| {
        let cells = rows.iter().chain([&headers]).map(|row| row[column].chars().count());
        cells.max().unwrap_or_default()
    };
    let widths: [usize; COLUMNS.len()] = std::array::from_fn(width);
    let line = |row: &[String; COLUMNS.len()], why: &str| {
        let mut line = String::new();
        for ((cell, width), (_, is_number)) in row.iter().zip(widths).zip(COLUMNS) {
            line += &match is_number {
                true => format!("{cell:>width$}  "),
                false => format!("{cell:<width$}  "),
            };
        }
        line + why + "\n"
    };
    let mut text = line(&headers, "why");
    for (row, it) in rows.iter().zip(&report.entities) {
        text += &line(row, &it.why);
    }
    text
}

fn cells(report: &ExplainReport, it: &ExplainedEntity) -> [String; COLUMNS.len()] {
    let none = || "-".to_owned();
    let or_none = |text: Option<String>| text.unwrap_or_else(none);
    [
        if it.entity == 0 { none() } else { it.entity.to_string() },
        or_none(it.kind.clone()),
        or_none(it.slot.map(|slot| slot.to_string())),
        or_none(it.distance_cm.map(|distance| format!("{:.1} m", distance as f64 / 100.0))),
        or_none(it.tier.clone()),
        or_none(it.pace_hz.map(|hz| format!("{hz:.0}/s"))),
        or_none(it.urgency.map(|urgency| format!("{urgency:.2}"))),
        age(report, it.told_ticks_ago),
        age(report, it.acknowledged_ticks_ago),
        age(report, it.changed_ticks_ago),
    ]
}

/// An age in ticks, for people.
fn age(report: &ExplainReport, ticks: Option<u32>) -> String {
    let Some(ticks) = ticks else { return "-".to_owned() };
    let hz = u64::from(report.tick_hz.max(1));
    let ms = (u64::from(ticks) * 1000 + hz / 2) / hz;
    if ms < 10_000 { format!("{ms} ms") } else { format!("{} s", ms / 1000) }
}
