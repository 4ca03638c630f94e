//! A piece about who owns a port.

use std::net::SocketAddr;
use std::process::Command;
use tidelock::net::{BindConfig, BindError, LockError, SocketGroup};

const ADDRESS: &str = "TIDELOCK_MUSEUM_ADDRESS";

/// MsQuic, issue 3177 (2022): with SO_REUSEPORT a second server of the same user binds the same
/// port without an error and takes a share of the packets.
/// <https://github.com/microsoft/msquic/issues/3177>
#[test]
fn a_second_process_does_not_join_the_port() {
    let address: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let group = SocketGroup::bind(&BindConfig::new(address, 3)).unwrap();
    let second = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "museum::port::the_second_process", "--nocapture"])
        .env(ADDRESS, group.local_address().to_string())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&second.stdout).into_owned();
    assert!(second.status.success() && text.contains("refused: "), "{text}");
    assert!(text.contains(&format!("process {}", std::process::id())), "it says who: {text}");
}

/// Run by the test above, in a process of its own; by itself it has nothing to do.
#[test]
fn the_second_process() {
    #[expect(clippy::disallowed_methods, reason = "how one test tells the other, no setting")]
    let Ok(address) = std::env::var(ADDRESS) else { return };
    match SocketGroup::bind(&BindConfig::new(address.parse().unwrap(), 3)) {
        Err(BindError::Lock(held @ LockError::Held { .. })) => println!("refused: {held}"),
        other => panic!("it joined, or was refused for another reason: {other:?}"),
    }
}
