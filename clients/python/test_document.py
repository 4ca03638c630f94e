"""The worked example of docs/PROTOCOL.md, chapter 12, byte for byte.

    python3 -m unittest discover -s clients/python
"""

import json
import re
import struct
import unittest
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from message_examples import examples
from tidelock_client.handshake import Attempt, Ticket, expand, extract
from tidelock_client.keys import Keys, after
from tidelock_client.session import Disconnected, Received, Session, message
from tidelock_client.snapshot import World
from tidelock_client.wire import Header, Malformed, Reader, crc32c

HOME = Path(__file__).resolve().parents[2]
DOCUMENT = HOME / "docs" / "PROTOCOL.md"


def blocks() -> dict[str, bytes]:
    """The hexadecimal blocks of the document by name."""
    found = re.findall(r"^```hex (\w+)\n(.*?)^```", DOCUMENT.read_text(), re.M | re.S)
    return {name: bytes.fromhex(re.sub(r"\s", "", digits)) for name, digits in found}


BLOCKS = blocks()


def counting(first: int, length: int) -> bytes:
    return bytes(range(first, first + length))


def attempt() -> Attempt:
    ticket = Ticket(
        servers=[("127.0.0.1", 3565)],
        protocol_id=0x1122334455667788,
        server_public=BLOCKS["server_static_pub"],
        kind=1,
        key_id=7,
        nonce=counting(0, 24),
        expiry=1_893_456_000,
        sealed=BLOCKS["sealed_token"],
        psk=counting(0x61, 32),
    )
    secret = X25519PrivateKey.from_private_bytes(counting(0x21, 32))
    return Attempt(ticket, build=1001, nonce=counting(0xA0, 8), secret=secret)


def opened(name: str, key: bytes) -> tuple[Header, bytes]:
    packet = BLOCKS[name]
    head = packet[:14]
    return Header.read(packet), ChaCha20Poly1305(key).decrypt(head[:4] + head[6:], packet[14:], head)


class Examples(unittest.TestCase):
    def test_the_examples_of_all_messages_are_made_of_the_tables(self):
        made = examples(BLOCKS, BLOCKS["resume_ticket_plaintext"][18 + 3 :])
        file = HOME / "tests" / "vectors" / "messages.json"
        self.assertEqual(json.loads(file.read_text()), made)
        said = {row["name"]: bytes.fromhex(row["plaintext"])[18:] for row in made["messages"]}
        for name, block in [
            ("crypto_test_ack", "crypto_test_ack"),
            ("disconnect_server", "disconnect"),
            ("delta_sync", "snapshot"),
            ("enter_to_world", "enter"),
            ("sync_entity", "input"),
            ("rekey_request", "rekey_request"),
            ("rekey_response", "rekey_response"),
        ]:
            self.assertEqual(said[name], BLOCKS[block + "_plaintext"][18:], name)


class Handshake(unittest.TestCase):
    def test_both_flights_and_the_answer(self):
        connecting = attempt()
        zeros = bytes(740)
        self.assertEqual(connecting.packet, BLOCKS["connect_first_460_no_cookie"] + zeros)
        self.assertIs(connecting.receive(BLOCKS["cookie_packet"]), True)
        self.assertEqual(connecting.packet, BLOCKS["connect_first_460_with_cookie"] + zeros)
        accepted = connecting.receive(BLOCKS["accepted_packet"])
        self.assertEqual((accepted.connection, accepted.tick), (0x00ABC103, 7777))
        self.assertEqual((accepted.player, accepted.tick_hz), (42, 60))
        self.assertEqual(accepted.root, BLOCKS["root0"])

    def test_a_forged_answer_does_not_end_an_attempt(self):
        connecting = attempt()
        connecting.receive(BLOCKS["cookie_packet"])
        genuine = BLOCKS["accepted_packet"]
        forged = genuine[:60] + bytes([genuine[60] ^ 1]) + genuine[61:136]
        crc = crc32c(struct.pack("<Q", 0x1122334455667788) + forged + bytes(4))
        self.assertIs(connecting.receive(forged + struct.pack("<I", crc)), False)
        self.assertEqual(connecting.receive(genuine).root, BLOCKS["root0"])

    def test_keys(self):
        root = extract(BLOCKS["handshake_hash"], BLOCKS["split_k1"] + BLOCKS["split_k2"])
        self.assertEqual(root, BLOCKS["root0"])
        self.assertEqual(expand(root, "c2s", 0), BLOCKS["c2s_key0"])
        self.assertEqual(expand(root, "s2c", 0), BLOCKS["s2c_key0"])


class Rekey(unittest.TestCase):
    def secret(self) -> X25519PrivateKey:
        return X25519PrivateKey.from_private_bytes(counting(0x32, 32))

    def test_the_keys_of_epoch_1(self):
        server, client = BLOCKS["rekey_server_pub"], BLOCKS["rekey_client_pub"]
        salt = expand(BLOCKS["root0"], "rekey", 1, server + client)
        self.assertEqual(salt, BLOCKS["rekey_salt"])
        root = after(BLOCKS["root0"], 1, server, client, BLOCKS["rekey_shared"])
        self.assertEqual(root, BLOCKS["root1"])
        self.assertEqual(expand(root, "c2s", 1), BLOCKS["c2s_key1"])
        self.assertEqual(expand(root, "s2c", 1), BLOCKS["s2c_key1"])

    def test_request_response_and_turn(self):
        keys = Keys(BLOCKS["root0"])
        receive = lambda name, now: keys.open(now, Header.read(BLOCKS[name]), BLOCKS[name])
        with self.assertRaises(Malformed):
            receive("ping_epoch1_packet", 0.0)
        plaintext = receive("rekey_request_packet", 0.0)
        self.assertEqual(plaintext, BLOCKS["rekey_request_plaintext"])
        epoch, theirs = struct.unpack("<H32s", plaintext[21:])
        keys.request(0.0, epoch, theirs, self.secret())
        response = message(14, keys.response(0.0))
        self.assertEqual(response, BLOCKS["rekey_response_plaintext"][18:])
        self.assertIsNone(keys.response(0.1))
        packet = BLOCKS["rekey_response_packet"]
        self.assertEqual(keys.seal(packet[:14], BLOCKS["rekey_response_plaintext"]), packet)
        self.assertEqual(message(14, keys.response(0.25)), response)
        self.assertEqual(len(receive("ping_epoch1_packet", 0.3)), 11)
        self.assertEqual((keys.epoch, keys.flag(), keys.response(1.0)), (1, 4, None))
        packet = BLOCKS["rekey_turned_packet"]
        self.assertEqual(keys.seal(packet[:14], BLOCKS["rekey_turned_plaintext"]), packet)
        # Late, under the key before: for three seconds, and it turns nothing back.
        self.assertEqual(receive("rekey_request_packet", 3.2), plaintext)
        self.assertEqual(keys.epoch, 1)
        with self.assertRaises(Malformed):
            receive("rekey_request_packet", 3.3)


class Packets(unittest.TestCase):
    def test_every_sealed_packet_opens_to_its_plaintext(self):
        for name, key in {
            "crypto_test": "c2s_key0", "crypto_test_ack": "s2c_key0", "enter": "c2s_key0",
            "input": "c2s_key0", "snapshot": "s2c_key0",
        }.items():
            with self.subTest(name):
                _, plaintext = opened(f"{name}_packet", BLOCKS[key])
                self.assertEqual(plaintext, BLOCKS[f"{name}_plaintext"])

    def test_messages_and_acknowledgments_are_written_as_in_the_document(self):
        test = message(10, counting(0, 16))
        self.assertEqual(test, BLOCKS["crypto_test_plaintext"])
        received = Received()
        received.processed(1, 5.0)
        self.assertEqual(received.block(5.001)[:16], BLOCKS["crypto_test_ack_plaintext"][:16])
        received.processed(3, 5.0)
        received.processed(2, 5.0)
        self.assertEqual(received.block(5.0)[:16], BLOCKS["input_plaintext"][:16])

    def test_a_sequence_opens_once_and_only_within_the_window(self):
        received = Received()
        for sequence in (1, 5000, 4000):
            self.assertTrue(received.is_new(sequence))
            received.opened(sequence)
            self.assertFalse(received.is_new(sequence))
        self.assertTrue(received.is_new(5000 - 1023))
        self.assertFalse(received.is_new(5000 - 1024))


class Messages(unittest.TestCase):
    """Every packet of messages.json that a server sends to a client without being asked to."""

    # What a client that sends no ReliableHandshake is not sent, and the answer to a Benchmark.
    ASKED = {
        "create_entity", "remove_entity", "game_data_ordered_server", "game_data_unordered_server",
        "benchmark_answer",
    }

    def setUp(self):
        connecting = attempt()
        connecting.receive(BLOCKS["cookie_packet"])
        self.session = Session(connecting.receive(BLOCKS["accepted_packet"]))
        self.session._test = counting(0, 16)
        for _ in range(10):
            self.session.packet(0.0, 3)
        self.world, _ = Snapshot().world()

    def receive(self, packet: bytes) -> None:
        self.session.receive(0.0, packet, self.world.apply, self.world.update)

    def test_what_a_client_has_no_use_for_is_acknowledged_as_any_packet(self):
        rows = json.loads((HOME / "tests" / "vectors" / "messages.json").read_text())["messages"]
        rows = [row for row in rows if row["from"] == "server" and row["name"] not in self.ASKED]
        rows.sort(key=lambda row: row["name"] != "crypto_test_ack")
        for row in rows:
            packet = bytes.fromhex(row["packet"])
            with self.subTest(row["name"]):
                if row["name"] == "disconnect_server":
                    self.assertRaises(Disconnected, self.receive, packet)
                    continue
                self.receive(packet)
                self.assertEqual(self.session.dropped, 0)
                largest, bitmap, _ = struct.unpack("<QQH", self.session._received.block(0.0))
                behind = largest - Header.read(packet).sequence
                self.assertTrue(behind == 0 or bitmap >> behind - 1 & 1)
        self.assertEqual(self.world.own.position, (409_600.0, 204_800.0, 0.0))
        self.assertEqual(len(rows), 13)

    def test_an_update_shows_the_own_state_between_snapshots_and_goes_never_back(self):
        own = BLOCKS["snapshot_plaintext"][18 + 3 + 12 :][:40]
        update = lambda tick, applied: struct.pack("<II", tick, applied) + own
        self.world.update(update(7_799, 2))
        self.assertEqual((self.world.tick, self.world.own_tick), (7_798, 7_799))
        self.assertEqual((self.world.last_processed_input, self.world.own.faction), (2, 2))
        self.world.update(update(7_799, 9))
        self.assertEqual(self.world.last_processed_input, 2)
        for broken in (update(0, 1), update(7_801, 1)[:-1], update(7_801, 1) + b"\0"):
            self.assertRaises(Malformed, self.world.update, broken)
        self.world.update(update(7_900, 50))
        _, body = Snapshot().world()
        self.assertTrue(self.world.apply(body))
        self.assertEqual((self.world.tick, self.world.last_processed_input), (7_800, 50))


class Snapshot(unittest.TestCase):
    def world(self) -> tuple[World, bytes]:
        """A world in which the states exist that the example builds on, and the example."""
        _, plaintext = opened("snapshot_packet", BLOCKS["s2c_key0"])
        reader = Reader(plaintext)
        reader.take(18)
        (length,) = reader.unpack("H")
        self.assertEqual(reader.u8(), 6)
        world = World()
        full = lambda slot, entity, kind: bytes([0x80 | slot, 0]) + struct.pack(
            "<IBBhhHB", entity, kind, 0x33, 0, 0, 0, 0
        )
        head = lambda tick, removals, entries: struct.pack(
            "<IIBBBB", tick, 0, 0, 0, removals, entries
        )
        early = full(5, 0x00100008, 0)
        self.assertTrue(world.apply(head(7793, 0, 1) + early))
        late = full(4, 0x00100007, 0) + full(6, 0x00300009, 5) + full(9, 0x0010000A, 0)
        self.assertTrue(world.apply(head(7798, 0, 3) + late))
        return world, reader.take(length - 1)

    def test_the_example_decodes_to_what_the_document_says(self):
        world, body = self.world()
        self.assertTrue(world.apply(body))
        self.assertEqual((world.tick, world.last_processed_input), (7800, 3))
        self.assertEqual(world.own.position, (409_600.0, 204_800.0, 0.0))
        self.assertEqual(world.own.velocity, (900.0, 0.0, 0.0))
        self.assertEqual((world.own.yaw, world.own.faction), (0x4000, 2))
        self.assertEqual(world.enemies, 1 << 3)
        others = world.others
        self.assertNotIn(0x0010000A, others, "slot 9 was emptied")
        monster = others[0x00200006]
        self.assertEqual((monster.kind, monster.position), (2, (262_144, 131_000, 0)))
        self.assertEqual((monster.velocity, monster.faction), ((-100, 0, 0), 3))
        start = 3 * 65_536 + 32_768
        self.assertEqual(others[0x00100007].position, (start + 6, start - 2, 0))
        self.assertEqual(others[0x00100007].yaw, 0xFFFF)
        self.assertEqual((others[0x00100008].health, others[0x00100008].mana), (200, 100))
        vehicle = others[0x00300009]
        self.assertEqual((vehicle.effects, vehicle.pitch, vehicle.roll), (4, 300, -2))

    def test_an_old_snapshot_and_a_broken_one_change_nothing(self):
        world, body = self.world()
        for broken in (body[:-1], body + b"\0", body[:12] + b"\xff" * len(body[12:])):
            with self.assertRaises(Malformed):
                world.apply(broken)
        self.assertEqual(world.tick, 7798)
        self.assertTrue(world.apply(body))
        self.assertFalse(world.apply(body), "not newer than the newest applied")


if __name__ == "__main__":
    unittest.main()
