//! A real server on real sockets: players join, move, see each other, and leave. Nothing is
//! simulated.

use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tidelock::admin::{self, Request};
use tidelock::client::{Client, CloseReason, Scratch, State};
use tidelock::config::Config;
use tidelock::host::clock::{self, Clock};
use tidelock::host::entropy::OsEntropy;
use tidelock::keys::{BackendKeys, TicketRequest};
use tidelock::metrics::{Counter, DropReason};
use tidelock::server::{Server, ServerOptions};
use tidelock::time::Entropy;
use tidelock::wire::{DisconnectReason, InputFrame};

/// A folder of its own for every server of these tests.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
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

fn start(folder: &Folder, io: &str) -> (Server, BackendKeys) {
    let mut config = Config::default();
    config.server.bind = "127.0.0.1:0".parse().expect("an address");
    config.server.run_dir = Some(folder.0.clone());
    config.server.io = io.to_owned();
    config.world.players = 8;
    config.world.entities = 8;
    let server = Server::start(&ServerOptions { config, dev: true }).expect("the server starts");
    let keys = BackendKeys::load(&server.run_dir.dev_keys(server.address.port()));
    (server, keys.expect("the server left its keys"))
}

struct Player {
    client: Client,
    socket: UdpSocket,
    clock: Clock,
    scratch: Scratch,
}

impl Player {
    fn new(keys: &BackendKeys, server: SocketAddr, player: u64, spawn: [i32; 3]) -> Self {
        let request = TicketRequest { player, spawn: Some(spawn), ttl_s: 30 };
        let ticket = keys.mint(&request, clock::unix_ms(), &mut OsEntropy).for_client();
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        socket.connect(server).expect("loopback");
        socket.set_nonblocking(true).expect("a socket");
        let clock = Clock::start();
        let client = Client::new(&ticket, OsEntropy.bytes(), clock.now(), &mut OsEntropy);
        let client = client.expect("a valid ticket");
        Self { client, socket, clock, scratch: Scratch::default() }
    }

    fn pump(&mut self) {
        let mut buffer = [0; 1500];
        while let Ok(len) = self.socket.recv(&mut buffer) {
            let datagram = &mut buffer[..len];
            // Errors are counted by the client and looked at in the end.
            let _ = self.client.handle_datagram(self.clock.now(), datagram, &mut self.scratch);
        }
        let mut out = [0; 1200];
        while let Some(len) = self.client.poll_transmit(self.clock.now(), &mut out) {
            let _ = self.socket.send(&out[..len]);
        }
    }
}

fn pump_until(players: &mut [Player], what: &str, mut done: impl FnMut(&mut [Player]) -> bool) {
    let start = Instant::now();
    while !done(players) {
        assert!(start.elapsed() < Duration::from_secs(20), "waited in vain: {what}");
        players.iter_mut().for_each(Player::pump);
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn east() -> InputFrame {
    InputFrame { move_x: 127, move_y: 0, yaw: 16_384, buttons: 0 }
}

fn players_join_move_and_see_each_other(io: &str) {
    let folder = Folder::new(io);
    let (server, keys) = start(&folder, io);
    let address = server.address;
    let mut players: Vec<_> = (0..3)
        .map(|n| Player::new(&keys, address, 100 + n, [400_000 + 500 * n as i32, 400_000, 0]))
        .collect();
    pump_until(&mut players, "everybody is in the world and sees the others", |players| {
        players
            .iter()
            .all(|p| p.client.state() == State::InWorld && p.client.world().visible() == 2)
    });
    let before = players[0].client.world().own().expect("in the world").position;
    let mut last = Instant::now();
    pump_until(&mut players, "the input moved the player", |players| {
        if last.elapsed() > Duration::from_millis(16) {
            last = Instant::now();
            players[0].client.set_input(east());
        }
        let own = players[0].client.world().own().expect("in the world");
        own.position[0] > before[0] + 200.0 && own.position[1] == before[1]
    });
    let acknowledged = players[0].client.world().last_processed_input();
    assert!(acknowledged > 0, "the snapshot says which input it shows");
    let own = players[0].client.world().own().expect("in the world").id;
    let (x, slack) = (players[0].client.world().own().expect("in the world").position[0], 120.0);
    pump_until(&mut players, "the others see where the player went", |players| {
        players[1..].iter().all(|p| {
            let seen = p.client.world().entities().find(|seen| seen.entity == own);
            seen.is_some_and(|seen| seen.state.x as f32 * 1.5625 > x - slack)
        })
    });
    let now = players[2].clock.now();
    players[2].client.leave(now);
    pump_until(&mut players, "one has left and the others notice", |players| {
        players[2].client.state() == State::Closed(CloseReason::Left)
            && players[..2].iter().all(|p| p.client.world().visible() == 1)
    });
    let admin_socket = server.run_dir.admin_socket(address.port());
    let stats = admin::ask(&admin_socket, Request::Stats).expect("the server answers");
    assert_eq!(stats.counter(Counter::Players), 2);
    assert_eq!(stats.counter(Counter::Confirmed), 3);
    assert_eq!(stats.backend, io);
    assert!(stats.tick_us.p50 > 0.0 && stats.phase_us["seal"].p99 > 0.0);
    for reason in [DropReason::Open, DropReason::Malformed, DropReason::Replay, DropReason::Crc] {
        assert_eq!(stats.dropped[reason.name()], 0, "{}", reason.name());
    }
    server.stop();
    pump_until(&mut players, "the server says goodbye", |players| {
        let told = State::Closed(CloseReason::Disconnected(DisconnectReason::Maintenance));
        players[..2].iter().all(|p| p.client.state() == told)
    });
    assert!(players.iter().all(|p| p.client.statistics().errors_total() == 0));
    server.join().expect("an orderly end");
    assert!(!admin_socket.exists(), "the admin socket is gone with the server");
}

#[test]
fn players_join_move_see_each_other_and_leave_over_io_uring() {
    players_join_move_and_see_each_other("uring");
}

#[test]
fn players_join_move_see_each_other_and_leave_over_recvmmsg() {
    players_join_move_and_see_each_other("mmsg");
}

#[test]
fn a_newer_login_replaces_the_older_one() {
    let folder = Folder::new("replace");
    let (server, keys) = start(&folder, "auto");
    let mut players = vec![Player::new(&keys, server.address, 7, [0, 0, 0])];
    pump_until(&mut players, "the first is in", |p| p[0].client.state() == State::InWorld);
    players.push(Player::new(&keys, server.address, 7, [0, 0, 0]));
    pump_until(&mut players, "the second is in, the first is told", |players| {
        let told = State::Closed(CloseReason::Disconnected(DisconnectReason::Replaced));
        players[0].client.state() == told && players[1].client.state() == State::InWorld
    });
    server.stop();
    server.join().expect("an orderly end");
}

#[test]
fn a_second_server_on_the_same_port_refuses_to_start() {
    let folder = Folder::new("twice");
    let (server, _) = start(&folder, "auto");
    let mut config = Config::default();
    config.server.bind = server.address;
    config.server.run_dir = Some(folder.0.clone());
    let error = Server::start(&ServerOptions { config, dev: true }).map(drop).expect_err("refused");
    assert!(error.0.contains("in use") || error.0.contains("another"), "{error}");
    server.stop();
    server.join().expect("the first is not harmed");
}

#[test]
fn development_mode_serves_the_loopback_only() {
    let mut config = Config::default();
    config.server.bind = "0.0.0.0:0".parse().expect("an address");
    let error = Server::start(&ServerOptions { config, dev: true }).map(drop).expect_err("refused");
    assert!(error.0.contains("loopback"), "{error}");
    let error = Server::start(&ServerOptions { config: Config::default(), dev: false });
    assert!(error.map(drop).expect_err("no keys").0.contains("keygen"));
}
