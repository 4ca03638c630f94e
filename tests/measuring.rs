//! Players on real sockets who measure the way to the server, and players whose path is too narrow
//! for snapshots.

mod players;

use players::{Folder, Pace, Player, config, end, pump_until, start, stats};
use tidelock::client::State;
use tidelock::metrics::{Counter, DropReason};
use tidelock::wire::InputFrame;

#[test]
fn benchmarks_measure_the_way_there_and_back_where_they_are_on() {
    let folder = Folder::new("benchmarks");
    let mut settings = config(&folder);
    settings.net.benchmark = true;
    let (server, keys) = start(settings);
    let mut players = [Player::new(&keys, server.address, 7, [0, 0, 0])];
    pump_until(&mut players, "in the world", |p| p[0].client.state() == State::InWorld);
    for (count, bytes) in [0, 24, 1_024, 9_999].into_iter().enumerate() {
        players[0].client.benchmark(bytes);
        pump_until(&mut players, "an answer", |p| p[0].echoes.len() > count);
        let echo = players[0].echoes[count];
        assert_eq!(usize::from(echo.length), bytes.clamp(24, 1_024));
        assert!(echo.held_us <= echo.elapsed_us, "{echo:?}");
    }
    let server_us = players[0].echoes.iter().map(|echo| echo.server_us);
    assert!(server_us.is_sorted(), "times of one clock");
    assert_eq!(stats(&server).counter(Counter::BenchmarksAnswered), 4);
    assert_eq!(players[0].client.statistics().errors_total(), 0);
    end(server);
}

#[test]
fn where_benchmarks_are_off_nobody_answers_and_the_player_plays_on() {
    let folder = Folder::new("no-benchmarks");
    let (server, keys) = start(config(&folder));
    let mut players = [Player::new(&keys, server.address, 7, [0, 0, 0])];
    pump_until(&mut players, "in the world", |p| p[0].client.state() == State::InWorld);
    players[0].client.benchmark(500);
    let tick = players[0].client.world().tick();
    pump_until(&mut players, "it goes on", |p| p[0].client.world().tick() > tick + 30);
    assert!(players[0].echoes.is_empty());
    assert_eq!(stats(&server).dropped[DropReason::Benchmark.name()], 1);
    end(server);
}

#[test]
fn a_player_for_whose_path_snapshots_are_too_long_plays_all_the_same() {
    let folder = Folder::new("narrow");
    let (server, keys) = start(config(&folder));
    let place = |n| [400_000 + 300 * n, 400_000, 0];
    let mut players: Vec<_> =
        (0..3).map(|n| Player::new(&keys, server.address, 7 + n as u64, place(n))).collect();
    // A snapshot of nobody has 103 bytes, an update 99, and 141 with two neighbours at rest. On
    // real paths it is the snapshots of many that are too long.
    players[1].hears = |length| length < 100 || length == 141;
    pump_until(&mut players, "all are in the world", |players| {
        players.iter().all(|player| player.client.state() == State::InWorld)
    });
    let before = players[1].client.world().own().expect("told").position;
    let mut pace = Pace::start();
    pump_until(&mut players, "it moves, and sees its neighbours", |players| {
        let player = &mut players[1];
        if pace.is_due() {
            player.client.set_input(InputFrame { move_x: 127, ..InputFrame::default() });
        }
        let world = player.client.world();
        let own = world.own().expect("told");
        own.position[0] > before[0] + 200.0 && world.neighbours().count() == 2
    });
    // It has gone towards the last.
    let narrow = players[1].client.world();
    let told: Vec<_> = narrow.neighbours().map(|other| other.entity.id).collect();
    let own = |n: usize| players[n].client.world().own().expect("in the world").id;
    assert_eq!(told, [own(2), own(0)], "the nearest first");
    let tick = narrow.neighbours().next().map(|other| other.tick);
    assert_eq!((narrow.tick(), Some(narrow.own_tick())), (0, tick), "no snapshot has come");
    assert!(narrow.last_processed_input() > 0);
    assert!(stats(&server).counter(Counter::UpdatesSent) >= 3);
    for player in &players {
        assert_eq!(player.client.statistics().errors_total(), 0);
    }
    players[1].hears = |_| true;
    pump_until(&mut players, "snapshots come, and count", |players| {
        let world = players[1].client.world();
        world.visible() == 2 && world.neighbours().count() == 0
    });
    end(server);
}
