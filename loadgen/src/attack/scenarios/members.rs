//! Attacks by players: genuine keys, and everything that a genuine client would never send.

use crate::attack::field::{Scenario, Shot, Standing};
use crate::attack::session::message;
use crate::attack::squad::{Squad, Turn};
use std::net::Ipv4Addr;
use tidelock::host::entropy::SeededEntropy;
use tidelock::keys::BackendKeys;
use tidelock::limits::{
    DATAGRAM_MAX, DATAGRAM_MIN, FRAGMENT_LEN, HEADER_LEN, MESSAGE_MAX_TO_CLIENT,
    MESSAGE_MAX_TO_SERVER, PLAINTEXT_MAX, RELIABLE_WINDOW, RELIABLE_WINDOW_BYTES,
};
use tidelock::time::{Entropy, Nanos};
use tidelock::wire::{
    Channel, ControlMessage, Flags, FragmentHeader, Header, ReliableHandshake, Writer,
    control_kind, to_server,
};

/// Opens the reliable channels: both begin with message 0, windows as large as they may be.
const HELLO: ControlMessage = ControlMessage::ReliableHandshake(ReliableHandshake {
    first_ordered: 0,
    first_unordered: 0,
    max_inflight: RELIABLE_WINDOW,
    max_message_kib: (MESSAGE_MAX_TO_CLIENT / 1_024) as u16,
    recv_bytes: RELIABLE_WINDOW_BYTES as u32,
});

/// What a member says in its turn.
type Talk = fn(&mut SeededEntropy, Turn<'_>, &mut [u8; DATAGRAM_MAX]) -> Option<Shot>;

/// Players who all misbehave in one way.
pub(super) struct Members {
    squad: Squad,
    random: SeededEntropy,
    talk: Talk,
}

impl Members {
    fn new(keys: &BackendKeys, seed: u64, count: u32, per_s: u32, talk: Talk) -> Self {
        Self { squad: Squad::new(keys, count, per_s), random: SeededEntropy(seed), talk }
    }

    /// Inputs ten times as often as there are ticks.
    pub(super) fn overspeed(keys: &BackendKeys, seed: u64) -> Self {
        Self::new(keys, seed, 16, 600, |_, turn, out| Some(inputs(turn, out)))
    }

    /// First and middle fragments of sets that nobody ever completes.
    pub(super) fn fragments(keys: &BackendKeys, seed: u64) -> Self {
        Self::new(keys, seed, 16, 50, unfinished_fragment)
    }

    /// Reliable messages of which the first is always missing.
    pub(super) fn reliables(keys: &BackendKeys, seed: u64) -> Self {
        Self::new(keys, seed, 16, 50, unfinished_reliable)
    }

    /// Small packets that claim to be large, and large ones full of nothing.
    pub(super) fn bombs(keys: &BackendKeys, seed: u64) -> Self {
        Self::new(keys, seed, 16, 50, bomb)
    }

    /// Genuine packets from other addresses, copies of them, and forged ones under genuine ids.
    pub(super) fn spoofed_migration(keys: &BackendKeys, seed: u64) -> Self {
        Self::new(keys, seed, 16, 60, spoofed)
    }
}

impl Scenario for Members {
    fn next(&mut self, now: Nanos, out: &mut [u8; DATAGRAM_MAX]) -> Option<Shot> {
        let Self { squad, random, talk } = self;
        squad.next(now, out, &mut |turn, out| talk(random, turn, out))
    }

    fn answer(&mut self, now: Nanos, local: Ipv4Addr, payload: &mut [u8]) -> Standing {
        self.squad.answer(now, local, payload)
    }
}

fn known(turn: &Turn<'_>, len: usize) -> Shot {
    Shot { len, source: turn.source, standing: Standing::Known }
}

/// A genuine packet with one input.
fn inputs(turn: Turn<'_>, out: &mut [u8; DATAGRAM_MAX]) -> Shot {
    let newest = (turn.session.sequence as u32).to_le_bytes();
    let body = [&newest[..], &[1], &[100, 0, 0, 64, 0, 0]].concat();
    let frames = message(to_server::SYNC_ENTITY, None, &body);
    let len = turn.session.say(Channel::Unreliable, Flags(0), &frames, out);
    known(&turn, len)
}

fn written(body: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut out = [0; PLAINTEXT_MAX];
    let mut writer = Writer::new(&mut out);
    body(&mut writer);
    let len = writer.finish().expect("no more than a packet holds");
    out[..len].to_vec()
}

/// Opens the reliable channels before everything else.
fn opens_channels(turn: &mut Turn<'_>, out: &mut [u8; DATAGRAM_MAX]) -> Option<Shot> {
    // CryptoTest and EnterToWorld have come before.
    (turn.session.sequence < 12).then(|| {
        let hello = written(|writer| HELLO.write(writer));
        let len = turn.session.say(Channel::Control, Flags::RELIABLE_HANDSHAKE, &hello, out);
        known(turn, len)
    })
}

fn unfinished_fragment(
    _: &mut SeededEntropy,
    mut turn: Turn<'_>,
    out: &mut [u8; DATAGRAM_MAX],
) -> Option<Shot> {
    if let Some(shot) = opens_channels(&mut turn, out) {
        return Some(shot);
    }
    // All parts of a set but the last, on either channel; then another set.
    let number = turn.session.sequence / 2;
    let parts = (MESSAGE_MAX_TO_SERVER / FRAGMENT_LEN) as u64;
    let (part, set) = (number % (parts - 1), number / (parts - 1));
    // As many as may be under way at a time: all are asked room for, none is a violation.
    let id = (set % u64::from(RELIABLE_WINDOW)) as u16;
    let offset = part as u16 * FRAGMENT_LEN as u16;
    let first = message(to_server::GAME_DATA, Some(id), &[0xF7; FRAGMENT_LEN]);
    let mut body = [0xF7; FRAGMENT_LEN];
    if part == 0 {
        body.copy_from_slice(&first[..FRAGMENT_LEN]);
        body[..2].copy_from_slice(&(MESSAGE_MAX_TO_SERVER as u16 - 2).to_le_bytes());
    }
    let plaintext = written(|writer| {
        FragmentHeader { id, offset, total: MESSAGE_MAX_TO_SERVER as u32 }.write(writer);
        writer.slice(&body);
    });
    let channel = match turn.session.sequence & 1 {
        0 => Channel::ReliableOrdered,
        _ => Channel::ReliableUnordered,
    };
    let len = turn.session.say(channel, Flags::FRAGMENT, &plaintext, out);
    Some(known(&turn, len))
}

fn unfinished_reliable(
    _: &mut SeededEntropy,
    mut turn: Turn<'_>,
    out: &mut [u8; DATAGRAM_MAX],
) -> Option<Shot> {
    if let Some(shot) = opens_channels(&mut turn, out) {
        return Some(shot);
    }
    // Message 0 never comes; those behind it are as large as a packet allows.
    let id = 1 + (turn.session.sequence % (u64::from(RELIABLE_WINDOW) - 1)) as u16;
    let body = message(to_server::GAME_DATA, Some(id), &[0; 1_000]);
    let len = turn.session.say(Channel::ReliableOrdered, Flags(0), &body, out);
    Some(known(&turn, len))
}

fn bomb(random: &mut SeededEntropy, turn: Turn<'_>, out: &mut [u8; DATAGRAM_MAX]) -> Option<Shot> {
    let word = random.next_u64();
    let channel = Channel::from_wire((word >> 32) as u8 & 3).unwrap_or(Channel::Control);
    let all = |byte| vec![byte; PLAINTEXT_MAX];
    let (channel, flags, plaintext) = match word % 9 {
        // A message that is longer than everything, and a thousand that are nothing.
        0 => (channel, Flags(0), message(0, None, &[0xFF; 8]).iter().map(|_| 0xFF).collect()),
        1 => (channel, Flags(0), all(0)),
        // As many Pings as fit: one Pong a tick is all that they are worth.
        2 => {
            let pings = message(control_kind::PING, None, &[1; 8]).repeat(PLAINTEXT_MAX / 11);
            (Channel::Control, Flags(0), pings)
        }
        // 64 KiB in ten bytes, as the compressed body of a message.
        3 => {
            (channel, Flags::COMPRESSED, message(6, None, &[0xFF, 0xFF, 0x1F, 0, 1, 0, 0xFF, 0xFF]))
        }
        // A set of four gigabytes.
        4 => {
            let head = [0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF];
            let plaintext = [&head[..], &[0; FRAGMENT_LEN]].concat();
            (Channel::ReliableOrdered, Flags::FRAGMENT, plaintext)
        }
        // An acknowledgment of everything that will ever be sent.
        5 => (Channel::Control, Flags::ACKNOWLEDGMENT, vec![0xFF; 18]),
        // 255 inputs of which there is one.
        6 => {
            (Channel::Unreliable, Flags(0), message(0, None, &[1, 0, 0, 0, 255, 0, 0, 0, 0, 0, 0]))
        }
        7 => {
            let enters = message(to_server::ENTER_TO_WORLD, None, &[0; 4]).repeat(160);
            (Channel::Unreliable, Flags(0), enters)
        }
        _ => {
            let mut noise = all(0);
            random.fill(&mut noise);
            (channel, Flags((word >> 40) as u8 & 0x78), noise)
        }
    };
    let len = turn.session.say(channel, flags, &plaintext, out);
    Some(known(&turn, len))
}

fn spoofed(
    random: &mut SeededEntropy,
    turn: Turn<'_>,
    out: &mut [u8; DATAGRAM_MAX],
) -> Option<Shot> {
    let word = random.next_u64();
    // A victim has its address for a hundred packets.
    let place = turn.number * 4_096 + (turn.session.sequence / 100 % 4_096) as u32;
    match word % 6 {
        // The newest packet of all comes from the victim: may the stream go there?
        0 => {
            let source = Standing::Victim.address(place);
            let shot = inputs(turn, out);
            Some(Shot { source, standing: Standing::Victim, ..shot })
        }
        // Nobody could have sealed this one.
        1 => {
            let len = DATAGRAM_MIN + (word >> 32) as usize % 100;
            random.fill(&mut out[HEADER_LEN..len]);
            let (connection, sequence) = (turn.session.id, turn.session.sequence + 100);
            let flags = Flags::SEALED;
            let header = Header { connection, channel: Channel::Unreliable, flags, sequence };
            header.write(out.first_chunk_mut().expect("a header fits"));
            let standing = Standing::Garbage;
            Some(Shot { len, source: standing.address(place), standing })
        }
        // A copy of what went before, from elsewhere: the same bytes under the same sequence.
        2 => {
            turn.session.sequence -= 1;
            let shot = inputs(turn, out);
            let standing = Standing::Garbage;
            Some(Shot { source: standing.address(place), standing, ..shot })
        }
        _ => Some(inputs(turn, out)),
    }
}
