"""What the twin service exports is what happened."""

import random
import time

from msgspec.structs import replace
from prometheus_client import CollectorRegistry, Histogram

from cloud.inbox import Record
from cloud.metrics import Ages, Metrics
from tests.cloud_world import record

BOUNDS_S = (0.1, 0.5, 1.0, 5.0)


def test_ages_taken_many_at_once_are_counted_as_one_by_one() -> None:
    chance, registry = random.Random(3), CollectorRegistry()
    ages_s = [*BOUNDS_S, 0.0, 99.0, *(chance.expovariate(1.0) for _ in range(500))]
    many = Ages("many_seconds", "at once", BOUNDS_S)
    registry.register(many)
    single = Histogram("single_seconds", "one by one", buckets=BOUNDS_S, registry=registry)
    for start in range(0, len(ages_s), 100):
        many.observe(ages_s[start : start + 100])
    for age_s in ages_s:
        single.observe(age_s)
    told = {name: _samples(registry, name) for name in ("many_seconds", "single_seconds")}
    assert told["many_seconds"] == told["single_seconds"]


def test_an_age_of_a_clock_ahead_is_none() -> None:
    registry = CollectorRegistry()
    ages = Ages("ages_seconds", "at once", BOUNDS_S)
    registry.register(ages)
    ages.observe([-7.0])
    assert _samples(registry, "ages_seconds")["_sum", None] == 0.0


def _samples(registry: CollectorRegistry, name: str) -> dict[tuple[str, str | None], float]:
    (family,) = [one for one in registry.collect() if one.name == name]
    found = {(one.name.removeprefix(name), one.labels.get("le")): one.value for one in family.samples}
    return {key: round(value, 6) for key, value in found.items() if key[0] != "_created"}


def _aged(age_s: float) -> Record:
    return replace(record("a", []), timestamp_ms=int(1000 * (time.time() - age_s)))


def test_lag_is_the_age_of_the_oldest_record_at_hand_and_grows_while_it_is_not_written() -> None:
    metrics = Metrics()
    assert _lag_s(metrics) == 0
    first, second = [_aged(20), _aged(50)], [_aged(10)]
    metrics.begun(first)
    before_s = _lag_s(metrics)
    assert 50 <= before_s < 52
    time.sleep(0.02)
    assert _lag_s(metrics) > before_s
    metrics.begun(second)
    assert _lag_s(metrics) > before_s
    metrics.settled(first, 1)
    assert 10 <= _lag_s(metrics) < 12
    metrics.settled(second, 0)
    assert _lag_s(metrics) == 0


def _lag_s(metrics: Metrics) -> float:
    value = metrics.registry.get_sample_value("fleetfold_cloud_lag_seconds")
    assert value is not None
    return value
