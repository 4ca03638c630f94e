//! Players who come back, or are expected to.

use super::*;

/// A new login of player 1001.
fn newer(number: u8) -> Client {
    let mut client = Client::new(number);
    client.token.player_id = 1001;
    client
}

fn confirmed(world: &mut World, client: &Client) -> Admission {
    let admission = world.join(client);
    world.gate.confirmed(admission.id);
    admission
}

#[test]
fn who_comes_back_gets_the_same_entity_on_the_shard_where_it_stands() {
    let mut world = World::new(small());
    confirmed(&mut world, &Client::new(2));
    let first = confirmed(&mut world, &Client::new(1));
    assert_eq!((first.id.socket(), first.heir), (2, false));
    world.gate.lingers(first.id, first.entity, world.at.now);
    // The first shard is the emptier one by now.
    let other = confirmed(&mut world, &Client::new(3));
    assert_eq!(other.id.socket(), 2);
    world.gate.closed(other.id);
    let again = world.join(&newer(4));
    assert_eq!((again.entity, again.seat), (first.entity, first.seat));
    assert_eq!((again.id.socket(), again.heir), (2, true));
}

#[test]
fn nobody_waits_for_ever() {
    let mut world = World::new(small());
    let first = confirmed(&mut world, &Client::new(1));
    world.gate.lingers(first.id, first.entity, world.at.now);
    world.pass_ms(59_000);
    assert_eq!(world.gate.poll_departure(|_| true), None);
    world.pass_ms(2_000);
    assert_eq!(world.gate.poll_departure(|_| false), None, "its shard reads no mail");
    let departure = Some((first.id.socket() - 1, first.entity));
    assert_eq!(world.gate.poll_departure(|_| true), departure);
    assert_eq!(world.gate.poll_departure(|_| true), None, "told once");
    let mut late = newer(4);
    late.token.issued_at_ms = world.at.unix_s * 1000;
    late.head.expiry_s = world.at.unix_s + 60;
    let fresh = world.join(&late);
    assert!(!fresh.heir && fresh.entity != first.entity);
    world.gate.departed(first.entity);
    world.gate.departed(first.entity);
}

#[test]
fn who_waits_for_his_player_takes_the_room_of_one() {
    let mut world = World::new(GateConfig { sessions: 3, ..small() });
    let first = confirmed(&mut world, &Client::new(1));
    confirmed(&mut world, &Client::new(2));
    confirmed(&mut world, &Client::new(3));
    world.gate.lingers(first.id, first.entity, world.at.now);
    assert_eq!(world.denied(&Client::new(4)), Status::Full);
    let again = confirmed(&mut world, &newer(5));
    assert!(again.heir, "there is room for whom the room is kept");
    world.gate.closed(again.id);
    world.join(&Client::new(6));
}

#[test]
fn an_attempt_that_comes_to_nothing_changes_nothing_for_who_lingers() {
    let mut world = World::new(small());
    let first = confirmed(&mut world, &Client::new(1));
    world.gate.lingers(first.id, first.entity, world.at.now);
    let before = world.gate.bodies.clone();
    let attempt = world.join(&newer(2));
    world.pass_ms(70_000);
    assert_eq!(world.gate.poll_departure(|_| true), None, "somebody is at the door");
    world.gate.closed(attempt.id);
    assert!(world.gate.bodies == before);
    world.pass_ms(1_000);
    assert!(world.gate.poll_departure(|_| true).is_some());
}

#[test]
fn an_entity_that_two_sessions_share_is_given_back_once() {
    let mut world = World::new(small());
    let older = confirmed(&mut world, &Client::new(1));
    let GateAction::Accept { admission, .. } = world.knock(&newer(2)) else { panic!("refused") };
    assert!(admission.heir && admission.id.socket() == older.id.socket());
    assert_eq!(world.gate.confirmed(admission.id), Some(older.id));
    world.gate.closed(older.id);
    assert!(world.gate.bodies.of(1001).is_some());
    world.gate.closed(admission.id);
    world.gate.closed(admission.id);
    assert!(world.gate.bodies.of(1001).is_none());
}

#[test]
fn who_is_being_moved_is_seated_a_moment_later() {
    let mut world = World::new(small());
    let first = confirmed(&mut world, &Client::new(1));
    let there = usize::from(first.id.socket() == 1);
    let to = world.gate.hand_over(first.id, there, &mut world.entropy).expect("room");
    let client = newer(2);
    assert_eq!(world.refused(&client), Some(DropReason::PlayerMoving));
    assert!(world.gate.moved(to));
    let heir = world.join(&client);
    assert!(heir.heir && heir.id.socket() == to.socket());
    assert_eq!(world.gate.hand_over(to, 1 - there, &mut world.entropy), None, "an heir waits");
    world.gate.closed(heir.id);
    let back = world.gate.hand_over(to, 1 - there, &mut world.entropy).expect("room");
    world.gate.released(back);
    world.join(&newer(3));
}

#[test]
fn a_lost_shard_takes_those_who_linger_with_it() {
    let mut world = World::new(small());
    let first = confirmed(&mut world, &Client::new(1));
    world.gate.lingers(first.id, first.entity, world.at.now);
    let lost = [first.id.socket() == 1, first.id.socket() == 2];
    let (keeper, _) = exchange(2, 1_000, 0, &());
    world.gate.lose_shards(&lost, keeper, world.at.now);
    assert!(!world.join(&newer(2)).heir);
    // Somebody whom the shard of a moved session has let go of is unknown by now.
    world.gate.lingers(first.id, first.entity, world.at.now);
    assert!(world.gate.poll_departure(|_| true).is_some());
    world.gate.departed(first.entity);
}

#[test]
fn a_slot_from_which_a_survivor_may_forward_is_nobodys_until_the_survivor_says_so() {
    for says in [Gate::released, Gate::closed] {
        let mut world = World::new(small());
        let first = confirmed(&mut world, &Client::new(1));
        let here = usize::from(first.id.socket()) - 1;
        world.gate.hand_over(first.id, 1 - here, &mut world.entropy).expect("room");
        let (keeper, _) = exchange(2, 1_000, 0, &());
        let lost = [here != 0, here != 1];
        assert_eq!(world.gate.lose_shards(&lost, keeper, world.at.now), [first.id]);
        // Has it left for the lost shard? Then it is forwarded from its slot for 15 s.
        let others = |world: &mut World| {
            let clients = (10..17).map(Client::new);
            let ids: Vec<_> = clients.map(|client| world.join(&client).id).collect();
            ids.iter().for_each(|&id| world.gate.closed(id));
            ids.iter().any(|id| (id.socket(), id.slot()) == (first.id.socket(), first.id.slot()))
        };
        assert!(!others(&mut world), "seven of eight slots");
        says(&mut world.gate, first.id);
        assert!((0..2).any(|_| others(&mut world)));
    }
}

#[test]
fn who_lingers_takes_the_place_of_an_entity_and_others_go_where_there_is_one() {
    let mut world = World::new(GateConfig { entities_per_shard: 4, ..small() });
    let all: Vec<_> = (1..=8).map(|n| confirmed(&mut world, &Client::new(n))).collect();
    let (here, there): (Vec<_>, Vec<_>) = all.iter().partition(|it| it.id.socket() == 1);
    assert_eq!((here.len(), there.len()), (4, 4));
    here.iter().for_each(|it| world.gate.lingers(it.id, it.entity, world.at.now));
    assert_eq!(world.denied(&Client::new(9)), Status::Full, "four slots are free, and no row");
    world.gate.closed(there[0].id);
    let newcomer = confirmed(&mut world, &Client::new(9));
    assert_eq!(newcomer.id.socket(), 2);
    let moved = world.gate.hand_over(newcomer.id, 0, &mut world.entropy);
    assert_eq!(moved, None, "nor does anybody move there");
    world.gate.lingers(there[1].id, there[1].entity, world.at.now);
    world.pass_ms(61_000);
    let mut gone = 0;
    while let Some((_, entity)) = world.gate.poll_departure(|_| true) {
        world.gate.departed(entity);
        gone += 1;
    }
    assert_eq!(gone, 5);
    let moved = world.gate.hand_over(newcomer.id, 0, &mut world.entropy).expect("room");
    world.gate.released(moved);
    let room = [0, 1].map(|shard| world.gate.population.room_in(shard));
    assert_eq!(room, [4, 1], "who stayed takes nothing there");
}

#[test]
fn who_finds_no_room_where_he_was_sent_leaves_nothing_behind() {
    for is_lost in [false, true] {
        let mut world = World::new(GateConfig { entities_per_shard: 4, ..small() });
        let session = confirmed(&mut world, &Client::new(1));
        assert_eq!(session.id.socket(), 1);
        let to = world.gate.hand_over(session.id, 1, &mut world.entropy).expect("room");
        assert_eq!([0, 1].map(|shard| world.gate.population.room_in(shard)), [3, 3]);
        if is_lost {
            let (keeper, _) = exchange(2, 1_000, 0, &());
            let strays = world.gate.lose_shards(&[true, false], keeper, world.at.now);
            assert_eq!(strays, [to]);
        }
        // Its new shard could not take it in, and says so instead of `Moved`.
        world.gate.closed(to);
        assert_eq!(world.gate.players(9).1, 0);
        assert!(world.gate.bodies.of(1001).is_none());
        world.gate.released(session.id);
        assert_eq!([0, 1].map(|shard| world.gate.population.room_in(shard)), [4, 4]);
        let again: Vec<_> = (2..10).map(|n| world.join(&newer_of(&world, n)).id).collect();
        assert_eq!(again.len(), 8);
    }
}

/// Somebody else with a token that is made now.
fn newer_of(world: &World, number: u8) -> Client {
    let mut client = Client::new(number);
    client.token.issued_at_ms = world.at.unix_s * 1000;
    client
}
