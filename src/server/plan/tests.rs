//! Plans for machines that are written into a folder and read as a real one is.

use super::*;
use crate::host::fake_host::FakeHost;

fn config(shards: ShardCount, cores: &str) -> Config {
    let mut config = Config::default();
    config.server.shards = shards;
    config.server.cores = cores.to_owned();
    config
}

fn count(shards: u16) -> Config {
    config(ShardCount::Count(shards), "auto")
}

fn auto() -> Config {
    config(ShardCount::Auto, "auto")
}

/// Machine and settings in; cores of the shards and of the gate out.
fn cores_of(host: &FakeHost, config: &Config) -> (Vec<usize>, usize) {
    let plan = CorePlan::on(&host.read(), config).unwrap();
    (plan.shards, plan.gate)
}

fn refusal(host: &FakeHost, config: &Config) -> String {
    CorePlan::on(&host.read(), config).unwrap_err().0
}

fn range(cores: std::ops::Range<usize>) -> Vec<usize> {
    cores.collect()
}

#[test]
fn auto_leaves_a_physical_core_for_the_gate_where_there_are_more_than_two() {
    let auto_on =
        |name: &str, cores, threads| cores_of(&FakeHost::new(name).socket(cores, threads), &auto());
    assert_eq!(auto_on("plan-1", 1, 1), (vec![0], 0));
    assert_eq!(auto_on("plan-1-2", 1, 2), (vec![0], 1));
    assert_eq!(auto_on("plan-2", 2, 1), (vec![0], 1));
    assert_eq!(auto_on("plan-2-2", 2, 2), (vec![0, 2], 3));
    assert_eq!(auto_on("plan-3", 3, 1), (vec![0, 1], 2));
    assert_eq!(auto_on("plan-4-2", 4, 2), (vec![0, 2, 4], 6));
}

#[test]
fn shards_take_a_second_thread_only_when_every_physical_core_has_one() {
    let host = FakeHost::new("plan-smt").socket(4, 2);
    assert_eq!(cores_of(&host, &count(2)), (vec![0, 2], 6));
    assert_eq!(cores_of(&host, &count(4)), (vec![0, 2, 4, 6], 7));
    assert_eq!(cores_of(&host, &count(6)), (vec![0, 2, 4, 6, 1, 3], 7));
    assert_eq!(cores_of(&host, &count(8)), (vec![0, 2, 4, 6, 1, 3, 5, 7], 7));
    let plan = CorePlan::on(&host.read(), &count(5)).unwrap();
    assert!(plan.warnings[0].contains("--shards 4 or fewer"), "{:?}", plan.warnings);
}

#[test]
fn shards_stay_on_one_node_if_they_fit_and_else_fill_node_by_node() {
    let host = FakeHost::new("plan-numa").socket(8, 2).socket(8, 2);
    let even = |from: usize, to: usize| (from..to).map(|core| core * 2).collect::<Vec<_>>();
    assert_eq!(cores_of(&host, &count(7)), (even(0, 7), 14));
    assert_eq!(cores_of(&host, &count(8)), (even(0, 8), 30));
    assert_eq!(cores_of(&host, &count(10)), (even(0, 10), 30));
    assert_eq!(cores_of(&host, &auto()), (even(0, 15), 30));
    let reasons = CorePlan::on(&host.read(), &count(10)).unwrap().to_string();
    assert!(reasons.contains("no NUMA node has room for all: 0-1"), "{reasons}");
}

#[test]
fn the_node_with_room_for_shards_and_gate_is_preferred() {
    let small_first = FakeHost::new("plan-room").socket(2, 1).socket(4, 1);
    assert_eq!(cores_of(&small_first, &count(1)), (vec![0], 1));
    assert_eq!(cores_of(&small_first, &count(2)), (vec![2, 3], 5));
    assert_eq!(cores_of(&small_first, &count(5)), (vec![2, 3, 4, 5, 0], 1));
}

#[test]
fn only_cores_within_the_affinity_mask_are_planned_on() {
    let host = FakeHost::new("plan-mask").socket(4, 2).socket(4, 2).allow(&[3, 9, 10, 12]);
    assert_eq!(cores_of(&host, &auto()), (vec![9, 10, 12], 3));
    assert!(refusal(&host, &count(5)).contains("this process may use 4 (3,9-10,12)"));
}

#[test]
fn a_list_restricts_the_cores_and_its_order_is_the_operators() {
    let host = FakeHost::new("plan-list").socket(4, 2).socket(4, 2);
    let on = |shards, list| cores_of(&host, &config(ShardCount::Count(shards), list));
    assert_eq!(on(1, "9,2"), (vec![9], 2));
    assert_eq!(on(2, "12,0,14"), (vec![12, 0], 14));
    assert_eq!(on(2, "0-3"), (vec![0, 2], 3), "one thread per physical core first");
    assert_eq!(cores_of(&host, &config(ShardCount::Auto, "0-7")), (vec![0, 2, 4], 6));
}

#[test]
fn a_core_that_may_not_be_used_is_named_with_those_that_may() {
    let host = FakeHost::new("plan-refused").socket(2, 1);
    assert_eq!(
        refusal(&host, &config(ShardCount::Count(1), "0,9")),
        "--cores 0,9: core 9 is not among the cores this process may use (0-1)"
    );
    let twice = refusal(&host, &config(ShardCount::Count(1), "0,1,0"));
    assert!(twice.contains("core 0 stands there twice"), "{twice}");
    assert!(CorePlan::on(&host.read(), &config(ShardCount::Auto, "x")).is_err());
    let none = CorePlan::on(&Topology::default(), &auto()).unwrap_err().0;
    assert!(none.contains("no core to run on"), "{none}");
}

#[test]
fn more_shards_than_cores_are_an_error_unless_asked_for_loudly() {
    let host = FakeHost::new("plan-over").socket(2, 1);
    let mut config = count(5);
    let error = refusal(&host, &config);
    for part in ["5 shards need 5 cores", "2 (0-1)", "--shards 2 or fewer", "--oversubscribe"] {
        assert!(error.contains(part), "{error}");
    }
    config.server.oversubscribe = true;
    assert_eq!(cores_of(&host, &config), (vec![0, 1, 0, 1, 0], 0));
    let plan = CorePlan::on(&host.read(), &config).unwrap();
    assert!(plan.warnings[0].starts_with("OVERSUBSCRIBED"), "{:?}", plan.warnings);
    config.server.shards = ShardCount::Count(2);
    let plan = CorePlan::on(&host.read(), &config).unwrap();
    assert_eq!(plan.warnings, Vec::<String>::new(), "permission alone is no reason to worry");
}

#[test]
fn auto_stays_within_the_quota_and_a_number_beyond_it_is_warned_of() {
    let limited = |name: &str, quota: &str| {
        FakeHost::new(name).socket(8, 1).cgroup("/game", &[("game", quota)])
    };
    let host = limited("plan-quota", "250000 100000");
    assert_eq!(cores_of(&host, &auto()), (vec![0, 1], 7));
    let plan = CorePlan::on(&host.read(), &auto()).unwrap();
    assert!(plan.to_string().contains("limited by the cgroup quota"), "{plan}");
    assert_eq!(plan.warnings, Vec::<String>::new());
    let plan = CorePlan::on(&host.read(), &count(3)).unwrap();
    assert!(plan.warnings[0].contains("2.5 CPUs"), "{:?}", plan.warnings);
    assert!(plan.warnings[0].contains("or use --shards 2"), "{:?}", plan.warnings);
    let half = limited("plan-half", "50000 100000");
    let plan = CorePlan::on(&half.read(), &auto()).unwrap();
    assert_eq!(plan.shards, [0]);
    assert!(plan.warnings[0].ends_with("raise cpu.max"), "{:?}", plan.warnings);
}

#[test]
fn auto_never_exceeds_the_sockets_of_a_port_or_the_players() {
    let host = FakeHost::new("plan-huge").socket(300, 1);
    assert_eq!(cores_of(&host, &auto()), (range(0..255), 299));
    let mut few = auto();
    few.world.players = 3;
    assert_eq!(cores_of(&host, &few).0, [0, 1, 2]);
}

#[test]
fn what_the_machine_did_not_tell_is_a_warning_of_the_plan() {
    let host = FakeHost::new("plan-bare").allow(&[2, 4, 6]);
    let plan = CorePlan::on(&host.read(), &auto()).unwrap();
    assert_eq!((plan.shards, plan.gate, plan.warnings.len()), (vec![2, 4], 6, 1));
}

#[test]
fn a_plan_reads_as_a_line_per_thread_and_its_reasons() {
    let host = FakeHost::new("plan-text").socket(2, 2).isolated("2-3");
    let text = CorePlan::on(&host.read(), &auto()).unwrap().to_string();
    let expected = "shard 1  core 0 (node 0, physical core 0)\n\
                    shard 2  core 2 (node 0, physical core 1)\n\
                    gate     core 3 (node 0, sibling of core 2)\n\
                    - auto is 2 shards, on 4 cores this process may use (0-3, 2 physical)\n\
                    - kept free of other work (isolated): core 2\n\
                    - the gate has the other thread of shard 2's core";
    assert_eq!(text, expected);
    let one = FakeHost::new("plan-text-1").socket(1, 1);
    let text = CorePlan::on(&one.read(), &count(1)).unwrap().to_string();
    let expected = "shard 1  core 0 (node 0, physical core 0)\n\
                    gate     core 0 (node 0, shared with shard 1)\n\
                    - 1 shard as configured, on 1 core this process may use (0)\n\
                    - the gate shares core 0 at low priority";
    assert_eq!(text, expected);
}
