"""Servers that are away for longer than the group waits for a worker's next poll (`kafka.max_poll_interval_ms`)."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud import topics_admin
from cloud.config import TopicSettings
from local.processes import Processes
from local.servers.mongo import Mongod
from tests.cloud_line import Line

_ON_APACHE = os.environ.get("FLEETFOLD_TEST_KAFKA") == "apache"
pytestmark = pytest.mark.skipif(not _ON_APACHE, reason="needs a log that survives a kill: FLEETFOLD_TEST_KAFKA=apache")

INTERVAL_MS = 6_000
AWAY_S = 1.7 * INTERVAL_MS / 1000


@pytest.fixture(params=["classic", "consumer"])
def line(
    request: pytest.FixtureRequest, processes: Processes, tmp_path: Path, apache_kafka_available: None
) -> Iterator[tuple[Line, Mongod]]:
    settings = {
        "FLEETFOLD_CLOUD__KAFKA__MAX_POLL_INTERVAL_MS": str(INTERVAL_MS),
        "FLEETFOLD_CLOUD__KAFKA__GROUP_PROTOCOL": request.param,
        "FLEETFOLD_CLOUD__HISTORY__FLUSH_INTERVAL_S": "1",
        "FLEETFOLD_CLOUD__HISTORY__RETENTION_DAYS__DRIVING": "3650",
    }
    (tmp_path / "mongod").mkdir()
    with Mongod(processes, tmp_path / "mongod") as mongod:
        made = Line(processes, tmp_path, mongod.url, "fleetfold", settings)
        made.broker.start()
        topics_admin.create(made.settings, TopicSettings(partitions=2))
        yield made, mongod
        made.close()


def away(pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)
    time.sleep(AWAY_S)
    os.kill(pid, signal.SIGCONT)


@pytest.mark.timeout(300)
def test_longer_than_the_poll_interval_away_loses_and_doubles_nothing(line: tuple[Line, Mongod]) -> None:
    """MongoDB, then Kafka, then the worker itself. While MongoDB is away, worker and keeper of history keep their
    places in the group; a worker that slept finds that it lost its place, comes back, and reads on."""
    site, mongod = line
    worker = site.worker()
    site.say(3)
    site.until_all_is_folded_once()
    site.say_until_in_the_middle()
    away(mongod.pid)
    site.until_all_is_folded_once()
    told = {one["event"] for one in site.log()}
    assert "partitions assigned" in told
    assert not {"partitions given up", "offsets not committed"} & told
    for pid in (site.broker.pid, worker.pid):
        site.say_until_in_the_middle()
        away(pid)
        site.until_all_is_folded_once()
    assert "partitions given up" in {one["event"] for one in site.log()}
    site.until_history_has_all()
    worker.stop(20)
