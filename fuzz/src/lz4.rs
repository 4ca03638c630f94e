//! LZ4 blocks from a server: refused, or exactly what a decoder of thirty lines makes of them, and
//! never a byte of what lay in the buffer before.

use super::bytes::Bytes;
use tidelock::wire::{CompressTable, compress, compressed_max, decompress, raw_len};

/// Bytes as they come, and the same as a body to be compressed.
pub fn run(data: &[u8]) {
    let mut buffers = [vec![0x00; 65_535], vec![0xAA; 65_535]];
    let [first, second] = &mut buffers;
    let read = decompress(data, first);
    assert_eq!(read, decompress(data, second), "what was there before decides nothing");
    if let Ok(length) = read {
        assert_eq!(raw_len(data), Ok(length));
        assert!(length <= 64 * (data.len() - 2), "a bomb");
        assert_eq!(first[..length], second[..length], "what was there before shows");
        assert_eq!(naive(&data[2..]).as_deref(), Some(&first[..length]));
        assert!(second[length..].iter().all(|&byte| byte == 0xAA), "beyond the end");
    }

    // Every input is also a text: its bytes say what to repeat.
    let mut bytes = Bytes(data);
    let mut body = Vec::new();
    while !bytes.is_empty() && body.len() < 60_000 {
        let times = usize::from(bytes.u8()) * 4;
        let word = bytes.take(1 + times % 7);
        body.extend(word.iter().cycle().take(times.max(word.len())));
    }
    let mut out = vec![0xEE; compressed_max(body.len())];
    if let Some(length) = compress(&body, &mut CompressTable::default(), &mut out) {
        assert!(length < body.len());
        assert_eq!(naive(&out[2..length]).as_deref(), Some(&body[..]));
        assert_eq!(decompress(&out[..length], first), Ok(body.len()));
        assert_eq!(first[..body.len()], body);
    }
}

/// The block format, byte by byte. `None` for what is no block, or makes more than 64 KiB.
fn naive(block: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = block.iter().copied();
    let mut out = Vec::new();
    loop {
        let token = usize::from(bytes.next()?);
        let literals = length(token >> 4, &mut bytes)?;
        for _ in 0..literals {
            out.push(bytes.next()?);
        }
        if bytes.len() == 0 {
            return Some(out);
        }
        let offset = usize::from(u16::from_le_bytes([bytes.next()?, bytes.next()?]));
        let matched = length(token & 0x0F, &mut bytes)? + 4;
        if offset == 0 || offset > out.len() || out.len() + matched > 65_535 {
            return None;
        }
        for _ in 0..matched {
            out.push(out[out.len() - offset]);
        }
    }
}

fn length(nibble: usize, bytes: &mut impl Iterator<Item = u8>) -> Option<usize> {
    let mut length = nibble;
    if nibble == 15 {
        loop {
            let more = bytes.next()?;
            length += usize::from(more);
            if more < 255 {
                break;
            }
        }
    }
    Some(length)
}
