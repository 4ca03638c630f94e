//! Players with real sockets, and servers for them, for tests that simulate nothing.
#![allow(dead_code, reason = "each test uses its part of it")]

use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tidelock::admin::{self, Request};
use tidelock::client::{Client, Echo, Event, Scratch, Ticket};
use tidelock::config::Config;
use tidelock::host::clock::{self, Clock};
use tidelock::host::entropy::OsEntropy;
use tidelock::keys::{BackendKeys, TicketRequest};
use tidelock::report::Stats;
use tidelock::server::{Server, ServerOptions};
use tidelock::time::Entropy;

/// A folder of its own for every server of these tests.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("tidelock-join-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the folder for temporary files is writable");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A configuration for a handful of players on the loopback.
pub(crate) fn config(folder: &Folder) -> Config {
    let mut config = Config::default();
    config.server.bind = "127.0.0.1:0".parse().expect("an address");
    config.server.run_dir = Some(folder.0.clone());
    config.world.players = 12;
    config.world.entities = 12;
    config
}

/// Starts a server in development mode.
pub(crate) fn start(config: Config) -> (Server, BackendKeys) {
    let server = Server::start(&ServerOptions { config, dev: true }).expect("the server starts");
    let keys = BackendKeys::load(&server.run_dir.dev_keys(server.address.port()));
    (server, keys.expect("the server left its keys"))
}

/// What the server counts.
pub(crate) fn stats(server: &Server) -> Stats {
    let socket = server.run_dir.admin_socket(server.address.port());
    admin::ask(&socket, Request::Stats).expect("the server answers")
}

/// Stops the server and waits for it.
pub(crate) fn end(server: Server) {
    server.stop();
    server.join().expect("an orderly end");
}

/// One input per tick, and no more.
pub(crate) struct Pace(Instant);

impl Pace {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Whether it is time for the next one, which is then taken to have been sent.
    pub(crate) fn is_due(&mut self) -> bool {
        let is_due = self.0.elapsed() > Duration::from_millis(16);
        if is_due {
            self.0 = Instant::now();
        }
        is_due
    }
}

/// A player with a real socket.
pub(crate) struct Player {
    pub(crate) client: Client,
    socket: UdpSocket,
    pub(crate) clock: Clock,
    scratch: Scratch,
    /// Tick of the last snapshot, and the most ticks from one to the next.
    tick: u32,
    pub(crate) longest_gap: u32,
    /// Which lengths of datagrams arrive once there is a session.
    pub(crate) hears: fn(usize) -> bool,
    /// What Benchmarks have measured.
    pub(crate) echoes: Vec<Echo>,
}

impl Player {
    /// Starts to join with a ticket of its own.
    pub(crate) fn new(
        keys: &BackendKeys,
        server: SocketAddr,
        player: u64,
        spawn: [i32; 3],
    ) -> Self {
        Self::at("127.0.0.1:0", keys, server, player, spawn)
    }

    /// The same from the address `local`.
    pub(crate) fn at(
        local: &str,
        keys: &BackendKeys,
        server: SocketAddr,
        player: u64,
        spawn: [i32; 3],
    ) -> Self {
        let request = TicketRequest { player, spawn: Some(spawn), ttl_s: 30 };
        let ticket = keys.mint(&request, clock::unix_ms(), &mut OsEntropy).for_client();
        Self::with(&ticket, local, server)
    }

    /// A client of the build with this number.
    pub(crate) fn of_build(
        build: u32,
        keys: &BackendKeys,
        server: SocketAddr,
        player: u64,
    ) -> Self {
        let request = TicketRequest { player, spawn: None, ttl_s: 30 };
        let ticket = keys.mint(&request, clock::unix_ms(), &mut OsEntropy).for_client();
        Self::with(&Ticket { build, ..ticket }, "127.0.0.1:0", server)
    }

    /// Starts to join with `ticket` from the address `local`.
    pub(crate) fn with(ticket: &Ticket, local: &str, server: SocketAddr) -> Self {
        let socket = socket(local, server);
        let clock = Clock::start();
        let client = Client::new(ticket, OsEntropy.bytes(), clock.now(), &mut OsEntropy);
        let client = client.expect("a valid ticket");
        let scratch = Scratch::default();
        Self {
            client,
            socket,
            clock,
            scratch,
            tick: 0,
            longest_gap: 0,
            hears: |_| true,
            echoes: Vec::new(),
        }
    }

    /// Goes on from another port of `local`; what comes to the one that it had is lost.
    pub(crate) fn change_address(&mut self, local: &str) {
        let server = self.socket.peer_addr().expect("it is connected");
        self.socket = socket(local, server);
        self.client.socket_changed();
    }

    /// Everything that has arrived is lost.
    pub(crate) fn lose_arrivals(&mut self) {
        while self.socket.recv(&mut [0; 1500]).is_ok() {}
    }

    /// Receives and sends what there is.
    pub(crate) fn pump(&mut self) {
        self.pump_copied(|_| {});
    }

    /// The same; each datagram is shown to `thief` before it leaves.
    pub(crate) fn pump_copied(&mut self, mut thief: impl FnMut(&[u8])) {
        let mut buffer = [0; 1500];
        while let Ok(len) = self.socket.recv(&mut buffer) {
            if self.client.connection().is_some() && !(self.hears)(len) {
                continue;
            }
            let datagram = &mut buffer[..len];
            let now = self.clock.now();
            // Errors are counted by the client and looked at in the end.
            let event = self.client.handle_datagram(now, datagram, &mut self.scratch);
            if let Ok(Event::Benchmark(echo)) = event {
                self.echoes.push(echo);
            }
            if let Ok(Event::Snapshot(_)) = event {
                let tick = self.client.world().tick();
                if self.tick > 0 {
                    self.longest_gap = self.longest_gap.max(tick - self.tick);
                }
                self.tick = tick;
            }
            if self.client.is_rekey_requested() {
                self.client.answer_rekey(OsEntropy.bytes(), now);
            }
        }
        let mut out = [0; 1200];
        while let Some(len) = self.client.poll_transmit(self.clock.now(), &mut out) {
            thief(&out[..len]);
            let _ = self.socket.send(&out[..len]);
        }
    }
}

/// A socket on `local` for whoever talks to `server`.
pub(crate) fn socket(local: &str, server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(local).expect("a free port");
    socket.connect(server).expect("loopback");
    socket.set_nonblocking(true).expect("a socket");
    socket
}

/// Pumps until `done`, at most 20 s.
pub(crate) fn pump_until(
    players: &mut [Player],
    what: &str,
    mut done: impl FnMut(&mut [Player]) -> bool,
) {
    let start = Instant::now();
    while !done(players) {
        let states = || players.iter().map(|player| player.client.state()).collect::<Vec<_>>();
        assert!(start.elapsed() < Duration::from_secs(20), "in vain: {what}: {:?}", states());
        players.iter_mut().for_each(Player::pump);
        std::thread::sleep(Duration::from_millis(2));
    }
}
