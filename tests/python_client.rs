//! An independent client, written from docs/PROTOCOL.md alone in another language, against the
//! document's worked example and a real server: what it cannot do, the document does not say.
//!
//! Needs Python 3 with the package `cryptography`. If `python3` lacks the package, a virtual
//! environment is made below `target/` and filled from the package index.

mod players;

use players::{Folder, config, end, start, stats};
use serde_json::Value;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use tidelock::config::ShardCount;
use tidelock::host::clock;
use tidelock::host::entropy::OsEntropy;
use tidelock::keys::{BackendKeys, TicketRequest};
use tidelock::limits::REKEY_SECONDS_MIN;
use tidelock::metrics::{Counter, DropReason};

const HOME: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/python");

fn has_cryptography(python: &Path) -> bool {
    let mut command = Command::new(python);
    command.args(["-c", "import cryptography"]).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// A Python that has what the client needs.
fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let usual = PathBuf::from("python3");
        if has_cryptography(&usual) {
            return usual;
        }
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python");
        let python = folder.join("bin/python");
        if !has_cryptography(&python) {
            let run = |program: &Path, arguments: &[&str]| {
                let status = Command::new(program).args(arguments).arg(&folder).status();
                status.is_ok_and(|status| status.success())
            };
            let made = run(&usual, &["-m", "venv"]);
            let mut install = Command::new(&python);
            install.args(["-m", "pip", "install", "--quiet", "cryptography"]);
            let filled = made && install.status().is_ok_and(|status| status.success());
            assert!(
                filled,
                "the independent client needs Python 3 with the package `cryptography`: \
                 python3 -m pip install cryptography"
            );
        }
        python
    })
}

/// Starts the client as `player`, who appears at `spawn`, for the server at `address`.
fn play(
    keys: &BackendKeys,
    address: SocketAddr,
    player: u64,
    spawn: [i32; 3],
    arguments: &[&str],
) -> Child {
    let request = TicketRequest { player, spawn: Some(spawn), ttl_s: 30 };
    let mut ticket = keys.mint(&request, clock::unix_ms(), &mut OsEntropy);
    ticket.servers = vec![address.to_string()];
    let mut child = Command::new(python())
        .args(["-m", "tidelock_client"])
        .args(arguments)
        .current_dir(HOME)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let ticket = serde_json::to_vec(&ticket).expect("a ticket has a JSON form");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(&ticket).expect("it reads its ticket");
    child
}

/// What the client says in the end.
fn result(child: Child) -> Value {
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "the client failed; it says why above");
    serde_json::from_slice(&output.stdout).expect("it prints JSON")
}

#[test]
fn the_worked_example_of_the_document_holds() {
    let status = Command::new(python())
        .args(["-m", "unittest", "discover", "--quiet"])
        .current_dir(HOME)
        .status();
    assert!(status.expect("it starts").success(), "it says above what does not hold");
}

#[test]
fn independent_clients_join_walk_and_see_each_other() {
    let folder = Folder::new("python");
    let mut config = config(&folder);
    config.server.shards = ShardCount::Count(2);
    config.server.oversubscribe = true;
    let (server, keys) = start(config);
    let spawn = |n: i32| [400_000 + 500 * n, 400_000, 0];
    let clients: Vec<_> = (0..3)
        .map(|n| play(&keys, server.address, 100 + n, spawn(n as i32), &["--seconds", "4"]))
        .collect();
    let results: Vec<_> = clients.into_iter().map(result).collect();
    for (n, result) in results.iter().enumerate() {
        assert_eq!(result["player"], 100 + n as u64);
        assert_eq!(result["dropped"], 0, "{result}");
        let snapshots = result["snapshots"].as_u64().expect("a number");
        assert!(snapshots > 60, "{result}");
        let inputs = result["last_processed_input"].as_u64().expect("a number");
        assert!(inputs > 30, "{result}");
        // Half a circle has a diameter of 764 cm at walking speed: it is somewhere else.
        let x = result["position_cm"][0].as_f64().expect("a number");
        let y = result["position_cm"][1].as_f64().expect("a number");
        assert!((y - 400_000.0).abs() < 2_000.0 && (x - 400_000.0).abs() < 4_000.0, "{result}");
        assert!(x != f64::from(spawn(n as i32)[0]) || y != 400_000.0, "{result}");
    }
    // Who left first was seen by the others until then; nobody sees himself.
    let entity = |result: &Value| result["entity"].as_u64().expect("a number").to_string();
    for result in &results {
        let met = result["met"].as_array().expect("a list");
        for other in &results {
            let name = entity(other).parse::<u64>().expect("a number");
            let has_met = met.iter().any(|one| one.as_u64() == Some(name));
            assert_eq!(has_met, entity(result) != entity(other), "{result}");
        }
    }
    end(server);
}

#[test]
fn an_independent_client_plays_on_with_new_keys_and_from_another_port() {
    let folder = Folder::new("python-rekey");
    let mut config = config(&folder);
    config.rekey.seconds = REKEY_SECONDS_MIN;
    let (server, keys) = start(config);
    let arguments = ["--seconds", "13", "--rebind-after", "2"];
    let result = result(play(&keys, server.address, 7, [400_000, 400_000, 0], &arguments));
    let number = |name: &str| result[name].as_u64().expect("a number");
    assert!(number("key_epoch") >= 2, "{result}");
    assert_eq!(number("dropped"), 0, "{result}");
    assert!(number("snapshots") > 200 && number("last_processed_input") > 200, "{result}");
    let stats = stats(&server);
    assert_eq!(stats.counter(Counter::Confirmed), 1, "one session for all of it");
    assert_eq!(stats.counter(Counter::PathChanges), 1);
    assert_eq!(stats.dropped[DropReason::Epoch.name()], 0);
    end(server);
}
