//! The sockets around the model: clients on one side, the server on the other, and between them for
//! each client a path up and a path down.
//!
//! Owns the table of clients and the datagrams under way, both bounded and allocated at start.
//! Decides nothing about datagrams: that is `model`. Loopback only, since the server sees every
//! client under an address of its own in 127/8:
//!
//! ```text
//! client ──▶ 127.0.0.1:3566 │relay│ 127.192.0.0/10, one of four ports ──▶ server
//!                                   client number × 64 + changes of address so far
//! ```
//!
//! What the server sends to an address or port that its client has left is dropped where it would
//! have arrived, as a router does that has forgotten the way. Called by `mod` and `trial`.

use super::model::{Path, Tally};
use super::profile::{Profile, Rebind};
use super::queue::{Parcel, Queue, Way};
use serde::Serialize;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tidelock::host::clock::Clock;
use tidelock::host::entropy::SeededEntropy;
use tidelock::net::{SourcedConfig, SourcedPort, Sources};
use tidelock::time::Nanos;

/// Start of the addresses under which the server sees clients.
const FIRST_SOURCE: u32 = 0x7FC0_0000;
/// Addresses of one client, which it takes in turns.
const SOURCES_PER_CLIENT: u32 = 64;
/// Clients that have addresses; the last ones' would include the broadcast address of 127/8.
pub(crate) const CLIENTS_MAX: u32 = 65_535;
/// Ports of the relay on the server's side, which a client takes in turns.
const PORTS: usize = 4;
/// A client that has sent nothing for so long is forgotten if its place is needed.
const IDLE: Nanos = Nanos::from_ms(60_000);
/// Time between two turns of the loop while nothing is due.
const TURN: Nanos = Nanos::from_us(250);
/// Datagrams in one system call.
const SEND_BATCH: usize = 64;
/// Datagrams of the sockets' receive buffers.
const RECEIVE_BUFFER: usize = 16 << 20;

/// What a relay is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RelayConfig {
    /// Where the datagrams go.
    pub(crate) server: SocketAddr,
    /// Port for the clients; 0 takes a free one.
    pub(crate) listen: u16,
    pub(crate) profile: Profile,
    pub(crate) seed: u64,
    /// Clients at a time.
    pub(crate) clients: u32,
    /// Datagrams under way at a time.
    pub(crate) under_way: u32,
}

/// What a relay did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Deeds {
    /// Clients met.
    pub(crate) clients: u64,
    pub(crate) up: Tally,
    pub(crate) down: Tally,
    /// Changes of a client's port.
    pub(crate) port_changes: u64,
    /// Changes of a client's address and port.
    pub(crate) address_changes: u64,
    /// Came from the server to an address or port that its client had left.
    pub(crate) left_behind: u64,
    /// Datagrams of clients for whom the table had no room.
    pub(crate) no_room_for_client: u64,
    /// Datagrams for which there was no room on the way.
    pub(crate) no_room_on_the_way: u64,
    /// Datagrams from outside the loopback, or not from the server on its side.
    pub(crate) foreign: u64,
    /// Datagrams that the kernel dropped or did not take.
    pub(crate) kernel_lost: u64,
}

struct Client {
    from: SocketAddr,
    /// The local address that the client sends to, which answers come from.
    facing: Ipv4Addr,
    way: Way,
    up: Path,
    down: Path,
    heard: Nanos,
    next_change: Nanos,
}

/// A running relay.
pub(crate) struct Relay {
    config: RelayConfig,
    clock: Clock,
    front: SourcedPort,
    backs: Vec<SourcedPort>,
    clients: Vec<Client>,
    by_sender: HashMap<SocketAddr, u32>,
    queue: Queue,
    deeds: Deeds,
}

impl Relay {
    /// Binds the sockets.
    ///
    /// # Errors
    /// If the server is not on the loopback, or a socket cannot be bound.
    pub(crate) fn bind(config: RelayConfig) -> Result<Self, String> {
        match config.server.ip() {
            IpAddr::V4(ip) if ip.is_loopback() => {}
            _ => {
                return Err(format!(
                    "{} is not on 127.0.0.0/8: the relay gives each client an address of that \
                     network, and from there only a server on this machine can be reached",
                    config.server
                ));
            }
        }
        let bind = |port| {
            SourcedPort::bind(&SourcedConfig {
                sources: Sources::Loopback,
                port,
                receive_buffer: RECEIVE_BUFFER,
                send_slots: SEND_BATCH,
            })
            .map_err(|error| format!("cannot open UDP port {port} for the relay: {error}"))
        };
        let backs = (0..PORTS).map(|_| bind(0)).collect::<Result<_, String>>()?;
        Ok(Self {
            front: bind(config.listen)?,
            backs,
            clock: Clock::start(),
            clients: Vec::with_capacity(config.clients as usize),
            by_sender: HashMap::with_capacity(config.clients as usize),
            queue: Queue::new(config.under_way as usize),
            deeds: Deeds::default(),
            config,
        })
    }

    /// Where clients reach it.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.front.local_address().port()))
    }

    /// Relays until `stop` is set, or for `seconds` if that is not 0. Returns what it did.
    ///
    /// # Errors
    /// If a socket fails.
    pub(crate) fn run(mut self, stop: &AtomicBool, seconds: u64) -> Result<Deeds, String> {
        let end = if seconds == 0 { Nanos(u64::MAX) } else { Nanos::from_ms(seconds * 1_000) };
        while !stop.load(Ordering::Relaxed) && self.clock.now() < end {
            let more = self.turn()?;
            if !more {
                let now = self.clock.now();
                let next = self.queue.next_due().unwrap_or(Nanos(u64::MAX)).min(now.plus(TURN));
                std::thread::sleep(Duration::from_nanos(next.since(now).0));
            }
        }
        Ok(self.deeds)
    }

    /// Takes in what has arrived on both sides and sends what is due; true if there is more.
    fn turn(&mut self) -> Result<bool, String> {
        let now = self.clock.now();
        self.change_ways(now);
        let more = self.take_from_clients(now)? | self.take_from_server(now)?;
        self.deliver()?;
        Ok(more)
    }

    fn change_ways(&mut self, now: Nanos) {
        let Profile { rebind, rebind_every_ms, .. } = self.config.profile;
        if rebind == Rebind::None {
            return;
        }
        for client in &mut self.clients {
            // Who is gone needs no other way; and it would be one a second for ever.
            if now < client.next_change || now.since(client.heard) > IDLE {
                continue;
            }
            client.next_change = now.plus(Nanos::from_ms(rebind_every_ms));
            client.way.port = (client.way.port + 1) % PORTS as u8;
            if rebind == Rebind::Address {
                client.way.turn = (client.way.turn + 1) % SOURCES_PER_CLIENT as u8;
                self.deeds.address_changes += 1;
            } else {
                self.deeds.port_changes += 1;
            }
        }
    }

    fn take_from_clients(&mut self, now: Nanos) -> Result<bool, String> {
        let Self { front, clients, by_sender, queue, deeds, config, .. } = self;
        let report = front.receive(Duration::ZERO, &mut |batch| {
            for datagram in batch {
                if !datagram.from.ip().is_loopback() {
                    deeds.foreign += 1;
                    continue;
                }
                let known = by_sender.get(&datagram.from).copied();
                let number = known.or_else(|| {
                    let number = admit(clients, by_sender, config, datagram.from, now)?;
                    deeds.clients += 1;
                    Some(number)
                });
                let Some(number) = number else {
                    deeds.no_room_for_client += 1;
                    continue;
                };
                let client = &mut clients[number as usize];
                (client.heard, client.facing) = (now, datagram.local);
                let parcel = Parcel { client: number, way: client.way, upwards: true };
                client.up.pass(now, datagram.payload, &mut deeds.up, &mut |at, payload| {
                    deeds.no_room_on_the_way += u64::from(!queue.push(at, parcel, payload));
                });
            }
        });
        let report = report.map_err(|error| format!("cannot receive from clients: {error}"))?;
        self.deeds.kernel_lost += report.kernel_drops;
        Ok(report.more)
    }

    fn take_from_server(&mut self, now: Nanos) -> Result<bool, String> {
        let Self { backs, clients, queue, deeds, config, .. } = self;
        let mut more = false;
        for (back, port) in backs.iter_mut().zip(0..) {
            let report = back.receive(Duration::ZERO, &mut |batch| {
                for datagram in batch {
                    let place = datagram.local.to_bits().wrapping_sub(FIRST_SOURCE);
                    let number = place / SOURCES_PER_CLIENT;
                    let turn = (place % SOURCES_PER_CLIENT) as u8;
                    let client = clients.get_mut(number as usize);
                    let Some(client) = client.filter(|_| datagram.from == config.server) else {
                        deeds.foreign += 1;
                        continue;
                    };
                    let way = Way { turn, port };
                    let parcel = Parcel { client: number, way, upwards: false };
                    client.down.pass(now, datagram.payload, &mut deeds.down, &mut |at, payload| {
                        deeds.no_room_on_the_way += u64::from(!queue.push(at, parcel, payload));
                    });
                }
            });
            let report =
                report.map_err(|error| format!("cannot receive from the server: {error}"))?;
            deeds.kernel_lost += report.kernel_drops;
            more |= report.more;
        }
        Ok(more)
    }

    /// Sends what is due.
    fn deliver(&mut self) -> Result<(), String> {
        let mut used = [0; PORTS + 1];
        let now = self.clock.now();
        while let Some((parcel, payload)) = self.queue.pop_due(now) {
            let client = &self.clients[parcel.client as usize];
            let Way { turn, port } = parcel.way;
            let (place, source, to) = if parcel.upwards {
                let source = FIRST_SOURCE + parcel.client * SOURCES_PER_CLIENT + u32::from(turn);
                (usize::from(port), Ipv4Addr::from_bits(source), self.config.server)
            } else if parcel.way == client.way {
                (PORTS, client.facing, client.from)
            } else {
                self.deeds.left_behind += 1;
                continue;
            };
            let socket = self.backs.get_mut(place).unwrap_or(&mut self.front);
            let slot = used[place];
            socket.send_buffer(slot)[..payload.len()].copy_from_slice(payload);
            socket.send_push(slot, payload.len(), source, to);
            used[place] += 1;
            if used[place] == SEND_BATCH {
                used[place] = 0;
                self.deeds.kernel_lost += flush(socket)?;
            }
        }
        for socket in self.backs.iter_mut().chain([&mut self.front]) {
            self.deeds.kernel_lost += flush(socket)?;
        }
        Ok(())
    }
}

/// Hands over what is queued; how many datagrams the kernel refused.
fn flush(socket: &mut SourcedPort) -> Result<u64, String> {
    let report = socket.flush().map_err(|error| format!("the relay cannot send: {error}"))?;
    Ok(report.refused)
}

/// Gives the new client `from` a place, `None` if there is none.
fn admit(
    clients: &mut Vec<Client>,
    by_sender: &mut HashMap<SocketAddr, u32>,
    config: &RelayConfig,
    from: SocketAddr,
    now: Nanos,
) -> Option<u32> {
    let client = meet(config, from, now);
    let number = if clients.len() < config.clients as usize {
        clients.push(client);
        clients.len() - 1
    } else {
        let (number, idlest) = clients.iter().enumerate().min_by_key(|(_, c)| c.heard)?;
        if now.since(idlest.heard) < IDLE {
            return None;
        }
        by_sender.remove(&idlest.from);
        clients[number] = client;
        number
    };
    by_sender.insert(from, number as u32);
    Some(number as u32)
}

/// A client as it begins. Its decisions depend on the seed and its IP address, not on when it came.
fn meet(config: &RelayConfig, from: SocketAddr, now: Nanos) -> Client {
    let ip = match from.ip() {
        IpAddr::V4(ip) => ip.to_bits(),
        IpAddr::V6(_) => 0,
    };
    let mut seeds = SeededEntropy(config.seed ^ u64::from(ip) << 32);
    let Profile { up, down, rebind_every_ms, .. } = config.profile;
    // The first change after half a period to one and a half, so that not all change at once.
    let first = rebind_every_ms / 2 + seeds.next_u64() % rebind_every_ms.max(1);
    Client {
        from,
        facing: Ipv4Addr::LOCALHOST,
        way: Way::default(),
        up: Path::new(up, seeds.next_u64()),
        down: Path::new(down, seeds.next_u64()),
        heard: now,
        next_change: now.plus(Nanos::from_ms(first)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::Impairment;
    use super::*;
    use std::net::UdpSocket;

    fn config(server: &UdpSocket) -> RelayConfig {
        RelayConfig {
            server: server.local_addr().expect("bound"),
            listen: 0,
            profile: Profile::default(),
            seed: 3,
            clients: 2,
            under_way: 64,
        }
    }

    fn socket() -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        socket.set_read_timeout(Some(Duration::from_secs(2))).expect("a socket");
        socket
    }

    /// What `socket` receives while the relay turns.
    fn receive(relay: &mut Relay, socket: &UdpSocket) -> Option<(Vec<u8>, SocketAddr)> {
        socket.set_nonblocking(true).expect("a socket");
        let mut buffer = [0; 1500];
        for _ in 0..200 {
            relay.turn().expect("sockets work");
            if let Ok((len, from)) = socket.recv_from(&mut buffer) {
                return Some((buffer[..len].to_vec(), from));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        None
    }

    #[test]
    fn clients_have_an_address_each_and_answers_find_back() {
        let (server, one, two) = (socket(), socket(), socket());
        let mut relay = Relay::bind(config(&server)).expect("loopback");
        let mut seen = Vec::new();
        for (client, text) in [(&one, b"one"), (&two, b"two")] {
            client.send_to(text, relay.address()).expect("loopback");
            let (got, from) = receive(&mut relay, &server).expect("it arrives");
            assert_eq!(got, text);
            seen.push(from);
        }
        assert_ne!(seen[0].ip(), seen[1].ip());
        server.send_to(b"for two", seen[1]).expect("loopback");
        let (got, from) = receive(&mut relay, &two).expect("it arrives");
        assert_eq!((got.as_slice(), from), (b"for two".as_slice(), relay.address()));
        // The table is full.
        let three = socket();
        three.send_to(b"three", relay.address()).expect("loopback");
        assert!(receive(&mut relay, &server).is_none());
        assert_eq!((relay.deeds.clients, relay.deeds.no_room_for_client), (2, 1));
        assert_eq!((relay.deeds.up.passed, relay.deeds.down.passed), (2, 1));
    }

    #[test]
    fn what_goes_to_an_address_that_the_client_has_left_does_not_arrive() {
        for (rebind, same_ip) in [(Rebind::Port, true), (Rebind::Address, false)] {
            let (server, client) = (socket(), socket());
            let profile = Profile { rebind, rebind_every_ms: 100, ..Profile::default() };
            let mut relay =
                Relay::bind(RelayConfig { profile, ..config(&server) }).expect("loopback");
            client.send_to(b"a", relay.address()).expect("loopback");
            let (_, before) = receive(&mut relay, &server).expect("it arrives");
            std::thread::sleep(Duration::from_millis(160));
            client.send_to(b"b", relay.address()).expect("loopback");
            let (_, after) = receive(&mut relay, &server).expect("it arrives");
            assert_ne!(before.port(), after.port());
            assert_eq!(before.ip() == after.ip(), same_ip);
            server.send_to(b"too late", before).expect("loopback");
            assert!(receive(&mut relay, &client).is_none());
            assert_eq!(relay.deeds.left_behind, 1);
            assert!(relay.deeds.port_changes + relay.deeds.address_changes > 0);
        }
    }

    #[test]
    fn what_is_under_way_is_bounded() {
        let (server, client) = (socket(), socket());
        let slow = Impairment { delay_ms: 10_000.0, ..Impairment::default() };
        let profile = Profile { up: slow, ..Profile::default() };
        let mut relay = Relay::bind(RelayConfig { profile, under_way: 8, ..config(&server) })
            .expect("loopback");
        for _ in 0..20 {
            client.send_to(b"x", relay.address()).expect("loopback");
        }
        assert!(receive(&mut relay, &server).is_none());
        assert_eq!((relay.deeds.up.passed, relay.deeds.no_room_on_the_way), (20, 12));
    }

    #[test]
    fn only_the_loopback_is_served() {
        let server = socket();
        let elsewhere = RelayConfig { server: ([192, 0, 2, 1], 9).into(), ..config(&server) };
        assert!(Relay::bind(elsewhere).map(drop).expect_err("refused").contains("127.0.0.0/8"));
    }
}
