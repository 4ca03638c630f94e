//! New keys for a session that lives on, step by step, and while it is handed over.

mod strangers;
mod worn;

use super::*;
use crate::crypto::dh;
use crate::limits::*;
use crate::time::Entropy;
use crate::wire::RekeyPart;

const SLOT: u16 = 1;
/// A minute is the least spacing that the policy of these tests leaves.
const MINUTE_MS: u64 = 60_000;

struct Dice(u64);

impl Entropy for Dice {
    fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (self.0 >> 56) as u8;
        }
    }
}

/// A session, and its client with the keys of all epochs so far.
struct Scene {
    bench: Bench,
    peer: Peer,
    /// Of the newest epoch that the client has derived.
    root: Root,
    /// By epoch: what the client seals and opens with.
    keys: Vec<(PacketKey, PacketKey)>,
    dice: Dice,
}

fn parity(epoch: usize) -> Flags {
    if epoch % 2 == 1 { Flags::REKEY } else { Flags::default() }
}

fn keys(root: &Root, epoch: u16) -> (PacketKey, PacketKey) {
    let (seal, open) = (root.client_to_server(epoch), root.server_to_client(epoch));
    (PacketKey::new(&seal), PacketKey::new(&open))
}

impl Scene {
    /// A player in the world, whose keys are worn after a minute at the soonest.
    fn new() -> Self {
        let mut bench = Bench::new(4);
        bench.sessions.config.rekey = RekeyPolicy::new(u64::MAX, 60);
        let peer = bench.entered(SLOT);
        bench.poll(&peer);
        let root = root(SLOT);
        let keys = vec![keys(&root, 0)];
        Self { bench, peer, root, keys, dice: Dice(7) }
    }

    /// The keys have carried so many bytes. Nobody carries as many as the tests need at once, so
    /// the session has to be woken.
    fn carry(&mut self, bytes: u64) {
        let sessions = self.sessions();
        sessions.keys[1].as_mut().expect("a session").carried = bytes;
        sessions.rekey[1].wake();
        sessions.due[1] = Nanos(0);
    }

    fn sessions(&mut self) -> &mut Sessions {
        &mut self.bench.sessions
    }

    fn epochs(&self) -> (u16, u16) {
        self.bench.sessions.epochs(SLOT).expect("a session")
    }

    /// The client's packet with `plaintext` under the key of `epoch`.
    fn sealed(&mut self, epoch: usize, channel: Channel, plaintext: &[u8]) -> Vec<u8> {
        let mut header = self.peer.header(channel);
        header.flags = header.flags.with(parity(epoch));
        self.under(epoch, header, plaintext)
    }

    fn under(&self, epoch: usize, header: Header, plaintext: &[u8]) -> Vec<u8> {
        let mut out = write(|writer| {
            header.put(writer);
            writer.slice(plaintext);
            writer.zeros(TAG_LEN);
        });
        self.keys[epoch].0.seal(&mut out);
        out
    }

    fn input(&mut self, epoch: usize, newest: u32) -> Vec<u8> {
        let plaintext = write(|writer| put_input_frames(writer, newest, &[frame(newest)]));
        self.sealed(epoch, Channel::Unreliable, &plaintext)
    }

    fn response(&mut self, epoch: usize, part: RekeyPart) -> Vec<u8> {
        let plaintext = write(|writer| ControlMessage::RekeyResponse(part).write(writer));
        self.sealed(epoch, Channel::Control, &plaintext)
    }

    fn deliver(&mut self, datagram: &[u8]) {
        let address = self.peer.address;
        self.bench.deliver_from(address, datagram);
    }

    /// The client plays, so that the session does not time out.
    fn live_ms(&mut self, ms: u64) {
        for _ in 0..ms / 1_000 {
            self.bench.advance_ms(1_000);
            let epoch = usize::from(self.epochs().0);
            let packet = self.sealed(epoch, Channel::Control, &[]);
            self.deliver(&packet);
        }
        self.bench.advance_ms(ms % 1_000);
    }

    /// A tick of the server: epoch and messages of each packet it sends.
    fn tick(&mut self) -> Vec<(usize, Vec<ControlMessage>)> {
        let mut out = [0; DATAGRAM_MAX];
        let mut all = Vec::new();
        self.bench.sessions.supply_secrets(&mut self.dice);
        let Bench { sessions, counters, sink, now } = &mut self.bench;
        while let Some(packet) = sessions.poll_control(*now, &mut out, counters, sink) {
            all.push(out[..packet.length].to_vec());
        }
        all.iter().map(|datagram| self.heard(datagram)).collect()
    }

    /// Opens a packet of the server under the newest key of its parity.
    fn heard(&self, datagram: &[u8]) -> (usize, Vec<ControlMessage>) {
        let header = Header::read(datagram).expect("a header");
        let fits = |&epoch: &usize| header.flags.and(Flags::REKEY) == parity(epoch);
        let epoch = (0..self.keys.len()).rev().find(fits).expect("a known epoch");
        let mut datagram = datagram.to_vec();
        let mut body = &*self.keys[epoch].1.open(&mut datagram).expect("authentic");
        if header.flags.contains(Flags::ACKNOWLEDGMENT) {
            body = &body[ACK_BLOCK_LEN..];
        }
        let read = |message: Result<Message<'_>, _>| {
            ControlMessage::read(&message.expect("well framed")).expect("a control message")
        };
        (epoch, Messages::new(body, Channel::Control).map(read).collect())
    }

    /// Ticks until the server asks: its part.
    fn asked(&mut self) -> RekeyPart {
        for _ in 0..400 {
            let said: Vec<_> = self.tick().into_iter().flat_map(|(_, said)| said).collect();
            for message in said {
                if let ControlMessage::RekeyRequest(part) = message {
                    return part;
                }
            }
            self.live_ms(100);
        }
        panic!("the server does not ask");
    }

    /// The keys are worn, and the server asks.
    fn worn(&mut self) -> RekeyPart {
        self.live_ms(MINUTE_MS);
        self.asked()
    }

    /// The client's part; from now on it has the keys of the next epoch.
    fn part(&mut self, request: RekeyPart) -> RekeyPart {
        let secret = self.dice.bytes();
        let public = dh::public_of(&secret);
        let shared = dh::agree(&secret, &request.public).expect("a good point");
        self.root.advance(request.epoch, &request.public, &public, &shared);
        self.keys.push(keys(&self.root, request.epoch));
        RekeyPart { epoch: request.epoch, public }
    }

    /// The server has derived the next keys; the client has not used them.
    fn derived(&mut self) -> usize {
        let request = self.worn();
        let part = self.part(request);
        let epoch = usize::from(part.epoch);
        let packet = self.response(epoch - 1, part);
        self.deliver(&packet);
        self.tick();
        assert_eq!(self.epochs(), (part.epoch - 1, part.epoch));
        self.bench.events();
        epoch
    }

    /// Both sides use the next keys; the first packet under them has this sequence.
    fn turned(&mut self) -> (usize, u64) {
        let epoch = self.derived();
        let packet = self.sealed(epoch, Channel::Control, &[]);
        self.deliver(&packet);
        self.tick();
        assert_eq!(self.epochs(), (epoch as u16, epoch as u16));
        (epoch, self.peer.sequence)
    }

    /// What `datagram` is refused for; nothing changes.
    #[track_caller]
    fn refused(&mut self, datagram: &[u8]) -> DropReason {
        let before = (self.bench.state(), DropReason::ALL.map_counts(&self.bench));
        self.deliver(datagram);
        assert_eq!(self.bench.state(), before.0);
        let after = DropReason::ALL.map_counts(&self.bench);
        let changed = (0..after.len()).find(|&i| after[i] != before.1[i]);
        DropReason::ALL[changed.expect("it was dropped")]
    }

    fn held(&self) -> [bool; 4] {
        self.bench.sessions.rekey[usize::from(SLOT)].held()
    }

    fn reads(&self) -> [u64; 3] {
        [Counter::RekeysStarted, Counter::RekeysCompleted, Counter::RekeysFailed]
            .map(|counter| self.bench.read(counter))
    }
}

trait MapCounts {
    fn map_counts(&self, bench: &Bench) -> Vec<u64>;
}

impl MapCounts for [DropReason] {
    fn map_counts(&self, bench: &Bench) -> Vec<u64> {
        self.iter().map(|&reason| bench.dropped(reason)).collect()
    }
}

#[test]
fn worn_keys_are_replaced_again_and_again_and_sequences_go_on() {
    let mut scene = Scene::new();
    let mut sent = scene.bench.snapshot(SLOT);
    for epoch in 1..=5usize {
        let request = scene.worn();
        assert_eq!(usize::from(request.epoch), epoch);
        assert_eq!(scene.held(), [true, true, false, false], "an ephemeral secret waits");
        let part = scene.part(request);
        let packet = scene.response(epoch - 1, part);
        scene.deliver(&packet);
        scene.bench.events();
        scene.bench.advance_ms(25);
        let said = scene.tick();
        assert!(said.iter().all(|(under, _)| *under == epoch), "it sends the next at once");
        let key = scene.root.server_to_client(part.epoch);
        assert_eq!(scene.bench.events(), [Event::Rekeyed(SLOT, part.epoch, key)]);
        assert_eq!(scene.held(), [true, false, true, true], "the ephemeral secret is erased");
        let next = scene.bench.snapshot(SLOT);
        assert!(next > sent && next < sent + 1_000, "{next} after {sent}");
        sent = next;
        // What comes under the old key still counts, and what comes under the new one turns.
        let before = scene.peer.sequence;
        for (under, newest, now) in [(epoch - 1, 2, epoch - 1), (epoch, 3, epoch)] {
            let newest = epoch as u32 * 10 + newest;
            let packet = scene.input(under, newest);
            scene.deliver(&packet);
            assert_eq!(scene.bench.events(), [Event::Input(SLOT, newest, frame(newest))]);
            assert_eq!(usize::from(scene.epochs().0), now);
        }
        assert_eq!(scene.peer.sequence, before + 2);
        scene.tick();
        assert_eq!(scene.held(), [true, false, false, true]);
        scene.live_ms(REKEY_HOLD_MS);
        scene.tick();
        assert_eq!(scene.held(), [true, false, false, false], "the old key is erased");
        assert_eq!(scene.reads(), [epoch as u64, epoch as u64, 0]);
    }
}

#[test]
fn every_packet_is_sealed_with_the_key_that_its_parity_names() {
    let mut scene = Scene::new();
    let mut out = [0; DATAGRAM_MAX];
    let mut snapshot = |scene: &mut Scene, expected: usize| {
        let now = scene.bench.now;
        let begun = scene.sessions().begin(SLOT, Channel::Unreliable, now, &mut out);
        let length = scene.sessions().seal(SLOT, &mut out, begun.expect("a session").body);
        assert_eq!(scene.heard(&out[..length]).0, expected);
    };
    snapshot(&mut scene, 0);
    scene.derived();
    snapshot(&mut scene, 1);
    let packet = scene.sealed(1, Channel::Control, &[]);
    scene.deliver(&packet);
    scene.tick();
    snapshot(&mut scene, 1);
    scene.derived();
    snapshot(&mut scene, 2);
}

#[test]
fn the_request_is_repeated_in_new_packets_until_the_answer_is_there_and_then_no_more() {
    let mut scene = Scene::new();
    let request = scene.worn();
    let mut sequences = Vec::new();
    for _ in 0..8 {
        scene.bench.advance_ms(249);
        assert!(scene.tick().is_empty());
        scene.bench.advance_ms(1);
        sequences.push(scene.bench.sessions.flow[1].sent.next());
        let said = scene.tick();
        assert_eq!(said, [(0, vec![ControlMessage::RekeyRequest(request)])], "the same part");
    }
    assert!(sequences.is_sorted_by(|a, b| a < b));
    let part = scene.part(request);
    // The first answer counts, whatever comes later.
    let first = scene.response(0, part);
    let again = scene.response(0, part);
    let other = scene.response(0, RekeyPart { public: [9; 32], ..part });
    scene.deliver(&first);
    scene.deliver(&again);
    scene.deliver(&other);
    scene.bench.advance_ms(25);
    scene.tick();
    assert_eq!(scene.epochs(), (0, 1));
    for _ in 0..8 {
        let packet = scene.response(0, part);
        scene.deliver(&packet);
        scene.bench.advance_ms(250);
        let said: Vec<_> = scene.tick().into_iter().flat_map(|(_, said)| said).collect();
        assert_eq!(said, [], "nothing but acknowledgments");
        assert_eq!(scene.epochs(), (0, 1), "the client has not used the new key");
    }
    let packet = scene.sealed(1, Channel::Control, &[]);
    scene.deliver(&packet);
    scene.tick();
    assert_eq!((scene.epochs(), scene.reads()), ((1, 1), [1, 1, 0]));
    assert_eq!(scene.bench.dropped(DropReason::Unexpected), 0);
}

/// Where a rekey may be when the session is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Asked,
    Answered,
    Derived,
    Turned,
}

#[test]
fn a_rekey_survives_a_hand_over_at_every_step() {
    for step in [Step::Asked, Step::Answered, Step::Derived, Step::Turned] {
        let mut scene = Scene::new();
        let request = scene.worn();
        let part = scene.part(request);
        if step != Step::Asked {
            let packet = scene.response(0, part);
            scene.deliver(&packet);
        }
        if matches!(step, Step::Derived | Step::Turned) {
            scene.tick();
            assert_eq!(scene.epochs(), (0, 1));
        }
        if step == Step::Turned {
            let packet = scene.sealed(1, Channel::Control, &[]);
            scene.deliver(&packet);
        }
        let id = ConnectionId::from_parts(SOCKET + 1, SLOT, 0xABC);
        let mut there = Bench::on_socket(SOCKET + 1, 4);
        (there.now, there.sessions.config.rekey) =
            (scene.bench.now, RekeyPolicy::new(u64::MAX, 60));
        let now = scene.bench.now;
        let handed = scene.sessions().hand_over(SLOT, id, now).expect("it may go");
        assert_eq!(scene.held(), [false; 4], "{step:?}: no secret stays behind");
        assert_eq!(there.sessions.take_over(handed, now), Ok(SLOT));
        let started = scene.bench.read(Counter::RekeysStarted);
        // The client learns its new id, and answers under it.
        scene.bench = there;
        scene.peer.id = id;
        let expected =
            if step == Step::Turned { (1, 1) } else { (0, (step == Step::Derived).into()) };
        assert_eq!(scene.epochs(), expected, "{step:?}");
        let packet = scene.input(usize::from(expected.0), 78);
        scene.deliver(&packet);
        assert_eq!(scene.bench.events().len(), 1, "{step:?}");
        scene.tick();
        if step == Step::Asked {
            assert_eq!(scene.asked(), request, "the same part is asked for again");
            let packet = scene.response(0, part);
            scene.deliver(&packet);
            scene.tick();
        }
        let key = scene.root.server_to_client(1);
        let told = scene.bench.events().contains(&Event::Rekeyed(SLOT, 1, key));
        assert!(told, "{step:?}: who remembers the key is told here");
        let packet = scene.sealed(1, Channel::Control, &[]);
        scene.deliver(&packet);
        assert_eq!(scene.epochs(), (1, 1), "{step:?}");
        scene.tick();
        assert_eq!((started, scene.bench.read(Counter::RekeysCompleted)), (1, 1), "{step:?}");
        scene.live_ms(MINUTE_MS);
        assert_eq!(scene.asked().epoch, 2, "{step:?}: and the next one comes");
    }
}

#[test]
fn a_key_for_which_the_sink_has_no_room_is_told_as_soon_as_it_has() {
    let mut scene = Scene::new();
    scene.bench.sink.1 = true;
    let epoch = scene.derived();
    for _ in 0..3 {
        scene.live_ms(20);
        scene.tick();
    }
    assert_eq!(scene.bench.events(), [], "there is still no room");
    scene.bench.sink.1 = false;
    scene.tick();
    let key = scene.root.server_to_client(epoch as u16);
    assert_eq!(scene.bench.events(), [Event::Rekeyed(SLOT, epoch as u16, key)]);
    scene.live_ms(20);
    scene.tick();
    assert_eq!(scene.bench.events(), [], "and once");
}
