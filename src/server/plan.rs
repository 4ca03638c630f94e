//! Which thread runs on which core, and why.

use super::StartError;
use crate::host::cores;
use std::fmt;

/// Cores of the threads. Printed at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorePlan {
    /// One core per shard.
    pub shards: Vec<usize>,
    /// Core of the gate.
    pub gate: usize,
    /// Why it is so.
    pub reason: String,
}

impl CorePlan {
    /// Plans `shards` shards on the cores of `list`, `auto` or such as `0,2-3`.
    pub fn new(list: &str, shards: usize) -> Result<Self, StartError> {
        let allowed = cores::allowed();
        let (cores, origin) = match list {
            "auto" => (allowed, "the cores this process may use".to_owned()),
            _ => (cores::parse_list(list)?, format!("--cores {list}")),
        };
        Self::over(&cores, shards, &origin)
    }

    fn over(cores: &[usize], shards: usize, origin: &str) -> Result<Self, StartError> {
        if cores.len() < shards {
            return Err(StartError(format!(
                "{shards} shards need {shards} cores, and {origin} are {cores:?}; use fewer \
                 --shards"
            )));
        }
        let (own, rest) = cores.split_at(shards);
        let (gate, why) = match (rest.last(), own.last()) {
            (Some(&spare), _) => (spare, "the gate has one to itself"),
            (None, Some(&last)) => (last, "the gate shares the last one at low priority"),
            (None, None) => return Err(StartError("there is no core to run on".to_owned())),
        };
        Ok(Self { shards: own.to_vec(), gate, reason: format!("{origin}; {why}") })
    }
}

impl fmt::Display for CorePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shards on cores {:?}, gate on core {} ({})", self.shards, self.gate, self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gate_gets_a_core_of_its_own_where_there_is_one() {
        let plan = |cores: &[usize], shards| CorePlan::over(cores, shards, "test");
        assert_eq!(plan(&[0, 1], 1).map(|p| (p.shards, p.gate)), Ok((vec![0], 1)));
        assert_eq!(plan(&[5], 1).map(|p| (p.shards, p.gate)), Ok((vec![5], 5)));
        assert_eq!(plan(&[2, 3, 9], 2).map(|p| (p.shards, p.gate)), Ok((vec![2, 3], 9)));
        assert!(plan(&[2], 2).unwrap_err().0.contains("fewer --shards"));
        assert!(CorePlan::new("x", 1).is_err());
    }
}
