//! Reliable messages between the real sessions of two shards and the real client, over a network
//! that loses, repeats and reorders, while the session goes from one table to the other. No socket,
//! no clock; the seed is printed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use tidelock::client::{Client, ClientError, Scratch, SendError, State, Ticket};
use tidelock::connection::{self, Admission, BudgetRange, Sessions, SessionsConfig, Sink, Slot};
use tidelock::crypto::noise::{Responder, StaticKeys};
use tidelock::crypto::schedule::Root;
use tidelock::host::entropy::SeededEntropy;
use tidelock::limits::TAG_LEN;
use tidelock::metrics::{Counter, Counters, DropReason};
use tidelock::time::Nanos;
use tidelock::units::EntityId;
use tidelock::wire::snapshot::{OwnState, SnapshotHead};
use tidelock::wire::*;

const PROTOCOL: u64 = 7;
const PSK: [u8; 32] = [9; 32];
const SLOT: Slot = 5;

/// What the server's side was given.
#[derive(Default)]
struct Got {
    data: Vec<(Channel, Vec<u8>)>,
    has_entered: bool,
    closed: Option<connection::CloseReason>,
}

impl Sink for Got {
    fn confirmed(&mut self, _: Slot) {}
    fn enter(&mut self, _: Slot) {
        self.has_entered = true;
    }
    fn input(&mut self, _: Slot, _: u32, _: InputFrame) {}
    fn acked(&mut self, _: Slot, _: u64) {}
    fn closed(&mut self, _: Slot, reason: connection::CloseReason) {
        self.closed = Some(reason);
    }
    fn game_data(&mut self, slot: Slot, channel: Channel, body: &[u8]) {
        assert_eq!(slot, SLOT);
        self.data.push((channel, body.to_vec()));
    }
}

/// Percent lost and repeated, and milliseconds that a datagram takes at most.
#[derive(Clone, Copy)]
struct Weather {
    lost: u64,
    repeated: u64,
    delay_ms: u64,
}

struct Scene {
    random: SeededEntropy,
    weather: Weather,
    /// (arrival, number) → to the server?, datagram.
    under_way: BTreeMap<(u64, u64), (bool, Vec<u8>)>,
    count: u64,
    tables: [Sessions; 2],
    /// Which table has the session.
    at: usize,
    counters: Counters,
    got: Got,
    client: Client,
    scratch: Scratch,
    heard: Vec<(Channel, Vec<u8>)>,
    /// Whether the program takes what the client received.
    takes: bool,
    errors: BTreeMap<ClientError, u32>,
    now_ms: u64,
    tick: u32,
}

fn address() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 7], 4_000))
}

fn id(table: usize, generation: u16) -> ConnectionId {
    ConnectionId::from_parts(table as u8 + 1, SLOT, generation)
}

/// Client and keys after a handshake without a network.
fn joined(random: &mut SeededEntropy, scratch: &mut Scratch) -> (Client, Root) {
    let keys = StaticKeys::from_secret([3; 32]);
    let token = PublicToken {
        kind: 1,
        key_id: 7,
        nonce: [2; TOKEN_NONCE_LEN],
        expiry_s: 2_000_000_000,
        sealed: [5; SEALED_TOKEN_LEN],
    };
    let server_public = keys.public;
    let ticket = Ticket { protocol_id: PROTOCOL, token, psk: PSK, server_public, build: 1 };
    let mut client = Client::new(&ticket, [1; 8], Nanos(0), random).expect("a good ticket");
    let mut out = [0; 1200];
    let length = client.poll_transmit(Nanos(0), &mut out).expect("a Connect");
    let connect = Connect::read(&out[..length]).expect("a Connect");
    let prologue = connect.prologue();
    let (responder, _) =
        Responder::read(&prologue, &keys, &PSK, connect.noise_message()).expect("it opens");
    let accepted = Accepted::new(Status::Ok, id(0, 1), 42, 60);
    let (handshake, noise_message) =
        responder.reply([11; 32], &accepted.write()).expect("good keys");
    let mut answer = [0; ACCEPTED_LEN];
    let client_nonce = *connect.client_nonce();
    AcceptedPacket { client_nonce, noise_message }.write(PROTOCOL, &mut answer);
    client.handle_datagram(Nanos(0), &mut answer, scratch).expect("the answer fits");
    (client, Root::from_handshake(&handshake))
}

impl Scene {
    fn new(seed: u64, weather: Weather) -> Self {
        println!("seed {seed}");
        let (mut random, mut scratch) = (SeededEntropy(seed), Scratch::default());
        let (client, root) = joined(&mut random, &mut scratch);
        let budget = BudgetRange::default();
        let mut tables = [1, 2].map(|socket_index| {
            Sessions::new(SessionsConfig {
                socket_index,
                capacity: 8,
                tick_hz: 60,
                seed,
                path_secret: [1, 2],
                budget,
                rules: Default::default(),
                rekey: Default::default(),
            })
        });
        let admission = Admission {
            id: id(0, 1),
            address: address(),
            player: 42,
            client_to_server: root.client_to_server(0),
            server_to_client: root.server_to_client(0),
            root,
            spawn: None,
            entity: EntityId::from_parts(1, 1),
            seat: 0,
            examiner: None,
            heir: false,
            accepted_at: Nanos(0),
        };
        tables[0].admit_session(admission).expect("an empty table");
        Self {
            random,
            weather,
            under_way: BTreeMap::new(),
            count: 0,
            tables,
            at: 0,
            counters: Counters::default(),
            got: Got::default(),
            client,
            scratch,
            heard: Vec::new(),
            takes: true,
            errors: BTreeMap::new(),
            now_ms: 0,
            tick: 0,
        }
    }

    fn now(&self) -> Nanos {
        Nanos::from_ms(self.now_ms)
    }

    fn send(&mut self, to_server: bool, datagram: &[u8]) {
        let Weather { lost, repeated, delay_ms } = self.weather;
        let dice = self.random.next_u64() % 100;
        let copies = match dice {
            it if it < lost => 0,
            it if it < lost + repeated => 2,
            _ => 1,
        };
        for _ in 0..copies {
            self.count += 1;
            let at = self.now_ms + 1 + self.random.next_u64() % delay_ms.max(1);
            self.under_way.insert((at, self.count), (to_server, datagram.to_vec()));
        }
    }

    fn pass_ms(&mut self) {
        self.now_ms += 1;
        let now = self.now();
        while let Some(first) = self.under_way.first_entry().filter(|it| it.key().0 <= self.now_ms)
        {
            let (to_server, mut datagram) = first.remove();
            if to_server {
                self.take_in(&datagram);
            } else if let Err(error) =
                self.client.handle_datagram(now, &mut datagram, &mut self.scratch)
            {
                *self.errors.entry(error).or_default() += 1;
            }
        }
        while self.takes
            && let Some((channel, body)) = self.client.take_game_data()
        {
            self.heard.push((channel, body.into_vec()));
        }
        if self.now_ms.is_multiple_of(16) {
            self.serve();
            if self.client.state() == State::InWorld {
                self.client.set_input(InputFrame::default());
            }
        }
        let mut out = [0; 1200];
        while let Some(length) = self.client.poll_transmit(now, &mut out) {
            self.send(true, &out[..length]);
        }
    }

    /// A datagram at the table that its first byte names; it is handed on if the session has gone.
    fn take_in(&mut self, datagram: &[u8]) {
        let now = self.now();
        let Self { tables, counters, got, .. } = self;
        let mut batch = connection::Batch::default();
        batch.push(address(), datagram);
        let mut forwarded = None;
        for table in [usize::from(datagram[0]) - 1, usize::from(2 - datagram[0])] {
            if let Some(to) = forwarded.take() {
                batch.push_forwarded(to, address(), datagram);
            }
            let hand_on = |to: ConnectionId, _: SocketAddr, _: &[u8]| forwarded = Some(to);
            tables[table].admit_batch(now, &mut batch, counters, hand_on);
            tables[table].open_batch(now, &mut batch, counters);
            tables[table].decode_batch(now, &mut batch, counters, got);
            if forwarded.is_none() {
                return;
            }
        }
    }

    /// One tick of the server: a snapshot, then whatever else is due.
    fn serve(&mut self) {
        self.tick += 1;
        let now = self.now();
        let mut out = [0; 1200];
        let mut leaving = Vec::new();
        assert_eq!(self.got.closed, None, "after {} ms", self.now_ms);
        if self.got.has_entered {
            let table = &mut self.tables[self.at];
            let begun = table.begin(SLOT, Channel::Unreliable, now, &mut out).expect("a session");
            let mut writer = Writer::new(&mut out[begun.body..1200 - TAG_LEN]);
            let (tick, mut body) = (self.tick, [0; 64]);
            let length = snapshot(tick, self.client.next_input() - 1).write(&mut body);
            put_message(&mut writer, to_client::DELTA_SYNC, |it| it.slice(&body[..length]));
            let end = begun.body + writer.position();
            let length = table.seal(SLOT, &mut out, end);
            leaving.push(out[..length].to_vec());
        }
        for table in &mut self.tables {
            let (counters, got) = (&self.counters, &mut self.got);
            while let Some(packet) = table.poll_control(now, &mut out, counters, got) {
                leaving.push(out[..packet.length].to_vec());
            }
        }
        leaving.iter().for_each(|datagram| self.send(false, datagram));
    }

    fn hand_over(&mut self, generation: u16) -> bool {
        let (to, now) = (1 - self.at, self.now());
        if self.tables[to].vacancy(id(to, generation)).is_err() {
            return false;
        }
        let handed = self.tables[self.at].hand_over(SLOT, id(to, generation), now);
        let Some(handed) = handed else { return false };
        self.tables[to].take_over(handed, now).expect("the slot is vacant");
        self.at = to;
        true
    }
}

fn snapshot(tick: u32, last_processed_input: u32) -> SnapshotHead {
    let own = OwnState {
        id: EntityId::from_parts(1, 1),
        position: [1.0; 3],
        flags: 1,
        health: 255,
        mana: 255,
        ..OwnState::default()
    };
    SnapshotHead { tick, last_processed_input, own: Some(own), ..SnapshotHead::default() }
}

/// A body that says which it is: some of them shrink when compressed, some do not.
fn body(number: usize, length: usize, random: &mut SeededEntropy) -> Vec<u8> {
    let head = (number as u32).to_le_bytes();
    let is_noise = number.is_multiple_of(3);
    let rest = (0..length).map(|i| if is_noise { random.next_u64() as u8 } else { (i / 9) as u8 });
    head.into_iter().chain(rest).collect()
}

/// Everything on channel 1 in order, and on channel 2 in any, once.
fn assert_same(sent: &[(Channel, Vec<u8>)], got: &[(Channel, Vec<u8>)], who: &str) {
    let of = |all: &[(Channel, Vec<u8>)], channel| -> Vec<Vec<u8>> {
        all.iter().filter(|it| it.0 == channel).map(|it| it.1.clone()).collect()
    };
    let ordered = [sent, got].map(|all| of(all, Channel::ReliableOrdered));
    assert!(ordered[0] == ordered[1], "{who}: {} of {}", ordered[1].len(), ordered[0].len());
    let mut other = [sent, got].map(|all| of(all, Channel::ReliableUnordered));
    other.iter_mut().for_each(|all| all.sort());
    assert!(other[0] == other[1], "{who}: {} of {}", other[1].len(), other[0].len());
}

fn conversation(seed: u64, weather: Weather, moves: u16, counts: [usize; 2]) {
    let mut scene = Scene::new(seed, weather);
    let (mut to_client, mut to_server) = (Vec::new(), Vec::new());
    let lengths = [1, 40, 900, 1_143, 1_144, 5_000, 16_375, 20, 20, 60_000, 300, 2_000];
    let mut pending: [Option<(Channel, Vec<u8>)>; 2] = [None, None];
    let mut moved = 0;
    while to_client.len() < counts[0]
        || to_server.len() < counts[1]
        || scene.client.unacknowledged() > 0
    {
        scene.pass_ms();
        assert!(scene.now_ms < 300_000, "{} and {} sent", to_client.len(), to_server.len());
        assert_eq!(scene.got.closed, None, "seed {seed}");
        if scene.client.state() != State::InWorld {
            continue;
        }
        if moved < moves && scene.now_ms % 4_000 == 500 && scene.hand_over(2 + moved) {
            moved += 1;
        }
        let now = scene.now();
        for (to, sent) in [&mut to_client, &mut to_server].into_iter().enumerate() {
            let number = sent.len();
            if number >= counts[to] {
                continue;
            }
            let (channel, text) = pending[to].take().unwrap_or_else(|| {
                let cap = [60_000, 16_375][to];
                let length = lengths[scene.random.next_u64() as usize % lengths.len()].min(cap);
                let is_ordered = !scene.random.next_u64().is_multiple_of(3);
                let [ordered, other] = [Channel::ReliableOrdered, Channel::ReliableUnordered];
                let channel = if is_ordered { ordered } else { other };
                (channel, body(number, length, &mut scene.random))
            });
            let result = if to == 0 {
                let table = &mut scene.tables[scene.at];
                table.send_reliable(SLOT, channel, to_client::GAME_DATA, &text, now)
            } else {
                scene.client.send_game_data(now, channel, &text)
            };
            match result {
                Ok(_) => sent.push((channel, text)),
                Err(SendError::Opening | SendError::Window) => pending[to] = Some((channel, text)),
                Err(other) => panic!("seed {seed}: {other}"),
            }
        }
    }
    while scene.tables[scene.at].unacknowledged(SLOT) > 0 {
        scene.pass_ms();
        assert!(scene.now_ms < 400_000, "seed {seed}");
    }
    assert_same(&to_client, &scene.heard, "client");
    assert_same(&to_server, &scene.got.data, "server");
    assert_eq!(moved, moves, "seed {seed}");
    let blocks = scene.tables.each_ref().map(Sessions::message_blocks);
    assert_eq!(blocks, [0, 0], "all memory is given back");
    check_reasons(&scene, seed);
}

/// Nothing but what a bad network brings about.
fn check_reasons(scene: &Scene, seed: u64) {
    let expected = [DropReason::Replay, DropReason::InputRate, DropReason::UnknownConnection];
    for &reason in DropReason::ALL.iter().filter(|reason| !expected.contains(reason)) {
        assert_eq!(scene.counters.dropped(reason), 0, "seed {seed}: {}", reason.name());
    }
    for (&error, count) in &scene.errors {
        let expected = matches!(error, ClientError::Replay | ClientError::Connection);
        assert!(expected, "seed {seed}: {count} × {}", error.name());
    }
}

#[test]
fn both_sides_get_every_message_once_through_a_bad_network() {
    for seed in 1..=4 {
        let weather = Weather { lost: 15, repeated: 10, delay_ms: 60 };
        conversation(seed, weather, 0, [60, 40]);
    }
}

#[test]
fn messages_under_way_survive_that_the_session_goes_to_other_shards() {
    for seed in 11..=12 {
        let weather = Weather { lost: 8, repeated: 8, delay_ms: 30 };
        conversation(seed, weather, 2, [300, 60]);
    }
}

#[test]
fn in_good_weather_nothing_is_sent_twice() {
    let mut scene = Scene::new(21, Weather { lost: 0, repeated: 0, delay_ms: 5 });
    let mut sent = 0;
    let waits = |it: &Scene| it.client.unacknowledged() + it.tables[0].unacknowledged(SLOT) > 0;
    while sent < 200 || waits(&scene) {
        scene.pass_ms();
        if scene.client.state() != State::InWorld || sent == 200 {
            continue;
        }
        let (now, table) = (scene.now(), &mut scene.tables[0]);
        let body = [sent as u8; 90];
        let ordered = Channel::ReliableOrdered;
        let to_client = table.send_reliable(SLOT, ordered, to_client::GAME_DATA, &body, now);
        if to_client.is_ok() && scene.client.send_game_data(now, ordered, &body).is_ok() {
            sent += 1;
        }
    }
    let read = |counter| scene.counters.read(counter);
    assert_eq!((read(Counter::MessagesAgain), read(Counter::MessagesRefused)), (0, 0));
    assert!(read(Counter::MessagesOut) >= 200 && read(Counter::MessagesIn) == 200);
}

#[test]
fn a_program_that_takes_nothing_keeps_the_server_waiting_and_loses_nothing() {
    let mut scene = Scene::new(31, Weather { lost: 0, repeated: 0, delay_ms: 5 });
    let (mut accepted, now) = (0_u32, scene.now());
    scene.takes = false;
    assert_eq!(
        scene.tables[0].send_reliable(SLOT, Channel::ReliableOrdered, 24, &[1], now),
        Err(SendError::NoSession),
        "the keys are not proven"
    );
    while accepted < 30 || scene.tables[0].unacknowledged(SLOT) > 0 {
        scene.pass_ms();
        scene.takes = scene.now_ms > 8_000;
        if accepted == 30 {
            continue;
        }
        let (now, at) = (scene.now(), scene.at);
        let text = [accepted as u8; 16_000];
        let text = &text[..if accepted.is_multiple_of(2) { 16_000 } else { 30 }];
        let ordered = Channel::ReliableOrdered;
        let sent = scene.tables[at].send_reliable(SLOT, ordered, to_client::GAME_DATA, text, now);
        accepted += u32::from(sent.is_ok());
        assert!(scene.now_ms < 120_000, "{accepted}: {sent:?}");
    }
    let lengths: Vec<_> = scene.heard.iter().map(|it| it.1.len()).collect();
    let whole = |it: usize| if it.is_multiple_of(2) { 16_000 } else { 30 };
    assert!(scene.counters.read(Counter::MessagesAgain) > 0, "it was refused and sent again");
    assert_eq!((lengths.len(), scene.got.closed), (30, None));
    assert!(lengths.iter().enumerate().all(|(i, &length)| length == whole(i)), "{lengths:?}");
}

#[test]
fn a_description_is_known_from_its_creation_to_its_removal() {
    let mut scene = Scene::new(41, Weather { lost: 20, repeated: 10, delay_ms: 40 });
    let entity = EntityId::from_parts(77, 3);
    let text = b"Ada, Countess ".repeat(200);
    let ordered = Channel::ReliableOrdered;
    let mut body = vec![0; 4 + text.len()];
    put_create_entity(&mut Writer::new(&mut body), entity, &text);
    let mut told = 0;
    while told < 2 || scene.tables[0].unacknowledged(SLOT) > 0 {
        scene.pass_ms();
        let (now, table) = (scene.now(), &mut scene.tables[0]);
        if told == 0 {
            let sent = table.send_reliable(SLOT, ordered, to_client::CREATE_ENTITY, &body, now);
            told += u32::from(sent.is_ok());
        } else if told == 1 && scene.client.description(entity) == Some(&text[..]) {
            assert!(scene.client.described().eq([entity]));
            let sent =
                table.send_reliable(SLOT, ordered, to_client::REMOVE_ENTITY, &body[..4], now);
            told += u32::from(sent.is_ok());
        }
        assert!(scene.now_ms < 60_000, "{told} told");
    }
    assert_eq!((scene.client.description(entity), scene.client.described().count()), (None, 0));
    let other = Channel::ReliableUnordered;
    let (now, table) = (scene.now(), &mut scene.tables[0]);
    let refused = table.send_reliable(SLOT, other, to_client::CREATE_ENTITY, &body, now);
    assert_eq!(refused, Err(SendError::NotAllowed));
}
