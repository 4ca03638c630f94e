//! One server per UDP port: a name that only one process can hold at a time.
//!
//! SO_REUSEPORT lets a second process of the same user join the group silently and take a share of
//! the players' datagrams; the lock turns that into a refusal to start, whoever's the process is.
//! The name is that of a unix socket in the abstract namespace: there is no file that could be left
//! behind, removed or lie in another directory, and the kernel frees the name when the process
//! ends, however it ends. Like the ports themselves, names belong to a network namespace. Nothing
//! is ever said over the socket. `socket` takes the lock before it binds anything.

use std::fmt;
use std::fs;
use std::io;
use std::net::Shutdown;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The lock of one port; held until dropped.
#[derive(Debug)]
pub struct PortLock {
    /// Its name says who holds the other; for the error message, the lock holds without it. The
    /// first to go, so that its name is free when the other is.
    _holder: Option<UnixDatagram>,
    _name: UnixDatagram,
}

/// Why the lock of a port could not be had.
#[derive(Debug)]
pub enum LockError {
    /// Another process holds it, or another server of this one.
    Held {
        /// The port.
        port: u16,
        /// The process id of the holder, if it could be found out.
        holder: Option<u32>,
    },
    /// The system gives no such name.
    System {
        /// The port.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
}

impl PortLock {
    /// Takes the lock of `port`, without waiting.
    ///
    /// # Errors
    /// When another process holds it.
    pub fn acquire(port: u16) -> Result<Self, LockError> {
        let name = bind(&lock_name(port)).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => LockError::Held { port, holder: holder(port) },
            _ => LockError::System { port, source },
        })?;
        let holder = bind(&format!("{}{}", holder_prefix(port), std::process::id())).ok();
        Ok(Self { _holder: holder, _name: name })
    }
}

fn lock_name(port: u16) -> String {
    format!("tidelock-udp-{port}")
}

fn holder_prefix(port: u16) -> String {
    format!("{}-of-", lock_name(port))
}

fn bind(name: &str) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name)?)?;
    // Whoever sends something here is told that nobody listens.
    socket.shutdown(Shutdown::Both)?;
    Ok(socket)
}

/// Who holds the lock of `port`, by the name of its other socket in the list of all.
fn holder(port: u16) -> Option<u32> {
    let names = fs::read_to_string("/proc/net/unix").ok()?;
    let prefix = format!("@{}", holder_prefix(port));
    names.lines().find_map(|line| line.split(' ').next_back()?.strip_prefix(&prefix)?.parse().ok())
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held { port, holder } => {
                write!(f, "UDP port {port} already belongs to another server")?;
                if let Some(pid) = holder {
                    write!(f, " (process {pid})")?;
                }
                write!(f, ". Stop it or choose another port.")
            }
            Self::System { port, source } => write!(
                f,
                "cannot lock UDP port {port}: {source}. The lock is the unix socket @{}: does a \
                 sandbox forbid it?",
                lock_name(*port)
            ),
        }
    }
}

impl std::error::Error for LockError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_with_the_pid_of_the_first_until_it_lets_go() {
        // Below every port that tests bind, so that no other test takes this lock.
        let first = PortLock::acquire(7).unwrap();
        let text = PortLock::acquire(7).unwrap_err().to_string();
        let pid = format!("process {})", std::process::id());
        assert!(text.contains("port 7") && text.contains(&pid), "{text}");
        drop(first);
        assert!(PortLock::acquire(7).is_ok());
    }

    #[test]
    fn no_two_hold_the_lock_however_fast_it_changes_hands() {
        use std::sync::atomic::{AtomicU32, Ordering};
        let (inside, taken) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        let Ok(lock) = PortLock::acquire(9) else { continue };
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two hold the lock");
                        taken.fetch_add(1, Ordering::SeqCst);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(lock);
                    }
                });
            }
        });
        assert!(taken.load(Ordering::SeqCst) > 4, "they did come to hold it");
    }

    #[test]
    fn the_lock_of_another_port_is_another_lock_and_leaves_no_file() {
        let _first = PortLock::acquire(11).unwrap();
        let _second = PortLock::acquire(1).unwrap();
        let held = PortLock::acquire(1).unwrap_err();
        let LockError::Held { port: 1, holder } = held else { panic!("{held:?}") };
        assert_eq!(holder, Some(std::process::id()), "not that of port 11");
        let _third = bind("tidelock-udp-13").unwrap();
        let nameless = PortLock::acquire(13).unwrap_err();
        assert!(matches!(nameless, LockError::Held { holder: None, .. }), "{nameless:?}");
    }
}
