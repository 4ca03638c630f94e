//! A server and its players over a bad network, and beside it a naive server that knows
//! everything.

mod describing;
mod network;
mod player;
mod server;

use describing::Words;
use network::{Network, Way, Weather};
use player::{Player, Tally};
use server::Server;
use tidelock::client::Scratch;
use tidelock::host::entropy::SeededEntropy;
use tidelock::metrics::{Counter, DropReason};
use tidelock::sim::Truth;
use tidelock::state::Kind;
use tidelock::time::Nanos;
use tidelock::units::{EntityId, Tick, TickRate};
use tidelock::world::{Input, buttons};

/// The middle of the map, centimetres.
const CENTRE: f32 = 409_600.0;
/// What is seen stays visible up to this many times its distance, as a server has it by default.
const LEAVE_FACTOR: f32 = 1.1;
/// Ticks for which a view may lag behind: what is told most rarely is told every tenth.
const LAG: Tick = 20;

/// What is played.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    pub(crate) shards: usize,
    pub(crate) players: usize,
    /// Entities that are no players, at most.
    pub(crate) others: usize,
    /// All are within so many centimetres of the middle, along both axes.
    pub(crate) reach: f32,
    /// Whether there are more in sight than a view can hold.
    pub(crate) crowded: bool,
    /// Whether the game says something of entities.
    pub(crate) described: bool,
    /// Whether players and others walk on when the storm is over.
    pub(crate) walks_on: bool,
}

pub(crate) struct Run {
    pub(crate) scenario: Scenario,
    random: SeededEntropy,
    network: Network,
    server: Server,
    truth: Truth,
    /// Those who play, or try to.
    players: Vec<Player>,
    /// Those who are away: number, and the tick in which they come back.
    away: Vec<(usize, Tick)>,
    logins: u32,
    scratch: Scratch,
    words: Words,
    ticks: u64,
    pub(crate) tally: Tally,
}

/// Distances of interest by kind, centimetres: a fair part of the place, so that walking changes
/// who is in sight.
fn radii() -> [f32; Kind::COUNT] {
    Kind::ALL.map(|kind| match kind {
        Kind::Player => 2_000.0,
        Kind::Npc => 1_500.0,
        Kind::Monster => 1_200.0,
        Kind::Vehicle => 2_400.0,
        _ => 1_800.0,
    })
}

impl Run {
    pub(crate) fn new(scenario: Scenario) -> Self {
        let Scenario { seed, shards, players, others, .. } = scenario;
        let weather = Weather::of_seed(seed);
        println!("{scenario:?}, {weather:?}");
        // Rows for logins that nobody has said goodbye for, and for seats that are just empty.
        let seats = 4 * players + others + 8;
        let mut run = Self {
            scenario,
            random: SeededEntropy(seed),
            network: Network::new(seed, weather),
            server: Server::new(seed, shards, seats, radii(), LEAVE_FACTOR),
            truth: Truth::new(radii(), LEAVE_FACTOR),
            players: Vec::new(),
            // Everybody comes, but not at once.
            away: (0..players).map(|player| (player, 1 + player as Tick * 3)).collect(),
            logins: 0,
            scratch: Scratch::default(),
            words: Words::default(),
            ticks: 0,
            tally: Tally::default(),
        };
        (0..others).for_each(|_| run.bear());
        run
    }

    fn roll(&mut self, sides: u64) -> u64 {
        self.random.next_u64() % sides
    }

    fn now(&self) -> Nanos {
        Nanos(TickRate::DEFAULT.start_ns(self.ticks))
    }

    fn place(&mut self) -> [f32; 3] {
        let mut axis = || {
            let share = (self.random.next_u64() >> 40) as f32 / 16_777_216.0;
            CENTRE + (2.0 * share - 1.0) * self.scenario.reach
        };
        [axis(), axis(), 0.0]
    }

    fn bear(&mut self) {
        // Who walks by himself, or flies on for ever, cannot be told to stop.
        let wild = [Kind::Npc, Kind::Monster, Kind::Vehicle, Kind::Projectile];
        let tame = [Kind::Vehicle, Kind::Vehicle, Kind::Vehicle, Kind::Item];
        let kind = if self.scenario.walks_on { wild } else { tame }[self.roll(4) as usize];
        let home = self.roll(self.scenario.shards as u64) as usize;
        let place = self.place();
        self.server.bear(home, kind, place);
    }

    /// Somebody who lives at the moment and is no player.
    fn somebody(&mut self) -> Option<EntityId> {
        let scene = self.truth.scene(self.truth.newest());
        let others = scene.values().filter(|being| being.kind != Kind::Player);
        let others: Vec<_> = others.map(|being| being.id).collect();
        let which = self.roll(others.len().max(1) as u64) as usize;
        others.get(which).copied()
    }

    fn others(&self) -> usize {
        let scene = self.truth.scene(self.truth.newest());
        scene.values().filter(|being| being.kind != Kind::Player).count()
    }

    /// What a game does to those who are no players: some die, some are born, some turn.
    fn meddle(&mut self) {
        if self.roll(4) == 0
            && let Some(id) = self.somebody()
        {
            self.server.kill(id);
        }
        if self.roll(3) == 0 && self.others() + 2 < self.scenario.others {
            self.bear();
        }
        self.steer_some();
        self.move_some();
    }

    fn steer_some(&mut self) {
        for _ in 0..2 {
            let Some(id) = self.somebody() else { return };
            let [x, y, press, yaw, ..] = self.random.next_u64().to_le_bytes();
            let [at_x, at_y, _] = self.truth.scene(self.truth.newest())[&id].state.position();
            // Whoever has gone too far comes back.
            let walk = |draw: u8, at: f32| {
                let off = CENTRE - at;
                let home = off.abs() > self.scenario.reach;
                if home { off.clamp(-127.0, 127.0) as i8 } else { (draw as i8).max(-127) }
            };
            let input = Input {
                move_x: walk(x, at_x),
                move_y: walk(y, at_y),
                yaw: u16::from(yaw) << 8,
                buttons: u16::from(press) & (buttons::JUMP | buttons::SPRINT),
            };
            self.server.steer(id, input);
        }
    }

    /// Hands somebody over to another shard.
    fn move_some(&mut self) {
        let shards = self.scenario.shards;
        if shards == 1 || self.roll(6) > 0 || self.players.is_empty() {
            return;
        }
        let which = self.roll(self.players.len() as u64) as usize;
        let Some(id) = self.players[which].client.connection() else { return };
        let to = usize::from(id.socket()) % shards;
        self.server.hand_over(id, to);
    }

    /// Some come, some go: half of those who go say so, the others just fall silent.
    fn come_and_go(&mut self, tick: Tick, stormy: bool) {
        let now = self.now();
        let (back, away) = self.away.iter().partition(|(_, at)| *at <= tick || !stormy);
        self.away = away;
        let back: Vec<(usize, Tick)> = back;
        for (number, _) in back {
            self.logins += 1;
            let spawn = self.place().map(|axis| axis as i32);
            let ticket = self.server.ticket(number as u64, spawn);
            let (names, crowded) = ((self.scenario.seed, number, self.logins), self.crowded());
            let random = &mut self.random;
            let mut player = Player::new(names, &ticket, crowded, now, random);
            player.rests = !stormy && !self.scenario.walks_on;
            self.players.push(player);
            self.tally.joined += 1;
        }
        self.players.retain_mut(|player| {
            let gone = matches!(player.client.state(), tidelock::client::State::Closed(_));
            if gone {
                self.away.push((player.number, tick + 20));
            }
            !gone
        });
        if stormy && self.roll(40) == 0 && !self.players.is_empty() {
            let which = self.roll(self.players.len() as u64) as usize;
            if self.roll(2) == 0 {
                self.players[which].client.leave(now);
            } else {
                let Player { number, .. } = self.players.swap_remove(which);
                let back = tick + 1 + self.roll(60) as Tick;
                self.away.push((number, back));
            }
            self.tally.left += 1;
        }
    }

    fn crowded(&self) -> bool {
        self.scenario.crowded
    }

    fn deliver(&mut self) {
        let now = self.now();
        while let Some(flying) = self.network.arrived(now.as_ms()) {
            if flying.way == Way::Up {
                if let Some(reply) = self.server.handle(flying.player, flying.bytes) {
                    self.network.send(now.as_ms(), Way::Down, flying.player, &reply);
                }
                continue;
            }
            let to = self.players.iter_mut().find(|player| player.address == flying.player);
            if let Some(player) = to {
                let (truth, tally) = (&self.truth, &mut self.tally);
                player.handle(now, flying.bytes, &mut self.scratch, truth, tally);
            }
        }
    }

    /// One tick. `stormy`: people come and go, and what is no player is meddled with.
    fn tick(&mut self, stormy: bool) {
        self.ticks += 1;
        let now = self.now();
        self.deliver();
        self.come_and_go(self.ticks as Tick, stormy);
        if stormy {
            self.meddle();
            if self.scenario.described {
                self.describe_some();
            }
        }
        for player in &mut self.players {
            player.play(&mut self.random, [CENTRE; 2], self.scenario.reach);
            for datagram in player.transmit(now) {
                self.network.send(now.as_ms(), Way::Up, player.address, &datagram);
            }
        }
        for (to, datagram) in self.server.tick(now) {
            self.network.send(now.as_ms(), Way::Down, to, &datagram);
        }
        let (tick, beings) = self.server.published();
        self.truth.note(tick, beings);
        if self.scenario.described {
            self.check_words();
        }
    }

    /// `ticks` ticks of storm.
    pub(crate) fn storm(&mut self, ticks: u64) {
        (0..ticks).for_each(|_| self.tick(true));
    }

    /// The storm is over. Within a second everybody who plays sees what is there, and a second
    /// later those, too, who were about to come back. All that time it is checked that it stays so.
    pub(crate) fn calm(&mut self) {
        self.network.weather = Weather::FAIR;
        if !self.scenario.walks_on {
            self.rest();
        }
        let inside: Vec<_> =
            self.players.iter().filter(|player| player.is_inside()).map(|p| p.address).collect();
        assert!(4 * inside.len() >= self.scenario.players, "{} are inside", inside.len());
        for elapsed in 1..=150 {
            self.tick(false);
            if elapsed < 60 {
                continue;
            }
            for player in &self.players {
                if elapsed >= 120 || inside.contains(&player.address) {
                    player.check_up_to_date(&self.truth, LAG, &mut self.tally);
                }
            }
        }
        assert_eq!(self.players.len(), self.scenario.players, "everybody is back");
    }

    /// Everybody stands still.
    fn rest(&mut self) {
        self.players.iter_mut().for_each(|player| player.rests = true);
        let scene = self.truth.scene(self.truth.newest());
        let others = scene.values().filter(|being| being.kind != Kind::Player);
        let ids: Vec<_> = others.map(|being| being.id).collect();
        ids.into_iter().for_each(|id| self.server.steer(id, Input::default()));
    }

    /// Everybody sees the `k` nearest, when all stand still.
    pub(crate) fn check_nearest(&self, k: usize) {
        self.players.iter().for_each(|player| player.check_nearest(&self.truth, k));
    }

    pub(crate) fn seen(&self) -> usize {
        self.players.iter().map(Player::sees).sum()
    }

    /// What came to the shards was well-formed and honest.
    pub(crate) fn check_drops(&self) {
        use DropReason::{InputRate, Open, Replay, UnknownConnection};
        for &reason in DropReason::ALL {
            let expected = [InputRate, Open, Replay, UnknownConnection].contains(&reason);
            assert!(expected || self.server.dropped(reason) == 0, "{}", reason.name());
        }
    }

    /// Times that the game said something of an entity.
    pub(crate) fn said(&self) -> u64 {
        self.words.said
    }

    pub(crate) fn handed_over(&self) -> u64 {
        self.server.count(Counter::HandedOver)
    }

    pub(crate) fn lost(&self) -> [u64; 2] {
        [self.network.lost, self.network.detoured]
    }
}
