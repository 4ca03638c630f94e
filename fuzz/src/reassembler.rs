//! Messages in parts against a naive model: what was sent is a table of whole messages, and what
//! arrives are their parts in any order, repeated, and parts that nobody sent. As the protocol asks
//! of it, the sender has parts of so many messages under way as the receiver has sets, and begins
//! with the oldest.

use super::bytes::Bytes;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::OnceLock;
use tidelock::limits::{
    FRAGMENT_SETS_CLIENT, FRAGMENT_SETS_SERVER, MESSAGE_MAX_TO_CLIENT, MESSAGE_MAX_TO_SERVER,
    REORDER_BYTES,
};
use tidelock::reliable::{
    Delivered, Endpoint, Fault, Fragment, Hello, Lane, Part, Pool, Side, Taken,
};
use tidelock::time::Nanos;

const STEPS: usize = 200;
/// Messages of each lane.
const COUNT: u16 = 10;
const LANES: [Lane; 2] = [Lane::Ordered, Lane::Unordered];
/// Ids wrap.
const FIRST_IDS: [u16; 2] = [0xFFFC, 7];
const LENGTHS: [usize; 8] = [4, 1_024, 1_025, 2_048, 3_000, 5_000, 9_000, usize::MAX];
/// A block of the pool, with some room for how it is used.
const BLOCK: usize = 240;

thread_local! {
    /// Too large to be taken and cleared for each input; what a run leaves behind is nothing.
    static POOL: Cell<Option<Pool>> = const { Cell::new(None) };
}

/// The longest message with a number, of all different bytes: no part looks like another. Those
/// that are sent are as much of it as their length says.
fn text(number: usize) -> &'static [u8] {
    static TEXTS: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    let texts = TEXTS.get_or_init(|| {
        let all = LANES.len() * usize::from(COUNT);
        let byte = |number: usize, at: usize| (at ^ at >> 8).wrapping_mul(2 * number + 1) as u8;
        let text = |number: usize| {
            let id = FIRST_IDS[number / usize::from(COUNT)]
                .wrapping_add((number % usize::from(COUNT)) as u16);
            let mut text: Vec<u8> = (0..MESSAGE_MAX_TO_CLIENT).map(|at| byte(number, at)).collect();
            text[..2].copy_from_slice(&id.to_le_bytes());
            text
        };
        (0..all).map(text).collect()
    });
    &texts[number]
}

struct Model {
    endpoint: Endpoint,
    pool: Pool,
    now: Nanos,
    held_max: usize,
    message_max: usize,
    sets: usize,
    /// The messages as they travel, by lane.
    sent: [[&'static [u8]; COUNT as usize]; 2],
    /// Which of their parts were acknowledged, a bit each.
    acknowledged: [[u64; COUNT as usize]; 2],
    /// Those that were delivered.
    got: [BTreeSet<u16>; 2],
    /// Ids for which parts came that nobody sent: what is delivered of them is anybody's guess.
    spoiled: [BTreeSet<u16>; 2],
}

/// Lengths of the messages, then steps: which part comes next.
pub fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    let mut model = Model::new(&mut bytes);
    for _ in 0..STEPS {
        if bytes.is_empty() || model.is_over() {
            break;
        }
        model.step(&mut bytes);
    }
    let unspoiled = model.spoiled.iter().all(BTreeSet::is_empty);
    if unspoiled && !model.is_over() {
        model.everything_comes();
    }
    model.endpoint.clear(&mut model.pool);
    assert_eq!(model.pool.used(), 0, "memory is lost");
    POOL.set(Some(model.pool));
}

impl Model {
    fn new(bytes: &mut Bytes<'_>) -> Self {
        let (side, message_max, sets) = match bytes.u8() % 2 {
            0 => (Side::Server, MESSAGE_MAX_TO_SERVER, FRAGMENT_SETS_SERVER),
            _ => (Side::Client, MESSAGE_MAX_TO_CLIENT, FRAGMENT_SETS_CLIENT),
        };
        let now = Nanos::from_ms(1_000);
        let mut endpoint = Endpoint::new(side, side.hello([1, 1]), now);
        let hello = Hello { first_ids: FIRST_IDS, ..side.hello([0; 2]) };
        assert_eq!(endpoint.hear(hello), Ok(()));
        let mut message = |lane: usize, index: usize| {
            let length = LENGTHS[usize::from(bytes.u8()) % LENGTHS.len()].min(message_max);
            &text(lane * usize::from(COUNT) + index)[..length]
        };
        let sent = [0, 1].map(|lane| std::array::from_fn(|index| message(lane, index)));
        let pool = POOL.take().unwrap_or_else(|| Pool::growing(4_096));
        Self {
            endpoint,
            pool,
            now,
            held_max: REORDER_BYTES + sets * message_max,
            message_max,
            sets,
            sent,
            acknowledged: Default::default(),
            got: Default::default(),
            spoiled: Default::default(),
        }
    }

    fn is_over(&self) -> bool {
        self.endpoint.has_failed(self.now)
    }

    fn step(&mut self, bytes: &mut Bytes<'_>) {
        let kind = bytes.u8();
        let place = usize::from(kind >> 3) % self.under_way();
        match kind % 8 {
            0 => self.now = self.now.plus(Nanos::from_ms(u64::from(bytes.u8()) * 40)),
            1 => self.invented(usize::from(kind >> 7), bytes),
            // All parts of a message, the last one first, and at the end once more.
            2 | 3 => (0..=self.parts(place)).rev().for_each(|number| self.part(place, number)),
            _ => {
                let number = usize::from(bytes.u8());
                self.part(place, number);
            }
        }
    }

    /// How many messages have been begun or may be: all up to the last that the sender may have
    /// under way. The lanes take turns.
    fn under_way(&self) -> usize {
        let all = 2 * usize::from(COUNT);
        let is_open = |place: &usize| !self.is_whole(*place);
        (0..all).filter(is_open).nth(self.sets - 1).map_or(all, |last| last + 1)
    }

    fn is_whole(&self, place: usize) -> bool {
        let acknowledged = self.acknowledged[place % 2][place / 2];
        acknowledged.count_ones() as usize == self.parts(place)
    }

    fn parts(&self, place: usize) -> usize {
        self.sent[place % 2][place / 2].len().div_ceil(1_024)
    }

    /// A part of a message that was sent; a message of one part comes as a whole.
    fn part(&mut self, place: usize, number: usize) {
        let (lane, index) = (place % 2, place / 2);
        let message = self.sent[lane][index];
        let number = number % self.parts(place);
        let id = FIRST_IDS[lane].wrapping_add(index as u16);
        let part = Part { id, offset: (number * 1_024) as u16, total: message.len() as u32 };
        let end = message.len().min((number + 1) * 1_024);
        let taken = self.accept(lane, part, &message[number * 1_024..end]);
        let is_spoiled = self.spoiled[lane].contains(&id);
        assert!(taken.is_ok() || is_spoiled, "{taken:?} of an honest part");
        if taken == Ok(Taken::Processed) {
            self.acknowledged[lane][index] |= 1 << number;
        }
    }

    /// A part of which only the protocol's limits are kept in mind, if at all.
    fn invented(&mut self, lane: usize, bytes: &mut Bytes<'_>) {
        let id = FIRST_IDS[lane].wrapping_add(bytes.u16() % 80);
        let (offset, total) = match bytes.u8() % 4 {
            0 => (bytes.u16(), bytes.u32()),
            1 => (bytes.u16() & 0xFC00, bytes.u32() % 70_000),
            _ => (u16::from(bytes.u8() % 4) * 1_024, u32::from(bytes.u16()) % 5_000),
        };
        let rest = (total as usize).saturating_sub(offset.into()).min(1_024);
        let length =
            if bytes.u8().is_multiple_of(4) { usize::from(bytes.u16()) % 1_200 } else { rest };
        self.spoiled[lane].insert(id);
        let on_grid = offset.is_multiple_of(1_024);
        let is_legal = on_grid
            && (1..=self.message_max).contains(&(total as usize))
            && u32::from(offset) < total
            && length == rest;
        let taken = self.accept(lane, Part { id, offset, total }, &vec![0x77; length]);
        assert!(is_legal || taken.is_err() || self.has_come(lane, id), "illegal: {taken:?}");
    }

    fn has_come(&self, lane: usize, id: u16) -> bool {
        self.got[lane].contains(&id)
    }

    fn accept(&mut self, lane: usize, part: Part, bytes: &[u8]) -> Result<Taken, Fault> {
        let fragment = Fragment { lane: LANES[lane], part, is_compressed: false, bytes };
        let Self { endpoint, pool, now, sent, got, spoiled, .. } = self;
        let mut deliver = |message: Delivered<'_>| {
            assert_eq!(message.lane, LANES[lane], "a part of one lane completes one of its own");
            let id = u16::from_le_bytes([message.body[0], message.body[1]]);
            if spoiled[lane].contains(&id) {
                return;
            }
            let index = id.wrapping_sub(FIRST_IDS[lane]);
            assert!(got[lane].insert(id), "{id} is delivered twice");
            assert_eq!(message.body, sent[lane][usize::from(index)], "{id} is another message");
            if lane == 0 && spoiled[0].is_empty() {
                assert_eq!(got[0].len(), usize::from(index) + 1, "{id} out of turn");
            }
        };
        let taken = endpoint.accept_part(pool, fragment, *now, parse, &mut deliver);
        assert!(endpoint.held_bytes() <= self.held_max, "{} bytes held", endpoint.held_bytes());
        let blocks = self.held_max / BLOCK + 2 * 64 * 5;
        assert!(self.pool.used() <= blocks, "{} blocks in use", self.pool.used());
        taken
    }

    /// An honest sender repeats what was not taken: all of it arrives in the end.
    fn everything_comes(&mut self) {
        for _ in 0..4 * COUNT {
            for place in 0..self.under_way() {
                let parts = if self.is_whole(place) { 0 } else { self.parts(place) };
                (0..parts).for_each(|number| self.part(place, number));
            }
        }
        let missing = self.got.iter().map(|got| usize::from(COUNT) - got.len()).sum::<usize>();
        assert_eq!(missing, 0, "messages that never arrive");
    }
}

/// Messages here are their id and something.
fn parse(_: Lane, bytes: &[u8]) -> Option<(u8, u16, &[u8])> {
    let id = u16::from_le_bytes(*bytes.first_chunk::<2>()?);
    Some((24, id, bytes))
}
