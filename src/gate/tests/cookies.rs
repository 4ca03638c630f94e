//! Attacks without a good token: reflection, stolen cookies, floods, noise.

use super::*;
use crate::crypto::cookie::{COOKIE_LIFETIME_MS, COOKIE_ROTATION_MS};

#[test]
fn a_reflector_finds_no_amplifier() {
    let mut world = World::new(small());
    let client = Client::new(1);
    let first = client.connect(&NO_COOKIE);
    for _ in 0..100 {
        // One action is at most one reply; `send` bounds its size.
        let action = world.send(client.from, &first);
        assert!(matches!(action, GateAction::Reply(76)), "{action:?}");
    }
    assert_eq!(world.counters.read(Counter::CookiesSent), 100);
    for length in (0..1300).filter(|&length| length != CONNECT_LEN) {
        let mut other = first.to_vec();
        other.resize(length, 0);
        assert_eq!(world.dropped(client.from, &other), Some(DropReason::Size), "{length}");
    }
}

#[test]
fn a_first_flight_leaves_no_trace() {
    let mut world = World::new(small());
    let before = world.tables();
    for number in 0..50 {
        world.cookie(&Client::new(number));
    }
    assert!(world.tables() == before);
    assert_eq!(world.counters.dropped_total(), 0);
}

#[test]
fn a_cookie_does_not_serve_another_address_port_or_attempt() {
    let mut world = World::new(small());
    let client = Client::new(1);
    let cookie = world.cookie(&client);
    let packet = client.connect(&cookie);
    let other_attempt = client.again(9).connect(&cookie);
    for (from, packet) in [
        ("203.0.113.2:50000", packet),
        ("203.0.113.1:50001", packet),
        ("[2001:db8::1]:50000", packet),
        ("203.0.113.1:50000", other_attempt),
    ] {
        let action = world.send(from.parse().unwrap(), &packet);
        assert!(matches!(action, GateAction::Reply(76)), "{from}: {action:?}");
    }
    assert_eq!(world.counters.dropped(DropReason::Cookie), 4);
    let mapped = "[::ffff:203.0.113.1]:50000".parse().unwrap();
    let action = world.send(mapped, &packet);
    assert!(matches!(action, GateAction::Accept { .. }), "the same address: {action:?}");
}

#[test]
fn an_old_cookie_earns_a_new_one_and_nothing_else() {
    let mut world = World::new(small());
    let client = Client::new(1);
    let cookie = world.cookie(&client);
    world.pass_ms(COOKIE_LIFETIME_MS + 1);
    let action = world.send(client.from, &client.connect(&cookie));
    assert!(matches!(action, GateAction::Reply(76)), "{action:?}");
    let Reply::Cookie(fresh) = world.reply() else { panic!("not a cookie") };
    let action = world.send(client.from, &client.connect(&fresh.cookie));
    assert!(matches!(action, GateAction::Accept { .. }), "{action:?}");
}

#[test]
fn a_cookie_survives_one_rotation_of_the_key_and_not_two() {
    let mut world = World::new(small());
    let (one, two) = (Client::new(1), Client::new(2));
    world.pass_ms(COOKIE_ROTATION_MS - 1_000);
    let packets = [&one, &two].map(|client| {
        let mut client = client.clone();
        client.head.expiry_s = BOOT_S + 130;
        client.token.issued_at_ms = (BOOT_S + 70) * 1000;
        (client.from, client.connect(&world.cookie(&client)))
    });
    world.pass_ms(2_000);
    let action = world.send(packets[0].0, &packets[0].1);
    assert!(matches!(action, GateAction::Accept { .. }), "{action:?}");
    world.gate.cookies.rotate([9; 32], world.at.now);
    let action = world.send(packets[1].0, &packets[1].1);
    assert!(matches!(action, GateAction::Reply(76)), "{action:?}");
}

#[test]
fn a_flood_from_one_source_is_cut_off_and_hurts_nobody_else() {
    let rates = HandshakeRates { sources: 64, ..HandshakeRates::default() };
    let mut world = World::new(GateConfig { rates, ..small() });
    let client = Client::new(1);
    let first = client.connect(&NO_COOKIE);
    let answered = (0..1000).filter(|_| world.dropped(client.from, &first).is_none()).count();
    assert_eq!(answered, 5);
    assert_eq!(world.counters.dropped(DropReason::SourceLimit), 995);
    world.join(&Client::new(2));
    world.pass_ms(1000);
    let answered = (0..100).filter(|_| world.dropped(client.from, &first).is_none()).count();
    assert_eq!(answered, 5);
}

#[test]
fn addresses_of_one_ipv6_network_share_a_limit_and_trusted_sources_have_none() {
    let rates = HandshakeRates { sources: 64, ..HandshakeRates::default() };
    let trusted_sources = vec!["127.0.0.0/8".parse().unwrap()];
    let mut world = World::new(GateConfig { rates, trusted_sources, ..small() });
    let first = Client::new(1).connect(&NO_COOKIE);
    let mut answered = |address: &dyn Fn(u16) -> String| {
        let from = (0..100).map(|i| address(i).parse::<SocketAddr>().unwrap());
        from.filter(|&from| world.dropped(from, &first).is_none()).count()
    };
    assert_eq!(answered(&|i| format!("[2001:db8:1:2:{i:x}::1]:{}", 1000 + i)), 5);
    assert_eq!(answered(&|i| format!("[2001:db8:1:{:x}::1]:1", 10 + i)), 100);
    assert_eq!(answered(&|i| format!("203.0.113.9:{}", 1000 + i)), 5);
    assert_eq!(answered(&|i| format!("127.0.0.1:{}", 1000 + i)), 100);
}

#[test]
fn noise_and_foreign_traffic_is_counted_by_what_is_wrong_with_it() {
    let mut world = World::new(small());
    let client = Client::new(1);
    let genuine = client.connect(&NO_COOKIE);
    let mut changed = |at: usize, value: u8, fix: bool| {
        let mut packet = genuine;
        packet[at] = value;
        if fix {
            fix_crc(&mut packet);
        }
        world.dropped(client.from, &packet)
    };
    assert_eq!(changed(14, 1, true), Some(DropReason::Handshake), "type");
    assert_eq!(changed(15, 2, true), Some(DropReason::Handshake), "version");
    assert_eq!(changed(85, 1, true), Some(DropReason::Handshake), "reserved");
    assert_eq!(changed(460, 1, true), Some(DropReason::Handshake), "padding");
    assert_eq!(changed(1199, 1, true), Some(DropReason::Handshake), "padding");
    assert_eq!(changed(5, 1, true), Some(DropReason::Header), "flags");
    assert_eq!(changed(80, genuine[80] ^ 1, false), Some(DropReason::Crc));
    assert_eq!(changed(200, genuine[200] ^ 1, false), Some(DropReason::Crc));
    assert_eq!(changed(16, 0, true), Some(DropReason::ProtocolId));
    let mut sealed = [0; 100];
    let id = ConnectionId::from_parts(1, 2, 3);
    Header { connection: id, flags: crate::wire::Flags::SEALED, sequence: 1, ..Header::HANDSHAKE }
        .write(sealed.first_chunk_mut().unwrap());
    assert_eq!(world.dropped(client.from, &sealed), Some(DropReason::WrongSocket));
}
