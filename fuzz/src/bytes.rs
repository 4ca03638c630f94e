//! An input as a source of decisions: numbers and slices off its front, zeros once it is used up.

/// What is left of an input.
#[derive(Clone, Copy)]
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// At most `most` bytes, fewer at the end.
    pub(crate) fn take(&mut self, most: usize) -> &'a [u8] {
        let (front, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        front
    }

    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        let taken = self.take(N);
        out[..taken.len()].copy_from_slice(taken);
        out
    }

    pub(crate) fn u8(&mut self) -> u8 {
        u8::from_le_bytes(self.array())
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// A slice that gives its own length in one byte.
    pub(crate) fn sized(&mut self) -> &'a [u8] {
        let length = self.u8();
        self.take(length.into())
    }

    /// Changes bytes of `out` at random: how many, then for each where and by which bits. Tells
    /// whether anything is different now.
    pub(crate) fn mutate(&mut self, out: &mut [u8]) -> bool {
        let before = out.to_vec();
        for _ in 0..self.u8() % 4 {
            let at = usize::from(self.u16()) % out.len().max(1);
            let bits = self.u8();
            if let Some(byte) = out.get_mut(at) {
                *byte ^= bits;
            }
        }
        before != out
    }
}
