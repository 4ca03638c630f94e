//! Machines for tests: a folder with the files that the kernel would publish. Real files, read by
//! the real reader; removed at the end.

use super::topology::Topology;
use std::fs;
use std::path::PathBuf;

/// A machine under construction.
pub(crate) struct FakeHost {
    pub(crate) root: PathBuf,
    cpus: usize,
    sockets: usize,
    allowed: Option<Vec<usize>>,
}

impl FakeHost {
    /// A machine that publishes nothing. `name` is that of its folder, one per test.
    pub(crate) fn new(name: &str) -> Self {
        let folder = format!("tidelock-host-{}-{name}", std::process::id());
        let root = std::env::temp_dir().join(folder);
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(&root).expect("the folder for temporary files is writable");
        Self { root, cpus: 0, sockets: 0, allowed: None }
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().expect("files lie in folders")).expect("writable");
        fs::write(path, format!("{text}\n")).expect("writable");
    }

    /// One more core, with its siblings and its socket.
    pub(crate) fn cpu(mut self, id: usize, siblings: &str, package: usize) -> Self {
        let folder = format!("sys/devices/system/cpu/cpu{id}/topology");
        self.write(&format!("{folder}/thread_siblings_list"), siblings);
        self.write(&format!("{folder}/physical_package_id"), &package.to_string());
        self.cpus += 1;
        self
    }

    /// A NUMA node with its cores.
    pub(crate) fn node(self, node: usize, cpus: &str) -> Self {
        self.write(&format!("sys/devices/system/node/node{node}/cpulist"), cpus);
        self
    }

    /// One more socket, a NUMA node, of `cores` physical cores with `threads` each, whose numbers
    /// follow each other. All are online.
    pub(crate) fn socket(mut self, cores: usize, threads: usize) -> Self {
        let (first, package) = (self.cpus, self.sockets);
        for core in 0..cores {
            let from = first + core * threads;
            let siblings = format!("{from}-{}", from + threads - 1);
            for id in from..from + threads {
                self = self.cpu(id, &siblings, package);
            }
        }
        let last = self.cpus - 1;
        self.sockets += 1;
        self.node(package, &format!("{first}-{last}")).online(&format!("0-{last}"))
    }

    /// The cores that are online.
    pub(crate) fn online(self, cpus: &str) -> Self {
        self.write("sys/devices/system/cpu/online", cpus);
        self
    }

    /// The cores that the scheduler keeps free.
    pub(crate) fn isolated(self, cpus: &str) -> Self {
        self.write("sys/devices/system/cpu/isolated", cpus);
        self
    }

    /// The affinity mask; all cores without.
    pub(crate) fn allow(mut self, cpus: &[usize]) -> Self {
        self.allowed = Some(cpus.to_vec());
        self
    }

    /// The cgroup of this process, and `cpu.max` of some.
    pub(crate) fn cgroup(self, path: &str, quotas: &[(&str, &str)]) -> Self {
        self.write("proc/self/cgroup", &format!("1:cpu:/elsewhere\n0::{path}"));
        for (group, quota) in quotas {
            self.write(&format!("sys/fs/cgroup/{group}/cpu.max"), quota);
        }
        self
    }

    /// What the reader makes of it.
    pub(crate) fn read(&self) -> Topology {
        let all = || (0..self.cpus).collect();
        Topology::read(&self.root, &self.allowed.clone().unwrap_or_else(all))
    }
}

impl Drop for FakeHost {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}
