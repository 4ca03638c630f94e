"""Chapters 5, 6 and 7: sealed packets, acknowledgments and control messages.

`Session` does no input or output and reads no clock: datagrams and times go in, datagrams and
messages come out.
"""

import os
import struct

from .handshake import Accepted
from .keys import Keys
from .wire import (
    ACK_BLOCK_LEN, ACKNOWLEDGMENT, CONTROL, PLAINTEXT_MAX, REKEY, RELIABLE_HANDSHAKE, SEALED,
    UNRELIABLE, Header, Malformed, Reader,
)

PING, PONG, DISCONNECT, ACK, CRYPTO_TEST, CRYPTO_TEST_ACK, MOVED = 4, 5, 6, 7, 10, 11, 16
HELLO, CHECK_INTEGRITY, REKEY_REQUEST, REKEY_RESPONSE, RESUME_TICKET = 9, 12, 13, 14, 15
ENTER_TO_WORLD, SYNC_ENTITY = 3, 0
UPDATE_ENTITY, UPDATE_ENTITY_QUANTIZED, DELTA_SYNC = 2, 4, 6

WINDOW = 1024
REPEAT_S, FORMER_S, HEARTBEAT_S, ACK_DELAY_S = 0.25, 15.0, 5.0, 0.025
REASONS = {
    0: "left", 1: "full", 2: "banned", 3: "build", 4: "replaced by a newer session",
    5: "maintenance", 6: "timed out", 7: "violations", 8: "a sequence or key is used up",
    9: "a part of the server failed",
}


class Disconnected(Exception):
    """The session has ended."""

    def __init__(self, reason: int, retry_s: int = 0):
        super().__init__(f"disconnected: {REASONS.get(reason, f'reason {reason}')}")
        self.reason, self.retry_s = reason, retry_s


def message(kind: int, body: bytes = b"") -> bytes:
    """Chapter 6.3, on channels without message ids."""
    return struct.pack("<HB", 1 + len(body), kind) + body


class Received:
    """Sequences so far: which to reject, which to acknowledge."""

    def __init__(self) -> None:
        self._newest, self._seen = 0, set()
        self._largest, self._bitmap, self._processed_at = 0, 0, 0.0

    def is_new(self, sequence: int) -> bool:
        return sequence > self._newest or (
            self._newest - sequence < WINDOW and sequence not in self._seen
        )

    def opened(self, sequence: int) -> None:
        self._newest = max(self._newest, sequence)
        self._seen = {old for old in self._seen if self._newest - old < WINDOW} | {sequence}

    def processed(self, sequence: int, now: float) -> None:
        ahead = sequence - self._largest
        if ahead > 0:
            self._bitmap = (self._bitmap << ahead | (self._largest > 0) << ahead - 1) & (1 << 64) - 1
            self._largest, self._processed_at = sequence, now
        elif -64 <= ahead < 0:
            self._bitmap |= 1 << -ahead - 1

    def block(self, now: float) -> bytes:
        """The AckBlock, empty while there is nothing to acknowledge."""
        if not self._largest:
            return b""
        delay = min(int((now - self._processed_at) * 1e6 / 32), 65_534)
        return struct.pack("<QQH", self._largest, self._bitmap, delay)


class Session:
    """One session, from Accepted to Disconnect."""

    def __init__(self, accepted: Accepted):
        self.id, self._former = accepted.connection, None
        self._former_until = None
        self._moved_by = 0
        # Chapter 7.2: TokenKeyId, TokenExpiry, TokenNonce, SealedToken of the newest.
        self.resume_ticket: tuple[int, int, bytes, bytes] | None = None
        self._sequence = 0
        self._received = Received()
        self.keys = Keys(accepted.root)
        self._test, self._test_due = os.urandom(16), 0.0
        self.is_confirmed = False
        self._heard = self._pinged = None
        self._owed, self._owed_since = 0, 0.0
        self._answers: list[bytes] = []
        self.dropped = 0

    # Sending.

    def packet(self, now: float, channel: int, *messages: bytes) -> bytes:
        """A datagram to send now. Every packet carries an AckBlock once there is something to
        acknowledge."""
        block = self._received.block(now) if self.is_confirmed else b""
        plaintext = block + b"".join(messages)
        assert len(plaintext) <= PLAINTEXT_MAX
        self._sequence += 1
        flags = SEALED | self.keys.flag() | (ACKNOWLEDGMENT if block else 0)
        header = Header(self.id, channel, flags, self._sequence).pack()
        if block:
            self._owed = 0
        return self.keys.seal(header, plaintext)

    def poll(self, now: float) -> list[bytes]:
        """Control packets that are due: key confirmation, answers, Pings, acknowledgments. To be
        called after whatever else is sent, at least every 25 ms. Raises Disconnected."""
        if self._heard is None:
            self._heard = self._pinged = now
        if now - self._heard >= 15.0:
            raise Disconnected(6)
        due = []
        if not self.is_confirmed and now >= self._test_due:
            self._test_due = now + REPEAT_S
            due.append(message(CRYPTO_TEST, self._test))
        due, self._answers = due + self._answers, []
        response = self.keys.response(now)
        if response:
            due.append(message(REKEY_RESPONSE, response))
        silent = now - max(self._heard, self._pinged)
        if self.is_confirmed and silent >= HEARTBEAT_S:
            self._pinged = now
            due.append(message(PING, os.urandom(8)))
        late = now - self._owed_since >= ACK_DELAY_S
        if self.is_confirmed and not due and (self._owed >= 2 or (self._owed and late)):
            due.append(message(ACK))
        return [self.packet(now, CONTROL, *due)] if due else []

    def farewell(self, now: float) -> bytes:
        """A Disconnect 0, to be sent three times as three packets, 50 ms apart."""
        return self.packet(now, CONTROL, message(DISCONNECT, struct.pack("<BxH", 0, 0)))

    # Receiving.

    def receive(self, now: float, datagram: bytes, on_snapshot, on_update) -> None:
        """Takes a datagram from the server. `on_snapshot(body)` applies a DeltaSync and tells
        whether it was applied; `on_update(body)` takes in an UpdateEntity. Raises Disconnected;
        drops what is not for this session."""
        try:
            header, plaintext = self._open_packet(now, datagram)
        except Malformed:
            self.dropped += 1
            return
        try:
            asks = self._read(now, header, plaintext, on_snapshot, on_update)
        except Malformed:
            self.dropped += 1
            return
        if asks is None:
            return
        self._received.processed(header.sequence, now)
        if asks:
            self._owed_since = self._owed_since if self._owed else now
            self._owed += 1

    def _open_packet(self, now: float, datagram: bytes) -> tuple[Header, bytes]:
        header = Header.read(datagram)
        if self._former_until is not None and now >= self._former_until:
            self._former = self._former_until = None
        if header.connection not in (self.id, self._former) or header.connection == 0:
            raise Malformed("another session")
        if not self._received.is_new(header.sequence):
            raise Malformed("replay")
        plaintext = self.keys.open(now, header, datagram)
        self._received.opened(header.sequence)
        self._heard = now
        if header.connection == self.id and self._former and self._former_until is None:
            self._former_until = now + FORMER_S
        return header, plaintext

    def _read(
        self, now: float, header: Header, plaintext: bytes, on_snapshot, on_update
    ) -> bool | None:
        """Whether the packet asks for an acknowledgment; None: it must not be acknowledged."""
        hello = RELIABLE_HANDSHAKE if header.channel == CONTROL else 0
        if header.flags & ~(SEALED | REKEY | ACKNOWLEDGMENT | hello):
            raise Malformed("a flag that is not in use")
        reader = Reader(plaintext)
        if header.flags & ACKNOWLEDGMENT:
            largest, _, _ = Reader(reader.take(ACK_BLOCK_LEN)).unpack("QQH")
            if not 1 <= largest <= self._sequence:
                raise Malformed("acknowledges what was never sent")
        asks = False
        while len(reader):
            (length,) = reader.unpack("H")
            if length == 0:
                raise Malformed("a message without a type")
            body = Reader(reader.take(length))
            kind = body.u8()
            asks |= kind != ACK
            if header.channel == UNRELIABLE and kind == DELTA_SYNC and self.is_confirmed:
                if not on_snapshot(body.take(len(body))):
                    return None
            elif header.channel == UNRELIABLE and kind == UPDATE_ENTITY and self.is_confirmed:
                on_update(body.take(len(body)))
            elif (
                header.channel == UNRELIABLE
                and kind == UPDATE_ENTITY_QUANTIZED
                and self.is_confirmed
            ):
                pass  # A neighbour, to be shown until the next snapshot: this client shows nothing.
            elif header.channel == CONTROL:
                self._read_control(now, header, kind, body)
            else:
                raise Malformed("not allowed here")
        return asks

    def _read_control(self, now: float, header: Header, kind: int, body: Reader) -> None:
        if kind == PING:
            (nonce,) = body.unpack("Q")
            self._answers.append(message(PONG, struct.pack("<QQ", nonce, int(now * 1e6))))
        elif kind == PONG:
            body.unpack("QQ")
        elif kind == DISCONNECT:
            raise Disconnected(*body.unpack("BxH"))
        elif kind == CRYPTO_TEST_ACK:
            if body.take(16) != self._test:
                raise Malformed("not our bytes")
            self.is_confirmed = True
        elif kind == RESUME_TICKET:
            token_kind, key_id, expiry = body.unpack("BIQ")
            token = (key_id, expiry, body.take(24), body.take(272))
            if token_kind != 2:
                raise Malformed("not a resume ticket")
            if self.resume_ticket is None or expiry >= self.resume_ticket[1]:
                self.resume_ticket = token
        elif kind == HELLO and header.flags & RELIABLE_HANDSHAKE:
            # Chapter 6.6: who sends none is sent no reliable message.
            if body.unpack("HHHHII")[5]:
                raise Malformed("bytes that are not zero")
        elif kind == CHECK_INTEGRITY and self.is_confirmed:
            # Chapter 7.1: without keys there is no answer.
            if body.unpack("HBB16s")[1:3] != (0, 0):
                raise Malformed("not a question")
        elif kind == REKEY_REQUEST and self.is_confirmed:
            self.keys.request(now, *body.unpack("H32s"))
        elif kind == MOVED and self.is_confirmed:
            self._move(header, *body.unpack("I"))
        elif kind != ACK:
            raise Malformed("not allowed here")
        body.finish()

    def _move(self, header: Header, connection: int) -> None:
        """Chapter 6.4."""
        if connection & 0xFF == 0:
            raise Malformed("the gate has no sessions")
        if connection == self.id or header.sequence < self._moved_by:
            return
        self._moved_by = header.sequence
        self._former, self.id, self._former_until = self.id, connection, None
