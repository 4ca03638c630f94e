//! The machine under the server: clocks, cores, memory, randomness. The only door to them.

pub mod clock;
pub mod cores;
pub mod cpu;
pub mod entropy;
pub mod facts;
#[cfg(test)]
pub(crate) mod fake_host;
pub mod topology;

use std::path::PathBuf;

/// Folder for the sockets and locks of servers of this user: `$XDG_RUNTIME_DIR/tidelock`, else
/// `/run/tidelock` for root, else a folder of this user in the folder for temporary files.
pub fn run_dir_default() -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "the one place where this variable is read")]
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|value| !value.is_empty());
    let user = rustix::process::getuid();
    match runtime {
        Some(folder) => PathBuf::from(folder).join("tidelock"),
        None if user.is_root() => PathBuf::from("/run/tidelock"),
        None => std::env::temp_dir().join(format!("tidelock-{}", user.as_raw())),
    }
}
