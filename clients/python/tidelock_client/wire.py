"""Chapters 1, 3 and 4: the header, the checksum, and reading bytes that a stranger sent."""

import struct
from typing import NamedTuple

DATAGRAM_MIN, DATAGRAM_MAX, PLAINTEXT_MAX = 30, 1200, 1170
HEADER_LEN, TAG_LEN, ACK_BLOCK_LEN = 14, 16, 18

UNRELIABLE, RELIABLE_ORDERED, RELIABLE_UNORDERED, CONTROL = range(4)

ENCRYPTED, CHACHA20_POLY1305, REKEY, FRAGMENT = 0x01, 0x02, 0x04, 0x08
COMPRESSED, ACKNOWLEDGMENT, RELIABLE_HANDSHAKE = 0x10, 0x20, 0x40
SEALED = ENCRYPTED | CHACHA20_POLY1305


class Malformed(Exception):
    """Bytes that the protocol does not allow."""


class Header(NamedTuple):
    """The first 14 bytes of every packet."""

    connection: int
    channel: int
    flags: int
    sequence: int

    def pack(self) -> bytes:
        return struct.pack("<IBBQ", *self)

    @classmethod
    def read(cls, packet: bytes) -> "Header":
        """The header of `packet`; Malformed if it breaks the relations of chapter 3."""
        if not DATAGRAM_MIN <= len(packet) <= DATAGRAM_MAX:
            raise Malformed("length")
        header = cls(*struct.unpack_from("<IBBQ", packet))
        if header.connection == 0:
            good = header == GATE
        else:
            good = (
                header.connection & 0xFF != 0
                and header.channel <= CONTROL
                and header.flags & 0x83 == SEALED
                and 1 <= header.sequence < 1 << 62
            )
        if not good:
            raise Malformed("header")
        return header


GATE = Header(0, CONTROL, 0, 0)


def _table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_CRC_TABLE = _table()


def crc32c(data: bytes) -> int:
    """Castagnoli's checksum; crc32c(b"123456789") is 0xE3069283."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def checksum(protocol_id: int, packet: bytes, at: int) -> bytes:
    """The checksum field, which stands `at` this offset, of a handshake packet."""
    blank = packet[:at] + bytes(4) + packet[at + 4 :]
    return struct.pack("<I", crc32c(struct.pack("<Q", protocol_id) + blank))


class Reader:
    """Reads forward; Malformed when the bytes end."""

    def __init__(self, data: bytes):
        self._data, self._at = data, 0

    def __len__(self) -> int:
        return len(self._data) - self._at

    def take(self, length: int) -> bytes:
        if length > len(self):
            raise Malformed("too short")
        self._at += length
        return self._data[self._at - length : self._at]

    def unpack(self, layout: str) -> tuple:
        """Little-endian fields as `struct` describes them."""
        return struct.unpack("<" + layout, self.take(struct.calcsize("<" + layout)))

    def u8(self) -> int:
        return self.take(1)[0]

    def varint(self, longest: int) -> int:
        """LEB128 of at most `longest` bytes, none of them needless."""
        value = 0
        for place in range(longest):
            byte = self.u8()
            value |= (byte & 0x7F) << 7 * place
            if byte < 0x80:
                if byte == 0 and place > 0:
                    raise Malformed("a needless byte")
                return value
        raise Malformed("varint too long")

    def zigzag(self, longest: int) -> int:
        value = self.varint(longest)
        return value >> 1 if value & 1 == 0 else -(value + 1 >> 1)

    def zigzag16(self) -> int:
        """A difference that wraps around at 16 bits."""
        value = self.zigzag(3)
        if not -0x8000 <= value <= 0x7FFF:
            raise Malformed("difference beyond 16 bits")
        return value

    def finish(self) -> None:
        if len(self):
            raise Malformed("bytes left over")
