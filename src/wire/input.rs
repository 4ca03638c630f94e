//! Input frames: what a player wants, once per tick, the last few repeated so that a lost packet
//! loses nothing.
//!
//! Owns: the layout and the ranges of a frame. Never decides what an input does. Called by
//! `connection` to read and by `client` to write.

use super::cursor::{ReadError, Reader, Writer};
use super::message::{put_message, to_server};
use crate::limits::INPUT_FRAMES_MAX;

/// Bytes of one frame.
pub const INPUT_FRAME_LEN: usize = 6;

/// Button bits of a frame.
pub mod buttons {
    /// Jump.
    pub const JUMP: u16 = 0x0001;
    /// Sprint.
    pub const SPRINT: u16 = 0x0002;
    /// Attack.
    pub const ATTACK: u16 = 0x0004;
    /// Use what is in reach.
    pub const USE: u16 = 0x0008;
    /// Every bit that has a meaning. The others are out of range.
    pub const ALL: u16 = 0x000F;
}

/// What a player wants in one tick. Integers only: no peer sends a float.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct InputFrame {
    /// Along the x axis, −127..=127 of the speed limit.
    pub move_x: i8,
    /// Along the y axis, −127..=127 of the speed limit.
    pub move_y: i8,
    /// Heading in 65,536ths of a turn.
    pub yaw: u16,
    /// `buttons` bits.
    pub buttons: u16,
}

impl InputFrame {
    /// Whether every field is one that a client can mean.
    pub fn is_in_range(&self) -> bool {
        self.move_x != i8::MIN && self.move_y != i8::MIN && self.buttons & !buttons::ALL == 0
    }

    fn read(bytes: &[u8; INPUT_FRAME_LEN]) -> Self {
        let [x, y, yaw_low, yaw_high, buttons_low, buttons_high] = *bytes;
        Self {
            move_x: x as i8,
            move_y: y as i8,
            yaw: u16::from_le_bytes([yaw_low, yaw_high]),
            buttons: u16::from_le_bytes([buttons_low, buttons_high]),
        }
    }
}

/// Why a body is not a list of input frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputError {
    /// Its bytes do not parse.
    Malformed(ReadError),
    /// It parses, and one of its frames is out of range.
    Range,
}

impl From<ReadError> for InputError {
    fn from(error: ReadError) -> Self {
        Self::Malformed(error)
    }
}

/// The frames of one packet, newest first. Frame i has the sequence `newest` − i, modulo 2^32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputFrames<'a> {
    /// Sequence of the first frame. A client starts at 1 and counts every frame once.
    pub newest: u32,
    frames: &'a [[u8; INPUT_FRAME_LEN]],
}

impl<'a> InputFrames<'a> {
    /// Reads a message body.
    ///
    /// # Errors
    /// `Malformed` for a wrong length or a count outside 1..=8; `Range` for a frame out of range.
    pub fn read(body: &'a [u8]) -> Result<Self, InputError> {
        let mut reader = Reader::new(body);
        let newest = reader.u32()?;
        let count = usize::from(reader.u8()?);
        if count == 0 || count > INPUT_FRAMES_MAX {
            return Err(ReadError::Value.into());
        }
        let (frames, _) = reader.slice(count * INPUT_FRAME_LEN)?.as_chunks();
        reader.finish()?;
        let all = Self { newest, frames };
        if all.newest_first().all(|(_, frame)| frame.is_in_range()) {
            Ok(all)
        } else {
            Err(InputError::Range)
        }
    }

    /// Frames in the packet, 1..=8.
    pub fn count(&self) -> usize {
        self.frames.len()
    }

    /// Sequence and frame, from the newest back.
    pub fn newest_first(&self) -> impl Iterator<Item = (u32, InputFrame)> + use<'a> {
        let newest = self.newest;
        (0..)
            .zip(self.frames)
            .map(move |(i, bytes)| (newest.wrapping_sub(i), InputFrame::read(bytes)))
    }

    /// The newest `count` of them, or as many as there are, from the oldest on: the order in which
    /// they happened.
    pub fn oldest_first(&self, count: usize) -> impl Iterator<Item = (u32, InputFrame)> + use<'a> {
        let newest = self.newest;
        let frames = &self.frames[..count.min(self.frames.len())];
        let numbered = frames.iter().enumerate().rev();
        numbered.map(move |(i, bytes)| (newest.wrapping_sub(i as u32), InputFrame::read(bytes)))
    }
}

/// Appends the message, length and type included. `frames` holds 1..=8 frames, newest first.
pub fn put_input_frames(writer: &mut Writer<'_>, newest: u32, frames: &[InputFrame]) {
    debug_assert!((1..=INPUT_FRAMES_MAX).contains(&frames.len()), "1..=8 frames in a packet");
    put_message(writer, to_server::SYNC_ENTITY, |writer| {
        writer.u32(newest);
        writer.u8(frames.len() as u8);
        for frame in frames {
            debug_assert!(frame.is_in_range(), "{frame:?}");
            writer.i8(frame.move_x);
            writer.i8(frame.move_y);
            writer.u16(frame.yaw);
            writer.u16(frame.buttons);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(i: u8) -> InputFrame {
        InputFrame { move_x: -(i as i8), move_y: 127, yaw: 0x0100 + u16::from(i), buttons: 0x0F }
    }

    fn body(newest: u32, frames: &[InputFrame]) -> Vec<u8> {
        let mut out = [0; 64];
        let mut writer = Writer::new(&mut out);
        put_input_frames(&mut writer, newest, frames);
        let length = writer.finish().expect("64 bytes hold eight frames");
        assert_eq!(usize::from(out[0]), length - 2);
        assert_eq!(out[2], to_server::SYNC_ENTITY);
        out[3..length].to_vec()
    }

    #[test]
    fn frames_round_trip_with_their_sequences() {
        for count in 1..=INPUT_FRAMES_MAX as u8 {
            let frames: Vec<_> = (0..count).map(frame).collect();
            let body = body(3, &frames);
            assert_eq!(body.len(), 5 + INPUT_FRAME_LEN * frames.len());
            let read = InputFrames::read(&body).expect("own frames");
            assert_eq!(read.count(), frames.len());
            let expected: Vec<_> =
                (0..).zip(&frames).map(|(i, frame)| (3u32.wrapping_sub(i), *frame)).collect();
            assert_eq!(read.newest_first().collect::<Vec<_>>(), expected);
            for first in 0..=frames.len() + 1 {
                let expected = expected.iter().take(first).rev().copied();
                assert!(read.oldest_first(first).eq(expected), "{first} of {count}");
            }
        }
    }

    #[test]
    fn every_other_length_is_an_error() {
        for count in 1..=INPUT_FRAMES_MAX as u8 {
            let mut bytes = body(9, &(0..count).map(frame).collect::<Vec<_>>());
            for cut in 0..bytes.len() {
                let read = InputFrames::read(&bytes[..cut]);
                assert_eq!(read, Err(InputError::Malformed(ReadError::Truncated)), "{cut}");
            }
            bytes.push(0);
            let read = InputFrames::read(&bytes);
            assert_eq!(read, Err(InputError::Malformed(ReadError::Trailing)));
        }
    }

    #[test]
    fn counts_and_values_out_of_range_are_told_apart() {
        let good = body(9, &[frame(1), frame(2)]);
        for count in [0, 9, 255] {
            let mut bad = good.clone();
            bad[4] = count;
            let read = InputFrames::read(&bad);
            assert_eq!(read, Err(InputError::Malformed(ReadError::Value)), "{count}");
        }
        for at in [5, 6, 11, 12] {
            let mut bad = good.clone();
            bad[at] = 0x80;
            assert_eq!(InputFrames::read(&bad), Err(InputError::Range), "byte {at}");
        }
        for bit in 4..16 {
            let mut bad = good.clone();
            bad[9 + bit / 8] |= 1 << (bit % 8);
            assert_eq!(InputFrames::read(&bad), Err(InputError::Range), "button {bit}");
        }
    }
}
