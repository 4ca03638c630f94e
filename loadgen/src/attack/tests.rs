//! The attacks in short, on a real server with few players: what is counted must be right however
//! slow the machine is. Latencies and memory are for `loadgen attack` itself.

use super::arena::{self, Plan, harmless};
use super::report::Outcome;
use super::scenarios;
use crate::server::LocalServer;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

fn is_survived(names: &[&str]) -> Vec<Outcome> {
    let server = LocalServer::start(names[0]);
    let plan = Plan {
        players: 20,
        settle: Duration::from_millis(200),
        calm: Duration::from_millis(300),
        attack: Duration::from_millis(1_500),
        rate: Some(2_000),
        count: 10_000,
        seed: 1,
    };
    let mut outcomes = Vec::new();
    for name in names {
        let entry = scenarios::chosen(name).expect("known")[0];
        let target = server.target();
        let outcome = arena::run(&target, &|| None, entry, &plan, &AtomicBool::new(false));
        let outcome = outcome.expect("the scenario runs");
        assert!(outcome.tally.sent().datagrams > 100, "{name}: {:?}", outcome.tally);
        harmless(&outcome).unwrap_or_else(|error| panic!("{name}: {error}"));
        outcomes.push(outcome);
    }
    server.end();
    outcomes
}

#[test]
fn garbage_and_guesses_get_no_answer_and_harm_nobody() {
    is_survived(&["garbage", "guessed-ids"]);
}

#[test]
fn strangers_get_less_than_they_send_and_no_session() {
    is_survived(&["connect-flood", "cookie-replay", "bad-tokens", "wrong-secret"]);
}

#[test]
fn players_who_only_half_join_harm_nobody() {
    is_survived(&["half-open"]);
}

#[test]
fn players_who_break_the_rules_harm_nobody_but_themselves() {
    is_survived(&["overspeed", "bombs"]);
}

#[test]
fn players_who_hoard_find_no_room_and_break_no_rule() {
    for outcome in is_survived(&["fragments", "reliables"]) {
        assert!(outcome.refused > 100, "{}: {}", outcome.scenario, outcome.drops());
        assert_eq!(outcome.sessions_ended, 0, "{}: {}", outcome.scenario, outcome.drops());
    }
}

#[test]
fn nobody_can_aim_a_stream_at_somebody_else() {
    is_survived(&["spoofed-migration"]);
}
