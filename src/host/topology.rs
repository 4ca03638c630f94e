//! Which cores there are: physical cores, their threads, NUMA nodes, the CPU quota of the cgroup.
//!
//! Reads what the kernel publishes below /sys and /proc and decides nothing; `server::plan` does.
//! The root of the tree is an argument, so that tests describe machines by writing files.

use super::cores::parse_list;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

const CPUS: &str = "sys/devices/system/cpu";
const NODES: &str = "sys/devices/system/node";
/// Where version 2 of the cgroups is mounted: alone, or beside version 1.
const CGROUPS: [&str; 2] = ["sys/fs/cgroup", "sys/fs/cgroup/unified"];

/// One core as the scheduler counts them: a hardware thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// Its number, as in `--cores`.
    pub id: usize,
    /// Its physical core, counted from 0 over the whole machine. Threads of one are siblings.
    pub physical: usize,
    /// Its NUMA node.
    pub node: usize,
}

/// The cores that this process may use, and what bounds their use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    /// Usable cores by increasing number.
    pub cpus: Vec<Cpu>,
    /// Thousandths of a CPU that the cgroup may use, if it is limited.
    pub quota_milli: Option<u64>,
    /// Usable cores that the scheduler keeps free of other work, increasing.
    pub isolated: Vec<usize>,
    /// What could not be read and what was assumed instead, one sentence each.
    pub warnings: Vec<String>,
}

impl Topology {
    /// Reads the tree at `root`, `/` in production. `allowed` is this process's affinity mask.
    ///
    /// The mask is all there is to know about cpusets: the kernel never lets a mask reach beyond
    /// its cpuset, whereas the files of a cpuset may be those of another cgroup namespace.
    pub fn read(root: &Path, allowed: &[usize]) -> Self {
        let online = list(&root.join(CPUS).join("online")).unwrap_or_else(|| allowed.to_vec());
        let mut warnings = Vec::new();
        let physical = physical_cores(root, &online, &mut warnings);
        let nodes = nodes(root);
        let cpus: Vec<Cpu> = allowed
            .iter()
            .filter(|id| online.contains(id))
            .map(|&id| Cpu {
                id,
                physical: physical[&id],
                // A kernel without NUMA has no nodes; memory is then nearest to a socket.
                node: match &nodes {
                    Some(nodes) => nodes.get(&id).copied().unwrap_or_default(),
                    None => number(&topology_file(root, id, "physical_package_id")).unwrap_or(0),
                },
            })
            .collect();
        let mut isolated = list(&root.join(CPUS).join("isolated")).unwrap_or_default();
        isolated.retain(|id| cpus.iter().any(|cpu| cpu.id == *id));
        Self { cpus, quota_milli: quota_milli(root), isolated, warnings }
    }
}

/// The number of the physical core of each of `online`.
fn physical_cores(
    root: &Path,
    online: &[usize],
    warnings: &mut Vec<String>,
) -> BTreeMap<usize, usize> {
    // Kernels since 5.3 have the second name, and all have the first, which is deprecated.
    let siblings = |id: usize| {
        let read = |name| list(&topology_file(root, id, name));
        read("thread_siblings_list").or_else(|| read("core_cpus_list"))
    };
    let mut unknown = Vec::new();
    let mut first_threads = BTreeMap::new();
    for &id in online {
        // A physical core goes by the lowest of its threads until all are known and counted.
        let first = match siblings(id) {
            Some(siblings) => siblings.into_iter().min().map_or(id, |first| first.min(id)),
            None => {
                unknown.push(id);
                id
            }
        };
        first_threads.insert(id, first);
    }
    if !unknown.is_empty() {
        warnings.push(format!(
            "cannot read {}/cpu{}/topology/thread_siblings_list, so each such core counts as a \
             physical one and shards may share one unseen; mount /sys, or choose with --cores",
            root.join(CPUS).display(),
            unknown[0]
        ));
    }
    let distinct: BTreeSet<usize> = first_threads.values().copied().collect();
    let numbers: BTreeMap<usize, usize> = distinct.into_iter().zip(0..).collect();
    first_threads.into_iter().map(|(id, first)| (id, numbers[&first])).collect()
}

/// The NUMA node of each core; `None` if the kernel knows no nodes.
fn nodes(root: &Path) -> Option<BTreeMap<usize, usize>> {
    let mut nodes = BTreeMap::new();
    for entry in fs::read_dir(root.join(NODES)).ok()?.flatten() {
        let name = entry.file_name();
        let node = name.to_str().and_then(|name| name.strip_prefix("node")?.parse::<usize>().ok());
        // Nodes of memory alone have an empty list.
        if let Some((node, cpus)) = node.zip(list(&entry.path().join("cpulist"))) {
            nodes.extend(cpus.into_iter().map(|cpu| (cpu, node)));
        }
    }
    (!nodes.is_empty()).then_some(nodes)
}

/// The smallest quota on the way from the cgroup of this process up to the root.
fn quota_milli(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    // A process outside its cgroup namespace sees `/../..`, which leads nowhere in this mount.
    let parts = Path::new(path).components().filter(|part| matches!(part, Component::Normal(_)));
    let path: PathBuf = parts.collect();
    let quotas = path.ancestors().flat_map(|group| {
        CGROUPS.into_iter().filter_map(move |mount| {
            let text = fs::read_to_string(root.join(mount).join(group).join("cpu.max")).ok()?;
            let (quota, period) = text.trim().split_once(' ')?;
            // The quota reads `max` where there is none.
            let (quota, period) = (quota.parse::<u64>().ok()?, period.parse::<u64>().ok()?);
            Some(quota.saturating_mul(1000) / period.max(1))
        })
    });
    quotas.min()
}

fn topology_file(root: &Path, cpu: usize, name: &str) -> PathBuf {
    root.join(CPUS).join(format!("cpu{cpu}/topology/{name}"))
}

/// The cores in a file of the kernel; `None` without file or cores.
fn list(path: &Path) -> Option<Vec<usize>> {
    parse_list(fs::read_to_string(path).ok()?.trim()).ok()
}

fn number(path: &Path) -> Option<usize> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::fake_host::FakeHost;
    use super::*;

    /// (id, physical core, node) of each usable core.
    fn cpus(topology: &Topology) -> Vec<(usize, usize, usize)> {
        topology.cpus.iter().map(|cpu| (cpu.id, cpu.physical, cpu.node)).collect()
    }

    #[test]
    fn one_core_is_one_physical_core() {
        let topology = FakeHost::new("one").socket(1, 1).read();
        assert_eq!(cpus(&topology), [(0, 0, 0)]);
        assert_eq!((topology.quota_milli, topology.warnings), (None, vec![]));
    }

    #[test]
    fn threads_of_a_physical_core_have_its_number_whatever_the_numbering() {
        let without = FakeHost::new("two").socket(2, 1).read();
        assert_eq!(cpus(&without), [(0, 0, 0), (1, 1, 0)]);
        let pairs = FakeHost::new("pairs").socket(4, 2).read();
        let expected = [0, 0, 1, 1, 2, 2, 3, 3];
        assert_eq!(pairs.cpus.iter().map(|cpu| cpu.physical).collect::<Vec<_>>(), expected);
        let far = FakeHost::new("far").cpu(0, "0,2", 0).cpu(1, "1,3", 0);
        let far = far.cpu(2, "0,2", 0).cpu(3, "1,3", 0).node(0, "0-3").read();
        assert_eq!(cpus(&far), [(0, 0, 0), (1, 1, 0), (2, 0, 0), (3, 1, 0)]);
    }

    #[test]
    fn the_newer_name_of_the_siblings_is_read_too() {
        let host = FakeHost::new("newer").socket(1, 2);
        for cpu in ["cpu0", "cpu1"] {
            let folder = host.root.join(CPUS).join(cpu).join("topology");
            fs::rename(folder.join("thread_siblings_list"), folder.join("core_cpus_list")).unwrap();
        }
        assert_eq!(cpus(&host.read()), [(0, 0, 0), (1, 0, 0)]);
    }

    #[test]
    fn two_sockets_are_two_nodes_with_or_without_numa_in_the_kernel() {
        let host = FakeHost::new("sockets").socket(8, 2).socket(8, 2);
        let with = host.read();
        assert_eq!(with.cpus.len(), 32);
        assert_eq!((with.cpus[15].physical, with.cpus[15].node), (7, 0));
        assert_eq!((with.cpus[16].physical, with.cpus[16].node), (8, 1));
        fs::remove_dir_all(host.root.join(NODES)).unwrap();
        assert_eq!(host.read(), with);
    }

    #[test]
    fn nodes_of_memory_alone_are_no_nodes_of_cores() {
        let topology = FakeHost::new("memory").socket(2, 1).node(7, "").read();
        assert_eq!(cpus(&topology), [(0, 0, 0), (1, 1, 0)]);
    }

    #[test]
    fn without_files_every_core_is_its_own_and_a_warning_says_so() {
        let topology = FakeHost::new("bare").allow(&[0, 1, 5]).read();
        assert_eq!(cpus(&topology), [(0, 0, 0), (1, 1, 0), (5, 2, 0)]);
        assert_eq!(topology.warnings.len(), 1, "{:?}", topology.warnings);
        assert!(topology.warnings[0].contains("--cores"), "{:?}", topology.warnings);
    }

    #[test]
    fn an_offline_core_is_no_core_and_needs_no_warning() {
        let host = FakeHost::new("offline").socket(4, 1).online("0,2-3").allow(&[0, 1, 2, 3]);
        fs::remove_dir_all(host.root.join(CPUS).join("cpu1/topology")).unwrap();
        let topology = host.read();
        assert_eq!(cpus(&topology), [(0, 0, 0), (2, 1, 0), (3, 2, 0)]);
        assert_eq!(topology.warnings, Vec::<String>::new());
    }

    #[test]
    fn cores_outside_the_affinity_mask_are_not_used_but_count_for_the_numbers() {
        let topology = FakeHost::new("mask").socket(4, 2).allow(&[5, 6]).isolated("2,6").read();
        assert_eq!(cpus(&topology), [(5, 2, 0), (6, 3, 0)]);
        assert_eq!(topology.isolated, [6]);
    }

    #[test]
    fn the_tightest_quota_on_the_way_to_the_root_counts() {
        let quota = |host: FakeHost| host.read().quota_milli;
        let host = |name| FakeHost::new(name).socket(4, 1);
        let group = "/a.slice/b.service";
        assert_eq!(quota(host("free").cgroup(group, &[("", "max 100000")])), None);
        let own = [("a.slice", "max 100000"), ("a.slice/b.service", "250000 100000")];
        assert_eq!(quota(host("own").cgroup(group, &own)), Some(2_500));
        let above = [("a.slice", "50000 50000"), ("a.slice/b.service", "250000 100000")];
        assert_eq!(quota(host("above").cgroup(group, &above)), Some(1_000));
        assert_eq!(quota(host("outside").cgroup("/../..", &[("", "300000 100000")])), Some(3_000));
        assert_eq!(quota(host("beside").cgroup("/", &[("unified", "1500 1000")])), Some(1_500));
        assert_eq!(quota(host("broken").cgroup("/", &[("", "many 0")])), None);
    }

    #[test]
    fn this_machine_has_the_cores_that_the_mask_allows() {
        let allowed = super::super::cores::allowed();
        let topology = Topology::read(Path::new("/"), &allowed);
        let ids: Vec<_> = topology.cpus.iter().map(|cpu| cpu.id).collect();
        assert_eq!(ids, allowed);
    }
}
