//! The prediction of a client against the real world: inputs and snapshots travel for a while, are
//! late or get lost, and what the client says of a tick is compared with what the server's own
//! entity does in it. No socket and no clock; the seed is printed.

use tidelock::client::Prediction;
use tidelock::host::entropy::SeededEntropy;
use tidelock::state::{Kind, flags};
use tidelock::time::Entropy;
use tidelock::units::{EntityId, Tick, TickRate};
use tidelock::wire::snapshot::OwnState;
use tidelock::wire::{InputFrame, buttons};
use tidelock::world::{Input, Row, Spawn, World, WorldConfig};

const RATE: TickRate = TickRate::DEFAULT;
/// Ticks that a packet travels at least, in each direction.
const TRAVEL: Tick = 4;
/// Frames of a packet, as `Client` sends them.
const FRAMES: usize = 3;

/// What the network does.
#[derive(Clone, Copy)]
struct Weather {
    lost_percent: u64,
    /// Ticks that an input may be late.
    late: u64,
}

const FAIR: Weather = Weather { lost_percent: 0, late: 0 };

struct Simulation {
    random: SeededEntropy,
    world: World,
    row: Row,
    tick: Tick,
    prediction: Prediction,
    frames: Vec<InputFrame>,
    /// Arrival tick, newest sequence, frames from the newest on.
    upward: Vec<(Tick, u32, Vec<InputFrame>)>,
    /// Arrival tick, tick shown, newest input, own state.
    downward: Vec<(Tick, Tick, u32, OwnState)>,
    /// Bits of the server's body by tick.
    truth: Vec<[u32; 6]>,
    /// Ticks by which the inputs take longer.
    detour: Tick,
    walks_straight: bool,
    worst_cm: f32,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        println!("seed {seed}");
        let mut world = World::new(WorldConfig { capacity: 9, rate: RATE });
        let id = EntityId::from_parts(3, 1);
        // Near a corner, so that players run against the edge now and then.
        let position = [300.0, 500.0, 0.0];
        let spawn = Spawn { id, kind: Kind::Player, position, yaw: 0, faction: 0, seat: 0 };
        let row = world.spawn(spawn).expect("an empty world has room");
        Self {
            random: SeededEntropy(seed),
            world,
            row,
            tick: 0,
            prediction: Prediction::new(RATE),
            frames: Vec::new(),
            upward: Vec::new(),
            downward: Vec::new(),
            truth: vec![[0; 6]],
            detour: 0,
            walks_straight: false,
            worst_cm: 0.0,
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        u64::from_le_bytes(self.random.bytes()) % bound
    }

    fn wish(&mut self) -> InputFrame {
        if self.walks_straight {
            return InputFrame { move_x: 127, move_y: 40, ..InputFrame::default() };
        }
        let [x, y, pressed, again] = self.random.bytes();
        match self.frames.last() {
            Some(&last) if !again.is_multiple_of(8) => last,
            _ => InputFrame {
                move_x: (x as i8).max(-127),
                move_y: (y as i8).max(-127),
                yaw: u16::from(x) << 8,
                buttons: u16::from(pressed) & (buttons::JUMP | buttons::SPRINT),
            },
        }
    }

    fn body_bits(&self) -> [u32; 6] {
        let columns = self.world.columns();
        let (row, mut bits) = (self.row as usize, [0; 6]);
        let values = columns.position.iter().chain(&columns.velocity).map(|column| column[row]);
        bits.iter_mut().zip(values).for_each(|(bits, value)| *bits = value.to_bits());
        bits
    }

    fn own(&self) -> OwnState {
        let [x, y, z, vx, vy, vz] = self.body_bits().map(f32::from_bits);
        OwnState {
            id: EntityId::from_parts(3, 1),
            position: [x, y, z],
            velocity: [vx, vy, vz],
            flags: flags::IS_ALIVE,
            health: 255,
            mana: 255,
            ..OwnState::default()
        }
    }

    /// One tick of server and client. Tells how far the prediction was corrected, centimetres.
    fn step(&mut self, weather: Weather, gives: u32) -> f32 {
        self.tick += 1;
        let now = self.tick;
        for (_, newest, frames) in self.upward.extract_if(.., |packet| packet.0 <= now) {
            for (sequence, frame) in (0..).map(|back| newest - back).zip(frames) {
                let InputFrame { move_x, move_y, yaw, buttons } = frame;
                self.world.set_input(self.row, sequence, Input { move_x, move_y, yaw, buttons });
            }
        }
        self.world.apply();
        self.world.advance();
        self.world.quantize(now);
        self.truth.push(self.body_bits());
        let applied = self.world.columns().last_input[self.row as usize];
        if self.below(100) >= weather.lost_percent {
            self.downward.push((now + TRAVEL, now, applied, self.own()));
        }
        let mut corrected = 0.0_f32;
        for (_, tick, applied, own) in self.downward.extract_if(.., |packet| packet.0 <= now) {
            let correction = self.prediction.reconcile(tick, applied, &own);
            corrected = corrected.max(correction.distance_cm);
        }
        self.worst_cm = self.worst_cm.max(corrected);
        for _ in 0..gives {
            let frame = self.wish();
            self.frames.push(frame);
            self.prediction.predict(self.frames.len() as u32, frame);
        }
        if gives > 0 && self.below(100) >= weather.lost_percent {
            let late = self.below(weather.late + 1) as Tick;
            let newest = self.frames.iter().rev().take(FRAMES).copied().collect();
            let sequence = self.frames.len() as u32;
            self.upward.push((now + TRAVEL + self.detour + late, sequence, newest));
        }
        corrected
    }

    fn predicted_bits(&self) -> [u32; 6] {
        let body = self.prediction.body().expect("a state was told");
        let [x, y, z] = body.position;
        let [vx, vy, vz] = body.velocity;
        [x, y, z, vx, vy, vz].map(f32::to_bits)
    }

    /// For so many ticks every prediction is what the server's entity does `ahead` ticks later, and
    /// nothing is corrected.
    fn expect_exact(&mut self, ticks: Tick, seed: u64) {
        let ahead = TRAVEL + self.detour;
        let mut predicted = Vec::new();
        for _ in 0..ticks {
            assert_eq!(self.step(FAIR, 1), 0.0, "tick {}, seed {seed}", self.tick);
            predicted.push((self.tick + ahead, self.predicted_bits()));
        }
        for (tick, bits) in predicted {
            while self.truth.len() <= tick as usize {
                self.step(FAIR, 1);
            }
            assert_eq!(self.truth[tick as usize], bits, "tick {tick}, seed {seed}");
        }
    }
}

/// Ticks from an input to the snapshot that shows it.
const ROUND_TRIP: Tick = 2 * TRAVEL + 1;

#[test]
fn when_nothing_is_lost_the_prediction_is_the_servers_state_to_the_bit() {
    for seed in 1..=20 {
        let mut simulation = Simulation::new(seed);
        (0..ROUND_TRIP).for_each(|_| {
            simulation.step(FAIR, 1);
        });
        simulation.expect_exact(600, seed);
        assert!(simulation.truth.iter().any(|body| body[2] != 0), "somebody jumped");
    }
}

#[test]
fn lost_and_late_inputs_are_made_good_within_a_round_trip() {
    let mut worst_cm = 0.0_f32;
    for seed in 1..=40 {
        let mut simulation = Simulation::new(seed);
        let weather = Weather { lost_percent: 30, late: 3 };
        (0..200).for_each(|_| {
            simulation.step(weather, 1);
        });
        worst_cm = worst_cm.max(simulation.worst_cm);
        // The last late input is under way for three ticks more than a timely one.
        (0..ROUND_TRIP + 3).for_each(|_| {
            simulation.step(FAIR, 1);
        });
        simulation.expect_exact(200, seed);
    }
    assert!(worst_cm > 10.0, "the weather was no weather: {worst_cm}");
}

#[test]
fn who_walks_straight_on_is_not_corrected_because_an_input_is_late() {
    for seed in 1..=20 {
        let mut simulation = Simulation::new(seed);
        simulation.walks_straight = true;
        (0..3 * ROUND_TRIP).for_each(|_| {
            simulation.step(FAIR, 1);
        });
        for _ in 0..200 {
            let corrected = simulation.step(Weather { lost_percent: 20, late: 1 }, 1);
            assert_eq!(corrected, 0.0, "tick {}, seed {seed}", simulation.tick);
        }
    }
}

#[test]
fn a_way_that_became_longer_is_learnt() {
    for seed in 1..=20 {
        let mut simulation = Simulation::new(seed);
        (0..100).for_each(|_| {
            simulation.step(FAIR, 1);
        });
        simulation.detour = 3;
        (0..ROUND_TRIP + 3 + 16).for_each(|_| {
            simulation.step(FAIR, 1);
        });
        simulation.expect_exact(200, seed);
    }
}

#[test]
fn a_program_that_was_held_up_predicts_what_it_missed() {
    for seed in 1..=20 {
        let mut simulation = Simulation::new(seed);
        (0..100).for_each(|_| {
            simulation.step(FAIR, 1);
        });
        (0..12).for_each(|_| {
            simulation.step(FAIR, 0);
        });
        simulation.step(FAIR, 13);
        (0..ROUND_TRIP).for_each(|_| {
            simulation.step(FAIR, 1);
        });
        simulation.expect_exact(200, seed);
    }
}
