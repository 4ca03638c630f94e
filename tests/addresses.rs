//! Players on real sockets whose address changes in the middle of the game, and thieves who pretend
//! that one has.

mod players;

use players::{Folder, Player, config, end, pump_until, socket, start, stats};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use tidelock::client::State;
use tidelock::metrics::{Counter, DropReason};
use tidelock::swarm::{Plan, SwarmConfig, conduct};
use tidelock::wire::InputFrame;

/// Half a second.
const GAP_TICKS: u32 = 30;

/// Plays until `ticks` more have been seen by all: an input for each.
fn play(players: &mut [Player], ticks: u32, pump: impl Fn(&mut Player)) {
    let until: Vec<_> = players.iter().map(|p| p.client.world().tick() + ticks).collect();
    let start = Instant::now();
    let mut inputs = 0;
    while players.iter().zip(&until).any(|(player, &tick)| player.client.world().tick() < tick) {
        assert!(start.elapsed() < Duration::from_secs(20), "nothing comes any more");
        if start.elapsed() >= Duration::from_micros(16_667) * inputs {
            inputs += 1;
            let frame = InputFrame { move_x: 100, ..InputFrame::default() };
            players.iter_mut().for_each(|player| _ = player.client.set_input(frame));
        }
        players.iter_mut().for_each(&pump);
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn who_changes_port_and_address_misses_less_than_half_a_second_of_ticks() {
    for io in ["uring", "mmsg"] {
        let folder = Folder::new(&format!("addresses-{io}"));
        let mut settings = config(&folder);
        settings.server.io = io.to_owned();
        let (server, keys) = start(settings);
        let mut players: Vec<_> = (0..4)
            .map(|n| Player::new(&keys, server.address, 100 + n, [400_000, 400_000, 0]))
            .collect();
        pump_until(&mut players, "everybody is in the world", |players| {
            players.iter().all(|player| player.client.state() == State::InWorld)
        });
        play(&mut players, 30, Player::pump);
        // Another port, another address, both, and back to where it began.
        for local in ["127.0.0.1:0", "127.0.0.9:0", "127.9.8.7:0", "127.0.0.1:0"] {
            for player in &mut players {
                player.longest_gap = 0;
                player.change_address(local);
            }
            play(&mut players, 70, Player::pump);
            for player in &players {
                let gap = player.longest_gap;
                assert!(gap <= GAP_TICKS, "{io}, {local}: {gap} ticks without a snapshot");
            }
        }
        // Who has nothing to say is found as well.
        players[0].longest_gap = 0;
        players[0].change_address("127.0.0.10:0");
        let tick = players[0].client.world().tick();
        pump_until(&mut players[..1], "snapshots follow", |players| {
            players[0].client.world().tick() > tick + 30
        });
        assert!(players[0].longest_gap <= GAP_TICKS);
        let counted = stats(&server);
        assert_eq!(counted.counter(Counter::PathChanges), 4 * 4 + 1);
        assert_eq!(counted.counter(Counter::Players), 4);
        for reason in [DropReason::Address, DropReason::Open, DropReason::Malformed] {
            assert_eq!(counted.dropped[reason.name()], 0, "{}", reason.name());
        }
        for player in &players {
            assert_eq!(player.client.statistics().errors_total(), 0);
        }
        server.stop();
        pump_until(&mut players, "everybody is told at the new address", |players| {
            players.iter().all(|player| matches!(player.client.state(), State::Closed(_)))
        });
        server.join().expect("an orderly end");
    }
}

#[test]
fn a_thief_who_copies_every_packet_gets_a_few_pings_and_the_player_notices_nothing() {
    let folder = Folder::new("thief");
    let (server, keys) = start(config(&folder));
    let mut players = [Player::new(&keys, server.address, 7, [400_000, 400_000, 0])];
    pump_until(&mut players, "in the world", |p| p[0].client.state() == State::InWorld);
    play(&mut players, 30, Player::pump);
    players[0].longest_gap = 0;
    let thief = socket("127.0.0.66:0", server.address);
    let sent = std::cell::Cell::new(0);
    play(&mut players, 300, |player| {
        player.pump_copied(|datagram| {
            sent.set(sent.get() + thief.send(datagram).unwrap_or(0));
        });
    });
    let (mut got, mut datagrams, mut buffer) = (0, 0, [0; 1500]);
    while let Ok(len) = thief.recv(&mut buffer) {
        (got, datagrams) = (got + len, datagrams + 1);
    }
    let counted = stats(&server);
    assert!((1..=40).contains(&datagrams), "{datagrams} datagrams in five seconds");
    assert!(got <= 3 * sent.get() && got <= 59 * datagrams, "{got} bytes for {}", sent.get());
    assert!(counted.counter(Counter::PathCandidates) > 0);
    assert_eq!(counted.counter(Counter::PathChanges), 0);
    let player = &players[0];
    assert!(player.longest_gap <= GAP_TICKS, "{} ticks", player.longest_gap);
    assert_eq!((player.client.state(), player.client.statistics().errors_total()), {
        (State::InWorld, 0)
    });
    end(server);
}

#[test]
fn bots_whose_addresses_change_all_the_time_play_on() {
    let folder = Folder::new("bots");
    let mut settings = config(&folder);
    (settings.world.players, settings.world.entities) = (40, 40);
    let (server, keys) = start(settings);
    let bots = SwarmConfig { rebind_every_s: 3, ..SwarmConfig::new(server.address, keys, 30) };
    let plan = Plan { warm_up: Duration::ZERO, measure: Duration::from_secs(5) };
    let mut ask = |_| Some(stats(&server));
    let never = AtomicBool::new(false);
    let run = conduct(&bots, &[], plan, &mut ask, &never, &mut |_| {}).expect("bots play");
    let seen = &run.swarm.whole;
    assert!(seen.rebinds >= 30, "{} changes", seen.rebinds);
    assert_eq!((run.closed, seen.strays, seen.long_gaps, seen.decode_errors()), (0, 0, 0, 0));
    // The last ones may not have been noticed when everybody leaves.
    let noticed = stats(&server).counter(Counter::PathChanges);
    assert!(noticed <= seen.rebinds && noticed + 5 >= seen.rebinds, "{noticed}");
    end(server);
}
