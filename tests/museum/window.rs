//! Pieces about sequences, nonces and the replay window.

use crate::peer::Peer;
use crate::server::Server;
use tidelock::client::State;
use tidelock::crypto::replay::ReplayWindow;
use tidelock::limits::SEQUENCE_MAX;
use tidelock::metrics::DropReason;
use tidelock::wire::{Channel, Flags};

/// Enough jitter that a packet arrives half a second after those sent after it: at 120 packets a
/// second, the most that a client may send, 60 others overtake it.
const OVERTAKEN_BY: i64 = 60;

fn ping(peer: &mut Peer, ahead: i64) {
    peer.say(Channel::Control, Flags::SEALED, ahead, &[9, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0]);
}

/// netcode, issue 86 (2019): the window moved when a packet was looked at. One forged packet with a
/// large sequence, which anybody can send, made all that followed too old.
/// <https://github.com/mas-bandwidth/netcode/issues/86>
#[test]
fn a_forged_packet_advances_no_window() {
    let mut peer = Peer::entered();
    peer.forge(SEQUENCE_MAX - 1);
    let before = peer.counters.dropped(DropReason::Replay);
    ping(&mut peer, 1);
    // The copy that `say` sends is a replay; the packet itself is not.
    assert_eq!(peer.counters.dropped(DropReason::Replay), before + 1);

    let mut server = Server::in_world();
    server.forge(SEQUENCE_MAX - 1);
    server.say(Channel::Control, Flags::SEALED, 1, &[5, 0, 6, 0, 0, 0, 0]);
    assert!(matches!(server.client.state(), State::Closed(_)), "the goodbye was heard");
}

/// BoringTun, issue 54 (2019): a counter at the end of its range made the next expected one wrap to
/// 0, and everything was accepted a second time.
/// <https://github.com/cloudflare/boringtun/issues/54>
#[test]
fn the_end_of_the_sequences_wraps_nothing() {
    let mut window = ReplayWindow::<1>::default();
    window.commit(1);
    for beyond in [SEQUENCE_MAX, u64::MAX - 64, u64::MAX - 1, u64::MAX] {
        assert!(window.peek(beyond).is_err(), "{beyond} is no sequence");
    }
    window.commit(SEQUENCE_MAX - 1);
    for old in [0, 1, 2, 64, SEQUENCE_MAX - 65, SEQUENCE_MAX - 1, SEQUENCE_MAX, u64::MAX] {
        assert!(window.peek(old).is_err(), "{old} was accepted again");
    }
    assert!(window.peek(SEQUENCE_MAX - 2).is_ok());
}

/// SIPSorcery, pull request 1663 (2026): a packet that failed to authenticate had already moved the
/// counter from which the nonces of all later packets were made. Ours are in the header; what
/// garbage must not move is what is acknowledged and what is sent next.
/// <https://github.com/sipsorcery-org/sipsorcery/pull/1663>
#[test]
fn garbage_moves_no_nonce_and_is_never_acknowledged() {
    let mut peer = Peer::entered();
    let mut server = Server::in_world();
    for sequence in 100..300 {
        peer.forge(sequence);
        server.forge(sequence);
    }
    // Both check that what comes back names only what was said, under the next sequence.
    ping(&mut peer, 1);
    peer.begin();
    peer.poll();
    server.say(Channel::Control, Flags::SEALED, 1, &[9, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert!(server.poll().is_some(), "the Ping is answered");
}

/// wireguard-lwip, issue 4 (2022): a window of 32 packets compared with the size of its bitmap in
/// bytes, so that four were left, and ordinary jitter lost packets.
/// <https://github.com/smartalock/wireguard-lwip/issues/4>
#[test]
fn half_a_second_of_jitter_loses_nothing() {
    let mut peer = Peer::entered();
    ping(&mut peer, OVERTAKEN_BY + 1);
    let replays = peer.counters.dropped(DropReason::Replay);
    for late in (1..=OVERTAKEN_BY).rev() {
        ping(&mut peer, -late);
    }
    let copies = OVERTAKEN_BY as u64;
    assert_eq!(peer.counters.dropped(DropReason::Replay), replays + copies, "only the copies");
}

/// Lightyear, pull request 1164 (2025): packets of an earlier connection had filled the replay
/// window when the next one started to count from the beginning.
/// <https://github.com/cBournhonesque/lightyear/pull/1164>
#[test]
fn a_new_session_in_a_slot_starts_with_an_empty_window() {
    let mut peer = Peer::entered();
    ping(&mut peer, 5_000);
    peer.say(Channel::Control, Flags::SEALED, 1, &[5, 0, 6, 0, 0, 0, 0]);
    assert!(peer.record.closed.is_some(), "it said goodbye");
    peer.admit_another();
    peer.join();
    assert!(peer.record.entered, "its first packets open");
}
