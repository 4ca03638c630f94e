//! The 14 bytes in front of every packet, and the connection id in them.
//!
//! Owns: the layout and the relations between its fields. Never decides whether a session exists.
//! Called by `gate`, `connection` and `client`; the kernel's steering program reads byte 0 of the
//! same layout.
//!
//! ```text
//!  0        4         5       6                 14
//!  | connection | channel | flags | sequence      |
//!
//!  connection, 32 bits, little-endian:
//!  bit 31        20 19         8 7          0
//!     | generation |    slot    |   socket   |
//! ```

use super::cursor::Writer;
use crate::limits::{HEADER_LEN, SEQUENCE_MAX, SLOTS_PER_SHARD};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Names a session: the socket its packets are steered to, its slot there, and a random generation
/// that tells successive sessions of one slot apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ConnectionId(pub u32);

impl ConnectionId {
    /// The id of every handshake packet: no session yet.
    pub const GATE: Self = Self(0);

    /// `socket` 1..=255, `slot` and `generation` below 4,096.
    pub fn from_parts(socket: u8, slot: u16, generation: u16) -> Self {
        debug_assert!(socket > 0 && usize::from(slot) < SLOTS_PER_SHARD && generation < 1 << 12);
        Self(u32::from(generation) << 20 | u32::from(slot) << 8 | u32::from(socket))
    }

    /// Index of the socket in its port: 0 is the gate, the others are shards.
    pub fn socket(self) -> u8 {
        self.0 as u8
    }

    /// Place in the shard's table of sessions, below 4,096.
    pub fn slot(self) -> u16 {
        (self.0 >> 8) as u16 & 0xFFF
    }

    /// Which of the successive sessions of that slot, below 4,096.
    pub fn generation(self) -> u16 {
        (self.0 >> 20) as u16
    }
}

/// Where in a packet its flags are.
pub const FLAGS_AT: usize = 5;

/// How the messages of a packet are to be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Channel {
    /// At most once, in any order.
    Unreliable,
    /// Exactly once, in order.
    ReliableOrdered,
    /// Exactly once, in any order.
    ReliableUnordered,
    /// Handshake packets, and the sealed messages that serve the connection itself.
    Control,
}

impl Channel {
    /// Number of channels.
    pub const COUNT: usize = 4;

    /// All channels in the order of their wire numbers.
    pub const ALL: [Self; Self::COUNT] =
        [Self::Unreliable, Self::ReliableOrdered, Self::ReliableUnordered, Self::Control];

    /// The channel with this wire number.
    pub fn from_wire(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// Whether its messages carry a message id.
    pub fn has_message_ids(self) -> bool {
        matches!(self, Self::ReliableOrdered | Self::ReliableUnordered)
    }
}

/// The flag bits of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Flags(pub u8);

impl Flags {
    /// The packet is sealed.
    pub const ENCRYPTED: Self = Self(0x01);
    /// Sealed with ChaCha20-Poly1305.
    pub const CHACHA20_POLY1305: Self = Self(0x02);
    /// The low bit of the key epoch.
    pub const REKEY: Self = Self(0x04);
    /// A fragment header is present.
    pub const FRAGMENT: Self = Self(0x08);
    /// The body is compressed.
    pub const COMPRESSED: Self = Self(0x10);
    /// An acknowledgment block is present.
    pub const ACKNOWLEDGMENT: Self = Self(0x20);
    /// The packet negotiates reliable delivery.
    pub const RELIABLE_HANDSHAKE: Self = Self(0x40);
    /// What every sealed packet has.
    pub const SEALED: Self = Self(0x03);

    /// The bits whose value is fixed once a packet is sealed.
    const SEALED_MASK: u8 = 0x83;

    /// Where in a packet they are.
    const AT: usize = 5;

    /// Adds these bits to the header in front of `packet`, which is not sealed yet.
    pub fn add_to(self, packet: &mut [u8]) {
        if let Some(flags) = packet.get_mut(Self::AT) {
            *flags |= self.0;
        }
    }

    /// Whether all bits of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any bit of `other` is set.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// With the bits of `other` the other way round.
    pub const fn toggled(self, other: Self) -> Self {
        Self(self.0 ^ other.0)
    }

    /// The bits that are in both.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The bits of both.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Why 14 bytes are not a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// Fewer than 14 bytes.
    Truncated,
    /// A channel above 3.
    Channel,
    /// A handshake header that is not channel 3, flags 0, sequence 0.
    Handshake,
    /// A connection id that names the gate's socket and yet is not 0.
    Socket,
    /// A sealed header without exactly the bits every sealed packet has.
    Flags,
    /// Sequence 0, or one at or beyond 2^62, on a sealed packet.
    Sequence,
}

/// The header of a packet, its relations checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The session, or `ConnectionId::GATE`.
    pub connection: ConnectionId,
    /// Delivery of the messages inside.
    pub channel: Channel,
    /// What the plaintext starts with and which key sealed it.
    pub flags: Flags,
    /// 0 in handshake packets; counts up from 1 in each direction of a session.
    pub sequence: u64,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct HeaderLayout {
    connection: U32,
    channel: u8,
    flags: u8,
    sequence: U64,
}

const _: () = assert!(size_of::<HeaderLayout>() == HEADER_LEN);
const _: () = assert!(std::mem::offset_of!(HeaderLayout, flags) == FLAGS_AT);

impl Header {
    /// What all handshake packets start with.
    pub const HANDSHAKE: Self = Self {
        connection: ConnectionId::GATE,
        channel: Channel::Control,
        flags: Flags(0),
        sequence: 0,
    };

    /// Reads the first 14 bytes of `datagram`.
    ///
    /// # Errors
    /// When they are missing or contradict each other.
    #[inline]
    pub fn read(datagram: &[u8]) -> Result<Self, HeaderError> {
        let (layout, _) =
            HeaderLayout::ref_from_prefix(datagram).map_err(|_| HeaderError::Truncated)?;
        let header = Self {
            connection: ConnectionId(layout.connection.get()),
            channel: Channel::from_wire(layout.channel).ok_or(HeaderError::Channel)?,
            flags: Flags(layout.flags),
            sequence: layout.sequence.get(),
        };
        header.check().map(|()| header)
    }

    /// The relations between the fields.
    #[inline]
    fn check(self) -> Result<(), HeaderError> {
        if self.connection == ConnectionId::GATE {
            return if self == Self::HANDSHAKE { Ok(()) } else { Err(HeaderError::Handshake) };
        }
        if self.connection.socket() == 0 {
            return Err(HeaderError::Socket);
        }
        if self.flags.0 & Flags::SEALED_MASK != Flags::SEALED.0 {
            return Err(HeaderError::Flags);
        }
        if self.sequence == 0 || self.sequence >= SEQUENCE_MAX {
            return Err(HeaderError::Sequence);
        }
        Ok(())
    }

    /// Writes the 14 bytes.
    #[inline]
    pub fn write(self, out: &mut [u8; HEADER_LEN]) {
        debug_assert_eq!(self.check(), Ok(()));
        out.copy_from_slice(self.layout().as_bytes());
    }

    /// Appends the 14 bytes.
    #[inline]
    pub fn put(self, writer: &mut Writer<'_>) {
        debug_assert_eq!(self.check(), Ok(()));
        writer.slice(self.layout().as_bytes());
    }

    #[inline]
    fn layout(self) -> HeaderLayout {
        HeaderLayout {
            connection: U32::new(self.connection.0),
            channel: self.channel as u8,
            flags: self.flags.0,
            sequence: U64::new(self.sequence),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_id_round_trips_its_parts() {
        let id = ConnectionId(0x00ab_c103);
        assert_eq!((id.socket(), id.slot(), id.generation()), (3, 0xbc1, 0x00a));
        for (socket, slot, generation) in [(1, 0, 0), (255, 4095, 4095), (7, 1234, 1)] {
            let id = ConnectionId::from_parts(socket, slot, generation);
            assert_eq!((id.socket(), id.slot(), id.generation()), (socket, slot, generation));
        }
    }

    /// The rules as the protocol states them, without the product's shortcuts.
    fn is_legal(bytes: &[u8; HEADER_LEN]) -> bool {
        let id = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let sequence = u64::from_le_bytes(bytes[6..].try_into().expect("eight bytes"));
        if id == 0 {
            return bytes[4] == 3 && bytes[5] == 0 && sequence == 0;
        }
        bytes[0] != 0
            && bytes[4] <= 3
            && bytes[5] & 0x83 == 0x03
            && (1..1 << 62).contains(&sequence)
    }

    #[test]
    fn exactly_the_legal_headers_are_read_and_they_round_trip() {
        let mut legal = 0;
        for id in [0u32, 1, 0x0100, 0x00ab_c103, u32::MAX] {
            for sequence in [0u64, 1, 77, (1 << 62) - 1, 1 << 62, u64::MAX] {
                for channel in 0..=5u8 {
                    for flags in 0..=255u8 {
                        let mut bytes = [0; HEADER_LEN];
                        bytes[..4].copy_from_slice(&id.to_le_bytes());
                        bytes[4..6].copy_from_slice(&[channel, flags]);
                        bytes[6..].copy_from_slice(&sequence.to_le_bytes());
                        let read = Header::read(&bytes);
                        assert_eq!(read.is_ok(), is_legal(&bytes), "{bytes:x?}");
                        let Ok(header) = read else { continue };
                        let mut again = [0xEE; HEADER_LEN];
                        header.write(&mut again);
                        assert_eq!(again, bytes);
                        legal += 1;
                    }
                }
            }
        }
        assert_eq!(legal, 1 + 3 * 3 * 4 * 32);
    }

    #[test]
    fn a_truncated_header_is_an_error_at_every_length() {
        let mut bytes = [0; HEADER_LEN];
        Header::HANDSHAKE.write(&mut bytes);
        for cut in 0..HEADER_LEN {
            assert_eq!(Header::read(&bytes[..cut]), Err(HeaderError::Truncated));
        }
        assert_eq!(Header::read(&bytes), Ok(Header::HANDSHAKE));
    }
}
