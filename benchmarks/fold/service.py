"""The twin service as a process, watched by its own metrics."""

import os
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, Self

import psutil

from benchmarks import prometheus
from local import processes
from local.servers import apache_kafka
from local.servers.base import Server, ServerError

_LOOK_S: Final = 0.2
"""Seldom: to tell its metrics costs a service some milliseconds."""
Settings = dict[str, str]


@dataclass(frozen=True, slots=True)
class Sample:
    """What the workers told at a moment, summed: metric (with its stage or bound) → value; `cpu_s` and `rss` of all
    processes, `beside_cpu_s` of each server beside it. `folded`: messages of each worker. `all_have_partitions`: each
    worker has some."""

    at_s: float
    values: dict[str, float]
    cpu_s: float
    beside_cpu_s: dict[str, float]
    rss: int
    folded: tuple[float, ...]
    all_have_partitions: bool

    def __getitem__(self, name: str) -> float:
        return self.values.get(name, 0.0)


class Fold(Server):
    """`fleetfold-cloud fold` with one or more workers; `settings` by their names without the prefix. `beside`: the
    servers that it uses."""

    name = "fold"
    start_limit_s: ClassVar[float] = 60.0

    def __init__(
        self,
        owner: processes.Processes,
        directory: Path,
        settings: Settings,
        workers: int = 1,
        beside: Sequence[Server] = (),
    ) -> None:
        super().__init__(owner, directory)
        self._settings, self._workers, self._beside = settings, workers, beside

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def prepare(self) -> None:
        """Everything is in the environment."""

    def command(self) -> list[str]:
        script = Path(sysconfig.get_path("scripts")) / "fleetfold-cloud"
        return [sys.executable, str(script), "fold", "--workers", str(self._workers)]

    def environment(self) -> Settings:
        told = {"HTTP__PORT": str(self.port), "LOG__LEVEL": "warning", **self._settings}
        return {f"FLEETFOLD_CLOUD__{name}": value for name, value in told.items()}

    def _listens(self) -> bool:
        return True  # with several workers it is a child that listens

    def answers(self) -> bool:
        """Whether every worker tells its metrics."""
        try:
            self.sample()
        except OSError:
            return False
        return True

    def sample(self) -> Sample:
        """What it tells now."""
        values: dict[str, float] = {}
        folded = [0.0] * self._workers
        idle = 0
        for worker in range(self._workers):
            for each in prometheus.samples(self.port + worker):
                name = each.name.removeprefix("fleetfold_cloud_")
                name += "".join(f"/{value}" for value in each.labels.values())
                values[name] = values.get(name, 0.0) + each.value
                idle += name == "partitions" and not each.value
                folded[worker] += each.value if name == "messages_folded_total" else 0.0
        rss = sum(process.memory_info().rss for process in _tree(self.pid))
        beside_cpu_s = {server.name: _cpu_s(server.pid) for server in self._beside}
        return Sample(time.monotonic(), values, _cpu_s(self.pid), beside_cpu_s, rss, tuple(folded), not idle)

    @contextmanager
    def held(self) -> Iterator[None]:
        """All its processes stand still: for less than a session of its group lasts, else it loses its partitions."""
        stopped = _tree(self.pid)
        for process in stopped:
            process.suspend()
        try:
            yield
        finally:
            for process in stopped:
                process.resume()

    def until(self, reached: Callable[[Sample], bool], limit_s: float) -> list[Sample]:
        """Samples until one says so. Raises ServerError when it takes longer."""
        samples = [self.sample()]
        deadline = time.monotonic() + limit_s
        while not reached(samples[-1]):
            if time.monotonic() > deadline or not self.running:
                told = {name: value for name, value in samples[-1].values.items() if "/" not in name}
                raise ServerError(f"the fold does not get there: {told}\n{self._child_log()}")
            time.sleep(_LOOK_S)
            samples.append(self.sample())
        return samples

    def _child_log(self) -> str:
        return self.log_file.read_text(encoding="utf-8", errors="replace")[-2_000:]

    def __enter__(self) -> Self:
        return super().__enter__()


class PatientKafka(apache_kafka.ApacheKafka):
    """Keeps the partitions of a service that is held."""

    def properties(self) -> str:
        return super().properties() + "group.consumer.session.timeout.ms=60000\n"


def while_all_work(samples: list[Sample]) -> Sample:
    """The last sample at which every worker still had something to do: what one of them does when the others have
    nothing left is not what all of them can do."""
    last = samples[-1].folded
    return min(
        (next(sample for sample in samples if sample.folded[worker] == last[worker]) for worker in range(len(last))),
        key=lambda sample: sample.at_s,
    )


def _tree(pid: int) -> list[psutil.Process]:
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def _cpu_s(pid: int) -> float:
    return sum(times.user + times.system for times in (process.cpu_times() for process in _tree(pid)))


def between(samples: list[Sample], first: float, last: float) -> tuple[Sample, Sample]:
    """The samples between which the count of folded messages rose from about `first` to about `last`."""
    counts = [sample["messages_folded_total"] for sample in samples]
    end = next(place for place, count in enumerate(counts) if count >= last)
    begin = next(place for place, count in enumerate(counts) if count >= first)
    return samples[min(begin, end - 1)], samples[end]


def environment(bootstrap_servers: str, uri: str, database: str) -> Settings:
    """What every run of it is told."""
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    return {
        "KAFKA__BOOTSTRAP_SERVERS": bootstrap_servers,
        "MONGO__URI": uri,
        "MONGO__DATABASE": database,
        "FOLD__DETECT": "false",
        "HISTORY__ENABLED": "false",
    }


def quantile(begin: Sample, end: Sample, share: float) -> float:
    """A quantile of the ages observed between two samples, in s, interpolated within its bucket."""
    prefix = "age_seconds_bucket/"
    bounds = sorted(
        (float(name.removeprefix(prefix)), end[name] - begin[name]) for name in end.values if name.startswith(prefix)
    )
    total = bounds[-1][1] if bounds else 0.0
    below_bound, below_count = 0.0, 0.0
    for bound, count in bounds:
        if count >= share * total and count > below_count:
            return below_bound + (min(bound, 3600.0) - below_bound) * (share * total - below_count) / (
                count - below_count
            )
        below_bound, below_count = bound, count
    return 0.0
