//! A table of sessions with one client whose keys we have, and what the table told its owner.
//!
//! The client says whatever an input wants, in packets that open; the record checks what holds for
//! every sequence of packets.
#![allow(dead_code, reason = "targets and museum pieces use their parts of it")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use tidelock::connection::{
    Admission, BudgetRange, CloseReason, RekeyPolicy, Rules, Sessions, SessionsConfig, Sink, Slot,
};
use tidelock::crypto::aead::PacketKey;
use tidelock::crypto::schedule::Root;
use tidelock::limits::DATAGRAM_MAX;
use tidelock::metrics::{Counter, Counters};
use tidelock::time::Nanos;
use tidelock::units::EntityId;
use tidelock::wire::{AckBlock, Channel, ConnectionId, Flags, Header, InputFrame, Reader, Writer};

const SLOT: Slot = 1;
const CLIENT_KEY: [u8; 32] = [0xC1; 32];
const SERVER_KEY: [u8; 32] = [0x5E; 32];

/// What the table told of its one session, checked as it comes.
#[derive(Default)]
pub(crate) struct Record {
    pub(crate) confirmed: bool,
    pub(crate) entered: bool,
    pub(crate) closed: Option<CloseReason>,
    newest_input: Option<u32>,
    inputs: u64,
    /// Packets of the server that may be acknowledged, and those that were.
    pub(crate) begun: BTreeSet<u64>,
    pub(crate) acked: BTreeSet<u64>,
}

impl Record {
    fn expect_open(&self, slot: Slot) {
        assert_eq!(slot, SLOT, "there is one session");
        assert_eq!(self.closed, None, "nothing is said of a session that has ended");
    }
}

impl Sink for Record {
    fn confirmed(&mut self, slot: Slot) {
        self.expect_open(slot);
        assert!(!std::mem::replace(&mut self.confirmed, true), "confirmed once");
    }

    fn enter(&mut self, slot: Slot) {
        self.expect_open(slot);
        assert!(self.confirmed && !std::mem::replace(&mut self.entered, true), "entered once");
    }

    fn input(&mut self, slot: Slot, sequence: u32, frame: InputFrame) {
        self.expect_open(slot);
        assert!(self.entered && frame.is_in_range());
        let newest = self.newest_input.replace(sequence).unwrap_or(0);
        assert!(sequence.wrapping_sub(newest) as i32 > 0, "{sequence} after {newest}");
        self.inputs += 1;
    }

    fn acked(&mut self, slot: Slot, packet_sequence: u64) {
        self.expect_open(slot);
        assert!(self.begun.contains(&packet_sequence), "never sent: {packet_sequence}");
        assert!(self.acked.insert(packet_sequence), "twice: {packet_sequence}");
    }

    fn closed(&mut self, slot: Slot, reason: CloseReason) {
        self.expect_open(slot);
        self.closed = Some(reason);
    }
}

fn admission(id: ConnectionId, address: SocketAddr, now: Nanos) -> Admission {
    Admission {
        id,
        address,
        player: 1_000,
        client_to_server: CLIENT_KEY,
        server_to_client: SERVER_KEY,
        examiner: None,
        root: Root::from_bytes([0x77; 32]),
        spawn: None,
        entity: EntityId::from_parts(1, 1),
        seat: 0,
        heir: false,
        accepted_at: now,
    }
}

/// The table, the client and the time.
pub(crate) struct Peer {
    pub(crate) sessions: Sessions,
    pub(crate) counters: Counters,
    pub(crate) record: Record,
    pub(crate) now: Nanos,
    start: Nanos,
    id: ConnectionId,
    address: SocketAddr,
    seal_key: PacketKey,
    open_key: PacketKey,
    /// Of the last packet made.
    pub(crate) sequence: u64,
    /// Of the newest packet of the server.
    heard: u64,
}

impl Peer {
    /// A session that the gate has accepted.
    pub(crate) fn accepted() -> Self {
        let budget = BudgetRange::default();
        let config = SessionsConfig {
            socket_index: 3,
            capacity: 2,
            tick_hz: 60,
            seed: 9,
            path_secret: [1, 2],
            budget,
            rules: Rules::default(),
            rekey: RekeyPolicy::default(),
        };
        let now = Nanos::from_ms(1_000_000);
        let id = ConnectionId::from_parts(3, SLOT, 0x123);
        let address = SocketAddr::from(([203, 0, 113, 7], 40_000));
        let mut sessions = Sessions::new(config);
        sessions.admit_session(admission(id, address, now)).expect("the slot is free");
        Self {
            sessions,
            counters: Counters::default(),
            record: Record::default(),
            now,
            start: now,
            id,
            address,
            seal_key: PacketKey::new(&CLIENT_KEY),
            open_key: PacketKey::new(&SERVER_KEY),
            sequence: 0,
            heard: 0,
        }
    }

    /// A session of a player in the world.
    pub(crate) fn entered() -> Self {
        let mut peer = Self::accepted();
        peer.join();
        assert!(peer.record.entered, "an honest client gets in");
        peer
    }

    /// The first two packets of a session.
    pub(crate) fn join(&mut self) {
        let mut test = [0x5A; 19];
        test[..3].copy_from_slice(&[17, 0, 10]);
        self.say(Channel::Control, Flags::SEALED, 1, &test);
        self.say(Channel::Unreliable, Flags::SEALED, 1, &[5, 0, 3, 0, 0, 0, 0]);
        self.poll();
    }

    /// After the session has ended: another one of the same slot, with keys of its own.
    pub(crate) fn admit_another(&mut self) {
        let generation = self.id.generation() + 1;
        self.id = ConnectionId::from_parts(self.id.socket(), SLOT, generation);
        let mut admission = admission(self.id, self.address, self.now);
        admission.client_to_server[0] = generation as u8;
        admission.server_to_client[0] = generation as u8;
        self.seal_key = PacketKey::new(&admission.client_to_server);
        self.open_key = PacketKey::new(&admission.server_to_client);
        self.sessions.admit_session(admission).expect("the slot is free");
        (self.sequence, self.heard, self.start) = (0, 0, self.now);
        self.record = Record::default();
    }

    pub(crate) fn pass_ms(&mut self, ms: u64) {
        self.now = self.now.plus(Nanos::from_ms(ms));
    }

    /// Sends this plaintext `ahead` sequences after the last, and once more: the copy is a replay.
    pub(crate) fn say(&mut self, channel: Channel, flags: Flags, ahead: i64, plaintext: &[u8]) {
        let sequence = self.sequence.saturating_add_signed(ahead).max(1);
        self.sequence = self.sequence.max(sequence);
        let header = Header { connection: self.id, channel, flags, sequence };
        let mut datagram = vec![0; 14 + plaintext.len() + 16];
        let mut writer = Writer::new(&mut datagram);
        header.put(&mut writer);
        writer.slice(plaintext);
        self.seal_key.seal(&mut datagram);
        self.deliver(&mut datagram.clone());
        let opened = self.counters.read(Counter::PacketsOpened);
        self.deliver(&mut datagram);
        assert_eq!(self.counters.read(Counter::PacketsOpened), opened, "a replay opened");
    }

    /// Delivers what nobody has sealed, under a sequence that its forger chose.
    pub(crate) fn forge(&mut self, sequence: u64) {
        let mut datagram = [0xA5; 64];
        let connection = self.id;
        let (channel, flags) = (Channel::Unreliable, Flags::SEALED);
        Header { connection, channel, flags, sequence }.put(&mut Writer::new(&mut datagram));
        let opened = self.counters.read(Counter::PacketsOpened);
        self.deliver(&mut datagram);
        assert_eq!(self.counters.read(Counter::PacketsOpened), opened, "a forgery opened");
    }

    pub(crate) fn deliver(&mut self, datagram: &mut [u8]) {
        let Self { sessions, counters, record, now, address, .. } = self;
        sessions.handle_datagram(*now, *address, datagram, counters, record);
        self.check();
    }

    /// A packet that begins as a snapshot does, of no messages.
    pub(crate) fn begin(&mut self) {
        let mut out = [0; DATAGRAM_MAX];
        let Some(begun) = self.sessions.begin(SLOT, Channel::Unreliable, self.now, &mut out) else {
            return;
        };
        self.record.begun.insert(begun.sequence);
        let length = self.sessions.seal(SLOT, &mut out, begun.body);
        self.heard_packet(&mut out[..length]);
    }

    /// Everything that is due now, opened and checked.
    pub(crate) fn poll(&mut self) {
        let mut out = [0; DATAGRAM_MAX];
        for _ in 0..8 {
            let Self { sessions, counters, record, now, .. } = self;
            let Some(transmit) = sessions.poll_control(*now, &mut out, counters, record) else {
                return self.check();
            };
            assert_eq!(transmit.to, self.address);
            self.heard_packet(&mut out[..transmit.length]);
        }
        panic!("the table does not stop talking");
    }

    /// What the server sends opens, under a sequence of its own, and acknowledges nothing that was
    /// not said.
    fn heard_packet(&mut self, datagram: &mut [u8]) {
        let header = Header::read(datagram).expect("the server writes headers");
        assert_eq!(header.connection, self.id);
        assert!(header.sequence > self.heard, "{} after {}", header.sequence, self.heard);
        self.heard = header.sequence;
        self.record.begun.insert(header.sequence);
        let plaintext = self.open_key.open(datagram).expect("the server's packets open");
        if header.flags.contains(Flags::ACKNOWLEDGMENT) {
            let block = AckBlock::read(&mut Reader::new(plaintext)).expect("a block");
            assert!(block.largest <= self.sequence, "it acknowledges what was never said");
        }
    }

    fn check(&self) {
        let is_open = self.record.closed.is_none();
        assert_eq!(self.sessions.len(), usize::from(is_open));
        assert_eq!(self.sessions.has_entered(SLOT), is_open && self.record.entered);
        // One input per tick and a bucket of 15, whatever the client says.
        let ticks = self.now.since(self.start).as_ms() * 60 / 1000;
        assert!(self.record.inputs <= 16 + ticks, "{} inputs", self.record.inputs);
    }
}
