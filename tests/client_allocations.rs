//! A client allocates while it joins and while entities appear, and never afterwards: thousands of
//! them share a thread of the load generator.

mod counting;

use counting::allocations;
use tidelock::client::{Client, Event, Scratch, State, Ticket};
use tidelock::crypto::aead::PacketKey;
use tidelock::crypto::noise::{Responder, StaticKeys};
use tidelock::crypto::schedule::Root;
use tidelock::host::entropy::SeededEntropy;
use tidelock::state::{Kind, QuantizedState};
use tidelock::time::Nanos;
use tidelock::units::EntityId;
use tidelock::wire::snapshot::{EntryBody, OwnState, SnapshotHead, write_entry_head};
use tidelock::wire::*;

const PROTOCOL: u64 = 5;
const PSK: [u8; 32] = [9; 32];
const VISIBLE: u8 = 50;
/// Ticks between a state and the snapshot that builds on it.
const AGE: u32 = 3;

struct Server {
    connection: ConnectionId,
    key: PacketKey,
    sequence: u64,
}

impl Server {
    /// Seals what `text` writes into `out` and returns the length.
    fn seal(
        &mut self,
        channel: Channel,
        out: &mut [u8; 1200],
        text: impl FnOnce(&mut Writer<'_>),
    ) -> usize {
        self.sequence += 1;
        let mut writer = Writer::new(&mut out[..1184]);
        let (connection, sequence) = (self.connection, self.sequence);
        Header { connection, channel, flags: Flags::SEALED, sequence }.put(&mut writer);
        text(&mut writer);
        let end = writer.finish().expect("the test's messages fit") + 16;
        self.key.seal(&mut out[..end]);
        end
    }
}

/// A client whose keys are confirmed, and its server.
fn joined(scratch: &mut Scratch) -> (Client, Server) {
    let keys = StaticKeys::from_secret([3; 32]);
    let token = PublicToken { kind: 1, key_id: 7, nonce: [2; 24], expiry_s: 9, sealed: [5; 272] };
    let ticket =
        Ticket { protocol_id: PROTOCOL, token, psk: PSK, server_public: keys.public, build: 1 };
    let mut client = Client::new(&ticket, [1; 8], Nanos(0), &mut SeededEntropy(5)).unwrap();
    let mut out = [0; 1200];
    client.poll_transmit(Nanos(0), &mut out).unwrap();
    let connect = Connect::read(&out).unwrap();
    let message = connect.noise_message();
    let (responder, _) = Responder::read(&connect.prologue(), &keys, &PSK, message).unwrap();
    let connection = ConnectionId::from_parts(1, 5, 9);
    let accepted = Accepted::new(Status::Ok, connection, 42, 60);
    let (handshake, noise_message) = responder.reply([11; 32], &accepted.write()).unwrap();
    let mut reply = [0; ACCEPTED_LEN];
    AcceptedPacket { client_nonce: [1; 8], noise_message }.write(PROTOCOL, &mut reply);
    client.handle_datagram(Nanos(0), &mut reply, scratch).unwrap();
    let root = Root::from_handshake(&handshake);
    let key = PacketKey::new(&root.server_to_client(0));
    let mut server = Server { connection, key, sequence: 0 };
    let len = client.poll_transmit(Nanos(0), &mut out).unwrap();
    let from_client = PacketKey::new(&root.client_to_server(0));
    let text = from_client.open(&mut out[..len]).unwrap();
    let test: [u8; 16] = text[3..19].try_into().unwrap();
    let len = server.seal(Channel::Control, &mut out, |writer| {
        ControlMessage::CryptoTestAck(test).write(writer);
    });
    client.handle_datagram(Nanos(0), &mut out[..len], scratch).unwrap();
    (client, server)
}

fn state(tick: u32, slot: u8) -> QuantizedState {
    let (x, y) = (1000 + tick * 6 + u32::from(slot) * 100, 2000 + tick * 4);
    QuantizedState { x, y, velocity: [tick as i16, 0, 0], ..QuantizedState::DEFAULT }
}

/// The snapshot of `tick`: every entity moved.
fn body(tick: u32, out: &mut [u8; 1200]) -> usize {
    let own = OwnState {
        id: EntityId::from_parts(1, 1),
        position: [1.0; 3],
        flags: 1,
        health: 255,
        mana: 255,
        ..OwnState::default()
    };
    let head = SnapshotHead {
        tick,
        base_age: AGE as u8,
        entries: VISIBLE,
        own: Some(own),
        ..SnapshotHead::default()
    };
    let mut at = head.write(out);
    for slot in 0..VISIBLE {
        let now = state(tick, slot);
        let (age, entry) = if tick <= AGE {
            let id = EntityId::from_parts(100 + u32::from(slot), 1);
            (0, EntryBody::full(id, Kind::Player, &now))
        } else {
            (AGE as u8, EntryBody::delta(&now, &state(tick - AGE, slot)).expect("it moved"))
        };
        at += write_entry_head(slot, age, head.base_age, &mut out[at..]);
        out[at..at + entry.as_slice().len()].copy_from_slice(entry.as_slice());
        at += entry.as_slice().len();
    }
    at
}

#[test]
fn a_client_in_a_moving_crowd_allocates_nothing() {
    let mut scratch = Scratch::default();
    let (mut client, mut server) = joined(&mut scratch);
    let mut tick = 0;
    let mut play = |client: &mut Client| {
        tick += 1;
        let now = Nanos::from_ms(u64::from(tick) * 16);
        let (mut text, mut datagram) = ([0; 1200], [0; 1200]);
        let len = body(tick, &mut text);
        let len = server.seal(Channel::Unreliable, &mut datagram, |writer| {
            put_message(writer, to_client::DELTA_SYNC, |writer| writer.slice(&text[..len]));
        });
        let event = client.handle_datagram(now, &mut datagram[..len], &mut scratch);
        assert!(matches!(event, Ok(Event::Snapshot(_))), "{event:?} at tick {tick}");
        client.set_input(InputFrame { yaw: tick as u16, ..InputFrame::default() });
        while client.poll_transmit(now, &mut datagram).is_some() {}
    };
    (0..20).for_each(|_| play(&mut client));
    let count = allocations(|| (0..1000).for_each(|_| play(&mut client)));
    assert_eq!(client.state(), State::InWorld);
    assert_eq!(client.world().visible(), u32::from(VISIBLE));
    assert_eq!(client.world().seen(7).map(|seen| seen.state), Some(state(1020, 7)));
    assert_eq!(count, 0);
}
