"""One demo at a time on brokers that the environment names: two would hear each other's devices.

A claim is a name in Linux' space of abstract sockets. The kernel gives it to one process of this machine, whoever runs
it, and takes it back when that ends, however it does; nothing is left on disk. Demos on other machines are not seen.
"""

import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from local.servers import named
from local.servers.base import ServerError

_SHARED: Final = (named.MQTT_URL, named.KAFKA_BOOTSTRAP_SERVERS)
"""Of MongoDB each demo has a database of its own."""


class TakenError(ServerError):
    """Another demo uses a named broker."""


@contextmanager
def brokers() -> Iterator[None]:
    """Claim the named brokers while this is entered. Raises TakenError."""
    with ExitStack() as held:
        for name in _SHARED:
            if value := os.environ.get(name):
                held.enter_context(_claim(name, value))
        yield


def _claim(name: str, value: str) -> socket.socket:
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    digest = hashlib.blake2b(value.encode(), digest_size=12).hexdigest()  # it may hold a password
    try:
        claim.bind(f"\0fleetfold-demo-{digest}")
    except OSError as error:
        claim.close()
        raise TakenError(
            f"another demo uses the server that {name} names, and each would count the other's messages: "
            "wait until it has ended, or name another server"
        ) from error
    return claim
