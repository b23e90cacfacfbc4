"""What `fleetfold-cloud status` says, and when it calls the service well."""

import json

from prometheus_client import generate_latest

from cloud.metrics import Metrics
from cloud.status import workers
from cloud.status.report import Kafka, Member, Mongo, Partition, Report, Worker
from tests.cloud_world import frame, record


def report(**changes: object) -> Report:
    kafka = Kafka(True, group="twins", group_state="stable", members=[Member("w", "/127.0.0.1", 2)])
    kafka.partitions = [Partition("fleet.signals.v1", 0, 7, 9, 2, 1.5), Partition("fleet.signals.v1", 1, 4, 4, 0, 0.0)]
    made = Report(kafka, Mongo(True, twins=3), [Worker("http://w:1", True, True)])
    for name, value in changes.items():
        part, _, field = name.partition("__")
        setattr(getattr(made, part), field, value) if field else setattr(made, part, value)
    return made


def test_a_service_that_keeps_up_is_well() -> None:
    assert list(report().problems(60)) == []
    assert (report().lag_records, report().lag_s) == (2, 1.5)
    assert json.loads(json.dumps(report().plain(60)))["healthy"] is True


def test_what_is_not_well_is_said_in_words() -> None:
    cases = {
        "Kafka does not answer": report(kafka__reachable=False),
        "MongoDB does not answer": report(mongo__reachable=False),
        "no worker is in the group twins": report(kafka__members=[], workers=[]),
        "topics create": report(kafka__missing_topics=["fleet.events.v1"]),
        "2 s behind, at most 1 s is well": report(),
        "does not answer: refused": report(workers=[Worker("http://w:1", False, detail="refused")]),
        "says that it is not healthy": report(workers=[Worker("http://w:1", True, False)]),
    }
    for text, bad in cases.items():
        (problem,) = bad.problems(1 if "behind" in text else 60)
        assert text in problem
        assert bad.plain(1 if "behind" in text else 60)["healthy"] is False


def test_a_broker_that_does_not_tell_members_is_no_problem() -> None:
    assert list(report(kafka__members=None).problems(60)) == []


def test_a_workers_page_is_read_as_its_metrics_were_set() -> None:
    metrics = Metrics()
    metrics.folded.inc(40)
    metrics.dead_letters.labels("wrong_shape").inc(2)
    metrics.dead_letters.labels("bad_time").inc()
    metrics.age_seconds.observe([0.2] * 98 + [4.0] * 2)
    turn = [record("a", [frame(1, {})]), record("b", [frame(1, {})])]
    metrics.begun(turn)
    metrics.settled(turn, 0)
    with metrics.stage("fold"):
        pass
    found = workers.worker("u", True, workers._samples(generate_latest(metrics.registry).decode()))
    assert (found.folded, found.dead_letters, found.records_per_turn) == (40, 3, 2.0)
    assert (found.age_p50_s, found.age_p99_s) == (0.2, 5.0)
    assert list(found.stage_ms) == ["fold"]


def test_a_quantile_of_nothing_is_nothing() -> None:
    assert workers.quantile([], 0.5) is None
