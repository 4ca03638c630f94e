"""Joins a server with a ticket from standard input, walks in circles, and says what it saw.

    tidelock token --keys keys/backend.keys.toml --player 7 | python3 -m tidelock_client --seconds 5
"""

import argparse
import json
import math
import sys

from . import Client, ConnectError, Ticket
from .session import Disconnected


def circle(tick: int) -> tuple[int, int, int, int]:
    """Inputs of somebody who walks in a circle, once around in four seconds at 60 Hz."""
    angle = tick / 240 * math.tau
    return round(127 * math.cos(angle)), round(127 * math.sin(angle)), 0, 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="tidelock_client", description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="how long to play [5]")
    parser.add_argument("--rebind-after", type=float, metavar="SECONDS",
                        help="go on from another local port after this long")
    options = parser.parse_args()
    try:
        client = Client(Ticket.from_json(sys.stdin.read()))
        client.connect()
        if options.rebind_after is not None and options.rebind_after < options.seconds:
            client.run(options.rebind_after, circle)
            client.rebind()
            client.run(options.seconds - options.rebind_after, circle)
        else:
            client.run(options.seconds, circle)
        client.leave()
    except (ConnectError, Disconnected, ValueError, KeyError) as error:
        print(f"tidelock_client: {error}", file=sys.stderr)
        return 1
    world = client.world
    print(json.dumps({
        "player": client.accepted.player,
        "tick_hz": client.accepted.tick_hz,
        "tick": world.tick,
        "entity": world.own and world.own.entity,
        "position_cm": world.own and world.own.position,
        "last_processed_input": world.last_processed_input,
        "snapshots": client.snapshots,
        "longest_gap_ms": round(client.longest_gap_s * 1000, 1),
        "dropped": client.session.dropped,
        "key_epoch": client.session.keys.epoch,
        "met": sorted(client.met),
        "others": {str(entity): state.centimetres for entity, state in world.others.items()},
    }))
    return 0


sys.exit(main())
