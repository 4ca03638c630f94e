//! How the bots move: deterministic from the seed and from where the server says they are.

use crate::units::MAP_XY;
use crate::wire::{InputFrame, buttons};
use std::str::FromStr;

/// Distance from the edge of the map at which a walker turns round, cm.
const EDGE: f32 = 20_000.0;
/// Half of the side of the square in which the plaza profile gathers, cm.
const PLAZA_HALF: f32 = 5_000.0;
/// The same of the blob profile.
const BLOB_HALF: f32 = 250.0;
/// Inputs a heading lasts: this many and up to four times as many.
const STRIDE: u16 = 60;
/// The same in the blob, where who walks on is outside at once.
const BLOB_STRIDE: u16 = 8;
/// Length of a walker's stick, of 127, and of those in the blob, who shuffle.
const STICK: f32 = 127.0;
const BLOB_STICK: f32 = 40.0;
/// One input in this many jumps.
const JUMP_EVERY: u64 = 600;

/// Movement profile of a swarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Spread over the whole map, each on a random walk.
    Uniform,
    /// All on one square of 100 m at the centre of the map.
    Plaza,
    /// All in one cell, a square of 5 m at the centre of the map, shuffling.
    Blob,
    /// Spread like uniform, and standing still.
    Idle,
}

impl Profile {
    /// All profiles.
    pub const ALL: [Self; 4] = [Self::Uniform, Self::Plaza, Self::Blob, Self::Idle];

    /// The word used on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Plaza => "plaza",
            Self::Blob => "blob",
            Self::Idle => "idle",
        }
    }

    /// Where player `index` enters the world, whole centimetres.
    pub fn spawn(self, seed: u64, index: u32) -> [i32; 3] {
        let mut random = Random::of(seed, index);
        let (low, side) = match self {
            Self::Uniform | Self::Idle => (0.0, MAP_XY),
            Self::Plaza => (MAP_XY / 2.0 - PLAZA_HALF, 2.0 * PLAZA_HALF),
            Self::Blob => (MAP_XY / 2.0 - BLOB_HALF, 2.0 * BLOB_HALF),
        };
        let mut coordinate = || (low + random.unit() * (side - 1.0)) as i32;
        [coordinate(), coordinate(), 0]
    }
}

impl FromStr for Profile {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|profile| profile.name() == word)
            .ok_or_else(|| format!("unknown profile `{word}`: use uniform, plaza, blob or idle"))
    }
}

/// One walker.
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    random: Random,
    held: InputFrame,
    /// Inputs until the heading changes.
    left: u16,
}

impl Walk {
    /// The walk of player `index`.
    pub fn new(seed: u64, index: u32) -> Self {
        let mut random = Random::of(seed ^ 0x57A1_4BD0, index);
        // Headings of different players must not change in the same tick.
        let left = (random.next() % u64::from(STRIDE)) as u16;
        Self { random, held: InputFrame::default(), left }
    }

    /// The next input of a player whom the server last saw at `position` (cm), asked only when the
    /// heading changes.
    #[inline]
    pub fn step(
        &mut self,
        profile: Profile,
        position: impl FnOnce() -> Option<[f32; 3]>,
    ) -> InputFrame {
        if profile == Profile::Idle {
            return self.held;
        }
        if self.left == 0 || self.held == InputFrame::default() {
            self.turn(profile, position());
        }
        self.left = self.left.saturating_sub(1);
        let jump = if self.random.next().is_multiple_of(JUMP_EVERY) { buttons::JUMP } else { 0 };
        InputFrame { buttons: self.held.buttons | jump, ..self.held }
    }

    fn turn(&mut self, profile: Profile, position: Option<[f32; 3]>) {
        let random = self.random.next();
        let (stride, stick) = match profile {
            Profile::Blob => (BLOB_STRIDE, BLOB_STICK),
            Profile::Uniform | Profile::Plaza | Profile::Idle => (STRIDE, STICK),
        };
        self.left = stride + (random % (3 * u64::from(stride))) as u16;
        let mut yaw = (random >> 32) as u16;
        if let Some([x, y, _]) = position {
            let (dx, dy) = (MAP_XY / 2.0 - x, MAP_XY / 2.0 - y);
            let limit = match profile {
                Profile::Uniform | Profile::Idle => MAP_XY / 2.0 - EDGE,
                Profile::Plaza => PLAZA_HALF,
                Profile::Blob => BLOB_HALF,
            };
            if dx.abs() > limit || dy.abs() > limit {
                // Roughly to the centre: within an eighth of a turn of it.
                let spread = (random >> 48) as i32 % 8192 - 4096;
                yaw = yaw_towards(dx, dy).wrapping_add(spread as u16);
            }
        }
        let (sin, cos) = (f32::from(yaw) * (std::f32::consts::TAU / 65_536.0)).sin_cos();
        let sprints = profile != Profile::Blob && random >> 20 & 7 == 0;
        self.held = InputFrame {
            move_x: (cos * stick) as i8,
            move_y: (sin * stick) as i8,
            yaw,
            buttons: if sprints { buttons::SPRINT } else { 0 },
        };
    }
}

fn yaw_towards(dx: f32, dy: f32) -> u16 {
    let turn = dy.atan2(dx) / std::f32::consts::TAU;
    (turn.rem_euclid(1.0) * 65_536.0) as u32 as u16
}

/// SplitMix64: eight bytes of state, so that thousands of walkers stay small.
#[derive(Clone, Copy, Debug)]
struct Random(u64);

impl Random {
    fn of(seed: u64, index: u32) -> Self {
        let mut random = Self(seed ^ u64::from(index).wrapping_mul(0xD134_2543_DE82_EF95));
        random.next();
        random
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    /// In 0.0..1.0.
    fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 24) as f32
    }
}

const _: () = assert!(PLAZA_HALF * 2.0 < MAP_XY, "the plaza lies on the map");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::movement::{AXIS_FULL, WALK_SPEED};

    #[test]
    fn spawns_cover_the_map_in_uniform_and_the_square_in_plaza() {
        let quadrant = |p: [i32; 3]| (p[0] as u32 / 102_400, p[1] as u32 / 102_400);
        let spread: std::collections::HashSet<_> =
            (0..2000).map(|i| quadrant(Profile::Uniform.spawn(7, i))).collect();
        assert_eq!(spread.len(), 64, "every quadrant of the map has a player");
        for index in 0..2000 {
            let [x, y, z] = Profile::Plaza.spawn(7, index);
            assert!((404_600..414_600).contains(&x) && (404_600..414_600).contains(&y) && z == 0);
        }
    }

    #[test]
    fn the_same_seed_walks_the_same_way_and_another_does_not() {
        let path = |seed| {
            let mut walk = Walk::new(seed, 3);
            (0..500).map(|_| walk.step(Profile::Uniform, || None)).collect::<Vec<_>>()
        };
        assert_eq!(path(1), path(1));
        assert_ne!(path(1), path(2));
    }

    #[test]
    fn axes_stay_in_range_and_the_unit_circle() {
        for index in 0..200 {
            let mut walk = Walk::new(11, index);
            for _ in 0..300 {
                let step = walk.step(Profile::Plaza, || Some([1.0, 819_000.0, 0.0]));
                assert!(step.is_in_range());
                let length = f32::from(step.move_x).hypot(f32::from(step.move_y));
                assert!((120.0..=127.5).contains(&length), "{step:?}");
            }
        }
    }

    #[test]
    fn whoever_leaves_the_plaza_or_nears_the_edge_walks_back() {
        for profile in [Profile::Plaza, Profile::Blob, Profile::Uniform] {
            for position in [[10.0, 10.0, 0.0], [819_000.0, 409_600.0, 0.0]] {
                let mut walk = Walk::new(5, 1);
                let step = walk.step(profile, || Some(position));
                let towards = [409_600.0 - position[0], 409_600.0 - position[1]];
                let dot = f32::from(step.move_x) * towards[0] + f32::from(step.move_y) * towards[1];
                assert!(dot > 0.0, "{profile:?} {step:?}");
            }
        }
    }

    #[test]
    fn the_blob_stays_in_its_cell() {
        for index in 0..50 {
            let mut walk = Walk::new(3, index);
            let mut place = Profile::Blob.spawn(3, index).map(|axis| axis as f32);
            let centre = MAP_XY / 2.0;
            for tick in 0..3000 {
                let inside = place[..2].iter().all(|at| (at - centre).abs() <= BLOB_HALF + 200.0);
                assert!(inside, "player {index}, tick {tick}: {place:?}");
                let step = walk.step(Profile::Blob, || Some(place));
                let speed = WALK_SPEED / AXIS_FULL / 60.0;
                place[0] += f32::from(step.move_x) * speed;
                place[1] += f32::from(step.move_y) * speed;
            }
        }
    }

    #[test]
    fn the_idle_stand_still() {
        let mut walk = Walk::new(5, 1);
        assert!((0..100).all(|_| walk.step(Profile::Idle, || None) == InputFrame::default()));
    }

    #[test]
    fn an_unknown_profile_names_the_known_ones() {
        let error = "plasa".parse::<Profile>().expect_err("not a profile");
        assert!(error.contains("plaza") && error.contains("plasa"), "{error}");
    }
}
