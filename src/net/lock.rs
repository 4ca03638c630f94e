//! One server per UDP port: an exclusive lock on a file named after the port.
//!
//! SO_REUSEPORT lets a second process of the same user join the group silently and take a share of
//! the players' datagrams; the lock turns that into a refusal to start. The kernel releases it when
//! the process ends, however it ends. `socket` takes it before it binds anything.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where lock files are kept unless the configuration says otherwise.
pub const DEFAULT_LOCK_DIR: &str = "/tmp";

/// The lock of one port; held until dropped.
#[derive(Debug)]
pub struct PortLock {
    file: File,
    path: PathBuf,
}

/// Why the lock of a port could not be had.
#[derive(Debug)]
pub enum LockError {
    /// Another process holds it.
    Held {
        /// The port.
        port: u16,
        /// The lock file.
        path: PathBuf,
        /// The process id the holder wrote into it, if it could be read.
        holder: Option<u32>,
    },
    /// The file cannot be opened or locked.
    File {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl PortLock {
    /// Takes the lock of `port` in directory `dir`, without waiting.
    ///
    /// The file is left behind when the lock is released: deleting it would let two processes hold
    /// locks on two files of one name.
    pub fn acquire(dir: &Path, port: u16) -> Result<Self, LockError> {
        // The user id is part of the name because only processes of one user can share a port, and
        // because a file of another user in a sticky directory could not be opened.
        let user = std::fs::metadata("/proc/self").map_or(0, |meta| meta.uid());
        let path = dir.join(format!("tidelock-udp-{user}-{port}.lock"));
        let open =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = open.map_err(|source| LockError::File { path: path.clone(), source })?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let _ = file.read_to_string(&mut text);
                return Err(LockError::Held { port, path, holder: text.trim().parse().ok() });
            }
            Err(TryLockError::Error(source)) => return Err(LockError::File { path, source }),
        }
        // Only a courtesy for the error message above; the lock holds without it.
        let _ = file.set_len(0);
        let _ = file.rewind();
        let _ = writeln!(file, "{}", std::process::id());
        Ok(Self { file, path })
    }

    /// The lock file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PortLock {
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held { port, path, holder } => {
                write!(f, "UDP port {port} already belongs to another server")?;
                if let Some(pid) = holder {
                    write!(f, " (process {pid})")?;
                }
                write!(f, ": it holds {}. Stop it or choose another port.", path.display())
            }
            Self::File { path, source } => write!(
                f,
                "cannot lock {}: {source}. The directory must exist and be writable.",
                path.display()
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
        let dir = std::env::temp_dir();
        // Below every port that tests bind, so that no other test takes this lock.
        let first = PortLock::acquire(&dir, 7).unwrap();
        let refused = PortLock::acquire(&dir, 7).unwrap_err();
        let text = refused.to_string();
        assert!(
            text.contains("port 7") && text.contains(&std::process::id().to_string()),
            "{text}"
        );
        drop(first);
        assert!(PortLock::acquire(&dir, 7).is_ok());
    }

    #[test]
    fn an_impossible_directory_is_named_in_the_error() {
        let error = PortLock::acquire(Path::new("/nonexistent/here"), 7).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/here"), "{error}");
    }
}
