"""Runs fleetfold's programs as children of one run: services that must stay up, commands that must end well."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from local import services, waiting
from local.processes import Child, Processes

COMMAND_LIMIT_S: Final = 60.0
_STOP_GRACE_S: Final = 5.0


class FailedError(Exception):
    """A program ended wrongly or not in time; the message is for people and has the end of its log."""


class Programs:
    """Logs go to one file a process in `directory`; `environment` is given to all."""

    def __init__(
        self, owner: Processes, directory: Path, environment: Mapping[str, str], stop: threading.Event
    ) -> None:
        self._owner, self._directory = owner, directory
        self._environment, self._stop = environment, stop
        self._up: list[Child] = []
        self._commands = 0

    def start(self, program: services.Program) -> Child:
        """Start and return at once."""
        return self._start(program, program.name)

    def _start(self, program: services.Program, log_name: str) -> Child:
        return self._owner.start(program.name, program.command, self._directory / f"{log_name}.log", self._environment)

    def keep_up(self, program: services.Program) -> None:
        """Start a service; from now on `check` fails when it ends."""
        self._up.append(self.start(program))

    def check(self) -> None:
        """Raises FailedError when a service has ended."""
        for child in self._up:
            if child.exit_code is not None:
                raise FailedError(f"{child.name} ended with exit code {child.exit_code}:\n{child.last_lines()}")

    def stop(self) -> None:
        """End the services, the last first: what they had in memory is written when this returns."""
        while self._up:
            self._up.pop().stop(_STOP_GRACE_S)

    def run(self, program: services.Program, limit_s: float = COMMAND_LIMIT_S) -> tuple[int, str]:
        """Run to the end: exit code and output. Raises FailedError when it takes longer, InterruptedByUserError."""
        self._commands += 1
        child = self._start(program, f"{self._commands:02}-{program.name}")
        if not waiting.until(lambda: child.exit_code is not None, limit_s, self._stop):
            child.kill()
            raise FailedError(f"`{program.typed}` did not end in {limit_s:g} s:\n{child.last_lines()}")
        assert child.exit_code is not None
        return child.exit_code, child.log_file.read_text(errors="replace")

    def must(self, program: services.Program, limit_s: float = COMMAND_LIMIT_S) -> str:
        """Run to the end and return the output. Raises FailedError on any exit code but 0."""
        code, output = self.run(program, limit_s)
        if code != 0:
            raise FailedError(f"`{program.typed}` ended with exit code {code}:\n{output.strip()[-2_000:]}")
        return output
