//! What comes late, out of order, unasked or from strangers while keys are replaced.

use super::*;

#[test]
fn a_late_answer_under_the_former_key_is_no_fault_and_changes_nothing() {
    let mut scene = Scene::new();
    let request = scene.worn();
    let part = scene.part(request);
    let packets = [(); 3].map(|()| scene.response(0, part));
    scene.deliver(&packets[0]);
    scene.tick();
    let turning = scene.sealed(1, Channel::Control, &[]);
    scene.deliver(&turning);
    scene.tick();
    scene.deliver(&packets[1]);
    assert_eq!(scene.epochs(), (1, 1));
    assert_eq!(scene.bench.dropped(DropReason::Unexpected), 0);
    assert_eq!(scene.held()[1..], [false, false, true]);
    scene.live_ms(REKEY_HOLD_MS);
    assert_eq!(scene.refused(&packets[2]), DropReason::Epoch);
}

#[test]
fn an_answer_that_nobody_asked_for_is_a_violation() {
    let public = dh::public_of(&[5; 32]);
    let unexpected = |scene: &mut Scene, epoch: u16| {
        let before = scene.bench.dropped(DropReason::Unexpected);
        let epochs = scene.epochs();
        let packet = scene.response(usize::from(epochs.0), RekeyPart { epoch, public });
        scene.deliver(&packet);
        scene.tick();
        assert_eq!(scene.epochs(), epochs);
        scene.bench.dropped(DropReason::Unexpected) > before
    };
    let mut scene = Scene::new();
    assert!(unexpected(&mut scene, 1) && unexpected(&mut scene, 0));
    let request = scene.worn();
    assert!(unexpected(&mut scene, request.epoch + 1) && unexpected(&mut scene, 0));
    let mut scene = Scene::new();
    scene.turned();
    assert!(unexpected(&mut scene, 2));
    scene.live_ms(REKEY_HOLD_MS);
    assert!(unexpected(&mut scene, 1), "it comes under the key that it was to bring about");
}

#[test]
fn late_packets_open_under_the_former_key_for_three_seconds_and_only_if_they_are_from_before() {
    let mut scene = Scene::new();
    let epoch = scene.derived();
    let held: Vec<_> = (10..13).map(|newest| scene.input(0, newest)).collect();
    let turning = scene.sealed(epoch, Channel::Control, &[]);
    let turned_by = scene.peer.sequence;
    scene.deliver(&turning);
    scene.tick();
    scene.bench.events();
    scene.deliver(&held[0]);
    assert_eq!(scene.bench.events(), [Event::Input(SLOT, 10, frame(10))]);
    assert_eq!(scene.epochs(), (1, 1), "a late packet turns nothing back");
    scene.deliver(&held[0]);
    assert_eq!(scene.bench.dropped(DropReason::Replay), 1, "one window for all epochs");
    // The old key names sequences from before the turn only.
    let header = Header {
        connection: scene.peer.id,
        channel: Channel::Control,
        flags: Flags::SEALED,
        sequence: turned_by + 1,
    };
    let after = scene.under(0, header, &[]);
    assert_eq!(scene.refused(&after), DropReason::Epoch);
    scene.bench.advance_ms(REKEY_HOLD_MS - 1);
    scene.deliver(&held[1]);
    assert_eq!(scene.bench.events(), [Event::Input(SLOT, 11, frame(11))]);
    scene.bench.advance_ms(1);
    assert_eq!(scene.refused(&held[2]), DropReason::Epoch);
}

#[test]
fn packets_of_the_new_epoch_that_overtake_the_turning_one_open() {
    let mut scene = Scene::new();
    let epoch = scene.derived();
    let packets: Vec<_> = (1..=3).map(|newest| scene.input(epoch, newest)).collect();
    for (packet, newest) in [(&packets[2], 3), (&packets[0], 1), (&packets[1], 2)] {
        scene.bench.events();
        scene.deliver(packet);
        assert_eq!(scene.epochs(), (1, 1));
        // An older frame moves nobody, but its packet opened.
        assert_eq!(scene.bench.events().len(), usize::from(newest == 3));
    }
    assert_eq!(scene.bench.dropped(DropReason::Epoch), 0);
    scene.tick();
    assert_eq!(scene.reads(), [1, 1, 0]);
    let turning = packets[2].clone();
    scene.deliver(&turning);
    assert_eq!(scene.bench.dropped(DropReason::Replay), 1);
}

#[test]
fn late_packets_of_the_epoch_before_last_and_garbage_move_nothing_at_any_step() {
    // Two epochs have the same parity: those under the key of epoch 0 look like those of epoch 2.
    let flip = |mut datagram: Vec<u8>| {
        datagram[5] ^= Flags::REKEY.0;
        datagram
    };
    let mut scene = Scene::new();
    let (resting, asked, derived) = (DropReason::Epoch, DropReason::Epoch, DropReason::Open);
    for round in 0..3usize {
        let stale = |scene: &mut Scene| {
            let mut header = scene.peer.header(Channel::Control);
            header.flags = header.flags.with(parity(round + 1));
            let under = if round == 0 { 0 } else { round - 1 };
            scene.under(under, header, &[])
        };
        let check = |scene: &mut Scene, expected: DropReason| {
            let packet = stale(scene);
            assert_eq!(scene.refused(&packet), expected, "round {round}");
            let packet = scene.sealed(round, Channel::Control, &[]);
            assert_eq!(scene.refused(&flip(packet)), expected, "round {round}");
            let mut packet = scene.sealed(round, Channel::Control, &[]);
            packet[20] ^= 1;
            assert_eq!(scene.refused(&packet), DropReason::Open, "round {round}");
        };
        scene.live_ms(4_000);
        scene.tick();
        check(&mut scene, resting);
        let request = scene.worn();
        check(&mut scene, asked);
        let part = scene.part(request);
        let packet = scene.response(round, part);
        scene.deliver(&packet);
        check(&mut scene, asked);
        scene.bench.advance_ms(25);
        scene.tick();
        assert_eq!(usize::from(scene.epochs().1), round + 1);
        check(&mut scene, derived);
        let packet = scene.sealed(round + 1, Channel::Control, &[]);
        scene.deliver(&packet);
        scene.tick();
        assert_eq!(usize::from(scene.epochs().0), round + 1);
    }
}

#[test]
fn a_part_of_small_order_ends_the_session() {
    let mut scene = Scene::new();
    let request = scene.worn();
    let packet = scene.response(0, RekeyPart { epoch: request.epoch, public: [0; 32] });
    scene.deliver(&packet);
    scene.bench.events();
    let reason = DisconnectReason::Violation;
    assert_eq!(scene.tick(), [(0, vec![ControlMessage::Disconnect { reason, retry_s: 0 }])]);
    assert_eq!(scene.bench.events(), [Event::Closed(SLOT, CloseReason::Violation)]);
    assert_eq!(scene.reads(), [1, 0, 1]);
}
