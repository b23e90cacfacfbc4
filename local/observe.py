"""What the services say about themselves while they run: health endpoints and the simulators' progress files."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from local import ports

_ANSWER_LIMIT_S: Final = 2.0


class Sent(NamedTuple):
    """What the simulators have done so far, summed up."""

    messages: int = 0
    acknowledged: int = 0
    simulated_time_ms: int = 0
    finished: bool = False


class Snapshot(NamedTuple):
    """All hops at one moment. Counts are since the start; None: the service does not answer."""

    at_s: float
    sent: Sent
    edge: Mapping[str, Any] | None
    cloud: Mapping[str, Any] | None

    def edge_count(self, name: str) -> int:
        return int(self.edge.get(name, 0)) if self.edge else 0

    def cloud_count(self, name: str) -> int:
        return int(self.cloud.get(name, 0)) if self.cloud else 0

    @property
    def drained(self) -> bool:
        """Whether everything the broker acknowledged to the devices has been folded, as far as counters tell."""
        return (
            self.edge is not None
            and self.cloud is not None
            and self.edge_count("undelivered") == 0
            and self.edge_count("received") >= self.sent.acknowledged
            and self.cloud_count("lag_records") == 0
            and self.cloud_count("idle_ms") >= IDLE_MS
        )


IDLE_MS: Final = 1_500
"""The twin service has seen nothing new for so long: longer than any batch, flush or poll takes."""


class Observer:
    """Takes snapshots."""

    def __init__(self, edge_port: int, cloud_ports: Sequence[int], truths: Sequence[Path]) -> None:
        self._edge_port, self._cloud_ports = edge_port, cloud_ports
        self._truths = truths

    def snapshot(self) -> Snapshot:
        cloud = together([health(port) for port in self._cloud_ports])
        return Snapshot(time.monotonic(), progress(self._truths), health(self._edge_port), cloud)


def health(port: int) -> Mapping[str, Any] | None:
    """`/healthz` of a local service, healthy or not; None while it does not answer."""
    try:
        with urllib.request.urlopen(f"http://{ports.HOST}:{port}/healthz", timeout=_ANSWER_LIMIT_S) as answer:
            return _object(answer.read())
    except urllib.error.HTTPError as error:  # 503: it answers that it is not well
        with error:
            return _object(error.read())
    except OSError:
        return None


def together(workers: Sequence[Mapping[str, Any] | None]) -> Mapping[str, Any] | None:
    """The counts of several workers summed up, and for how long all have been idle; None while one does not answer."""
    told = [each for each in workers if each is not None]
    if len(told) < len(workers):
        return None
    names = {name for each in told for name, value in each.items() if isinstance(value, int)}
    return {name: sum(each.get(name, 0) for each in told) for name in names} | {
        "idle_ms": min((each.get("idle_ms", 0) for each in told), default=0)
    }


def progress(truths: Sequence[Path]) -> Sent:
    """The sum over the simulators' progress files; one that is not there yet counts as not finished."""
    files = [_progress_file(truth / "progress.json") for truth in truths]
    return Sent(
        messages=sum(int(file.get("frames", 0)) + int(file.get("events", 0)) for file in files),
        acknowledged=sum(int(file.get("acknowledged", 0)) for file in files),
        simulated_time_ms=max((int(file.get("simulated_time_ms", 0)) for file in files), default=0),
        finished=all(file.get("finished", False) for file in files),
    )


def _progress_file(path: Path) -> Mapping[str, Any]:
    try:
        return _object(path.read_bytes()) or {}
    except OSError:
        return {}


def _object(raw: bytes) -> Mapping[str, Any] | None:
    try:
        value = json.loads(raw)
    except ValueError:  # caught in the middle of being written
        return None
    return value if isinstance(value, dict) else None
