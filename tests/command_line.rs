//! What the commands promise to shells and people: exit codes, and one message that names cause and
//! fix.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

fn tidelock(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidelock"));
    command.args(arguments).stdin(Stdio::null()).env_remove("TIDELOCK_KEYS");
    command
}

fn run(arguments: &[&str]) -> (Output, String) {
    let output = tidelock(arguments).output().expect("the program starts");
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, complaint)
}

/// A folder of this test alone.
fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("the folder for temporary files of tests is writable");
    folder
}

#[test]
fn a_reader_who_has_left_is_no_error() {
    let mut child = tidelock(&["check-config"]).stdout(Stdio::piped()).spawn().expect("starts");
    drop(child.stdout.take());
    assert!(child.wait().expect("it ends").success(), "as in `tidelock check-config | head -0`");
}

#[test]
fn the_defaults_that_are_printed_are_a_valid_file() {
    let (output, _) = run(&["check-config"]);
    let file = folder("defaults").join("tidelock.toml");
    fs::write(&file, &output.stdout).expect("writable");
    let (again, complaint) = run(&["check-config", file.to_str().expect("ASCII")]);
    assert!(again.status.success(), "{complaint}");
    assert_eq!(again.stdout, output.stdout);
}

#[test]
fn check_config_says_which_thread_would_run_where_and_refuses_what_serve_refuses() {
    let file = folder("cores").join("tidelock.toml");
    let path = file.to_str().expect("ASCII");
    fs::write(&file, "[server]\nshards = 1\n").expect("writable");
    let (output, complaint) = run(&["check-config", path]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{complaint}");
    assert!(text.contains("#   shard 1  core ") && text.contains("#   gate "), "{text}");
    fs::write(&file, "[server]\ncores = \"99999\"\n").expect("writable");
    let (output, complaint) = run(&["check-config", path]);
    assert_eq!(output.status.code(), Some(1));
    assert!(complaint.contains("core 99999 is not among the cores"), "{complaint}");
}

#[test]
fn a_misspelt_key_is_an_error_with_file_line_and_suggestion() {
    let file = folder("misspelt").join("tidelock.toml");
    fs::write(&file, "[server]\ntick_rte = 60\n").expect("writable");
    let (output, complaint) = run(&["serve", "--dev", "--config", file.to_str().expect("ASCII")]);
    assert_eq!(output.status.code(), Some(1));
    for part in ["tidelock.toml", "line 2", "did you mean `tick_rate`?"] {
        assert!(complaint.contains(part), "{complaint}");
    }
}

#[test]
fn keys_are_private_and_never_overwritten() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder("keys");
    let out = folder.to_str().expect("ASCII");
    assert!(run(&["keygen", "--out", out]).0.status.success());
    let file = folder.join("server.keys.toml");
    let written = fs::read(&file).expect("it was written");
    assert_eq!(fs::metadata(&file).expect("it exists").permissions().mode() & 0o777, 0o600);
    let (output, complaint) = run(&["keygen", "--out", out]);
    assert!(!output.status.success() && complaint.contains("never overwritten"), "{complaint}");
    assert_eq!(fs::read(&file).expect("it is still there"), written);
}

#[test]
fn each_build_gets_its_own_integrity_keys() {
    let folder = folder("integrity");
    let out = folder.to_str().expect("ASCII");
    let arguments = ["keygen", "--out", out, "--build", "1001", "--count", "3"];
    let (output, complaint) = run(&arguments);
    assert!(output.status.success(), "{complaint}");
    let text = fs::read_to_string(folder.join("integrity-1001.toml")).expect("it was written");
    assert!(text.contains("build = 1001") && text.matches(&['"']).count() == 6, "{text}");
    assert!(!folder.join("server.keys.toml").exists(), "nothing else is made");
    assert!(run(&arguments).1.contains("never overwritten"));
    assert!(!run(&["keygen", "--out", out, "--count", "3"]).0.status.success(), "of which build?");
}

#[test]
fn a_server_without_keys_says_how_to_get_some() {
    let folder = folder("keyless");
    let run_dir = folder.to_str().expect("ASCII");
    let (output, complaint) = run(&["serve", "--bind", "127.0.0.1:0", "--run-dir", run_dir]);
    assert_eq!(output.status.code(), Some(1));
    assert!(complaint.contains("tidelock keygen") && complaint.contains("--dev"), "{complaint}");
    let (output, complaint) = run(&["serve", "--dev", "--bind", "0.0.0.0:0", "--run-dir", run_dir]);
    assert_eq!(output.status.code(), Some(1));
    assert!(complaint.contains("loopback only"), "{complaint}");
}
