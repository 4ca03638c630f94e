"""Chapters 5 and 6.9: the keys of a session, epoch by epoch."""

import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from .handshake import expand, extract
from .wire import HEADER_LEN, REKEY, Header, Malformed

HOLD_S, REPEAT_S = 3.0, 0.25


def after(root: bytes, epoch: int, server: bytes, client: bytes, shared: bytes) -> bytes:
    """The root of `epoch`, from the one before it."""
    return extract(expand(root, "rekey", epoch, server + client), shared)


class Keys:
    """Which key seals and which opens, and the client's part in a rekey."""

    def __init__(self, root: bytes):
        self.epoch, self._root = 0, root
        self._seal, self._open = self._pair(root, 0)
        # While a rekey is under way: both keys of the next epoch, our part, when to say it again.
        self._next: tuple | None = None
        self._part, self._part_due = b"", 0.0
        # The key before, the first sequence of this epoch, and until when.
        self._former, self._first, self._former_until = None, 0, 0.0

    @staticmethod
    def _pair(root: bytes, epoch: int) -> tuple[ChaCha20Poly1305, ChaCha20Poly1305]:
        seal, opening = expand(root, "c2s", epoch), expand(root, "s2c", epoch)
        return ChaCha20Poly1305(seal), ChaCha20Poly1305(opening)

    def flag(self) -> int:
        """Flag 0x04 of what is sealed now."""
        return REKEY if self.epoch & 1 else 0

    def seal(self, header: bytes, plaintext: bytes) -> bytes:
        return header + self._seal.encrypt(header[:4] + header[6:], plaintext, header)

    def open(self, now: float, header: Header, datagram: bytes) -> bytes:
        """The plaintext. One key is tried; only a packet that opens changes anything."""
        if header.flags & REKEY == self.flag():
            return self._decrypt(self._open, datagram)
        if self._next:
            plaintext = self._decrypt(self._next[1], datagram)
            self._former, self._first, self._former_until = self._open, header.sequence, now + HOLD_S
            self._seal, self._open = self._next
            self.epoch, self._next = (self.epoch + 1) % 65_536, None
            return plaintext
        if self._former and now < self._former_until and header.sequence < self._first:
            return self._decrypt(self._former, datagram)
        raise Malformed("a key that is not held")

    @staticmethod
    def _decrypt(key: ChaCha20Poly1305, datagram: bytes) -> bytes:
        head = datagram[:HEADER_LEN]
        try:
            return key.decrypt(head[:4] + head[6:], datagram[HEADER_LEN:], head)
        except InvalidTag as error:
            raise Malformed("not from the server") from error

    def request(
        self, now: float, epoch: int, theirs: bytes, secret: X25519PrivateKey | None = None
    ) -> None:
        """A RekeyRequest has come. `secret` is fixed by tests only."""
        following = (self.epoch + 1) % 65_536
        if epoch == self.epoch and now < self._former_until:
            return
        if epoch != following:
            raise Malformed("a rekey to another epoch")
        if self._next:
            return
        secret = secret or X25519PrivateKey.generate()
        try:
            shared = secret.exchange(X25519PublicKey.from_public_bytes(theirs))
        except ValueError:
            return
        ours = secret.public_key().public_bytes_raw()
        self._root = after(self._root, epoch, theirs, ours, shared)
        self._next = self._pair(self._root, epoch)
        self._former = None
        self._part, self._part_due = struct.pack("<H", epoch) + ours, now

    def response(self, now: float) -> bytes | None:
        """The body of the RekeyResponse that is due."""
        if self._next is None or now < self._part_due:
            return None
        self._part_due = now + REPEAT_S
        return self._part
