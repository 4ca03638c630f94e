//! Shards with thousands of players and no socket: for benches, and for tests that count.
//!
//! The players are the cheapest that the server cannot tell from real ones: they hold real keys,
//! seal real packets, walk, and acknowledge every snapshot, but decode none.
#![allow(dead_code, reason = "each test uses its part of it")]

pub(crate) mod reliable;
mod sink;
pub(crate) mod travel;

use sink::Sink;
use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tidelock::config::{InterestConfig, SpawnRule};
use tidelock::connection::{Admission, BudgetRange, RekeyPolicy};
use tidelock::crypto::aead::PacketKey;
use tidelock::crypto::schedule::Root;
use tidelock::exchange::{Keeper, Meeting, Member, exchange};
use tidelock::host::entropy::SeededEntropy;
use tidelock::limits::{HEADER_LEN, SLOTS_PER_SHARD, TAG_LEN};
use tidelock::metrics::Counters;
use tidelock::net::{BATCH, Datagram};
use tidelock::shard::{
    EntryRules, ForwardRoom, GateEnd, Links, Page, Question, Regroup, Report, Shard, ShardConfig,
    Timer, ToGate, ToShard, Waiters, links, pair,
};
use tidelock::time::Nanos;
use tidelock::units::{EntityId, TickRate};
use tidelock::wire::{
    AckBlock, Channel, ConnectionId, ControlMessage, Flags, Header, InputFrame, Writer, buttons,
    put_enter_to_world, put_input_frames,
};

/// A clock that advances by one period per tick, however fast the ticks run: the rate limits of the
/// server then see 60 packets per second.
#[derive(Default)]
pub(crate) struct StageClock {
    ticks: Cell<u64>,
}

impl Timer for StageClock {
    fn now(&self) -> Nanos {
        Nanos(TickRate::DEFAULT.start_ns(self.ticks.get()))
    }

    fn cpu_ns(&self) -> u64 {
        0
    }
}

pub(crate) struct Bot {
    pub(crate) id: ConnectionId,
    /// Where its packets go: by the id, as the kernel steers them.
    pub(crate) shard: usize,
    key: PacketKey,
    sequence: u64,
    input: u32,
    heading: u64,
    /// Reliable messages sent.
    said: u16,
}

/// One shard with its port and the datagrams for it.
pub(crate) struct Desk {
    pub(crate) shard: Shard,
    pub(crate) port: Sink,
    gate: GateEnd,
    /// One prepared datagram per player: sender, bytes and length.
    pub(crate) inbox: Vec<(usize, [u8; 128], usize)>,
}

impl Desk {
    fn new(config: ShardConfig, member: Member<Page>, links: Links, players: usize) -> Self {
        let (gate, end) = pair();
        let config = ShardConfig { socket_index: member.place() as u8 + 1, ..config };
        Self {
            shard: Shard::new(
                config,
                member,
                links,
                end,
                Arc::new(Counters::default()),
                Box::new(SeededEntropy(config.socket_index.into())),
            ),
            port: Sink::new(players),
            gate,
            inbox: Vec::with_capacity(config.players),
        }
    }
}

/// What a stage is built from.
#[derive(Clone)]
pub(crate) struct Setup {
    /// Decides where players enter and how they walk.
    pub(crate) seed: u64,
    pub(crate) spawn: SpawnRule,
    pub(crate) interest: InterestConfig,
    pub(crate) players: usize,
    /// Published rows; those beyond the players are free.
    pub(crate) seats: usize,
    pub(crate) shards: usize,
    /// Whether what is sent is kept for the test, which then says what arrived ([`Stage::hear`]).
    pub(crate) captures: bool,
}

/// The shards of one world and their players.
pub(crate) struct Stage {
    pub(crate) desks: Vec<Desk>,
    /// How long each tick is said to have taken.
    pub(crate) busy: Nanos,
    /// Whether everybody lets go of the stick.
    pub(crate) rests: bool,
    clock: StageClock,
    pub(crate) keeper: Keeper,
    /// What it takes to make a shard like the first ones.
    config: ShardConfig,
    page: Page,
    pub(crate) bots: Vec<Bot>,
    /// How many sockets beyond the right one datagrams come to, as without steering.
    pub(crate) astray: usize,
    /// Newest sequence that each player got, whoever sent it.
    newest: Vec<u64>,
    /// What they acknowledge beside it, if they acknowledge all; else they name the newest alone.
    before: Option<Vec<u64>>,
    /// Whether players get everything that is sent to them.
    hears_all: bool,
    /// Slots of each shard for those who come from another; the last is the next.
    spare: Vec<Vec<u16>>,
    /// Hand-overs asked for.
    handed_over: u16,
    dice: SeededEntropy,
}

impl Stage {
    /// `players` players in `shards` shards, placed by `spawn`; spread over the map each sees about
    /// `visible` others. Everybody is inside and acknowledges when this returns.
    pub(crate) fn new(spawn: SpawnRule, players: usize, visible: u32, shards: usize) -> Self {
        let interest = InterestConfig {
            player: InterestConfig::radius_for(visible, players as u32),
            ..InterestConfig::default()
        };
        let (seats, captures) = (players, false);
        let setup = Setup { seed: 1, spawn, interest, players, seats, shards, captures };
        let mut stage = Self::build(setup);
        for _ in 0..80 {
            stage.prepare_inputs();
            stage.take_in();
            stage.tick();
        }
        stage
    }

    /// Everybody is inside when this returns, after one tick.
    pub(crate) fn build(setup: Setup) -> Self {
        let Setup { seed, spawn, interest, players, seats, shards, captures } = setup;
        let per_shard = seats.div_ceil(shards);
        let page = Page::new(2 * per_shard, interest.radii(), interest.leave_factor);
        let (keeper, members) = exchange(shards, seats, 0, &page);
        let config = ShardConfig {
            socket_index: 1,
            // Room for those who come from other shards.
            players: (2 * per_shard).min(SLOTS_PER_SHARD),
            entities: 2 * per_shard,
            rate: TickRate::DEFAULT,
            budget: BudgetRange::default(),
            rules: Default::default(),
            entry: EntryRules { seed, spawn },
            canary_seed: 1,
            path_secret: [1, 2],
            rekey: RekeyPolicy::default(),
            benchmark: false,
        };
        let room = ForwardRoom::unsteered(shards, config.players);
        let desks = members.into_iter().zip(links(shards, config.entities, room).1);
        let mut stage = Self {
            desks: desks.map(|(member, links)| Desk::new(config, member, links, players)).collect(),
            busy: Nanos(0),
            rests: false,
            clock: StageClock::default(),
            keeper: keeper.clone(),
            config,
            page,
            bots: Vec::new(),
            astray: 0,
            newest: vec![0; players],
            before: None,
            hears_all: !captures,
            spare: vec![(per_shard as u16..config.players as u16).rev().collect(); shards],
            handed_over: 0,
            dice: SeededEntropy(seed),
        };
        for desk in &mut stage.desks {
            desk.port.captured = captures.then(Vec::new);
        }
        for player in 0..players {
            assert!(keeper.grant(player as u32, player % shards));
            stage.admit(player);
        }
        stage.join();
        stage
    }

    /// A packet that was captured has arrived: it is acknowledged with the next input.
    pub(crate) fn hear(&mut self, player: usize, sequence: u64) {
        self.newest[player] = self.newest[player].max(sequence);
    }

    fn admit(&mut self, player: usize) {
        let (shards, shard) = (self.desks.len(), player % self.desks.len());
        let slot = (player / shards) as u16;
        let id = ConnectionId::from_parts(shard as u8 + 1, slot, 1 + slot % 4000);
        let mut key = [7; 32];
        key[..8].copy_from_slice(&(player as u64).to_le_bytes());
        let admission = Admission {
            id,
            address: address(player),
            player: player as u64,
            client_to_server: key,
            server_to_client: [9; 32],
            examiner: None,
            root: Root::from_bytes([8; 32]),
            spawn: None,
            entity: EntityId::from_parts(player as u32, 1),
            seat: player as u32,
            heir: false,
            accepted_at: self.clock.now(),
        };
        let to_shard = &mut self.desks[shard].gate.to_shard;
        to_shard.send(ToShard::Admit(admission)).expect("the queue holds every slot");
        let key = PacketKey::new(&key);
        let heading = self.dice.next_u64();
        self.bots.push(Bot { id, shard, key, sequence: 0, input: 0, heading, said: 0 });
    }

    /// Every player proves its keys, then asks for its entity.
    fn join(&mut self) {
        self.desks.iter_mut().for_each(|desk| desk.shard.read_mail(&self.clock));
        for player in 0..self.bots.len() {
            self.packet(player, Channel::Control, |writer, _| {
                ControlMessage::CryptoTest([1; 16]).write(writer);
            });
        }
        self.take_in();
        for player in 0..self.bots.len() {
            self.packet(player, Channel::Unreliable, |writer, _| put_enter_to_world(writer));
        }
        self.take_in();
        self.tick();
    }

    /// Every player walks on and acknowledges its newest snapshot.
    pub(crate) fn prepare_inputs(&mut self) {
        let rests = self.rests;
        for player in 0..self.bots.len() {
            self.packet(player, Channel::Unreliable, |writer, bot| {
                bot.input += 1;
                let turn = (bot.heading >> (bot.input / 64 % 48)) as u32;
                let frame = InputFrame {
                    move_x: (turn & 0xFF) as i8 | 1,
                    move_y: (turn >> 8 & 0xFF) as i8 | 1,
                    yaw: (turn & 0xFFFF) as u16,
                    buttons: (turn >> 8) as u16 & buttons::ATTACK,
                };
                let frame = if rests { InputFrame::default() } else { frame };
                put_input_frames(writer, bot.input, &[frame; 3][..bot.input.min(3) as usize]);
            });
        }
    }

    pub(crate) fn packet(
        &mut self,
        player: usize,
        channel: Channel,
        body: impl FnOnce(&mut Writer<'_>, &mut Bot),
    ) {
        self.packet_with(player, channel, Flags::SEALED, body);
    }

    fn packet_with(
        &mut self,
        player: usize,
        channel: Channel,
        mut flags: Flags,
        body: impl FnOnce(&mut Writer<'_>, &mut Bot),
    ) {
        let bot = &mut self.bots[player];
        bot.sequence += 1;
        let place = (bot.shard + self.astray) % self.desks.len();
        let desk = &mut self.desks[place];
        desk.inbox.push((player, [0; 128], 0));
        let (_, bytes, len) = desk.inbox.last_mut().expect("just pushed");
        let mut writer = Writer::new(&mut bytes[..128 - TAG_LEN]);
        let newest = self.newest[player];
        if newest > 0 {
            flags = flags.with(Flags::ACKNOWLEDGMENT);
        }
        Header { connection: bot.id, channel, flags, sequence: bot.sequence }.put(&mut writer);
        if newest > 0 {
            let delay = AckBlock::DELAY_UNKNOWN;
            let bitmap = self.before.as_ref().map_or(0, |before| before[player]);
            AckBlock { largest: newest, bitmap, delay }.write(&mut writer);
        }
        body(&mut writer, bot);
        *len = writer.finish().expect("it fits") + TAG_LEN;
        bot.key.seal(&mut bytes[..*len]);
        assert!(*len >= HEADER_LEN + TAG_LEN);
    }

    /// Receives the prepared datagrams, 64 at a time.
    pub(crate) fn take_in(&mut self) {
        for desk in &mut self.desks {
            for batch in desk.inbox.chunks_mut(BATCH) {
                let len = batch.len();
                // An array of places that borrow from the inbox, without a heap allocation.
                let mut places = batch.iter_mut().map(|(player, bytes, len)| Datagram {
                    payload: &mut bytes[..*len],
                    from: address(*player),
                });
                let mut datagrams: [Datagram<'_>; BATCH] = std::array::from_fn(|_| {
                    places.next().unwrap_or(Datagram { payload: &mut [], from: address(0) })
                });
                desk.shard.take_in(&mut datagrams[..len], &self.clock);
            }
            desk.inbox.clear();
        }
    }

    /// Asks the shard at place `shard` to explain something, and lets a tick pass.
    pub(crate) fn explain(&mut self, shard: usize, question: Box<Question>) -> Box<Question> {
        let Desk { shard: asked, gate, .. } = &mut self.desks[shard];
        gate.to_shard.send(ToShard::Explain(question)).expect("there is room");
        asked.read_mail(&self.clock);
        self.tick();
        loop {
            match self.desks[shard].gate.from_shard.receive() {
                Some(ToGate::Explained(question)) => return question,
                other => assert!(other.is_some(), "the shard gives no answer"),
            }
        }
    }

    /// Asks for `player` to go to the shard at place `to`, as the gate does; its session is what is
    /// returned, once it has arrived.
    pub(crate) fn hand_over(&mut self, player: usize, to: usize) -> ConnectionId {
        let slot = self.spare[to].pop().expect("a slot is free");
        self.handed_over += 1;
        // Not the id of those who had the slot before.
        let id = ConnectionId::from_parts(to as u8 + 1, slot, self.handed_over & 0xFFF);
        let Bot { id: from, shard, .. } = self.bots[player];
        let order = ToShard::HandOver(from, id);
        self.desks[shard].gate.to_shard.send(order).expect("there is room");
        id
    }

    /// Lets all shards read their mail and what others handed on; returns what they tell the gate.
    pub(crate) fn exchange_mail(&mut self) -> Vec<ToGate> {
        let mut told = Vec::new();
        for Desk { shard, port, gate, .. } in &mut self.desks {
            let nothing = shard.receive(port, 0, Duration::ZERO, &self.clock);
            nothing.expect("this port does not fail");
            told.extend(std::iter::from_fn(|| gate.from_shard.receive()));
        }
        for it in &told {
            if let ToGate::Released(id) = it {
                self.spare[usize::from(id.socket()) - 1].push(id.slot());
            }
        }
        told
    }

    /// One tick: all shards simulate and meet, then all replicate.
    pub(crate) fn tick(&mut self) {
        let last = self.desks.len() - 1;
        for (place, desk) in self.desks.iter_mut().enumerate() {
            // The last shard is the busy one, and all must hear of it.
            let busy = if place == last { self.busy } else { Nanos(0) };
            desk.shard.simulate(Report { busy, ..Report::default() }, &self.clock);
            desk.shard.member_mut().arrive();
        }
        self.replicate();
    }

    /// Second half of a tick: all have met, and send.
    pub(crate) fn replicate(&mut self) {
        for Desk { shard, port, .. } in &mut self.desks {
            assert_eq!(shard.member_mut().poll(), Meeting::Met);
            shard.replicate(port, &self.clock).expect("this port does not fail");
            for (newest, sent) in self.newest.iter_mut().zip(&port.newest) {
                *newest = if self.hears_all { (*newest).max(*sent) } else { *newest };
            }
            if let Some(before) = &mut self.before {
                reliable::note(before, &self.newest, port);
            }
        }
        self.clock.ticks.set(self.clock.ticks.get() + 1);
    }

    /// One tick in which the shard at place `lost` fails before it has arrived: an empty one takes
    /// its place, and the others go on. Returns the lost one.
    pub(crate) fn tick_without(&mut self, lost: usize) -> Desk {
        self.simulate_without(lost);
        let gone = self.lose(lost);
        (0..self.desks.len()).for_each(|place| self.go_on(place));
        self.replicate();
        gone
    }

    /// First half of a tick: all but the shard at place `lost` arrive.
    pub(crate) fn simulate_without(&mut self, lost: usize) {
        for place in (0..self.desks.len()).filter(|&place| place != lost) {
            let shard = &mut self.desks[place].shard;
            shard.simulate(Report::default(), &self.clock);
            shard.member_mut().arrive();
        }
    }

    /// An empty shard takes the place of that at `lost` and arrives; the others get mail of it.
    /// Returns the lost one.
    pub(crate) fn lose(&mut self, lost: usize) -> Desk {
        let (keeper, members) = self.keeper.succeed(&self.page);
        self.keeper = keeper;
        let shards = self.desks.len();
        let replaced: Box<[bool]> = (0..shards).map(|place| place == lost).collect();
        let mut gone = None;
        let room = ForwardRoom::unsteered(shards, self.config.players);
        let (_, links) = links(shards, self.config.entities, room);
        for (place, (member, links)) in members.into_iter().zip(links).enumerate() {
            let desk = &mut self.desks[place];
            if place == lost {
                let fresh = Desk::new(self.config, member, links, self.bots.len());
                gone = Some(std::mem::replace(desk, fresh));
                let shard = &mut self.desks[place].shard;
                shard.simulate(Report::default(), &self.clock);
                shard.member_mut().arrive();
                continue;
            }
            let (waiters, origin) = (Arc::new(Waiters::new(shards)), Nanos(0));
            let replaced = replaced.clone();
            let regroup = Regroup { member, links, replaced, waiters, origin };
            let to_shard = &mut desk.gate.to_shard;
            to_shard.send(ToShard::Regroup(Box::new(regroup))).expect("there is room");
        }
        gone.expect("there is a shard at that place")
    }

    /// The shard at `place`, which has arrived, finds out what was lost meanwhile and goes on, up
    /// to the exchange that is in use.
    pub(crate) fn go_on(&mut self, place: usize) {
        let shard = &mut self.desks[place].shard;
        while shard.member_mut().poll() == Meeting::Closed {
            shard.read_mail(&self.clock);
            let regroup = shard.take_regroup().expect("there is mail of it");
            shard.rejoin(*regroup, self.clock.now());
            shard.member_mut().arrive();
        }
    }
}

fn address(player: usize) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, player as u16 + 1))
}
