"""An MQTT 5 broker: mosquitto when it is installed, else rumqttd from the `iotcore` wheel."""

import getpass
import secrets
import shutil
import socket
import sys
from pathlib import Path
from typing import Final, Literal

from local import ports, processes
from local.servers.base import Server, ServerError
from wire import limits

Choice = Literal["auto", "mosquitto", "rumqttd"]
_CHOICES: Final[tuple[Choice, ...]] = ("auto", "mosquitto", "rumqttd")

_SBIN: Final = "/usr/sbin:/usr/local/sbin"  # where distributions put mosquitto, often not on a user's PATH
_ANSWER_LIMIT_S: Final = 1.0

_MOSQUITTO: Final = """\
listener {port} {host}
allow_anonymous true
user {user}
persistence_location {directory}/
# what a broker before the agent must not get wrong, the same wherever it runs
include_dir {limits}
"""
_LIMITS: Final = Path(__file__).parents[2] / "edge" / "deploy" / "mosquitto" / "limits.d"

_RUMQTTD: Final = """\
id = 0

[router]
id = 0
max_connections = 10010
max_outgoing_packet_count = 200
max_segment_size = 104857600
max_segment_count = 10

[v5.1]
name = "v5-1"
listen = "{host}:{port}"
next_connection_delay_ms = 0

[v5.1.connections]
connection_timeout_ms = 60000
max_payload_size = {payload_bytes_max}
max_inflight_count = 500
dynamic_filters = true
"""

_RUN_RUMQTTD: Final = """\
import logging, sys
logging.getLogger("rumqttd").setLevel(logging.CRITICAL)  # it logs every packet as an error
from iotcore import IotCoreBroker
IotCoreBroker(config_path=sys.argv[1]).run_forever()
"""


class Mosquitto(Server):
    """Eclipse Mosquitto: keeps sessions and queued messages on disk."""

    name = "mosquitto"

    @property
    def url(self) -> str:
        return f"mqtt://{ports.HOST}:{self.port}"

    @property
    def _configuration(self) -> Path:
        return self.directory / "mosquitto.conf"

    def prepare(self) -> None:
        text = _MOSQUITTO.format(
            host=ports.HOST,
            port=self.port,
            directory=self.directory.absolute(),
            user=getpass.getuser(),
            limits=_LIMITS,
        )
        self._configuration.write_text(text)

    def command(self) -> list[str]:
        program = installed_mosquitto()
        if program is None:
            raise ServerError("mosquitto is not installed (Debian and Ubuntu: apt-get install mosquitto)")
        return [program, "-c", str(self._configuration)]

    def answers(self) -> bool:
        return answers(ports.HOST, self.port)


class Rumqttd(Server):
    """rumqttd inside a Python child: memory only, a restart forgets sessions, retained and queued messages."""

    name = "rumqttd"

    @property
    def url(self) -> str:
        return f"mqtt://{ports.HOST}:{self.port}"

    @property
    def _configuration(self) -> Path:
        return self.directory / "rumqttd.toml"

    def prepare(self) -> None:
        text = _RUMQTTD.format(host=ports.HOST, port=self.port, payload_bytes_max=limits.MQTT_PACKET_BYTES_MAX)
        self._configuration.write_text(text)

    def command(self) -> list[str]:
        return [sys.executable, "-c", _RUN_RUMQTTD, str(self._configuration)]

    def answers(self) -> bool:
        return answers(ports.HOST, self.port)


def installed_mosquitto() -> str | None:
    """The path of an installed mosquitto."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path=_SBIN)


def choice_of(text: str) -> Choice:
    """Read a choice that a person wrote. Raises ServerError."""
    for choice in _CHOICES:
        if choice == text:
            return choice
    raise ServerError(f"no MQTT broker {text!r}: choose one of {', '.join(_CHOICES)}")


def chosen(choice: Choice) -> Choice:
    """Which broker `auto` is here: an installed mosquitto is preferred."""
    if choice == "auto":
        return "rumqttd" if installed_mosquitto() is None else "mosquitto"
    return choice


def broker(owner: processes.Processes, directory: Path, choice: Choice = "auto") -> Server:
    """The MQTT broker of `choice`; `auto` prefers an installed mosquitto."""
    if chosen(choice) == "mosquitto":
        return Mosquitto(owner, directory)
    return Rumqttd(owner, directory)


def answers(host: str, port: int) -> bool:
    """Whether an MQTT 5 broker there answers a CONNECT, be it with a refusal."""
    client_id = b"fleetfold-ready-" + secrets.token_hex(4).encode()
    # [MQTT5 3.1] protocol name and level 5, clean start, keep alive 10 s, no properties, client id
    body = b"\x00\x04MQTT\x05\x02\x00\x0a\x00" + len(client_id).to_bytes(2) + client_id
    try:
        with socket.create_connection((host, port), _ANSWER_LIMIT_S) as connection:
            connection.sendall(b"\x10" + bytes([len(body)]) + body)
            answer = connection.recv(4)
            connection.sendall(b"\xe0\x00")  # DISCONNECT
    except OSError:
        return False
    return answer[:1] == b"\x20"  # CONNACK


def listens(host: str, port: int) -> bool:
    """Whether anything accepts TCP connections there."""
    try:
        with socket.create_connection((host, port), _ANSWER_LIMIT_S):
            return True
    except OSError:
        return False
