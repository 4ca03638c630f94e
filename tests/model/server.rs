//! A whole server without sockets and threads: the real gate, the real shards with their sessions,
//! worlds and replication, and the mail between them as the gate's thread carries it.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tidelock::client::Ticket;
use tidelock::config::SpawnRule;
use tidelock::connection::{BudgetRange, RekeyPolicy};
use tidelock::exchange::{Meeting, exchange};
use tidelock::gate::{Gate, GateAction, GateConfig, Moment, TokenKey};
use tidelock::host::entropy::SeededEntropy;
use tidelock::keys::{BackendKeys, ServerKeys, TicketRequest};
use tidelock::limits::DATAGRAM_MAX;
use tidelock::metrics::{Counter, Counters, DropReason};
use tidelock::shard::{
    EntryRules, ForwardRoom, GateEnd, Page, Report, Shard, ShardConfig, Timer, ToGate, ToShard,
    links, pair,
};
use tidelock::sim::{Being, SimPort};
use tidelock::state::Kind;
use tidelock::time::Nanos;
use tidelock::units::{EntityId, Tick, TickRate};
use tidelock::wire::{ConnectionId, DisconnectReason};
use tidelock::world::{Input, Spawn, World};

const BOOT_MS: u64 = 1_800_000_000_000;
/// Sessions of one shard: nobody's slot is ever wanting.
const SLOTS: usize = 64;

#[derive(Default)]
struct SimulatedClock(Cell<Nanos>);

impl Timer for SimulatedClock {
    fn now(&self) -> Nanos {
        self.0.get()
    }

    fn cpu_ns(&self) -> u64 {
        0
    }
}

struct Desk {
    shard: Shard,
    port: SimPort,
    gate: GateEnd,
}

pub(crate) struct Server {
    gate: Gate,
    gate_counters: Counters,
    backend: BackendKeys,
    random: SeededEntropy,
    clock: SimulatedClock,
    desks: Vec<Desk>,
    tick: Tick,
}

impl Server {
    /// With `seats` published rows; `radii` by kind in centimetres, `leave_factor` their
    /// hysteresis.
    pub(crate) fn new(
        seed: u64,
        shards: usize,
        seats: usize,
        radii: [f32; Kind::COUNT],
        leave_factor: f32,
    ) -> Self {
        let mut random = SeededEntropy(seed);
        let keys = ServerKeys::generate(&mut random);
        let backend = keys.backend.clone();
        let token_key = TokenKey { id: backend.token_key_id, key: backend.token_key.0 };
        let pair_of_keys = keys.static_keys().expect("fresh keys");
        let config =
            GateConfig::new(backend.protocol_id, backend.realm, pair_of_keys, vec![token_key]);
        let config = GateConfig {
            boot_unix_ms: BOOT_MS,
            shards: shards as u8,
            slots_per_shard: SLOTS as u16,
            sessions: shards * SLOTS,
            ..config
        };
        let page = Page::new(seats, radii, leave_factor);
        let (keeper, members) = exchange(shards, seats, 0, &page);
        let desks = members
            .into_iter()
            .zip(links(shards, seats, ForwardRoom::unsteered(shards, SLOTS)).1)
            .map(|(member, links)| {
                let (gate, end) = pair();
                let config = ShardConfig {
                    socket_index: member.place() as u8 + 1,
                    players: SLOTS,
                    entities: seats,
                    rate: TickRate::DEFAULT,
                    budget: BudgetRange::default(),
                    rules: Default::default(),
                    entry: EntryRules { seed, spawn: SpawnRule::Plaza },
                    canary_seed: seed,
                    path_secret: [seed, 2],
                    rekey: RekeyPolicy::default(),
                    benchmark: false,
                };
                Desk {
                    shard: Shard::new(
                        config,
                        member,
                        links,
                        end,
                        Arc::new(Counters::default()),
                        Box::new(SeededEntropy(seed)),
                    ),
                    port: SimPort::new(
                        SocketAddr::from(([127, 0, 0, 1], 1)),
                        usize::MAX,
                        2 * SLOTS,
                    ),
                    gate,
                }
            });
        Self {
            desks: desks.collect(),
            gate: Gate::new(config, keeper, Nanos(0), &mut random),
            gate_counters: Counters::default(),
            backend,
            random,
            clock: SimulatedClock::default(),
            tick: 0,
        }
    }

    pub(crate) fn shard(&self, place: usize) -> &Shard {
        &self.desks[place].shard
    }

    pub(crate) fn now(&self) -> Nanos {
        self.clock.now()
    }

    /// A ticket for `player`, who appears at `spawn`, centimetres.
    pub(crate) fn ticket(&mut self, player: u64, spawn: [i32; 3]) -> Ticket {
        let request = TicketRequest { player, spawn: Some(spawn), ttl_s: 30 };
        let now_ms = BOOT_MS + self.now().as_ms() + 1;
        self.backend.mint(&request, now_ms, &mut self.random).for_client()
    }

    /// A datagram has arrived; returns the gate's answer if there is one.
    pub(crate) fn handle(&mut self, from: SocketAddr, datagram: Vec<u8>) -> Option<Vec<u8>> {
        let socket = usize::from(*datagram.first()?);
        if let Some(desk) = self.desks.get_mut(socket.wrapping_sub(1)) {
            desk.port.deliver(from, datagram);
            return None;
        }
        let unix_s = (BOOT_MS + self.now().as_ms()) / 1_000;
        let at = Moment { now: self.now(), unix_s, tick: self.tick };
        let (mut out, counters) = ([0; DATAGRAM_MAX], &self.gate_counters);
        let random = &mut self.random;
        match self.gate.handle_datagram(at, from, &datagram, counters, random, &mut out) {
            GateAction::Drop(_) => None,
            GateAction::Reply(len) => Some(out[..len].to_vec()),
            GateAction::Accept { reply_len, shard, admission, replaces } => {
                self.tell(shard.into(), ToShard::Admit(admission));
                self.replace(replaces);
                Some(out[..reply_len].to_vec())
            }
        }
    }

    fn tell(&mut self, shard: usize, message: ToShard) {
        self.desks[shard].gate.to_shard.send(message).expect("the queue holds every slot");
    }

    /// A session gives way to a newer one, if there is such a session.
    fn replace(&mut self, older: Option<ConnectionId>) {
        if let Some(id) = older {
            self.gate.end(id, DisconnectReason::Replaced);
        }
        self.tell_endings();
    }

    fn tell_endings(&mut self) {
        while let Some((shard, id, reason)) = self.gate.poll_ending(|_| true) {
            self.tell(usize::from(shard), ToShard::Disconnect(id, reason));
        }
    }

    /// One tick at `now`: what has arrived is taken in, then all shards simulate, meet, replicate.
    /// Returns what they sent.
    pub(crate) fn tick(&mut self, now: Nanos) -> Vec<(SocketAddr, Vec<u8>)> {
        self.clock.0.set(now);
        // Twice, so that what one shard hands on to another is taken in before the tick.
        for _ in 0..2 {
            for Desk { shard, port, .. } in &mut self.desks {
                shard.receive(port, 0, Duration::ZERO, &self.clock).expect("it does not fail");
            }
            self.read_mail();
        }
        for Desk { shard, .. } in &mut self.desks {
            shard.simulate(Report::default(), &self.clock);
            shard.member_mut().arrive();
        }
        let mut sent = Vec::new();
        for Desk { shard, port, .. } in &mut self.desks {
            assert_eq!(shard.member_mut().poll(), Meeting::Met);
            shard.replicate(port, &self.clock).expect("this port does not fail");
            sent.extend(port.collect().into_iter().map(|parcel| (parcel.peer, parcel.bytes)));
        }
        self.read_mail();
        self.tick += 1;
        sent
    }

    fn read_mail(&mut self) {
        for place in 0..self.desks.len() {
            while let Some(mail) = self.desks[place].gate.from_shard.receive() {
                match mail {
                    ToGate::Confirmed(id) => {
                        let older = self.gate.confirmed(id);
                        self.replace(older);
                    }
                    ToGate::Closed(id) => self.gate.closed(id),
                    ToGate::Left(id) => self.gate.left(id),
                    ToGate::Lingers(id, entity) => {
                        self.gate.lingers(id, entity, self.clock.0.get())
                    }
                    ToGate::Departed(entity) => self.gate.departed(entity),
                    ToGate::Rekeyed(id, epoch, key) => self.gate.rekeyed(id, epoch, key.bytes()),
                    ToGate::Moved(id) => {
                        self.gate.moved(id);
                        self.tell_endings();
                    }
                    ToGate::Stayed(id) | ToGate::Released(id) => self.gate.released(id),
                    ToGate::Readdressed(id, address) => self.gate.readdressed(id, address),
                    ToGate::Violated(id) => panic!("{id:?} kept every rule"),
                    ToGate::Window(_) | ToGate::Explained(_) | ToGate::Scores(_) => {
                        panic!("nobody asked for one")
                    }
                }
            }
        }
    }

    /// Asks for the session `from` to go to the shard at place `to`.
    pub(crate) fn hand_over(&mut self, from: ConnectionId, to: usize) {
        if let Some(id) = self.gate.hand_over(from, to, &mut self.random) {
            self.tell(usize::from(from.socket()) - 1, ToShard::HandOver(from, id));
        }
    }

    /// Somebody who is no player comes to live in the shard at `place`, if there is a seat.
    pub(crate) fn bear(&mut self, place: usize, kind: Kind, position: [f32; 3]) {
        if let Some((id, seat)) = self.gate.populate(place) {
            let spawn = Spawn { id, kind, position, yaw: 0, faction: 0, seat };
            self.tell(place, ToShard::Spawn(spawn));
        }
    }

    fn home(&self, id: EntityId) -> Option<usize> {
        (0..self.desks.len()).find(|&place| self.shard(place).world().row_of(id).is_some())
    }

    fn world(&mut self, place: usize) -> &mut World {
        self.desks[place].shard.world_mut()
    }

    /// Somebody who is no player dies; its id and its seat go to others.
    pub(crate) fn kill(&mut self, id: EntityId) {
        let Some(place) = self.home(id) else { return };
        let row = self.world(place).row_of(id).expect("at home");
        let seat = self.world(place).columns().seats[row as usize];
        self.world(place).despawn(row);
        self.desks[place].shard.member_mut().vacate(seat);
        self.gate.depopulate(id, seat, place);
    }

    /// Somebody who is no player goes another way.
    pub(crate) fn steer(&mut self, id: EntityId, input: Input) {
        let (sequence, home) = (self.tick + 1, self.home(id));
        if let Some(place) = home {
            let row = self.world(place).row_of(id).expect("at home");
            self.world(place).set_input(row, sequence, input);
        }
    }

    /// Gives an entity a description, replaces it, or takes it back.
    pub(crate) fn describe(&mut self, id: EntityId, text: &[u8]) {
        for Desk { shard, .. } in &mut self.desks {
            shard.describe(id, text).expect("few and short");
        }
    }

    pub(crate) fn count(&self, counter: Counter) -> u64 {
        self.desks.iter().map(|desk| desk.shard.counters().read(counter)).sum()
    }

    /// Drops of the shards for a reason.
    pub(crate) fn dropped(&self, reason: DropReason) -> u64 {
        self.desks.iter().map(|desk| desk.shard.counters().dropped(reason)).sum()
    }

    /// What the shards published of the last tick, each entity with its kind and state.
    pub(crate) fn published(&mut self) -> (Tick, Vec<Being>) {
        let member = self.desks[0].shard.member_mut();
        let published = member.published();
        let rows = (0..published.rows() as u32).filter(|&row| published.id(row) != EntityId::NONE);
        let being = |row| Being {
            id: published.id(row),
            kind: published.kind(row),
            state: *published.state(row, published.tick()),
        };
        (published.tick(), rows.map(being).collect())
    }
}
