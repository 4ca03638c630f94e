//! Coming back with what the server gave.

use super::*;
use crate::client::CloseReason;

pub(super) fn token(expiry_s: u64) -> PublicToken {
    PublicToken {
        kind: 2,
        key_id: 9,
        nonce: [expiry_s as u8; TOKEN_NONCE_LEN],
        expiry_s,
        sealed: [expiry_s as u8; SEALED_TOKEN_LEN],
    }
}

impl Pair {
    pub(super) fn offer(&mut self, token: &PublicToken) -> Result<Event, ClientError> {
        let mut text = [0; 400];
        let mut writer = Writer::new(&mut text);
        put_resume_ticket(&mut writer, token);
        let len = writer.finish().unwrap();
        let datagram = self.server.seal(Channel::Control, None, &text[..len]);
        self.deliver(&datagram)
    }
}

#[test]
fn a_client_keeps_the_newest_ticket_with_the_secret_of_its_session() {
    let mut pair = Pair::in_world();
    assert!(pair.client.resume_ticket().is_none());
    assert_eq!(pair.offer(&token(500)), Ok(Event::Ticket));
    assert_eq!(pair.acks().largest, pair.server.sequence, "taken, so acknowledged");
    pair.offer(&token(400)).unwrap();
    let ticket = pair.client.resume_ticket().expect("a ticket");
    let first = super::ticket();
    assert_eq!((ticket.protocol_id, ticket.build), (first.protocol_id, first.build));
    assert_eq!(ticket.server_public, first.server_public);
    assert_eq!((ticket.token, ticket.psk), (token(500), pair.server.resume));
    pair.offer(&token(600)).unwrap();
    assert_eq!(pair.client.resume_ticket().map(|it| it.token.expiry_s), Some(600));
    // What a new attempt sends is the ticket.
    let ticket = pair.client.resume_ticket().expect("a ticket");
    let mut next = Client::new(&ticket, [2; 8], Nanos(0), &mut Seeded(6)).unwrap();
    let connect = transmit(&mut next, Nanos(0)).unwrap();
    let connect = Connect::read(&connect).unwrap();
    assert_eq!((connect.token_kind(), connect.token_expiry_s()), (2, 600));
    assert_eq!(connect.sealed_token(), &token(600).sealed);
}

#[test]
fn a_ticket_may_overtake_the_proof_of_the_keys_and_another_kind_is_refused() {
    let mut pair = Pair::accepted();
    assert_eq!(pair.offer(&token(500)), Ok(Event::Ticket));
    let wrong = PublicToken { kind: 1, ..token(600) };
    assert_eq!(pair.offer(&wrong), Err(ClientError::Message));
    assert_eq!(pair.client.resume_ticket().map(|it| it.token.expiry_s), Some(500));
}

#[test]
fn a_ticket_outlives_a_lost_connection_and_no_farewell() {
    let mut pair = Pair::in_world();
    pair.offer(&token(500)).unwrap();
    pair.now = Nanos::from_ms(15_000);
    pair.drain();
    assert_eq!(pair.client.state(), State::Closed(CloseReason::TimedOut));
    assert!(pair.client.resume_ticket().is_some());
    for (reason, stays) in [
        (DisconnectReason::ShardLost, true),
        (DisconnectReason::Maintenance, true),
        (DisconnectReason::Replaced, false),
        (DisconnectReason::Banned, false),
        (DisconnectReason::Violation, false),
    ] {
        let mut pair = Pair::in_world();
        pair.offer(&token(500)).unwrap();
        let goodbye = pair.server.control(ControlMessage::Disconnect { reason, retry_s: 7 });
        pair.deliver(&goodbye).unwrap();
        assert_eq!(pair.client.retry_s(), 7);
        assert_eq!(pair.client.resume_ticket().is_some(), stays, "{reason:?}");
    }
    let mut pair = Pair::in_world();
    pair.offer(&token(500)).unwrap();
    pair.client.leave(pair.now);
    for ms in 0..200 {
        pair.now = Nanos::from_ms(ms);
        pair.drain();
    }
    assert_eq!(pair.client.state(), State::Closed(CloseReason::Left));
    assert!(pair.client.resume_ticket().is_none(), "who says goodbye means it");
}
