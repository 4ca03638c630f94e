"""An example of every message of docs/PROTOCOL.md, 6.3, made from its tables.

    python3 clients/python/message_examples.py > tests/vectors/messages.json

Each is a packet of the session of chapter 12 under its first keys, with one message. The client in
this folder has no part in it; the server's tests hold their own bytes to these, and
`test_document.py` holds the file to this program.
"""

import hashlib
import hmac
import json
import struct
import sys

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

CONNECTION = 0x00ABC103
UNRELIABLE, ORDERED, UNORDERED, CONTROL = range(4)
RELIABLE_HANDSHAKE = 0x40
NONCE, PATH_NONCE = 0x0102030405060708, 0xFEDCBA9876543210


def counting(first: int, length: int) -> bytes:
    return bytes(range(first, first + length))


def public(first: int) -> bytes:
    secret = X25519PrivateKey.from_private_bytes(counting(first, 32))
    return secret.public_key().public_bytes_raw()


def own_state() -> bytes:
    """Entity 0x00100005, walking east: 8.3."""
    place = struct.pack("<I6f", 0x00100005, 409_600, 204_800, 0, 900, 0, 0)
    return place + struct.pack("<HBBBBBxI", 0x4000, 0, 5, 255, 255, 2, 0)


def zigzag(value: int) -> bytes:
    value = 2 * value if value >= 0 else -2 * value - 1
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def full_entry() -> bytes:
    """The monster 0x00200006 at steps (262,144, 131,000, 0), velocity (-100, 0, 0), faction 3."""
    quadrant = 262_144 >> 16 | 131_000 >> 16 << 4
    x, y = (262_144 & 0xFFFF) - 32_768, (131_000 & 0xFFFF) - 32_768
    head = struct.pack("<IBBhhH", 0x00200006, 2, quadrant, x, y, 0)
    flags, velocity, faction = bytes([5]), zigzag(-100) + zigzag(0) + zigzag(0), bytes([3])
    return head + bytes([0x08 | 0x10 | 0x40]) + flags + velocity + bytes([0x02]) + faction


def snapshot() -> bytes:
    head = struct.pack("<IIBBBB", 7_800, 3, 0x03, 2, 1, 4)
    moved = bytes([4, 0x03]) + zigzag(6) + zigzag(-2) + zigzag(-1)
    hurt = bytes([5 | 0x80, 7, 0x20, 200, 100])
    tilted = bytes([6, 0x40, 0x01 | 0x04]) + struct.pack("<I", 4) + zigzag(300) + zigzag(-2)
    entries = bytes([3 | 0x80, 0]) + full_entry() + moved + hurt + tilted
    return head + own_state() + struct.pack("<Q", 1 << 3) + bytes([9]) + entries


def hello(ordered: int, unordered: int, kib: int) -> bytes:
    return struct.pack("<HHHHII", ordered, unordered, 256, kib, 65_536, 0)


def control(exporter: bytes, ticket: bytes) -> list[tuple]:
    """(name, from, channel, flags, type, message id, body, what it says)."""
    nonce, key = counting(0x10, 16), counting(0xC1, 32)
    index = struct.pack("<H", 5)
    mac = hmac.new(key, exporter + nonce + index, hashlib.sha256).digest()[:16]
    ping, path = struct.pack("<Q", NONCE), struct.pack("<Q", PATH_NONCE)
    test = counting(0, 16)
    rows = [
        ("crypto_test", "client", 10, test, "the bytes 00 01 … 0f; no AckBlock"),
        ("crypto_test_ack", "server", 11, test, "the same bytes"),
        ("disconnect_client", "client", 6, bytes(4), "left"),
        ("disconnect_server", "server", 6, struct.pack("<BBH", 5, 0, 30), "maintenance, retry_s 30"),
        ("ping_client", "client", 4, ping, "nonce 0x0102030405060708"),
        ("pong_server", "server", 5, ping + struct.pack("<Q", 1_234_567), "its answer at 1,234,567"),
        ("ping_server", "server", 4, path, "to a candidate (6.5), nonce 0xfedcba9876543210"),
        ("pong_client", "client", 5, path + struct.pack("<Q", 2_000_000), "its answer at 2,000,000"),
        ("ack_client", "client", 7, b"", "empty"),
        ("ack_server", "server", 7, b"", "empty"),
        ("integrity_question", "server", 12, index + bytes(2) + nonce, "key 5, nonce 10 11 … 1f"),
        ("integrity_answer", "client", 12, index + b"\1\0" + mac, "key 5 is c1 c2 … e0"),
        ("rekey_request", "server", 13, b"\1\0" + public(0x0A), "epoch 1, secret 0a 0b … 29"),
        ("rekey_response", "client", 14, b"\1\0" + public(0x32), "epoch 1, secret 32 33 … 51"),
        ("resume_ticket", "server", 15, ticket, "the ticket of chapter 12"),
        ("moved", "server", 16, struct.pack("<I", 0x0BB01402), "ConnectionId 0x0bb01402"),
    ]
    return [
        (name, sender, CONTROL, 0, kind, None, body, says) for name, sender, kind, body, says in rows
    ] + [
        ("hello_client", "client", CONTROL, RELIABLE_HANDSHAKE, 9, None, hello(65_535, 7, 64),
         "first ids 65,535 and 7, messages of 64 KiB"),
        ("hello_server", "server", CONTROL, RELIABLE_HANDSHAKE, 9, None, hello(300, 400, 16),
         "first ids 300 and 400, messages of 16 KiB"),
    ]


def reliable() -> list[tuple]:
    named = struct.pack("<I", 0x00200006)
    rows = [
        ("game_data_ordered_client", "client", ORDERED, 24, 65_535, b"first", "id 65,535: first"),
        ("game_data_unordered_client", "client", UNORDERED, 24, 7, b"", "id 7: nothing"),
        ("create_entity", "server", ORDERED, 1, 300, named + b"Gatekeeper",
         "id 300: entity 0x00200006, Gatekeeper"),
        ("remove_entity", "server", ORDERED, 3, 301, named, "id 301: entity 0x00200006"),
        ("game_data_ordered_server", "server", ORDERED, 24, 302, b"in order", "id 302: in order"),
        ("game_data_unordered_server", "server", UNORDERED, 24, 400, b"any", "id 400: any"),
    ]
    return [
        (name, sender, channel, 0, kind, number, body, says)
        for name, sender, channel, kind, number, body, says in rows
    ]


def game() -> list[tuple]:
    frames = b"".join(
        struct.pack("<bbHH", *frame) for frame in [(127, 0, 0x4000, 2), (127, 0, 0, 0), (0, 0, 0, 0)]
    )
    # Steps 7 and 0; −4 and 4; 0 and 0.
    short = bytes([0x07, 0x40, 2]) + bytes([0x4C, 0, 0]) + bytes(3)
    newest = struct.pack("<IB", 3, 3)
    question = struct.pack("<Q", NONCE) + bytes(16)
    answer = struct.pack("<QQQ", NONCE, 5_000_000, 5_012_345)
    at = struct.pack("<I", 7_800)
    rows = [
        ("enter_to_world", "client", 3, bytes(4), "four zeros"),
        ("sync_entity", "client", 0, newest + frames,
         "frames 3: east, sprint, yaw 0x4000; 2: east; 1: stands still"),
        ("sync_entity_quantized", "client", 1, newest + short,
         "frames 3: east, sprint, yaw 0x4000; 2: north-west, 72 each; 1: stands still"),
        ("benchmark_question", "client", 17, question, "24 bytes, nonce 0x0102030405060708"),
        ("benchmark_answer", "server", 0, answer, "received at 5,000,000, answered at 5,012,345"),
        ("update_entity", "server", 2, at + struct.pack("<I", 3) + own_state(),
         "tick 7,800, last_processed_input 3, the own state of chapter 12"),
        ("update_entity_quantized", "server", 4, at + full_entry(),
         "tick 7,800, the monster of chapter 12"),
        ("delta_sync", "server", 6, snapshot(), "the snapshot of chapter 12"),
    ]
    return [
        (name, sender, UNRELIABLE, 0, kind, None, body, says)
        for name, sender, kind, body, says in rows
    ]


def examples(keys: dict[str, bytes], ticket: bytes) -> dict:
    """What the file holds; `keys` are the secrets of chapter 12 by name."""
    sequences, packets = {"client": 100, "server": 100}, []
    for row in control(keys["exporter"], ticket) + reliable() + game():
        name, sender, channel, flags, kind, number, body, says = row
        sequences[sender] += 1
        told = bytes([kind]) + (b"" if number is None else struct.pack("<H", number)) + body
        plaintext = struct.pack("<H", len(told)) + told
        flags |= 0x03
        if name != "crypto_test":
            flags |= 0x20
            plaintext = struct.pack("<QQH", 5, 0x0F, 10) + plaintext
        head = struct.pack("<IBBQ", CONNECTION, channel, flags, sequences[sender])
        key = keys["c2s_key0" if sender == "client" else "s2c_key0"]
        packet = head + ChaCha20Poly1305(key).encrypt(head[:4] + head[6:], plaintext, head)
        packets.append({
            "name": name,
            "from": sender,
            "says": says,
            "plaintext": plaintext.hex(),
            "packet": packet.hex(),
        })
    about = (
        "An example of every message of docs/PROTOCOL.md, 6.3: packets of the session of chapter 12 "
        "with one message each, with an AckBlock (largest 5, bitmap 0x0f, delay 10) but for the "
        "first. Made by clients/python/message_examples.py from the tables of the document."
    )
    return {"about": about, "messages": packets}


if __name__ == "__main__":
    from test_document import BLOCKS

    made = examples(BLOCKS, BLOCKS["resume_ticket_plaintext"][18 + 3 :])
    json.dump(made, sys.stdout, indent=1, ensure_ascii=False)
    print()
