//! Joining, staying and leaving.

use super::*;
use crate::client::{CloseReason, Denied};

#[test]
fn a_client_joins_within_four_round_trips() {
    let pair = Pair::in_world();
    assert_eq!(pair.client.state(), State::InWorld);
    assert_eq!(pair.client.statistics().errors_total(), 0);
}

#[test]
fn the_noise_message_is_the_same_bytes_in_every_connect() {
    let mut client = new_client();
    let mut scratch = Scratch::default();
    let first = transmit(&mut client, Nanos(0)).unwrap();
    assert!(Connect::read(&first).unwrap().is_first_flight());
    assert_eq!(transmit(&mut client, Nanos::from_ms(249)), None, "a resend takes 250 ms");
    let second = transmit(&mut client, Nanos::from_ms(250)).unwrap();
    assert_eq!(first, second);
    let mut cookie = FakeServer::cookie(&first);
    client.handle_datagram(Nanos::from_ms(251), &mut cookie, &mut scratch).unwrap();
    let third = transmit(&mut client, Nanos::from_ms(251)).expect("a cookie is answered at once");
    assert_eq!(first[84..], third[84..], "only cookie and checksum differ");
    assert_eq!(first[..32], third[..32]);
    assert_eq!(third[32..80], [0xC0; 48]);
    assert!(Connect::read(&third).unwrap().crc_matches());
}

#[test]
fn a_repeated_cookie_is_no_reason_to_send_more() {
    let mut client = new_client();
    let mut scratch = Scratch::default();
    let connect = transmit(&mut client, Nanos(0)).unwrap();
    for round in 0..10 {
        let mut cookie = FakeServer::cookie(&connect);
        client.handle_datagram(Nanos(0), &mut cookie, &mut scratch).unwrap();
        assert_eq!(transmit(&mut client, Nanos(0)).is_some(), round == 0);
    }
}

#[test]
fn a_forged_acceptance_does_not_end_the_attempt() {
    let mut client = new_client();
    let mut scratch = Scratch::default();
    let connect = transmit(&mut client, Nanos(0)).unwrap();
    let mut forged = [0; ACCEPTED_LEN];
    AcceptedPacket { client_nonce: [1; 8], noise_message: [8; NOISE_MESSAGE_2_LEN] }
        .write(PROTOCOL, &mut forged);
    let result = client.handle_datagram(Nanos(0), &mut forged, &mut scratch);
    assert_eq!(result, Err(ClientError::Noise));
    AcceptedPacket { client_nonce: [2; 8], noise_message: [8; NOISE_MESSAGE_2_LEN] }
        .write(PROTOCOL, &mut forged);
    let result = client.handle_datagram(Nanos(0), &mut forged, &mut scratch);
    assert_eq!(result, Err(ClientError::Attempt));
    let (_, mut genuine) = FakeServer::accept(&connect, Status::Ok);
    assert!(client.handle_datagram(Nanos(0), &mut genuine, &mut scratch).is_ok());
    assert_eq!(client.state(), State::Confirming);
}

#[test]
fn only_an_authenticated_refusal_ends_the_attempt() {
    let mut client = new_client();
    let mut scratch = Scratch::default();
    let connect = transmit(&mut client, Nanos(0)).unwrap();
    let mut advice = [0; DENIED_LEN];
    DeniedPacket { client_nonce: [1; 8], reason: Denial::Full, retry_ms: 60_000 }
        .write(PROTOCOL, &mut advice);
    let event = client.handle_datagram(Nanos(0), &mut advice, &mut scratch).unwrap();
    let denied = Denied { reason: Denial::Full, retry_ms: 60_000 };
    assert_eq!((event, client.denied()), (Event::Advice(denied), Some(denied)));
    assert_eq!(client.state(), State::Connecting);
    assert!(transmit(&mut client, Nanos::from_ms(5_000)).is_some(), "it tries again after 5 s");
    let (_, mut refusal) = FakeServer::accept(&connect, Status::Banned);
    let event = client.handle_datagram(Nanos(0), &mut refusal, &mut scratch).unwrap();
    assert_eq!(event, Event::Closed);
    assert_eq!(client.state(), State::Closed(CloseReason::Refused(Status::Banned)));
    assert_eq!(transmit(&mut client, Nanos::from_ms(6_000)), None);
}

#[test]
fn forged_refusals_do_not_keep_a_client_from_trying() {
    let mut client = new_client();
    let mut scratch = Scratch::default();
    let mut connects = Vec::new();
    for ms in 0..15_000 {
        let now = Nanos::from_ms(ms);
        connects.extend(transmit(&mut client, now).map(|_| ms));
        if ms % 100 == 50 {
            let mut forged = [0; DENIED_LEN];
            DeniedPacket { client_nonce: [1; 8], reason: Denial::Busy, retry_ms: u32::MAX }
                .write(PROTOCOL, &mut forged);
            client.handle_datagram(now, &mut forged, &mut scratch).unwrap();
        }
    }
    assert_eq!(connects, [0, 5_000, 10_000]);
}

#[test]
fn the_key_confirmation_is_repeated_until_it_is_answered() {
    let mut pair = Pair::accepted();
    let ControlMessage::CryptoTest(test) = pair.heard().unwrap().control() else { panic!() };
    assert!(pair.heard().is_none());
    pair.now = Nanos::from_ms(250);
    assert_eq!(pair.heard().unwrap().control(), ControlMessage::CryptoTest(test));
    let wrong = pair.server.control(ControlMessage::CryptoTestAck([0; 16]));
    assert_eq!(pair.deliver(&wrong), Err(ClientError::Unexpected));
    let right = pair.server.control(ControlMessage::CryptoTestAck(test));
    assert_eq!(pair.deliver(&right), Ok(Event::Confirmed));
    assert_eq!(pair.client.state(), State::Entering);
}

#[test]
fn entering_is_asked_for_every_100_ms_until_the_own_state_comes() {
    let mut pair = Pair::confirmed();
    let mut asked = 0;
    for ms in 0..1000 {
        pair.now = Nanos::from_ms(ms);
        while let Some(heard) = pair.heard() {
            asked += u32::from(heard.messages[0].0 == to_server::ENTER_TO_WORLD);
        }
    }
    assert_eq!(asked, 10);
    pair.say(&body(1, &[], &[])).unwrap();
    pair.now = Nanos::from_ms(1_500);
    let heard = pair.heard().unwrap();
    assert_eq!(heard.control(), ControlMessage::Ack, "nothing but the acknowledgment is left");
    // A second after the last snapshot, which came at 999 ms, it asks again: four times a second.
    let mut asked = Vec::new();
    for ms in 1_500..3_200 {
        pair.now = Nanos::from_ms(ms);
        while let Some(heard) = pair.heard() {
            assert_eq!(heard.messages[0].0, to_server::ENTER_TO_WORLD);
            asked.push(ms);
        }
    }
    assert_eq!(asked, [1_999, 2_249, 2_499, 2_749, 2_999]);
}

#[test]
fn inputs_repeat_their_predecessors_newest_first() {
    let mut pair = Pair::in_world();
    for sequence in 1..=5u16 {
        let frame = InputFrame { yaw: sequence, ..InputFrame::default() };
        assert_eq!(pair.client.set_input(frame), u32::from(sequence));
        let heard = pair.heard().unwrap();
        assert_eq!((heard.channel, heard.messages[0].0), (Channel::Unreliable, 0));
        let frames = InputFrames::read(&heard.messages[0].1).unwrap();
        let expected: Vec<_> = (1..=sequence).rev().take(3).map(|s| (u32::from(s), s)).collect();
        let got: Vec<_> = frames.newest_first().map(|(s, frame)| (s, frame.yaw)).collect();
        assert_eq!(got, expected);
        assert!(pair.heard().is_none(), "one packet per input");
    }
}

#[test]
fn a_ping_is_answered_and_silence_is_broken_and_ends() {
    let mut pair = Pair::in_world();
    let ping = pair.server.control(ControlMessage::Ping { nonce: 77 });
    pair.deliver(&ping).unwrap();
    assert!(matches!(pair.heard().unwrap().control(), ControlMessage::Pong { nonce: 77, .. }));
    pair.now = Nanos::from_ms(5_000);
    // It has had no snapshot for long, either.
    assert_eq!(pair.heard().unwrap().messages[0].0, to_server::ENTER_TO_WORLD);
    let ControlMessage::Ping { nonce } = pair.heard().unwrap().control() else { panic!() };
    pair.now = Nanos::from_ms(5_020);
    let pong = pair.server.control(ControlMessage::Pong { nonce, clock_us: 0 });
    pair.deliver(&pong).unwrap();
    assert_eq!(pair.client.statistics().rtt.latest_us, 20_000);
    pair.now = Nanos::from_ms(5_020 + 14_999);
    pair.drain();
    assert_eq!(pair.client.state(), State::InWorld);
    pair.now = Nanos::from_ms(5_020 + 15_000);
    pair.drain();
    assert_eq!(pair.client.state(), State::Closed(CloseReason::TimedOut));
    assert_eq!(pair.client.next_timeout(), None);
}

#[test]
fn leaving_says_goodbye_three_times_50_ms_apart() {
    let mut pair = Pair::in_world();
    pair.client.leave(pair.now);
    let mut at = Vec::new();
    for ms in 0..400 {
        pair.now = Nanos::from_ms(ms);
        while let Some(heard) = pair.heard() {
            assert!(matches!(heard.control(), ControlMessage::Disconnect { .. }));
            at.push(ms);
        }
    }
    assert_eq!(at, [0, 50, 100]);
    assert_eq!(pair.client.state(), State::Closed(CloseReason::Left));
}

#[test]
fn a_disconnect_of_the_server_closes() {
    let mut pair = Pair::in_world();
    let reason = DisconnectReason::Replaced;
    let goodbye = pair.server.control(ControlMessage::Disconnect { reason, retry_s: 3 });
    assert_eq!(pair.deliver(&goodbye), Ok(Event::Closed));
    assert_eq!(pair.client.state(), State::Closed(CloseReason::Disconnected(reason)));
    assert_eq!(pair.deliver(&goodbye), Err(ClientError::Connection));
}

#[test]
fn the_next_timeout_is_never_later_than_the_next_datagram() {
    let mut pair = Pair::confirmed();
    let mut sent = 0;
    while pair.now < Nanos::from_ms(20_000) {
        let next = pair.client.next_timeout();
        let due = next.is_some_and(|at| at <= pair.now);
        if !due {
            let early = transmit(&mut pair.client, pair.now);
            assert!(early.is_none(), "{:?}: nothing was announced before {next:?}", pair.now);
            pair.now = pair.now.plus(Nanos::from_us(500));
            continue;
        }
        pair.drain();
        sent += 1;
        if pair.client.next_timeout().is_none() {
            break;
        }
        assert!(pair.client.next_timeout() > Some(pair.now), "no timeout stays in the past");
    }
    assert!(sent > 100, "{sent}");
    assert_eq!(pair.client.state(), State::Closed(CloseReason::TimedOut));
}
