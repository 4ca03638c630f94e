//! Records the commit that the binary is built from, for the reports.

use std::path::Path;
use std::process::Command;

fn main() {
    let what = ["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"];
    let commit = git(&what).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo:rustc-env=TIDELOCK_COMMIT={}", commit.trim());
    // A commit moves HEAD or what it points at; a change of the sources makes the tree dirty. A
    // path that does not exist would run this script for every build.
    let paths =
        ["HEAD", "refs/heads", "packed-refs"].map(|name| git(&["rev-parse", "--git-path", name]));
    let paths = paths.iter().flatten().map(|path| path.trim());
    for path in paths.chain(["src", "Cargo.toml"]).filter(|path| Path::new(path).exists()) {
        println!("cargo:rerun-if-changed={path}");
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
