//! The checksum of the four plaintext packets.
//!
//! CRC32C filters noise and foreign traffic before anything costs more. It is not security, and
//! sealed packets never carry it. Called by `handshake`.

/// Bytes of the checksum.
pub const CRC_LEN: usize = 4;

/// CRC32C over the protocol id (8 bytes, little-endian) followed by `packet`, of which the four
/// bytes from `crc_at` on count as zeros. A field that would lie outside of the packet is not
/// skipped.
pub fn packet_crc(protocol_id: u64, packet: &[u8], crc_at: usize) -> u32 {
    let start = crc32c::crc32c(&protocol_id.to_le_bytes());
    let Some((before, rest)) = packet.split_at_checked(crc_at) else {
        return crc32c::crc32c_append(start, packet);
    };
    let Some((_, after)) = rest.split_at_checked(CRC_LEN) else {
        return crc32c::crc32c_append(start, packet);
    };
    let crc = crc32c::crc32c_append(start, before);
    let crc = crc32c::crc32c_append(crc, &[0; CRC_LEN]);
    crc32c::crc32c_append(crc, after)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, a bit at a time.
    fn definition(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0u32, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| {
                crc >> 1 ^ if crc & 1 == 1 { 0x82F6_3B78 } else { 0 }
            })
        })
    }

    #[test]
    fn the_checksum_equals_its_definition_with_its_own_field_zero() {
        assert_eq!(definition(b"123456789"), 0xE306_9283, "the check value of CRC32C");
        let packet: Vec<u8> = (0..1200).map(|i| (i * 7 + i / 256) as u8).collect();
        for (length, at) in [(76, 72), (1200, 80), (36, 32), (140, 136), (4, 0)] {
            let mut input = 0x1122_3344_5566_7788u64.to_le_bytes().to_vec();
            input.extend_from_slice(&packet[..length]);
            input[8 + at..8 + at + CRC_LEN].fill(0);
            let crc = packet_crc(0x1122_3344_5566_7788, &packet[..length], at);
            assert_eq!(crc, definition(&input), "{length}");
            assert_ne!(crc, packet_crc(0x1122_3344_5566_7789, &packet[..length], at));
        }
    }

    #[test]
    fn a_field_outside_of_the_packet_does_not_panic() {
        for at in [0, 1, 2, 3, 4, usize::MAX] {
            packet_crc(0, &[1, 2, 3], at);
        }
    }
}
