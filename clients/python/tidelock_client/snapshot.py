"""Chapters 8.3 and 8.6: DeltaSync, the table of slots that it describes, and UpdateEntity."""

import math
from dataclasses import dataclass, replace

from .wire import Malformed, Reader

SLOTS, HISTORY, STEP_CM = 128, 63, 1.5625
MAP_STEPS, MAP_STEPS_Z = 524_288, 16_384
KINDS = ["player", "npc", "monster", "projectile", "static build", "vehicle", "item", "effect"]
TURNS_ABOUT_ALL_AXES = {3, 5}


@dataclass(frozen=True)
class State:
    """An entity in a slot. Positions in steps of 1.5625 cm, velocities in cm/s."""

    entity: int
    kind: int
    position: tuple[int, int, int] = (0, 0, 0)
    velocity: tuple[int, int, int] = (0, 0, 0)
    yaw: int = 0
    animation: int = 0
    flags: int = 0
    health: int = 255
    mana: int = 255
    faction: int = 0
    effects: int = 0
    pitch: int = 0
    roll: int = 0

    @property
    def centimetres(self) -> tuple[float, ...]:
        return tuple(axis * STEP_CM for axis in self.position)


@dataclass(frozen=True)
class Own:
    """The player's own state, in full precision: centimetres and cm/s."""

    entity: int
    position: tuple[float, float, float]
    velocity: tuple[float, float, float]
    yaw: int
    animation: int
    flags: int
    health: int
    mana: int
    faction: int
    effects: int


def _wrap(value: int) -> int:
    """As an i16."""
    return (value + 0x8000 & 0xFFFF) - 0x8000


def _read_fields(reader: Reader, state: State, mask: int) -> State:
    changes = {}
    x, y, z = state.position
    if mask & 0x01:
        x, y = x + reader.zigzag(5), y + reader.zigzag(5)
    if mask & 0x80:
        z += reader.zigzag(5)
    changes["position"] = x, y, z
    if mask & 0x02:
        changes["yaw"] = state.yaw + reader.zigzag16() & 0xFFFF
    if mask & 0x04:
        changes["animation"] = reader.u8()
    if mask & 0x08:
        changes["flags"] = reader.u8()
    if mask & 0x10:
        changes["velocity"] = tuple(_wrap(axis + reader.zigzag16()) for axis in state.velocity)
    if mask & 0x20:
        changes["health"], changes["mana"] = reader.u8(), reader.u8()
    if mask & 0x40:
        more = reader.u8()
        if more == 0 or more & ~0x07:
            raise Malformed("second mask")
        if more & 0x01:
            (changes["effects"],) = reader.unpack("I")
        if more & 0x02:
            changes["faction"] = reader.u8()
        if more & 0x04:
            if state.kind not in TURNS_ABOUT_ALL_AXES:
                raise Malformed("it does not tilt")
            changes["pitch"] = _wrap(state.pitch + reader.zigzag16())
            changes["roll"] = _wrap(state.roll + reader.zigzag16())
    new = replace(state, **changes)
    x, y, z = new.position
    if not (0 <= x < MAP_STEPS and 0 <= y < MAP_STEPS and 0 <= z < MAP_STEPS_Z):
        raise Malformed("outside the map")
    return new


def _read_full(reader: Reader) -> State:
    entity, kind, quadrant, x, y, z, mask = reader.unpack("IBBhhHB")
    if entity == 0 or kind >= len(KINDS) or quadrant & 0x88 or mask & 0x81:
        raise Malformed("full entry")
    x, y = (quadrant & 15) * 65_536 + x + 32_768, (quadrant >> 4) * 65_536 + y + 32_768
    return _read_fields(reader, State(entity, kind, (x, y, z)), mask)


def _read_own(reader: Reader) -> Own:
    fields = reader.unpack("I6fHBBBBBxI")
    if fields[0] == 0 or not all(math.isfinite(value) for value in fields[1:7]):
        raise Malformed("own state")
    return Own(fields[0], fields[1:4], fields[4:7], *fields[7:])


class World:
    """What the server has told: the own state and the others by slot."""

    def __init__(self) -> None:
        self.tick = 0
        self.last_processed_input = 0
        # And the tick that it is of: that of a snapshot, or of an UpdateEntity after it.
        self.own: Own | None = None
        self.own_tick = 0
        self.enemies = 0
        # Per slot the states received, by tick; the newest is what it shows.
        self._slots: dict[int, dict[int, State]] = {}

    @property
    def others(self) -> dict[int, State]:
        """The newest state of everybody in sight, by entity id."""
        newest = (states[max(states)] for states in self._slots.values())
        return {state.entity: state for state in newest}

    def apply(self, body: bytes) -> bool:
        """Applies a DeltaSync whole. False: it is too old, and must not be acknowledged, as when
        this raises Malformed; then nothing has changed."""
        reader = Reader(body)
        tick, last_input, flags, base_age, removals, entries = reader.unpack("IIBBBB")
        if tick == 0 or flags & ~0x03 or base_age > HISTORY:
            raise Malformed("head")
        if removals > SLOTS or entries > SLOTS:
            raise Malformed("counts")
        own = _read_own(reader) if flags & 0x01 else None
        enemies = reader.unpack("Q")[0] if flags & 0x02 else None
        if enemies is not None and enemies & 1:
            raise Malformed("nobody is the enemy of those without a side")
        if self.tick and tick <= self.tick:
            return False
        removed = list(reader.take(removals))
        if any(a >= b for a, b in zip(removed, removed[1:])) or any(s >= SLOTS for s in removed):
            raise Malformed("removals")
        changed: dict[int, dict[int, State]] = {slot: {} for slot in removed}
        for _ in range(entries):
            self._read_entry(reader, tick, base_age, changed)
        reader.finish()
        for slot, states in changed.items():
            if states:
                self._slots[slot] = states
            else:
                self._slots.pop(slot, None)
        self.tick = tick
        if tick >= self.own_tick:
            self.last_processed_input = last_input
            self.own, self.own_tick = (own, tick) if own else (self.own, self.own_tick)
        self.enemies = self.enemies if enemies is None else enemies
        return True

    def update(self, body: bytes) -> None:
        """Takes in an UpdateEntity: the own state between snapshots, if it is newer."""
        reader = Reader(body)
        tick, last_input = reader.unpack("II")
        own = _read_own(reader)
        reader.finish()
        if tick == 0:
            raise Malformed("tick 0")
        if tick > self.own_tick:
            self.own, self.own_tick, self.last_processed_input = own, tick, last_input

    def _read_entry(self, reader: Reader, tick: int, base_age: int, changed: dict) -> None:
        first = reader.u8()
        slot, age = first & 0x7F, reader.u8() if first & 0x80 else base_age
        if age > HISTORY or (first & 0x80 == 0 and age == 0):
            raise Malformed("age")
        if age == 0:
            changed[slot] = {tick: _read_full(reader)}
            return
        states = changed.get(slot, self._slots.get(slot, {}))
        baseline = states.get(tick - age)
        if baseline is None:
            raise Malformed("a delta against a state that never came")
        mask = reader.u8()
        if mask == 0:
            raise Malformed("an empty delta")
        kept = {at: state for at, state in states.items() if at >= tick - age}
        changed[slot] = {**kept, tick: _read_fields(reader, baseline, mask)}
