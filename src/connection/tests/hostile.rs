//! Attacks. Whatever a stranger sends, and whatever of a client's own packets he changes, repeats
//! or holds back, a table is afterwards as it was before; only counters tell.

use super::*;
use proptest::prelude::*;

const CAPACITY: usize = 8;
const VICTIM: u16 = 5;

/// The victim, a neighbour, and one who has not proved his keys; the two are players in the world
/// to whom packets have been sent.
fn scene() -> (Bench, Peer, Peer) {
    let mut bench = Bench::new(CAPACITY);
    let neighbour = bench.entered(2);
    bench.accepted(6);
    let victim = bench.entered(VICTIM);
    for _ in 0..10 {
        bench.snapshot(VICTIM);
        bench.snapshot(2);
    }
    bench.advance_ms(1_000);
    (bench, victim, neighbour)
}

/// A genuine datagram of every kind that a client sends.
fn genuine(kind: usize, peer: &mut Peer) -> Option<Vec<u8>> {
    let leave = ControlMessage::Disconnect { reason: DisconnectReason::Left, retry_s: 0 };
    Some(match kind {
        0 => peer.input(peer.sequence as u32, 3),
        1 => peer.enter(),
        2 => peer.crypto_test(),
        3 => peer.control(ControlMessage::Ping { nonce: 77 }),
        4 => peer.control(ControlMessage::Pong { nonce: 77, clock_us: 5 }),
        5 => peer.control(ControlMessage::Ack),
        6 => peer.ack(6, 0b111),
        7 => peer.control(leave),
        _ => return None,
    })
}

impl Bench {
    /// Delivers what must change nothing, directly and through a batch, and returns why it was
    /// dropped.
    #[track_caller]
    fn refuse(&mut self, from: SocketAddr, datagram: &[u8]) -> DropReason {
        let before = (self.state(), self.read(Counter::PacketsOpened));
        let dropped = |bench: &Self| DropReason::ALL.iter().map(|&r| bench.dropped(r)).collect();
        let drops: Vec<u64> = dropped(self);
        self.deliver_from(from, datagram);
        let mut batch = Batch::default();
        batch.push(from, datagram);
        self.deliver_batch(&mut batch);
        assert_eq!((self.state(), self.read(Counter::PacketsOpened)), before, "state has changed");
        let after: Vec<u64> = dropped(self);
        let changed = |&i: &usize| after[i] != drops[i];
        let reasons: Vec<usize> = (0..drops.len()).filter(changed).collect();
        assert_eq!(reasons.len(), 1, "one reason for one datagram");
        assert_eq!(after[reasons[0]] - drops[reasons[0]], 2, "each counted once");
        DropReason::ALL[reasons[0]]
    }

    /// Delivers a genuine datagram and makes sure that it is one.
    #[track_caller]
    fn accept(&mut self, peer: &Peer, datagram: &[u8]) {
        let before =
            (self.state(), self.read(Counter::PacketsOpened), self.counters.dropped_total());
        self.deliver(peer, datagram);
        assert_ne!(self.state(), before.0, "a genuine datagram has an effect");
        let now = (self.read(Counter::PacketsOpened), self.counters.dropped_total());
        assert_eq!(now, (before.1 + 1, before.2));
    }
}

#[test]
fn a_flipped_bit_anywhere_in_any_datagram_changes_nothing() {
    for kind in 0.. {
        let (mut bench, mut victim, _) = scene();
        let Some(datagram) = genuine(kind, &mut victim) else { break };
        for bit in 0..datagram.len() * 8 {
            let mut changed = datagram.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            bench.refuse(victim.address, &changed);
        }
        bench.accept(&victim, &datagram);
    }
}

#[test]
fn a_datagram_cut_off_or_extended_by_any_length_changes_nothing() {
    for kind in 0.. {
        let (mut bench, mut victim, _) = scene();
        let Some(datagram) = genuine(kind, &mut victim) else { break };
        for length in 0..datagram.len() {
            let reason = bench.refuse(victim.address, &datagram[..length]);
            let expected = if length < 30 { DropReason::Size } else { DropReason::Open };
            assert_eq!(reason, expected, "{length}");
        }
        let mut longer = datagram.clone();
        for length in datagram.len() + 1..=1_300 {
            longer.push(length as u8);
            let reason = bench.refuse(victim.address, &longer);
            let expected = if length > 1_200 { DropReason::Size } else { DropReason::Open };
            assert_eq!(reason, expected, "{length}");
        }
        bench.accept(&victim, &datagram);
    }
}

#[test]
fn a_replayed_datagram_of_any_kind_changes_nothing() {
    let (mut bench, mut victim, _) = scene();
    for kind in 0..7 {
        let datagram = genuine(kind, &mut victim).expect("seven kinds that do not end the session");
        bench.accept(&victim, &datagram);
        assert_eq!(bench.refuse(victim.address, &datagram), DropReason::Replay, "{kind}");
    }
}

#[test]
fn a_datagram_held_back_until_the_window_has_passed_changes_nothing() {
    let (mut bench, mut victim, _) = scene();
    let held: Vec<_> = (0..2).map(|_| victim.packet(Channel::Unreliable, &[])).collect();
    for _ in 0..62 {
        bench.advance_ms(20);
        let packet = victim.packet(Channel::Unreliable, &[]);
        bench.accept(&victim, &packet);
    }
    bench.accept(&victim, &held[1]);
    let packet = victim.packet(Channel::Unreliable, &[]);
    bench.accept(&victim, &packet);
    assert_eq!(bench.refuse(victim.address, &held[0]), DropReason::Replay);
}

#[test]
fn a_forged_datagram_from_another_address_changes_nothing() {
    let (mut bench, mut victim, neighbour) = scene();
    let datagram = victim.input(1, 1);
    let mut forged = datagram.clone();
    forged[20] ^= 1;
    let mut other_port = victim.address;
    other_port.set_port(victim.address.port() + 1);
    for from in [other_port, neighbour.address, SocketAddr::from(([1, 2, 3, 4], 40_005))] {
        assert_eq!(bench.refuse(from, &forged), DropReason::Open, "{from}");
    }
    bench.accept(&victim, &datagram);
}

#[test]
fn a_datagram_under_another_name_changes_nothing() {
    let (mut bench, mut victim, neighbour) = scene();
    let plaintext = write(put_enter_to_world);
    let name = |socket, slot, generation| ConnectionId::from_parts(socket, slot, generation);
    let own = victim.id;
    for (id, expected) in [
        (name(SOCKET + 1, own.slot(), own.generation()), DropReason::WrongSocket),
        (name(SOCKET, own.slot(), own.generation() ^ 1), DropReason::UnknownConnection),
        (name(SOCKET, 0, own.generation()), DropReason::UnknownConnection),
        (name(SOCKET, 8, own.generation()), DropReason::UnknownConnection),
        (name(SOCKET, 4_095, own.generation()), DropReason::UnknownConnection),
        (neighbour.id, DropReason::Open),
        (ConnectionId(own.0 & !0xFF), DropReason::Header),
    ] {
        let header = Header { connection: id, ..victim.header(Channel::Unreliable) };
        let datagram = victim.seal(header, &plaintext);
        assert_eq!(bench.refuse(victim.address, &datagram), expected, "{id:?}");
    }
    // From the neighbour's own address his packets still do not open under the victim's key.
    let header = Header { connection: neighbour.id, ..victim.header(Channel::Unreliable) };
    let datagram = victim.seal(header, &plaintext);
    assert_eq!(bench.refuse(neighbour.address, &datagram), DropReason::Open);
}

#[test]
fn headers_that_no_client_may_write_change_nothing_even_if_sealed_well() {
    let (mut bench, mut victim, _) = scene();
    let plaintext = write(put_enter_to_world);
    let good = victim.header(Channel::Unreliable);
    let sealed = |change: fn(&mut Header)| {
        let mut header = good;
        change(&mut header);
        victim.seal(header, &plaintext)
    };
    for (change, expected) in [
        ((|h| h.sequence = 0) as fn(&mut Header), DropReason::Header),
        (|h| h.sequence = 1 << 62, DropReason::Header),
        (|h| h.sequence = u64::MAX, DropReason::Header),
        (|h| h.flags = Flags(0x02), DropReason::Header),
        (|h| h.flags = Flags(0x01), DropReason::Header),
        (|h| h.flags = Flags(0x83), DropReason::Header),
        (|h| h.flags = Flags::SEALED.with(Flags::REKEY), DropReason::Epoch),
    ] {
        assert_eq!(bench.refuse(victim.address, &sealed(change)), expected);
    }
    let mut handshake = vec![0; 1_200];
    handshake[4] = 3;
    assert_eq!(bench.refuse(victim.address, &handshake), DropReason::WrongSocket);
    bench.accept(&victim, &sealed(|_| {}));
}

#[test]
fn the_second_of_two_equal_datagrams_in_one_batch_is_a_replay() {
    let (mut bench, mut victim, _) = scene();
    let datagrams = [victim.input(1, 1), victim.input(2, 1)];
    let mut batch = Batch::default();
    for which in [0, 0, 1, 0, 1] {
        batch.push(victim.address, &datagrams[which]);
    }
    bench.deliver_batch(&mut batch);
    let inputs: Vec<_> = [1, 2].map(|i| Event::Input(VICTIM, i, frame(i))).to_vec();
    assert_eq!(bench.events(), inputs);
    assert_eq!(bench.dropped(DropReason::Replay), 3);
}

#[test]
fn what_follows_a_farewell_in_one_batch_reaches_nobody() {
    let (mut bench, mut victim, _) = scene();
    let leave = genuine(7, &mut victim).expect("the farewell");
    let input = victim.input(1, 1);
    let mut batch = Batch::default();
    batch.push(victim.address, &leave);
    batch.push(victim.address, &input);
    bench.deliver_batch(&mut batch);
    let closed = CloseReason::Peer(DisconnectReason::Left);
    assert_eq!(bench.events(), [Event::Closed(VICTIM, closed)]);
    assert_eq!(bench.dropped(DropReason::UnknownConnection), 1);
}

/// What an attacker does with one datagram.
#[derive(Clone, Debug)]
enum Attack {
    Flip(usize),
    Overwrite(usize, u8),
    Cut(usize),
    Extend(Vec<u8>),
    /// From another port; a copy that nobody changed is the business of `path`.
    From(u16, usize),
    Splice(usize),
    Noise(Vec<u8>),
}

fn attack() -> impl Strategy<Value = Attack> {
    prop_oneof![
        any::<usize>().prop_map(Attack::Flip),
        (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Attack::Overwrite(at, byte)),
        any::<usize>().prop_map(Attack::Cut),
        prop::collection::vec(any::<u8>(), 1..1_300).prop_map(Attack::Extend),
        (any::<u16>(), any::<usize>()).prop_map(|(port, bit)| Attack::From(port, bit)),
        any::<usize>().prop_map(Attack::Splice),
        prop::collection::vec(any::<u8>(), 0..1_300).prop_map(Attack::Noise),
    ]
}

/// Applies `attack`; `other` is a second genuine datagram of the same client.
fn mutate(
    attack: Attack,
    datagram: &[u8],
    other: &[u8],
    from: SocketAddr,
) -> (SocketAddr, Vec<u8>) {
    let mut bytes = datagram.to_vec();
    let mut source = from;
    match attack {
        Attack::Flip(bit) => bytes[bit / 8 % datagram.len()] ^= 1 << (bit % 8),
        Attack::Overwrite(at, byte) => bytes[at % datagram.len()] = byte,
        Attack::Cut(length) => bytes.truncate(length % datagram.len()),
        Attack::Extend(more) => bytes.extend(more),
        Attack::From(port, bit) => {
            source.set_port(port);
            bytes[bit / 8 % datagram.len()] ^= 1 << (bit % 8);
        }
        Attack::Splice(at) => {
            let at = at % datagram.len().min(other.len());
            bytes.truncate(at);
            bytes.extend_from_slice(&other[at..]);
        }
        Attack::Noise(noise) => bytes = noise,
    }
    (source, bytes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_sequence_of_attacks_leaves_a_trace(
        steps in prop::collection::vec((0..7usize, prop::collection::vec(attack(), 0..6)), 1..12),
    ) {
        let (mut bench, mut victim, _) = scene();
        let mut past: Vec<Vec<u8>> = Vec::new();
        for (kind, attacks) in steps {
            let datagram = genuine(kind, &mut victim).expect("seven kinds");
            let other = genuine(kind, &mut victim).expect("seven kinds");
            for attack in attacks {
                let (from, bytes) = mutate(attack, &datagram, &other, victim.address);
                // Some changes change nothing, and a splice may be the other datagram.
                if from != victim.address || (bytes != datagram && bytes != other) {
                    bench.refuse(from, &bytes);
                    // Strangers have two more tries.
                    bench.advance_ms(100);
                }
            }
            for old in &past {
                bench.refuse(victim.address, old);
            }
            bench.accept(&victim, &datagram);
            past.push(datagram);
        }
    }

    #[test]
    fn a_batch_does_what_its_datagrams_do_one_by_one(
        steps in prop::collection::vec((0..7usize, 0..2usize, any::<bool>(), attack()), 1..64),
    ) {
        let scenes = [scene(), scene()];
        let [mut single, mut batched] = scenes.map(|(bench, victim, neighbour)| {
            (bench, [victim, neighbour], Batch::default())
        });
        let mut last = vec![0];
        for (kind, who, attacked, attack) in steps {
            let made: Vec<_> = [&mut single, &mut batched]
                .map(|(_, peers, _)| genuine(kind, &mut peers[who]).expect("seven kinds"))
                .to_vec();
            prop_assert_eq!(&made[0], &made[1]);
            let address = single.1[who].address;
            let (from, bytes) = if attacked {
                mutate(attack, &made[0], &last, address)
            } else {
                (address, made[0].clone())
            };
            last.clone_from(&made[0]);
            single.0.deliver_from(from, &bytes);
            batched.2.push(from, &bytes);
        }
        let (bench, _, batch) = &mut batched;
        bench.deliver_batch(batch);
        prop_assert_eq!(single.0.state(), bench.state());
        prop_assert_eq!(single.0.read(Counter::PacketsOpened), bench.read(Counter::PacketsOpened));
        // A forgery under a sequence that only its own batch uses up is a replay in one way and
        // fails to open in the other. Everything else is told apart alike.
        let (replay, open) = (DropReason::Replay, DropReason::Open);
        let alike = |reason: &&DropReason| **reason != replay && **reason != open;
        for &reason in DropReason::ALL.iter().filter(alike) {
            prop_assert_eq!(single.0.dropped(reason), bench.dropped(reason), "{:?}", reason);
        }
        prop_assert_eq!(single.0.counters.dropped_total(), bench.counters.dropped_total());
    }
}
