//! When keys are replaced, how many at a time, and what ends a session instead.

use super::*;

#[test]
fn keys_are_worn_by_age_with_a_jitter_of_an_eighth_that_comes_from_the_seed() {
    let mut ages = std::collections::BTreeSet::new();
    for seed in 0..40 {
        let mut bench = Bench::new(4);
        bench.sessions.config.rekey = RekeyPolicy::new(u64::MAX, 3_600);
        bench.sessions.config.seed = seed;
        let peer = bench.entered(SLOT);
        bench.poll(&peer);
        let mut scene = Scene {
            bench,
            peer,
            root: root(SLOT),
            keys: vec![keys(&root(SLOT), 0)],
            dice: Dice(seed),
        };
        let began = scene.bench.now;
        scene.live_ms(3_599_000);
        scene.tick();
        assert_eq!(scene.reads(), [0, 0, 0], "seed {seed}");
        while scene.reads() == [0, 0, 0] {
            scene.live_ms(1_000);
            scene.tick();
        }
        let age_s = scene.bench.now.since(began).as_ms() / 1_000;
        assert!((3_600..=4_051).contains(&age_s), "seed {seed}: {age_s} s");
        ages.insert(age_s);
    }
    assert!(ages.len() > 30, "they spread: {ages:?}");
    assert!(ages.last().unwrap() - ages.first().unwrap() > 300, "{ages:?}");
}

#[test]
fn bytes_of_both_directions_count_and_wear_the_keys_a_minute_after_the_last_rekey_at_the_soonest() {
    let mut scene = Scene::new();
    scene.sessions().config.rekey = RekeyPolicy::new(REKEY_BYTES, 3_600);
    scene.sessions().plan_rekey(usize::from(SLOT));
    let carried = |scene: &Scene| scene.bench.sessions.keys[1].as_ref().expect("a session").carried;
    let before = carried(&scene);
    let packet = scene.input(0, 1);
    scene.deliver(&packet);
    assert_eq!(carried(&scene), before + packet.len() as u64);
    let mut out = [0; DATAGRAM_MAX];
    let now = scene.bench.now;
    let begun = scene.sessions().begin(SLOT, Channel::Unreliable, now, &mut out);
    let length = scene.sessions().seal(SLOT, &mut out, begun.expect("a session").body + 100);
    assert_eq!(carried(&scene), before + (packet.len() + length) as u64);

    // Not before 10^9, and surely at nine eighths of it.
    scene.live_ms(MINUTE_MS);
    scene.carry(REKEY_BYTES - 10_000);
    scene.tick();
    scene.live_ms(4_000);
    scene.tick();
    assert_eq!(scene.reads(), [0, 0, 0]);
    scene.carry(REKEY_BYTES / 8 * 9);
    let request = scene.asked();
    let part = scene.part(request);
    let packet = scene.response(0, part);
    scene.deliver(&packet);
    scene.tick();
    let packet = scene.sealed(1, Channel::Control, &[]);
    scene.deliver(&packet);
    scene.tick();
    assert!(carried(&scene) < 1_000, "the count begins anew");
    scene.carry(REKEY_BYTES / 8 * 9);
    for _ in 0..59 {
        scene.live_ms(1_000);
        scene.tick();
    }
    assert_eq!(scene.reads(), [1, 1, 0], "a minute has not passed");
    scene.live_ms(2_000);
    scene.tick();
    scene.live_ms(200);
    scene.tick();
    assert_eq!(scene.reads(), [2, 1, 0]);
}

#[test]
fn packets_that_fail_to_open_wear_the_key() {
    let mut scene = Scene::new();
    scene.sessions().config.rekey = RekeyPolicy::default();
    scene.sessions().plan_rekey(usize::from(SLOT));
    scene.live_ms(MINUTE_MS);
    scene.tick();
    scene.sessions().failed_opens[1] = FAILED_OPENS_REKEY - 2;
    for expected in [0, 1] {
        let mut header = scene.peer.header(Channel::Control);
        header.sequence += 50;
        let mut garbage = scene.under(0, header, &[]);
        garbage[20] ^= 1;
        scene.deliver(&garbage);
        scene.tick();
        scene.bench.advance_ms(250);
        scene.tick();
        assert_eq!(scene.reads(), [expected, 0, 0]);
    }
    assert_eq!(scene.bench.dropped(DropReason::Open), 2);
}

#[test]
fn a_client_that_never_answers_is_disconnected_after_30_s_and_not_before() {
    let mut scene = Scene::new();
    scene.worn();
    scene.live_ms(REKEY_TIMEOUT_MS - 1);
    scene.tick();
    assert_eq!((scene.reads(), scene.bench.sessions.len()), ([1, 0, 0], 1));
    scene.bench.events();
    scene.bench.advance_ms(1);
    let reason = DisconnectReason::Exhausted;
    let said = scene.tick();
    assert_eq!(said, [(0, vec![ControlMessage::Disconnect { reason, retry_s: 0 }])]);
    assert_eq!(scene.bench.events(), [Event::Closed(SLOT, CloseReason::Exhausted)]);
    assert_eq!(scene.reads(), [1, 0, 1]);
    for _ in 0..3 {
        scene.bench.advance_ms(50);
        scene.tick();
    }
    assert_eq!(scene.held(), [false; 4], "a slot without a session holds no secret");
}

#[test]
fn a_client_that_answers_and_never_uses_the_new_key_is_disconnected_too() {
    let mut scene = Scene::new();
    scene.derived();
    scene.live_ms(REKEY_TIMEOUT_MS - 1_000);
    scene.tick();
    assert_eq!(scene.bench.sessions.len(), 1);
    scene.live_ms(1_000);
    let said = scene.tick();
    let reason = DisconnectReason::Exhausted;
    assert_eq!(said, [(1, vec![ControlMessage::Disconnect { reason, retry_s: 0 }])]);
    assert_eq!(scene.reads(), [1, 0, 1]);
}

#[test]
fn without_new_keys_the_old_ones_end_at_two_hours_or_two_gigabytes() {
    let reason = DisconnectReason::Exhausted;
    let ends = |scene: &mut Scene| {
        let Bench { sessions, counters, sink, now } = &mut scene.bench;
        // No secrets, so no rekey.
        let (mut out, mut all) = ([0; DATAGRAM_MAX], Vec::new());
        while let Some(packet) = sessions.poll_control(*now, &mut out, counters, sink) {
            all.push(out[..packet.length].to_vec());
        }
        let goodbye = [ControlMessage::Disconnect { reason, retry_s: 0 }];
        all.iter().any(|datagram| scene.heard(datagram).1 == goodbye)
    };
    let mut scene = Scene::new();
    for _ in 0..7_199 {
        scene.live_ms(1_000);
        assert!(!ends(&mut scene));
    }
    scene.live_ms(1_000);
    assert!(ends(&mut scene));

    let mut scene = Scene::new();
    scene.carry(KEY_BYTES_MAX - 10_000);
    scene.live_ms(1_000);
    assert!(!ends(&mut scene));
    scene.carry(KEY_BYTES_MAX);
    scene.live_ms(61_000);
    assert!(ends(&mut scene));
    assert_eq!(scene.reads(), [0, 0, 0]);
}

#[test]
fn of_sessions_that_began_together_a_few_per_tick_begin_and_a_few_derive() {
    const ALL: usize = 200;
    let mut bench = Bench::new(ALL);
    bench.sessions.config.rekey = RekeyPolicy::new(u64::MAX, 5);
    let mut dice = Dice(3);
    let mut peers: Vec<_> = (0..ALL as u16).map(|slot| bench.entered_quietly(slot)).collect();
    let mut out = [0; DATAGRAM_MAX];
    let (mut begun, mut derived, mut waiting) = ([0; 2], [0; 2], Vec::new());
    let mut waited_ms = 0;
    for tick in 0..1_200 {
        bench.advance_ms(16);
        if tick % 60 == 0 {
            for peer in &mut peers {
                let packet = peer.packet(Channel::Control, &[]);
                bench.deliver(peer, &packet);
            }
        }
        // Everybody answers at once, after ten seconds without an answer.
        if tick == 1_000 {
            for (slot, part) in waiting.drain(..) {
                let peer: &mut Peer = &mut peers[usize::from(slot)];
                let packet = peer.control(ControlMessage::RekeyResponse(part));
                bench.deliver(peer, &packet);
            }
            bench.events();
        }
        bench.sessions.supply_secrets(&mut dice);
        let Bench { sessions, counters, sink, now } = &mut bench;
        let before = counters.read(Counter::RekeysStarted);
        while let Some(packet) = sessions.poll_control(*now, &mut out, counters, sink) {
            let peer = &peers[usize::from(packet.slot)];
            for message in peer.open_any(&out[..packet.length]) {
                let ControlMessage::RekeyRequest(RekeyPart { epoch, .. }) = message else {
                    continue;
                };
                let part = RekeyPart { epoch, public: dh::public_of(&[1 + packet.slot as u8; 32]) };
                if waiting.iter().all(|&(slot, _)| slot != packet.slot) {
                    waiting.push((packet.slot, part));
                }
            }
        }
        let begins = (counters.read(Counter::RekeysStarted) - before) as usize;
        let derives = bench.events().iter().filter(|e| matches!(e, Event::Rekeyed(..))).count();
        begun = [begun[0].max(begins), begun[1] + begins];
        derived = [derived[0].max(derives), derived[1] + derives];
        waited_ms += 16 * u64::from(derives > 0);
    }
    assert_eq!(begun, [REKEYS_BEGUN_PER_TICK, ALL], "most in a tick, and in all");
    assert_eq!(derived, [REKEYS_DERIVED_PER_TICK, ALL]);
    assert!(waited_ms < 1_000, "{waited_ms} ms for {ALL}");
}

impl Bench {
    /// As `entered`, without opening what the server says to others.
    fn entered_quietly(&mut self, slot: u16) -> Peer {
        let mut peer = self.accepted(slot);
        for packet in [peer.crypto_test(), peer.enter()] {
            self.deliver(&peer, &packet);
        }
        self.sink.0.clear();
        peer
    }
}

impl Peer {
    /// The messages of a packet under the key of epoch 0; none of one under another.
    fn open_any(&self, datagram: &[u8]) -> Vec<ControlMessage> {
        let header = Header::read(datagram).expect("a header");
        if header.flags.intersects(Flags::REKEY) {
            Vec::new()
        } else {
            self.open(datagram).control()
        }
    }
}

#[test]
fn no_rekey_begins_before_the_client_has_proved_its_keys() {
    let mut bench = Bench::new(4);
    bench.sessions.config.rekey = RekeyPolicy::new(u64::MAX, 5);
    let peer = bench.accepted(SLOT);
    bench.sessions.pending[1].confirmed = true;
    bench.advance_ms(4_900);
    bench.sessions.supply_secrets(&mut Dice(1));
    assert!(bench.poll(&peer).is_empty());
    assert_eq!(bench.read(Counter::RekeysStarted), 0);
}

#[test]
fn no_rekey_begins_before_the_client_can_know_that_its_keys_are_confirmed() {
    let begun = |says: Option<fn(&mut Peer) -> Vec<u8>>| {
        let mut bench = Bench::new(4);
        bench.sessions.config.rekey = RekeyPolicy::new(u64::MAX, 5);
        let mut peer = bench.accepted(SLOT);
        let packet = peer.crypto_test();
        bench.deliver(&peer, &packet);
        bench.poll(&peer);
        if let Some(says) = says {
            let packet = says(&mut peer);
            bench.deliver(&peer, &packet);
        }
        for _ in 0..70 {
            bench.advance_ms(100);
            bench.sessions.supply_secrets(&mut Dice(1));
            bench.poll(&peer);
        }
        bench.read(Counter::RekeysStarted)
    };
    assert_eq!(begun(None), 0, "the answer to its CryptoTest may be lost");
    assert_eq!(begun(Some(|peer| peer.ack(1, 0))), 1);
    assert_eq!(begun(Some(Peer::enter)), 1);
}
