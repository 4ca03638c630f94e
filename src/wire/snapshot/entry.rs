//! The encoding of one entry: the bytes that describe an entity to a viewer.
//!
//! They depend on the entity and on the age of the baseline, never on the viewer, so that they can
//! be made once and copied. Called by `replicate::encode`.

use super::{AGE_FOLLOWS, ENTRY_MAX, mask, rare};
use crate::state::{Kind, QuantizedState};
use crate::units::EntityId;
use crate::wire::zigzag;

/// Writes the byte or two in front of an entry's body and returns how many they were. `out` has
/// room for the body as well.
///
/// `age` 0 means a full entry; an age equal to `base_age` needs no byte of its own.
#[inline]
pub fn write_entry_head(slot: u8, age: u8, base_age: u8, out: &mut [u8]) -> usize {
    // Without a branch: who has lost packets has slots of many ages, in no order. The second byte
    // belongs to the body if the age is that of the head.
    let base_age = if base_age == 0 { u8::MAX } else { base_age };
    let own_age = age != base_age;
    out[0] = slot | if own_age { AGE_FOLLOWS } else { 0 };
    out[1] = age;
    1 + usize::from(own_age)
}

/// Bytes of a body that says nothing but a difference of x and y of one byte each.
pub const STEP_LEN: usize = 3;

/// The body of an entry that only moved, by differences of x and y that are one zigzag byte each.
#[inline]
pub fn step_body([x, y]: [u8; 2]) -> [u8; STEP_LEN] {
    [mask::POSITION, x, y]
}

/// The body of one entry under construction.
#[derive(Clone, Copy, Debug)]
pub struct EntryBody {
    bytes: [u8; ENTRY_MAX],
    len: u8,
}

impl EntryBody {
    /// The bytes so far.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Describes `now` against `base`; `None` if they are equal.
    pub fn delta(now: &QuantizedState, base: &QuantizedState) -> Option<Self> {
        let mut body = Self { bytes: [0; ENTRY_MAX], len: 1 };
        let moved = (now.x ^ base.x) | (now.y ^ base.y) != 0;
        let mut bits = 0;
        if moved {
            bits |= mask::POSITION;
            body.zigzag(now.x.wrapping_sub(base.x) as i32);
            body.zigzag(now.y.wrapping_sub(base.y) as i32);
        }
        if now.z != base.z {
            bits |= mask::HEIGHT;
            body.zigzag(i32::from(now.z) - i32::from(base.z));
        }
        bits |= body.fields(now, base);
        body.bytes[0] = bits;
        (bits != 0).then_some(body)
    }

    /// Describes an entity that the viewer does not know yet.
    pub fn full(id: EntityId, kind: Kind, now: &QuantizedState) -> Self {
        let mut body = Self { bytes: [0; ENTRY_MAX], len: 13 };
        body.bytes[0..4].copy_from_slice(&id.0.to_le_bytes());
        body.bytes[4] = kind as u8;
        body.bytes[5] = (now.x >> 16) as u8 | ((now.y >> 16) as u8) << 4;
        body.bytes[6..8].copy_from_slice(&within_quadrant(now.x).to_le_bytes());
        body.bytes[8..10].copy_from_slice(&within_quadrant(now.y).to_le_bytes());
        body.bytes[10..12].copy_from_slice(&now.z.to_le_bytes());
        body.bytes[12] = body.fields(now, &QuantizedState::DEFAULT);
        body
    }

    /// The fields other than the position; returns their mask bits.
    fn fields(&mut self, now: &QuantizedState, base: &QuantizedState) -> u8 {
        let mut bits = 0;
        if now.yaw != base.yaw {
            bits |= mask::ROTATION;
            self.zigzag(i32::from(now.yaw.wrapping_sub(base.yaw) as i16));
        }
        if now.animation != base.animation {
            bits |= mask::ANIMATION;
            self.put(&[now.animation]);
        }
        if now.flags != base.flags {
            bits |= mask::FLAGS;
            self.put(&[now.flags]);
        }
        if now.velocity != base.velocity {
            bits |= mask::VELOCITY;
            for (axis, value) in now.velocity.iter().enumerate() {
                self.zigzag(i32::from(value.wrapping_sub(base.velocity[axis])));
            }
        }
        if (now.health, now.mana) != (base.health, base.mana) {
            bits |= mask::VITALS;
            self.put(&[now.health, now.mana]);
        }
        // One comparison for all that seldom changes.
        if (rare_word(now) ^ rare_word(base)) | u64::from(now.faction ^ base.faction) != 0 {
            bits |= mask::MORE;
            self.rare_fields(now, base);
        }
        bits
    }

    /// The second mask and its fields.
    #[cold]
    #[inline(never)]
    fn rare_fields(&mut self, now: &QuantizedState, base: &QuantizedState) {
        let mask_at = usize::from(self.len);
        self.put(&[0]);
        let mut bits = 0;
        if now.effects != base.effects {
            bits |= rare::EFFECTS;
            self.put(&now.effects.to_le_bytes());
        }
        if now.faction != base.faction {
            bits |= rare::FACTION;
            self.put(&[now.faction]);
        }
        if (now.pitch, now.roll) != (base.pitch, base.roll) {
            bits |= rare::TILT;
            self.zigzag(i32::from(now.pitch.wrapping_sub(base.pitch)));
            self.zigzag(i32::from(now.roll.wrapping_sub(base.roll)));
        }
        self.bytes[mask_at] = bits;
    }

    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        let at = usize::from(self.len);
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len() as u8;
    }

    /// LEB128 of the zigzag form; differences of positions need at most 20 bits, so three bytes.
    #[inline]
    fn zigzag(&mut self, value: i32) {
        let mut rest = zigzag(value);
        while rest >= 0x80 {
            self.put(&[rest as u8 | 0x80]);
            rest >>= 7;
        }
        self.put(&[rest as u8]);
    }
}

/// Effects, pitch and roll, which lie side by side in a state.
#[inline]
fn rare_word(state: &QuantizedState) -> u64 {
    let [pitch, roll] = [state.pitch, state.roll].map(|angle| u64::from(angle as u16));
    u64::from(state.effects) | pitch << 32 | roll << 48
}

/// The offset of `steps` within its quadrant, as the signed 16 bits of the wire.
fn within_quadrant(steps: u32) -> i16 {
    ((steps & 0xFFFF) as i32 - 0x8000) as i16
}
