//! The server asks for a key of the client's build.

use super::*;
use crate::crypto::integrity::KeyTable;
use std::sync::Arc;

fn table() -> KeyTable {
    KeyTable::new(1, vec![[5; 32], [6; 32], [7; 32]]).expect("three keys")
}

impl Pair {
    fn asks(&mut self, index: u16, role: IntegrityRole) -> Result<Event, ClientError> {
        let bytes = [0x33; INTEGRITY_LEN];
        let question = self.server.control(ControlMessage::CheckIntegrity { index, role, bytes });
        self.deliver(&question)
    }

    /// Every integrity check that the client sends now.
    fn answers(&mut self) -> Vec<ControlMessage> {
        let mut answers = Vec::new();
        while let Some(heard) = self.heard() {
            if heard
                .messages
                .first()
                .is_some_and(|(kind, _)| *kind == control_kind::CHECK_INTEGRITY)
            {
                answers.push(heard.control());
            }
        }
        answers
    }
}

#[test]
fn a_client_with_keys_answers_each_question_once_each_time_it_is_put() {
    let mut pair = Pair::in_world();
    pair.client.set_key_table(Arc::new(table()));
    for index in [0, 2, 2, 1] {
        assert_eq!(pair.asks(index, IntegrityRole::Question), Ok(Event::Nothing));
        assert_eq!(pair.client.next_timeout(), Some(Nanos(0)), "the answer is due");
        let exporter = pair.server.exporter;
        let bytes = table().answer(&exporter, &[0x33; INTEGRITY_LEN], index).expect("a key");
        let role = IntegrityRole::Answer;
        assert_eq!(pair.answers(), [ControlMessage::CheckIntegrity { index, role, bytes }]);
        assert_ne!(pair.client.next_timeout(), Some(Nanos(0)));
    }
}

#[test]
fn without_keys_or_without_that_key_nothing_is_said_and_the_game_goes_on() {
    let mut pair = Pair::in_world();
    assert_eq!(pair.asks(0, IntegrityRole::Question), Ok(Event::Nothing));
    assert_eq!(pair.answers(), []);
    pair.client.set_key_table(Arc::new(table()));
    for index in [3, u16::MAX] {
        assert_eq!(pair.asks(index, IntegrityRole::Question), Ok(Event::Nothing));
        assert_eq!(pair.answers(), []);
    }
    assert_ne!(pair.client.next_timeout(), Some(Nanos(0)));
    assert_eq!(pair.asks(0, IntegrityRole::Answer), Err(ClientError::Unexpected));
    assert_eq!(pair.client.state(), State::InWorld);
}
