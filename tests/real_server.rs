//! A real server on real sockets: players join, move, see each other, and leave. Nothing is
//! simulated.

mod players;

use players::{Folder, Pace, Player, config, end, pump_until, start, stats};
use tidelock::client::{CloseReason, State};
use tidelock::config::{Config, ShardCount};
use tidelock::metrics::{Counter, DropReason};
use tidelock::server::{Server, ServerOptions};
use tidelock::wire::{DisconnectReason, InputFrame};

fn east() -> InputFrame {
    InputFrame { move_x: 127, move_y: 0, yaw: 16_384, buttons: 0 }
}

fn players_join_move_and_see_each_other(io: &str) {
    let folder = Folder::new(io);
    let mut settings = config(&folder);
    settings.server.io = io.to_owned();
    let (server, keys) = start(settings);
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
    let mut pace = Pace::start();
    pump_until(&mut players, "the input moved the player", |players| {
        if pace.is_due() {
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
    let stats = stats(&server);
    assert_eq!(stats.counter(Counter::Players), 2);
    assert_eq!(stats.counter(Counter::Confirmed), 3);
    assert_eq!(stats.backend, io);
    assert!(stats.tick_us.p50 > 0.0 && stats.phase_us["seal"].p99 > 0.0);
    for reason in [DropReason::Open, DropReason::Malformed, DropReason::Replay, DropReason::Crc] {
        assert_eq!(stats.dropped[reason.name()], 0, "{}", reason.name());
    }
    let admin_socket = server.run_dir.admin_socket(address.port());
    assert!(admin_socket.exists());
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
fn players_of_three_shards_share_one_world_and_are_told_when_it_ends() {
    let folder = Folder::new("three");
    let mut config = config(&folder);
    config.server.io = "uring".to_owned();
    config.server.shards = ShardCount::Count(3);
    config.server.oversubscribe = true;
    let (server, keys) = start(config);
    let address = server.address;
    let mut players: Vec<_> = (0..6)
        .map(|n| Player::new(&keys, address, 100 + n, [400_000 + 500 * n as i32, 400_000, 0]))
        .collect();
    pump_until(&mut players, "everybody sees everybody, across shards", |players| {
        let all = |p: &Player| p.client.world().visible() == 5;
        players.iter().all(|p| p.client.state() == State::InWorld && all(p))
    });
    let own = players[0].client.world().own().expect("in the world");
    let (id, from) = (own.id, own.position[0]);
    let mut pace = Pace::start();
    pump_until(&mut players, "all others see the first move", |players| {
        if pace.is_due() {
            players[0].client.set_input(east());
        }
        players[1..].iter().all(|p| {
            let seen = p.client.world().entities().find(|seen| seen.entity == id);
            seen.is_some_and(|seen| seen.state.x as f32 * 1.5625 > from + 200.0)
        })
    });
    let stats = stats(&server);
    assert_eq!((stats.shards, stats.counter(Counter::Players)), (3, 6));
    let ticks_of_uptime = stats.uptime_ns / 16_000_000 + 2;
    assert!(stats.counter(Counter::Ticks) <= ticks_of_uptime, "a tick of three shards is one");
    server.stop();
    pump_until(&mut players, "all shards say goodbye", |players| {
        let told = State::Closed(CloseReason::Disconnected(DisconnectReason::Maintenance));
        players.iter().all(|p| p.client.state() == told)
    });
    assert!(players.iter().all(|p| p.client.statistics().errors_total() == 0));
    server.join().expect("an orderly end");
}

#[test]
fn a_newer_login_replaces_the_older_one() {
    let folder = Folder::new("replace");
    let (server, keys) = start(config(&folder));
    let mut players = vec![Player::new(&keys, server.address, 7, [0, 0, 0])];
    pump_until(&mut players, "the first is in", |p| p[0].client.state() == State::InWorld);
    players.push(Player::new(&keys, server.address, 7, [0, 0, 0]));
    pump_until(&mut players, "the second is in, the first is told", |players| {
        let told = State::Closed(CloseReason::Disconnected(DisconnectReason::Replaced));
        players[0].client.state() == told && players[1].client.state() == State::InWorld
    });
    end(server);
}

#[test]
fn a_second_server_on_the_same_port_refuses_to_start() {
    let folder = Folder::new("twice");
    let (server, _) = start(config(&folder));
    let mut config = Config::default();
    config.server.bind = server.address;
    config.server.run_dir = Some(folder.0.clone());
    let error = Server::start(&ServerOptions { config, dev: true }).map(drop).expect_err("refused");
    assert!(error.0.contains("in use") || error.0.contains("another"), "{error}");
    end(server);
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
