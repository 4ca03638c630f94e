//! The one way bytes from a peer become values, and values become bytes: a bounds-checked cursor.
//!
//! Owns: bounds, byte order, variable-length integers. Never allocates, panics or skips bytes: what
//! a reader leaves over is an error. Called by every other file of `wire` and by `replicate`.

/// Why bytes are not what they should be. Always the fault of whoever sent them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// The bytes end inside a value.
    Truncated,
    /// Bytes are left after the last value.
    Trailing,
    /// A variable-length integer that is longer than it needs to be, or too large for its type.
    Varint,
    /// A value that its field does not allow.
    Value,
}

/// The output was too small for what was written into it. The fault of the caller, who sized it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overflow;

/// Longest encoding of a 32-bit variable-length integer.
pub const VARINT_U32_MAX: usize = 5;

/// Takes little-endian values from the front of a byte slice.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the first of `bytes` on.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Bytes not read yet.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Succeeds when everything has been read.
    ///
    /// # Errors
    /// `Trailing` when bytes are left.
    pub fn finish(self) -> Result<(), ReadError> {
        if self.rest.is_empty() { Ok(()) } else { Err(ReadError::Trailing) }
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// `Truncated`, as for every method below that has no list of its own.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(ReadError::Truncated)?;
        self.rest = rest;
        Ok(*head)
    }

    /// The next `length` bytes, borrowed.
    ///
    /// # Errors
    /// `Truncated`
    #[inline]
    pub fn slice(&mut self, length: usize) -> Result<&'a [u8], ReadError> {
        let (head, rest) = self.rest.split_at_checked(length).ok_or(ReadError::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    /// One byte.
    ///
    /// # Errors
    /// `Truncated`
    #[inline]
    pub fn u8(&mut self) -> Result<u8, ReadError> {
        let (&head, rest) = self.rest.split_first().ok_or(ReadError::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    /// One signed byte.
    ///
    /// # Errors
    /// `Truncated`
    #[inline]
    pub fn i8(&mut self) -> Result<i8, ReadError> {
        self.array().map(i8::from_le_bytes)
    }

    /// Two bytes.
    ///
    /// # Errors
    /// `Truncated`
    #[inline]
    pub fn u16(&mut self) -> Result<u16, ReadError> {
        self.array().map(u16::from_le_bytes)
    }

    /// Two bytes, signed.
    ///
    /// # Errors
    /// `Truncated`
    #[inline]
    pub fn i16(&mut self) -> Result<i16, ReadError> {
        self.array().map(i16::from_le_bytes)
    }

    /// Four bytes.
    ///
    /// # Errors
    /// `Truncated`
    #[inline]
    pub fn u32(&mut self) -> Result<u32, ReadError> {
        self.array().map(u32::from_le_bytes)
    }

    /// Eight bytes.
    ///
    /// # Errors
    /// `Truncated`
    #[inline]
    pub fn u64(&mut self) -> Result<u64, ReadError> {
        self.array().map(u64::from_le_bytes)
    }

    /// Four bytes as a finite number.
    ///
    /// # Errors
    /// `Truncated`; `Value` for infinities and NaN, which never occur on the wire.
    #[inline]
    pub fn f32(&mut self) -> Result<f32, ReadError> {
        let value = self.array().map(f32::from_le_bytes)?;
        if value.is_finite() { Ok(value) } else { Err(ReadError::Value) }
    }

    /// `length` bytes that must all be zero.
    ///
    /// # Errors
    /// `Truncated`; `Value` when one of them is not zero.
    #[inline]
    pub fn zeros(&mut self, length: usize) -> Result<(), ReadError> {
        let bytes = self.slice(length)?;
        if bytes.iter().fold(0, |all, byte| all | byte) == 0 {
            Ok(())
        } else {
            Err(ReadError::Value)
        }
    }

    /// A LEB128 integer of at most 32 bits in its shortest form.
    ///
    /// # Errors
    /// `Truncated`; `Varint` when a shorter encoding exists or the value needs more than 32 bits.
    #[inline]
    pub fn varint_u32(&mut self) -> Result<u32, ReadError> {
        let first = self.u8()?;
        if first < 0x80 { Ok(u32::from(first)) } else { self.varint_rest(first) }
    }

    /// The bytes after the first of a longer variable-length integer.
    fn varint_rest(&mut self, first: u8) -> Result<u32, ReadError> {
        let mut value = u32::from(first & 0x7F);
        for shift in [7, 14, 21, 28] {
            let byte = self.u8()?;
            if shift == 28 && byte > 0x0F {
                return Err(ReadError::Varint);
            }
            value |= u32::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return if byte == 0 { Err(ReadError::Varint) } else { Ok(value) };
            }
        }
        Err(ReadError::Varint)
    }

    /// A signed integer, zigzag over LEB128: 0, −1, 1, −2 … are 0, 1, 2, 3 …
    ///
    /// # Errors
    /// As `varint_u32`.
    #[inline]
    pub fn zigzag_i32(&mut self) -> Result<i32, ReadError> {
        self.varint_u32().map(unzigzag)
    }
}

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

/// 0, −1, 1, −2 … → 0, 1, 2, 3 …
#[inline]
pub fn zigzag(value: i32) -> u32 {
    (value << 1 ^ value >> 31) as u32
}

/// The inverse of `zigzag`.
#[inline]
pub fn unzigzag(value: u32) -> i32 {
    (value >> 1) as i32 ^ -((value & 1) as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn varint(value: u32) -> Vec<u8> {
        let mut out = [0; 8];
        let mut writer = Writer::new(&mut out);
        writer.varint_u32(value);
        let length = writer.finish().expect("8 bytes hold every varint");
        out[..length].to_vec()
    }

    #[test]
    fn varints_round_trip_in_their_documented_lengths() {
        let edges = (0..32).flat_map(|bit| [(1u32 << bit) - 1, 1 << bit, (1 << bit) | 1]);
        for value in edges.chain([u32::MAX]) {
            let bytes = varint(value);
            let bits = 32 - value.leading_zeros() as usize;
            assert_eq!(bytes.len(), bits.div_ceil(7).max(1), "{value}");
            let mut reader = Reader::new(&bytes);
            assert_eq!(reader.varint_u32(), Ok(value));
            assert_eq!(reader.finish(), Ok(()));
            for cut in 0..bytes.len() {
                assert_eq!(Reader::new(&bytes[..cut]).varint_u32(), Err(ReadError::Truncated));
            }
        }
    }

    #[test]
    fn a_varint_has_exactly_one_encoding() {
        // Every string of up to three bytes, and the edges of the longer ones: what decodes must
        // encode to the very same bytes.
        let mut accepted = 0;
        for word in 0..1u32 << 24 {
            let bytes = word.to_le_bytes();
            let mut reader = Reader::new(&bytes[..3]);
            if let Ok(value) = reader.varint_u32() {
                let used = 3 - reader.remaining();
                if word < 1 << (8 * used) {
                    assert_eq!(varint(value), bytes[..used], "{word:#x}");
                    accepted += 1;
                }
            }
        }
        assert_eq!(accepted, 1 << 21, "three bytes tell 2^21 values apart");
        for bad in [
            &[0x80, 0x00][..],
            &[0xFF, 0x00],
            &[0xFF, 0xFF, 0xFF, 0xFF, 0x10],
            &[0x80, 0x80, 0x80, 0x80, 0x00],
            &[0x80, 0x80, 0x80, 0x80, 0x80, 0x01],
            &[0xFF, 0xFF, 0xFF, 0xFF, 0x8F, 0x00],
        ] {
            assert_eq!(Reader::new(bad).varint_u32(), Err(ReadError::Varint), "{bad:x?}");
        }
    }

    #[test]
    fn zigzag_keeps_small_magnitudes_short() {
        for (value, code) in [(0, 0), (-1, 1), (1, 2), (-2, 3), (i32::MAX, u32::MAX - 1)] {
            assert_eq!(zigzag(value), code);
            assert_eq!(unzigzag(code), value);
        }
        assert_eq!(unzigzag(u32::MAX), i32::MIN);
        let mut out = [0; 5];
        let mut writer = Writer::new(&mut out);
        writer.zigzag_i32(-64);
        assert_eq!(writer.finish(), Ok(1));
        assert_eq!(Reader::new(&out).zigzag_i32(), Ok(-64));
    }

    #[test]
    fn every_value_is_little_endian_and_leftovers_are_an_error() {
        let mut out = [0; 28];
        let mut writer = Writer::new(&mut out);
        writer.u8(1);
        writer.i8(-2);
        writer.u16(0x0403);
        writer.i16(-3);
        writer.u32(0x0807_0605);
        writer.u64(0x100F_0E0D_0C0B_0A09);
        writer.f32(1.5);
        writer.zeros(2);
        writer.slice(&[7, 8]);
        writer.array([9]);
        assert_eq!((writer.position(), writer.remaining()), (27, 1));
        assert_eq!(writer.finish(), Ok(27));
        assert_eq!(out[2..4], [3, 4]);
        let mut reader = Reader::new(&out);
        assert_eq!((reader.u8(), reader.i8(), reader.u16()), (Ok(1), Ok(-2), Ok(0x0403)));
        assert_eq!((reader.i16(), reader.u32()), (Ok(-3), Ok(0x0807_0605)));
        assert_eq!((reader.u64(), reader.f32()), (Ok(0x100F_0E0D_0C0B_0A09), Ok(1.5)));
        assert_eq!((reader.zeros(2), reader.slice(2)), (Ok(()), Ok(&[7, 8][..])));
        assert_eq!((reader.array(), reader.finish()), (Ok([9]), Err(ReadError::Trailing)));
    }

    #[test]
    fn values_that_never_occur_are_errors() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(Reader::new(&bad.to_le_bytes()).f32(), Err(ReadError::Value));
        }
        assert_eq!(Reader::new(&[0, 0, 1]).zeros(3), Err(ReadError::Value));
        assert_eq!(Reader::new(&[0, 0]).zeros(3), Err(ReadError::Truncated));
        assert_eq!(Reader::new(&[]).slice(usize::MAX), Err(ReadError::Truncated));
    }

    #[test]
    fn an_overflow_writes_nothing_more_and_is_reported_at_the_end() {
        let mut out = [0xEE; 4];
        let mut writer = Writer::new(&mut out);
        writer.u16(0x1111);
        writer.u32(0x2222_2222);
        writer.u8(0x33);
        writer.slice(&[]);
        writer.patch_u16(2, 0x4444);
        assert_eq!(writer.position(), 2);
        assert_eq!(writer.finish(), Err(Overflow));
        assert_eq!(out, [0x11, 0x11, 0xEE, 0xEE]);
        let mut writer = Writer::new(&mut out);
        writer.u16(0);
        writer.u32(0);
        writer.rewind(3);
        writer.rewind(2);
        writer.u16(0x5555);
        writer.patch_u16(0, 0x6666);
        assert_eq!(writer.finish(), Ok(4));
        assert_eq!(out, [0x66, 0x66, 0x55, 0x55]);
    }
}
