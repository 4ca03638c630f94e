//! Players who vanish and come back, on real sockets: same entity, same place, as long as the
//! server waits for them.

mod players;

use players::{Folder, Pace, Player, config, end, pump_until, start, stats};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tidelock::client::{CloseReason, State, Ticket};
use tidelock::config::ShardCount;
use tidelock::keys::BackendKeys;
use tidelock::metrics::Counter;
use tidelock::units::EntityId;
use tidelock::wire::{Denial, DisconnectReason, InputFrame, Status};

const PLACE: [i32; 3] = [400_000, 400_000, 0];
const ELSEWHERE: [i32; 3] = [401_000, 400_000, 0];

fn own(player: &Player) -> (EntityId, [f32; 3]) {
    let own = player.client.world().own().expect("in the world");
    (own.id, own.position)
}

fn is_inside(player: &Player) -> bool {
    player.client.state() == State::InWorld
}

/// `player` joins and walks a little way.
fn walked(keys: &BackendKeys, server: SocketAddr, player: u64) -> Player {
    let mut players = vec![Player::new(keys, server, player, PLACE)];
    pump_until(&mut players, "the player is in the world", |players| is_inside(&players[0]));
    let from = own(&players[0]).1[0];
    let mut pace = Pace::start();
    pump_until(&mut players, "the player walks", |players| {
        if pace.is_due() {
            let east = InputFrame { move_x: 127, move_y: 0, yaw: 0, buttons: 0 };
            players[0].client.set_input(east);
        }
        own(&players[0]).1[0] > from + 150.0
    });
    let mut rest = Instant::now();
    let mut at = own(&players[0]).1;
    pump_until(&mut players, "the player stands still", |players| {
        if own(&players[0]).1 != at {
            (at, rest) = (own(&players[0]).1, Instant::now());
        }
        let has_ticket = players[0].client.resume_ticket().is_some();
        has_ticket && rest.elapsed() > Duration::from_millis(700)
    });
    players.remove(0)
}

fn ticket(player: &Player) -> Ticket {
    player.client.resume_ticket().expect("the server has sent one")
}

#[test]
fn a_newer_login_takes_over_the_entity_of_the_older_one() {
    let folder = Folder::new("takes-over");
    let mut config = config(&folder);
    config.server.shards = ShardCount::Count(2);
    config.server.oversubscribe = true;
    let (server, keys) = start(config);
    let mut players = vec![walked(&keys, server.address, 7)];
    let ((entity, position), older) = (own(&players[0]), ticket(&players[0]));
    players.push(Player::new(&keys, server.address, 7, ELSEWHERE));
    pump_until(&mut players, "the second is in, the first is told", |players| {
        let told = State::Closed(CloseReason::Disconnected(DisconnectReason::Replaced));
        players[0].client.state() == told && is_inside(&players[1])
    });
    assert_eq!(own(&players[1]), (entity, position));
    let mut pace = Pace::start();
    pump_until(&mut players, "the newer session moves it", |players| {
        if pace.is_due() {
            let west = InputFrame { move_x: -127, move_y: 0, yaw: 0, buttons: 0 };
            players[1].client.set_input(west);
        }
        own(&players[1]).1[0] < position[0] - 50.0
    });
    players.push(Player::with(&older, "127.0.0.1:0", server.address));
    pump_until(&mut players, "the ticket of the older session takes nothing back", |players| {
        let denied = players[2].client.denied().map(|denied| denied.reason);
        denied == Some(Denial::TokenUsed)
    });
    assert!(is_inside(&players[1]));
    let stats = stats(&server);
    assert_eq!(stats.counter(Counter::Replaced), 1);
    assert_eq!((stats.counter(Counter::Players), stats.counter(Counter::Entities)), (1, 1));
    assert_eq!(players[1].client.statistics().errors_total(), 0);
    end(server);
}

#[test]
fn who_vanished_is_found_where_he_was_until_time_is_over() {
    let folder = Folder::new("vanished");
    let mut config = config(&folder);
    config.server.shards = ShardCount::Count(2);
    config.server.oversubscribe = true;
    config.world.linger_s = 4;
    let (server, keys) = start(config);
    let vanishing = [1, 2].map(|player| walked(&keys, server.address, player));
    let [before, lost] = [0, 1].map(|place| own(&vanishing[place]));
    let ticket = ticket(&vanishing[0]);
    drop(vanishing);
    let mut players = vec![Player::new(&keys, server.address, 9, PLACE)];
    let mut asked = Instant::now();
    pump_until(&mut players, "both sessions time out, and both entities stay", |players| {
        let is_time = asked.elapsed() > Duration::from_millis(200);
        if is_time {
            asked = Instant::now();
        }
        is_time
            && stats(&server).counter(Counter::Lingering) == 2
            && players[0].client.world().visible() == 2
    });
    assert_eq!(stats(&server).counter(Counter::Sessions), 1);
    players.push(Player::with(&ticket, "127.0.0.1:0", server.address));
    pump_until(&mut players, "one comes back with his ticket", |players| is_inside(&players[1]));
    assert_eq!(own(&players[1]), before);
    pump_until(&mut players, "nobody waits for the other any more", |players| {
        players[0].client.world().visible() == 1
    });
    players.push(Player::new(&keys, server.address, 2, ELSEWHERE));
    pump_until(&mut players, "he comes too late", |players| is_inside(&players[2]));
    assert_ne!(own(&players[2]).0, lost.0);
    assert_eq!(own(&players[2]).1, ELSEWHERE.map(|axis| axis as f32));
    let stats = stats(&server);
    let [resumed, expired, lingering] =
        [Counter::Resumed, Counter::LingerExpired, Counter::Lingering].map(|it| stats.counter(it));
    assert_eq!((resumed, expired, lingering), (1, 1, 0));
    assert_eq!(stats.counter(Counter::TicketsUsed), 1);
    for player in &mut players[1..] {
        player.client.leave(player.clock.now());
    }
    let left = Instant::now();
    pump_until(&mut players, "who leaves is gone at once", |players| {
        players[0].client.world().visible() == 0
    });
    assert!(left.elapsed() < Duration::from_secs(2), "{:?}", left.elapsed());
    end(server);
}

#[test]
fn a_killed_client_comes_back_with_its_ticket_and_nobody_else_does() {
    let folder = Folder::new("ticket");
    let (server, keys) = start(config(&folder));
    let killed = walked(&keys, server.address, 7);
    let (ticket, before) = (ticket(&killed), own(&killed));
    drop(killed);
    let again = |ticket: &Ticket| Player::with(ticket, "127.0.0.1:0", server.address);
    let mut guess = ticket.clone();
    guess.psk[0] ^= 1;
    let mut players = vec![again(&guess)];
    let begun = Instant::now();
    pump_until(&mut players, "who has the ticket and not the secret knocks in vain", |_| {
        begun.elapsed() > Duration::from_millis(800)
    });
    assert_eq!((players[0].client.state(), players[0].client.denied()), (State::Connecting, None));
    players.push(again(&ticket));
    pump_until(&mut players, "it is back long before the server would notice", |players| {
        is_inside(&players[1]) && players[1].client.resume_ticket().is_some()
    });
    assert_eq!(own(&players[1]), before);
    players.push(again(&ticket));
    pump_until(&mut players, "a ticket that was used is of no use", |players| {
        let denied = players[2].client.denied().map(|denied| denied.reason);
        denied == Some(Denial::TokenUsed)
    });
    assert_eq!(players[2].client.state(), State::Connecting, "which nobody has proven");
    assert!(is_inside(&players[1]));
    let stats = stats(&server);
    assert_eq!((stats.counter(Counter::TicketsUsed), stats.counter(Counter::Replaced)), (1, 1));
    assert_eq!(stats.counter(Counter::Entities), 1);
    end(server);
}

#[test]
fn who_finds_the_world_full_is_told_so_and_gets_in_as_soon_as_there_is_room() {
    let folder = Folder::new("full");
    let mut config = config(&folder);
    (config.world.players, config.world.entities, config.world.linger_s) = (2, 2, 18);
    let (server, keys) = start(config);
    let vanishing = walked(&keys, server.address, 1);
    let kept = ticket(&vanishing);
    let mut players = vec![Player::new(&keys, server.address, 2, PLACE)];
    pump_until(&mut players, "two are inside", |players| is_inside(&players[0]));
    let refused = |players: &mut Vec<Player>, why: &str| {
        players.push(Player::new(&keys, server.address, 3, PLACE));
        let told = State::Closed(CloseReason::Refused(Status::Full));
        pump_until(players, why, |players| players[1].client.state() == told);
        assert_eq!(CloseReason::Refused(Status::Full).text(), "The server is full.");
        players.truncate(1);
    };
    refused(&mut players, "two play");
    drop(vanishing);
    pump_until(&mut players, "one lingers", |_| stats(&server).counter(Counter::Lingering) == 1);
    refused(&mut players, "the place of who may come back is kept");
    players.push(Player::with(&kept, "127.0.0.1:0", server.address));
    pump_until(&mut players, "and for him it is", |players| is_inside(&players[1]));
    let now = players[1].clock.now();
    players[1].client.leave(now);
    let waits = || Player::new(&keys, server.address, 3, PLACE);
    players.push(waits());
    pump_until(&mut players, "he leaves for good, and who tries again is in", |players| {
        if matches!(players[2].client.state(), State::Closed(_)) {
            players[2] = waits();
        }
        is_inside(&players[2])
    });
    assert_eq!(players[1].client.state(), State::Closed(CloseReason::Left));
    let stats = stats(&server);
    assert!(stats.dropped["server_full"] >= 2 && stats.counter(Counter::Entities) == 2);
    end(server);
}

#[test]
fn a_crowd_comes_back_at_once_and_everybody_finds_himself() {
    let folder = Folder::new("storm");
    let mut config = config(&folder);
    config.server.shards = ShardCount::Count(2);
    config.server.oversubscribe = true;
    config.limits.trusted_sources = vec!["127.0.0.0/8".to_owned()];
    (config.world.players, config.world.entities) = (100, 100);
    let (server, keys) = start(config);
    let place = |n: u64| [400_000 + 300 * n as i32, 400_000, 0];
    let mut players: Vec<_> =
        (0..60).map(|n| Player::new(&keys, server.address, n, place(n))).collect();
    pump_until(&mut players, "all are inside and have tickets", |players| {
        players.iter().all(|it| is_inside(it) && it.client.resume_ticket().is_some())
    });
    let before: Vec<_> = players.iter().map(own).collect();
    let tickets: Vec<_> = players.iter().map(ticket).collect();
    drop(players);
    let again = |ticket| Player::with(ticket, "127.0.0.1:0", server.address);
    let mut players: Vec<_> = tickets.iter().map(again).collect();
    pump_until(&mut players, "all are back", |players| players.iter().all(is_inside));
    assert_eq!(players.iter().map(own).collect::<Vec<_>>(), before);
    let stats = stats(&server);
    let [used, replaced, entities] =
        [Counter::TicketsUsed, Counter::Replaced, Counter::Entities].map(|it| stats.counter(it));
    assert_eq!((used, replaced, entities), (60, 60, 60));
    assert!(players.iter().all(|it| it.client.statistics().errors_total() == 0));
    end(server);
}
