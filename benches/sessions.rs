//! The ingress of sessions phase by phase, and the seal of their egress, at 4,000 sessions: what a
//! shard pays per packet beside the kernel.
//!
//! One batch after the other takes a packet of every session in an order that no cache line is
//! ready for. Making the packets is not timed, nor is copying them into a batch, which has a line
//! of its own.

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tidelock::connection::{
    Admission, Batch, BudgetRange, CloseReason, RekeyPolicy, Sessions, SessionsConfig, Sink, Slot,
};
use tidelock::crypto::aead::PacketKey;
use tidelock::crypto::dh;
use tidelock::crypto::schedule::Root;
use tidelock::limits::{BATCH_MAX, DATAGRAM_MAX};
use tidelock::metrics::Counters;
use tidelock::time::Nanos;
use tidelock::wire::{
    AckBlock, Channel, ConnectionId, ControlMessage, Flags, Header, InputFrame, Writer,
    put_enter_to_world, put_input_frames,
};

const SESSIONS: usize = 4_000;
const TICK: Nanos = Nanos(16_666_667);
const PLAINTEXT: usize = 400;

#[derive(Default)]
struct Count(u64);

impl Sink for Count {
    fn confirmed(&mut self, _: Slot) {}
    fn enter(&mut self, _: Slot) {}
    fn input(&mut self, _: Slot, _: u32, frame: InputFrame) {
        self.0 += u64::from(frame.yaw);
    }
    fn acked(&mut self, _: Slot, _: u64) {
        self.0 += 1;
    }
    fn closed(&mut self, slot: Slot, reason: CloseReason) {
        panic!("{slot}: {reason:?}");
    }
}

/// 4,000 players in the world, and what they need to go on sending.
struct Players {
    sessions: Sessions,
    counters: Counters,
    sink: Count,
    keys: Vec<PacketKey>,
    /// Of the last packet of each client.
    sequence: u64,
    /// Of the last packet to each client, 0 before the first.
    sent: Vec<u64>,
    batch: Batch,
    now: Nanos,
    out: [u8; DATAGRAM_MAX],
}

fn id(slot: usize) -> ConnectionId {
    ConnectionId::from_parts(1, slot as u16, slot as u16 / 2)
}

fn address(slot: usize) -> SocketAddr {
    SocketAddr::from(([127, 1, (slot >> 8) as u8, slot as u8], 40_000))
}

impl Players {
    fn new() -> Self {
        let budget = BudgetRange::default();
        let config = SessionsConfig {
            socket_index: 1,
            capacity: 4_096,
            tick_hz: 60,
            seed: 1,
            path_secret: [1, 2],
            budget,
            rules: Default::default(),
            rekey: RekeyPolicy::default(),
        };
        let mut players = Self {
            sessions: Sessions::new(config),
            counters: Counters::default(),
            sink: Count::default(),
            keys: (0..SESSIONS).map(|slot| PacketKey::new(&[slot as u8; 32])).collect(),
            sequence: 0,
            sent: vec![0; SESSIONS],
            batch: Batch::default(),
            now: Nanos::from_ms(1_000),
            out: [0; DATAGRAM_MAX],
        };
        for slot in 0..SESSIONS {
            let admission = Admission {
                entity: tidelock::units::EntityId::from_parts(1, 1),
                seat: 0,
                heir: false,
                id: id(slot),
                address: address(slot),
                player: 1,
                client_to_server: [slot as u8; 32],
                server_to_client: [!slot as u8; 32],
                examiner: None,
                root: Root::from_bytes([slot as u8; 32]),
                spawn: None,
                accepted_at: players.now,
            };
            players.sessions.admit_session(admission).expect("the slot is free");
        }
        let test = ControlMessage::CryptoTest([0; 16]);
        players.deliver_from_all(Channel::Control, |writer| test.write(writer));
        players.deliver_from_all(Channel::Unreliable, put_enter_to_world);
        let Self { sessions, counters, sink, now, out, .. } = &mut players;
        while sessions.poll_control(*now, out, counters, sink).is_some() {}
        players
    }

    /// The next packet of the client in `slot`.
    fn packet(&self, slot: usize, channel: Channel, body: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let mut out = [0; DATAGRAM_MAX];
        let mut writer = Writer::new(&mut out);
        let header =
            Header { connection: id(slot), channel, flags: Flags::SEALED, sequence: self.sequence };
        if self.sent[slot] > 0 {
            Header { flags: Flags::SEALED.with(Flags::ACKNOWLEDGMENT), ..header }.put(&mut writer);
            AckBlock { largest: self.sent[slot], bitmap: 0, delay: 9 }.write(&mut writer);
        } else {
            header.put(&mut writer);
        }
        body(&mut writer);
        let end = writer.position();
        self.keys[slot].seal(&mut out[..end + 16]);
        out[..end + 16].to_vec()
    }

    fn deliver_from_all(&mut self, channel: Channel, body: impl Fn(&mut Writer<'_>)) {
        self.sequence += 1;
        for slot in 0..SESSIONS {
            let mut packet = self.packet(slot, channel, &body);
            let Self { sessions, counters, sink, now, .. } = self;
            sessions.handle_datagram(*now, address(slot), &mut packet, counters, sink);
        }
    }

    /// One tick of all players; what each step took.
    fn tick(&mut self) -> Durations {
        self.now = self.now.plus(TICK);
        self.sequence += 1;
        let input = self.sequence as u32;
        let frames = [InputFrame { move_x: 1, move_y: 2, yaw: 3, buttons: 0 }; 3];
        let packets: Vec<_> = (0..SESSIONS)
            .map(|i| i * 1_021 % SESSIONS)
            .map(|slot| {
                let body = |writer: &mut Writer<'_>| put_input_frames(writer, input, &frames);
                (address(slot), self.packet(slot, Channel::Unreliable, body))
            })
            .collect();
        let mut spent = Durations::default();
        let Self { sessions, counters, sink, now, batch, .. } = self;
        for chunk in packets.chunks(BATCH_MAX) {
            time(&mut spent.copy, || {
                chunk.iter().for_each(|(from, packet)| batch.push(*from, packet));
            });
            time(&mut spent.admit, || sessions.admit_batch(*now, batch, counters, |_, _, _| {}));
            time(&mut spent.open, || sessions.open_batch(*now, batch, counters));
            time(&mut spent.decode, || sessions.decode_batch(*now, batch, counters, sink));
        }
        time(&mut spent.seal, || {
            for slot in 0..SESSIONS {
                let begun = sessions.begin(slot as Slot, Channel::Unreliable, *now, &mut self.out);
                let begun = begun.expect("a session");
                self.sent[slot] = begun.sequence;
                black_box(sessions.seal(slot as Slot, &mut self.out, begun.body + PLAINTEXT));
            }
        });
        time(&mut spent.poll, || {
            let packet = sessions.poll_control(*now, &mut self.out, counters, sink);
            assert!(packet.is_none(), "snapshots carry what is due");
        });
        assert_eq!(counters.dropped_total(), 0);
        black_box(sink.0);
        spent
    }
}

#[derive(Default)]
struct Durations {
    poll: Duration,
    copy: Duration,
    admit: Duration,
    open: Duration,
    decode: Duration,
    seal: Duration,
}

fn time(spent: &mut Duration, work: impl FnOnce()) {
    let start = Instant::now();
    work();
    *spent += start.elapsed();
}

fn run(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, spent: fn(&Durations) -> Duration) {
    let mut players = Players::new();
    group.throughput(Throughput::Elements(SESSIONS as u64)).sample_size(20);
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(1));
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|ticks| (0..ticks).map(|_| spent(&players.tick())).sum());
    });
}

fn ingress(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("admit");
    run(&mut group, "copies into batches", |spent| spent.copy);
    run(&mut group, "4,000 sessions", |spent| spent.admit);
    group.finish();
    let mut group = criterion.benchmark_group("open");
    run(&mut group, "4,000 sessions, 75 B", |spent| spent.open);
    group.finish();
    let mut group = criterion.benchmark_group("decode");
    run(&mut group, "4,000 sessions, an ack and 3 frames", |spent| spent.decode);
    group.finish();
}

fn egress(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("seal");
    run(&mut group, "4,000 sessions, 448 B", |spent| spent.seal);
    run(&mut group, "4,000 sessions, nothing due", |spent| spent.poll);
    rekeys(&mut group);
    group.finish();
}

/// The two halves of one rekey, as the shard pays for them.
fn rekeys(group: &mut BenchmarkGroup<'_, WallTime>) {
    group.throughput(Throughput::Elements(1));
    let (ours, theirs) = ([7; 32], dh::public_of(&[9; 32]));
    group.bench_function("a rekey begins", |bencher| {
        bencher.iter(|| dh::public_of(black_box(&ours)));
    });
    let public = dh::public_of(&ours);
    group.bench_function("a rekey derives", |bencher| {
        let mut root = Root::from_bytes([1; 32]);
        bencher.iter(|| {
            let shared = dh::agree(black_box(&ours), &theirs).expect("a good point");
            let previous = root.client_to_server(0);
            root.advance(1, &public, &theirs, &shared);
            let keys = [root.client_to_server(1), root.server_to_client(1)];
            (PacketKey::new(&keys[1]), keys, previous)
        });
    });
}

criterion_group!(benches, ingress, egress);
criterion_main!(benches);
