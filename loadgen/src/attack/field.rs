//! Where an attack happens: one socket that speaks from thousands of addresses of 127/8, the pace,
//! and what was sent and came back, by how well the server knew whom it answered.
//!
//! Never sends anywhere but to 127.0.0.0/8, never faster or longer than it was told. Driven by
//! `arena`, filled by the scenarios.

use serde::Serialize;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tidelock::host::clock::Clock;
use tidelock::limits::DATAGRAM_MAX;
use tidelock::net::{SourcedConfig, SourcedPort, Sources};
use tidelock::time::Nanos;

/// Start of the addresses of attackers, 2^20 for each standing.
const FIRST_SOURCE: u32 = 0x7F40_0000;
/// Addresses of one standing.
pub(super) const SOURCES: u32 = 1 << 20;
/// Datagrams in one system call.
const SEND_BATCH: usize = 64;
/// Datagrams in one turn, at most.
const SENDS_PER_TURN: u64 = 512;
/// Time between two turns.
const TURN: Duration = Duration::from_micros(500);
/// Time after the last datagram in which answers are still counted.
const LINGER: Nanos = Nanos::from_ms(250);

/// What a datagram is to the server, and so what it may be answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing that anybody should answer.
    Garbage,
    /// A question from an address that has proven nothing: a small answer, for the cookie.
    Stranger,
    /// Genuine, and from an address that has not proven itself yet.
    Victim,
    /// From an address that has answered before.
    Known,
}

impl Standing {
    const ALL: [Self; 4] = [Self::Garbage, Self::Stranger, Self::Victim, Self::Known];

    /// Address `number` of those of this standing.
    pub(super) fn address(self, number: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(FIRST_SOURCE + self as u32 * SOURCES + number % SOURCES)
    }

    /// Whose address it is, and which of them.
    pub(super) fn of(address: Ipv4Addr) -> Option<(Self, u32)> {
        let place = address.to_bits().checked_sub(FIRST_SOURCE)?;
        Some((*Self::ALL.get((place / SOURCES) as usize)?, place % SOURCES))
    }
}

/// A datagram to be sent: the first `len` bytes of the buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shot {
    pub(super) len: usize,
    pub(super) source: Ipv4Addr,
    pub(super) standing: Standing,
}

/// Somebody who means ill.
pub(super) trait Scenario: Send {
    /// Writes the next datagram; `None` if there is none for now.
    fn next(&mut self, now: Nanos, out: &mut [u8; DATAGRAM_MAX]) -> Option<Shot>;

    /// The server sent `payload` to `local`. Tells whom it answered.
    fn answer(&mut self, now: Nanos, local: Ipv4Addr, payload: &mut [u8]) -> Standing;

    /// Sessions that the server gave, and should not have.
    fn breaches(&self) -> u64 {
        0
    }
}

/// Datagrams and payload bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Volume {
    pub(crate) datagrams: u64,
    pub(crate) bytes: u64,
}

impl Volume {
    fn add(&mut self, bytes: usize) {
        self.datagrams += 1;
        self.bytes += bytes as u64;
    }
}

/// What was sent under one standing, and what came back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Exchange {
    pub(crate) sent: Volume,
    pub(crate) answered: Volume,
}

impl Exchange {
    /// Bytes that came back for each that was sent.
    pub(crate) fn ratio(&self) -> f64 {
        match self.sent.bytes {
            0 if self.answered.bytes > 0 => f64::INFINITY,
            0 => 0.0,
            sent => self.answered.bytes as f64 / sent as f64,
        }
    }
}

/// What an attack sent and got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Tally {
    pub(crate) garbage: Exchange,
    pub(crate) strangers: Exchange,
    pub(crate) victims: Exchange,
    pub(crate) known: Exchange,
    /// Bytes to the worst off of the victims for each that was sent in its name.
    pub(crate) worst_victim: f64,
    /// Sessions that the server should not have given.
    pub(crate) breaches: u64,
    /// Datagrams that the kernel did not take.
    pub(crate) refused: u64,
    pub(crate) seconds: f64,
}

impl Tally {
    fn of(&mut self, standing: Standing) -> &mut Exchange {
        match standing {
            Standing::Garbage => &mut self.garbage,
            Standing::Stranger => &mut self.strangers,
            Standing::Victim => &mut self.victims,
            Standing::Known => &mut self.known,
        }
    }

    /// Everything that was sent.
    pub(crate) fn sent(&self) -> Volume {
        let all = [self.garbage, self.strangers, self.victims, self.known];
        all.iter().fold(Volume::default(), |sum, exchange| Volume {
            datagrams: sum.datagrams + exchange.sent.datagrams,
            bytes: sum.bytes + exchange.sent.bytes,
        })
    }
}

/// The tally, and the victims one by one.
#[derive(Default)]
struct Books {
    tally: Tally,
    victims: HashMap<Ipv4Addr, Exchange>,
}

impl Books {
    fn sent(&mut self, shot: &Shot) {
        self.tally.of(shot.standing).sent.add(shot.len);
        if shot.standing == Standing::Victim {
            self.victims.entry(shot.source).or_default().sent.add(shot.len);
        }
    }

    fn answered(&mut self, standing: Standing, address: Ipv4Addr, len: usize) {
        self.tally.of(standing).answered.add(len);
        if standing == Standing::Victim {
            self.victims.entry(address).or_default().answered.add(len);
        }
    }

    fn close(mut self) -> Tally {
        self.tally.worst_victim = self.victims.values().map(Exchange::ratio).fold(0.0, f64::max);
        self.tally
    }
}

/// How much, and against whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) server: SocketAddr,
    /// Datagrams per second.
    pub(super) rate: u32,
    /// Datagrams in all.
    pub(super) count: u64,
    pub(super) duration: Nanos,
}

/// Refuses whatever is not this machine.
///
/// # Errors
/// If `server` is not on 127.0.0.0/8.
pub(super) fn check_target(server: SocketAddr) -> Result<(), String> {
    match server.ip() {
        IpAddr::V4(ip) if ip.is_loopback() => Ok(()),
        _ => Err(format!(
            "{server} is not on 127.0.0.0/8: attacks are for servers on this machine and are never \
             sent anywhere else"
        )),
    }
}

/// Lets `scenario` loose within `bounds`, until `stop` at the latest.
///
/// # Errors
/// If the target is not on this machine, or the socket fails.
pub(super) fn attack(
    scenario: &mut dyn Scenario,
    bounds: &Bounds,
    stop: &AtomicBool,
) -> Result<Tally, String> {
    check_target(bounds.server)?;
    let mut port = SourcedPort::bind(&SourcedConfig {
        sources: Sources::Loopback,
        port: 0,
        receive_buffer: 16 << 20,
        send_slots: SEND_BATCH,
    })
    .map_err(|error| format!("cannot open the socket of the attack: {error}"))?;
    let clock = Clock::start();
    let (mut books, mut sent) = (Books::default(), 0u64);
    loop {
        let now = clock.now();
        let over = now >= bounds.duration || sent >= bounds.count;
        if over || stop.load(Ordering::Relaxed) {
            break;
        }
        // What could not be sent in time is not made up for in one burst.
        let allowed = (now.0 as f64 / 1e9 * f64::from(bounds.rate)) as u64;
        let turn = allowed.min(bounds.count).saturating_sub(sent).min(SENDS_PER_TURN);
        let shots = shoot(scenario, &mut port, bounds.server, now, turn, &mut books)?;
        sent = (sent + shots).max(allowed.saturating_sub(SENDS_PER_TURN).min(bounds.count));
        listen(scenario, &mut port, bounds.server, now, &mut books)?;
        std::thread::sleep(TURN);
    }
    let end = clock.now();
    books.tally.seconds = end.0 as f64 / 1e9;
    while clock.now().since(end) < LINGER {
        listen(scenario, &mut port, bounds.server, clock.now(), &mut books)?;
        std::thread::sleep(TURN);
    }
    books.tally.breaches = scenario.breaches();
    Ok(books.close())
}

/// Sends at most `count` datagrams; how many there were.
fn shoot(
    scenario: &mut dyn Scenario,
    port: &mut SourcedPort,
    server: SocketAddr,
    now: Nanos,
    count: u64,
    books: &mut Books,
) -> Result<u64, String> {
    let failed = |error: std::io::Error| format!("the attack cannot send: {error}");
    let (mut shots, mut used) = (0, 0);
    while shots < count {
        let Some(shot) = scenario.next(now, port.send_buffer(used)) else { break };
        port.send_push(used, shot.len, shot.source, server);
        books.sent(&shot);
        (shots, used) = (shots + 1, used + 1);
        if used == SEND_BATCH {
            used = 0;
            books.tally.refused += port.flush().map_err(failed)?.refused;
        }
    }
    books.tally.refused += port.flush().map_err(failed)?.refused;
    Ok(shots)
}

fn listen(
    scenario: &mut dyn Scenario,
    port: &mut SourcedPort,
    server: SocketAddr,
    now: Nanos,
    books: &mut Books,
) -> Result<(), String> {
    let received = port.receive(Duration::ZERO, &mut |batch| {
        for datagram in batch.iter_mut().filter(|datagram| datagram.from == server) {
            let len = datagram.payload.len();
            let standing = scenario.answer(now, datagram.local, datagram.payload);
            books.answered(standing, datagram.local, len);
        }
    });
    received.map(drop).map_err(|error| format!("the attack cannot receive: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    /// Sends one byte from another address each time.
    struct Drip(u32);

    impl Scenario for Drip {
        fn next(&mut self, _: Nanos, out: &mut [u8; DATAGRAM_MAX]) -> Option<Shot> {
            self.0 += 1;
            out[0] = 7;
            let standing = Standing::Garbage;
            Some(Shot { len: 1, source: standing.address(self.0), standing })
        }

        fn answer(&mut self, _: Nanos, local: Ipv4Addr, _: &mut [u8]) -> Standing {
            Standing::of(local).expect("an attacker's").0
        }
    }

    #[test]
    fn an_attack_ends_after_its_count_or_its_time_and_keeps_its_rate() {
        let server = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let server = server.local_addr().expect("bound");
        let bounds = Bounds { server, rate: 10_000, count: 300, duration: Nanos::from_ms(60_000) };
        let stop = AtomicBool::new(false);
        let tally = attack(&mut Drip(0), &bounds, &stop).expect("loopback");
        assert_eq!(tally.sent(), Volume { datagrams: 300, bytes: 300 });
        let bounds =
            Bounds { rate: 1_000, count: u64::MAX, duration: Nanos::from_ms(200), ..bounds };
        let tally = attack(&mut Drip(0), &bounds, &stop).expect("loopback");
        assert!(tally.sent().datagrams <= 201, "{}", tally.sent().datagrams);
        stop.store(true, Ordering::Relaxed);
        let tally = attack(&mut Drip(0), &bounds, &stop).expect("loopback");
        assert_eq!(tally.sent().datagrams, 0);
    }

    #[test]
    fn nothing_but_this_machine_is_attacked() {
        for elsewhere in ["192.0.2.1:3565", "0.0.0.0:3565", "[::1]:3565", "10.0.0.1:1"] {
            let server: SocketAddr = elsewhere.parse().expect("an address");
            let bounds = Bounds { server, rate: 1, count: 1, duration: Nanos::from_ms(1) };
            let attacked = attack(&mut Drip(0), &bounds, &AtomicBool::new(false));
            assert!(attacked.expect_err("refused").contains("this machine"), "{elsewhere}");
        }
    }

    #[test]
    fn standings_have_addresses_of_their_own_on_the_loopback() {
        for standing in Standing::ALL {
            for number in [0, 1, SOURCES - 1] {
                let address = standing.address(number);
                assert!(address.is_loopback());
                assert_eq!(Standing::of(address), Some((standing, number)));
            }
        }
        assert_eq!(Standing::of(Ipv4Addr::LOCALHOST), None);
    }
}
