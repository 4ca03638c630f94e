//! Who is to end does, wherever it is by then.

use super::*;
use crate::wire::DisconnectReason;

fn confirmed(world: &mut World, client: &Client) -> Admission {
    let admission = world.join(client);
    world.gate.confirmed(admission.id);
    admission
}

/// What the shards are to be told.
fn told(world: &mut World) -> Vec<(u8, ConnectionId, DisconnectReason)> {
    std::iter::from_fn(|| world.gate.poll_ending(|_| true)).collect()
}

#[test]
fn a_ban_finds_its_player_on_the_way_to_another_shard() {
    let mut world = World::new(small());
    let session = confirmed(&mut world, &Client::new(1));
    let here = session.id.socket() - 1;
    let to = world.gate.hand_over(session.id, usize::from(1 - here), &mut world.entropy);
    let to = to.expect("room");
    let [only, None] = world.gate.ban(1001, None, world.at.now).expect("room") else {
        panic!("one session")
    };
    world.gate.end(only.expect("it lives"), DisconnectReason::Banned);
    // The old shard has packed it already and does nothing.
    assert_eq!(told(&mut world), [(here, session.id, DisconnectReason::Banned)]);
    assert!(!world.gate.moved(to));
    assert_eq!(told(&mut world), [(1 - here, to, DisconnectReason::Banned)]);
    world.gate.left(to);
    world.gate.released(session.id);
    assert_eq!(world.gate.players(9).1, 0);
}

#[test]
fn who_is_to_end_moves_nowhere_and_is_told_once() {
    let mut world = World::new(small());
    let session = confirmed(&mut world, &Client::new(1));
    world.gate.end(session.id, DisconnectReason::Replaced);
    world.gate.end(session.id, DisconnectReason::Banned);
    assert_eq!(told(&mut world).len(), 1);
    let here = usize::from(session.id.socket()) - 1;
    assert_eq!(world.gate.hand_over(session.id, 1 - here, &mut world.entropy), None);
    world.gate.closed(session.id);
    let next = confirmed(&mut world, &Client::new(2));
    let there = 2 - usize::from(next.id.socket());
    assert!(world.gate.hand_over(next.id, there, &mut world.entropy).is_some());
}

#[test]
fn a_shard_that_reads_no_mail_is_told_later_and_the_others_do_not_wait_for_it() {
    let mut world = World::new(small());
    let ids = [1, 2].map(|number| confirmed(&mut world, &Client::new(number)).id);
    ids.iter().for_each(|&id| world.gate.end(id, DisconnectReason::Banned));
    let [stuck, other] = ids.map(|id| id.socket() - 1);
    assert_ne!(stuck, other);
    let next = world.gate.poll_ending(|shard| shard != stuck);
    assert_eq!(next, Some((other, ids[1], DisconnectReason::Banned)));
    assert_eq!(world.gate.poll_ending(|shard| shard != stuck), None);
    assert_eq!(told(&mut world), [(stuck, ids[0], DisconnectReason::Banned)]);
    world.gate.end(ConnectionId::from_parts(stuck + 1, 3, 7), DisconnectReason::ShardLost);
    assert_eq!(told(&mut world).len(), 1, "somebody whom the gate does not know");
}

#[test]
fn who_arrives_where_nobody_waits_for_him_is_told_to_go() {
    let mut world = World::new(small());
    let session = confirmed(&mut world, &Client::new(1));
    let there = session.id.socket() % 2;
    let to = world.gate.hand_over(session.id, there.into(), &mut world.entropy).expect("room");
    world.gate.closed(session.id);
    assert!(!world.gate.moved(to));
    assert_eq!(told(&mut world), [(there, to, DisconnectReason::Replaced)]);
    world.gate.closed(to);
    let lost = [session.id.socket() == 1, session.id.socket() == 2];
    world.gate.end(session.id, DisconnectReason::Banned);
    let (keeper, _) = exchange(2, 1_000, 0, &());
    world.gate.lose_shards(&lost, keeper, world.at.now);
    assert!(told(&mut world).is_empty(), "a lost shard ends nobody");
}
