//! Genuine datagrams, damaged: nothing that is not byte for byte what a client wrote gets in.

use super::*;
use proptest::prelude::*;

/// One thing that can happen to a datagram.
#[derive(Clone, Debug)]
enum Damage {
    Flip(prop::sample::Index, u8),
    Byte(prop::sample::Index, u8),
    Truncate(prop::sample::Index),
    Extend(Vec<u8>),
    /// Somebody who knows the rules corrects the checksum afterwards.
    FixCrc,
}

fn damage() -> impl Strategy<Value = Damage> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        4 => (index(), 0..8u8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        2 => (index(), any::<u8>()).prop_map(|(at, value)| Damage::Byte(at, value)),
        1 => index().prop_map(Damage::Truncate),
        1 => prop::collection::vec(any::<u8>(), 1..100).prop_map(Damage::Extend),
        4 => Just(Damage::FixCrc),
    ]
}

fn apply(packet: &mut Vec<u8>, damage: &Damage) {
    match damage {
        Damage::Truncate(at) => packet.truncate(at.index(packet.len() + 1)),
        Damage::Extend(bytes) => packet.extend_from_slice(bytes),
        Damage::FixCrc if packet.len() >= 84 => fix_crc(packet),
        Damage::Flip(at, bit) if !packet.is_empty() => {
            let at = at.index(packet.len());
            packet[at] ^= 1 << bit;
        }
        Damage::Byte(at, value) if !packet.is_empty() => {
            let at = at.index(packet.len());
            packet[at] = *value;
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_damaged_connect_changes_nothing_and_admits_nobody(
        damages in prop::collection::vec(damage(), 1..6),
        with_cookie in any::<bool>(),
        accepted_before in any::<bool>(),
    ) {
        let mut world = World::new(small());
        let client = Client::new(1);
        let cookie = if with_cookie { world.cookie(&client) } else { NO_COOKIE };
        let genuine = client.connect(&cookie);
        if accepted_before {
            world.join(&client);
        }
        let mut packet = genuine.to_vec();
        damages.iter().for_each(|damage| apply(&mut packet, damage));
        prop_assume!(packet != genuine);
        let before = world.tables();
        let answer = match world.send(client.from, &packet) {
            GateAction::Drop(_) => None,
            GateAction::Reply(_) => Some(world.reply()),
            GateAction::Accept { .. } => panic!("admitted"),
        };
        // With a good cookie one is told that the expiry is wrong.
        let is_refusal = matches!(answer, None | Some(Reply::Cookie(_) | Reply::Denied(_)));
        prop_assert!(is_refusal, "{answer:?}");
        prop_assert!(world.tables() == before);
        if !accepted_before {
            world.join(&client);
        }
    }

    #[test]
    fn every_single_bit_with_a_corrected_checksum_is_noticed(bit in 0..CONNECT_LEN * 8) {
        let mut world = World::new(small());
        let client = Client::new(1);
        let mut packet = client.connect(&world.cookie(&client));
        packet[bit / 8] ^= 1 << (bit % 8);
        fix_crc(&mut packet);
        let before = world.tables();
        let action = world.send(client.from, &packet);
        // Bits of the checksum itself come back as they were.
        let in_crc = (80..84).contains(&(bit / 8));
        prop_assert_eq!(matches!(action, GateAction::Accept { .. }), in_crc);
        prop_assert!(in_crc || world.tables() == before);
    }

    #[test]
    fn arbitrary_bytes_are_dropped(
        bytes in prop::collection::vec(any::<u8>(), 0..1500),
        sized in any::<bool>(),
    ) {
        let mut world = World::new(small());
        let mut bytes = bytes;
        if sized {
            bytes.resize(CONNECT_LEN, 0);
        }
        prop_assert!(world.dropped(Client::new(1).from, &bytes).is_some());
    }
}
