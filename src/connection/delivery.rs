//! Reliable messages of the sessions of a shard: `reliable` joined to packets and sequences.
//!
//! Owns: which sessions have an endpoint, and the pool that they share. A session that never sends
//! or gets a reliable message has none, and costs four bytes. Never decides what is said. Called by
//! `decode` (what arrives), `liveness` (what leaves), `handover`, and the shard (`send_reliable`).

use super::decode::{MALFORMED, Pass, Sink, Stop, UNEXPECTED};
use super::table::{FAR, Sessions, Slot, State};
use crate::crypto::siphash::siphash;
use crate::limits::{
    COMPRESS_ABOVE, HOARD_BLOCKS, HOARD_SEARCH_MS, MESSAGE_MAX_TO_CLIENT, MESSAGE_MAX_TO_SERVER,
    RELIABLE_AGAIN_SHARE, RELIABLE_BLOCKS_MIN, RELIABLE_BLOCKS_PER_SLOT, RELIABLE_SHARE, TAG_LEN,
};
use crate::metrics::{Counter, Counters};
use crate::reliable::{
    Delivered, Endpoint, Fault, Fragment, Hello, Lane, Pace, Packed, Part, Pool, SendError, Side,
    Taken,
};
use crate::time::Nanos;
use crate::wire::{
    Channel, CompressTable, ControlMessage, Direction, Flags, FragmentHeader, Messages,
    RELIABLE_HEAD_LEN, Reader, ReliableHandshake, Stage, Writer, compress, compressed_max,
    compressed_min, is_allowed, parse_reliable, reliable_head, to_server,
};

/// In `places`: the session has no endpoint.
const NONE: u32 = u32::MAX;

/// Memory to compress in.
pub(super) struct Compressor {
    table: CompressTable,
    pub(super) out: Box<[u8]>,
}

/// What a session takes along to another table.
pub(super) struct Cargo {
    messages: Packed,
    owed: u16,
}

/// The endpoints of all sessions that have one.
pub(super) struct Delivery {
    /// Where in `endpoints` that of each slot is.
    places: Vec<u32>,
    /// Bytes that each slot has sent reliably and not yet saved in snapshots.
    owed: Vec<u16>,
    endpoints: Vec<Option<Endpoint>>,
    free: Vec<u32>,
    pool: Pool,
    /// Nobody is looked for before who holds too much.
    search_at: Nanos,
    pub(super) compressor: Box<Compressor>,
}

impl Delivery {
    /// For `capacity` slots. Allocates everything; what is not used is not touched.
    pub(super) fn new(capacity: usize) -> Self {
        let blocks = (capacity * RELIABLE_BLOCKS_PER_SLOT).max(RELIABLE_BLOCKS_MIN);
        let out = vec![0; compressed_max(MESSAGE_MAX_TO_CLIENT)].into_boxed_slice();
        Self {
            places: vec![NONE; capacity],
            owed: vec![0; capacity],
            endpoints: Vec::with_capacity(capacity),
            free: Vec::with_capacity(capacity),
            pool: Pool::fixed(blocks, MESSAGE_MAX_TO_SERVER),
            search_at: Nanos(0),
            compressor: Box::new(Compressor { table: CompressTable::default(), out }),
        }
    }

    /// Bytes allocated.
    pub(super) fn memory_bytes(&self) -> usize {
        self.places.capacity() * (2 * size_of::<u32>() + size_of::<u16>())
            + self.endpoints.capacity() * size_of::<Option<Endpoint>>()
            + self.pool.memory_bytes()
            + size_of::<Compressor>()
            + self.compressor.out.len()
    }

    /// Whether the session in `index` has an endpoint.
    #[inline]
    pub(super) fn is_used(&self, index: usize) -> bool {
        self.places[index] != NONE
    }

    fn endpoint(&self, index: usize) -> Option<&Endpoint> {
        self.endpoints.get(self.places[index] as usize)?.as_ref()
    }

    fn endpoint_mut(&mut self, index: usize) -> Option<(&mut Endpoint, &mut Pool)> {
        let endpoint = self.endpoints.get_mut(self.places[index] as usize)?.as_mut()?;
        Some((endpoint, &mut self.pool))
    }

    fn put(&mut self, index: usize, endpoint: Endpoint) {
        debug_assert!(!self.is_used(index), "the one before was forgotten");
        let place = self.free.pop().unwrap_or_else(|| {
            self.endpoints.push(None);
            self.endpoints.len() as u32 - 1
        });
        self.endpoints[place as usize] = Some(endpoint);
        self.places[index] = place;
    }

    fn take(&mut self, index: usize) -> Option<Endpoint> {
        let place = std::mem::replace(&mut self.places[index], NONE);
        self.owed[index] = 0;
        let endpoint = self.endpoints.get_mut(place as usize)?.take();
        self.free.push(place);
        endpoint
    }

    /// The session in `index` has ended.
    pub(super) fn forget(&mut self, index: usize) {
        if self.is_used(index)
            && let Some(mut endpoint) = self.take(index)
        {
            endpoint.clear(&mut self.pool);
        }
    }

    /// The session in `index` goes to another table.
    pub(super) fn pack(&mut self, index: usize) -> Option<Box<Cargo>> {
        let owed = self.owed[index];
        let endpoint = self.is_used(index).then(|| self.take(index))??;
        Some(Box::new(Cargo { messages: endpoint.pack(&mut self.pool), owed }))
    }

    /// The session in `index` has come from another table.
    pub(super) fn unpack(&mut self, index: usize, cargo: Option<Box<Cargo>>) {
        if let Some(cargo) = cargo {
            let endpoint = Endpoint::unpack(cargo.messages, &mut self.pool);
            self.put(index, endpoint);
            self.owed[index] = cargo.owed;
        }
    }

    #[cold]
    pub(super) fn acknowledged(&mut self, index: usize, sequence: u64, now: Nanos) {
        if let Some((endpoint, pool)) = self.endpoint_mut(index) {
            endpoint.acknowledged(pool, sequence, now);
        }
    }

    /// When there is something to do for the session in `index`; never without an endpoint.
    pub(super) fn due(&self, index: usize) -> Nanos {
        if self.is_used(index) { self.endpoint(index).map_or(FAR, Endpoint::due) } else { FAR }
    }

    pub(super) fn has_failed(&self, index: usize, now: Nanos) -> bool {
        self.is_used(index) && self.endpoint(index).is_some_and(|it| it.has_failed(now))
    }

    /// Whether somebody who wants little found no room.
    #[inline]
    pub(super) fn is_starved(&self) -> bool {
        self.pool.is_starved()
    }

    /// Lets give up who has held most, of late, of each half of the pool in which somebody found no
    /// room; four times a second at most, as it looks at all of them.
    fn end_hoarders(&mut self, now: Nanos) -> [Option<usize>; 2] {
        let starved = self.pool.take_starved();
        if now < self.search_at {
            return [None; 2];
        }
        self.search_at = now.plus(Nanos::from_ms(HOARD_SEARCH_MS));
        [0, 1].map(|half| {
            let index = self.hoarder(half, now).filter(|_| starved[half])?;
            let (endpoint, _) = self.endpoint_mut(index)?;
            endpoint.give_up();
            Some(index)
        })
    }

    fn hoarder(&self, half: usize, now: Nanos) -> Option<usize> {
        let all = (0..self.places.len()).filter_map(|index| Some((self.endpoint(index)?, index)));
        let living = all.filter(|(endpoint, _)| !endpoint.has_failed(now));
        let held = living.map(|(endpoint, index)| (endpoint.held_of_late(half, now), index));
        held.filter(|(blocks, _)| *blocks > HOARD_BLOCKS).max().map(|(_, index)| index)
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
    // Both sides have said hello, so the session is confirmed at least.
    is_allowed(Direction::ToServer, channel(lane), Stage::Confirmed, kind)
}

/// The message that was put together from fragments.
fn parse(lane: Lane, bytes: &[u8]) -> Option<(u8, u16, &[u8])> {
    parse_reliable(bytes).filter(|(kind, ..)| may_come(lane, *kind))
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Part => MALFORMED,
            Fault::Early | Fault::Hello | Fault::Window => UNEXPECTED,
        }
    }
}

impl Sessions {
    /// Gives the session in `slot` a message that must arrive, once: on channel 1 in the order of
    /// these calls, on channel 2 in any. The next calls of `poll_control` send it. Long bodies are
    /// compressed if that makes them shorter. Returns the message id.
    ///
    /// # Errors
    /// Nothing was taken over. The first call only begins the negotiation and returns `Opening`.
    pub fn send_reliable(
        &mut self,
        slot: Slot,
        channel: Channel,
        kind: u8,
        body: &[u8],
        now: Nanos,
    ) -> Result<u16, SendError> {
        let stage = self.stage(slot).filter(|&stage| stage >= Stage::Confirmed);
        let stage = stage.ok_or(SendError::NoSession)?;
        let lane = lane(channel)
            .filter(|_| is_allowed(Direction::ToClient, channel, stage, kind))
            .ok_or(SendError::NotAllowed)?;
        let index = usize::from(slot);
        self.open_delivery(index, now);
        let Delivery { places, endpoints, pool, compressor, .. } = &mut self.delivery;
        let endpoint = endpoints.get_mut(places[index] as usize).and_then(Option::as_mut);
        let endpoint = endpoint.ok_or(SendError::NoSession)?;
        // What the client takes may be too little for ever: that must not cost a compression a
        // time.
        endpoint.admits(pool, lane, RELIABLE_HEAD_LEN + compressed_min(body.len()), now)?;
        let Compressor { table, out } = &mut **compressor;
        let compressed = compress(body, table, out);
        let travels = compressed.and_then(|length| out.get(..length)).unwrap_or(body);
        let id = endpoint.next_id(lane);
        let head = reliable_head(kind, id, travels.len()).ok_or(SendError::TooLong)?;
        let pushed = endpoint.push(pool, lane, compressed.is_some(), [&head, travels]);
        if pushed.is_err() && body.len() > COMPRESS_ABOVE {
            endpoint.paused(now);
        }
        pushed?;
        self.due[index] = Nanos(0);
        Ok(id)
    }

    /// Bytes of plaintext for the next snapshot to `slot`: its budget without what reliable
    /// messages took of it, of which every snapshot saves half of itself at most.
    ///
    /// # Panics
    /// When there is no such slot.
    #[inline]
    pub fn snapshot_budget(&mut self, slot: Slot) -> usize {
        let budget = self.budget(slot);
        let owed = &mut self.delivery.owed[usize::from(slot)];
        let saved = budget.min(usize::from(u16::MAX)) / 2;
        let saved = (*owed).min(saved as u16);
        *owed -= saved;
        budget - usize::from(saved)
    }

    /// Reliable messages to `slot` that the client has not acknowledged.
    pub fn unacknowledged(&self, slot: Slot) -> usize {
        let index = self.stage(slot).map(|_| usize::from(slot));
        index.and_then(|index| self.delivery.endpoint(index)).map_or(0, Endpoint::unacknowledged)
    }

    /// Somebody found no room in the pool: ends who has held most of it, if that is much.
    #[cold]
    pub(super) fn end_hoarders(&mut self, now: Nanos, counters: &Counters) {
        for index in self.delivery.end_hoarders(now).into_iter().flatten() {
            counters.add(Counter::HoardersEnded, 1);
            self.due[index] = Nanos(0);
        }
    }

    /// Blocks of the pool of reliable messages that are in use.
    pub fn message_blocks(&self) -> usize {
        self.delivery.pool.used()
    }

    /// Gives the session in `index` an endpoint if it has none: hello is sent with the next call of
    /// `poll_control`.
    fn open_delivery(&mut self, index: usize, now: Nanos) {
        if self.delivery.is_used(index) {
            return;
        }
        // Not from the seed: the client sees these, and must not find out what that leaves out.
        let random = siphash(self.config.path_secret, &[self.ingress[index].id.0.into()]);
        let hello = Side::Server.hello([(random >> 32) as u16, (random >> 48) as u16]);
        self.delivery.put(index, Endpoint::new(Side::Server, hello, now));
        self.due[index] = Nanos(0);
    }

    #[cold]
    pub(super) fn read_hello(
        &mut self,
        pass: Pass<'_>,
        hello: ReliableHandshake,
    ) -> Result<(), Stop> {
        if !pass.flags.contains(Flags::RELIABLE_HANDSHAKE) {
            return Err(UNEXPECTED);
        }
        let index = usize::from(pass.slot);
        self.open_delivery(index, pass.now);
        let endpoint = self.delivery.endpoint_mut(index);
        let (endpoint, _) = endpoint.ok_or(UNEXPECTED)?;
        endpoint.hear(Hello {
            first_ids: [hello.first_ordered, hello.first_unordered],
            max_inflight: hello.max_inflight,
            max_message_kib: hello.max_message_kib,
            recv_bytes: hello.recv_bytes,
        })?;
        self.due[index] = Nanos(0);
        Ok(())
    }

    /// The messages, or the fragment, of a packet of channel 1 or 2. Tells whether the packet asks
    /// to be acknowledged.
    #[cold]
    pub(super) fn read_reliable(
        &mut self,
        pass: Pass<'_>,
        body: &[u8],
        sink: &mut impl Sink,
    ) -> Result<bool, Stop> {
        let Pass { now, slot, channel, flags, counters, .. } = pass;
        let index = usize::from(slot);
        let lane = lane(channel).ok_or(UNEXPECTED)?;
        let (endpoint, pool) = self.delivery.endpoint_mut(index).ok_or(UNEXPECTED)?;
        let mut deliver = |message: Delivered<'_>| {
            counters.add(Counter::MessagesIn, 1);
            if message.kind == to_server::GAME_DATA {
                sink.game_data(slot, channel, message.body);
            }
        };
        let mut taken = Taken::Processed;
        let mut is_empty = true;
        if flags.contains(Flags::FRAGMENT) {
            let mut reader = Reader::new(body);
            let FragmentHeader { id, offset, total } = FragmentHeader::read(&mut reader)?;
            let (part, bytes) = (Part { id, offset, total }, reader.slice(reader.remaining())?);
            let fragment = Fragment { lane, part, is_compressed: false, bytes };
            taken = endpoint.accept_part(pool, fragment, now, parse, &mut deliver)?;
            is_empty = false;
        } else {
            for message in Messages::new(body, channel) {
                let message = message?;
                if !may_come(lane, message.kind) {
                    return Err(UNEXPECTED);
                }
                let (kind, body) = (message.kind, message.body);
                let whole = Delivered { lane, kind, is_compressed: false, body };
                let one = endpoint.accept(pool, message.id, whole, now, &mut deliver)?;
                taken = if one == Taken::Refused { one } else { taken };
                is_empty = false;
            }
        }
        self.due[index] = self.due[index].min(self.delivery.due(index));
        if taken == Taken::Refused { Err(Stop::Refused) } else { Ok(!is_empty) }
    }

    /// A packet with what the session in `index` has to say reliably, if it may at `now`.
    #[inline]
    pub(super) fn write_reliable(
        &mut self,
        index: usize,
        now: Nanos,
        out: &mut [u8],
        counters: &Counters,
    ) -> Option<usize> {
        let is_used = self.delivery.is_used(index) && self.state[index] != UNPROVEN;
        is_used.then(|| self.write_messages(index, now, out, counters))?
    }

    #[cold]
    fn write_messages(
        &mut self,
        index: usize,
        now: Nanos,
        out: &mut [u8],
        counters: &Counters,
    ) -> Option<usize> {
        let rate = self.budget(index as Slot) as u32 * u32::from(self.config.tick_hz);
        let pace = Pace { fresh: rate / RELIABLE_SHARE, again: rate / RELIABLE_AGAIN_SHARE };
        let (endpoint, pool) = self.delivery.endpoint_mut(index)?;
        if let Some(hello) = endpoint.hello_due(now) {
            return self.write_hello(index, hello, now, out);
        }
        let load = endpoint.prepare(pool, now, pace)?;
        let begun = self.begin_at(index, channel(load.lane), now, out)?;
        let room = out.len() - TAG_LEN;
        let mut writer = Writer::new(&mut out[begun.body..room]);
        let mut flags = Flags::default();
        if let Some(Part { id, offset, total }) = load.part {
            flags = flags.with(Flags::FRAGMENT);
            FragmentHeader { id, offset, total }.write(&mut writer);
        }
        if load.is_compressed {
            flags = flags.with(Flags::COMPRESSED);
        }
        let start = begun.body + writer.position();
        let (endpoint, pool) = self.delivery.endpoint_mut(index)?;
        let out_of_load = &mut out[start..room];
        let filled = endpoint.fill(pool, load, begun.sequence, now, pace, out_of_load);
        counters.add(Counter::MessagesOut, filled.fresh.into());
        counters.add(Counter::MessagesAgain, filled.again.into());
        flags.add_to(out);
        let owed = &mut self.delivery.owed[index];
        *owed = owed.saturating_add(filled.length as u16);
        Some(self.seal(index as Slot, out, start + filled.length))
    }

    fn write_hello(
        &mut self,
        index: usize,
        hello: Hello,
        now: Nanos,
        out: &mut [u8],
    ) -> Option<usize> {
        let begun = self.begin_at(index, Channel::Control, now, out)?;
        let room = out.len() - TAG_LEN;
        let mut writer = Writer::new(&mut out[begun.body..room]);
        let [first_ordered, first_unordered] = hello.first_ids;
        let message = ControlMessage::ReliableHandshake(ReliableHandshake {
            first_ordered,
            first_unordered,
            max_inflight: hello.max_inflight,
            max_message_kib: hello.max_message_kib,
            recv_bytes: hello.recv_bytes,
        });
        message.write(&mut writer);
        let end = begun.body + writer.position();
        Flags::RELIABLE_HANDSHAKE.add_to(out);
        let (endpoint, _) = self.delivery.endpoint_mut(index)?;
        endpoint.hello_sent(begun.sequence, now);
        Some(self.seal(index as Slot, out, end))
    }
}

/// The state of a session whose client has not proved its keys.
const UNPROVEN: State = State::Live(Stage::Unconfirmed);

const _: () = assert!(RELIABLE_HEAD_LEN < crate::limits::FRAGMENT_LEN);
