//! One vocabulary: the thirteen phases, the counters and the limits read the same in code, benches
//! and documents, what the documents point at exists, and nothing speaks of how the work was done.

use super::lexer::{Kind, Token};
use super::tree::{self, Source};
use tidelock::limits;
use tidelock::metrics::{Counter, DropReason, Phase};

/// The file of each phase, in the order of the spine.
const PHASE_FILES: [&str; 13] = [
    "src/net/receive.rs",
    "src/connection/admit.rs",
    "src/connection/open.rs",
    "src/connection/decode.rs",
    "src/world/apply.rs",
    "src/world/move.rs",
    "src/world/quantize.rs",
    "src/world/index.rs",
    "src/replicate/select.rs",
    "src/replicate/diff.rs",
    "src/replicate/encode.rs",
    "src/connection/seal.rs",
    "src/net/send.rs",
];

/// Bench groups about more than one phase.
const OTHER_GROUPS: &[&str] = &["tick", "handshake"];

/// What may lie in the root of the repository. `target` and `.git` are the machine's.
const ROOT: &[&str] = &[
    ".cargo",
    ".ci",
    ".git",
    ".gitignore",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "benches",
    "build.rs",
    "clients",
    "clippy.toml",
    "deny.toml",
    "docs",
    "examples",
    "fuzz",
    "loadgen",
    "perf",
    "rustfmt.toml",
    "scripts",
    "src",
    "target",
    "tests",
];

/// Limits that documents quote, with their values.
const QUOTED: &[(&str, u64)] = &[
    ("DATAGRAM_MIN", limits::DATAGRAM_MIN as u64),
    ("DATAGRAM_MAX", limits::DATAGRAM_MAX as u64),
    ("PLAINTEXT_MAX", limits::PLAINTEXT_MAX as u64),
    ("SLOTS_PER_SHARD", limits::SLOTS_PER_SHARD as u64),
    ("UNCONFIRMED_MAX", limits::UNCONFIRMED_MAX as u64),
    ("LINGER_MS", limits::LINGER_MS),
    ("TICKETS_MAX", limits::TICKETS_MAX as u64),
    ("SPARE_SLOTS", limits::SPARE_SLOTS as u64),
    ("TICKET_RENEWAL_S", limits::TICKET_RENEWAL_S),
    ("UNCONFIRMED_TIMEOUT_MS", limits::UNCONFIRMED_TIMEOUT_MS),
    ("CLIENT_PACKETS_PER_S", limits::CLIENT_PACKETS_PER_S as u64),
    ("CLIENT_PACKETS_BURST", limits::CLIENT_PACKETS_BURST as u64),
    ("CLIENT_BYTES_PER_S", limits::CLIENT_BYTES_PER_S as u64),
    ("INPUT_FRAMES_MAX", limits::INPUT_FRAMES_MAX as u64),
    ("INPUT_BUCKET", limits::INPUT_BUCKET as u64),
    ("HEARTBEAT_MS", limits::HEARTBEAT_MS),
    ("TIMEOUT_MS", limits::TIMEOUT_MS),
    ("MOVED_INTERVAL_MS", limits::MOVED_INTERVAL_MS),
    ("STRAY_PACKETS_PER_S", limits::STRAY_PACKETS_PER_S as u64),
    ("PATH_CHANGES_PER_MINUTE", limits::PATH_CHANGES_PER_MINUTE as u64),
    ("RELIABLE_WINDOW", limits::RELIABLE_WINDOW as u64),
    ("RELIABLE_WINDOW_BYTES", limits::RELIABLE_WINDOW_BYTES as u64),
    ("REORDER_MAX", limits::REORDER_MAX as u64),
    ("REORDER_BYTES", limits::REORDER_BYTES as u64),
    ("RELIABLE_RTO_MIN_MS", limits::RELIABLE_RTO_MIN_MS),
    ("RELIABLE_RTO_MAX_MS", limits::RELIABLE_RTO_MAX_MS),
    ("RELIABLE_TRIES_MAX", limits::RELIABLE_TRIES_MAX as u64),
    ("FRAGMENT_LEN", limits::FRAGMENT_LEN as u64),
    ("FRAGMENT_SETS_SERVER", limits::FRAGMENT_SETS_SERVER as u64),
    ("FRAGMENT_SETS_CLIENT", limits::FRAGMENT_SETS_CLIENT as u64),
    ("FRAGMENT_TIMEOUT_MS", limits::FRAGMENT_TIMEOUT_MS),
    ("GAP_TIMEOUT_MS", limits::GAP_TIMEOUT_MS),
    ("VIOLATION_LIMIT", limits::VIOLATION_LIMIT as u64),
    ("PING_MESSAGES_PER_S", limits::PING_MESSAGES_PER_S as u64),
    ("ACK_MESSAGES_PER_S", limits::ACK_MESSAGES_PER_S as u64),
    ("ENTER_MESSAGES_PER_S", limits::ENTER_MESSAGES_PER_S as u64),
    ("INPUT_MESSAGES_PER_S", limits::INPUT_MESSAGES_PER_S as u64),
    ("CONTROL_MESSAGES_PER_S", limits::CONTROL_MESSAGES_PER_S as u64),
    ("COOL_DOWN_S", limits::COOL_DOWN_S as u64),
    ("COOL_DOWN_MAX_S", limits::COOL_DOWN_MAX_S as u64),
    ("COOL_DOWN_MEMORY_S", limits::COOL_DOWN_MEMORY_S as u64),
    ("COOL_DOWNS_MAX", limits::COOL_DOWNS_MAX as u64),
    ("VISIBLE_MAX", limits::VISIBLE_MAX as u64),
    ("HISTORY_TICKS", limits::HISTORY_TICKS as u64),
    ("SNAPSHOT_BUDGET", limits::SNAPSHOT_BUDGET as u64),
    ("SELECT_STAGGER", limits::SELECT_STAGGER as u64),
    ("HANDSHAKES_PER_SOURCE_PER_S", limits::HANDSHAKES_PER_SOURCE_PER_S as u64),
    ("HANDSHAKES_PER_SOURCE_BURST", limits::HANDSHAKES_PER_SOURCE_BURST as u64),
    ("HANDSHAKE_SOURCES", limits::HANDSHAKE_SOURCES as u64),
    ("HANDSHAKE_DH_PER_S", limits::HANDSHAKE_DH_PER_S as u64),
    ("TOKENS_MAX", limits::TOKENS_MAX as u64),
];

/// Words and paths that belong to the making and not to the thing. Spelled in halves, or this file
/// would find itself.
const FOREIGN: &[&[&str]] = &[
    &["sub", "agent"],
    &["clau", "de"],
    &["assis", "tant"],
    &["chat", "gpt"],
    &["co", "pilot"],
    &["/tm", "p/wt"],
    &["/tm", "p/plan"],
    &["/wor", "k/main"],
    &["/wor", "k/shared"],
    &["/wor", "k/."],
    &["/roo", "t/"],
    &["../sha", "red/"],
];

/// Heading texts of level `level` in a markdown text.
fn headings(text: &str, level: usize) -> Vec<String> {
    let mark = format!("{} ", "#".repeat(level));
    let mut fenced = false;
    let mut found = Vec::new();
    for line in text.lines() {
        fenced ^= line.starts_with("```");
        if let Some(heading) = line.strip_prefix(&mark)
            && !fenced
        {
            found.push(heading.trim().to_string());
        }
    }
    found
}

/// Cells of every row of the markdown tables in `text` whose first cell is one word in backticks.
fn coded_rows(text: &str) -> Vec<(String, String)> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    let cells = rows.filter_map(|row| row.split_once("` | "));
    cells
        .map(|(name, rest)| (name.into(), rest.split(" |").next().unwrap_or_default().into()))
        .collect()
}

/// The part of `text` below the heading `heading`, up to the next heading of any level.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let Some((_, rest)) = text.split_once(&format!("{heading}\n")) else { return "" };
    rest.split("\n#").next().unwrap_or_default()
}

/// Rows about limits whose number is not the limit's.
fn quote_findings(path: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for (name, value) in coded_rows(text) {
        let Some((_, real)) = QUOTED.iter().find(|(known, _)| *known == name) else { continue };
        let digits: String = value.chars().filter(|c| *c != ',' && *c != '_').collect();
        if digits.trim().parse() != Ok(*real) {
            findings.push(format!("{path}: {name} is {real}, the document says {value}"));
        }
    }
    findings
}

/// What a document points at: targets of relative links, and paths in backticks.
fn pointers(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (index, _) in text.match_indices("](") {
        let target = text[index + 2..].split([')', '#', ' ']).next().unwrap_or_default();
        if !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:") {
            found.push(target.to_string());
        }
    }
    let folders = [
        "src/",
        "docs/",
        "tests/",
        "benches/",
        "examples/",
        "perf/",
        "scripts/",
        "loadgen/",
        ".ci/",
    ];
    for code in text.split('`').skip(1).step_by(2) {
        let plain = !code.contains([' ', '{', '*', '<', '…', '\n']);
        if plain && folders.iter().any(|folder| code.starts_with(folder)) {
            found.push(code.split("::").next().unwrap_or_default().to_string());
        }
    }
    found
}

fn pointer_findings(path: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut findings = Vec::new();
    for pointer in pointers(text) {
        let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
        for part in pointer.split('/') {
            match part {
                ".." => drop(parts.pop()),
                "." | "" => {}
                part => parts.push(part),
            }
        }
        let ignored = pointer.starts_with("perf/out");
        if !ignored && !exists(&parts.join("/")) && !exists(pointer.trim_end_matches('/')) {
            findings.push(format!("{path}: points at {pointer}, which does not exist"));
        }
    }
    findings
}

fn foreign_findings(path: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let lower = line.to_lowercase();
        let word = FOREIGN.iter().map(|halves| halves.concat()).find(|word| lower.contains(word));
        let numbered = ["issue #", "task #"].iter().any(|mark| {
            let after = lower.split_once(mark).map(|(_, after)| after);
            after.is_some_and(|after| after.starts_with(|c: char| c.is_ascii_digit()))
        });
        if let Some(word) = word.or_else(|| numbered.then(|| "a number of a task".into())) {
            findings.push(format!("{path}:{}: {word}", index + 1));
        }
    }
    findings
}

/// Names of the criterion groups in a bench.
fn bench_groups(tokens: &[Token]) -> Vec<String> {
    let calls = tokens.windows(3).filter(|t| t[0].is_word("benchmark_group") && t[1].is("("));
    calls.filter(|t| t[2].kind == Kind::Text).map(|t| t[2].text.clone()).collect()
}

fn documents() -> Vec<(String, String)> {
    let files = tree::files("").into_iter().filter(|path| path.ends_with(".md"));
    files.map(|path| (path.clone(), tree::read(&path))).collect()
}

fn phase_names() -> Vec<&'static str> {
    Phase::ALL.iter().map(|phase| phase.name()).collect()
}

#[test]
fn each_phase_has_exactly_one_file_named_after_it() {
    for (phase, want) in phase_names().into_iter().zip(PHASE_FILES) {
        let name = format!("/{phase}.rs");
        let found: Vec<_> = tree::files("src").into_iter().filter(|p| p.ends_with(&name)).collect();
        assert_eq!(found, [want], "the file of the phase {phase}");
    }
}

#[test]
fn the_architecture_has_a_heading_per_phase_in_order() {
    let text = tree::read("docs/ARCHITECTURE.md");
    let found: Vec<_> =
        headings(&text, 3).into_iter().filter(|h| phase_names().contains(&h.as_str())).collect();
    assert_eq!(found, phase_names(), "headings of level 3 in docs/ARCHITECTURE.md");
    for (phase, file) in phase_names().into_iter().zip(PHASE_FILES) {
        let text = section(&text, &format!("### {phase}"));
        assert!(text.contains(file), "the section of {phase} names {file}");
    }
    assert!(text.lines().count() <= 250, "an architecture that nobody reads to the end");
}

#[test]
fn bench_groups_are_named_after_phases() {
    let mut seen = Vec::new();
    for source in tree::sources(&["benches", "loadgen/benches"]) {
        for group in bench_groups(&source.tokens) {
            let known =
                phase_names().contains(&group.as_str()) || OTHER_GROUPS.contains(&group.as_str());
            assert!(known, "{}: group `{group}` is no phase", source.path);
            seen.push(group);
        }
    }
    let sockets = ["receive", "send"];
    for phase in phase_names().into_iter().filter(|phase| !sockets.contains(phase)) {
        assert!(seen.iter().any(|group| group == phase), "no bench group `{phase}`");
    }
}

#[test]
fn the_operations_manual_lists_every_counter_and_drop_reason() {
    let text = tree::read("docs/OPERATIONS.md");
    let listed = |heading: &str| -> Vec<String> {
        coded_rows(section(&text, heading)).into_iter().map(|(name, _)| name).collect()
    };
    let counters: Vec<_> = Counter::ALL.iter().map(|counter| counter.name()).collect();
    assert_eq!(listed("### Counters"), counters);
    let reasons: Vec<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
    assert_eq!(listed("### Drop reasons"), reasons);
}

#[test]
fn limits_quoted_in_documents_are_the_limits() {
    super::assert_clean(
        documents().iter().flat_map(|(path, text)| quote_findings(path, text)).collect(),
    );
    let rows: Vec<_> = documents().iter().flat_map(|(_, text)| coded_rows(text)).collect();
    for (name, _) in QUOTED {
        assert!(rows.iter().any(|(row, _)| row == name), "no document quotes {name}");
    }
}

#[test]
fn what_the_documents_point_at_exists() {
    let exists = |path: &str| tree::root().join(path).exists();
    let findings = |(path, text): &(String, String)| pointer_findings(path, text, exists);
    super::assert_clean(documents().iter().flat_map(findings).collect());
}

#[test]
fn the_gate_runs_the_test_command_of_the_readme() {
    let command = |text: &str| {
        let line = text.lines().find(|line| line.trim_start().starts_with("cargo test"));
        line.map(|line| line.trim().to_string())
    };
    let readme = command(&tree::read("README.md"));
    assert!(readme.is_some(), "the README has a line that starts with `cargo test`");
    assert!(tree::read("scripts/check.sh").contains(&readme.expect("checked above")));
    assert!(tree::read(".ci/run").contains("scripts/check.sh"), "CI runs the gate");
}

#[test]
fn the_root_holds_what_it_must_and_nothing_else() {
    let entries = std::fs::read_dir(tree::root()).expect("the root exists");
    for entry in entries.flatten() {
        let name = entry.file_name().into_string().expect("names here are ASCII");
        assert!(ROOT.contains(&name.as_str()), "{name} does not belong into the root");
    }
    for name in ROOT.iter().filter(|name| !matches!(**name, ".git" | "target")) {
        assert!(tree::root().join(name).exists(), "{name} is missing");
    }
}

#[test]
fn nothing_speaks_of_how_the_work_was_done() {
    let text_files = tree::files("").into_iter().filter(|path| !path.ends_with("Cargo.lock"));
    let findings = text_files.flat_map(|path| foreign_findings(&path, &tree::read(&path)));
    super::assert_clean(findings.collect());
}

#[cfg(test)]
mod proof {
    use super::*;

    #[test]
    fn headings_in_code_blocks_do_not_count() {
        let text = "# a\n### receive\n```sh\n### no\n```\n### send\n";
        assert_eq!(headings(text, 3), ["receive", "send"]);
        assert_eq!(section("## x\n### send\nbody\nmore\n### y\n", "### send"), "body\nmore");
    }

    #[test]
    fn a_stale_number_is_found() {
        let row =
            |value: &str| quote_findings("d", &format!("| `DATAGRAM_MAX` | {value} | bytes |"));
        assert!(row("1,200").is_empty() && row("1200").is_empty());
        assert_eq!(row("1,300").len() + row("about 1,200").len(), 2);
        assert!(quote_findings("d", "| `SOMETHING_ELSE` | 7 |").is_empty());
    }

    #[test]
    fn a_dangling_pointer_is_found() {
        let exists = |path: &str| ["src/a.rs", "docs/B.md"].contains(&path);
        let found = |text: &str| pointer_findings("docs/A.md", text, exists).len();
        assert_eq!(
            found("see [b](B.md#part), `src/a.rs`, [x](https://example.org), `src/a.rs::f`"),
            0
        );
        assert_eq!(found("see [c](C.md) and `src/b.rs` and [d](../D.md)"), 3);
        assert_eq!(found("[a](../src/a.rs), `cargo src/`, `src/{a,b}`"), 0);
    }

    #[test]
    fn foreign_words_and_paths_are_found() {
        for halves in FOREIGN {
            assert_eq!(foreign_findings("x", &format!("a {} b", halves.concat())).len(), 1);
        }
        assert_eq!(foreign_findings("x", concat!("see issue ", "#12")).len(), 1);
        assert!(foreign_findings("x", "an issue of 12 sessions with a root").is_empty());
    }

    #[test]
    fn bench_groups_are_read_from_code_only() {
        let text =
            "// c.benchmark_group(\"no\")\nc.benchmark_group(\"seal\"); x(\"benchmark_group\");";
        assert_eq!(bench_groups(&Source::sample("benches/a.rs", text).tokens), ["seal"]);
    }

    #[test]
    fn rows_are_read_by_their_first_cell() {
        let rows = coded_rows("| `size` | too short | x |\n| plain | y |\n|`tight`|z|\n");
        assert_eq!(rows, [("size".to_string(), "too short".to_string())]);
    }
}
