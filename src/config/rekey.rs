//! `[rekey]`: when the keys of a session are replaced.

use super::{ConfigError, within};
use crate::connection::RekeyPolicy;
use crate::limits::{REKEY_BYTES, REKEY_BYTES_MIN, REKEY_SECONDS, REKEY_SECONDS_MIN};
use serde::{Deserialize, Serialize};

/// `[rekey]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RekeyConfig {
    /// Bytes of a session, both directions together, after which it gets new keys.
    pub bytes: u64,
    /// Seconds after which it gets new keys.
    pub seconds: u32,
}

impl Default for RekeyConfig {
    fn default() -> Self {
        Self { bytes: REKEY_BYTES, seconds: REKEY_SECONDS }
    }
}

impl RekeyConfig {
    /// Checks the ranges.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        within("rekey.bytes", self.bytes, REKEY_BYTES_MIN, REKEY_BYTES)?;
        within("rekey.seconds", self.seconds, REKEY_SECONDS_MIN, REKEY_SECONDS)
    }

    /// What the sessions of a shard are given.
    pub fn policy(&self) -> RekeyPolicy {
        RekeyPolicy::new(self.bytes, self.seconds)
    }
}
