//! What is said to whom the gate cannot serve.

use super::*;

/// The denial that `client` gets for its second flight.
fn told(world: &mut World, client: &Client) -> (Denial, u32) {
    let denied = world.counters.read(Counter::Denied);
    let action = world.knock(client);
    assert!(matches!(action, GateAction::Reply(DENIED_LEN)), "{action:?}");
    assert_eq!(world.counters.read(Counter::Denied), denied + 1);
    let Reply::Denied(packet) = world.reply() else { panic!("not a denial") };
    assert_eq!(packet.client_nonce, client.nonce);
    (packet.reason, packet.retry_ms)
}

#[test]
fn who_has_a_stale_or_used_token_is_told_to_get_another() {
    let mut world = World::new(small());
    let mut stale = Client::new(1);
    stale.head.expiry_s = world.at.unix_s - 1;
    assert_eq!(told(&mut world, &stale), (Denial::TokenExpired, 5_000));
    let mut old = Client::new(2);
    old.token.issued_at_ms = BOOT_S * 1000 - 1;
    assert_eq!(told(&mut world, &old).0, Denial::TokenExpired);
    let mut foreign = Client::new(3);
    foreign.head.key_id = 99;
    assert_eq!(told(&mut world, &foreign).0, Denial::TokenExpired);
    let used = Client::new(4);
    let id = world.join(&used).id;
    world.gate.confirmed(id);
    assert_eq!(told(&mut world, &used.again(9)), (Denial::TokenUsed, 5_000));
}

#[test]
fn a_busy_gate_spreads_those_who_come_back() {
    let mut world = World::new(GateConfig { dh_per_s: 4, ..small() });
    world.join(&Client::new(1));
    let mut pauses = std::collections::BTreeSet::new();
    for number in 2..40 {
        let (reason, retry_ms) = told(&mut world, &Client::new(number));
        assert_eq!(reason, Denial::Busy);
        assert!((250..1_000).contains(&retry_ms), "{retry_ms}");
        pauses.insert(retry_ms);
    }
    assert!(pauses.len() > 20, "{pauses:?}");
    let mut world = World::new(GateConfig { tokens: 1, ..small() });
    world.join(&Client::new(1));
    assert_eq!(told(&mut world, &Client::new(2)), (Denial::Busy, 5_000));
}

#[test]
fn a_forged_token_and_who_has_no_cookie_are_told_nothing() {
    let mut world = World::new(small());
    let mut stale = Client::new(1);
    stale.head.expiry_s = world.at.unix_s - 1;
    let action = world.send(stale.from, &stale.connect(&NO_COOKIE));
    assert!(matches!(action, GateAction::Reply(COOKIE_PACKET_LEN)), "{action:?}");
    let mut forged = Client::new(2);
    forged.token.realm = 9;
    let action = world.knock(&forged);
    assert!(matches!(action, GateAction::Drop(DropReason::Token)), "{action:?}");
    assert_eq!(world.counters.read(Counter::Denied), 0);
}

#[test]
fn who_cannot_be_handed_to_his_shard_is_denied_and_gets_in_later() {
    let mut world = World::new(small());
    let client = Client::new(1);
    let id = world.join(&client).id;
    let before = world.counters.dropped(DropReason::QueueFull);
    let mut out = [0; DATAGRAM_MAX];
    out[..ACCEPTED_LEN].copy_from_slice(&world.reply);
    let (gate, counters) = (&mut world.gate, &world.counters);
    let len = gate.undelivered(id, counters, &mut world.entropy, &mut out);
    let Ok(Reply::Denied(packet)) = Reply::read(PROTOCOL_ID, &out[..len]) else {
        panic!("not a denial")
    };
    assert_eq!((packet.client_nonce, packet.reason), (client.nonce, Denial::Busy));
    assert!((250..1_000).contains(&packet.retry_ms));
    assert_eq!(world.counters.dropped(DropReason::QueueFull), before + 1);
    assert_eq!(world.counters.read(Counter::Denied), 1);
    let room = world.gate.population.room_in(usize::from(id.socket()) - 1);
    let again = world.join(&client);
    assert_eq!(world.gate.population.room_in(usize::from(again.id.socket()) - 1), room - 1);
}

#[test]
fn who_comes_back_to_a_full_shard_gets_a_spare_slot_or_waits_for_his_own() {
    let config =
        GateConfig { shards: 1, slots_per_shard: 3, spare_slots: 1, sessions: 2, ..small() };
    let mut world = World::new(config);
    let ids = [1, 2].map(|number| world.join(&Client::new(number)).id);
    ids.iter().for_each(|&id| _ = world.gate.confirmed(id));
    assert_eq!(world.denied(&Client::new(3)), Status::Full);
    let newer = |player: u64, number| {
        let mut client = Client::new(number);
        client.token.player_id = player;
        client
    };
    let heir = world.join(&newer(1001, 4));
    assert!(heir.heir, "beside the session that lives on");
    assert_eq!(told(&mut world, &newer(1002, 5)).0, Denial::Busy);
    assert_eq!(world.gate.confirmed(heir.id), Some(ids[0]));
    world.gate.closed(ids[0]);
    world.join(&newer(1002, 5));
}
