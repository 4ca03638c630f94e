//! One table of sessions, and clients of a few lines that say whatever a test wants.

mod benchmark;
mod congestion;
mod delivery;
mod handover;
mod hoarders;
mod hostile;
mod integrity;
mod liveness;
mod messages;
mod network;
mod path;
mod rekey;
mod rules;
mod tickets;

use super::{
    Admission, AdmissionError, Batch, BudgetRange, CloseReason, PathState, RekeyPolicy, Rules,
    Sessions, SessionsConfig, Sink, Slot,
};
use crate::crypto::aead::PacketKey;
use crate::crypto::schedule::Root;
use crate::crypto::secret::Secret;
use crate::limits::{DATAGRAM_MAX, HEADER_LEN, TAG_LEN};
use crate::metrics::{Counter, Counters, DropReason};
use crate::time::Nanos;
use crate::wire::{
    AckBlock, Channel, ConnectionId, ControlMessage, DisconnectReason, Flags, Header, InputFrame,
    Message, Messages, Reader, Stage, Writer, put_enter_to_world, put_input_frames,
};
use std::net::SocketAddr;

const SOCKET: u8 = 3;
const TEST_BYTES: [u8; 16] = [0x5A; 16];

/// What a sink was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Confirmed(Slot),
    Enter(Slot),
    EnterAgain(Slot),
    Input(Slot, u32, InputFrame),
    Acked(Slot, u64),
    Closed(Slot, CloseReason),
    Released(Slot),
    Readdressed(Slot, SocketAddr),
    Rekeyed(Slot, u16, [u8; 32]),
}

/// The events; and whether there is no room for keys and addresses.
#[derive(Default)]
struct Record(Vec<Event>, bool);

impl Record {
    fn take_last(&mut self, event: Event) -> bool {
        if !self.1 {
            self.0.push(event);
        }
        !self.1
    }
}

impl Sink for Record {
    fn confirmed(&mut self, slot: Slot) {
        self.0.push(Event::Confirmed(slot));
    }
    fn enter(&mut self, slot: Slot) {
        self.0.push(Event::Enter(slot));
    }
    fn enter_again(&mut self, slot: Slot) {
        self.0.push(Event::EnterAgain(slot));
    }
    fn input(&mut self, slot: Slot, sequence: u32, frame: InputFrame) {
        self.0.push(Event::Input(slot, sequence, frame));
    }
    fn acked(&mut self, slot: Slot, packet_sequence: u64) {
        self.0.push(Event::Acked(slot, packet_sequence));
    }
    fn closed(&mut self, slot: Slot, reason: CloseReason) {
        self.0.push(Event::Closed(slot, reason));
    }
    fn readdressed(&mut self, slot: Slot, address: SocketAddr) -> bool {
        self.take_last(Event::Readdressed(slot, address))
    }
    fn rekeyed(&mut self, slot: Slot, epoch: u16, key: &Secret) -> bool {
        self.take_last(Event::Rekeyed(slot, epoch, *key.bytes()))
    }
    fn released(&mut self, slot: Slot) {
        self.0.push(Event::Released(slot));
    }
}

/// The other end of a session: keys and a sequence, no rules.
struct Peer {
    id: ConnectionId,
    address: SocketAddr,
    seal_key: PacketKey,
    open_key: PacketKey,
    /// Of the last packet made.
    sequence: u64,
}

/// A packet of the server, opened.
struct Heard {
    header: Header,
    ack: Option<AckBlock>,
    messages: Vec<(u8, Vec<u8>)>,
}

impl Heard {
    fn control(&self) -> Vec<ControlMessage> {
        let read = |(kind, body): &(u8, Vec<u8>)| {
            ControlMessage::read(&Message { kind: *kind, id: 0, body }).expect("a control message")
        };
        self.messages.iter().map(read).collect()
    }
}

fn root(slot: u16) -> Root {
    Root::from_bytes(std::array::from_fn(|i| (i as u8) ^ (slot as u8).wrapping_mul(31)))
}

impl Peer {
    fn new(slot: u16) -> Self {
        Self {
            id: ConnectionId::from_parts(SOCKET, slot, 0x123 + slot),
            address: SocketAddr::from(([203, 0, 113, 7], 40_000 + slot)),
            seal_key: PacketKey::new(&root(slot).client_to_server(0)),
            open_key: PacketKey::new(&root(slot).server_to_client(0)),
            sequence: 0,
        }
    }

    fn admission(&self, now: Nanos) -> Admission {
        let slot = self.id.slot();
        Admission {
            id: self.id,
            address: self.address,
            player: 1_000 + u64::from(slot),
            client_to_server: root(slot).client_to_server(0),
            server_to_client: root(slot).server_to_client(0),
            root: root(slot),
            examiner: None,
            spawn: (slot % 2 == 1).then_some([i32::from(slot), 2, 3]),
            entity: crate::units::EntityId::from_parts(1, 1),
            seat: 0,
            heir: false,
            accepted_at: now,
        }
    }

    /// Seals exactly these bytes under exactly this header.
    fn seal(&self, header: Header, plaintext: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_LEN + plaintext.len() + TAG_LEN);
        out.extend_from_slice(&header.connection.0.to_le_bytes());
        out.extend_from_slice(&[header.channel as u8, header.flags.0]);
        out.extend_from_slice(&header.sequence.to_le_bytes());
        out.extend_from_slice(plaintext);
        out.resize(out.len() + TAG_LEN, 0);
        self.seal_key.seal(&mut out);
        out
    }

    fn header(&mut self, channel: Channel) -> Header {
        self.sequence += 1;
        Header { connection: self.id, channel, flags: Flags::SEALED, sequence: self.sequence }
    }

    /// The next packet, without an acknowledgment block.
    fn packet(&mut self, channel: Channel, plaintext: &[u8]) -> Vec<u8> {
        let header = self.header(channel);
        self.seal(header, plaintext)
    }

    fn control(&mut self, message: ControlMessage) -> Vec<u8> {
        let plaintext = write(|writer| message.write(writer));
        self.packet(Channel::Control, &plaintext)
    }

    fn crypto_test(&mut self) -> Vec<u8> {
        self.control(ControlMessage::CryptoTest(TEST_BYTES))
    }

    fn enter(&mut self) -> Vec<u8> {
        self.packet(Channel::Unreliable, &write(put_enter_to_world))
    }

    fn input(&mut self, newest: u32, count: usize) -> Vec<u8> {
        let frames: Vec<_> = (0..count as u32).map(|i| frame(newest.wrapping_sub(i))).collect();
        let plaintext = write(|writer| put_input_frames(writer, newest, &frames));
        self.packet(Channel::Unreliable, &plaintext)
    }

    fn ack(&mut self, largest: u64, bitmap: u64) -> Vec<u8> {
        let block = AckBlock { largest, bitmap, delay: AckBlock::DELAY_UNKNOWN };
        let mut header = self.header(Channel::Control);
        header.flags = header.flags.with(Flags::ACKNOWLEDGMENT);
        self.seal(header, &write(|writer| block.write(writer)))
    }

    fn open(&self, datagram: &[u8]) -> Heard {
        let mut datagram = datagram.to_vec();
        let header = Header::read(&datagram).expect("the server writes headers");
        let mut body = &*self.open_key.open(&mut datagram).expect("the server's packets open");
        assert_eq!(header.connection, self.id);
        let mut ack = None;
        if header.flags.contains(Flags::ACKNOWLEDGMENT) {
            let mut reader = Reader::new(body);
            ack = Some(AckBlock::read(&mut reader).expect("the server writes blocks"));
            body = reader.slice(reader.remaining()).expect("what remains");
        }
        let messages = Messages::new(body, header.channel)
            .map(|message| message.expect("the server frames messages"))
            .map(|message| (message.kind, message.body.to_vec()))
            .collect();
        Heard { header, ack, messages }
    }
}

fn write(body: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = [0; DATAGRAM_MAX];
    let mut writer = Writer::new(&mut out);
    body(&mut writer);
    let length = writer.finish().expect("test messages are small");
    out[..length].to_vec()
}

/// The frame that every test client sends under this sequence.
fn frame(sequence: u32) -> InputFrame {
    InputFrame { move_x: (sequence % 100) as i8, move_y: -7, yaw: sequence as u16, buttons: 1 }
}

/// A table and everything around it.
struct Bench {
    sessions: Sessions,
    counters: Counters,
    sink: Record,
    now: Nanos,
}

impl Bench {
    fn new(capacity: usize) -> Self {
        Self::on_socket(SOCKET, capacity)
    }

    fn on_socket(socket_index: u8, capacity: usize) -> Self {
        let budget = BudgetRange::default();
        let config = SessionsConfig {
            socket_index,
            capacity,
            tick_hz: 60,
            seed: 9,
            path_secret: [1, 2],
            budget,
            rules: Rules::default(),
            rekey: RekeyPolicy::default(),
        };
        Self {
            sessions: Sessions::new(config),
            counters: Counters::default(),
            sink: Record::default(),
            now: Nanos::from_ms(1_000_000),
        }
    }

    /// A session that the gate has accepted.
    fn accepted(&mut self, slot: u16) -> Peer {
        let peer = Peer::new(slot);
        self.sessions.admit_session(peer.admission(self.now)).expect("the slot is free");
        peer
    }

    /// A session whose keys are proven; what that caused has been taken away.
    fn confirmed(&mut self, slot: u16) -> Peer {
        let mut peer = self.accepted(slot);
        let packet = peer.crypto_test();
        self.deliver(&peer, &packet);
        self.poll(&peer);
        self.sink.0.clear();
        peer
    }

    /// A session whose player is in the world.
    fn entered(&mut self, slot: u16) -> Peer {
        let mut peer = self.confirmed(slot);
        let packet = peer.enter();
        self.deliver(&peer, &packet);
        self.sink.0.clear();
        peer
    }

    fn deliver_from(&mut self, from: SocketAddr, datagram: &[u8]) {
        let mut datagram = datagram.to_vec();
        let Self { sessions, counters, sink, now } = self;
        sessions.handle_datagram(*now, from, &mut datagram, counters, sink);
    }

    fn deliver(&mut self, peer: &Peer, datagram: &[u8]) {
        self.deliver_from(peer.address, datagram);
    }

    fn deliver_batch(&mut self, batch: &mut Batch) {
        self.run(batch, |to, _, _| panic!("{to:?} is nobody"));
    }

    fn run(&mut self, batch: &mut Batch, forward: impl FnMut(ConnectionId, SocketAddr, &[u8])) {
        let Self { sessions, counters, sink, now } = self;
        sessions.admit_batch(*now, batch, counters, forward);
        sessions.open_batch(*now, batch, counters);
        sessions.decode_batch(*now, batch, counters, sink);
    }

    /// Everything that is due now, opened by `peer`, the only session of the test.
    fn poll(&mut self, peer: &Peer) -> Vec<Heard> {
        let mut out = [0; DATAGRAM_MAX];
        let mut all = Vec::new();
        let Self { sessions, counters, sink, now } = self;
        while let Some(transmit) = sessions.poll_control(*now, &mut out, counters, sink) {
            assert_eq!((transmit.slot, transmit.to), (peer.id.slot(), peer.address));
            all.push(peer.open(&out[..transmit.length]));
        }
        all
    }

    /// A packet with no message, as a snapshot would be; its sequence.
    fn snapshot(&mut self, slot: Slot) -> u64 {
        let mut out = [0; DATAGRAM_MAX];
        let begun = self.sessions.begin(slot, Channel::Unreliable, self.now, &mut out);
        begun.expect("a session").sequence
    }

    fn advance_ms(&mut self, ms: u64) {
        self.now = self.now.plus(Nanos::from_ms(ms));
    }

    fn events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.sink.0)
    }

    fn dropped(&self, reason: DropReason) -> u64 {
        self.counters.dropped(reason)
    }

    fn read(&self, counter: Counter) -> u64 {
        self.counters.read(counter)
    }

    /// Everything that a packet could change, except counters (and the count of failed opens is
    /// one) and what is left for strangers.
    fn state(&self) -> String {
        let s = &self.sessions;
        let of = |keys: &super::table::Keys| (keys.opens, keys.seals, keys.carried);
        let keys: Vec<_> = s.keys.iter().map(|keys| keys.as_ref().map(of)).collect();
        let routes: Vec<_> = s.route.iter().map(super::path::Route::without_strays).collect();
        format!(
            "{} {} {:?} {:?} {:?} {keys:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} \
             {routes:?}",
            s.live,
            s.poll_at,
            s.ingress,
            s.flow,
            s.control,
            s.state,
            s.unacked,
            s.due,
            s.pending,
            s.violations,
            s.spent,
            s.watch,
            s.address,
            s.transfer,
            s.rekey,
            self.sink.0,
        )
    }
}

#[test]
fn an_admission_is_taken_only_for_a_slot_without_a_session() {
    let mut bench = Bench::new(4);
    let peer = bench.accepted(1);
    let refused = |bench: &mut Bench, admission| bench.sessions.admit_session(admission);
    let taken = refused(&mut bench, peer.admission(Nanos(0)));
    assert_eq!(taken, Err(AdmissionError::SlotTaken));
    let beyond = refused(&mut bench, Peer::new(4).admission(Nanos(0)));
    assert_eq!(beyond, Err(AdmissionError::NoSuchSlot));
    let mut other = Peer::new(2).admission(Nanos(0));
    other.id = ConnectionId::from_parts(SOCKET + 1, 2, 1);
    assert_eq!(refused(&mut bench, other), Err(AdmissionError::WrongSocket));
    assert_eq!((bench.sessions.len(), bench.sessions.stage(1)), (1, Some(Stage::Unconfirmed)));
    assert_eq!(bench.sessions.player(1), Some(1_001));
    assert_eq!(bench.sessions.spawn_point(1), Some([1, 2, 3]));
    assert_eq!(bench.sessions.find(peer.id), Some(1));
    for slot in [0, 2, 3, 4, u16::MAX] {
        assert_eq!((bench.sessions.id(slot), bench.sessions.address(slot)), (None, None));
    }
}

#[test]
fn a_slot_is_free_again_while_its_former_session_is_told_goodbye() {
    let mut bench = Bench::new(2);
    let mut old = bench.confirmed(1);
    assert!(bench.sessions.disconnect(1, DisconnectReason::Replaced, &bench.counters));
    assert!(!bench.sessions.disconnect(1, DisconnectReason::Replaced, &bench.counters));
    assert_eq!((bench.sessions.len(), bench.sessions.find(old.id)), (0, None));
    let late = old.input(1, 1);
    bench.deliver(&old, &late);
    assert_eq!(bench.dropped(DropReason::UnknownConnection), 1);
    assert_eq!(bench.poll(&old).len(), 1, "the first of three goodbyes");
    // Another session of the slot: the id differs by its generation.
    let mut new = Peer::new(1);
    new.id = ConnectionId::from_parts(SOCKET, 1, 0x777);
    bench.sessions.admit_session(new.admission(bench.now)).expect("closing is free");
    bench.advance_ms(200);
    assert!(bench.poll(&new).is_empty(), "the goodbyes of the old session are over");
    let packet = new.crypto_test();
    bench.deliver(&new, &packet);
    assert_eq!(bench.events(), [Event::Confirmed(1)]);
    assert_eq!(bench.sessions.find(new.id), Some(1));
}

#[test]
fn the_whole_table_fits_in_a_few_megabytes() {
    let bytes = Bench::new(4096).sessions.memory_bytes();
    assert!((2 << 20..24 << 20).contains(&bytes), "{bytes}");
}
