//! One server per UDP port: an exclusive lock on a file named after the port.
//!
//! SO_REUSEPORT lets a second process of the same user join the group silently and take a share of
//! the players' datagrams; the lock turns that into a refusal to start. The kernel releases it when
//! the process ends, however it ends; a process that ends in order removes the file as well.
//! `socket` takes it before it binds anything.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
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
    /// # Errors
    /// When another process holds it, or the file cannot be opened or locked.
    pub fn acquire(dir: &Path, port: u16) -> Result<Self, LockError> {
        // The user id is part of the name because only processes of one user can share a port, and
        // because a file of another user in a sticky directory could not be opened.
        let user = fs::metadata("/proc/self").map_or(0, |meta| meta.uid());
        let path = dir.join(format!("tidelock-udp-{user}-{port}.lock"));
        let file_error = |source| LockError::File { path: path.clone(), source };
        let mut file = loop {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            let mut file = options.open(&path).map_err(file_error)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let mut text = String::new();
                    let _ = file.read_to_string(&mut text);
                    return Err(LockError::Held { port, path, holder: text.trim().parse().ok() });
                }
                Err(TryLockError::Error(source)) => return Err(file_error(source)),
            }
            // Whoever held the lock before removed the file, maybe after it was opened here: then
            // this is the lock of a file that nobody else will find, and there may be a new one.
            if is_named(&file, &path).map_err(file_error)? {
                break file;
            }
        };
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
        // In this order: the file goes while nobody else can hold its lock.
        let _ = fs::remove_file(&self.path);
        let _ = self.file.unlock();
    }
}

/// Whether `path` leads to `file` itself and not to another file of its name, or to none.
fn is_named(file: &File, path: &Path) -> io::Result<bool> {
    let held = file.metadata()?;
    match fs::metadata(path) {
        Ok(found) => Ok((found.dev(), found.ino()) == (held.dev(), held.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
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
        let path = first.path().to_owned();
        drop(first);
        assert!(!path.exists(), "nothing is left behind");
        assert!(PortLock::acquire(&dir, 7).is_ok());
    }

    #[test]
    fn a_file_that_is_removed_in_the_wrong_moment_lets_no_two_in() {
        use std::sync::atomic::{AtomicU32, Ordering};
        let (inside, taken) = (AtomicU32::new(0), AtomicU32::new(0));
        let dir = std::env::temp_dir();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5_000 {
                        let Ok(lock) = PortLock::acquire(&dir, 9) else { continue };
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
    fn an_impossible_directory_is_named_in_the_error() {
        let error = PortLock::acquire(Path::new("/nonexistent/here"), 7).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/here"), "{error}");
    }
}
