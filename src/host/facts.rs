//! What a reader of a report must know about the host.

use serde::{Deserialize, Serialize};
use std::fs;

/// Commit the binary was built from, `-dirty` if the tree had changes.
pub const COMMIT: &str = env!("TIDELOCK_COMMIT");

/// Facts of the machine and the build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    /// CPU model.
    pub cpu: String,
    /// Cores of the machine, whatever this process is pinned to.
    pub cores: usize,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Kernel release.
    pub kernel: String,
    /// Instruction set the binary was built for.
    pub build: String,
}

impl HostFacts {
    /// Reads them from /proc and the build. What cannot be read is `unknown`.
    pub fn collect() -> Self {
        let unknown = || "unknown".to_owned();
        let level = if cfg!(target_feature = "avx512f") { "x86-64-v4" } else { "x86-64-v3" };
        let kernels = if cfg!(feature = "scalar") { "scalar " } else { "" };
        let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
        Self {
            cpu: field("/proc/cpuinfo", "model name").unwrap_or_else(unknown),
            cores: cores_of_the_machine(),
            memory_mib: kib("/proc/meminfo", "MemTotal") / 1024,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .map_or_else(|_| unknown(), |release| release.trim().to_owned()),
            build: format!("{level} {kernels}{profile}"),
        }
    }
}

/// Resident memory of this process, bytes.
pub fn rss_bytes() -> u64 {
    kib("/proc/self/status", "VmRSS") * 1024
}

fn cores_of_the_machine() -> usize {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    text.lines().filter(|line| line.starts_with("processor")).count()
}

fn field(path: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn kib(path: &str, key: &str) -> u64 {
    field(path, key)
        .and_then(|value| value.split_whitespace().next()?.parse().ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_has_cores_memory_and_a_kernel() {
        let facts = HostFacts::collect();
        assert!(facts.cores > 0 && facts.memory_mib > 100, "{facts:?}");
        assert_ne!(facts.kernel, "unknown");
        assert!(rss_bytes() > 100_000);
    }
}
