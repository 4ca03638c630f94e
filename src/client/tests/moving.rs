//! The server gives a session another connection id in the middle of the game.

use super::*;
use crate::client::CloseReason;

const MOVED: ConnectionId = ConnectionId(0x0420_0502);
const ONWARDS: ConnectionId = ConnectionId(0x0770_1103);

impl Pair {
    /// The id under which the server speaks and expects to be spoken to.
    fn server_is(&mut self, connection: ConnectionId) {
        self.server.connection = connection;
    }

    fn moves(&mut self, connection: ConnectionId) -> Result<Event, ClientError> {
        let moved = self.server.control(ControlMessage::Moved { connection });
        self.deliver(&moved)
    }

    /// A packet without a message, under `connection`.
    fn empty(&mut self, connection: ConnectionId) -> Vec<u8> {
        self.server_is(connection);
        self.server.seal(Channel::Unreliable, None, &[])
    }

    /// The id of the next packet of the client.
    fn speaks_as(&mut self) -> ConnectionId {
        self.client.set_input(InputFrame::default());
        let datagram = transmit(&mut self.client, self.now).expect("an input is due");
        let connection = Header::read(&datagram).unwrap().connection;
        self.server_is(connection);
        self.server.open(&datagram);
        connection
    }
}

#[test]
fn a_moved_client_speaks_under_the_new_id_and_goes_on_with_everything() {
    let mut pair = Pair::in_world();
    let former = pair.server.connection;
    assert_eq!(pair.speaks_as(), former);
    assert_eq!(pair.moves(MOVED), Ok(Event::Moved(MOVED)));
    assert_eq!(pair.client.connection(), Some(MOVED));
    let acks = {
        pair.server_is(MOVED);
        pair.acks()
    };
    assert_eq!(acks.largest, pair.server.sequence, "the announcement itself is acknowledged");
    assert_eq!(pair.speaks_as(), MOVED);
    // The server may go on under the former id, and change at any time.
    for (tick, id) in [(2, former), (3, former), (4, MOVED), (5, MOVED), (6, former), (7, MOVED)] {
        pair.server_is(id);
        assert!(matches!(pair.say(&body(tick, &[], &[])), Ok(Event::Snapshot(_))), "tick {tick}");
    }
    assert_eq!(pair.acks().bitmap & 0x3F, 0x3F, "one row of sequences for both ids");
    assert_eq!(pair.client.state(), State::InWorld);
}

#[test]
fn an_idle_client_answers_the_announcement_by_itself() {
    let mut pair = Pair::in_world();
    pair.now = pair.now.plus(Nanos::from_ms(500));
    pair.moves(MOVED).unwrap();
    pair.server_is(MOVED);
    pair.now = pair.now.plus(Nanos::from_ms(30));
    assert_eq!(pair.heard().expect("an acknowledgment").control(), ControlMessage::Ack);
}

#[test]
fn repeated_announcements_and_late_ones_are_harmless() {
    let mut pair = Pair::in_world();
    let former = pair.server.connection;
    let moved = ControlMessage::Moved { connection: MOVED };
    let late = [(); 3].map(|()| pair.server.control(moved));
    assert_eq!(pair.deliver(&late[1]), Ok(Event::Moved(MOVED)));
    assert_eq!(pair.deliver(&late[0]), Ok(Event::Nothing));
    assert_eq!(pair.moves(MOVED), Ok(Event::Nothing));
    assert_eq!(pair.deliver(&late[0]), Err(ClientError::Replay));
    let packet = pair.empty(former);
    assert_eq!(pair.deliver(&packet), Ok(Event::Nothing), "the former id is still the former");
    // Back to the first id; an announcement of the time before comes late and is not obeyed.
    pair.server_is(MOVED);
    assert_eq!(pair.moves(former), Ok(Event::Moved(former)));
    assert_eq!(pair.deliver(&late[2]), Ok(Event::Nothing));
    assert_eq!(pair.speaks_as(), former);
}

#[test]
fn the_former_id_ends_15_s_after_the_first_packet_under_the_new_one() {
    let mut pair = Pair::in_world();
    let former = pair.server.connection;
    pair.moves(MOVED).unwrap();
    for _ in 0..6 {
        pair.now = pair.now.plus(Nanos::from_ms(10_000));
        let packet = pair.empty(former);
        assert_eq!(pair.deliver(&packet), Ok(Event::Nothing), "the server takes its time");
    }
    let mut forged = pair.empty(MOVED);
    forged[20] ^= 1;
    assert_eq!(pair.deliver(&forged), Err(ClientError::Open), "which starts nothing");
    pair.now = pair.now.plus(Nanos::from_ms(14_000));
    let first = pair.empty(MOVED);
    assert_eq!(pair.deliver(&first), Ok(Event::Nothing));
    for (ms, last) in [(9_000, Ok(Event::Nothing)), (5_999, Ok(Event::Nothing))] {
        pair.now = pair.now.plus(Nanos::from_ms(ms));
        let packet = pair.empty(former);
        assert_eq!(pair.deliver(&packet), last);
    }
    pair.now = pair.now.plus(Nanos::from_ms(1));
    let packet = pair.empty(former);
    assert_eq!(pair.deliver(&packet), Err(ClientError::Connection));
    let packet = pair.empty(MOVED);
    assert_eq!(pair.deliver(&packet), Ok(Event::Nothing));
}

#[test]
fn the_next_announcement_ends_the_former_id() {
    let mut pair = Pair::in_world();
    let first = pair.server.connection;
    pair.moves(MOVED).unwrap();
    pair.server_is(MOVED);
    assert_eq!(pair.moves(ONWARDS), Ok(Event::Moved(ONWARDS)));
    for (id, expected) in [
        (first, Err(ClientError::Connection)),
        (MOVED, Ok(Event::Nothing)),
        (ONWARDS, Ok(Event::Nothing)),
        (ConnectionId(ONWARDS.0 ^ 1 << 20), Err(ClientError::Connection)),
    ] {
        let packet = pair.empty(id);
        assert_eq!(pair.deliver(&packet), expected, "{id:?}");
    }
}

#[test]
fn an_announcement_that_no_server_may_make_changes_nothing() {
    let mut early = Pair::accepted();
    assert_eq!(early.moves(MOVED), Err(ClientError::Unexpected), "nothing is confirmed");
    let mut pair = Pair::in_world();
    let former = pair.server.connection;
    assert_eq!(pair.moves(ConnectionId(0x0420_0500)), Err(ClientError::Message));
    assert_eq!(pair.moves(ConnectionId::GATE), Err(ClientError::Message));
    let text = [5, 0, 16, 2, 5, 0x20, 4];
    let packet = pair.server.seal(Channel::Unreliable, None, &text);
    assert_eq!(pair.deliver(&packet), Err(ClientError::Unexpected));
    let mut forged = pair.server.seal(Channel::Control, None, &text);
    forged[17] ^= 1;
    assert_eq!(pair.deliver(&forged), Err(ClientError::Open));
    assert_eq!((pair.client.connection(), pair.speaks_as()), (Some(former), former));
    let packet = pair.empty(MOVED);
    assert_eq!(pair.deliver(&packet), Err(ClientError::Connection));
    pair.server_is(former);
    assert!(pair.acks().largest < pair.server.sequence - 4, "and is not acknowledged");
}

#[test]
fn a_moved_client_can_be_closed_under_either_id_and_leaves_under_the_new_one() {
    let reason = DisconnectReason::Maintenance;
    let goodbye = ControlMessage::Disconnect { reason, retry_s: 0 };
    for under_new in [false, true] {
        let mut pair = Pair::in_world();
        pair.moves(MOVED).unwrap();
        if under_new {
            pair.server_is(MOVED);
        }
        let packet = pair.server.control(goodbye);
        assert_eq!(pair.deliver(&packet), Ok(Event::Closed));
        assert_eq!(pair.client.state(), State::Closed(CloseReason::Disconnected(reason)));
    }
    let mut pair = Pair::in_world();
    pair.moves(MOVED).unwrap();
    pair.server_is(MOVED);
    pair.client.leave(pair.now);
    assert!(matches!(pair.heard().unwrap().control(), ControlMessage::Disconnect { .. }));
}
