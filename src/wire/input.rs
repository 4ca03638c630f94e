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

/// Bytes of one frame of SyncEntityQuantized.
pub const QUANTIZED_FRAME_LEN: usize = 3;

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

/// What a step of a quantized axis stands for: thirds of seven would not be whole numbers.
const AXIS: [i8; 8] = [0, 18, 36, 54, 72, 90, 108, 127];

impl InputFrame {
    /// The same in three bytes, if nothing is lost by it.
    pub fn quantized(&self) -> Option<[u8; QUANTIZED_FRAME_LEN]> {
        let axis = |value: i8| {
            let step = AXIS.iter().position(|it| it.unsigned_abs() == value.unsigned_abs())? as u8;
            Some(if value < 0 { 16 - step } else { step } & 0x0F)
        };
        let [yaw_low, yaw] = self.yaw.to_le_bytes();
        let [buttons, buttons_high] = self.buttons.to_le_bytes();
        let is_whole = yaw_low == 0 && buttons_high == 0;
        is_whole.then_some([axis(self.move_x)? | axis(self.move_y)? << 4, yaw, buttons])
    }

    /// Of three bytes. An axis of −8 becomes `i8::MIN`, which is out of range.
    fn read_quantized(bytes: &[u8; QUANTIZED_FRAME_LEN]) -> Self {
        let [axes, yaw, buttons] = *bytes;
        let axis = |nibble: u8| match nibble & 0x0F {
            step @ 0..=7 => AXIS[usize::from(step)],
            8 => i8::MIN,
            negative => -AXIS[usize::from(16 - negative)],
        };
        Self {
            move_x: axis(axes),
            move_y: axis(axes >> 4),
            yaw: u16::from_le_bytes([0, yaw]),
            buttons: buttons.into(),
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
    frames: Frames<'a>,
}

/// As they lie in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Frames<'a> {
    Full(&'a [[u8; INPUT_FRAME_LEN]]),
    Quantized(&'a [[u8; QUANTIZED_FRAME_LEN]]),
}

impl Frames<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Full(frames) => frames.len(),
            Self::Quantized(frames) => frames.len(),
        }
    }

    /// Frame `place`, below `len`, from the newest on.
    #[inline]
    fn at(&self, place: usize) -> InputFrame {
        match self {
            Self::Full(frames) => InputFrame::read(&frames[place]),
            Self::Quantized(frames) => InputFrame::read_quantized(&frames[place]),
        }
    }
}

impl<'a> InputFrames<'a> {
    /// Reads the body of SyncEntity.
    ///
    /// # Errors
    /// `Malformed` for a wrong length or a count outside 1..=8; `Range` for a frame out of range.
    pub fn read(body: &'a [u8]) -> Result<Self, InputError> {
        Self::read_as(body, |reader, count| {
            Ok(Frames::Full(reader.slice(count * INPUT_FRAME_LEN)?.as_chunks().0))
        })
    }

    /// Reads the body of SyncEntityQuantized.
    ///
    /// # Errors
    /// As `read`.
    pub fn read_quantized(body: &'a [u8]) -> Result<Self, InputError> {
        Self::read_as(body, |reader, count| {
            Ok(Frames::Quantized(reader.slice(count * QUANTIZED_FRAME_LEN)?.as_chunks().0))
        })
    }

    #[inline]
    fn read_as(
        body: &'a [u8],
        frames: impl FnOnce(&mut Reader<'a>, usize) -> Result<Frames<'a>, ReadError>,
    ) -> Result<Self, InputError> {
        let mut reader = Reader::new(body);
        let newest = reader.u32()?;
        let count = usize::from(reader.u8()?);
        if count == 0 || count > INPUT_FRAMES_MAX {
            return Err(ReadError::Value.into());
        }
        let frames = frames(&mut reader, count)?;
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
        let Self { newest, frames } = *self;
        (0..frames.len()).map(move |i| (newest.wrapping_sub(i as u32), frames.at(i)))
    }

    /// The newest `count` of them, or as many as there are, from the oldest on: the order in which
    /// they happened.
    pub fn oldest_first(&self, count: usize) -> impl Iterator<Item = (u32, InputFrame)> + use<'a> {
        let Self { newest, frames } = *self;
        let numbered = (0..count.min(frames.len())).rev();
        numbered.map(move |i| (newest.wrapping_sub(i as u32), frames.at(i)))
    }
}

/// Appends the message in its shortest form: SyncEntityQuantized if that loses nothing of any
/// frame, else SyncEntity. `frames` holds 1..=8 frames, newest first.
pub fn put_shortest_input_frames(writer: &mut Writer<'_>, newest: u32, frames: &[InputFrame]) {
    if !frames.iter().all(|frame| frame.quantized().is_some()) {
        return put_input_frames(writer, newest, frames);
    }
    put_message(writer, to_server::SYNC_ENTITY_QUANTIZED, |writer| {
        writer.u32(newest);
        writer.u8(frames.len() as u8);
        for bytes in frames.iter().filter_map(InputFrame::quantized) {
            writer.array(bytes);
        }
    });
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

    #[test]
    fn a_frame_of_three_bytes_is_the_same_frame_or_none_at_all() {
        let mut representable = 0;
        for (move_x, move_y) in (-127..=127).flat_map(|x| (-127..=127).map(move |y| (x, y))) {
            let frame = InputFrame { move_x, move_y, yaw: 0xC000, buttons: 0x000F };
            if let Some(bytes) = frame.quantized() {
                representable += 1;
                assert_eq!(InputFrame::read_quantized(&bytes), frame);
            }
        }
        assert_eq!(representable, 15 * 15);
        for lossy in [(1, 0), (0x0100, 0x0010), (0x0100, 0x0100)] {
            let frame = InputFrame { yaw: lossy.0, buttons: lossy.1, ..InputFrame::default() };
            let kept = frame.quantized().map(|bytes| InputFrame::read_quantized(&bytes));
            assert!(kept.is_none_or(|kept| kept == frame), "{frame:?}");
        }
        for bytes in (0..=u8::MAX).map(|axes| [axes, 3, 1]) {
            let frame = InputFrame::read_quantized(&bytes);
            let is_legal = bytes[0] & 0x0F != 8 && bytes[0] >> 4 != 8;
            assert_eq!(frame.is_in_range(), is_legal);
            assert_eq!(frame.quantized(), is_legal.then_some(bytes));
        }
    }

    #[test]
    fn quantized_frames_are_read_in_every_count_and_no_other_length() {
        for count in 1..=8_u8 {
            let frames: Vec<_> = (0..count)
                .map(|i| InputFrame {
                    move_x: -AXIS[usize::from(i % 8)],
                    yaw: 256,
                    ..Default::default()
                })
                .collect();
            let mut out = [0; 64];
            let mut writer = Writer::new(&mut out);
            put_shortest_input_frames(&mut writer, 40, &frames);
            let end = writer.finish().expect("64 bytes are enough");
            assert_eq!(
                (end, out[2]),
                (8 + 3 * usize::from(count), to_server::SYNC_ENTITY_QUANTIZED)
            );
            let body = &out[3..end];
            let read = InputFrames::read_quantized(body).expect("what was written");
            let all: Vec<_> = read.newest_first().collect();
            let expected: Vec<_> =
                frames.iter().enumerate().map(|(i, f)| (40 - i as u32, *f)).collect();
            assert_eq!(all, expected);
            for cut in 0..body.len() {
                assert!(InputFrames::read_quantized(&body[..cut]).is_err(), "{cut}");
            }
            let longer = [body, &[0]].concat();
            assert!(InputFrames::read_quantized(&longer).is_err());
        }
        let out_of_range = [1, 0, 0, 0, 1, 0x08, 0, 0];
        assert_eq!(InputFrames::read_quantized(&out_of_range), Err(InputError::Range));
        let button = [1, 0, 0, 0, 1, 0, 0, 0x10];
        assert_eq!(InputFrames::read_quantized(&button), Err(InputError::Range));
    }

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
