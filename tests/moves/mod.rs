//! A gate, three tables of sessions and their players over a bad link, for `client_moves`.

mod checks;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use tidelock::client::{Client, ClientError, Event, Scratch, State, Ticket};
use tidelock::connection::{
    Batch, CloseReason, HandedOver, RekeyPolicy, Sessions, SessionsConfig, Sink, Slot,
};
use tidelock::exchange::exchange;
use tidelock::gate::{Gate, GateAction, GateConfig, Moment, TokenKey};
use tidelock::host::entropy::SeededEntropy;
use tidelock::keys::{ServerKeys, TicketRequest};
use tidelock::metrics::Counters;
use tidelock::wire::snapshot::{OwnState, SnapshotHead};
use tidelock::wire::*;
use tidelock::{limits::TAG_LEN, time::Entropy, time::Nanos, units::EntityId};

pub(crate) const TABLES: usize = 3;
pub(crate) const PLAYERS: usize = 4;
pub(crate) const SLOTS: usize = 1_024;
pub(crate) const BOOT_MS: u64 = 1_800_000_000_000;
/// Longer than any datagram travels.
pub(crate) const SETTLED_MS: u64 = 60;

/// What one table was told.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) inputs: Vec<(Slot, u32, InputFrame)>,
    pub(crate) acked: Vec<(Slot, u64)>,
    pub(crate) closed: Vec<(Slot, CloseReason)>,
    pub(crate) released: Vec<Slot>,
}

impl Sink for Told {
    fn confirmed(&mut self, _slot: Slot) {}
    fn enter(&mut self, _slot: Slot) {}
    fn input(&mut self, slot: Slot, sequence: u32, frame: InputFrame) {
        self.inputs.push((slot, sequence, frame));
    }
    fn acked(&mut self, slot: Slot, packet_sequence: u64) {
        self.acked.push((slot, packet_sequence));
    }
    fn closed(&mut self, slot: Slot, reason: CloseReason) {
        self.closed.push((slot, reason));
    }
    fn released(&mut self, slot: Slot) {
        self.released.push(slot);
    }
}

/// What one table hands another.
pub(crate) enum Mail {
    Session(Box<HandedOver>, usize),
    Datagram(ConnectionId, SocketAddr, Vec<u8>),
}

pub(crate) struct Table {
    pub(crate) sessions: Sessions,
    pub(crate) counters: Counters,
    pub(crate) told: Told,
    /// In order of arrival, with the time of it.
    pub(crate) mail: VecDeque<(u64, Mail)>,
    pub(crate) owner: BTreeMap<Slot, usize>,
}

/// How the link treats datagrams.
#[derive(Clone, Copy)]
pub(crate) struct Weather {
    pub(crate) lost_percent: u64,
    pub(crate) repeated_percent: u64,
    pub(crate) jitter_ms: u64,
}

pub(crate) struct Player {
    pub(crate) client: Client,
    /// Its table and slot, once it has some.
    pub(crate) at: Option<(usize, Slot)>,
    /// When its table first could hand it over again.
    pub(crate) ready_ms: Option<u64>,
    pub(crate) hand_overs: u32,
    /// Sequences of its sealed packets that reached a socket of the server.
    pub(crate) reached: BTreeSet<u64>,
    /// Ticks by the sequence of their packet, those applied, those acknowledged.
    pub(crate) ticks: BTreeMap<u64, u32>,
    pub(crate) applied: BTreeSet<u32>,
    pub(crate) acked: BTreeSet<u32>,
    pub(crate) newest_input: u32,
}

pub(crate) struct Simulation {
    pub(crate) random: SeededEntropy,
    pub(crate) weather: Weather,
    /// Control packets to the clients are lost.
    pub(crate) mute: bool,
    pub(crate) gate: Gate,
    pub(crate) gate_counters: Counters,
    pub(crate) tables: Vec<Table>,
    pub(crate) players: Vec<Player>,
    /// By arrival: player, whether to the server, datagram.
    pub(crate) under_way: BTreeMap<(u64, u64), (usize, bool, Vec<u8>)>,
    pub(crate) sent: u64,
    /// Player, direction, connection id and sequence of every sealed packet ever made.
    pub(crate) nonces: BTreeSet<(usize, bool, u32, u64)>,
    pub(crate) errors: BTreeMap<ClientError, u32>,
    pub(crate) forged: u64,
    pub(crate) scratch: Scratch,
    pub(crate) tick: u32,
    pub(crate) now_ms: u64,
}

pub(crate) fn address(player: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 1, player as u8 + 1], 4_000))
}

pub(crate) fn table(place: usize, seed: u64, rekey: RekeyPolicy) -> Table {
    let (socket_index, capacity, tick_hz, path_secret) = (place as u8 + 1, SLOTS, 60, [seed, 2]);
    let (budget, rules) = Default::default();
    let config =
        SessionsConfig { socket_index, capacity, tick_hz, seed, path_secret, budget, rules, rekey };
    Table {
        sessions: Sessions::new(config),
        counters: Counters::default(),
        told: Told::default(),
        mail: VecDeque::new(),
        owner: BTreeMap::new(),
    }
}

impl Simulation {
    pub(crate) fn new(seed: u64, weather: Weather, rekey: RekeyPolicy) -> Self {
        println!("seed {seed}");
        let mut random = SeededEntropy(seed);
        let keys = ServerKeys::generate(&mut random);
        let backend = keys.backend.clone();
        let token_key = TokenKey { id: backend.token_key_id, key: backend.token_key.0 };
        let pair = keys.static_keys().unwrap();
        let config = GateConfig::new(backend.protocol_id, backend.realm, pair, vec![token_key]);
        let config = GateConfig { boot_unix_ms: BOOT_MS, ..config };
        let (keeper, _) = exchange(config.shards.into(), 64, 0, &());
        let gate = Gate::new(config, keeper, Nanos(0), &mut random);
        let players = (0..PLAYERS).map(|player| {
            let request = TicketRequest { player: player as u64, spawn: None, ttl_s: 60 };
            let ticket = backend.mint(&request, BOOT_MS + 5, &mut random);
            let ticket = Ticket {
                protocol_id: ticket.protocol_id,
                token: PublicToken {
                    kind: ticket.token_kind,
                    key_id: ticket.token_key_id,
                    nonce: ticket.token_nonce,
                    expiry_s: ticket.token_expiry,
                    sealed: ticket.sealed_token,
                },
                psk: ticket.psk.0,
                server_public: ticket.server_public,
                build: 1,
            };
            let client = Client::new(&ticket, [player as u8; 8], Nanos(0), &mut random).unwrap();
            Player {
                client,
                at: None,
                ready_ms: None,
                hand_overs: 0,
                reached: BTreeSet::new(),
                ticks: BTreeMap::new(),
                applied: BTreeSet::new(),
                acked: BTreeSet::new(),
                newest_input: 0,
            }
        });
        Self {
            players: players.collect(),
            random,
            weather,
            mute: false,
            gate,
            gate_counters: Counters::default(),
            tables: (0..TABLES).map(|place| table(place, seed, rekey)).collect(),
            under_way: BTreeMap::new(),
            sent: 0,
            nonces: BTreeSet::new(),
            errors: BTreeMap::new(),
            forged: 0,
            scratch: Scratch::default(),
            tick: 0,
            now_ms: 0,
        }
    }

    pub(crate) fn now(&self) -> Nanos {
        Nanos::from_ms(self.now_ms)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.random.next_u64() % limit
    }

    /// A datagram on its way. Every sealed one is new under its key.
    pub(crate) fn send(&mut self, player: usize, to_server: bool, datagram: &[u8]) {
        let header = Header::read(datagram).expect("both sides write headers");
        let mut copies = 1;
        if header.connection != ConnectionId::GATE {
            let nonce = (player, to_server, header.connection.0, header.sequence);
            assert!(self.nonces.insert(nonce), "a nonce comes twice: {header:?}");
            let lost = self.below(100) < self.weather.lost_percent;
            let muted = self.mute && !to_server && header.channel == Channel::Control;
            copies += u64::from(self.below(100) < self.weather.repeated_percent);
            copies *= u64::from(!lost && !muted);
        }
        for _ in 0..copies {
            self.sent += 1;
            let at = self.now_ms + 1 + self.below(self.weather.jitter_ms);
            self.under_way.insert((at, self.sent), (player, to_server, datagram.to_vec()));
        }
    }

    pub(crate) fn deliver(&mut self) {
        let end = (self.now_ms + 1, 0);
        while let Some((&key, _)) = self.under_way.range(..end).next() {
            let (player, to_server, datagram) = self.under_way.remove(&key).expect("just seen");
            if !to_server {
                self.at_client(player, datagram);
            } else if datagram[0] == 0 {
                self.at_gate(player, &datagram);
            } else {
                let sequence = Header::read(&datagram).expect("a header").sequence;
                self.players[player].reached.insert(sequence);
                let mut batch = Batch::default();
                batch.push(address(player), &datagram);
                self.run(usize::from(datagram[0]) - 1, &mut batch);
            }
        }
    }

    /// A batch at a table; what it hands on goes into the mail of the others.
    pub(crate) fn run(&mut self, place: usize, batch: &mut Batch) {
        let (now, at) = (self.now(), self.now_ms + 1 + self.below(12));
        let Table { sessions, counters, told, .. } = &mut self.tables[place];
        let mut forwarded = Vec::new();
        sessions.admit_batch(now, batch, counters, |to, from, datagram| {
            forwarded.push((to, Mail::Datagram(to, from, datagram.to_vec())));
        });
        sessions.open_batch(now, batch, counters);
        sessions.decode_batch(now, batch, counters, told);
        for (to, mail) in forwarded {
            self.tables[usize::from(to.socket()) - 1].mail.push_back((at, mail));
        }
        self.listen(place);
    }

    pub(crate) fn read_mail(&mut self, place: usize) {
        let now = self.now();
        while self.tables[place].mail.front().is_some_and(|(at, _)| *at <= self.now_ms) {
            match self.tables[place].mail.pop_front().expect("just seen").1 {
                Mail::Session(handed, player) => {
                    let table = &mut self.tables[place];
                    let slot = table.sessions.take_over(*handed, now).expect("chosen vacant");
                    table.owner.insert(slot, player);
                    self.players[player].at = Some((place, slot));
                }
                Mail::Datagram(to, from, datagram) => {
                    let mut batch = Batch::default();
                    batch.push_forwarded(to, from, &datagram);
                    self.run(place, &mut batch);
                }
            }
        }
    }

    /// Takes note of what a table was told.
    pub(crate) fn listen(&mut self, place: usize) {
        let table = &mut self.tables[place];
        let told = std::mem::take(&mut table.told);
        assert!(told.closed.is_empty(), "{:?}", told.closed);
        for (slot, sequence, frame) in told.inputs {
            let player = &mut self.players[table.owner[&slot]];
            assert!(sequence > player.newest_input, "inputs come in order and once");
            assert_eq!(frame.yaw, sequence as u16);
            player.newest_input = sequence;
        }
        for (slot, sequence) in told.acked {
            let player = &mut self.players[table.owner[&slot]];
            let Some(&tick) = player.ticks.get(&sequence) else { continue };
            assert!(player.applied.contains(&tick), "tick {tick} was not applied");
            assert!(player.acked.insert(tick), "tick {tick} was acknowledged twice");
        }
        for slot in told.released {
            table.owner.remove(&slot);
        }
    }

    pub(crate) fn at_gate(&mut self, player: usize, datagram: &[u8]) {
        let mut out = [0; 1200];
        let unix_s = (BOOT_MS + self.now_ms) / 1000;
        let at = Moment { now: self.now(), unix_s, tick: self.tick };
        let (from, counters) = (address(player), &self.gate_counters);
        match self.gate.handle_datagram(at, from, datagram, counters, &mut self.random, &mut out) {
            GateAction::Drop(_) => {}
            GateAction::Reply(len) => self.send(player, false, &out[..len]),
            GateAction::Accept { reply_len, admission, .. } => {
                let (place, slot) = (usize::from(admission.id.socket()) - 1, admission.id.slot());
                self.tables[place].sessions.admit_session(admission).expect("a free slot");
                self.tables[place].owner.insert(slot, player);
                self.players[player].at = Some((place, slot));
                self.send(player, false, &out[..reply_len]);
            }
        }
    }

    pub(crate) fn at_client(&mut self, player: usize, mut datagram: Vec<u8>) {
        let (now, player) = (self.now(), &mut self.players[player]);
        match player.client.handle_datagram(now, &mut datagram, &mut self.scratch) {
            Ok(Event::Snapshot(applied)) => assert!(player.applied.insert(applied.tick)),
            Ok(_) => {}
            Err(reason) => *self.errors.entry(reason).or_default() += 1,
        }
        let client = &mut player.client;
        if client.is_rekey_requested() {
            client.answer_rekey(self.random.bytes(), now);
        }
    }

    pub(crate) fn clients_send(&mut self) {
        let now = self.now();
        let mut out = [0; 1200];
        for index in 0..PLAYERS {
            let due = (self.now_ms + index as u64).is_multiple_of(16);
            let client = &mut self.players[index].client;
            if due && client.state() == State::InWorld {
                let yaw = client.next_input() as u16;
                client.set_input(InputFrame { yaw, ..InputFrame::default() });
            }
            while let Some(len) = self.players[index].client.poll_transmit(now, &mut out) {
                self.send(index, true, &out[..len]);
            }
        }
    }

    /// Somebody who sees every id, and can write the address of the player, but has no key.
    pub(crate) fn forge(&mut self, player: usize) {
        let Some(connection) = self.players[player].client.connection() else { return };
        let sequence = self.players[player].reached.last().map_or(1, |newest| newest + 3);
        let mut out = [0; 60];
        let channel = Channel::Unreliable;
        let mut writer = Writer::new(&mut out);
        Header { connection, channel, flags: Flags::SEALED, sequence }.put(&mut writer);
        let mut batch = Batch::default();
        batch.push(address(player), &out);
        self.run(usize::from(connection.socket()) - 1, &mut batch);
        self.forged += 1;
    }

    pub(crate) fn server_tick(&mut self) {
        self.tick += 1;
        let now = self.now();
        let mut out = [0; 1200];
        for index in 0..PLAYERS {
            let Some((place, slot)) = self.players[index].at else { continue };
            let sessions = &mut self.tables[place].sessions;
            if !sessions.has_entered(slot) {
                continue;
            }
            let begun = sessions.begin(slot, Channel::Unreliable, now, &mut out).expect("it plays");
            let end = begun.body + self.snapshot(index, &mut out[begun.body..1200 - TAG_LEN]);
            let len = self.tables[place].sessions.seal(slot, &mut out, end);
            self.players[index].ticks.insert(begun.sequence, self.tick);
            self.send(index, false, &out[..len]);
        }
        for place in 0..TABLES {
            self.tables[place].sessions.supply_secrets(&mut self.random);
            loop {
                let Table { sessions, counters, told, owner, .. } = &mut self.tables[place];
                let packet = sessions.poll_control(now, &mut out, counters, told);
                let Some(packet) = packet else { break };
                let player = owner[&packet.slot];
                self.send(player, false, &out[..packet.length]);
            }
            self.listen(place);
        }
    }

    pub(crate) fn snapshot(&self, player: usize, room: &mut [u8]) -> usize {
        let own = OwnState {
            id: EntityId::from_parts(player as u32 + 1, 1),
            position: [1.0; 3],
            flags: 1,
            health: 255,
            mana: 255,
            ..OwnState::default()
        };
        let head = SnapshotHead {
            tick: self.tick,
            last_processed_input: self.players[player].newest_input,
            own: Some(own),
            ..SnapshotHead::default()
        };
        let mut body = [0; 64];
        let len = head.write(&mut body);
        let mut writer = Writer::new(room);
        put_message(&mut writer, to_client::DELTA_SYNC, |writer| writer.slice(&body[..len]));
        writer.finish().expect("it is small")
    }

    /// Hands players over at random; each not sooner than `gap_ms` after its table first could.
    pub(crate) fn hand_over_some(&mut self, gap_ms: u64, one_in: u64) {
        for index in 0..PLAYERS {
            let Some((place, slot)) = self.players[index].at else { continue };
            if !self.tables[place].sessions.can_hand_over(slot) {
                self.players[index].ready_ms = None;
                continue;
            }
            let ready = *self.players[index].ready_ms.get_or_insert(self.now_ms);
            if self.now_ms >= ready + gap_ms && self.below(one_in) == 0 {
                self.hand_over(index);
            }
        }
    }

    pub(crate) fn hand_over(&mut self, player: usize) {
        let (place, slot) = self.players[player].at.take().expect("it plays");
        let other = (place + 1 + self.below(TABLES as u64 - 1) as usize) % TABLES;
        let id = loop {
            let (slot, generation) = (self.below(SLOTS as u64), self.below(4_096));
            let id = ConnectionId::from_parts(other as u8 + 1, slot as u16, generation as u16);
            let promised = |(_, mail): &(u64, Mail)| match mail {
                Mail::Session(handed, _) => handed.id().slot() == id.slot(),
                Mail::Datagram(..) => false,
            };
            let table = &self.tables[other];
            if table.sessions.vacancy(id).is_ok() && !table.mail.iter().any(promised) {
                break id;
            }
        };
        let now = self.now();
        let handed = self.tables[place].sessions.hand_over(slot, id, now).expect("it may go");
        let at = self.now_ms + 1 + self.below(12);
        self.tables[other].mail.push_back((at, Mail::Session(Box::new(handed), player)));
        self.players[player].hand_overs += 1;
        self.players[player].ready_ms = None;
    }

    /// `hand_overs`: the least time between two of one player, and one in how many ticks.
    pub(crate) fn run_ms(&mut self, ms: u64, hand_overs: Option<(u64, u64)>) {
        for _ in 0..ms {
            self.now_ms += 1;
            self.deliver();
            (0..TABLES).for_each(|place| self.read_mail(place));
            if self.now_ms.is_multiple_of(16) {
                self.server_tick();
                if let Some((gap_ms, one_in)) = hand_overs {
                    self.hand_over_some(gap_ms, one_in);
                }
            }
            self.clients_send();
        }
    }

    /// Everybody joins in fair weather, then the weather turns.
    pub(crate) fn playing(seed: u64, weather: Weather) -> Self {
        Self::playing_with(seed, weather, RekeyPolicy::default())
    }

    /// The same with keys that wear out as `rekey` says.
    pub(crate) fn playing_with(seed: u64, weather: Weather, rekey: RekeyPolicy) -> Self {
        let fair = Weather { lost_percent: 0, repeated_percent: 0, jitter_ms: 10 };
        let mut simulation = Self::new(seed, fair, rekey);
        simulation.run_ms(1_000, None);
        let states = simulation.players.iter().map(|player| player.client.state());
        assert!(states.eq([State::InWorld; PLAYERS]));
        simulation.weather = weather;
        simulation
    }
}
