"""The collection rules put together from the settings: engine, desk, store, and where rules are published."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import structlog

from edge import rules_store
from edge.clock import Clock
from edge.config import EdgeSettings, RulesSettings
from edge.receive import Arrival
from edge.rules import reading
from edge.rules.desk import Desk, Offer, Stored
from edge.rules.engine import Engine, Limits
from edge.rules_store import DamagedError
from edge.spool.disk import Disk
from runtime.settings import ConfigError
from wire import codec
from wire.collection import Fault, RulesStatus
from wire.messages import plain

Collect = Callable[[dict[bytes, Arrival]], dict[bytes, Arrival]]


class Remote(Protocol):
    """Where rules are published."""

    def start(self) -> None:
        """Begin to connect; returns at once."""

    def offers(self) -> list[Offer]:
        """What was published since the last call."""

    def stored(self) -> None:
        """What `offers` returned survives a restart from now on."""

    def publish(self, status: bytes) -> None:
        """Answer with a RulesStatus as JSON."""

    def close(self) -> None:
        """Part."""


class Rulebook:
    """Raises ConfigError when the rules file is faulty."""

    def __init__(self, settings: EdgeSettings, disk: Disk, clock: Clock, remote: Remote | None) -> None:
        rules = settings.rules
        self._remote = remote
        self._file = rules.file
        self._log = structlog.get_logger("edge.rules")
        self.engine = Engine(Limits(rules.assets_max, rules.ring_bytes_max, rules.settle_s), clock.monotonic_s)
        save = functools.partial(rules_store.write, disk)
        self.desk = Desk(self.engine, clock, settings.gateway, save, self._tell)
        faults = self.desk.begin(rules.file, self._stored(disk) if remote is not None else {})
        if faults:
            raise ConfigError(fault_lines(rules, faults))

    def _stored(self, disk: Disk) -> Stored:
        try:
            return rules_store.read(disk)
        except (DamagedError, OSError) as error:
            self._log.error("rules_unreadable", error=str(error), advice="what is published will be taken")
            return {}

    @property
    def collect(self) -> Collect | None:
        """The step between receiving and storing; None when there will never be rules."""
        return self.engine.apply if self._file is not None or self._remote is not None else None

    def start(self) -> None:
        """Begin to listen."""
        if self._remote is not None:
            self._remote.start()

    def tick(self) -> None:
        """Take what was published; called now and then."""
        self.desk.offer(self._remote.offers() if self._remote is not None else [])
        if self._remote is not None and self.desk.is_stored:
            self._remote.stored()

    def reload(self) -> None:
        """Read the file again; a faulty one is refused and named in the log."""
        self.desk.read_file(self._file)

    def _tell(self, status: RulesStatus) -> None:
        if self._remote is not None:
            self._remote.publish(codec.to_json(plain(status)))

    def close(self) -> None:
        """Part from where rules are published."""
        if self._remote is not None:
            self._remote.close()


def check_file(settings: RulesSettings) -> list[str]:
    """What is wrong with the rules file, one line each."""
    found = reading.read_file(settings.file) if settings.file is not None else []
    return fault_lines(settings, found) if isinstance(found, list) else []


def fault_lines(settings: RulesSettings, faults: list[Fault]) -> list[str]:
    """As a configuration's faults: key, what, what to do."""
    return [_line(settings.file, fault) for fault in faults]


def _line(file: Path | None, fault: Fault) -> str:
    return f"rules.file: {file}: {fault.path + ': ' if fault.path else ''}{fault.problem}; {fault.advice}"
