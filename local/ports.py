"""Ports on the loopback interface."""

import random
import socket
from typing import Final

HOST: Final = "127.0.0.1"

_LOW: Final = 20_000
_HIGH: Final = 32_000
"""Below Linux's range for outgoing connections (from 32768), so that a server which is killed and started
again finds its port still free."""


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nothing listens on now. Another process may still take it before the caller."""
    return free_ports(1)[0]


def free_ports(count: int) -> range:
    """So many in a row."""
    for _ in range(200):
        first = random.randrange(_LOW, _HIGH - count)  # noqa: S311 - spreads ports, keeps no secret
        if all(map(_is_free, range(first, first + count))):
            return range(first, first + count)
    raise OSError(f"no free port on {HOST} between {_LOW} and {_HIGH}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: TIME_WAIT is not taken
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
