//! A shard of a real server fails: its players are told and come back, the others play on.

mod players;

use players::{Folder, Player, config, end, pump_until, start, stats};
use std::collections::BTreeMap;
use std::time::Duration;
use tidelock::client::{CloseReason, State};
use tidelock::config::{Config, ShardCount};
use tidelock::keys::BackendKeys;
use tidelock::metrics::Counter;
use tidelock::server::Server;
use tidelock::shard::Fault;
use tidelock::state::Kind;
use tidelock::units::{EntityId, MAP_XY};
use tidelock::wire::DisconnectReason;

const SHARDS: usize = 3;
const NPCS: u32 = 30;

fn settings(folder: &Folder) -> Config {
    let mut config = config(folder);
    config.server.shards = ShardCount::Count(SHARDS as u16);
    config.server.oversubscribe = true;
    config.world.npcs = NPCS;
    config.world.entities += NPCS;
    config
}

fn server(folder: &Folder) -> (Server, BackendKeys) {
    start(settings(folder))
}

fn join(server: &Server, keys: &BackendKeys, players: std::ops::Range<u64>) -> Vec<Player> {
    let place = |n: u64| [400_000 + 300 * n as i32, 400_000, 0];
    players.map(|n| Player::new(keys, server.address, 100 + n, place(n))).collect()
}

fn is_told(player: &Player) -> bool {
    let told = State::Closed(CloseReason::Disconnected(DisconnectReason::ShardLost));
    player.client.state() == told
}

/// Other players in sight; there are NPCs, too.
fn players_seen(player: &Player) -> usize {
    player.client.world().entities().filter(|seen| seen.kind == Kind::Player).count()
}

fn one_fails(name: &str, fault: Fault) {
    let folder = Folder::new(name);
    let (server, keys) = server(&folder);
    let mut all = join(&server, &keys, 0..6);
    pump_until(&mut all, "six players on three shards see each other", |players| {
        players.iter().all(|p| players_seen(p) == 5)
    });
    server.inject(1, fault);
    pump_until(&mut all, "the players of the shard are told", |players| {
        players.iter().filter(|player| is_told(player)).count() == 2
    });
    let mut survivors: Vec<_> = all.into_iter().filter(|player| !is_told(player)).collect();
    let ticks = |players: &[Player]| -> Vec<_> {
        players.iter().map(|player| player.client.world().tick()).collect()
    };
    let before = ticks(&survivors);
    pump_until(&mut survivors, "the others get snapshots and forget the lost", |players| {
        let moved = ticks(players).iter().zip(&before).all(|(now, before)| *now > before + 30);
        moved && players.iter().all(|p| players_seen(p) == 3)
    });
    assert_eq!(survivors.len(), 4);
    assert!(survivors.iter().all(|p| p.client.state() == State::InWorld));
    survivors.extend(join(&server, &keys, 10..12));
    pump_until(&mut survivors, "two come back, to the replacement, and all see all", |players| {
        players.iter().all(|p| players_seen(p) == 5)
    });
    let stats = stats(&server);
    let lost = [Counter::ShardsLost, Counter::NpcsRespawned].map(|counter| stats.counter(counter));
    assert_eq!(lost, [1, 10]);
    assert_eq!(stats.counter(Counter::Entities), 6 + u64::from(NPCS), "all NPCs live again");
    assert!(survivors.iter().all(|p| p.client.statistics().errors_total() == 0));
    end(server);
}

/// The NPCs that a player sees, by what it was told of them, if it was told of all of them and of
/// nobody else.
fn named(player: &Player) -> Option<BTreeMap<String, EntityId>> {
    let seen = player.client.world().entities().filter(|seen| seen.kind == Kind::Npc);
    let named = seen.map(|seen| {
        let words = player.client.description(seen.entity)?.to_vec();
        Some((String::from_utf8(words).expect("text"), seen.entity))
    });
    let named = named.collect::<Option<BTreeMap<_, _>>>()?;
    (named.len() == player.client.described().count()).then_some(named)
}

#[test]
fn players_know_npcs_in_sight_by_name_and_those_who_take_their_place() {
    let folder = Folder::new("names");
    let mut settings = settings(&folder);
    settings.interest.npc = MAP_XY;
    let (server, keys) = start(settings);
    let mut all = join(&server, &keys, 0..6);
    let know_all = |players: &[Player]| {
        players.iter().all(|it| named(it).is_some_and(|named| named.len() == NPCS as usize))
    };
    pump_until(&mut all, "everybody is told of all, whose shard it ever is", |all| know_all(all));
    let before = named(&all[0]).expect("all are known");
    assert!(all.iter().all(|player| named(player).as_ref() == Some(&before)));
    assert!(before.contains_key("Alva the baker, house 1"), "{before:?}");
    server.inject(1, Fault::Panic);
    pump_until(&mut all, "the players of the shard are told", |players| {
        players.iter().filter(|player| is_told(player)).count() == 2
    });
    all.retain(|player| !is_told(player));
    all.extend(join(&server, &keys, 10..12));
    let stays = |now: &BTreeMap<_, _>| now.iter().filter(|it| before[it.0] == *it.1).count();
    pump_until(&mut all, "others have taken the place of those who are gone", |all| {
        let have_moved = |it: &Player| named(it).is_some_and(|now| stays(&now) == 20);
        know_all(all) && all.iter().all(have_moved)
    });
    assert!(all.iter().all(|player| player.client.statistics().errors_total() == 0));
    server.stop();
    server.join().expect("an orderly end");
}

#[test]
fn players_who_are_moved_to_and_fro_play_on() {
    let folder = Folder::new("moves");
    let (server, keys) = server(&folder);
    let mut all = join(&server, &keys, 0..6);
    pump_until(&mut all, "six players on three shards see each other", |players| {
        players.iter().all(|p| players_seen(p) == 5)
    });
    let handed_over = || {
        let stats = stats(&server);
        (stats.counter(Counter::HandedOver), stats.dropped)
    };
    for round in 0..6 {
        let (from, to) = (round % 3, (round + 1) % 3);
        let before = handed_over().0;
        server.shift(from, to, 2);
        let mut turns = 0;
        pump_until(&mut all, "somebody moves, and everybody goes on seeing everybody", |players| {
            turns += 1;
            let moved = turns % 50 == 0 && handed_over().0 > before;
            moved && players.iter().all(|p| players_seen(p) == 5)
        });
    }
    let ticks: Vec<_> = all.iter().map(|p| p.client.world().tick()).collect();
    pump_until(&mut all, "everybody gets snapshots", |players| {
        players.iter().zip(&ticks).all(|(p, before)| p.client.world().tick() > before + 30)
    });
    assert!(all.iter().all(|p| p.client.state() == State::InWorld));
    assert!(all.iter().all(|p| p.client.statistics().errors_total() == 0));
    let (moves, dropped) = handed_over();
    assert!(moves >= 6, "{moves} moves");
    for reason in ["open", "replay", "unknown_connection", "malformed", "queue_full"] {
        assert_eq!(dropped[reason], 0, "{reason}");
    }
    end(server);
}

#[test]
fn who_just_moved_and_knows_only_the_former_id_is_told_that_the_shard_is_lost() {
    let folder = Folder::new("unaware");
    let (server, keys) = server(&folder);
    let mut all = join(&server, &keys, 0..6);
    pump_until(&mut all, "six players on three shards see each other", |players| {
        players.iter().all(|p| players_seen(p) == 5)
    });
    server.shift(0, 1, 2);
    // Nobody reads meanwhile, and what came of the move is lost.
    for _ in 0..200 {
        if stats(&server).counter(Counter::HandedOver) == 2 {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(stats(&server).counter(Counter::HandedOver), 2);
    all.iter_mut().for_each(Player::lose_arrivals);
    server.inject(1, Fault::Panic);
    pump_until(&mut all, "the players of the shard are told, those who came last as well", |all| {
        all.iter().filter(|player| is_told(player)).count() == 4
    });
    end(server);
}

#[test]
fn a_shard_that_panics_is_replaced_and_the_others_play_on() {
    one_fails("panic", Fault::Panic);
}

#[test]
fn a_shard_that_stands_still_is_replaced_and_the_others_play_on() {
    one_fails("stall", Fault::Stall(Duration::from_secs(2)));
}
