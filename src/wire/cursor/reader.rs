//! The reading half of the cursor. What a peer sent ends here as a value or as an error; see
//! `cursor`.

use super::{ReadError, unzigzag};

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
