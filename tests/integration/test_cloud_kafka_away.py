"""The twin service while Kafka is away: at the start, killed, hung, and when it is to stop. A broker of its own."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud import topics_admin
from cloud.config import TopicSettings
from local.processes import Processes
from tests.cloud_line import Line

_ON_APACHE = os.environ.get("FLEETFOLD_TEST_KAFKA") == "apache"
pytestmark = pytest.mark.skipif(not _ON_APACHE, reason="needs a log that survives a kill: FLEETFOLD_TEST_KAFKA=apache")

STOP_S = 20.0
"""A supervisor of ours kills what takes longer."""


@pytest.fixture
def line(
    processes: Processes, tmp_path: Path, mongodb_uri: str, mongo_database: str, apache_kafka_available: None
) -> Iterator[Line]:
    made = Line(processes, tmp_path, mongodb_uri, mongo_database)
    yield made
    made.close()


def test_a_broker_that_is_away_is_waited_for_and_nothing_is_lost_or_doubled(line: Line) -> None:
    """Away before the worker starts, killed and hung in mid-run for longer than it is believed to be there: the worker
    lives, its health says so, its log stays short, and it stops in time though nobody takes its offsets."""
    worker = line.worker()
    line.until(lambda: line.health() == 503)
    line.broker.start()
    topics_admin.create(line.settings, TopicSettings(partitions=2))
    line.say(3)
    line.until_all_is_folded_once()
    worker.stop(STOP_S)
    worker = line.worker()  # with a broker to ask, it speaks the next-generation protocol, which keeps partitions
    line.until(lambda: line.health() == 200)
    for leave, come_back in (
        (line.broker.kill, line.broker.start),
        (lambda: os.kill(line.broker.pid, signal.SIGSTOP), lambda: os.kill(line.broker.pid, signal.SIGCONT)),
    ):
        line.say_until_in_the_middle()
        leave()
        line.say(3)
        line.until(lambda: line.health() == 503)
        come_back()
        line.until_all_is_folded_once()
    line.broker.kill()
    line.until(lambda: line.health() == 503)
    worker.terminate()
    assert worker.wait(STOP_S) == 0
    assert len(line.log()) < 80
    assert {one["protocol"] for one in line.log() if "protocol" in one} == {"classic", "consumer"}
