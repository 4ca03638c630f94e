//! Both halves against each other.

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
