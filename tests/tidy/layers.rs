//! Who may name whom: the layers, the one door of each third-party crate, and the outside world,
//! which the lower layers know only as arguments.

use super::paths::{self, Named};
use super::tree::{self, Source};

/// The modules of each layer, lowest first. A module names modules of lower layers.
const LAYERS: [&[&str]; 6] = [
    &["limits", "units", "state", "time", "metrics"],
    &["wire", "crypto", "kernel", "exchange", "reliable"],
    &["connection", "world"],
    &["replicate", "client"],
    &["net", "persist", "gate", "host"],
    &["shard", "config", "keys", "admin", "report", "server", "demo", "swarm", "cli", "sim", "bin"],
];

/// The top layer composes; its modules may name each other. So may those of the bottom layer.
const OPEN_LAYERS: [usize; 2] = [0, 5];

/// Modules that may name even less than their layer allows.
const NARROW: &[(&str, &[&str], &str)] = &[
    ("limits", &[], "it is what everything else is measured by"),
    ("net", LAYERS[0], "it does not know what the bytes mean"),
    ("host", LAYERS[0], "it wraps the operating system and nothing of ours"),
    (
        "client",
        &["limits", "units", "state", "time", "metrics", "wire", "crypto", "kernel", "reliable"],
        "an independent client shares the protocol and the arithmetic of movement only",
    ),
];

/// Modules that read no clock, no random source, no file, no socket and start no thread.
const SANS_IO: &[&str] = &[
    "limits",
    "units",
    "state",
    "time",
    "metrics",
    "wire",
    "crypto",
    "kernel",
    "exchange",
    "reliable",
    "connection",
    "world",
    "replicate",
    "client",
    "gate",
    "sim",
];

/// Where each dependency of the server may be named outside tests. `""` is everywhere.
const DOORS: &[(&str, &[&str])] = &[
    ("bytemuck", &["src/state.rs", "src/kernel/", "src/world/"]),
    ("chacha20poly1305", &["src/crypto/"]),
    ("clap", &["src/bin/", "src/cli", "src/main.rs", "loadgen/src/"]),
    ("core_affinity", &["src/host/"]),
    ("crc32c", &["src/wire/crc.rs"]),
    ("ctrlc", &["src/server/"]),
    ("getrandom", &["src/host/"]),
    ("glommio", &["loadgen/src/"]),
    ("hdrhistogram", &["src/metrics/"]),
    ("hex", &["src/keys.rs"]),
    ("hkdf", &["src/crypto/"]),
    ("hmac", &["src/crypto/"]),
    ("io_uring", &["src/net/uring/"]),
    ("libc", &["src/net/"]),
    ("lz4_flex", &["src/wire/lz4.rs"]),
    ("ring", &["src/crypto/"]),
    ("rtrb", &["src/shard/queue.rs"]),
    ("rustix", &["src/host/"]),
    (
        "serde",
        &[
            "src/metrics/",
            "src/host/facts.rs",
            "src/report",
            "src/config",
            "src/keys.rs",
            "src/admin",
            "loadgen/src/",
        ],
    ),
    ("serde_json", &["src/report", "src/admin", "src/keys.rs", "loadgen/src/"]),
    ("sha2", &["src/crypto/"]),
    ("socket2", &["src/net/"]),
    ("strsim", &["src/config"]),
    ("subtle", &["src/crypto/", "src/gate/", "src/connection/"]),
    ("tidelock", &["src/bin/", "src/main.rs", "loadgen/src/"]),
    ("toml", &["src/config", "src/keys.rs"]),
    ("wide", &["src/kernel/"]),
    ("x25519_dalek", &["src/crypto/"]),
    ("zerocopy", &["src/wire/"]),
    ("zeroize", &["src/client/", "src/crypto/", "src/gate/", "src/connection/", "src/keys.rs"]),
];

/// What the standard library offers of the outside world.
const OUTSIDE: &[&[&str]] = &[
    &["std", "env"],
    &["std", "fs"],
    &["std", "os"],
    &["std", "process"],
    &["std", "thread"],
    &["std", "time", "Instant"],
    &["std", "time", "SystemTime"],
    &["std", "time", "UNIX_EPOCH"],
    &["std", "io", "stdin"],
    &["std", "io", "stdout"],
    &["std", "io", "stderr"],
    // Their default hasher is seeded at random, so the order of iteration does not replay.
    &["std", "collections", "HashMap"],
    &["std", "collections", "HashSet"],
    &["std", "collections", "hash_map", "RandomState"],
    &["std", "hash", "RandomState"],
];

/// What `std::net` offers besides sockets.
const ADDRESSES: &[&str] =
    &["IpAddr", "Ipv4Addr", "Ipv6Addr", "SocketAddr", "SocketAddrV4", "SocketAddrV6"];

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

fn finding(source: &Source, named: &Named, why: &str) -> String {
    format!("{}:{}: {}: {why}", source.path, named.line, named.text())
}

/// Names of modules that the layer of the file does not reach.
fn layer_findings(source: &Source) -> Vec<String> {
    let Some(from) = source.top() else { return Vec::new() };
    let Some(layer) = layer_of(&from) else {
        return vec![format!("{}: module `{from}` belongs to no layer", source.path)];
    };
    let mut findings = Vec::new();
    for named in paths::named(source) {
        if named.segments[0] != "crate" || named.segments.len() == 1 {
            continue;
        }
        let to = named.segments[1].as_str();
        let Some(target) = layer_of(to) else {
            findings.push(finding(source, &named, "leads to no module of a layer"));
            continue;
        };
        let narrow = NARROW.iter().find(|(module, ..)| *module == from);
        if to == from {
            continue;
        } else if let Some((_, allowed, why)) = narrow {
            if !allowed.contains(&to) {
                findings.push(finding(source, &named, &format!("not for `{from}`: {why}")));
            }
        } else if target > layer || (target == layer && !OPEN_LAYERS.contains(&layer)) {
            let why = format!("`{from}` of layer {layer} names `{to}` of layer {target}");
            findings.push(finding(source, &named, &why));
        }
    }
    findings
}

/// Third-party crates named away from their door.
fn door_findings(source: &Source) -> Vec<String> {
    let mut findings = Vec::new();
    for named in paths::named(source).iter().filter(|named| !named.test_only) {
        let door = DOORS.iter().find(|(name, _)| *name == named.segments[0]);
        if let Some((_, doors)) = door
            && !doors.iter().any(|door| source.path.starts_with(door))
        {
            findings.push(finding(source, named, &format!("the door of this crate is {doors:?}")));
        }
    }
    findings
}

/// The outside world named by a module that must get it as an argument.
fn outside_findings(source: &Source) -> Vec<String> {
    if !source.top().is_some_and(|top| SANS_IO.contains(&top.as_str())) {
        return Vec::new();
    }
    let why = "time, randomness, files, sockets and threads are arguments here";
    let mut findings = Vec::new();
    for mut named in paths::named(source).into_iter().filter(|named| !named.test_only) {
        if named.segments[0] == "core" {
            named.segments[0] = "std".into();
        }
        let net = named.starts_with(&["std", "net"])
            && !named.segments.get(2).is_some_and(|name| ADDRESSES.contains(&name.as_str()));
        // `use std::time;` or `use std::time::*` would let the rest in unseen.
        let wide = |path: &&&[&str]| {
            let text = named.text();
            let text = text.trim_end_matches("::*");
            path.join("::").strip_prefix(text).is_some_and(|rest| rest.starts_with("::"))
        };
        let brings_all =
            named.segments.last().is_some_and(|last| last == "*") || named.segments.len() == 2;
        let hit = OUTSIDE.iter().any(|path| named.starts_with(path))
            || (brings_all && named.segments[0] == "std" && OUTSIDE.iter().find(wide).is_some());
        if net || hit {
            findings.push(finding(source, &named, why));
        }
    }
    for (index, two) in source.tokens.windows(2).enumerate() {
        let prints = matches!(two[0].text.as_str(), "print" | "println" | "eprint" | "eprintln");
        if prints && two[1].is("!") && !source.test_only[index] {
            findings.push(format!("{}:{}: {}!: {why}", source.path, two[0].line, two[0].text));
        }
    }
    findings
}

/// Names of the `[dependencies]` of a manifest, as the code writes them.
fn dependencies(manifest: &str) -> Vec<String> {
    let section = manifest.split("\n[").find(|section| section.starts_with("dependencies]"));
    let lines = section.unwrap_or_default().lines().skip(1);
    let names = lines.filter_map(|line| line.split(['.', ' ', '=']).next());
    names
        .filter(|name| !name.is_empty() && !name.starts_with('#'))
        .map(|n| n.replace('-', "_"))
        .collect()
}

fn all(rule: fn(&Source) -> Vec<String>) -> Vec<String> {
    tree::product().iter().flat_map(rule).collect()
}

#[test]
fn modules_name_only_what_their_layer_may() {
    super::assert_clean(all(layer_findings));
}

#[test]
fn each_dependency_has_one_door() {
    super::assert_clean(all(door_findings));
}

#[test]
fn lower_layers_get_time_randomness_and_sockets_as_arguments() {
    super::assert_clean(all(outside_findings));
}

#[test]
fn the_table_of_doors_is_the_list_of_dependencies() {
    let mut declared = dependencies(&tree::read("Cargo.toml"));
    declared.extend(dependencies(&tree::read("loadgen/Cargo.toml")));
    declared.sort();
    declared.dedup();
    let doors: Vec<_> = DOORS.iter().map(|(name, _)| name.to_string()).collect();
    assert_eq!(doors, declared, "every dependency has a door, every door a dependency, sorted");
}

#[test]
fn every_module_has_a_layer_and_every_door_exists() {
    for source in tree::sources(&["src"]) {
        if let Some(top) = source.top() {
            assert!(layer_of(&top).is_some(), "{}: `{top}` belongs to no layer", source.path);
        }
    }
    for (name, doors) in DOORS {
        for door in *doors {
            let exists = tree::files("").iter().any(|path| path.starts_with(door));
            assert!(exists, "the door {door} of {name} does not exist");
        }
    }
}

#[cfg(test)]
mod proof {
    use super::*;

    fn layer(path: &str, text: &str) -> usize {
        layer_findings(&Source::sample(path, text)).len()
    }

    #[test]
    fn the_layer_rule_finds_upward_and_sideways_names() {
        assert_eq!(layer("src/wire/a.rs", "use crate::limits::X; use super::b::Y;"), 0);
        assert_eq!(layer("src/wire/a.rs", "use crate::crypto::X;"), 1);
        assert_eq!(layer("src/wire/a.rs", "use crate::{limits, connection::{A, B}};"), 2);
        assert_eq!(layer("src/connection/a.rs", "fn f(x: crate::world::Row) {}"), 1);
        assert_eq!(layer("src/world/mod.rs", "use super::connection::X;"), 1);
        assert_eq!(layer("src/world/a.rs", "use super::super::replicate;"), 1);
        assert_eq!(layer("src/net/a.rs", "use crate::wire::Header;"), 1);
        assert_eq!(layer("src/client/a.rs", "use crate::connection::Sessions;"), 1);
        assert_eq!(layer("src/limits.rs", "use crate::units::Tick;"), 1);
        assert_eq!(layer("src/gate/a.rs", "use crate::net::Port;"), 1);
        assert_eq!(layer("src/shard/a.rs", "use crate::{net::Port, config::Config, wire};"), 0);
        assert_eq!(layer("src/nowhere/a.rs", ""), 1);
        assert_eq!(layer("src/wire/a.rs", "use crate::*;"), 1);
        assert_eq!(layer("src/wire/a.rs", "#[cfg(test)] mod t { use crate::kernel::X; }"), 1);
    }

    #[test]
    fn the_door_rule_finds_a_crate_elsewhere_and_lets_tests_use_it() {
        let door = |path: &str, text: &str| door_findings(&Source::sample(path, text)).len();
        assert_eq!(door("src/net/uring/mod.rs", "use io_uring::IoUring;"), 0);
        assert_eq!(door("src/net/mmsg.rs", "use io_uring::IoUring;"), 1);
        assert_eq!(door("src/gate/mod.rs", "fn f() { ::ring::aead::x(); }"), 1);
        assert_eq!(door("src/gate/mod.rs", "fn f(ring: u8) { ring.x() }"), 0);
        assert_eq!(door("src/gate/mod.rs", "#[cfg(test)] mod tests { use ring::x; }"), 0);
        assert_eq!(door("src/wire/crc.rs", "use crc32c::crc32c;"), 0);
    }

    #[test]
    fn the_outside_rule_finds_clocks_sockets_threads_and_prints() {
        let outside = |text: &str| outside_findings(&Source::sample("src/world/a.rs", text)).len();
        assert_eq!(outside("use std::net::{IpAddr, SocketAddr}; use std::time::Duration;"), 0);
        assert_eq!(outside("use std::net::UdpSocket;"), 1);
        assert_eq!(outside("use std::{time::{Duration, Instant}, net::*};"), 2);
        assert_eq!(outside("use std::time;"), 1);
        assert_eq!(outside("use core::time::*;"), 1);
        assert_eq!(outside("use std::collections::HashMap;"), 1);
        assert_eq!(outside("fn f() { let t = std::time::Instant::now(); println!(\"x\"); }"), 2);
        assert_eq!(outside("fn f() { std::thread::spawn(g); }"), 1);
        assert_eq!(outside("#[cfg(test)] mod tests { fn f() { println!(\"seed\"); } }"), 0);
        let shard = Source::sample("src/shard/a.rs", "use std::thread;");
        assert!(outside_findings(&shard).is_empty(), "the top layer owns threads");
    }

    #[test]
    fn the_manifest_is_read_as_cargo_reads_it() {
        let manifest =
            "[package]\nn = 1\n\n[dependencies]\na-b = \"1\"\nc.workspace = true\n\n[dev]\nd = 1\n";
        assert_eq!(dependencies(manifest), ["a_b", "c"]);
    }
}
