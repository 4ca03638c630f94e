//! What players hear whose shard was lost.

use super::*;
use crate::crypto::aead::PacketKey;
use crate::limits::{DISCONNECT_REPEATS, SEQUENCE_MAX};
use crate::wire::{ControlMessage, DisconnectReason, Flags};
use std::collections::BTreeMap;

/// Everybody on the second shard is lost. How often something was said under which id; all of it
/// opens under the key of `admission`, and nothing else is said.
fn said(world: &mut World, admission: &Admission) -> BTreeMap<ConnectionId, u8> {
    said_under(world, admission, 0)
}

/// The same under the key of `epoch`.
fn said_under(world: &mut World, admission: &Admission, epoch: u16) -> BTreeMap<ConnectionId, u8> {
    let (keeper, _) = exchange(2, 1_000, 0, &());
    let strays = world.gate.lose_shards(&[false, true], keeper, world.at.now);
    assert!(strays.is_empty());
    let mut said = BTreeMap::new();
    let mut texts = BTreeMap::new();
    for _ in 0..20 {
        world.pass_ms(50);
        let mut out = [0; DATAGRAM_MAX];
        while let Some((length, to)) = world.gate.poll_farewell(world.at.now, &mut out) {
            assert_eq!(to, admission.address);
            let header = Header::read(&out[..length]).expect("a header");
            assert_eq!(header.sequence, SEQUENCE_MAX - 1);
            let id = header.connection;
            let sealed = out[..length].to_vec();
            assert_eq!(texts.entry(id).or_insert_with(|| sealed.clone()), &sealed, "one nonce");
            let is_odd = header.flags.contains(Flags::REKEY);
            assert_eq!(is_odd, epoch % 2 == 1);
            let key = PacketKey::new(&admission.root.server_to_client(epoch));
            let text = key.open(&mut out[..length]).expect("authentic");
            let mut expected = [0; 16];
            let mut writer = crate::wire::Writer::new(&mut expected);
            ControlMessage::Disconnect { reason: DisconnectReason::ShardLost, retry_s: 0 }
                .write(&mut writer);
            let expected_length = writer.finish().expect("room");
            assert_eq!(text, &expected[..expected_length]);
            *said.entry(id).or_default() += 1;
        }
    }
    said
}

/// A player on the second shard who came from the first.
fn moved(world: &mut World) -> (Admission, ConnectionId) {
    let admission = world.join(&Client::new(1));
    assert_eq!(admission.id.socket(), 1, "the first shard is the emptiest");
    world.gate.confirmed(admission.id);
    let to = world.gate.hand_over(admission.id, 1, &mut world.entropy).expect("there is room");
    assert!(world.gate.moved(to));
    (admission, to)
}

#[test]
fn who_just_moved_is_told_under_both_ids() {
    let mut world = World::new(small());
    let (admission, to) = moved(&mut world);
    let expected = [(admission.id, DISCONNECT_REPEATS), (to, DISCONNECT_REPEATS)];
    assert_eq!(said(&mut world, &admission), BTreeMap::from(expected));
}

#[test]
fn who_moved_long_ago_is_told_under_the_id_that_he_knows() {
    let mut world = World::new(small());
    let (admission, to) = moved(&mut world);
    world.gate.released(admission.id);
    assert_eq!(said(&mut world, &admission), BTreeMap::from([(to, DISCONNECT_REPEATS)]));
}

#[test]
fn who_has_gone_on_from_another_address_is_told_there() {
    let mut world = World::new(small());
    let (mut admission, to) = moved(&mut world);
    admission.address = "198.51.100.7:1".parse().expect("an address");
    let elsewhere = "198.51.100.8:1".parse().expect("an address");
    world.gate.readdressed(to, admission.address);
    // The shard that the player has left, and nobody at all.
    world.gate.readdressed(admission.id, elsewhere);
    world.gate.readdressed(ConnectionId(to.0 ^ 1 << 20), elsewhere);
    world.gate.readdressed(ConnectionId::GATE, elsewhere);
    world.gate.readdressed(ConnectionId(u32::MAX), elsewhere);
    let expected = [(admission.id, DISCONNECT_REPEATS), (to, DISCONNECT_REPEATS)];
    assert_eq!(said(&mut world, &admission), BTreeMap::from(expected));
}

#[test]
fn an_id_that_somebody_else_waits_for_is_no_former_id() {
    let mut world = World::new(small());
    let (admission, to) = moved(&mut world);
    world.gate.released(admission.id);
    let others: Vec<_> = (2..6).map(|number| world.join(&Client::new(number)).id).collect();
    others.iter().filter(|id| id.socket() == 2).for_each(|&id| world.gate.closed(id));
    assert_eq!(said(&mut world, &admission), BTreeMap::from([(to, DISCONNECT_REPEATS)]));
}

#[test]
fn who_has_new_keys_is_told_under_them_wherever_he_went() {
    for epoch in [1, 2] {
        let mut world = World::new(small());
        let admission = world.join(&Client::new(1));
        world.gate.confirmed(admission.id);
        let key = |epoch| admission.root.server_to_client(epoch);
        world.gate.rekeyed(admission.id, 1, &key(1));
        let to = world.gate.hand_over(admission.id, 1, &mut world.entropy).expect("room");
        assert!(world.gate.moved(to));
        // What the former shard said before may come after.
        world.gate.rekeyed(to, epoch, &key(epoch));
        world.gate.rekeyed(admission.id, 1, &[9; 32]);
        world.gate.released(admission.id);
        let told = said_under(&mut world, &admission, epoch);
        assert_eq!(told, BTreeMap::from([(to, DISCONNECT_REPEATS)]));
    }
}
