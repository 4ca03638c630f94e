//! The writing half of the cursor. Never writes outside of its buffer; see `cursor`.

use super::{Overflow, VARINT_U32_MAX, zigzag};

/// Puts little-endian values into a byte slice, one after the other.
///
/// A put that does not fit writes nothing and marks the writer; every later put is ignored, so the
/// position stays where the last whole value ended. `finish` reports it, once, for the whole
/// sequence.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut [u8],
    position: usize,
    overflow: bool,
}

impl<'a> Writer<'a> {
    /// Writes from the first byte of `out` on.
    pub fn new(out: &'a mut [u8]) -> Self {
        Self { out, position: 0, overflow: false }
    }

    /// Bytes written.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Bytes that still fit.
    pub fn remaining(&self) -> usize {
        self.out.len() - self.position
    }

    /// Takes back everything behind `position`, and the overflow with it. Nothing happens when the
    /// position lies ahead.
    pub fn rewind(&mut self, position: usize) {
        if position <= self.position {
            self.position = position;
            self.overflow = false;
        }
    }

    /// The number of bytes written.
    ///
    /// # Errors
    /// `Overflow` when a put did not fit.
    pub fn finish(self) -> Result<usize, Overflow> {
        if self.overflow { Err(Overflow) } else { Ok(self.position) }
    }

    /// `N` bytes.
    #[inline]
    pub fn array<const N: usize>(&mut self, bytes: [u8; N]) {
        match self.out.get_mut(self.position..).and_then(|rest| rest.first_chunk_mut::<N>()) {
            Some(place) if !self.overflow => {
                *place = bytes;
                self.position += N;
            }
            _ => self.overflow = true,
        }
    }

    /// Any number of bytes.
    #[inline]
    pub fn slice(&mut self, bytes: &[u8]) {
        match self.out.get_mut(self.position..).and_then(|rest| rest.get_mut(..bytes.len())) {
            Some(place) if !self.overflow => {
                place.copy_from_slice(bytes);
                self.position += bytes.len();
            }
            _ => self.overflow = true,
        }
    }

    /// One byte.
    #[inline]
    pub fn u8(&mut self, value: u8) {
        self.array([value]);
    }

    /// One signed byte.
    #[inline]
    pub fn i8(&mut self, value: i8) {
        self.array(value.to_le_bytes());
    }

    /// Two bytes.
    #[inline]
    pub fn u16(&mut self, value: u16) {
        self.array(value.to_le_bytes());
    }

    /// Two bytes, signed.
    #[inline]
    pub fn i16(&mut self, value: i16) {
        self.array(value.to_le_bytes());
    }

    /// Four bytes.
    #[inline]
    pub fn u32(&mut self, value: u32) {
        self.array(value.to_le_bytes());
    }

    /// Eight bytes.
    #[inline]
    pub fn u64(&mut self, value: u64) {
        self.array(value.to_le_bytes());
    }

    /// Four bytes of a finite number.
    #[inline]
    pub fn f32(&mut self, value: f32) {
        debug_assert!(value.is_finite(), "no infinity or NaN goes on the wire");
        self.array(value.to_le_bytes());
    }

    /// `length` zero bytes.
    #[inline]
    pub fn zeros(&mut self, length: usize) {
        match self.out.get_mut(self.position..).and_then(|rest| rest.get_mut(..length)) {
            Some(place) if !self.overflow => {
                place.fill(0);
                self.position += length;
            }
            _ => self.overflow = true,
        }
    }

    /// Overwrites two bytes already written at `position`, for a length known only afterwards.
    /// Nothing happens when they were not written.
    #[inline]
    pub fn patch_u16(&mut self, position: usize, value: u16) {
        let written = self.out.get_mut(..self.position);
        if let Some(place) = written.and_then(|w| w.get_mut(position..)?.first_chunk_mut::<2>()) {
            *place = value.to_le_bytes();
        }
    }

    /// LEB128 in its shortest form: 1 byte below 2^7, 2 below 2^14, 3 below 2^21, at most 5.
    #[inline]
    pub fn varint_u32(&mut self, value: u32) {
        if value < 0x80 {
            return self.u8(value as u8);
        }
        let mut bytes = [0; VARINT_U32_MAX];
        let (mut length, mut rest) = (0, value);
        for byte in &mut bytes {
            *byte = rest as u8 | 0x80;
            rest >>= 7;
            length += 1;
            if rest == 0 {
                *byte &= 0x7F;
                break;
            }
        }
        self.slice(&bytes[..length]);
    }

    /// A signed integer, zigzag over LEB128.
    #[inline]
    pub fn zigzag_i32(&mut self, value: i32) {
        self.varint_u32(zigzag(value));
    }
}
