//! Bodies made smaller: the length before compression, then an LZ4 block.
//!
//! Owns: when it is done, its layout, and what a receiver must not believe. The only door to the
//! compressor. Never allocates: tables and buffers are the caller's. Called by `connection` to
//! compress and by `client` to decompress; a server decompresses nothing.

use super::cursor::{ReadError, Reader};
use crate::limits::{COMPRESS_ABOVE, COMPRESS_RATIO_MAX};
use lz4_flex::block;

/// Bytes of the length in front of the block.
const RAW_LEN: usize = 2;

/// Memory of the compressor, reused.
pub struct CompressTable(block::CompressTable);

impl Default for CompressTable {
    fn default() -> Self {
        // Positions of 32 bits: the other kind would be exchanged on the stack for a long body.
        Self(block::CompressTable::large())
    }
}

/// Bytes that `compress` needs for a body of `length` bytes.
pub const fn compressed_max(length: usize) -> usize {
    RAW_LEN + block::get_maximum_output_size(length)
}

/// Least bytes that a body of `length` bytes travels as, compressed if that is worth it.
pub const fn compressed_min(length: usize) -> usize {
    if length <= COMPRESS_ABOVE { length } else { RAW_LEN + length.div_ceil(COMPRESS_RATIO_MAX) }
}

/// Writes the compressed form of `body` into `out`, which has `compressed_max` bytes, and returns
/// its length. `None` if the body is to travel as it is: it is short, too long, or does not shrink.
pub fn compress(body: &[u8], table: &mut CompressTable, out: &mut [u8]) -> Option<usize> {
    if body.len() <= COMPRESS_ABOVE {
        return None;
    }
    let raw_len = u16::try_from(body.len()).ok()?;
    let (head, rest) = out.split_first_chunk_mut::<RAW_LEN>()?;
    *head = raw_len.to_le_bytes();
    let length = RAW_LEN + block::compress_into_with_table(body, rest, &mut table.0).ok()?;
    let is_believable = body.len() <= COMPRESS_RATIO_MAX * (length - RAW_LEN);
    (length < body.len() && is_believable).then_some(length)
}

/// Bytes that `compressed` says it has before compression, as far as that is to be believed.
///
/// # Errors
/// `Truncated`; `Value` for nothing, and for more than 64 times what is there.
pub fn raw_len(compressed: &[u8]) -> Result<usize, ReadError> {
    let mut reader = Reader::new(compressed);
    let raw_len = usize::from(reader.u16()?);
    let is_believable = (1..=COMPRESS_RATIO_MAX * reader.remaining()).contains(&raw_len);
    if is_believable { Ok(raw_len) } else { Err(ReadError::Value) }
}

/// Writes what `compressed` was before into the front of `out` and returns its length.
///
/// # Errors
/// As `raw_len`; `Truncated` when `out` is too small; `Value` for a block that is damaged or does
/// not have exactly the length that it says.
pub fn decompress(compressed: &[u8], out: &mut [u8]) -> Result<usize, ReadError> {
    let raw_len = raw_len(compressed)?;
    let out = out.get_mut(..raw_len).ok_or(ReadError::Truncated)?;
    // A block that says nothing about some bytes must not show what was there before.
    out.fill(0);
    let written = block::decompress_into(&compressed[RAW_LEN..], out);
    if written.is_ok_and(|written| written == raw_len) {
        Ok(raw_len)
    } else {
        Err(ReadError::Value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shrunk(body: &[u8]) -> Option<Vec<u8>> {
        let mut out = vec![0xEE; compressed_max(body.len())];
        let length = compress(body, &mut CompressTable::default(), &mut out)?;
        out.truncate(length);
        Some(out)
    }

    proptest! {
        #[test]
        fn what_shrinks_comes_back_whole(
            words in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 1..6),
            picks in prop::collection::vec(any::<prop::sample::Index>(), 1..2_000),
        ) {
            let body: Vec<u8> = picks.iter().flat_map(|pick| pick.get(&words).clone()).collect();
            let body = &body[..body.len().min(60_000)];
            if let Some(compressed) = shrunk(body) {
                prop_assert!(body.len() > COMPRESS_ABOVE && compressed.len() < body.len());
                let mut out = vec![0xAA; 65_535];
                let length = decompress(&compressed, &mut out);
                prop_assert_eq!(length, Ok(body.len()));
                prop_assert_eq!(&out[..body.len()], body);
            }
        }

        #[test]
        fn noise_is_an_error_or_exactly_as_long_as_it_says(
            noise in prop::collection::vec(any::<u8>(), 0..600),
        ) {
            let mut out = vec![0xAA; 65_535];
            if let Ok(length) = decompress(&noise, &mut out) {
                prop_assert_eq!(Ok(length), raw_len(&noise));
            }
        }
    }

    #[test]
    fn short_bodies_and_noise_travel_as_they_are() {
        assert_eq!(shrunk(&[7; COMPRESS_ABOVE]), None);
        assert!(shrunk(&[7; COMPRESS_ABOVE + 1]).is_some());
        let mut state = 1_u64;
        let noise: Vec<u8> = (0..4_000)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            })
            .collect();
        assert_eq!(shrunk(&noise), None);
        assert_eq!(shrunk(&[0; 65_536]), None, "two bytes cannot tell its length");
    }

    #[test]
    fn a_bomb_is_refused_before_it_goes_off() {
        let mut out = vec![0; 65_535];
        let body: Vec<u8> = (0..2_000).map(|i| (i % 61) as u8).collect();
        let honest = shrunk(&body).expect("it shrinks");
        assert_eq!(decompress(&honest, &mut out), Ok(2_000));
        for claimed in [0, 1_999, 2_001, 64 * (honest.len() - 2) + 1, 65_535] {
            let mut bomb = honest.clone();
            bomb[..2].copy_from_slice(&(claimed as u16).to_le_bytes());
            assert_eq!(decompress(&bomb, &mut out), Err(ReadError::Value), "{claimed}");
        }
        for cut in 0..honest.len() {
            assert!(decompress(&honest[..cut], &mut out).is_err(), "cut at {cut}");
        }
        assert_eq!(decompress(&honest, &mut out[..1_999]), Err(ReadError::Truncated));
    }
}
