//! Resume tickets: made for whom, good for what, and how often.

use super::*;

impl World {
    /// All tickets that are due now.
    fn tickets(&mut self) -> Vec<(ConnectionId, PublicToken)> {
        let (gate, now) = (&mut self.gate, self.at.now);
        let (counters, entropy) = (&self.counters, &mut self.entropy);
        let next = || gate.poll_ticket(now, |_| true, counters, entropy);
        let tickets = std::iter::from_fn(next).inspect(|(shard, id, _)| {
            assert_eq!(id.socket(), shard + 1);
        });
        tickets.map(|(_, id, token)| (id, token)).collect()
    }

    /// A confirmed session of `client` and its first ticket.
    fn session(&mut self, client: &Client) -> (Admission, Holder) {
        let admission = self.join(client);
        let (root, _) = client.read_accepted(self.reply());
        self.gate.confirmed(admission.id);
        let tickets = self.tickets();
        let [(id, token)] = &tickets[..] else { panic!("one ticket: {tickets:?}") };
        assert_eq!(*id, admission.id);
        (admission, Holder { token: token.clone(), psk: root.resume() })
    }
}

/// A client with a ticket that it cannot read.
#[derive(Clone)]
struct Holder {
    token: PublicToken,
    psk: [u8; 32],
}

impl Holder {
    /// What the gate will find in the ticket, as the client of attempt `number`.
    fn client(&self, number: u8) -> Client {
        let head = TokenHead {
            kind: TokenKind::ResumeTicket,
            key_id: self.token.key_id,
            nonce: self.token.nonce,
            expiry_s: self.token.expiry_s,
        };
        let sealed = &self.token.sealed;
        let token = crate::crypto::token::open_token(&TOKEN_KEY.key, PROTOCOL_ID, &head, sealed);
        let token = token.expect("the gate seals for itself");
        Client { head, token: Token { psk: self.psk, ..token }, ..Client::new(number) }
    }
}

#[test]
fn a_ticket_is_the_gates_own_token_with_the_secret_of_the_session() {
    let mut world = World::new(small());
    let mut client = Client::new(1);
    client.token.user_data = Token::spawn_user_data([1, 2, 3]);
    client.token.address = TokenAddress::V4([203, 0, 113, 1]);
    client.token.auth_level = 9;
    let (_, holder) = world.session(&client);
    assert_eq!((holder.token.kind, holder.token.expiry_s), (2, world.at.unix_s + 300));
    let sealed = holder.client(2).token;
    let head = TokenHead {
        kind: TokenKind::ResumeTicket,
        key_id: 7,
        nonce: holder.token.nonce,
        expiry_s: holder.token.expiry_s,
    };
    // Sealed again under what the client derived, it is the same: so the secrets are equal.
    assert_eq!(seal_token(&TOKEN_KEY.key, PROTOCOL_ID, &head, &sealed), holder.token.sealed);
    assert_eq!((sealed.player_id, sealed.spawn_point()), (1001, Some([1, 2, 3])));
    assert_eq!((sealed.address, sealed.auth_level), (client.token.address, 9));
    assert_ne!(sealed.token_id, client.token.token_id);
}

#[test]
fn a_ticket_brings_its_player_back_once() {
    let mut world = World::new(small());
    let (first, holder) = world.session(&Client::new(1));
    world.gate.lingers(first.id, first.entity, world.at.now);
    let again = world.join(&holder.client(2));
    assert_eq!((again.player, again.entity, again.heir), (1001, first.entity, true));
    assert_eq!(world.counters.read(Counter::TicketsUsed), 1);
    // Until the session proves itself the same client may try again, and nobody else.
    world.gate.closed(again.id);
    let again = world.join(&Client { from: again.address, ..holder.client(3) });
    let mut thief = holder.client(4);
    assert_eq!(world.refused(&thief), Some(DropReason::TokenReplayed));
    world.gate.confirmed(again.id);
    thief.from = again.address;
    assert_eq!(world.refused(&thief), Some(DropReason::TokenReplayed));
    let later = world.tickets().remove(0).1;
    assert_ne!(later.sealed, holder.token.sealed, "the new session has its own");
}

#[test]
fn using_one_ticket_of_a_session_uses_up_all_of_them() {
    let mut world = World::new(small());
    let (first, early) = world.session(&Client::new(1));
    world.pass_ms(119_000);
    assert!(world.tickets().is_empty());
    world.pass_ms(1_000);
    let (id, token) = world.tickets().remove(0);
    assert_eq!((id, token.expiry_s), (first.id, world.at.unix_s + 300));
    let late = Holder { token, psk: early.psk };
    world.gate.lingers(first.id, first.entity, world.at.now);
    let again = world.join(&early.client(2));
    world.gate.confirmed(again.id);
    assert_eq!(world.refused(&late.client(3)), Some(DropReason::TokenReplayed));
    // The earlier one expires first, and does not take the memory of the later one with it.
    (0..298).for_each(|_| world.pass_ms(1_000));
    assert!(late.token.expiry_s >= world.at.unix_s && early.token.expiry_s < world.at.unix_s);
    assert_eq!(world.refused(&late.client(4)), Some(DropReason::TokenReplayed));
}

#[test]
fn who_was_replaced_does_not_come_back_with_his_ticket() {
    let mut world = World::new(small());
    let (older, holder) = world.session(&Client::new(1));
    let mut newer = Client::new(2);
    newer.token.player_id = 1001;
    let (newer, _) = world.session(&newer);
    world.gate.closed(older.id);
    assert_eq!(world.refused(&holder.client(3)), Some(DropReason::TokenReplayed));
    // Nor when the older one was lost before the newer one came.
    let (other, holder) = world.session(&Client::new(4));
    world.gate.lingers(other.id, other.entity, world.at.now);
    let mut newest = Client::new(5);
    newest.token.player_id = 1004;
    world.session(&newest);
    assert_eq!(world.refused(&holder.client(6)), Some(DropReason::TokenReplayed));
    world.gate.closed(newer.id);
}

#[test]
fn a_ticket_is_worth_nothing_without_its_secret_or_after_its_time() {
    let mut world = World::new(small());
    let (first, holder) = world.session(&Client::new(1));
    world.gate.lingers(first.id, first.entity, world.at.now);
    // Whoever saw it on its way has the sealed text, and not the secret.
    let genuine = holder.client(2);
    let cookie = world.cookie(&genuine);
    let (prologue, server) = (genuine.request().prologue(), server_keys().public);
    let offer = genuine.offer.write();
    let (_, forged) =
        Initiator::start(&prologue, &server, &[0; 32], genuine.ephemeral, &offer).unwrap();
    let mut packet = [0; CONNECT_LEN];
    genuine.request().write(&cookie, &forged, &mut packet);
    assert_eq!(world.dropped(genuine.from, &packet), Some(DropReason::Noise));
    world.pass_ms(301_000);
    assert_eq!(world.refused(&genuine), Some(DropReason::TokenExpired));
}

#[test]
fn a_crowd_that_joins_at_once_gets_its_tickets_one_after_the_other() {
    let config = GateConfig { unconfirmed: 200, slots_per_shard: 100, tokens: 300, ..small() };
    let mut world = World::new(config);
    let ids: Vec<_> = (1..=150).map(|number| world.join(&Client::new(number)).id).collect();
    ids.iter().for_each(|&id| _ = world.gate.confirmed(id));
    let mut served = std::collections::BTreeSet::new();
    let mut turns = 0;
    while served.len() < ids.len() {
        let now: Vec<_> = world.tickets();
        assert!(now.len() <= if turns == 0 { 64 } else { 5 }, "{} in turn {turns}", now.len());
        served.extend(now.into_iter().map(|(id, _)| id));
        world.pass_ms(5);
        turns += 1;
    }
    assert_eq!((served.len(), turns), (150, 19));
    assert_eq!(world.counters.read(Counter::TicketsIssued), 150);
    let gate = &mut world.gate;
    gate.rounds.add(ids[0], |_| true);
    let (counters, entropy) = (&world.counters, &mut world.entropy);
    assert!(gate.poll_ticket(world.at.now, |_| false, counters, entropy).is_none());
    assert!(gate.poll_ticket(world.at.now, |_| true, counters, entropy).is_some());
}

#[test]
fn a_session_that_moved_gets_a_ticket_under_its_new_name() {
    let mut world = World::new(small());
    let (first, holder) = world.session(&Client::new(1));
    let there = usize::from(first.id.socket() == 1);
    let to = world.gate.hand_over(first.id, there, &mut world.entropy).expect("room");
    world.gate.moved(to);
    let (id, token) = world.tickets().remove(0);
    assert_eq!(id, to);
    let late = Holder { token, psk: holder.psk };
    world.gate.lingers(to, first.entity, world.at.now);
    assert_eq!(world.join(&late.client(2)).id.socket(), to.socket());
}

/// A new login of player 1001, whose token is made now.
fn login(world: &World, number: u8) -> Client {
    let mut client = Client::new(number);
    client.token.player_id = 1001;
    client.token.issued_at_ms = world.at.unix_s * 1000;
    client.head.expiry_s = world.at.unix_s + 60;
    client
}

#[test]
fn a_newer_session_uses_up_older_tickets_however_the_older_session_ended() {
    let ends: [fn(&mut World, &Admission); 4] = [
        |world, session| world.gate.closed(session.id),
        |world, session| world.gate.left(session.id),
        |world, session| {
            world.gate.lingers(session.id, session.entity, world.at.now);
            world.pass_ms(61_000);
            assert!(world.gate.poll_departure(|_| true).is_some(), "nobody waits for it");
            world.gate.departed(session.entity);
        },
        |world, session| {
            world.gate.lingers(session.id, session.entity, world.at.now);
            let (keeper, _) = exchange(2, 1_000, 0, &());
            world.gate.lose_shards(&[true, true], keeper, world.at.now);
        },
    ];
    for (end, number) in ends.into_iter().zip(0..) {
        let mut world = World::new(small());
        let (first, holder) = world.session(&Client::new(1));
        end(&mut world, &first);
        let newer = world.join(&login(&world, 2));
        assert!(!newer.heir, "nothing is left of the older one");
        world.gate.confirmed(newer.id);
        let outcome = world.refused(&holder.client(3));
        assert_eq!(outcome, Some(DropReason::TokenReplayed), "end {number}");
        world.gate.closed(newer.id);
        world.pass_ms(1_000);
        let outcome = world.refused(&holder.client(4));
        assert_eq!(outcome, Some(DropReason::TokenReplayed), "end {number}, later");
    }
}

#[test]
fn who_said_goodbye_does_not_come_back_with_a_ticket_and_who_did_not_does() {
    let mut world = World::new(small());
    let (first, holder) = world.session(&Client::new(1));
    world.gate.closed(first.id);
    let again = world.join(&holder.client(2));
    world.gate.confirmed(again.id);
    let (_, token) = world.tickets().remove(0);
    let root = holder.client(2).read_accepted(world.reply()).0;
    let holder = Holder { token, psk: root.resume() };
    world.gate.left(again.id);
    assert_eq!(world.refused(&holder.client(3)), Some(DropReason::TokenReplayed));
    (0..306).for_each(|_| world.pass_ms(1_000));
    assert_eq!(world.refused(&holder.client(4)), Some(DropReason::TokenExpired));
}

#[test]
fn tickets_are_refused_while_it_is_not_known_which_are_good() {
    let mut world = World::new(GateConfig { tickets: 1, ..small() });
    let sessions = [1, 2].map(|number| world.session(&Client::new(number)));
    sessions.iter().for_each(|(session, _)| world.gate.closed(session.id));
    let [known, forgotten] = sessions.map(|(_, holder)| holder);
    assert_eq!(world.refused(&forgotten.client(3)), Some(DropReason::TokenReplayed));
    world.join(&known.client(4));
}
