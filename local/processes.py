"""Children that never outlive us.

Every child leads its own session, so that Ctrl-C in the terminal reaches only us and we decide the order of
stopping. Every child and whatever it starts carries a mark in its environment; `stop_all` and, should we be
killed with -9, the guardian (`local.guardian`) find leftovers by it, whatever sessions they moved to.
"""

import contextlib
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import psutil

MARK: Final = "FLEETFOLD_LOCAL_RUN"
"""Environment name; its value is one per starting process."""

STOP_LIMIT_S: Final = 10.0
_PATIENCE_S: Final = 1.0
_GRACE_S: Final = 2.0
_KILL_RESERVE_S: Final = 1.5
_KILL_LIMIT_S: Final = 1.0
_POLL_S: Final = 0.02


class Child:
    """A running process of ours; its output goes to `log_file`."""

    def __init__(self, name: str, process: "subprocess.Popen[bytes]", log_file: Path) -> None:
        self.name = name
        self.log_file = log_file
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._process.poll()

    def wait(self, timeout_s: float) -> int | None:
        """Its exit code, or None when it still runs after `timeout_s`."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def terminate(self) -> None:
        """Ask it to end (SIGTERM)."""
        self._process.terminate()

    def stop(self, grace_s: float = 3.0) -> None:
        """End it and all it started: SIGTERM, then SIGKILL after `grace_s`."""
        if self.exit_code is not None:
            return  # reaped: its number may be another's by now
        tree = _descendants(self.pid)
        self.terminate()
        if self.wait(grace_s) is None:
            self._process.kill()
            self._process.wait()
        _kill(tree)

    def kill(self) -> None:
        """End it and all it started at once (SIGKILL), as a power cut would."""
        if self.exit_code is not None:
            return
        tree = _descendants(self.pid)
        self._process.kill()
        self._process.wait()
        _kill(tree)

    def last_lines(self, count: int = 15) -> str:
        """The end of its log, for error messages."""
        try:
            with self.log_file.open("rb") as log:
                log.seek(max(0, self.log_file.stat().st_size - 131_072))
                lines = log.read().decode(errors="replace").splitlines()
        except OSError as error:
            return f"(no log: {error.strerror})"
        return "\n".join(lines[-count:]) or "(its log is empty)"


class Processes:
    """Starts children and stops them all, the last first. One per program; threads may share it."""

    def __init__(self) -> None:
        self.mark = secrets.token_hex(8)
        self._children: list[Child] = []
        self._guardian: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._closed = False

    @property
    def running(self) -> list[Child]:
        """Children that have not ended, in the order of their start."""
        with self._lock:
            return [child for child in self._children if child.exit_code is None]

    def start(
        self, name: str, command: Sequence[str], log_file: Path, environment: Mapping[str, str] | None = None
    ) -> Child:
        """Start `command`; `environment` is added to ours. Raises OSError when it cannot be started."""
        log_file.parent.mkdir(parents=True, exist_ok=True)
        with self._lock, log_file.open("ab") as log:
            if self._closed:
                raise OSError(f"{name}: stopping, nothing more is started")
            self._guard()
            process = subprocess.Popen(  # noqa: S603 - our own command lines
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {}), MARK: self.mark},
                start_new_session=True,
            )
            child = Child(name, process, log_file)
            self._children.append(child)
        return child

    def stop_all(self, limit_s: float = STOP_LIMIT_S) -> None:
        """Stop every child in reverse order of starting; within `limit_s` nothing of ours is left.

        One that takes its time does not keep the next from being asked; it is killed a little after the last was asked.
        Afterwards nothing can be started here, so a start in another thread cannot slip through.
        """
        deadline = time.monotonic() + limit_s - _KILL_RESERVE_S
        with self._lock:
            self._closed = True
            children, self._children = self._children, []
        for child in reversed(children):
            if child.exit_code is None:
                child.terminate()
                child.wait(min(_PATIENCE_S, max(0.0, deadline - time.monotonic())))
        deadline = min(deadline, time.monotonic() + _GRACE_S)
        for child in reversed(children):
            child.stop(grace_s=max(0.0, deadline - time.monotonic()))
        _kill(marked(self.mark))  # what they started
        self._dismiss_guardian()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop_all()

    def _guard(self) -> None:
        if self._guardian is None or self._guardian.poll() is not None:
            self._guardian = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", "local.guardian", self.mark],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

    def _dismiss_guardian(self) -> None:
        if self._guardian is not None:
            assert self._guardian.stdin is not None
            self._guardian.stdin.close()
            self._guardian.wait()
            self._guardian = None


def marked(mark: str) -> list[psutil.Process]:
    """Running processes that carry `mark`."""
    return [process for process in psutil.process_iter() if _environment(process).get(MARK) == mark]


def _environment(process: psutil.Process) -> Mapping[str, str]:
    try:
        return process.environ()
    except (psutil.Error, OSError):  # another user's, or gone meanwhile
        return {}


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


def _kill(targets: Sequence[psutil.Process]) -> None:
    for process in targets:
        with contextlib.suppress(psutil.Error):
            process.kill()
    deadline = time.monotonic() + _KILL_LIMIT_S
    while any(runs(process) for process in targets) and time.monotonic() < deadline:
        time.sleep(_POLL_S)


def runs(process: psutil.Process) -> bool:
    """Whether it still does anything. In a container whose first process reaps nobody, the dead stay listed."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
