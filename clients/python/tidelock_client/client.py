"""Chapter 10: the minimal client, on a UDP socket."""

import select
import socket
import struct
import time
from collections import deque

from . import handshake
from .session import ENTER_TO_WORLD, SYNC_ENTITY, Session, message
from .snapshot import World
from .wire import DATAGRAM_MAX, UNRELIABLE

CONNECT_EVERY_S, GIVE_UP_S, ENTER_EVERY_S = 0.25, 15.0, 0.1
DEAF_AFTER_S, DEAF_EVERY_S = 1.0, 0.25
FRAMES_PER_PACKET = 3


class ConnectError(Exception):
    """No session came about."""


class Client:
    """One player. `run` plays for a while; `world` is what the server has told."""

    def __init__(self, ticket: handshake.Ticket):
        self._ticket = ticket
        self.world = World()
        self.session: Session | None = None
        self.accepted: handshake.Accepted | None = None
        self._socket = self._new_socket()
        self._input = 0
        self._frames: deque[bytes] = deque(maxlen=FRAMES_PER_PACKET)
        self._enter_due = 0.0
        self._snapshot_at: float | None = None
        self.snapshots = 0
        self.met: set[int] = set()
        self.longest_gap_s = 0.0

    def _new_socket(self) -> socket.socket:
        host, port = self._ticket.servers[0]
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        udp = socket.socket(found[0], socket.SOCK_DGRAM)
        # Datagrams from anywhere else never arrive.
        udp.connect(found[4])
        return udp

    def rebind(self) -> None:
        """Goes on from another local port, as when a NAT forgets or a phone changes networks."""
        old, self._socket = self._socket, self._new_socket()
        old.close()

    def connect(self) -> None:
        """Steps 2 to 5. Raises ConnectError."""
        attempt = handshake.Attempt(self._ticket)
        start, due = time.monotonic(), 0.0
        while (now := time.monotonic()) < start + GIVE_UP_S:
            if now >= due:
                self._send(attempt.packet)
                due = now + CONNECT_EVERY_S
            for packet in self._receive(due):
                try:
                    answer = attempt.receive(packet)
                except handshake.Refused as error:
                    raise ConnectError(str(error)) from error
                if answer is True:
                    self._send(attempt.packet)
                elif answer:
                    self.accepted = answer
                    self.session = Session(answer)
                    return
        raise ConnectError("no answer within 15 s")

    def run(self, seconds: float, steer) -> None:
        """Steps 6 to 11: plays for `seconds`. `steer(tick)` gives move_x, move_y, yaw, buttons of
        each frame. Raises Disconnected."""
        period = 1 / self.accepted.tick_hz
        start = time.monotonic()
        due, tick = start, 0
        while (now := time.monotonic()) < start + seconds:
            if now >= due:
                self._step(now, steer(tick))
                tick += 1
                # An absolute schedule; after a pause it does not make up for more than a tick.
                due = max(due + period, now - period)
            for packet in self.session.poll(now):
                self._send(packet)
            for packet in self._receive(due):
                self.session.receive(time.monotonic(), packet, self._on_snapshot, self.world.update)

    def leave(self) -> None:
        """Step 12."""
        for _ in range(3):
            self._send(self.session.farewell(time.monotonic()))
            time.sleep(0.05)
        self._socket.close()

    def _step(self, now: float, steering: tuple[int, int, int, int]) -> None:
        if not self.session.is_confirmed:
            return
        told = self._snapshot_at or now
        deaf = self.world.own is not None and now - told >= DEAF_AFTER_S
        if (self.world.own is None or deaf) and now >= self._enter_due:
            self._enter_due = now + (DEAF_EVERY_S if deaf else ENTER_EVERY_S)
            enter = message(ENTER_TO_WORLD, bytes(4))
            self._send(self.session.packet(now, UNRELIABLE, enter))
        if self.world.own is None:
            return
        self._input += 1
        self._frames.appendleft(struct.pack("<bbHH", *steering))
        body = struct.pack("<IB", self._input, len(self._frames)) + b"".join(self._frames)
        self._send(self.session.packet(now, UNRELIABLE, message(SYNC_ENTITY, body)))

    def _on_snapshot(self, body: bytes) -> bool:
        applied = self.world.apply(body)
        if applied:
            now = time.monotonic()
            if self._snapshot_at is not None:
                self.longest_gap_s = max(self.longest_gap_s, now - self._snapshot_at)
            self._snapshot_at = now
            self.snapshots += 1
            self.met.update(self.world.others)
        return applied

    def _send(self, packet: bytes) -> None:
        try:
            self._socket.send(packet)
        except OSError:
            pass  # A refused or unreachable port is a lost packet.

    def _receive(self, until: float) -> list[bytes]:
        """What has arrived, waiting until `until` (at most 10 ms) for the first."""
        wait = min(max(until - time.monotonic(), 0.0), 0.01)
        packets = []
        while select.select([self._socket], [], [], wait)[0]:
            wait = 0.0
            try:
                packets.append(self._socket.recv(DATAGRAM_MAX + 1))
            except OSError:
                break
        return packets
