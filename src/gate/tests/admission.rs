//! The last steps: key agreement, policy, slots, and one session per player.

use super::*;
use crate::crypto::integrity::KeyTable;
use crate::limits::{HEADER_LEN, TAG_LEN};
use std::sync::Arc;

#[test]
fn an_accepted_client_holds_the_same_keys_and_learns_the_truth() {
    let mut world = World::new(small());
    let mut client = Client::new(1);
    client.token.user_data = Token::spawn_user_data([100, -200, 300]);
    let admission = world.join(&client);
    let (root, accepted) = client.read_accepted(world.reply());
    assert_eq!((accepted.status, accepted.connection), (Status::Ok, admission.id));
    assert_eq!((accepted.player, accepted.tick, accepted.tick_hz), (1001, 600, 60));
    assert_eq!(accepted.server_time_us, world.at.now.as_us());
    assert_eq!((admission.player, admission.address), (1001, client.from));
    assert_eq!(admission.spawn, Some([100, -200, 300]));
    assert_eq!(admission.accepted_at, world.at.now);
    for (ours, theirs) in [
        (root.client_to_server(0), admission.client_to_server),
        (root.server_to_client(0), admission.server_to_client),
    ] {
        let mut packet = [7; HEADER_LEN + 5 + TAG_LEN];
        PacketKey::new(&ours).seal(&mut packet);
        assert_eq!(PacketKey::new(&theirs).open(&mut packet).unwrap(), [7; 5]);
    }
    assert_ne!(admission.client_to_server, admission.server_to_client);
}

#[test]
fn a_duplicate_connect_gets_the_identical_answer_and_no_second_session() {
    let mut world = World::new(small());
    let client = Client::new(1);
    let packet = client.connect(&world.cookie(&client));
    let GateAction::Accept { admission, .. } = world.send(client.from, &packet) else {
        panic!("not accepted")
    };
    let (answer, before) = (world.reply.clone(), world.tables());
    world.pass_ms(3_000);
    let fresh = client.connect(&world.cookie(&client));
    for packet in [packet, fresh] {
        let action = world.send(client.from, &packet);
        assert!(matches!(action, GateAction::Reply(ACCEPTED_LEN)), "{action:?}");
        assert_eq!(world.reply, answer);
    }
    assert_eq!((&world.tables().1, &world.tables().2), (&before.1, &before.2));
    assert_eq!(world.counters.read(Counter::Accepted), 1);
    world.gate.confirmed(admission.id);
    assert_eq!(world.dropped(client.from, &packet), Some(DropReason::TokenReplayed));
}

#[test]
fn an_answer_is_forgotten_when_its_session_closes_unconfirmed() {
    let mut world = World::new(small());
    let client = Client::new(1);
    let first = world.join(&client).id;
    world.gate.closed(first);
    let second = world.join(&client).id;
    assert_ne!(first, second, "a new session for the same attempt");
    world.gate.closed(first);
    assert_eq!(world.gate.confirmed(first), None, "the old id names nobody");
}

#[test]
fn a_prologue_changed_between_resends_fails_before_and_after_the_acceptance() {
    let mut world = World::new(small());
    let client = Client::new(1);
    // The same Noise message, and so the same ephemeral key, under another sealed token.
    let mut other = client.clone();
    other.token.entity_hint = 5;
    let changed = |cookie: &[u8; COOKIE_LEN]| {
        let mut packet = [0; CONNECT_LEN];
        other.request().write(cookie, &client.start().1, &mut packet);
        packet
    };
    let cookie = world.cookie(&client);
    assert_eq!(world.dropped(client.from, &changed(&cookie)), Some(DropReason::Noise));
    let action = world.send(client.from, &client.connect(&cookie));
    assert!(matches!(action, GateAction::Accept { .. }), "{action:?}");
    assert_eq!(world.dropped(client.from, &changed(&cookie)), Some(DropReason::Noise));
}

#[test]
fn points_of_small_order_are_refused() {
    let mut world = World::new(small());
    let client = Client::new(1);
    let one = core::array::from_fn(|i| u8::from(i == 0));
    for point in [[0; 32], one] {
        let mut message = client.start().1;
        message[..32].copy_from_slice(&point);
        let mut packet = [0; CONNECT_LEN];
        client.request().write(&NO_COOKIE, &message, &mut packet);
        world.send(client.from, &packet);
        let Reply::Cookie(reply) = world.reply() else { panic!("not a cookie") };
        client.request().write(&reply.cookie, &message, &mut packet);
        assert_eq!(world.dropped(client.from, &packet), Some(DropReason::Noise));
    }
}

#[test]
fn key_agreements_have_a_budget_that_comes_back() {
    let mut world = World::new(GateConfig { dh_per_s: 8, shards: 8, ..small() });
    let outcomes: Vec<_> = (1..=5).map(|number| world.refused(&Client::new(number))).collect();
    let spent = Some(DropReason::DhBudget);
    assert_eq!(outcomes, [None, None, spent, spent, spent], "a quarter of a second at once");
    world.pass_ms(125);
    assert_eq!(world.refused(&Client::new(3)), None);
    assert_eq!(world.refused(&Client::new(4)), spent);
}

#[test]
fn whoever_has_no_good_token_uses_up_no_key_agreements() {
    let mut world = World::new(GateConfig { dh_per_s: 8, ..small() });
    let forger = Client::new(1);
    let cookie = world.cookie(&forger);
    let used = Client::new(2);
    let id = world.join(&used).id;
    world.gate.confirmed(id);
    for number in 0..100 {
        let mut packet = forger.connect(&cookie);
        packet[124 + number] ^= 1;
        fix_crc(&mut packet);
        assert_eq!(world.dropped(forger.from, &packet), Some(DropReason::Token));
        assert_eq!(world.refused(&used.again(9)), Some(DropReason::TokenReplayed));
    }
    world.join(&Client::new(3));
    assert_eq!(world.refused(&Client::new(4)), Some(DropReason::DhBudget), "two at once");
}

#[test]
fn a_full_server_denies_with_proof_and_takes_the_next_when_a_slot_is_free() {
    let mut world = World::new(small());
    let ids: Vec<_> = (1..=8).map(|number| world.join(&Client::new(number)).id).collect();
    for &id in &ids {
        assert_eq!(world.gate.confirmed(id), None);
    }
    let sessions = world.gate.sessions.clone();
    assert_eq!(world.denied(&Client::new(9)), Status::Full);
    assert_eq!(world.counters.dropped(DropReason::ServerFull), 1);
    assert!(world.gate.sessions == sessions);
    world.gate.closed(ids[3]);
    let id = world.join(&Client::new(9)).id;
    assert_eq!((id.socket(), id.slot()), (ids[3].socket(), ids[3].slot()));
    assert_ne!(id.generation(), ids[3].generation());
}

#[test]
fn unconfirmed_sessions_have_a_limit_of_their_own() {
    let mut world = World::new(GateConfig { unconfirmed: 2, ..small() });
    let first = world.join(&Client::new(1)).id;
    let second = world.join(&Client::new(2)).id;
    assert_eq!(world.denied(&Client::new(3)), Status::Full);
    world.gate.confirmed(first);
    world.join(&Client::new(3));
    assert_eq!(world.denied(&Client::new(4)), Status::Full);
    world.gate.closed(second);
    world.join(&Client::new(4));
}

#[test]
fn attempts_given_up_leave_nothing_behind() {
    let mut world = World::new(GateConfig { unconfirmed: 2, ..small() });
    let client = Client::new(1);
    let old = client.connect(&world.cookie(&client));
    let mut before = world.join(&client).id;
    for number in 10..30 {
        let GateAction::Accept { admission, replaces, .. } = world.knock(&client.again(number))
        else {
            panic!("not accepted")
        };
        assert_eq!(replaces, Some(before));
        world.gate.closed(before);
        before = admission.id;
    }
    let action = world.send(client.from, &old);
    assert!(matches!(action, GateAction::Accept { .. }), "its answer is forgotten: {action:?}");
}

#[test]
fn banned_players_old_builds_and_maintenance_are_denied_with_proof() {
    let mut world =
        World::new(GateConfig { banned: vec![1002, 1001], minimum_build: 1, ..small() });
    let before = world.tables();
    assert_eq!(world.denied(&Client::new(1)), Status::Banned);
    assert_eq!(world.denied(&Client::new(2)), Status::Banned);
    let old = ClientOffer { build: 0, features: 0, max_datagram: 1200 };
    assert_eq!(world.denied(&Client { offer: old, ..Client::new(3) }), Status::Build);
    let narrow = ClientOffer { build: 1, features: 0, max_datagram: 1199 };
    assert_eq!(world.denied(&Client { offer: narrow, ..Client::new(4) }), Status::Build);
    world.gate.set_maintenance(true);
    assert_eq!(world.denied(&Client::new(5)), Status::Maintenance);
    for (reason, count) in
        [(DropReason::Banned, 2), (DropReason::Build, 2), (DropReason::Maintenance, 1)]
    {
        assert_eq!(world.counters.dropped(reason), count, "{reason:?}");
    }
    assert!((world.tables().1, world.tables().2) == (before.1, before.2), "no session");
    world.gate.set_maintenance(false);
    world.join(&Client::new(5));
}

#[test]
fn only_sessions_of_a_build_with_keys_can_be_asked_and_both_ends_agree_on_the_secret() {
    let table = Arc::new(KeyTable::new(7, vec![[9; 32]; 3]).expect("three keys"));
    let mut world = World::new(GateConfig { integrity: vec![Arc::clone(&table)], ..small() });
    let of_build = |build, number| Client {
        offer: ClientOffer { build, features: 0, max_datagram: 1200 },
        ..Client::new(number)
    };
    assert!(world.join(&of_build(1, 1)).examiner.is_none());
    let client = of_build(7, 2);
    let admission = world.join(&client);
    let examiner = admission.examiner.as_ref().expect("its build has keys");
    let (question, _) = examiner.question(0);
    let (root, _) = client.read_accepted(world.reply());
    let answer = table.answer(&root.exporter(), &question.nonce, question.index);
    assert!(examiner.accepts(&question, &answer.expect("a key")));
    let other = world.join(&of_build(7, 3));
    let other = other.examiner.as_ref().expect("its build has keys");
    assert_ne!(other.question(0), examiner.question(0), "each session has questions of its own");
}

#[test]
fn the_newest_login_of_a_player_replaces_the_older_one_once_it_is_confirmed() {
    let mut world = World::new(small());
    let mut newer = Client::new(2);
    newer.token.player_id = 1001;
    let old = world.join(&Client::new(1)).id;
    assert_eq!(world.gate.confirmed(old), None);
    let GateAction::Accept { admission, replaces, .. } = world.knock(&newer) else {
        panic!("not accepted")
    };
    assert_eq!(replaces, None, "an unproven handshake throws nobody out");
    assert_eq!(world.gate.confirmed(admission.id), Some(old));
    assert_eq!(world.gate.confirmed(admission.id), None, "reported once");
    world.gate.closed(old);
    world.gate.closed(old);
    assert_eq!(world.fill(), 7);
}

impl World {
    /// Joins strangers until the server is full, and returns their number.
    fn fill(&mut self) -> usize {
        let mut free = 0;
        for number in 100..=u8::MAX {
            match self.knock(&Client::new(number)) {
                GateAction::Accept { .. } => free += 1,
                _ => break,
            }
        }
        free
    }
}
