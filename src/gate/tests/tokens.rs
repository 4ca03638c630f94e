//! Attacks with tokens: stolen, stale, forged, or meant for somebody else.

use super::*;

#[test]
fn a_token_replayed_from_another_address_is_refused_while_pending_and_after() {
    let mut world = World::new(small());
    let client = Client::new(1);
    let id = world.join(&client).id;
    let mut thief = client.again(9);
    thief.from = "198.51.100.1:50000".parse().unwrap();
    assert_eq!(world.refused(&thief), Some(DropReason::TokenReplayed));
    thief.from = "203.0.113.1:50001".parse().unwrap();
    assert_eq!(world.refused(&thief), Some(DropReason::TokenReplayed), "another port");
    world.gate.confirmed(id);
    assert_eq!(world.refused(&thief), Some(DropReason::TokenReplayed));
    world.gate.closed(id);
    assert_eq!(world.refused(&thief), Some(DropReason::TokenReplayed));
}

#[test]
fn a_token_is_used_up_by_the_first_session_that_confirms() {
    let mut world = World::new(small());
    let client = Client::new(1);
    let id = world.join(&client).id;
    world.gate.confirmed(id);
    world.gate.closed(id);
    assert_eq!(world.refused(&client), Some(DropReason::TokenReplayed));
    assert_eq!(world.refused(&client.again(9)), Some(DropReason::TokenReplayed));
}

#[test]
fn a_pending_token_from_the_same_address_goes_on() {
    let mut world = World::new(small());
    let client = Client::new(1);
    let first = world.join(&client).id;
    let GateAction::Accept { admission, replaces, .. } = world.knock(&client.again(9)) else {
        panic!("not accepted")
    };
    assert_eq!(replaces, Some(first), "the attempt that was given up");
    assert_ne!(admission.id, first);
    world.gate.closed(first);
    world.gate.closed(admission.id);
    world.join(&client.again(10));
}

#[test]
fn a_copied_connect_does_not_bind_a_token_whose_secret_the_copier_lacks() {
    let mut world = World::new(small());
    let client = Client::new(1);
    let mut thief = client.again(9);
    thief.from = "198.51.100.1:50000".parse().unwrap();
    // The right sealed token in a Noise message made with another secret.
    let cookie = world.cookie(&thief);
    let (prologue, server) = (thief.request().prologue(), server_keys().public);
    let offer = thief.offer.write();
    let (_, forged) =
        Initiator::start(&prologue, &server, &[0; 32], thief.ephemeral, &offer).unwrap();
    let mut packet = [0; CONNECT_LEN];
    thief.request().write(&cookie, &forged, &mut packet);
    assert_eq!(world.dropped(thief.from, &packet), Some(DropReason::Noise));
    world.join(&client);
}

#[test]
fn a_token_from_before_the_boot_is_refused_and_a_ticket_is_not() {
    let mut world = World::new(small());
    let mut client = Client::new(1);
    client.token.issued_at_ms = BOOT_S * 1000 - 1;
    assert_eq!(world.refused(&client), Some(DropReason::TokenBeforeBoot));
    client.head.kind = TokenKind::ResumeTicket;
    world.join(&client);
}

#[test]
fn expired_and_too_long_lived_tokens_are_refused() {
    let mut world = World::new(small());
    let now_s = world.at.unix_s;
    let mut refused = |kind, issued_at_s: u64, expiry_s: u64| {
        let mut client = Client::new(1);
        client.head = TokenHead { kind, expiry_s, ..client.head };
        client.token.issued_at_ms = issued_at_s * 1000;
        world.refused(&client)
    };
    let (token, ticket) = (TokenKind::ConnectToken, TokenKind::ResumeTicket);
    let expired = Some(DropReason::TokenExpired);
    assert_eq!(refused(token, now_s - 5, now_s - 1), expired);
    assert_eq!(refused(token, now_s, now_s + 66), expired, "by the clear head alone");
    assert_eq!(refused(token, now_s - 5, now_s + 56), expired, "61 s by the sealed time");
    assert_eq!(refused(token, now_s + 5, now_s + 4), expired, "expired before it was made");
    assert_eq!(refused(ticket, now_s, now_s + 306), expired);
    assert_eq!(refused(ticket, now_s - 5, now_s + 296), expired);
    assert_eq!(refused(token, now_s, u64::MAX), expired);
    assert_eq!(refused(token, now_s - 5, now_s), None, "valid through its last second");
}

#[test]
fn a_token_of_another_key_kind_server_realm_or_game_is_refused() {
    let mut world = World::new(small());
    let mut refused = |change: &dyn Fn(&mut Client)| {
        let mut client = Client::new(1);
        change(&mut client);
        world.refused(&client)
    };
    assert_eq!(refused(&|c| c.head.key_id = 8), Some(DropReason::TokenKey));
    assert_eq!(refused(&|c| c.token.realm = 2), Some(DropReason::Token));
    assert_eq!(refused(&|c| c.token.server_public[0] ^= 1), Some(DropReason::Token));
    let elsewhere = TokenAddress::V4([203, 0, 113, 2]);
    assert_eq!(refused(&|c| c.token.address = elsewhere), Some(DropReason::Token));
    assert_eq!(refused(&|c| c.token.address = TokenAddress::V6([1; 16])), Some(DropReason::Token));
    let here = TokenAddress::V4([203, 0, 113, 1]);
    assert_eq!(refused(&|c| c.token.address = here), None);
    let foreign = Client { protocol_id: PROTOCOL_ID + 1, ..Client::new(2) };
    let packet = foreign.connect(&NO_COOKIE);
    assert_eq!(world.dropped(foreign.from, &packet), Some(DropReason::ProtocolId));
}

#[test]
fn an_unknown_token_kind_is_refused() {
    let mut world = World::new(small());
    let client = Client::new(1);
    let mut packet = client.connect(&world.cookie(&client));
    for kind in [0, 3, 255] {
        packet[84] = kind;
        fix_crc(&mut packet);
        assert_eq!(world.dropped(client.from, &packet), Some(DropReason::TokenKey), "{kind}");
    }
}

#[test]
fn a_full_token_table_refuses_newcomers_and_keeps_the_unexpired() {
    let mut world = World::new(GateConfig { tokens: 3, ..small() });
    let ids = [1, 2, 3].map(|number| world.join(&Client::new(number)).id);
    assert_eq!(world.refused(&Client::new(4)), Some(DropReason::TokenTableFull));
    for (id, number) in ids.into_iter().zip(1..) {
        world.gate.confirmed(id);
        let again = Client::new(number).again(9);
        assert_eq!(world.refused(&again), Some(DropReason::TokenReplayed));
    }
    let late = |number| {
        let mut client = Client::new(number);
        client.token.issued_at_ms = (BOOT_S + 45) * 1000;
        client.head.expiry_s = BOOT_S + 100;
        client
    };
    // The tokens expire at BOOT_S + 50, inclusive.
    (0..40).for_each(|_| world.pass_ms(1000));
    assert_eq!(world.at.unix_s, BOOT_S + 50);
    assert_eq!(world.refused(&late(4)), Some(DropReason::TokenTableFull));
    world.pass_ms(1000);
    world.pass_ms(1000);
    world.join(&late(4));
}

#[test]
fn a_clock_that_is_set_back_does_not_revive_a_token() {
    let mut world = World::new(small());
    let client = Client::new(1);
    let id = world.join(&client).id;
    world.gate.confirmed(id);
    (0..45).for_each(|_| world.pass_ms(1000));
    assert_eq!(world.refused(&client), Some(DropReason::TokenExpired), "forgotten by now");
    world.at.unix_s = BOOT_S + 20;
    let cookie = world.cookie(&client);
    let packet = client.connect(&cookie);
    assert_eq!(world.dropped(client.from, &packet), Some(DropReason::TokenExpired));
}
