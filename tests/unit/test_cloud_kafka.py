"""What the twin service knows of its brokers: when they were heard, which topics they have, how far those are done."""

import json
from concurrent.futures import Future
from typing import Any

import pytest
import tenacity
from confluent_kafka import KafkaError, KafkaException

from cloud import kafka_questions
from cloud.hearing import Hearing
from cloud.inbox import Record
from cloud.offsets import Offsets


def statistics(*brokers: tuple[str, int]) -> str:
    """As librdkafka tells: state and µs since the last answer of each."""
    return json.dumps(
        {"name": "x", "brokers": {f"b{n}": {"state": state, "rxidle": idle} for n, (state, idle) in enumerate(brokers)}}
    )


def test_brokers_that_hang_and_brokers_that_are_away_are_silent() -> None:
    now_s = 100.0
    hearing = Hearing(lambda: now_s)
    now_s = 110.0
    hearing.on_statistics(statistics(("UP", 9_000_000), ("UP", 500_000), ("DOWN", 0), ("UP", -1)))
    assert hearing.silent_ms == 500
    now_s = 130.0
    hearing.on_statistics(statistics(("UP", 20_500_000), ("TRY_CONNECT", 0)))
    assert hearing.silent_ms == 20_500
    now_s = 140.0
    hearing.on_statistics(statistics())
    assert hearing.silent_ms == 30_500


class Admin:
    """Answers with errors first, each time with the next."""

    def __init__(self, *errors: int | None) -> None:
        self.errors, self.asked = list(errors), 0

    def describe_topics(self, topics: Any, request_timeout: float) -> dict[str, "Future[Any]"]:
        self.asked += 1
        error = self.errors.pop(0) if self.errors else None
        return {"known": _answer(None), "asked": _answer(error)}


def _answer(error: int | None) -> "Future[Any]":
    future: Future[Any] = Future()
    if error is None:
        future.set_result(type("Described", (), {"topic_id": "id"}))
    else:
        future.set_exception(KafkaException(KafkaError(error)))
    return future


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenacity.nap.time, "sleep", lambda _seconds: None)


def test_a_broker_that_went_away_while_it_gave_partitions_is_waited_for() -> None:
    """However long it takes: records of a topic that is not known must not be folded."""
    heard: list[KafkaError] = []
    admin = Admin(*[KafkaError._TIMED_OUT] * 40)
    assert kafka_questions.topic_ids(admin, ["known", "asked"], heard.append) == {"known": "id", "asked": "id"}
    assert len(heard) == 40


def test_a_topic_that_is_gone_is_left_out_and_the_others_are_known() -> None:
    admin = Admin(*[KafkaError.UNKNOWN_TOPIC_OR_PART] * 100)
    assert kafka_questions.topic_ids(admin, ["known", "asked"], lambda _error: None) == {"known": "id"}
    assert admin.asked < 10


def test_who_need_not_wait_is_told_after_some_tries() -> None:
    with pytest.raises(KafkaException):
        kafka_questions.topic_ids(Admin(*[KafkaError._TIMED_OUT] * 100), ["known", "asked"])


def _records(partition: int, *offsets: int) -> list[Record]:
    return [Record("t", "g", partition, offset, b"", b"", 0) for offset in offsets]


def test_what_is_due_is_what_the_group_does_not_know_of_what_is_done() -> None:
    offsets = Offsets()
    for offset in range(5):
        offsets.read(("t", 0), offset)
        offsets.read(("t", 1), offset)
    offsets.done(_records(0, 0, 1, 3))
    offsets.done(_records(1, 0))
    assert offsets.due() == {("t", 0): 2, ("t", 1): 1}
    offsets.committed({("t", 0): 2})
    assert offsets.due() == {("t", 1): 1}
    offsets.done(_records(0, 2))
    assert offsets.due() == {("t", 0): 4, ("t", 1): 1}


def test_what_was_committed_of_a_partition_that_is_given_up_is_not_taken_for_known_when_it_comes_back() -> None:
    """The answer to a commit may come after the partition has gone to another worker, which commits further."""
    offsets = Offsets()
    offsets.read(("t", 0), 7)
    offsets.done(_records(0, 7))
    offsets.forget([("t", 0)])
    offsets.committed({("t", 0): 8})
    offsets.done(_records(0, 7))
    assert offsets.due() == {}
    offsets.read(("t", 0), 7)
    offsets.done(_records(0, 7))
    assert offsets.due() == {("t", 0): 8}
