//! Reliable messages of one client: `reliable` joined to its packets, and what came of them.
//!
//! Owns: the endpoint and its memory, the bytes for the game that nobody has taken yet, and the
//! descriptions of entities. Nothing of it exists before the first reliable message. Called by
//! `session` and `machine`.

use super::error::ClientError;
use super::machine::Client;
use super::session::{Opened, Session};
use super::snapshot::Scratch;
use crate::limits::{
    DATAGRAM_MAX, DESCRIPTIONS_MAX, INBOX_BYTES, INBOX_MAX, PLAINTEXT_MAX, RELIABLE_BLOCKS_CLIENT,
    RELIABLE_CLIENT_AGAIN_PER_S, RELIABLE_CLIENT_BYTES_PER_S, RELIABLE_CLIENT_INTERVAL_MS,
};
use crate::reliable::{
    Delivered, Endpoint, Fault, Fragment, Hello, Lane, Pace, Part, Pool, SendError, Side, Taken,
};
use crate::time::Nanos;
use crate::units::EntityId;
use crate::wire::{
    Channel, ControlMessage, Direction, DisconnectReason, Flags, FragmentHeader, Message, Messages,
    Reader, ReliableHandshake, Stage, decompress, is_allowed, parse_reliable, raw_len,
    read_create_entity, read_remove_entity, reliable_head, to_client, to_server,
};
use std::collections::{BTreeMap, VecDeque};

const PACE: Pace = Pace { fresh: RELIABLE_CLIENT_BYTES_PER_S, again: RELIABLE_CLIENT_AGAIN_PER_S };
const INTERVAL: Nanos = Nanos::from_ms(RELIABLE_CLIENT_INTERVAL_MS);

/// Bytes for the game, and how they came.
pub type GameData = (Channel, Box<[u8]>);

/// What was delivered.
#[derive(Default)]
struct Inbox {
    data: VecDeque<GameData>,
    bytes: usize,
    descriptions: BTreeMap<EntityId, Box<[u8]>>,
}

/// The reliable half of a session.
pub(super) struct Delivery {
    endpoint: Endpoint,
    pool: Pool,
    inbox: Inbox,
    /// No packet before this time: the server allows 120 a second, and inputs take 60.
    next_packet: Nanos,
}

impl Delivery {
    fn new(now: Nanos) -> Box<Self> {
        let endpoint = Endpoint::new(Side::Client, Side::Client.hello([0; Lane::COUNT]), now);
        let pool = Pool::growing(RELIABLE_BLOCKS_CLIENT);
        Box::new(Self { endpoint, pool, inbox: Inbox::default(), next_packet: now })
    }

    /// The server has processed the packet with `sequence`.
    pub(super) fn acknowledged(&mut self, sequence: u64, now: Nanos) {
        self.endpoint.acknowledged(&mut self.pool, sequence, now);
    }

    /// When there is something to do.
    pub(super) fn due(&self) -> Nanos {
        self.endpoint.due().max(self.next_packet)
    }

    fn heap_bytes(&self) -> usize {
        let described = self.inbox.descriptions.values().map(|it| it.len());
        size_of::<Self>() + self.pool.memory_bytes() + self.inbox.bytes + described.sum::<usize>()
    }
}

impl Inbox {
    /// Whether nothing more is taken until the program takes something.
    fn is_full(&self) -> bool {
        self.data.len() >= INBOX_MAX || self.bytes >= INBOX_BYTES
    }

    fn put(&mut self, channel: Channel, kind: u8, body: &[u8]) -> Result<(), ClientError> {
        match kind {
            to_client::CREATE_ENTITY => {
                let (entity, description) = read_create_entity(body)?;
                let is_full = self.descriptions.len() >= DESCRIPTIONS_MAX;
                if is_full && !self.descriptions.contains_key(&entity) {
                    return Err(ClientError::Unexpected);
                }
                self.descriptions.insert(entity, description.into());
            }
            to_client::REMOVE_ENTITY => {
                let entity = read_remove_entity(body)?;
                self.descriptions.remove(&entity).ok_or(ClientError::Unexpected)?;
            }
            _ => {
                self.bytes += body.len();
                self.data.push_back((channel, body.into()));
            }
        }
        Ok(())
    }
}

fn lane(channel: Channel) -> Option<Lane> {
    match channel {
        Channel::ReliableOrdered => Some(Lane::Ordered),
        Channel::ReliableUnordered => Some(Lane::Unordered),
        Channel::Unreliable | Channel::Control => None,
    }
}

fn channel(lane: Lane) -> Channel {
    match lane {
        Lane::Ordered => Channel::ReliableOrdered,
        Lane::Unordered => Channel::ReliableUnordered,
    }
}

fn may_come(lane: Lane, kind: u8) -> bool {
    is_allowed(Direction::ToClient, channel(lane), Stage::Confirmed, kind)
}

fn parse(lane: Lane, bytes: &[u8]) -> Option<(u8, u16, &[u8])> {
    parse_reliable(bytes).filter(|(kind, ..)| may_come(lane, *kind))
}

impl From<Fault> for ClientError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Part => Self::Message,
            Fault::Early | Fault::Hello | Fault::Window => Self::Unexpected,
        }
    }
}

impl Client {
    /// Gives the server bytes that must arrive, once: on channel 1 in the order of these calls, on
    /// channel 2 in any. Up to 16,379 bytes. Returns the message id.
    ///
    /// # Errors
    /// Nothing was taken over. The first call only begins the negotiation and returns `Opening`.
    pub fn send_game_data(
        &mut self,
        now: Nanos,
        channel: Channel,
        body: &[u8],
    ) -> Result<u16, SendError> {
        let lane = lane(channel).ok_or(SendError::NotAllowed)?;
        let session = self.session_mut().filter(|it| it.stage >= Stage::Confirmed);
        let session = session.filter(|it| !it.is_leaving()).ok_or(SendError::NoSession)?;
        let Delivery { endpoint, pool, .. } = session.open_delivery(now);
        let id = endpoint.next_id(lane);
        let head = reliable_head(to_server::GAME_DATA, id, body.len());
        let head = head.ok_or(SendError::TooLong)?;
        endpoint.push(pool, lane, false, [&head, body])
    }

    /// The oldest bytes for the game that were not taken yet. Nothing more is received, and the
    /// server is kept waiting, while 64 messages or 64 KiB are there.
    pub fn take_game_data(&mut self) -> Option<GameData> {
        let inbox = &mut self.session_mut()?.delivery.as_mut()?.inbox;
        let data = inbox.data.pop_front()?;
        inbox.bytes -= data.1.len();
        Some(data)
    }

    /// What the server told of an entity besides its state; `None` if it told nothing, or the
    /// entity is out of sight.
    pub fn description(&self, entity: EntityId) -> Option<&[u8]> {
        let inbox = &self.session()?.delivery.as_ref()?.inbox;
        inbox.descriptions.get(&entity).map(|description| &**description)
    }

    /// The entities that have a description.
    pub fn described(&self) -> impl Iterator<Item = EntityId> + '_ {
        let delivery = self.session().and_then(|session| session.delivery.as_ref());
        delivery.into_iter().flat_map(|delivery| delivery.inbox.descriptions.keys().copied())
    }

    /// Messages sent that the server has not acknowledged.
    pub fn unacknowledged(&self) -> usize {
        let delivery = self.session().and_then(|session| session.delivery.as_ref());
        delivery.map_or(0, |delivery| delivery.endpoint.unacknowledged())
    }

    pub(super) fn delivery_bytes(&self) -> usize {
        let delivery = self.session().and_then(|session| session.delivery.as_ref());
        delivery.map_or(0, |delivery| delivery.heap_bytes())
    }
}

impl Session {
    fn open_delivery(&mut self, now: Nanos) -> &mut Delivery {
        self.delivery.get_or_insert_with(|| Delivery::new(now))
    }

    /// The server said what it takes.
    pub(super) fn hear_hello(
        &mut self,
        now: Nanos,
        hello: ReliableHandshake,
    ) -> Result<(), ClientError> {
        let endpoint = &mut self.open_delivery(now).endpoint;
        endpoint.hear(Hello {
            first_ids: [hello.first_ordered, hello.first_unordered],
            max_inflight: hello.max_inflight,
            max_message_kib: hello.max_message_kib,
            recv_bytes: hello.recv_bytes,
        })?;
        Ok(())
    }

    /// Takes in a packet of channel 1 or 2. Tells whether it is to be acknowledged.
    pub(super) fn handle_reliable(
        &mut self,
        now: Nanos,
        opened: &Opened<'_>,
        scratch: &mut Scratch,
    ) -> Result<bool, ClientError> {
        let lane = lane(opened.channel).ok_or(ClientError::Unexpected)?;
        let delivery = self.delivery.as_mut().ok_or(ClientError::Unexpected)?;
        let Delivery { endpoint, pool, inbox, .. } = &mut **delivery;
        if inbox.is_full() {
            return Ok(false);
        }
        let mut fault = Ok(());
        let mut deliver = |message: Delivered<'_>| {
            let told = scratch
                .inflated(&message)
                .and_then(|body| inbox.put(channel(message.lane), message.kind, body));
            fault = fault.and(told);
        };
        let is_compressed = opened.flags.contains(Flags::COMPRESSED);
        let mut taken = Taken::Processed;
        if opened.flags.contains(Flags::FRAGMENT) {
            let mut reader = Reader::new(opened.messages);
            let FragmentHeader { id, offset, total } = FragmentHeader::read(&mut reader)?;
            let (part, bytes) = (Part { id, offset, total }, reader.slice(reader.remaining())?);
            let fragment = Fragment { lane, part, is_compressed, bytes };
            taken = endpoint.accept_part(pool, fragment, now, parse, &mut deliver)?;
        } else {
            let messages = Messages::new(opened.messages, opened.channel);
            if is_compressed && messages.clone().count() != 1 {
                return Err(ClientError::Message);
            }
            for message in messages {
                let Message { kind, id, body } = message?;
                if !may_come(lane, kind) {
                    return Err(ClientError::Unexpected);
                }
                let whole = Delivered { lane, kind, is_compressed, body };
                let one = endpoint.accept(pool, id, whole, now, &mut deliver)?;
                taken = if one == Taken::Refused { one } else { taken };
            }
        }
        fault.map(|()| taken == Taken::Processed)
    }

    /// Writes the next packet of what is to be delivered reliably, if one may be sent at `now`.
    pub(super) fn poll_reliable(
        &mut self,
        now: Nanos,
        out: &mut [u8; DATAGRAM_MAX],
    ) -> Option<usize> {
        let sequence = self.next_sequence();
        let delivery = self.delivery.as_mut().filter(|it| it.due() <= now)?;
        let Delivery { endpoint, pool, next_packet, .. } = &mut **delivery;
        if endpoint.has_failed(now) {
            // What was promised cannot be kept, so nothing more is. The player may come back.
            self.leave(now, DisconnectReason::TimedOut);
            return self.poll_urgent(now, out);
        }
        if let Some(hello) = endpoint.hello_due(now) {
            endpoint.hello_sent(sequence, now);
            *next_packet = now.plus(INTERVAL);
            return Some(self.send_hello(now, hello, out));
        }
        let load = endpoint.prepare(pool, now, PACE)?;
        *next_packet = now.plus(INTERVAL);
        let mut bytes = [0; PLAINTEXT_MAX];
        let room = PLAINTEXT_MAX
            - crate::limits::ACK_BLOCK_LEN
            - if load.part.is_some() { crate::limits::FRAGMENT_HEADER_LEN } else { 0 };
        let filled = endpoint.fill(pool, load, sequence, now, PACE, &mut bytes[..room]);
        let flags = load.part.map_or(Flags::default(), |_| Flags::FRAGMENT);
        let length = self.send_with(now, channel(load.lane), flags, out, |writer| {
            if let Some(Part { id, offset, total }) = load.part {
                FragmentHeader { id, offset, total }.write(writer);
            }
            writer.slice(&bytes[..filled.length]);
        });
        Some(length)
    }

    fn send_hello(&mut self, now: Nanos, hello: Hello, out: &mut [u8; DATAGRAM_MAX]) -> usize {
        let [first_ordered, first_unordered] = hello.first_ids;
        let message = ControlMessage::ReliableHandshake(ReliableHandshake {
            first_ordered,
            first_unordered,
            max_inflight: hello.max_inflight,
            max_message_kib: hello.max_message_kib,
            recv_bytes: hello.recv_bytes,
        });
        let flags = Flags::RELIABLE_HANDSHAKE;
        self.send_with(now, Channel::Control, flags, out, |writer| message.write(writer))
    }
}

impl Scratch {
    /// The body of `message` as it was before it was compressed.
    fn inflated<'a>(&'a mut self, message: &Delivered<'a>) -> Result<&'a [u8], ClientError> {
        if !message.is_compressed {
            return Ok(message.body);
        }
        let length = raw_len(message.body)?;
        if self.inflated.len() < length {
            self.inflated.resize(length, 0);
        }
        decompress(message.body, &mut self.inflated)?;
        Ok(&self.inflated[..length])
    }
}
