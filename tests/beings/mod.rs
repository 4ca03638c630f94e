//! The model of a world: entities by themselves, each advanced by the scalar definitions, and the
//! dice that make them.

use tidelock::kernel::movement::{Body, Intent, JUMP_SPEED, SPRINT_SPEED, WALK_SPEED, advance_one};
use tidelock::kernel::quantization::{
    Sample, heading_word, posture_word, quantize_one, tilt_word, vitals_word,
};
use tidelock::kernel::{EDGE_XY, EDGE_Z};
use tidelock::state::{Kind, QuantizedState};
use tidelock::units::{EntityId, GRAVITY, TickRate};
use tidelock::world::{Attributes, Input, Orientation, Spawn, buttons};

pub(crate) struct Seeded(pub(crate) u64);

impl Seeded {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn input(&mut self) -> Input {
        let bits = self.next();
        let extreme = |bits: u64| match bits % 5 {
            0 => i8::MIN,
            1 => i8::MAX,
            2 => 0,
            _ => (bits >> 8) as i8,
        };
        Input {
            move_x: extreme(bits & 0xFFFF),
            move_y: extreme(bits >> 16 & 0xFFFF),
            yaw: (bits >> 32) as u16,
            buttons: (bits >> 48) as u16,
        }
    }

    pub(crate) fn spawn(&mut self, id: EntityId) -> Spawn {
        let mut axis = |edge: f32| match self.below(8) {
            0 => 0.0,
            1 => edge,
            2 => -1e30,
            3 => f32::MAX,
            _ => (self.next() >> 40) as f32 / (1 << 24) as f32 * edge,
        };
        let position = [axis(EDGE_XY), axis(EDGE_XY), axis(EDGE_Z)];
        let kind = Kind::ALL[self.below(10).min(7) as usize];
        Spawn {
            id,
            kind,
            position,
            yaw: self.next() as u16,
            faction: self.next() as u8,
            seat: id.index(),
        }
    }
}

/// One entity of the model.
pub(crate) struct Entity {
    pub(crate) kind: Kind,
    pub(crate) body: Body,
    pub(crate) intent: Intent,
    pub(crate) orientation: Orientation,
    pub(crate) faction: u8,
    pub(crate) attributes: Attributes,
    pub(crate) newest: u32,
    pub(crate) pending: Option<Input>,
    pub(crate) heard_ticks_ago: u32,
    pub(crate) last_input: u32,
    pub(crate) quantized: QuantizedState,
    pub(crate) changed: u32,
}

impl Entity {
    pub(crate) fn new(spawn: Spawn, next_tick: u32) -> Self {
        let [x, y, z] = spawn.position;
        let falls = !matches!(spawn.kind, Kind::Projectile | Kind::StaticBuild | Kind::Effect);
        let mut entity = Self {
            kind: spawn.kind,
            body: Body {
                position: [x.clamp(0.0, EDGE_XY), y.clamp(0.0, EDGE_XY), z.clamp(0.0, EDGE_Z)],
                velocity: [0.0; 3],
            },
            intent: Intent { gravity: if falls { GRAVITY } else { 0.0 }, ..Intent::default() },
            orientation: Orientation { yaw: spawn.yaw, ..Orientation::default() },
            faction: spawn.faction,
            attributes: Attributes::SPAWNED,
            newest: 0,
            pending: None,
            heard_ticks_ago: u32::MAX,
            last_input: 0,
            quantized: QuantizedState::DEFAULT,
            changed: next_tick,
        };
        entity.quantized = entity.quantize();
        entity
    }

    pub(crate) fn quantize(&self) -> QuantizedState {
        let Attributes { animation, flags, health, mana, effects } = self.attributes;
        let Orientation { yaw, pitch, roll } = self.orientation;
        quantize_one(Sample {
            position: self.body.position,
            velocity: self.body.velocity,
            gravity: self.intent.gravity,
            heading: heading_word(yaw),
            posture: posture_word(animation, flags),
            vitals: vitals_word(health, mana, self.faction),
            effects,
            tilt: tilt_word(pitch, roll),
        })
    }

    pub(crate) fn tick(&mut self, tick: u32, rate: TickRate) {
        if let Some(input) = self.pending.take() {
            self.intent.wish = [input.move_x, input.move_y].map(|axis| f32::from(axis.max(-127)));
            let sprints = input.buttons & buttons::SPRINT != 0;
            self.intent.speed = if sprints { SPRINT_SPEED } else { WALK_SPEED };
            let jumps = input.buttons & buttons::JUMP != 0;
            self.intent.jump = if jumps { JUMP_SPEED } else { 0.0 };
            self.orientation.yaw = input.yaw;
            self.last_input = self.newest;
            self.heard_ticks_ago = 0;
        } else {
            self.heard_ticks_ago = self.heard_ticks_ago.saturating_add(1);
            if self.kind == Kind::Player && self.heard_ticks_ago == rate.ticks_in_ms(500) {
                self.intent.wish = [0.0; 2];
                self.intent.jump = 0.0;
            }
        }
        self.body = advance_one(self.body, self.intent, rate.seconds());
        let quantized = self.quantize();
        if quantized != self.quantized {
            self.quantized = quantized;
            self.changed = tick;
        }
    }
}
