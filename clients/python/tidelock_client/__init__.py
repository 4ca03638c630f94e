"""A Tidelock client, written from docs/PROTOCOL.md alone.

It exists to prove that the document is enough, and to be read beside it: every module names its
chapter. Standard library and the package `cryptography`, nothing else. It is not fast: one player
per process.
"""

from .client import Client, ConnectError
from .handshake import Ticket

__all__ = ["Client", "ConnectError", "Ticket"]
