"""Chapters 2, 4 and 5: from a ticket to the keys of a session."""

import hashlib
import hmac
import json
import os
import struct
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from .wire import GATE, Malformed, checksum

CONNECT, COOKIE, ACCEPTED, DENIED = range(4)
VERSION = 1
CONNECT_LEN, COOKIE_LEN, ACCEPTED_LEN, DENIED_LEN = 1200, 76, 140, 36
STATUS = ["ok", "full", "banned", "build too old", "replaced by a newer session", "maintenance"]


@dataclass(frozen=True)
class Ticket:
    """Chapter 2: what the backend gives to one player for one session."""

    servers: list[tuple[str, int]]
    protocol_id: int
    server_public: bytes
    kind: int
    key_id: int
    nonce: bytes
    expiry: int
    sealed: bytes
    psk: bytes

    @classmethod
    def from_json(cls, text: str) -> "Ticket":
        fields = json.loads(text)
        unhex = lambda name, length: _exactly(bytes.fromhex(fields[name]), length, name)
        return cls(
            servers=[(host.strip("[]"), int(port)) for host, _, port in
                     (server.rpartition(":") for server in fields["servers"])],
            protocol_id=int(fields["protocol_id"], 16),
            server_public=unhex("server_public", 32),
            kind=fields["token_kind"],
            key_id=fields["token_key_id"],
            nonce=unhex("token_nonce", 24),
            expiry=fields["token_expiry"],
            sealed=unhex("sealed_token", 272),
            psk=unhex("psk", 32),
        )


def _exactly(data: bytes, length: int, name: str) -> bytes:
    if len(data) != length:
        raise ValueError(f"{name} has {len(data)} bytes instead of {length}")
    return data


def _hash(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


def _noise_hkdf(chaining_key: bytes, data: bytes, count: int) -> list[bytes]:
    temporary, outputs, last = _hmac(chaining_key, data), [], b""
    for number in range(1, count + 1):
        last = _hmac(temporary, last + bytes([number]))
        outputs.append(last)
    return outputs


def extract(salt: bytes, ikm: bytes) -> bytes:
    """HKDF-Extract of RFC 5869 with SHA-256."""
    return _hmac(salt, ikm)


def expand(root: bytes, name: str, number: int, more: bytes = b"") -> bytes:
    """32 bytes of HKDF-Expand with the label of chapter 5."""
    label = b"tdl1 " + name.encode() + struct.pack("<H", number) + more
    return _hmac(root, label + b"\x01")


class Noise:
    """Chapter 4.5, the client's side of Noise_NKpsk0_25519_ChaChaPoly_SHA256."""

    def __init__(self, prologue: bytes, server_public: bytes, psk: bytes, secret: X25519PrivateKey):
        self._secret, self._server = secret, server_public
        self.public = secret.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self._h = self._ck = _hash(b"Noise_NKpsk0_25519_ChaChaPoly_SHA256")
        self._mix_hash(prologue)
        self._mix_hash(server_public)
        self._ck, temporary, self._key = _noise_hkdf(self._ck, psk, 3)
        self._mix_hash(temporary)

    def _mix_hash(self, data: bytes) -> None:
        self._h = _hash(self._h, data)

    def _mix_key(self, data: bytes) -> None:
        self._ck, self._key = _noise_hkdf(self._ck, data, 2)

    def _agree(self, public: bytes) -> bytes:
        # An all-zero result makes `exchange` raise ValueError.
        return self._secret.exchange(X25519PublicKey.from_public_bytes(public))

    def write_first(self, payload: bytes) -> bytes:
        self._mix_hash(self.public)
        self._mix_key(self.public)
        self._mix_key(self._agree(self._server))
        sealed = ChaCha20Poly1305(self._key).encrypt(bytes(12), payload, self._h)
        self._mix_hash(sealed)
        return self.public + sealed

    def read_second(self, message: bytes) -> tuple[bytes, bytes, bytes]:
        """The server's payload, h, and k1 followed by k2. A forged message raises Malformed and
        leaves everything as it was."""
        before = self._h, self._ck, self._key
        try:
            self._mix_hash(message[:32])
            self._mix_key(message[:32])
            self._mix_key(self._agree(message[:32]))
            payload = ChaCha20Poly1305(self._key).decrypt(bytes(12), message[32:], self._h)
        except (InvalidTag, ValueError) as error:
            self._h, self._ck, self._key = before
            raise Malformed("not from the server") from error
        self._mix_hash(message[32:])
        return payload, self._h, b"".join(_noise_hkdf(self._ck, b"", 2))


@dataclass(frozen=True)
class Accepted:
    """Chapter 4.3: the server's answer, and the first root of the keys."""

    connection: int
    tick: int
    server_time_us: int
    player: int
    tick_hz: int
    heartbeat_ms: int
    timeout_ms: int
    root: bytes


class Refused(Exception):
    """An authenticated refusal: there is no session."""

    def __init__(self, status: int):
        name = STATUS[status] if status < len(STATUS) else f"status {status}"
        super().__init__(f"the server refuses: {name}")
        self.status = status


class Attempt:
    """Chapter 4: one attempt. `packet` is the Connect to send now and every 250 ms."""

    def __init__(self, ticket: Ticket, build: int = 1, nonce: bytes | None = None,
                 secret: X25519PrivateKey | None = None):
        """`nonce` and `secret` are random for every attempt, but in tests."""
        self._ticket = ticket
        self.nonce = nonce or os.urandom(8)
        head = GATE.pack() + struct.pack("<BBQ", CONNECT, VERSION, ticket.protocol_id) + self.nonce
        token = struct.pack("<B3xI", ticket.kind, ticket.key_id) + ticket.nonce
        token += struct.pack("<Q", ticket.expiry) + ticket.sealed
        self._noise = Noise(head + token, ticket.server_public, ticket.psk,
                            secret or X25519PrivateKey.generate())
        first = self._noise.write_first(struct.pack("<IIH6x", build, 0, 1200))
        self._head, self._tail = head, (token + first).ljust(CONNECT_LEN - 84, b"\0")
        self._fill(bytes(48))

    def _fill(self, cookie: bytes) -> None:
        packet = self._head + cookie + bytes(4) + self._tail
        crc = checksum(self._ticket.protocol_id, packet, 80)
        self.packet = packet[:80] + crc + packet[84:]

    def receive(self, packet: bytes) -> Accepted | bool:
        """Takes a handshake packet. Accepted ends the attempt; True asks for `packet` to be sent
        at once; False is everything else, forgeries among it. Raises Refused."""
        for kind, length, crc_at in (
            (COOKIE, COOKIE_LEN, 72), (ACCEPTED, ACCEPTED_LEN, 136), (DENIED, DENIED_LEN, 32)
        ):
            if packet[14:16] == bytes([kind, VERSION]) and len(packet) == length:
                break
        else:
            return False
        genuine = (
            packet[:14] == GATE.pack()
            and packet[16:24] == self.nonce
            and packet[crc_at : crc_at + 4] == checksum(self._ticket.protocol_id, packet, crc_at)
        )
        if not genuine or kind == DENIED:
            return False
        if kind == COOKIE:
            self._fill(packet[24:72])
            return True
        try:
            answer, handshake_hash, split = self._noise.read_second(packet[24:136])
        except Malformed:
            return False
        status, _, connection, tick, time_us, player, hz, _, heartbeat, timeout = struct.unpack_from(
            "<BBxxIIQQHHHH", answer
        )
        if status:
            raise Refused(status)
        root = extract(handshake_hash, split)
        return Accepted(connection, tick, time_us, player, hz, heartbeat, timeout, root)
