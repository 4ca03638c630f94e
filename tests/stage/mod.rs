//! A shard with thousands of players and no socket: for benches, and for tests that count.
//!
//! The players are the cheapest that the server cannot tell from real ones: they hold real keys,
//! seal real packets, walk, and acknowledge every snapshot, but decode none.

use std::cell::Cell;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tidelock::config::{InterestConfig, SpawnRule};
use tidelock::connection::Admission;
use tidelock::crypto::aead::PacketKey;
use tidelock::host::entropy::SeededEntropy;
use tidelock::limits::{DATAGRAM_MAX, HEADER_LEN, SNAPSHOT_BUDGET, TAG_LEN};
use tidelock::metrics::Counters;
use tidelock::net::{BATCH, Backend, Datagram, Port, ReceiveHandler, ReceiveReport, SendReport};
use tidelock::shard::{EntryRules, GateEnd, Shard, ShardConfig, Timer, ToShard, pair};
use tidelock::time::Nanos;
use tidelock::units::TickRate;
use tidelock::wire::{
    AckBlock, Channel, ConnectionId, ControlMessage, Flags, Header, InputFrame, Writer,
    put_enter_to_world, put_input_frames,
};

/// A port that hands out nothing and keeps, of everything sent, the sequence and the size.
pub(crate) struct Sink {
    slots: Vec<[u8; DATAGRAM_MAX]>,
    /// Newest sequence per player; the port number of its address is the player.
    pub(crate) newest: Vec<u64>,
    /// Payload bytes sent.
    pub(crate) bytes: u64,
    /// Datagrams since the last flush.
    queued: u64,
    queued_bytes: u64,
}

impl Sink {
    fn new(players: usize) -> Self {
        Self {
            slots: vec![[0; DATAGRAM_MAX]; players + 64],
            newest: vec![0; players],
            bytes: 0,
            queued: 0,
            queued_bytes: 0,
        }
    }
}

impl Port for Sink {
    fn receive(&mut self, _: u32, _: Duration, _: ReceiveHandler<'_>) -> io::Result<ReceiveReport> {
        Ok(ReceiveReport::default())
    }

    fn send_capacity(&self) -> usize {
        self.slots.len()
    }

    fn send_buffer(&mut self, slot: usize) -> &mut [u8; DATAGRAM_MAX] {
        &mut self.slots[slot]
    }

    fn send_push(&mut self, slot: usize, len: usize, to: SocketAddr) {
        let sequence = self.slots[slot][6..14].try_into().map(u64::from_le_bytes);
        self.newest[usize::from(to.port()) - 1] = sequence.expect("eight bytes");
        self.bytes += len as u64;
        self.queued += 1;
        self.queued_bytes += len as u64;
    }

    fn flush(&mut self) -> io::Result<SendReport> {
        let (sent, bytes) = (self.queued, self.queued_bytes);
        (self.queued, self.queued_bytes) = (0, 0);
        Ok(SendReport { sent, bytes, ..SendReport::default() })
    }

    fn kernel_drops(&self) -> u64 {
        0
    }

    fn backend(&self) -> Backend {
        Backend::Mmsg
    }

    fn local_address(&self) -> SocketAddr {
        address(0)
    }
}

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

struct Bot {
    id: ConnectionId,
    key: PacketKey,
    sequence: u64,
    input: u32,
    heading: u64,
}

/// A shard and its players.
pub(crate) struct Stage {
    pub(crate) shard: Shard,
    pub(crate) port: Sink,
    clock: StageClock,
    gate: GateEnd,
    bots: Vec<Bot>,
    dice: SeededEntropy,
    /// One prepared datagram per player: bytes and length.
    pub(crate) inbox: Vec<([u8; 128], usize)>,
}

impl Stage {
    /// `players` players spread over the map so that each sees about `visible` others; everybody is
    /// inside and acknowledges when this returns.
    pub(crate) fn new(players: usize, visible: u32) -> Self {
        let interest = InterestConfig {
            player: InterestConfig::radius_for(visible, players as u32),
            ..InterestConfig::default()
        };
        let config = ShardConfig {
            socket_index: 1,
            players,
            entities: players,
            rate: TickRate::DEFAULT,
            radius: interest.radii(),
            leave_factor: interest.leave_factor,
            budget: SNAPSHOT_BUDGET,
            entry: EntryRules { seed: 1, spawn: SpawnRule::Uniform },
            canary_seed: 1,
        };
        let (gate, shard_end) = pair();
        let mut stage = Self {
            shard: Shard::new(config, shard_end, Arc::new(Counters::default())),
            port: Sink::new(players),
            clock: StageClock::default(),
            gate,
            bots: Vec::new(),
            dice: SeededEntropy(1),
            inbox: vec![([0; 128], 0); players],
        };
        (0..players).for_each(|player| stage.admit(player));
        stage.join();
        for _ in 0..80 {
            stage.prepare_inputs();
            stage.take_in();
            stage.tick();
        }
        stage
    }

    fn admit(&mut self, player: usize) {
        let id = ConnectionId::from_parts(1, player as u16, 1 + player as u16 % 4000);
        let mut key = [7; 32];
        key[..8].copy_from_slice(&(player as u64).to_le_bytes());
        let admission = Admission {
            id,
            address: address(player),
            player: player as u64,
            client_to_server: key,
            server_to_client: [9; 32],
            spawn: None,
            accepted_at: self.clock.now(),
        };
        self.gate.to_shard.send(ToShard::Admit(admission)).expect("the queue holds every slot");
        let key = PacketKey::new(&key);
        let heading = self.dice.next_u64();
        self.bots.push(Bot { id, key, sequence: 0, input: 0, heading });
    }

    /// Every player proves its keys, then asks for its entity.
    fn join(&mut self) {
        self.shard.read_mail(&self.clock);
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
        for player in 0..self.bots.len() {
            self.packet(player, Channel::Unreliable, |writer, bot| {
                bot.input += 1;
                let turn = (bot.heading >> (bot.input / 64 % 48)) as u32;
                let frame = InputFrame {
                    move_x: (turn & 0xFF) as i8 | 1,
                    move_y: (turn >> 8 & 0xFF) as i8 | 1,
                    yaw: (turn & 0xFFFF) as u16,
                    buttons: 0,
                };
                put_input_frames(writer, bot.input, &[frame; 3][..bot.input.min(3) as usize]);
            });
        }
    }

    fn packet(
        &mut self,
        player: usize,
        channel: Channel,
        body: impl FnOnce(&mut Writer<'_>, &mut Bot),
    ) {
        let bot = &mut self.bots[player];
        bot.sequence += 1;
        let (bytes, len) = &mut self.inbox[player];
        let mut writer = Writer::new(&mut bytes[..128 - TAG_LEN]);
        let newest = self.port.newest[player];
        let mut flags = Flags::SEALED;
        if newest > 0 {
            flags = flags.with(Flags::ACKNOWLEDGMENT);
        }
        Header { connection: bot.id, channel, flags, sequence: bot.sequence }.put(&mut writer);
        if newest > 0 {
            let delay = AckBlock::DELAY_UNKNOWN;
            AckBlock { largest: newest, bitmap: 0, delay }.write(&mut writer);
        }
        body(&mut writer, bot);
        *len = writer.finish().expect("it fits") + TAG_LEN;
        bot.key.seal(&mut bytes[..*len]);
        assert!(*len >= HEADER_LEN + TAG_LEN);
    }

    /// Receives the prepared datagrams, 64 at a time.
    pub(crate) fn take_in(&mut self) {
        let mut first = 0;
        for batch in self.inbox.chunks_mut(BATCH) {
            let len = batch.len();
            // An array of places that borrow from the inbox, without a heap allocation.
            let mut places = batch.iter_mut().enumerate().map(|(offset, (bytes, len))| Datagram {
                payload: &mut bytes[..*len],
                from: address(first + offset),
            });
            let mut datagrams: [Datagram<'_>; BATCH] = std::array::from_fn(|_| {
                places.next().unwrap_or(Datagram { payload: &mut [], from: address(0) })
            });
            self.shard.take_in(&mut datagrams[..len], &self.clock);
            first += len;
        }
    }

    /// One tick.
    pub(crate) fn tick(&mut self) {
        self.shard.tick(&mut self.port, &self.clock).expect("this port does not fail");
        self.clock.ticks.set(self.clock.ticks.get() + 1);
    }
}

fn address(player: usize) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, player as u16 + 1))
}
