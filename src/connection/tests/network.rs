//! A table and a client on a network that loses, repeats and reorders, on a simulated clock. A
//! failing seed is in the message and replays exactly.

use super::super::acks::Processed;
use super::*;
use std::collections::BTreeSet;

const TICK: Nanos = Nanos(16_666_667);

/// How the network treats datagrams, in thousandths and milliseconds.
#[derive(Clone, Copy, Debug)]
struct Weather {
    lost: u64,
    repeated: u64,
    delay_ms: u64,
    jitter_ms: u64,
}

struct Network {
    random: u64,
    weather: Weather,
    /// (arrival, order of sending, to the server, datagram)
    flying: BTreeSet<(u64, u64, bool, Vec<u8>)>,
    sent: u64,
}

impl Network {
    fn below(&mut self, limit: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.random >> 33) % limit.max(1)
    }

    fn send(&mut self, now: Nanos, to_server: bool, datagram: &[u8]) {
        if self.below(1_000) < self.weather.lost {
            return;
        }
        let copies = 1 + u64::from(self.below(1_000) < self.weather.repeated);
        for _ in 0..copies {
            let ms = self.weather.delay_ms + self.below(self.weather.jitter_ms);
            self.sent += 1;
            let arrival = now.plus(Nanos::from_ms(ms)).0;
            self.flying.insert((arrival, self.sent, to_server, datagram.to_vec()));
        }
    }

    fn arrived(&mut self, now: Nanos) -> Option<(bool, Vec<u8>)> {
        let first = self.flying.first().filter(|first| first.0 <= now.0)?;
        let (to_server, datagram) = (first.2, first.3.clone());
        self.flying.pop_first();
        Some((to_server, datagram))
    }
}

/// A client that enters, sends an input per tick and acknowledges what it processed.
pub(super) struct Player {
    pub(super) peer: Peer,
    window: crate::crypto::replay::ReplayWindow<16>,
    processed: Processed,
    confirmed: bool,
    in_world: bool,
    input: u32,
    /// Sequences of packets processed.
    applied: BTreeSet<u64>,
    /// Packets that it discards as stale although they opened: these it must never acknowledge.
    discarded: BTreeSet<u64>,
}

impl Player {
    pub(super) fn new(peer: Peer) -> Self {
        Self {
            peer,
            window: Default::default(),
            processed: Processed::default(),
            confirmed: false,
            in_world: false,
            input: 0,
            applied: BTreeSet::new(),
            discarded: BTreeSet::new(),
        }
    }

    pub(super) fn handle(&mut self, now: Nanos, datagram: &[u8]) {
        let sequence = Header::read(datagram).expect("the server's header").sequence;
        if self.window.peek(sequence).is_err() {
            return;
        }
        let newest = self.window.newest();
        let heard = self.peer.open(datagram);
        self.window.commit(sequence);
        if heard.header.channel == Channel::Unreliable {
            if sequence < newest {
                self.discarded.insert(sequence);
                return;
            }
            self.in_world = true;
        } else if heard.control() == [ControlMessage::CryptoTestAck(TEST_BYTES)] {
            self.confirmed = true;
        }
        self.applied.insert(sequence);
        self.processed.add(sequence, now);
    }

    pub(super) fn speak(&mut self, now: Nanos) -> Vec<u8> {
        let block = self.processed.block(now).filter(|_| self.confirmed);
        let (channel, kind) = match (self.confirmed, self.in_world) {
            (false, _) => (Channel::Control, 0),
            (true, false) => (Channel::Unreliable, 1),
            (true, true) => (Channel::Unreliable, 2),
        };
        let mut header = self.peer.header(channel);
        let plaintext = write(|writer| {
            if let Some(block) = block {
                header.flags = header.flags.with(Flags::ACKNOWLEDGMENT);
                block.write(writer);
            }
            match kind {
                0 => ControlMessage::CryptoTest(TEST_BYTES).write(writer),
                1 => put_enter_to_world(writer),
                _ => {
                    self.input += 1;
                    let count = self.input.min(3);
                    let frames: Vec<_> = (0..count).map(|i| frame(self.input - i)).collect();
                    put_input_frames(writer, self.input, &frames);
                }
            }
        });
        self.peer.seal(header, &plaintext)
    }
}

/// Ten minutes in the weather. Returns (inputs sent, inputs that arrived, snapshots sent,
/// acknowledged).
fn ten_minutes(seed: u64, weather: Weather) -> [usize; 4] {
    let mut bench = Bench::new(4);
    let mut player = Player::new(bench.accepted(1));
    let mut network = Network { random: seed, weather, flying: BTreeSet::new(), sent: 0 };
    let (mut snapshots, mut acked, mut inputs) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    let mut out = [0; DATAGRAM_MAX];
    for _ in 0..36_000 {
        bench.now = bench.now.plus(TICK);
        let now = bench.now;
        while let Some((to_server, datagram)) = network.arrived(now) {
            if to_server {
                bench.deliver(&player.peer, &datagram);
            } else {
                player.handle(now, &datagram);
            }
        }
        for event in bench.events() {
            match event {
                Event::Input(1, sequence, got) => {
                    assert_eq!(got, frame(sequence), "seed {seed}");
                    inputs.push(sequence);
                }
                Event::Acked(1, sequence) => {
                    assert!(player.applied.contains(&sequence), "seed {seed}: {sequence} is a lie");
                    assert!(!player.discarded.contains(&sequence), "seed {seed}: {sequence}");
                    assert!(acked.insert(sequence), "seed {seed}: {sequence} twice");
                }
                Event::Confirmed(1) | Event::Enter(1) | Event::EnterAgain(1) => {}
                other => panic!("seed {seed}: {other:?}"),
            }
        }
        if bench.sessions.has_entered(1) {
            let begun = bench.sessions.begin(1, Channel::Unreliable, now, &mut out);
            let begun = begun.expect("a session");
            let length = bench.sessions.seal(1, &mut out, begun.body);
            snapshots.insert(begun.sequence);
            network.send(now, false, &out[..length]);
        }
        let Bench { sessions, counters, sink, .. } = &mut bench;
        while let Some(transmit) = sessions.poll_control(now, &mut out, counters, sink) {
            network.send(now, false, &out[..transmit.length]);
        }
        network.send(now, true, &player.speak(now));
    }
    assert!(inputs.is_sorted_by(|a, b| a < b), "seed {seed}: inputs come in order, once");
    let expected = [DropReason::Replay, DropReason::InputRate];
    for &reason in DropReason::ALL.iter().filter(|reason| !expected.contains(reason)) {
        assert_eq!(bench.dropped(reason), 0, "seed {seed}: {reason:?}");
    }
    let acked = acked.intersection(&snapshots).count();
    [player.input as usize, inputs.len(), snapshots.len(), acked]
}

#[test]
fn in_fair_weather_everything_arrives() {
    let weather = Weather { lost: 0, repeated: 0, delay_ms: 20, jitter_ms: 0 };
    let [sent, arrived, snapshots, acked] = ten_minutes(1, weather);
    assert!(sent > 35_900 && sent - arrived <= 4, "{arrived} of {sent}");
    assert!(snapshots > 35_900 && snapshots - acked <= 6, "{acked} of {snapshots}");
}

#[test]
fn sessions_survive_loss_repetition_and_reordering() {
    for (seed, lost, jitter_ms) in [(2, 50, 10), (3, 200, 40), (4, 300, 150), (5, 100, 400)] {
        let weather = Weather { lost, repeated: 100, delay_ms: 30, jitter_ms };
        let [sent, arrived, snapshots, acked] = ten_minutes(seed, weather);
        // A frame travels in three packets; its position in the newest of them decides when it
        // comes.
        assert!(arrived * 100 > sent * 20, "seed {seed}: {arrived} inputs of {sent}");
        assert!(acked * 100 > snapshots * 4, "seed {seed}: {acked} acknowledged of {snapshots}");
        if jitter_ms < 16 {
            assert!(arrived * 1_000 > sent * 998, "seed {seed}: {arrived} inputs of {sent}");
            assert!(acked * 100 > snapshots * 93, "seed {seed}: {acked} of {snapshots}");
        }
    }
}
