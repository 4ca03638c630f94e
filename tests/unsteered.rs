//! A real server whose kernel does not steer: datagrams come to any socket of the port, and the
//! threads hand on what belongs to others. Players notice nothing.

mod players;

use players::{Folder, Player, config, end, pump_until, start, stats};
use std::time::{Duration, Instant};
use tidelock::client::State;
use tidelock::config::{ShardCount, Steering};
use tidelock::keys::BackendKeys;
use tidelock::metrics::{Counter, DropReason};
use tidelock::report::Stats;
use tidelock::server::Server;
use tidelock::wire::InputFrame;

const SHARDS: usize = 2;
const PLAYERS: usize = 12;
/// Reasons that say something was lost or went astray on the way inside.
const NEVER: [DropReason; 8] = [
    DropReason::QueueFull,
    DropReason::WrongSocket,
    DropReason::UnknownConnection,
    DropReason::Replay,
    DropReason::Open,
    DropReason::Malformed,
    DropReason::Size,
    DropReason::Header,
];

fn server(folder: &Folder, steering: Steering) -> (Server, BackendKeys) {
    let mut config = config(folder);
    config.server.shards = ShardCount::Count(SHARDS as u16);
    config.server.oversubscribe = true;
    config.server.rebalance = false;
    // A slot that a player leaves stays taken for a while.
    config.world.players = 48;
    config.world.entities = 48;
    // Twelve players of one machine: they knock from few addresses.
    config.limits.trusted_sources = vec!["127.0.0.0/8".to_owned()];
    config.net.steering = steering;
    start(config)
}

/// Players from four addresses and twelve ports.
fn join(server: &Server, keys: &BackendKeys) -> Vec<Player> {
    let player = |n: usize| {
        let local = format!("127.0.0.{}:0", 1 + n % 4);
        let place = [400_000 + 300 * n as i32, 400_000, 0];
        Player::at(&local, keys, server.address, 100 + n as u64, place)
    };
    let mut players: Vec<_> = (0..PLAYERS).map(player).collect();
    pump_until(&mut players, "everybody is in the world and sees everybody", |players| {
        players.iter().all(|p| {
            p.client.state() == State::InWorld && p.client.world().visible() == PLAYERS as u32 - 1
        })
    });
    players
}

/// What is counted once `settled`, or after 5 s.
fn stats_when(server: &Server, settled: impl Fn(&Stats) -> bool) -> Stats {
    let start = Instant::now();
    loop {
        let stats = stats(server);
        if settled(&stats) || start.elapsed() > Duration::from_secs(5) {
            return stats;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn sent(players: &[Player]) -> u64 {
    players.iter().map(|p| u64::from(p.client.statistics().datagrams_out)).sum()
}

/// Plays for `duration`: inputs 60 times a second.
fn play(players: &mut [Player], duration: Duration) {
    let start = Instant::now();
    let mut inputs = 0;
    while start.elapsed() < duration {
        if start.elapsed() >= Duration::from_micros(16_667) * inputs {
            inputs += 1;
            for player in players.iter_mut() {
                player.client.set_input(InputFrame { move_x: 100, ..InputFrame::default() });
            }
        }
        players.iter_mut().for_each(Player::pump);
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Nothing was lost: every sealed packet of the players has opened, and what they saw is all that
/// was sent.
fn check_nothing_is_lost(server: &Server, players: &mut [Player]) {
    // Whatever is still under way arrives.
    play(players, Duration::from_millis(100));
    let sent = sent(players);
    let stats = stats_when(server, |stats| stats.counter(Counter::PacketsIn) >= sent);
    for reason in NEVER {
        assert_eq!(stats.dropped[reason.name()], 0, "{}", reason.name());
    }
    assert_eq!(stats.counter(Counter::PacketsIn), sent, "each was received, and counted once");
    for player in players {
        let seen = player.client.statistics();
        assert_eq!(player.client.state(), State::InWorld);
        assert_eq!(seen.errors_total(), 0);
        assert_eq!(seen.lost_to_server, 0);
        let missed = seen.missed_ticks - seen.stale_snapshots;
        assert_eq!(missed, 0, "a snapshot for every tick, of {}", seen.snapshots);
    }
}

#[test]
fn without_steering_everybody_plays_and_nothing_is_lost() {
    let folder = Folder::new("unsteered");
    let (server, keys) = server(&folder, Steering::Off);
    let about = |warning: &&String| warning.contains("steering");
    assert_eq!(server.warnings.iter().filter(about).count(), 1, "{:?}", server.warnings);
    let mut players = join(&server, &keys);
    let before = stats(&server);
    play(&mut players, Duration::from_secs(2));
    let after = stats(&server);
    assert_eq!(after.steering, "threads");
    let grown = |counter| after.counter(counter) - before.counter(counter);
    // Two of three sockets are the wrong ones; by chance it may be fewer players.
    let (inputs, forwarded) = (grown(Counter::PacketsIn), grown(Counter::Forwarded));
    assert!(forwarded > inputs / 10, "{forwarded} of {inputs} were handed on");
    assert!(grown(Counter::Inputs) > 60 * PLAYERS as u64);
    check_nothing_is_lost(&server, &mut players);
    end(server);
}

#[test]
fn without_steering_players_move_from_shard_to_shard() {
    let folder = Folder::new("unsteered-moves");
    let (server, keys) = server(&folder, Steering::Off);
    let mut players = join(&server, &keys);
    for round in 0..4 {
        server.shift(round % 2, (round + 1) % 2, 4);
        play(&mut players, Duration::from_millis(400));
    }
    assert!(stats(&server).counter(Counter::HandedOver) >= 8);
    check_nothing_is_lost(&server, &mut players);
    end(server);
}

/// Players who go on from other ports, some of them on their way to another shard. Returns what was
/// counted.
fn change_ports(steering: Steering) -> Stats {
    let name = format!("ports-{steering:?}");
    let folder = Folder::new(&name);
    let (server, keys) = server(&folder, steering);
    let mut players = join(&server, &keys);
    for round in 0..2 {
        server.shift(round % 2, (round + 1) % 2, 4);
        players.iter_mut().for_each(|p| p.change_address(&format!("127.0.0.{}:0", 7 + round)));
        let all = (1 + round as u64) * PLAYERS as u64;
        let start = Instant::now();
        // The address changes once a second at most.
        while start.elapsed() < Duration::from_millis(1_100) {
            play(&mut players, Duration::from_millis(100));
        }
        let counted = stats_when(&server, |stats| stats.counter(Counter::PathChanges) >= all);
        assert_eq!(counted.counter(Counter::PathChanges), all, "{steering:?}");
    }
    for player in &players {
        assert!(player.longest_gap <= 30, "{} ticks without a snapshot", player.longest_gap);
        assert_eq!(player.client.state(), State::InWorld);
        assert_eq!(player.client.statistics().errors_total(), 0);
    }
    let counted = stats(&server);
    for reason in NEVER {
        assert_eq!(counted.dropped[reason.name()], 0, "{}, {steering:?}", reason.name());
    }
    assert!(counted.counter(Counter::HandedOver) >= 4, "{steering:?}");
    end(server);
    counted
}

#[test]
fn clients_whose_port_changes_play_on_with_and_without_steering() {
    assert_eq!(change_ports(Steering::Auto).steering, "kernel");
    assert_eq!(change_ports(Steering::Off).steering, "threads");
}
