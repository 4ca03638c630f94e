//! Players who are handed from table to table while they play, over a link that loses, delays,
//! repeats and reorders; what the tables hand each other comes late, but in order. The real gate,
//! the real sessions, the real client; no socket and no clock. The seed is printed.

mod moves;

use moves::*;
use tidelock::client::ClientError;
use tidelock::connection::RekeyPolicy;
use tidelock::metrics::{Counter, DropReason};

const FOUL: Weather = Weather { lost_percent: 15, repeated_percent: 10, jitter_ms: 40 };

#[test]
fn a_hand_over_loses_no_packet_repeats_none_and_uses_no_nonce_twice() {
    for seed in 1..=6 {
        let mut simulation = Simulation::playing(seed, FOUL);
        for _ in 0..600 {
            simulation.run_ms(97, Some((SETTLED_MS, 30)));
            let player = simulation.below(PLAYERS as u64) as usize;
            simulation.forge(player);
        }
        // Until every client has learnt its last id, and nothing is on its way between tables.
        simulation.run_ms(2_000, None);
        assert_eq!(simulation.missing(), 0, "every packet that arrived has counted once");
        simulation.check_players(50, 60);
        simulation.check_drops(&[DropReason::Replay, DropReason::InputRate, DropReason::Open]);
        assert!(simulation.dropped(DropReason::Open) <= simulation.forged);
        assert!(simulation.dropped(DropReason::Open) > simulation.forged / 2);
        assert_eq!(Vec::from_iter(simulation.errors.keys()), [&ClientError::Replay]);
    }
}

#[test]
fn hand_overs_in_quick_succession_lose_only_what_was_two_tables_behind() {
    for seed in 11..=14 {
        let mut simulation = Simulation::playing(seed, FOUL);
        simulation.run_ms(30_000, Some((0, 1)));
        simulation.run_ms(SETTLED_MS, None);
        assert!(simulation.missing() <= simulation.dropped(DropReason::UnknownConnection));
        simulation.check_players(150, 40);
        let late = DropReason::UnknownConnection;
        simulation.check_drops(&[DropReason::Replay, DropReason::InputRate, late]);
        for reason in simulation.errors.keys() {
            assert!(matches!(reason, ClientError::Replay | ClientError::Connection), "{reason:?}");
        }
    }
}

#[test]
fn a_client_that_hears_nothing_of_it_plays_on_and_follows_when_it_does() {
    let mut simulation = Simulation::playing(21, FOUL);
    for round in 0..5 {
        (0..PLAYERS).for_each(|player| simulation.hand_over(player));
        simulation.mute = true;
        simulation.run_ms(12_000, Some((0, 1)));
        for player in &simulation.players {
            assert_eq!(player.hand_overs, round + 1, "nobody goes on before the client follows");
        }
        simulation.mute = false;
        simulation.run_ms(2_000, None);
        for player in &simulation.players {
            let (place, slot) = player.at.expect("it plays");
            assert!(simulation.tables[place].sessions.can_hand_over(slot));
            assert_eq!(player.client.connection(), simulation.tables[place].sessions.id(slot));
        }
    }
    assert_eq!(simulation.missing(), 0);
    simulation.check_players(5, 60);
    simulation.run_ms(15_000, None);
    let slots = simulation.tables.iter().map(|table| table.owner.len());
    assert_eq!(slots.sum::<usize>(), PLAYERS, "every slot left behind was released");
}

#[test]
fn hundreds_of_rekeys_lose_no_packet_and_use_no_nonce_twice_with_hand_overs_among_them() {
    for (seed, hand_overs) in [(31, None), (32, Some((SETTLED_MS, 60)))] {
        let policy = RekeyPolicy::new(u64::MAX, 5);
        let mut simulation = Simulation::playing_with(seed, FOUL, policy);
        for round in 0..400 {
            // The link is down for a while now and then, whatever the rekeys do.
            simulation.weather.lost_percent = if round % 40 == 39 { 100 } else { 15 };
            simulation.run_ms(997, hand_overs);
            let player = simulation.below(PLAYERS as u64) as usize;
            simulation.forge(player);
        }
        simulation.weather.lost_percent = 0;
        simulation.run_ms(2_000, None);
        let completed = simulation.read(Counter::RekeysCompleted);
        assert!(completed > 200, "{completed} rekeys");
        assert_eq!(simulation.read(Counter::RekeysFailed), 0);
        for player in &simulation.players {
            let (place, slot) = player.at.expect("it plays");
            let (opened, sealed) = simulation.tables[place].sessions.epochs(slot).expect("lives");
            let epoch = player.client.key_epoch();
            assert!(
                epoch > 50 && (opened == epoch || sealed == epoch),
                "{opened} {sealed} {epoch}"
            );
        }
        assert_eq!(simulation.missing(), 0, "every packet that arrived has counted once");
        simulation.check_players(if hand_overs.is_some() { 50 } else { 0 }, 60);
        // What is forged always names an even epoch.
        let forged = [DropReason::Open, DropReason::Epoch];
        let refused = forged.map(|reason| simulation.dropped(reason));
        assert!(refused.iter().sum::<u64>() <= simulation.forged && !refused.contains(&0));
        let [open, epoch] = forged;
        simulation.check_drops(&[DropReason::Replay, DropReason::InputRate, open, epoch]);
        assert_eq!(Vec::from_iter(simulation.errors.keys()), [&ClientError::Replay]);
    }
}
