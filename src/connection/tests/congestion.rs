//! Sessions and clients around a simulated bottleneck: a queue that drops what does not fit, a
//! base delay, jitter, loss. The table, the packets and the acknowledgments are the real ones; the
//! clock advances by milliseconds. Seeds are printed and replay exactly.

use super::network::Player;
use super::*;
use std::collections::VecDeque;

const TICK_NS: u64 = 16_666_667;
const KIB: u64 = 1_024;
/// Anything up to the largest packet.
const OPEN: (usize, usize, usize) = (475, 475, 1170);

/// One direction of the way of one client.
struct Lane {
    flying: VecDeque<(Nanos, Vec<u8>)>,
    last: Nanos,
}

impl Lane {
    fn new() -> Self {
        Self { flying: VecDeque::new(), last: Nanos(0) }
    }

    /// Order is kept, as nearly all paths do.
    fn push(&mut self, arrival: Nanos, datagram: &[u8]) {
        self.last = arrival.max(self.last);
        self.flying.push_back((self.last, datagram.to_vec()));
    }

    fn arrived(&mut self, now: Nanos) -> Option<Vec<u8>> {
        self.flying.front().filter(|first| first.0 <= now)?;
        self.flying.pop_front().map(|(_, datagram)| datagram)
    }
}

/// What the way is like at the moment.
#[derive(Clone, Copy, Debug)]
struct Link {
    /// Bytes per second that pass the bottleneck, all clients together.
    rate: u64,
    /// What waits longer is dropped.
    buffer_ms: u64,
    /// Of the whole way there and back, without queue.
    round_trip_ms: u64,
    /// Added to each direction, at most.
    jitter_ms: u64,
    /// Lost at random in each direction, thousandths.
    lost: u64,
}

const HOME: Link =
    Link { rate: 40 * KIB, buffer_ms: 1_000, round_trip_ms: 40, jitter_ms: 8, lost: 10 };

/// What one client got in one second.
#[derive(Clone, Debug, Default)]
struct Second {
    /// Bytes on the wire that passed the bottleneck.
    bytes: u64,
    /// The wait in the queue that each packet found, milliseconds.
    waits_ms: Vec<u64>,
    budget: usize,
}

struct Path {
    bench: Bench,
    players: Vec<(Player, Lane, Lane, Vec<Second>)>,
    link: Link,
    /// When the bottleneck has passed everything it has taken.
    free_at: Nanos,
    random: u64,
    /// Share of the budget that snapshots use, percent.
    used: usize,
    tick_at: Nanos,
    ms: u64,
}

impl Path {
    fn new(seed: u64, link: Link, (floor, start, ceiling): (usize, usize, usize)) -> Self {
        println!("seed {seed}, {link:?}");
        let mut bench = Bench::new(4);
        bench.sessions.config.budget = BudgetRange::new(floor, start, ceiling);
        let (tick_at, random) = (bench.now, seed);
        let (players, free_at) = (Vec::new(), Nanos(0));
        Self { bench, players, link, free_at, random, used: 100, tick_at, ms: 0 }
    }

    fn join(mut self) -> Self {
        let slot = self.players.len() as u16 + 1;
        let player = Player::new(self.bench.accepted(slot));
        self.players.push((player, Lane::new(), Lane::new(), Vec::new()));
        self
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.random >> 33) % limit.max(1)
    }

    /// When a datagram that sets out at `at` arrives, if nothing stands in its way.
    fn arrival(&mut self, at: Nanos) -> Option<Nanos> {
        let jitter_us = self.below(self.link.jitter_ms * 1_000);
        let flight = Nanos::from_us(self.link.round_trip_ms * 500 + jitter_us);
        (self.below(1_000) >= self.link.lost).then(|| at.plus(flight))
    }

    fn send_down(&mut self, index: usize, datagram: &[u8]) {
        let (now, bytes) = (self.bench.now, datagram.len() as u64 + 28);
        let wait = self.free_at.since(now);
        let second = self.players[index].3.last_mut().expect("a second under way");
        second.waits_ms.push(wait.as_ms());
        if wait > Nanos::from_ms(self.link.buffer_ms) {
            return;
        }
        second.bytes += bytes;
        self.free_at = self.free_at.max(now).plus(Nanos(bytes * 1_000_000_000 / self.link.rate));
        if let Some(arrival) = self.arrival(self.free_at) {
            self.players[index].1.push(arrival, datagram);
        }
    }

    /// What the server sends in a tick.
    fn tick(&mut self) {
        let mut out = [0; DATAGRAM_MAX];
        for index in 0..self.players.len() {
            let slot = index as Slot + 1;
            if !self.bench.sessions.has_entered(slot) {
                continue;
            }
            let budget = self.bench.sessions.budget(slot);
            self.players[index].3.last_mut().expect("a second under way").budget = budget;
            let begun =
                self.bench.sessions.begin(slot, Channel::Unreliable, self.bench.now, &mut out);
            let body = begun.expect("a session").body;
            let end = HEADER_LEN + budget * self.used / 100;
            out[body..body + 2].copy_from_slice(&((end - body - 2) as u16).to_le_bytes());
            out[body + 2] = 6;
            let length = self.bench.sessions.seal(slot, &mut out, end);
            let datagram = out[..length].to_vec();
            self.send_down(index, &datagram);
        }
        loop {
            let Bench { sessions, counters, sink, now } = &mut self.bench;
            let Some(it) = sessions.poll_control(*now, &mut out, counters, sink) else { break };
            let datagram = out[..it.length].to_vec();
            self.send_down(usize::from(it.slot) - 1, &datagram);
        }
    }

    fn millisecond(&mut self) {
        self.bench.now = self.bench.now.plus(Nanos::from_ms(1));
        let now = self.bench.now;
        for index in 0..self.players.len() {
            if self.ms.is_multiple_of(1_000) {
                self.players[index].3.push(Second::default());
            }
            let (player, down, _, _) = &mut self.players[index];
            while let Some(datagram) = down.arrived(now) {
                player.handle(now, &datagram);
            }
            // Clients speak 60 times a second, each at a time of its own that drifts.
            if ((self.ms + index as u64 * 7) % 50).is_multiple_of(17) {
                let datagram = self.players[index].0.speak(now);
                if let Some(arrival) = self.arrival(now) {
                    self.players[index].2.push(arrival, &datagram);
                }
            }
            while let Some(datagram) = self.players[index].2.arrived(now) {
                self.bench.deliver(&self.players[index].0.peer, &datagram);
            }
        }
        self.bench.sink.0.clear();
        if now >= self.tick_at {
            self.tick_at = self.tick_at.plus(Nanos(TICK_NS));
            self.tick();
        }
        self.ms += 1;
    }

    fn run(&mut self, seconds: u64) -> &mut Self {
        (0..seconds * 1_000).for_each(|_| self.millisecond());
        self
    }

    /// The last `count` seconds of a client.
    fn last(&self, index: usize, count: usize) -> &[Second] {
        let all = &self.players[index].3;
        &all[all.len() - count..]
    }

    fn mean_bytes(&self, index: usize, count: usize) -> u64 {
        self.last(index, count).iter().map(|second| second.bytes).sum::<u64>() / count as u64
    }

    fn path(&self, index: usize) -> PathState {
        self.bench.sessions.path(index as Slot + 1).expect("a session")
    }
}

/// The queue that packets of these seconds found: median and 95th percentile, milliseconds.
fn queues(seconds: &[Second]) -> [u64; 2] {
    let waits = seconds.iter().flat_map(|second| &second.waits_ms);
    let mut sorted: Vec<u64> = waits.copied().collect();
    sorted.sort_unstable();
    [sorted[sorted.len() / 2], sorted[sorted.len() * 95 / 100]]
}

#[test]
fn a_bloated_buffer_stays_nearly_empty_and_the_link_in_use() {
    for seed in 0..6 {
        for kib in [20, 36, 48, 64] {
            // The default floor is 31 KiB/s on the wire: less fits this link only below it.
            let floor = if kib < 32 { 200 } else { 475 };
            let link = Link { rate: kib * KIB, ..HOME };
            for start in [475, 1170] {
                let mut path = Path::new(seed, link, (floor, start, 1170)).join();
                let seconds = path.run(60).last(0, 54).to_vec();
                let [median, worst] = queues(&seconds);
                let used = path.mean_bytes(0, 54) * 100 / link.rate;
                let told = format!(
                    "{kib} KiB/s from {start}: queue {median} ms, {worst} ms, {used} % used"
                );
                println!("{told}");
                assert!(median <= 40 && worst <= 90, "seed {seed}, {told}");
                assert!(used >= 75, "seed {seed}, {told}");
            }
        }
    }
}

#[test]
fn a_far_and_shaky_path_is_held_for_half_an_hour() {
    for (seed, round_trip_ms, jitter_ms) in [(1, 120, 16), (2, 200, 4)] {
        let link = Link { rate: 48 * KIB, round_trip_ms, jitter_ms, ..HOME };
        let mut path = Path::new(seed, link, OPEN).join();
        let [median, worst] = queues(path.run(1_800).last(0, 300));
        println!("{median} ms, {worst} ms");
        assert!(median <= 40 && worst <= 100, "seed {seed}: {median} ms, {worst} ms");
        assert!(path.mean_bytes(0, 300) > 36 * KIB, "seed {seed}");
    }
}

#[test]
fn a_path_that_drops_instead_of_queueing_is_not_pressed_either() {
    for seed in 0..4 {
        let link = Link { buffer_ms: 10, jitter_ms: 2, ..HOME };
        let mut path = Path::new(seed, link, OPEN).join();
        let seconds = path.run(60).last(0, 50);
        let sent: usize = seconds.iter().map(|second| second.budget + 58).sum::<usize>() * 60;
        let passed: u64 = seconds.iter().map(|second| second.bytes).sum();
        println!("{passed} of about {sent} bytes passed");
        assert!(passed * 100 > sent as u64 * 85, "seed {seed}: {passed} of about {sent}");
        assert!(passed > 30 * KIB * 50, "seed {seed}: {passed}");
    }
}

#[test]
fn without_a_bottleneck_the_budget_climbs_to_its_ceiling_and_stays() {
    for (seed, lost, jitter_ms) in [(1, 0, 0), (2, 10, 8), (3, 20, 8), (4, 20, 20), (5, 30, 2)] {
        let link = Link { rate: 100 * KIB, lost, jitter_ms, ..HOME };
        let mut path = Path::new(seed, link, OPEN).join();
        let climb = path.run(12).last(0, 1)[0].budget;
        assert_eq!(climb, 1170, "seed {seed}");
        let least = path.run(120).last(0, 120).iter().map(|second| second.budget).min();
        assert!(least >= Some(1_000), "seed {seed}: down to {least:?} at {lost} ‰ lost");
    }
}

#[test]
fn when_the_bottleneck_goes_away_the_budget_comes_back_within_ten_seconds() {
    for seed in 0..4 {
        let mut path = Path::new(seed, HOME, OPEN).join();
        let held = path.run(20).last(0, 5).iter().map(|second| second.budget).max();
        assert!(held < Some(850), "seed {seed}: {held:?}");
        assert!(path.path(0).is_held_down, "seed {seed}");
        path.link.rate = 1_000 * KIB;
        let free = path.run(10).last(0, 1)[0].budget;
        assert_eq!(free, 1170, "seed {seed}");
        assert!(!path.path(0).is_held_down, "seed {seed}");
    }
}

#[test]
fn when_a_path_narrows_the_queue_is_gone_within_seconds() {
    for seed in 0..4 {
        let mut path = Path::new(seed, Link { rate: 200 * KIB, ..HOME }, OPEN).join();
        path.run(15);
        path.link.rate = 44 * KIB;
        path.run(4);
        let [median, worst] = queues(path.run(20).last(0, 20));
        assert!(median <= 40 && worst <= 90, "seed {seed}: {median} ms, {worst} ms");
        assert!(path.mean_bytes(0, 20) > 33 * KIB, "seed {seed}");
        assert!(path.bench.read(Counter::BudgetCuts) > 0);
    }
}

#[test]
fn a_queue_that_shrinks_is_given_time_instead_of_further_cuts() {
    for seed in 0..4 {
        let mut path = Path::new(seed, Link { rate: 200 * KIB, ..HOME }, (100, 475, 1170)).join();
        path.run(15);
        path.link.rate = 64 * KIB;
        let least = path.run(10).last(0, 10).iter().map(|second| second.budget).min();
        println!("{least:?}");
        // 1,034 would just fit.
        assert!(least >= Some(700), "seed {seed}: {least:?}");
    }
}

#[test]
fn a_route_that_becomes_longer_is_taken_for_a_queue_for_half_a_minute_at_most() {
    let mut path = Path::new(1, Link { rate: 1_000 * KIB, ..HOME }, OPEN).join();
    path.run(20);
    path.link.round_trip_ms = 160;
    assert_eq!(path.run(10).path(0).budget, 475);
    assert_eq!(path.run(32).path(0).budget, 1170);
    assert!(path.path(0).base_rtt >= Nanos::from_ms(160));
}

#[test]
fn two_sessions_on_one_link_come_to_similar_shares() {
    for seed in 0..4 {
        let mut path = Path::new(seed, Link { rate: 88 * KIB, ..HOME }, OPEN).join();
        path.run(15);
        assert_eq!(path.path(0).budget, 1170, "the first has the link for itself");
        path = path.join();
        path.run(90);
        let shares = [path.mean_bytes(0, 60), path.mean_bytes(1, 60)];
        let [median, worst] = queues(path.last(0, 60));
        println!("{shares:?} bytes/s, {median} ms, {worst} ms");
        assert!(shares[0] < 2 * shares[1] && shares[1] < 2 * shares[0], "{seed}: {shares:?}");
        assert!(shares[0] + shares[1] > 88 * KIB * 7 / 10, "seed {seed}: {shares:?}");
        assert!(median <= 40 && worst <= 90, "seed {seed}: {median} ms, {worst} ms");
    }
}

#[test]
fn below_its_floor_no_path_gets_a_budget_and_above_its_ceiling_none() {
    let mut path = Path::new(3, Link { rate: 20 * KIB, ..HOME }, (475, 800, 900)).join();
    let range = |seconds: &[Second]| {
        let budgets = seconds.iter().map(|second| second.budget);
        (budgets.clone().min().expect("seconds"), budgets.max().expect("seconds"))
    };
    let (least, most) = range(path.run(60).last(0, 59));
    assert!(least == 475 && most <= 900, "{least} to {most}");
    let (least, most) = range(path.last(0, 50));
    assert!(least == 475 && most <= 500, "{least} to {most} when the queue is full for good");
    path.link.rate = 500 * KIB;
    assert_eq!(range(path.run(40).last(0, 10)), (900, 900));
}

/// A host that lets packets lie for some 10 ms now and then, as a busy one does.
#[test]
fn the_jitter_of_a_busy_host_is_not_taken_for_a_queue() {
    for (seed, jitter_ms) in [(1, 10), (2, 20), (3, 30)] {
        let link = Link { rate: 100_000 * KIB, round_trip_ms: 0, jitter_ms, lost: 0, ..HOME };
        let mut path = Path::new(seed, link, (475, 1_000, 1_000)).join();
        path.run(120);
        assert_eq!(path.bench.read(Counter::BudgetCuts), 0, "seed {seed}: {jitter_ms} ms");
        assert_eq!(path.path(0).budget, 1_000);
    }
}

#[test]
fn a_patch_of_late_packets_is_forgiven() {
    let link = Link { rate: 1_000 * KIB, lost: 0, jitter_ms: 2, ..HOME };
    let mut path = Path::new(1, link, (475, 1_000, 1_000)).join();
    for _ in 0..100 {
        path.run(4);
        path.link.round_trip_ms += 90;
        (0..400).for_each(|_| path.millisecond());
        path.link.round_trip_ms -= 90;
    }
    assert_eq!(path.bench.read(Counter::BudgetCuts), 0);
}

#[test]
fn who_does_not_use_the_budget_does_not_get_more() {
    let mut path = Path::new(1, Link { rate: 1_000 * KIB, ..HOME }, OPEN).join();
    path.used = 60;
    assert_eq!(path.run(30).path(0).budget, 475);
    path.used = 100;
    assert_eq!(path.run(12).path(0).budget, 1170);
}

#[test]
fn a_silent_client_costs_the_floor_until_it_is_heard_again() {
    let mut path = Path::new(1, Link { rate: 1_000 * KIB, lost: 0, ..HOME }, OPEN).join();
    path.run(12);
    assert_eq!(path.path(0).budget, 1170);
    path.link.lost = 1_000;
    assert_eq!(path.run(2).path(0).budget, 475);
    assert!(path.path(0).is_held_down);
    path.link.lost = 0;
    assert_eq!(path.run(10).path(0).budget, 1170);
}

#[test]
fn the_round_trip_is_that_of_the_way_without_what_the_client_held() {
    let link = Link { rate: 1_000 * KIB, round_trip_ms: 60, jitter_ms: 0, lost: 0, ..HOME };
    let mut path = Path::new(1, link, OPEN).join();
    path.run(5);
    let PathState { rtt, base_rtt, .. } = path.path(0);
    // The clock of the test advances by milliseconds, and a tick begins up to one late.
    assert!((60..=65).contains(&rtt.as_ms()), "{rtt:?}");
    assert!((60..=62).contains(&base_rtt.as_ms()), "{base_rtt:?}");
}

#[test]
fn what_a_client_claims_of_its_delay_moves_its_own_budget_within_bounds_only() {
    for delay in [0, 1, 500, 30_000, AckBlock::DELAY_UNKNOWN - 1, AckBlock::DELAY_UNKNOWN] {
        let mut bench = Bench::new(2);
        bench.sessions.config.budget = BudgetRange::new(400, 475, 600);
        let mut peer = bench.entered(1);
        for tick in 0..2_000 {
            bench.now = bench.now.plus(Nanos(TICK_NS));
            let largest = bench.snapshot(1);
            if tick % 40 > 30 {
                continue;
            }
            let block = AckBlock { largest, bitmap: 0, delay };
            let mut header = peer.header(Channel::Control);
            header.flags = header.flags.with(Flags::ACKNOWLEDGMENT);
            let packet = peer.seal(header, &write(|writer| block.write(writer)));
            bench.advance_ms(tick % 90);
            bench.deliver(&peer, &packet);
            assert!((400..=600).contains(&bench.sessions.budget(1)), "{delay}");
        }
    }
}

#[test]
fn a_session_takes_its_budget_along_and_leaves_none_behind() {
    let mut path = Path::new(1, Link { rate: 1_000 * KIB, ..HOME }, OPEN).join();
    path.run(12);
    let before = path.path(0);
    assert_eq!(before.budget, 1170);
    let now = path.bench.now;
    let mut other = Bench::on_socket(SOCKET + 1, 4);
    let to = ConnectionId::from_parts(SOCKET + 1, 2, 5);
    let handed = path.bench.sessions.hand_over(1, to, now).expect("it may go");
    assert_eq!(path.bench.sessions.path(1), None);
    assert_eq!(other.sessions.take_over(handed, now), Ok(2));
    assert_eq!(other.sessions.path(2), Some(before));
    let next = path.bench.accepted(3);
    assert_eq!(path.bench.sessions.budget(next.id.slot()), 475);
}
