//! Accounts that may not play: told so with proof, each for itself, and let in again in time.

use super::*;
use crate::gate::Cause;

/// A world in which accounts cool down for 60, 120 and then 200 s.
fn world(accounts: usize) -> World {
    let cool_downs = CoolDownRules { first_s: 60, most_s: 200, memory_s: 3_600, accounts };
    World::new(GateConfig { cool_downs, ..small() })
}

/// A player with a token of now.
fn player(world: &World, player: u64, number: u8) -> Client {
    let mut client = Client::new(number);
    client.token.player_id = player;
    client.token.issued_at_ms = world.at.unix_s * 1000;
    client.head.expiry_s = world.at.unix_s + 40;
    client
}

impl World {
    /// Status and seconds of a refusal.
    fn refusal(&mut self, client: &Client) -> (Status, u16) {
        let action = self.knock(client);
        assert!(matches!(action, GateAction::Reply(ACCEPTED_LEN)), "{action:?}");
        let (_, accepted) = client.read_accepted(self.reply());
        assert_eq!(accepted.connection, ConnectionId::GATE);
        (accepted.status, accepted.retry_s)
    }

    /// The player joins, and its shard ends the session for violations.
    fn offend(&mut self, client: &Client) {
        let id = self.join(client).id;
        self.gate.confirmed(id);
        assert_eq!(self.gate.violated(id, self.at.now, &self.counters), [None; 2]);
        self.gate.closed(id);
    }
}

#[test]
fn an_account_that_cools_down_is_refused_with_proof_and_told_for_how_long() {
    let mut world = world(16);
    let mut number = 0;
    let mut fresh = |world: &World, id| {
        number += 1;
        player(world, id, number)
    };
    for length in [60, 120, 200, 200] {
        let offender = fresh(&world, 7);
        world.offend(&offender);
        let again = fresh(&world, 7);
        assert_eq!(world.refusal(&again), (Status::Banned, length));
        world.pass_ms(10_500);
        let again = fresh(&world, 7);
        let told = world.refusal(&again);
        assert_eq!(told, (Status::Banned, length - 10), "rounded up");
        // From the very same address somebody else joins.
        let other = Client { from: again.from, ..fresh(&world, 8) };
        let id = world.join(&other).id;
        world.gate.closed(id);
        world.pass_ms(u64::from(length) * 1_000 - 10_500);
    }
    let again = fresh(&world, 7);
    world.join(&again);
    assert_eq!(world.counters.dropped(DropReason::CoolDown), 8);
    assert_eq!(world.counters.read(Counter::CoolDowns), 4);
}

#[test]
fn only_what_a_session_of_the_account_did_counts_against_it() {
    let mut world = world(16);
    let client = player(&world, 7, 1);
    let id = world.join(&client).id;
    for other in [ConnectionId::GATE, ConnectionId(id.0 ^ 1 << 20), ConnectionId(id.0 ^ 3)] {
        assert_eq!(world.gate.violated(other, world.at.now, &world.counters), [None; 2]);
    }
    assert_eq!(world.counters.read(Counter::CoolDowns), 0);
    assert_eq!(world.gate.cool_downs(9, world.at.now), (Vec::new(), 0));
    // Garbage and forgeries in the name of its address do not either.
    for length in [0, 30, 1200] {
        world.dropped(client.from, &vec![0xA5; length]);
    }
    assert_eq!(world.gate.cool_downs(9, world.at.now).1, 0);
}

#[test]
fn other_sessions_of_an_offender_and_of_the_banned_end_too() {
    let mut world = world(16);
    let (first, second) = (player(&world, 7, 1), player(&world, 7, 2));
    let playing = world.join(&first).id;
    world.gate.confirmed(playing);
    let joining = world.join(&second).id;
    let ended = world.gate.violated(playing, world.at.now, &world.counters);
    assert_eq!(ended.into_iter().flatten().collect::<Vec<_>>(), [joining]);
    let banned = world.gate.ban(7, None, world.at.now).expect("room");
    assert_eq!(banned, [Some(playing), Some(joining)]);
}

#[test]
fn what_was_lifted_joins_again_at_once() {
    let mut world = world(16);
    let offender = player(&world, 7, 1);
    world.offend(&offender);
    world.gate.ban(8, Some(100_000), world.at.now).expect("room");
    world.gate.ban(9, None, world.at.now).expect("room");
    let mut listed = world.gate.cool_downs(9, world.at.now).0;
    listed.sort_by_key(|it| it.player);
    let shown: Vec<_> = listed.iter().map(|it| (it.player, it.cause, it.offences)).collect();
    assert_eq!(shown, [(7, Cause::Violations, 1), (8, Cause::Banned, 0), (9, Cause::Banned, 0)]);
    for (id, number, retry_s) in [(7, 2, 60), (8, 3, u16::MAX), (9, 4, 0)] {
        let client = player(&world, id, number);
        assert_eq!(world.refusal(&client), (Status::Banned, retry_s));
        assert!(world.gate.lift(id, world.at.now));
        let client = player(&world, id, number + 10);
        world.join(&client);
    }
    assert_eq!(world.gate.cool_downs(9, world.at.now), (Vec::new(), 0));
}

#[test]
fn a_full_table_is_counted_and_lets_nobody_out() {
    let mut world = world(2);
    for (id, number) in [(1, 1), (2, 2), (3, 3)] {
        let offender = player(&world, id, number);
        world.offend(&offender);
    }
    assert_eq!(world.counters.read(Counter::CoolDowns), 2);
    assert_eq!(world.counters.read(Counter::CoolDownsLost), 1);
    assert!(world.gate.ban(4, None, world.at.now).is_err());
    let third = player(&world, 3, 4);
    world.join(&third);
    for (id, number) in [(1, 5), (2, 6)] {
        let client = player(&world, id, number);
        assert_eq!(world.refusal(&client).0, Status::Banned);
    }
}
