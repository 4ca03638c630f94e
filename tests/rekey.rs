//! Keys that are replaced every few seconds on a real server: players move on as if nothing
//! happened, from shard to shard as well, and a server that loses a shard reaches them under the
//! new keys.

mod players;

use players::{Folder, Pace, Player, config, end, pump_until, start, stats};
use std::time::{Duration, Instant};
use tidelock::client::{CloseReason, State};
use tidelock::config::ShardCount;
use tidelock::limits::REKEY_SECONDS_MIN;
use tidelock::metrics::Counter;
use tidelock::shard::Fault;
use tidelock::wire::{DisconnectReason, InputFrame};

const PLAYERS: u64 = 6;
const EPOCHS: u16 = 2;

/// Every player walks east, one input per tick.
fn walk(players: &mut [Player], pace: &mut Pace) {
    if pace.is_due() {
        for player in players.iter_mut().filter(|p| p.client.state() == State::InWorld) {
            let frame = InputFrame { move_x: 127, move_y: 0, yaw: 16_384, buttons: 0 };
            player.client.set_input(frame);
        }
    }
}

#[test]
fn players_move_on_while_their_keys_are_replaced_and_they_go_from_shard_to_shard() {
    let folder = Folder::new("rekey");
    let mut settings = config(&folder);
    settings.server.shards = ShardCount::Count(2);
    settings.server.oversubscribe = true;
    settings.rekey.seconds = REKEY_SECONDS_MIN;
    let (server, keys) = start(settings);
    let place = |n: u64| [300_000 + 300 * n as i32, 400_000, 0];
    let mut players: Vec<_> =
        (0..PLAYERS).map(|n| Player::new(&keys, server.address, 100 + n, place(n))).collect();
    pump_until(&mut players, "everybody is in the world and sees the others", |players| {
        players.iter().all(|p| p.client.world().visible() == PLAYERS as u32 - 1)
    });
    let x = |player: &Player| player.client.world().own().expect("in the world").position[0];
    let before: Vec<_> = players.iter().map(x).collect();
    let start = players[0].client.world().tick();
    let (mut pace, mut round, mut shifted) = (Pace::start(), 0, Instant::now());
    pump_until(&mut players, "everybody has had new keys, and again", |players| {
        walk(players, &mut pace);
        if shifted.elapsed() > Duration::from_millis(700) {
            shifted = Instant::now();
            round += 1;
            server.shift(round % 2, (round + 1) % 2, 1);
        }
        players.iter().all(|player| player.client.key_epoch() >= EPOCHS)
    });
    // What was on its way arrives.
    let quiet = Instant::now();
    pump_until(&mut players, "a moment passes", |_| quiet.elapsed() > Duration::from_millis(500));
    let ticks = players[0].client.world().tick() - start;
    for (player, before) in players.iter().zip(before) {
        assert_eq!(player.client.state(), State::InWorld);
        // 600 cm/s, if no tick was without an input; the machine may be busy.
        let walked = x(player) - before;
        assert!(walked > 3.0 * ticks as f32, "{walked} cm in {ticks} ticks");
        let statistics = player.client.statistics();
        assert_eq!(statistics.errors_total(), 0, "no packet came that did not open");
        let lost = statistics.missed_ticks.saturating_sub(statistics.stale_snapshots);
        assert_eq!(lost, 0, "no snapshot is missing");
        let world = player.client.world();
        assert_eq!(world.last_processed_input(), player.client.next_input() - 1);
    }
    let stats = stats(&server);
    assert!(stats.counter(Counter::RekeysCompleted) >= PLAYERS * u64::from(EPOCHS));
    assert_eq!(stats.counter(Counter::RekeysFailed), 0);
    assert!(stats.counter(Counter::HandedOver) > 4);
    for reason in ["open", "epoch", "replay", "malformed", "unexpected", "false_ack", "queue_full"]
    {
        assert_eq!(stats.dropped[reason], 0, "{reason}");
    }

    server.inject(0, Fault::Panic);
    pump_until(&mut players, "the players of the lost shard are told under the new keys", |all| {
        let told = State::Closed(CloseReason::Disconnected(DisconnectReason::ShardLost));
        let lost = all.iter().filter(|player| player.client.state() == told).count();
        let playing = all.iter().filter(|player| player.client.state() == State::InWorld).count();
        lost > 0 && lost + playing == all.len()
    });
    end(server);
}
