//! A real server is asked over its admin socket why its players are told what.

mod players;

use players::{Folder, Player, config, end, pump_until, start};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use tidelock::admin;
use tidelock::client::State;
use tidelock::config::ShardCount;
use tidelock::keys::BackendKeys;
use tidelock::report::explain::ExplainReport;
use tidelock::server::Server;
use tidelock::shard::Fault;
use tidelock::units::EntityId;

const SHARDS: usize = 2;

struct Game {
    server: Server,
    players: Vec<Player>,
    folder: Folder,
}

/// A server with as many players side by side as `places` has, and each `places` metres east.
fn game(name: &str, places: &[i32]) -> Game {
    let folder = Folder::new(name);
    let mut config = config(&folder);
    config.server.shards = ShardCount::Count(SHARDS as u16);
    config.server.oversubscribe = true;
    config.server.watchdog_ms = 20_000;
    let (server, keys) = start(config);
    let mut players: Vec<_> = (100..).zip(places).map(|it| join(&keys, &server, it)).collect();
    pump_until(&mut players, "everybody is in the world", |players| {
        players.iter().all(|player| player.client.state() == State::InWorld)
    });
    Game { server, players, folder }
}

fn join(keys: &BackendKeys, server: &Server, (player, metres): (u64, &i32)) -> Player {
    Player::new(keys, server.address, player, [100_000 + 100 * metres, 400_000, 0])
}

type Answer = Result<ExplainReport, String>;

impl Game {
    fn socket(&self) -> PathBuf {
        self.server.run_dir.admin_socket(self.server.address.port())
    }

    /// Asks while the players play on.
    fn ask(&mut self, player: u64, entity: Option<EntityId>) -> Answer {
        let socket = self.socket();
        self.meanwhile(move || admin::explain(&socket, player, entity))
    }

    fn meanwhile<T: Send + 'static>(&mut self, ask: impl FnOnce() -> T + Send + 'static) -> T {
        let (send, receive) = mpsc::channel();
        thread::spawn(move || send.send(ask()));
        let mut answer = None;
        pump_until(&mut self.players, "an answer", |_| {
            answer = receive.try_recv().ok();
            answer.is_some()
        });
        answer.expect("pumped until there was one")
    }

    /// Runs `tidelock explain` for this server.
    fn command(&mut self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidelock"));
        let port = self.server.address.port().to_string();
        command.arg("explain").args(arguments).args(["--port", &port]);
        command.arg("--run-dir").arg(&self.folder.0);
        self.meanwhile(move || command.output().expect("the program starts"))
    }

    fn end(self) {
        end(self.server);
    }
}

fn entity(player: &Player) -> EntityId {
    player.client.world().own().expect("in the world").id
}

#[test]
fn the_table_is_what_the_player_sees_and_every_line_has_a_reason() {
    let mut game = game("explain-all", &[0, 100, 500, 5_000]);
    pump_until(&mut game.players, "the first sees two", |players| {
        players[0].client.world().visible() == 2
    });
    let report = game.ask(100, None).expect("an explanation");
    let seen: Vec<_> = game.players[1..3].iter().map(|player| entity(player).0).collect();
    let mut listed: Vec<_> = report.entities.iter().map(|it| it.entity).collect();
    listed.sort_by_key(|id| seen.iter().position(|other| other == id));
    assert_eq!(listed, seen, "{report:?}");
    assert_eq!((report.player, report.tick_hz, report.visible), (100, 60, 2));
    assert_eq!(report.entity, entity(&game.players[0]).0);
    assert_eq!(report.position_cm, [100_000, 400_000, 0]);
    assert_eq!((report.snapshot_tick, report.budget_bytes), (report.tick, 475));
    assert!(!report.is_held_down && report.rtt_us > 0 && report.base_rtt_us > 0, "{report:?}");
    assert!(report.bytes > 40 && report.bytes <= 475, "{report:?}");
    assert!(report.acknowledged_tick > 0 && report.acknowledged_tick < report.tick);
    for (it, distance, tier) in [(0, 10_000, "near"), (1, 50_000, "middle")].map(|(at, d, tier)| {
        (report.entities.iter().find(|it| it.entity == seen[at]).expect("listed"), d, tier)
    }) {
        assert_eq!((it.kind.as_deref(), it.tier.as_deref()), (Some("player"), Some(tier)));
        assert!(it.distance_cm.is_some_and(|it| (distance - 3..=distance + 3).contains(&it)));
        assert!(it.slot.is_some() && it.pace_hz.is_some() && !it.why.is_empty(), "{it:?}");
        assert_eq!(it.in_snapshot, it.reason == "told");
    }
    game.end();
}

#[test]
fn an_entity_is_explained_whether_it_is_seen_or_not() {
    let mut game = game("explain-one", &[0, 100, 5_000]);
    pump_until(&mut game.players, "the first sees the second and has said so", |players| {
        players[0].client.world().visible() == 1 && players[0].client.world().tick() > 60
    });
    let [own, near, far] = [0, 1, 2].map(|place| entity(&game.players[place]));
    let mut reason = |asked: EntityId| {
        let report = game.ask(100, Some(asked)).expect("an explanation");
        assert_eq!((report.entities.len(), report.entities[0].entity), (1, asked.0));
        report.entities[0].reason.clone()
    };
    assert_eq!(reason(own), "own");
    assert_eq!(reason(near), "nothing_new");
    assert_eq!(reason(far), "out_of_sight");
    let error = game.ask(100, Some(EntityId::from_parts(9, 9))).expect_err("nobody");
    assert!(error.contains("no such entity"), "{error}");
    let error = game.ask(7, None).expect_err("a stranger");
    assert!(error.contains("player 7 is not on this server. 3 are: 10"), "{error}");
    game.end();
}

#[test]
fn a_player_who_moves_from_shard_to_shard_is_found_wherever_it_is() {
    let mut game = game("explain-moves", &[0, 1, 2, 3]);
    let mut shards = std::collections::BTreeSet::new();
    for round in 0..12 {
        game.server.shift(round % SHARDS, (round + 1) % SHARDS, 4);
        for _ in 0..4 {
            let report = game.ask(100, None).expect("an explanation");
            assert_eq!(report.entity, entity(&game.players[0]).0);
            shards.insert(report.shard);
        }
    }
    assert_eq!(shards.len(), SHARDS, "it never moved");
    game.end();
}

#[test]
fn more_questions_than_one_at_a_time_are_all_answered_and_a_stuck_shard_is_no_reason_to_hang() {
    let mut game = game("explain-many", &[0, 1, 2]);
    let socket = game.socket();
    let answers = game.meanwhile({
        let socket = socket.clone();
        move || {
            let ask = |n: u64| {
                let socket = socket.clone();
                thread::spawn(move || admin::explain(&socket, 100 + n % 3, None))
            };
            let asked: Vec<_> = (0..12).map(ask).collect();
            asked.into_iter().map(|it| it.join().expect("no panic")).collect::<Vec<_>>()
        }
    });
    for (n, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer.map(|report| report.player), Ok(100 + n as u64 % 3));
    }
    (0..SHARDS).for_each(|shard| game.server.inject(shard, Fault::Stall(Duration::from_secs(2))));
    thread::sleep(Duration::from_millis(50));
    let error = game.ask(100, None).expect_err("nobody is there to answer");
    assert!(error.contains("no answer"), "{error}");
    pump_until(&mut game.players, "the shards are back", |players| {
        players.iter().all(|player| player.client.state() == State::InWorld)
    });
    thread::sleep(Duration::from_secs(1));
    assert!(game.ask(100, None).is_ok(), "the late answer is nobody's");
    game.end();
}

#[test]
fn the_command_prints_a_table_json_or_one_error() {
    let mut game = game("explain-command", &[0, 100]);
    pump_until(&mut game.players, "they see each other", |players| {
        players.iter().all(|player| player.client.world().visible() == 1)
    });
    let output = game.command(&["--player", "100"]);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let other = entity(&game.players[1]).0.to_string();
    assert!(output.status.success() && text.starts_with("player 100 is entity"), "{text}");
    let line = text.lines().last().expect("a table");
    assert!(line.trim_start().starts_with(&other) && line.contains("100.0 m"), "{text}");
    let output = game.command(&["--player", "100", "--entity", &other, "--json"]);
    let json = String::from_utf8(output.stdout).expect("UTF-8");
    let report = ExplainReport::from_json(&json).expect("JSON");
    assert_eq!(report.entities.len(), 1);
    for arguments in [&["--player", "7"][..], &["--player", "100", "--entity", "5"]] {
        let output = game.command(arguments);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{arguments:?}");
        assert!(output.stderr.starts_with(b"error: "), "{arguments:?}");
    }
    game.end();
}
