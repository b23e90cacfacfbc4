"""What the uplink costs at present: told by a file or a command of the operator's, looked at now and then.

Both say `free` or `metered`. What cannot be read, says something else, fails or takes too long means what the
configuration says it means, and is logged once.
"""

import contextlib
import os
import select
import signal
import subprocess
import time
from enum import StrEnum
from pathlib import Path
from typing import Final

import structlog

_ANSWER_BYTES_MAX: Final = 1024


class LinkCost(StrEnum):
    """`METERED`: bytes cost money, so that only what matters is sent."""

    FREE = "free"
    METERED = "metered"


class ProbeError(Exception):
    """Why nobody knows what the link costs."""


class LinkProbe:
    """`look` runs on a thread that may wait; `cost` and `fault` are for any thread."""

    def __init__(
        self, file: Path | None, command: tuple[str, ...], command_timeout_s: float, cost_when_unknown: LinkCost
    ) -> None:
        self.fault: str | None = None
        """For people: why the cost is not known."""
        self.is_used = file is not None or bool(command)
        self.cost = cost_when_unknown if self.is_used else LinkCost.FREE
        self._file = file
        self._command = command
        self._command_timeout_s = command_timeout_s
        self._cost_when_unknown = cost_when_unknown
        self._log = structlog.get_logger("edge.link")

    def look(self) -> None:
        """Find out what the link costs now."""
        if not self.is_used:
            return
        try:
            cost, fault = self._ask(), None
        except ProbeError as error:
            cost, fault = self._cost_when_unknown, str(error)
        if fault is not None and fault != self.fault:
            self._log.warning("link_cost_unknown", error=fault, taken_for=str(cost))
        if cost is not self.cost:
            self._log.info("link_cost", cost=str(cost), was=str(self.cost))
        self.cost, self.fault = cost, fault

    def _ask(self) -> LinkCost:
        said = self._run() if self._file is None else _read(self._file)
        word = said.decode("ascii", "replace").strip().lower()
        with contextlib.suppress(ValueError):
            return LinkCost(word)
        raise ProbeError(f"{self._file or self._command[0]} says {word[:40]!r}, neither 'free' nor 'metered'")

    def _run(self) -> bytes:
        try:
            process = subprocess.Popen(  # noqa: S603 - the operator's own command, without a shell
                self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise ProbeError(f"{self._command[0]} cannot be run: {error.strerror}") from error
        with process:
            try:
                said = self._listen(process)
            except subprocess.TimeoutExpired as error:
                raise ProbeError(f"{self._command[0]} took more than {self._command_timeout_s:g} s") from error
            finally:
                with contextlib.suppress(ProcessLookupError):  # it has ended, and so has all it started
                    os.killpg(process.pid, signal.SIGKILL)
        if process.returncode != 0:
            raise ProbeError(f"{self._command[0]} ended with exit code {process.returncode}")
        return said

    def _listen(self, process: "subprocess.Popen[bytes]") -> bytes:
        """What a command says, as far as we want to know it. Raises TimeoutExpired."""
        assert process.stdout is not None
        deadline_s = time.monotonic() + self._command_timeout_s
        said = b""
        while len(said) < _ANSWER_BYTES_MAX:
            if not select.select([process.stdout], [], [], max(0.0, deadline_s - time.monotonic()))[0]:
                raise subprocess.TimeoutExpired(self._command, self._command_timeout_s)
            part = os.read(process.stdout.fileno(), _ANSWER_BYTES_MAX - len(said))
            if not part:
                break
            said += part
        process.wait(max(0.0, deadline_s - time.monotonic()))
        return said


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(_ANSWER_BYTES_MAX)
    except OSError as error:
        raise ProbeError(f"{file} cannot be read: {error.strerror}") from error
