"""What every server does: write its configuration, start, answer, stop, die on request, start again."""

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Final, Self

import psutil

from local import ports, processes

_POLL_S: Final = 0.05
_ATTEMPTS: Final = 3
_LOG_LINES_MAX: Final = 500
_IN_USE: Final = re.compile("address (already )?in use", re.IGNORECASE)


class ServerError(Exception):
    """A server that cannot be started or does not answer; the message is for people."""


class Server(ABC):
    """One server with its own directory and port on 127.0.0.1.

    `start` returns once clients are answered. After `stop` or `kill` it starts again on the same port and data.
    """

    name: ClassVar[str]
    start_limit_s: ClassVar[float] = 30.0
    stop_grace_s: ClassVar[float] = 5.0

    def __init__(self, owner: processes.Processes, directory: Path, port: int | None = None) -> None:
        self.directory = directory
        self.port = port or ports.free_port()
        self._owner = owner
        self._port_is_fixed = port is not None
        self._child: processes.Child | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """What clients are given."""

    @abstractmethod
    def prepare(self) -> None:
        """Write what the command reads; called before every start. Raises ServerError."""

    @abstractmethod
    def command(self) -> list[str]:
        """The command line. Raises ServerError when the program is not there."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether a client gets a proper answer now."""

    def environment(self) -> Mapping[str, str]:
        """Added to the environment of the process."""
        return {}

    @property
    def log_file(self) -> Path:
        return self.directory / f"{self.name}.log"

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._child is not None, f"{self.name} was not started"
        return self._child.pid

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.exit_code is None

    def start(self) -> Self:
        """Start and wait until it answers. Raises ServerError with the last lines of its log."""
        assert not self.running, f"{self.name} runs already"
        for attempt in range(1, _ATTEMPTS + 1):
            self.directory.mkdir(parents=True, exist_ok=True)
            self.prepare()
            self._child = self._start_child()
            if self._wait():
                self._port_is_fixed = True
                return self
            # The port was free when we looked; another process may have been faster.
            in_use = _IN_USE.search(self._child.last_lines(_LOG_LINES_MAX))
            if self._port_is_fixed or attempt == _ATTEMPTS or in_use is None:
                break
            self.port = ports.free_port()
        assert self._child is not None
        raise ServerError(self._failure(self._child))

    def _start_child(self) -> processes.Child:
        try:
            return self._owner.start(self.name, self.command(), self.log_file, self.environment())
        except OSError as error:
            raise ServerError(f"{self.name} cannot be started: {error}") from error

    def _wait(self) -> bool:
        deadline = time.monotonic() + self.start_limit_s
        while self.running and time.monotonic() < deadline:
            if self._listens() and self.answers():
                return True
            time.sleep(_POLL_S)
        return False

    def _listens(self) -> bool:
        """Whether it is our process that has the port: on a taken one, another server would answer for it."""
        try:
            connections = psutil.Process(self.pid).net_connections("tcp")
        except psutil.Error:
            return False
        return any(
            connection.status == psutil.CONN_LISTEN and connection.laddr.port == self.port for connection in connections
        )

    def _failure(self, child: processes.Child) -> str:
        code = child.exit_code
        how = f"does not answer after {self.start_limit_s:g} s" if code is None else f"ended with exit code {code}"
        child.kill()
        return f"{self.name} {how}; the end of {child.log_file}:\n{self._telling(child)}"

    def _telling(self, child: processes.Child) -> str:
        """The lines of its log that say why it failed."""
        return child.last_lines()

    def stop(self) -> None:
        """Stop it in order (SIGTERM), by force when it takes longer than `stop_grace_s`."""
        if self._child is not None:
            self._child.stop(self.stop_grace_s)

    def kill(self) -> None:
        """kill -9, as a power cut would."""
        if self._child is not None:
            self._child.kill()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
