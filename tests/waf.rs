//! Who breaks the rules under real keys, on real sockets: held to its limits, ended, refused,
//! listed, lifted; and the honest players beside it, who notice nothing.

mod players;
mod rogue;

use players::{Folder, Player, config, end, pump_until, start, stats};
use rogue::Rogue;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use tidelock::admin::{WafRequest, waf_order};
use tidelock::client::{CloseReason, State};
use tidelock::config::ShardCount;
use tidelock::crypto::integrity::KeyTable;
use tidelock::host::entropy::SeededEntropy;
use tidelock::keys::{BackendKeys, load_key_table, save_key_table};
use tidelock::metrics::{Counter, DropReason};
use tidelock::report::Stats;
use tidelock::report::waf::WafReport;
use tidelock::server::Server;
use tidelock::swarm::{Plan, SwarmConfig, conduct};
use tidelock::time::Entropy;
use tidelock::wire::{Channel, ControlMessage, DisconnectReason, InputFrame, Status};

/// A server and its honest players, who walk about all the time.
struct Scene {
    server: Server,
    keys: BackendKeys,
    folder: Folder,
    honest: Vec<Player>,
    /// Snapshots that they had when all were in the world.
    before: Vec<u64>,
    /// Ticks that the server had done then.
    since: u64,
    last: Instant,
}

impl Scene {
    fn new(name: &str, settings: impl FnOnce(&mut tidelock::config::Config)) -> Self {
        let folder = Folder::new(name);
        let mut config = config(&folder);
        settings(&mut config);
        let (server, keys) = start(config);
        let honest: Vec<_> = (0..4)
            .map(|n| Player::new(&keys, server.address, 100 + n, [400_000, 400_000, 0]))
            .collect();
        let now = Instant::now();
        let mut scene =
            Self { server, keys, folder, honest, before: Vec::new(), since: 0, last: now };
        scene.until("all honest players are in", |scene| {
            scene.honest.iter().all(|it| it.client.state() == State::InWorld)
        });
        scene.before = scene.honest.iter().map(snapshots).collect();
        scene.since = scene.stats().counter(Counter::Ticks);
        scene
    }

    /// Plays on for a moment.
    fn play(&mut self) {
        if self.last.elapsed() >= Duration::from_millis(16) {
            self.last += Duration::from_millis(16);
            for player in &mut self.honest {
                let east = InputFrame { move_x: 127, ..InputFrame::default() };
                player.client.set_input(east);
            }
        }
        self.honest.iter_mut().for_each(Player::pump);
    }

    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let start = Instant::now();
        while !done(self) {
            assert!(start.elapsed() < Duration::from_secs(20), "in vain: {what}");
            self.play();
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn stats(&self) -> Stats {
        stats(&self.server)
    }

    fn dropped(&self, reason: DropReason) -> u64 {
        self.stats().dropped[reason.name()]
    }

    /// `tidelock waf` with these words.
    fn waf(&mut self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidelock"));
        let port = self.server.address.port().to_string();
        command.arg("waf").args(words).args(["--port", &port, "--run-dir"]).arg(&self.folder.0);
        let child = command.stdout(std::process::Stdio::piped());
        let mut child = child.stderr(std::process::Stdio::piped()).spawn().expect("it starts");
        self.until("the command ends", |_| child.try_wait().expect("a child").is_some());
        child.wait_with_output().expect("a child")
    }

    fn list(&mut self) -> WafReport {
        let output = self.waf(&["list", "--json"]);
        assert!(output.status.success());
        WafReport::from_json(&String::from_utf8(output.stdout).expect("text")).expect("JSON")
    }

    /// Honest players are in the world, without a fault on either side, and were told as often as
    /// ever: a snapshot for each of most ticks, on however slow a machine.
    fn nobody_else_noticed(&mut self) {
        let sent: Vec<_> = self.honest.iter().map(|it| it.client.next_input() - 1).collect();
        self.until("every input of honest players was applied", |scene| {
            let worlds = scene.honest.iter().map(|it| it.client.world().last_processed_input());
            worlds.zip(&sent).all(|(processed, &sent)| processed >= sent)
        });
        let ticks = self.stats().counter(Counter::Ticks) - self.since;
        for (player, before) in self.honest.iter().zip(&self.before) {
            let statistics = player.client.statistics();
            assert_eq!(player.client.state(), State::InWorld);
            assert_eq!(statistics.errors_total(), 0);
            let told = snapshots(player) - before;
            assert!(told > ticks / 2, "{told} snapshots in {ticks} ticks");
        }
    }

    fn end(self) {
        end(self.server);
    }
}

fn snapshots(player: &Player) -> u64 {
    player.client.statistics().snapshots.into()
}

/// Sends random bytes under its keys until the server has had enough. What it was told then.
fn rave(scene: &mut Scene, rogue: &mut Rogue, seed: u64) -> ControlMessage {
    println!("seed {seed}");
    let mut random = SeededEntropy(seed);
    let mut last_word = None;
    scene.until("the server has had enough", |_| {
        let mut bytes = [0; 64];
        random.fill(&mut bytes);
        let length = usize::from(bytes[0] % 60);
        rogue.say(Channel::ALL[usize::from(bytes[1] % 4)], |writer| {
            writer.slice(&bytes[2..2 + length]);
        });
        let heard = rogue.hear().into_iter().flat_map(|(_, messages)| messages);
        let is_last = |it: &ControlMessage| matches!(it, ControlMessage::Disconnect { .. });
        last_word = last_word.or(heard.into_iter().find(is_last));
        last_word.is_some()
    });
    last_word.expect("just heard")
}

#[test]
fn who_sends_nonsense_under_valid_keys_is_ended_cools_down_is_listed_lifted_and_joins_again() {
    let mut scene = Scene::new("waf-rave", |_| {});
    let (keys, address) = (scene.keys.clone(), scene.server.address);
    let mut rogue = Rogue::join(&keys, address, 7).map_err(|it| it.status).expect("a good token");
    rogue.enter();
    let reason = DisconnectReason::Violation;
    let last_word = rave(&mut scene, &mut rogue, 1);
    assert_eq!(last_word, ControlMessage::Disconnect { reason, retry_s: 60 });
    let refused = Rogue::join(&keys, address, 7).map(drop).expect_err("it cools down");
    assert_eq!(refused.status, Status::Banned);
    assert!((50..=60).contains(&refused.retry_s), "{}", refused.retry_s);
    let stats = scene.stats();
    assert_eq!(stats.counter(Counter::Violations), 1);
    assert_eq!(stats.counter(Counter::CoolDowns), 1);
    assert_eq!(stats.dropped[DropReason::CoolDown.name()], 1);
    assert_eq!(stats.counter(Counter::Players), 4);

    let listed = scene.list();
    let [offender] = &listed.cool_downs[..] else { panic!("{listed:?}") };
    assert_eq!((offender.player, offender.offences, listed.barred), (7, 1, 1));
    assert_eq!((offender.cause.as_str(), listed.limit), ("violations", 100));
    assert!(offender.seconds_left.is_some_and(|left| left <= 60));
    assert_eq!(listed.worst, [], "honest players have no score");
    let text = String::from_utf8(scene.waf(&["list"]).stdout).expect("text");
    assert!(text.contains("1 may not play") && text.contains("violations"), "{text}");

    assert!(scene.waf(&["lift", "7"]).status.success());
    let again = scene.waf(&["lift", "7"]);
    assert!(!again.status.success() && String::from_utf8_lossy(&again.stderr).contains("neither"));
    let mut rogue = Rogue::join(&keys, address, 7).map_err(|it| it.status).expect("it was lifted");
    rogue.enter();
    scene.nobody_else_noticed();
    assert_eq!(scene.list().barred, 0);
    scene.end();
}

#[test]
fn a_client_at_ten_times_the_rate_is_held_to_it_and_the_others_play_on() {
    let mut scene = Scene::new("waf-fast", |_| {});
    let (keys, address) = (scene.keys.clone(), scene.server.address);
    let mut rogue = Rogue::join(&keys, address, 7).map_err(|it| it.status).expect("a good token");
    rogue.enter();
    let (start, mut sent) = (Instant::now(), 0);
    scene.until("three seconds have passed", |_| {
        let due = start.elapsed().as_millis() as u32 * 12 / 10;
        while sent < due {
            sent += 1;
            rogue.input(sent);
        }
        rogue.hear();
        start.elapsed() > Duration::from_secs(3)
    });
    let stats = scene.stats();
    let refused = stats.dropped[DropReason::PacketRate.name()];
    assert!(refused > u64::from(sent) / 3, "{refused} of {sent}");
    assert_eq!((stats.counter(Counter::Violations), stats.counter(Counter::Players)), (0, 5));
    scene.nobody_else_noticed();
    scene.end();
}

#[test]
fn messages_beyond_their_budget_end_a_session_and_the_list_shows_who_is_near_it() {
    let mut scene = Scene::new("waf-ping", |config| {
        config.waf.messages_per_s.pings = 2;
        config.waf.scores.message_rate = 40;
        config.waf.cool_down_s = 0;
        config.waf.cool_down_max_s = 0;
    });
    let (keys, address) = (scene.keys.clone(), scene.server.address);
    let mut rogue = Rogue::join(&keys, address, 7).map_err(|it| it.status).expect("a good token");
    rogue.enter();
    // Whatever the second, at least two of eight are beyond the budget; at most two count a second.
    let mut nonce = 0;
    scene.until("a ping was too much", |scene| {
        nonce += 1;
        rogue.control(ControlMessage::Ping { nonce });
        std::thread::sleep(Duration::from_millis(20));
        scene.dropped(DropReason::MessageRate) > 0
    });
    let worst = scene.list().worst;
    assert_eq!((worst[0].player, worst[0].shard), (7, 1));
    assert!((20..=40).contains(&worst[0].score) && worst[0].violations == 1, "{worst:?}");
    scene.until("the session ends", |scene| {
        nonce += 1;
        rogue.control(ControlMessage::Ping { nonce });
        scene.stats().counter(Counter::Violations) == 1
    });
    let again = Rogue::join(&keys, address, 7);
    again.map_err(|it| it.status).expect("there are no cool-downs").enter();
    scene.nobody_else_noticed();
    scene.end();
}

#[test]
fn who_comes_back_in_time_does_not_get_rid_of_its_score() {
    let mut scene = Scene::new("waf-score", |config| {
        config.waf.scores.message = 30;
        config.waf.scores.decay_per_s = 0;
    });
    let (keys, address) = (scene.keys.clone(), scene.server.address);
    let join = |player| {
        let rogue = Rogue::join(&keys, address, player).map_err(|it| it.status);
        let mut rogue = rogue.expect("a good token");
        rogue.enter();
        rogue
    };
    let break_a_rule = |rogue: &mut Rogue| {
        rogue.say(Channel::Control, |writer| writer.slice(&[1, 0, 99]));
    };
    for (player, leaves) in [(7, false), (8, true)] {
        let mut rogue = join(player);
        (0..3).for_each(|_| break_a_rule(&mut rogue));
        scene.until("it is near the limit", |scene| {
            let worst = scene.list().worst;
            worst.iter().any(|it| (it.player, it.score) == (player, 90))
        });
        if leaves {
            let reason = DisconnectReason::TimedOut;
            rogue.control(ControlMessage::Disconnect { reason, retry_s: 0 });
            scene.until("its entity is left", |scene| {
                scene.stats().counter(Counter::Lingering) == 1
            });
        }
        let mut again = join(player);
        break_a_rule(&mut again);
        let mut heard = Vec::new();
        scene.until("that was once too often", |_| {
            heard.extend(again.hear().into_iter().flat_map(|(_, messages)| messages));
            heard.iter().any(|it| matches!(it, ControlMessage::Disconnect { .. }))
        });
        let refused = Rogue::join(&keys, address, player).map(drop).expect_err("it cools down");
        assert_eq!(refused.status, Status::Banned);
    }
    scene.nobody_else_noticed();
    scene.end();
}

#[test]
fn a_ban_ends_its_player_wherever_it_is_between_two_shards() {
    let folder = Folder::new("waf-moves");
    let mut config = config(&folder);
    config.server.shards = ShardCount::Count(2);
    config.server.oversubscribe = true;
    (config.world.players, config.world.entities) = (2_000, 2_000);
    config.limits.trusted_sources = vec!["127.0.0.0/8".to_owned()];
    let (server, keys) = start(config);
    let place = [400_000, 400_000, 0];
    let mut players: Vec<_> =
        (0..28).map(|n| Player::new(&keys, server.address, 100 + n, place)).collect();
    pump_until(&mut players, "all are inside", |players| {
        players.iter().all(|it| it.client.state() == State::InWorld)
    });
    let socket = server.run_dir.admin_socket(server.address.port());
    for number in 0..24 {
        // All are moved at once, and each ban comes at another moment of the way.
        server.shift(0, 1, 28);
        server.shift(1, 0, 28);
        let begun = Instant::now();
        pump_until(&mut players, "a moment", |_| begun.elapsed().as_millis() >= 10 + 2 * number);
        let banned = 100 + number as u64;
        let done = waf_order(&socket, WafRequest::Ban(banned, None)).expect("it is carried out");
        assert_eq!((done.player, done.sessions), (banned, 1));
        pump_until(&mut players, "the banned one is told", |players| {
            let told = State::Closed(CloseReason::Disconnected(DisconnectReason::Banned));
            players[0].client.state() == told
        });
        players.remove(0);
        let refused = Rogue::join(&keys, server.address, banned).map(drop).expect_err("banned");
        assert_eq!(refused.status, Status::Banned);
    }
    let stats = stats(&server);
    let left = [Counter::Players, Counter::Sessions, Counter::Entities];
    assert_eq!(left.map(|counter| stats.counter(counter)), [4, 4, 4]);
    assert!(stats.counter(Counter::HandedOver) >= 200, "they were moved");
    assert!(players.iter().all(|it| it.client.state() == State::InWorld));
    assert!(players.iter().all(|it| it.client.statistics().errors_total() == 0));
    end(server);
}

#[test]
fn the_operator_bans_and_kicks() {
    let mut scene = Scene::new("waf-ban", |config| config.waf.banned = vec![66]);
    let (keys, address) = (scene.keys.clone(), scene.server.address);
    let refusal = Rogue::join(&keys, address, 66).map(drop).expect_err("banned by the settings");
    assert_eq!((refusal.status, refusal.retry_s), (Status::Banned, 0));
    let output = scene.waf(&["ban", "100", "--for", "2h", "--json"]);
    let answer = String::from_utf8(output.stdout).expect("text");
    assert_eq!(answer.trim(), r#"{"player":100,"done":"banned","sessions":1}"#);
    let told = |reason| State::Closed(CloseReason::Disconnected(reason));
    scene.until("the banned one is told", |scene| {
        scene.honest[0].client.state() == told(DisconnectReason::Banned)
    });
    let refusal = Rogue::join(&keys, address, 100).map(drop).expect_err("banned");
    assert_eq!(refusal.status, Status::Banned);
    assert!((7_100..=7_200).contains(&refusal.retry_s), "{}", refusal.retry_s);
    assert_eq!(scene.dropped(DropReason::Banned), 2);

    let output = scene.waf(&["kick", "101", "--reason", "maintenance"]);
    assert_eq!(output.stdout, b"player 101: kicked; its session ends\n");
    scene.until("the kicked one is told", |scene| {
        scene.honest[1].client.state() == told(DisconnectReason::Maintenance)
    });
    Rogue::join(&keys, address, 101).map_err(|it| it.status).expect("it may come back").enter();
    let output = scene.waf(&["kick", "5"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("not on this server"));
    assert!(!scene.waf(&["kick", "101", "--reason", "boredom"]).status.success());
    let mut listed: Vec<_> = scene.list().cool_downs.iter().map(|it| it.player).collect();
    listed.sort_unstable();
    assert_eq!(listed, [66, 100]);
    assert!(scene.waf(&["unban", "66"]).status.success());
    Rogue::join(&keys, address, 66).map_err(|it| it.status).expect("it was lifted").enter();
    scene.honest.drain(..2);
    scene.before.drain(..2);
    scene.nobody_else_noticed();
    scene.end();
}

#[test]
fn clients_of_a_build_with_keys_are_asked_and_those_without_play_on_all_the_same() {
    let folder = Folder::new("waf-keys");
    let table = KeyTable::generate(1001, 16, &mut SeededEntropy(3));
    let other = KeyTable::generate(1002, 16, &mut SeededEntropy(4));
    let paths = [&table, &other].map(|table| {
        let path = folder.0.join(format!("integrity-{}.toml", table.build()));
        save_key_table(table, &path).expect("writable");
        path
    });
    let table = Arc::new(load_key_table(&paths[0]).expect("just written"));
    let mut scene = Scene::new("waf-integrity", |config| {
        config.waf.integrity.tables = paths.to_vec();
        config.waf.integrity.interval_s = 5;
        config.waf.integrity.patience_s = 2;
        config.waf.scores.decay_per_s = 0;
    });
    // Build 0 has no keys, so the honest players of the scene are not asked.
    let mut asked: Vec<_> = [(Some(&table), 1001), (None, 1001), (Some(&table), 1002)]
        .into_iter()
        .zip(200..)
        .map(|((table, build), number)| {
            let mut player = Player::of_build(build, &scene.keys, scene.server.address, number);
            if let Some(table) = table {
                player.client.set_key_table(Arc::clone(table));
            }
            player
        })
        .collect();
    let (mut last, mut looked) = (scene.stats(), Instant::now());
    scene.until("each kind of answer has come twice", |scene| {
        asked.iter_mut().for_each(Player::pump);
        if looked.elapsed() > Duration::from_millis(100) {
            (last, looked) = (scene.stats(), Instant::now());
        }
        last.counter(Counter::IntegrityPassed) >= 2
            && last.counter(Counter::IntegrityUnanswered) >= 2
            && last.dropped[DropReason::Integrity.name()] >= 2
    });
    assert!(asked.iter().all(|it| it.client.state() == State::InWorld));
    assert!(asked.iter().all(|it| it.client.statistics().errors_total() == 0));
    let listed = scene.list();
    let suspects: Vec<_> = listed.worst.iter().map(|it| it.player).collect();
    assert!(suspects.contains(&201) && suspects.contains(&202), "{listed:?}");
    assert_eq!((suspects.len(), listed.barred), (2, 0), "who answers rightly has no score");
    asked.clear();
    scene.nobody_else_noticed();
    scene.end();
}

#[test]
fn bots_that_have_the_keys_of_their_build_answer_all_that_they_are_asked() {
    let folder = Folder::new("waf-bots");
    let path = folder.0.join("integrity-1001.toml");
    let table = KeyTable::generate(1001, 16, &mut SeededEntropy(5));
    save_key_table(&table, &path).expect("writable");
    let mut settings = config(&folder);
    settings.waf.integrity.tables = vec![path.clone()];
    settings.waf.integrity.interval_s = 5;
    settings.waf.integrity.patience_s = 2;
    let (server, keys) = start(settings);
    let table = Some(Arc::new(load_key_table(&path).expect("just written")));
    let bots = SwarmConfig { integrity: table, ..SwarmConfig::new(server.address, keys, 8) };
    let plan = Plan { warm_up: Duration::ZERO, measure: Duration::from_secs(9) };
    let (mut ask, never) = (|_| Some(stats(&server)), AtomicBool::new(false));
    let run = conduct(&bots, &[], plan, &mut ask, &never, &mut |_| {}).expect("bots play");
    assert_eq!(run.closed, 0);
    let stats = stats(&server);
    let [asked, passed, unanswered] =
        [Counter::IntegrityAsked, Counter::IntegrityPassed, Counter::IntegrityUnanswered]
            .map(|counter| stats.counter(counter));
    assert!(passed >= 8 && asked >= passed, "{passed} of {asked}");
    assert_eq!((unanswered, stats.dropped[DropReason::Integrity.name()]), (0, 0));
    end(server);
}
