//! The folder in which a running server leaves what others on this machine look for.

use super::StartError;
use crate::host::run_dir_default;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Folder of lock, admin socket and development keys. Its files carry the port in their names, so
/// one folder serves all servers of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDir(PathBuf);

impl RunDir {
    /// The folder that `chosen` or, without it, the environment suggests; made if it is missing.
    pub fn open(chosen: Option<&Path>) -> Result<Self, StartError> {
        let path = Self::locate(chosen).0;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(|error| {
            StartError(format!(
                "cannot make the folder {}: {error}; choose another with --run-dir",
                path.display()
            ))
        })?;
        Ok(Self(path))
    }

    /// Where the folder is or would be.
    pub fn locate(chosen: Option<&Path>) -> Self {
        Self(chosen.map_or_else(run_dir_default, Path::to_owned))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The admin socket of the server on `port`.
    pub fn admin_socket(&self, port: u16) -> PathBuf {
        self.0.join(format!("{port}.admin.sock"))
    }

    /// The keys that a server on `port` minted for itself with `--dev`.
    pub fn dev_keys(&self, port: u16) -> PathBuf {
        self.0.join(format!("{port}.dev.keys.toml"))
    }
}
