//! Which thread runs on which core, and why. Pure: machine and settings in, plan out.

use super::StartError;
use crate::config::{Config, SHARDS_MAX, ShardCount};
use crate::host::cores::{self, to_list};
use crate::host::topology::{Cpu, Topology};
use std::cmp::Reverse;
use std::fmt;
use std::path::Path;

/// Cores of the threads. Printed at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorePlan {
    /// Core of each shard; one core twice only if oversubscribed.
    pub shards: Vec<usize>,
    /// Core of the gate.
    pub gate: usize,
    /// What the operator should know, one sentence each.
    pub warnings: Vec<String>,
    /// A line per thread, then the reasons.
    lines: Vec<String>,
}

impl CorePlan {
    /// Plans the threads of `config` on this machine.
    pub fn new(config: &Config) -> Result<Self, StartError> {
        Self::on(&Topology::read(Path::new("/"), &cores::allowed()), config)
    }

    fn on(machine: &Topology, config: &Config) -> Result<Self, StartError> {
        let mut choice = Choice::new(machine, &config.server.cores)?;
        let (count, why) = match config.server.shards {
            ShardCount::Auto => choice.auto(config.world.players),
            ShardCount::Count(1) => (1, "1 shard as configured".to_owned()),
            ShardCount::Count(count) => {
                (usize::from(count), format!("{count} shards as configured"))
            }
        };
        choice.prefer_one_node(count);
        let order = choice.order();
        if count > order.len() && !config.server.oversubscribe {
            return Err(StartError(format!(
                "{count} shards need {count} cores, and {} {} ({}); use --shards {} or fewer, \
                 more cores, or --oversubscribe for tests",
                if choice.listed { "--cores names" } else { "this process may use" },
                order.len(),
                choice.list(),
                order.len()
            )));
        }
        let shards: Vec<Cpu> = order.into_iter().cycle().take(count).collect();
        let (gate, place, gate_why) = choice.gate(&shards);
        let mut lines = thread_lines(&shards, gate, &place);
        lines.push(format!("- {why}, {}", choice.origin()));
        lines.extend(choice.notes(&shards).into_iter().map(|note| format!("- {note}")));
        lines.push(format!("- {gate_why}"));
        Ok(Self {
            warnings: choice.warnings(&shards),
            shards: shards.iter().map(|cpu| cpu.id).collect(),
            gate: gate.id,
            lines,
        })
    }

    /// The plan for people: a line per thread, then the reasons.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }
}

impl fmt::Display for CorePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines.join("\n"))
    }
}

fn thread_lines(shards: &[Cpu], gate: Cpu, place: &str) -> Vec<String> {
    let width = format!("shard {}", shards.len()).len();
    let shard = |(number, cpu): (usize, &Cpu)| {
        let name = format!("shard {number}");
        let Cpu { id, physical, node } = cpu;
        format!("{name:width$}  core {id} (node {node}, physical core {physical})")
    };
    let mut lines: Vec<String> = (1..).zip(shards).map(shard).collect();
    lines.push(format!("{:width$}  core {} (node {}, {place})", "gate", gate.id, gate.node));
    lines
}

/// The cores to choose from.
struct Choice<'a> {
    machine: &'a Topology,
    /// Threads by physical core, in order of preference.
    physical: Vec<Vec<Cpu>>,
    /// Whether the operator named them, and with them their order.
    listed: bool,
}

impl<'a> Choice<'a> {
    /// The cores of `list`, `auto` or such as `0,2-3`.
    fn new(machine: &'a Topology, list: &str) -> Result<Self, StartError> {
        let cpus = match list {
            "auto" => machine.cpus.clone(),
            _ => named(machine, list)?,
        };
        if cpus.is_empty() {
            return Err(StartError(
                "there is no core to run on: the affinity mask of this process cannot be read; \
                 start it with taskset"
                    .to_owned(),
            ));
        }
        let mut physical: Vec<Vec<Cpu>> = Vec::new();
        for cpu in cpus {
            match physical.iter_mut().find(|threads| threads[0].physical == cpu.physical) {
                Some(threads) => threads.push(cpu),
                None => physical.push(vec![cpu]),
            }
        }
        Ok(Self { machine, physical, listed: list != "auto" })
    }

    /// How many shards suit these cores, and why.
    fn auto(&self, players: u32) -> (usize, String) {
        let suitable = match (self.physical.len(), self.threads()) {
            (1, _) | (2, 2) => 1,
            (2, _) => 2,
            (physical, _) => physical - 1,
        };
        let caps = [
            (self.machine.quota_milli.map_or(usize::MAX, whole_cpus), "the cgroup quota"),
            (usize::from(SHARDS_MAX), "the number of sockets in one port"),
            (players as usize, "world.players"),
        ];
        let (cap, what) = caps.into_iter().min_by_key(|(cap, _)| *cap).unwrap_or_default();
        let count = suitable.min(cap).max(1);
        let by = if cap < suitable { format!(", limited by {what}") } else { String::new() };
        (count, format!("auto is {count} shard{}{by}", if count == 1 { "" } else { "s" }))
    }

    /// Puts the physical cores of a node that has room for all shards first, if possible with one
    /// for the gate; else the nodes follow each other, the largest first. An operator's order
    /// stays.
    fn prefer_one_node(&mut self, shards: usize) {
        if self.listed {
            return;
        }
        let nodes: Vec<usize> = self.physical.iter().map(|threads| threads[0].node).collect();
        let rank = |node: usize| {
            let room = nodes.iter().filter(|other| **other == node).count();
            let size = if room < shards { room } else { 0 };
            (room < shards, room == shards, Reverse(size), node)
        };
        self.physical.sort_by_key(|threads| rank(threads[0].node));
    }

    /// All cores in the order in which shards take them: a second thread of a physical core only
    /// after the first thread of each.
    fn order(&self) -> Vec<Cpu> {
        let most = self.physical.iter().map(Vec::len).max().unwrap_or_default();
        let rounds = (0..most).flat_map(|round| {
            self.physical.iter().filter_map(move |threads| threads.get(round).copied())
        });
        rounds.collect()
    }

    /// Core of the gate, how to describe it, and why it is there.
    fn gate(&self, shards: &[Cpu]) -> (Cpu, String, String) {
        let last = shards[shards.len() - 1];
        let spare =
            |threads: &&Vec<Cpu>| shards.iter().all(|shard| shard.physical != threads[0].physical);
        let near = |threads: &&Vec<Cpu>| self.listed || threads[0].node == last.node;
        let mut spares = self.physical.iter().filter(spare).rev();
        if let Some(threads) = spares.clone().find(near).or_else(|| spares.next()) {
            let place = format!("physical core {}", threads[0].physical);
            return (threads[0], place, "the gate has a physical core of its own".to_owned());
        }
        for (index, shard) in shards.iter().enumerate().rev() {
            let siblings = self.physical.iter().find(|t| t[0].physical == shard.physical);
            let mut free = siblings.into_iter().flatten().filter(|cpu| !shards.contains(cpu));
            if let Some(&cpu) = free.next() {
                let place = format!("sibling of core {}", shard.id);
                let why = format!("the gate has the other thread of shard {}'s core", index + 1);
                return (cpu, place, why);
            }
        }
        let number = shards.len();
        let why = format!("the gate shares core {} at low priority", last.id);
        (last, format!("shared with shard {number}"), why)
    }

    /// What else decided, where there is something to say.
    fn notes(&self, shards: &[Cpu]) -> Vec<String> {
        let mut notes = Vec::new();
        let nodes = distinct(shards, |cpu| cpu.node);
        if distinct(&self.order(), |cpu| cpu.node).len() > 1 {
            notes.push(match nodes[..] {
                [node] => format!("the shards are together on NUMA node {node}"),
                _ if self.listed => "the order of the NUMA nodes is that of --cores".to_owned(),
                _ => format!("no NUMA node has room for all: {} are in use", to_list(&nodes)),
            });
        }
        if let Some(quota) = self.machine.quota_milli {
            notes.push(format!("the cgroup quota (cpu.max) is {}", in_cpus(quota)));
        }
        let mut isolated = self.machine.isolated.clone();
        isolated.retain(|id| shards.iter().any(|shard| shard.id == *id));
        if !isolated.is_empty() {
            notes.push(format!("kept free of other work (isolated): core {}", to_list(&isolated)));
        }
        notes
    }

    /// What costs players something, or was assumed.
    fn warnings(&self, shards: &[Cpu]) -> Vec<String> {
        let mut warnings = self.machine.warnings.clone();
        let (count, physical) = (shards.len(), self.physical.len());
        if count > self.threads() {
            warnings.push(format!(
                "OVERSUBSCRIBED: {count} shards take turns on {} cores ({}), so ticks will be \
                 late; good for tests, never for players",
                self.threads(),
                self.list()
            ));
        } else if count > physical {
            warnings.push(format!(
                "{count} shards run on {physical} physical cores; those that share one slow each \
                 other down; use --shards {physical} or fewer"
            ));
        }
        if let Some(quota) = self.machine.quota_milli.filter(|quota| count as u64 * 1000 > *quota) {
            let fewer = match whole_cpus(quota) {
                0 => String::new(),
                cpus => format!(", or use --shards {cpus}"),
            };
            warnings.push(format!(
                "{count} busy shards need more than the cgroup quota of {}, and the kernel will \
                 suspend them in the middle of ticks; raise cpu.max{fewer}",
                in_cpus(quota)
            ));
        }
        warnings
    }

    fn threads(&self) -> usize {
        self.physical.iter().map(Vec::len).sum()
    }

    fn list(&self) -> String {
        let mut ids = distinct(&self.order(), |cpu| cpu.id);
        ids.sort_unstable();
        to_list(&ids)
    }

    /// Where the cores come from, for the reasons.
    fn origin(&self) -> String {
        let (threads, physical) = (self.threads(), self.physical.len());
        let from = if self.listed { "from --cores" } else { "this process may use" };
        let real = match physical {
            _ if threads == physical => String::new(),
            1 => ", 1 physical".to_owned(),
            _ => format!(", {physical} physical"),
        };
        let plural = if threads == 1 { "" } else { "s" };
        format!("on {threads} core{plural} {from} ({}{real})", self.list())
    }
}

/// The cores that an operator listed, in that order.
fn named(machine: &Topology, list: &str) -> Result<Vec<Cpu>, StartError> {
    let mut cpus: Vec<Cpu> = Vec::new();
    for id in cores::parse_list(list)? {
        let Some(&cpu) = machine.cpus.iter().find(|cpu| cpu.id == id) else {
            let usable: Vec<_> = machine.cpus.iter().map(|cpu| cpu.id).collect();
            return Err(StartError(format!(
                "--cores {list}: core {id} is not among the cores this process may use ({})",
                to_list(&usable)
            )));
        };
        if cpus.contains(&cpu) {
            return Err(StartError(format!(
                "--cores {list}: core {id} stands there twice; name it once"
            )));
        }
        cpus.push(cpu);
    }
    Ok(cpus)
}

fn distinct(cpus: &[Cpu], of: impl Fn(&Cpu) -> usize) -> Vec<usize> {
    let mut values: Vec<usize> = cpus.iter().map(of).collect();
    values.sort_unstable();
    values.dedup();
    values
}

fn whole_cpus(quota_milli: u64) -> usize {
    (quota_milli / 1000) as usize
}

fn in_cpus(quota_milli: u64) -> String {
    format!("{} CPUs", quota_milli as f64 / 1000.0)
}

#[cfg(test)]
mod tests;
