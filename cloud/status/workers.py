"""Asks a running worker itself: its /healthz and /metrics."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from cloud.status.report import Worker

_PREFIX: Final = "fleetfold_cloud_"
_BYTES_MAX: Final = 4_000_000


def ask(url: str, timeout_s: float) -> Worker:
    """What the worker at `http://host:port` says; never raises for one that does not answer."""
    base = url.rstrip("/")
    try:
        healthy = bool(json.loads(_get(f"{base}/healthz", timeout_s)).get("healthy"))
        samples = _samples(_get(f"{base}/metrics", timeout_s))
    except (OSError, ValueError) as error:
        return Worker(base, False, detail=str(error)[:200])
    return worker(base, healthy, samples)


def _get(url: str, timeout_s: float) -> str:
    if not url.startswith(("http://", "https://")):
        raise URLError("not an http:// address")
    try:
        with urlopen(url, timeout=timeout_s) as answer:  # noqa: S310 - the scheme is checked above
            return str(answer.read(_BYTES_MAX).decode())
    except HTTPError as error:  # /healthz answers 503 with a body when it is not healthy
        if error.code != 503:
            raise
        return str(error.read(_BYTES_MAX).decode())


def _samples(page: str) -> Mapping[str, list[Sample]]:
    by_name: dict[str, list[Sample]] = defaultdict(list)
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            by_name[sample.name.removeprefix(_PREFIX)].append(sample)
    return by_name


def worker(url: str, healthy: bool, samples: Mapping[str, Sequence[Sample]]) -> Worker:
    """A worker from its metrics, named without their prefix."""

    def total(name: str) -> float:
        return sum(sample.value for sample in samples.get(name, ()))

    counts = {sample.labels["stage"]: sample.value for sample in samples.get("stage_seconds_count", ())}
    sums = {sample.labels["stage"]: sample.value for sample in samples.get("stage_seconds_sum", ())}
    turns = total("turn_records_count")
    return Worker(
        url,
        True,
        healthy,
        folded=int(total("messages_folded_total")),
        duplicates=int(total("duplicates_total")),
        uncertain=int(total("uncertain_total")),
        conflicts=int(total("conflicts_total")),
        dead_letters=int(total("dead_letters_total")),
        waits=int(total("waits_total")),
        records_per_turn=round(total("turn_records_sum") / turns, 1) if turns else 0.0,
        age_p50_s=quantile(samples.get("age_seconds_bucket", ()), 0.5),
        age_p99_s=quantile(samples.get("age_seconds_bucket", ()), 0.99),
        stage_ms={stage: round(1000 * sums[stage] / count, 2) for stage, count in counts.items() if count},
    )


def quantile(buckets: Iterable[Sample], wanted: float) -> float | None:
    """The upper bound of the bucket that `wanted` of all observations lie in or below; None without any."""
    bounds = sorted((float(sample.labels["le"]), sample.value) for sample in buckets)
    if not bounds or not bounds[-1][1]:
        return None
    return next(bound for bound, count in bounds if count >= wanted * bounds[-1][1])
