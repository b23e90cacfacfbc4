"""`fleetfold-cloud status` on a real Kafka, a real MongoDB and a running worker."""

import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog
from confluent_kafka import Producer
from typer.testing import CliRunner

from cloud import cli, topics_admin
from cloud.config import ConsumerSettings, TopicSettings
from local import ports, services
from local.processes import Child, Processes
from tests.cloud_world import NOW_MS, TOPIC_OF, frame, record

_ENDS_ARE_EXACT = os.environ.get("FLEETFOLD_TEST_KAFKA") == "apache"
"""The other broker names an end that lies before the last batch's end, and does not tell members."""


class Site:
    """Servers, and the command line."""

    def __init__(self, owner: Processes, directory: Path, kafka: str, uri: str, database: str) -> None:
        self._owner, self._directory, self.kafka = owner, directory, kafka
        self.environment = {
            "KAFKA_BOOTSTRAP_SERVERS": kafka,
            "MONGODB_URI": uri,
            "FLEETFOLD_CLOUD__MONGO__DATABASE": database,
            "COLUMNS": "200",
            "FLEETFOLD_CLOUD__HISTORY__FLUSH_INTERVAL_S": "1",
        }

    def start_worker(self, port: int) -> Child:
        program = services.Program("fold", (services.CLOUD, "fold"))
        environment = {**self.environment, "FLEETFOLD_CLOUD__HTTP__PORT": str(port)}
        return self._owner.start("fold", program.command, self._directory / "fold.log", environment)

    def say(self, count: int) -> None:
        producer = Producer({"bootstrap.servers": self.kafka, "log_level": 0})
        for seq in range(count):
            made = record("a", [frame(NOW_MS + seq, {"Vehicle.Speed": 1}, "s", seq)], first_sequence=seq)
            producer.produce(TOPIC_OF["signals"], key=b"a", value=made.value, partition=1)
        producer.flush()

    def status(self, *options: str, code: int | None = None) -> Any:
        result = CliRunner().invoke(cli.app, ["status", "--timeout-s", "3", *options], env=self.environment)
        structlog.reset_defaults()
        assert code is None or result.exit_code == code, (result.output, result.exception)
        return result

    def until(self, condition: Callable[[dict[str, Any]], bool], *options: str) -> dict[str, Any]:
        deadline = time.monotonic() + 60
        while True:
            found: dict[str, Any] = json.loads(self.status("--json", *options).stdout)
            if condition(found):
                return found
            assert time.monotonic() < deadline, found
            time.sleep(0.2)


@pytest.fixture
def site(processes: Processes, tmp_path: Path, fresh_kafka: str, mongodb_uri: str, mongo_database: str) -> Site:
    return Site(processes, tmp_path, fresh_kafka, mongodb_uri, mongo_database)


def test_lag_is_told_in_records_and_seconds_until_a_worker_has_caught_up(site: Site) -> None:
    assert "run `fleetfold-cloud topics create`" in " ".join(site.status(code=1).stdout.split())
    topics_admin.create(ConsumerSettings(bootstrap_servers=site.kafka), TopicSettings(partitions=2))
    site.say(30)
    time.sleep(1.1)
    behind = json.loads(site.status("--json", "--lag-max-s", "1", code=1).stdout)
    assert behind["lag_records"] == 30 if _ENDS_ARE_EXACT else behind["lag_records"] > 0
    assert 1 < behind["lag_s"] < 60
    (partition,) = [one for one in behind["kafka"]["partitions"] if one["lag_records"]]
    assert (partition["topic"], partition["partition"]) == ("fleet.signals.v1", 1)
    assert any("s behind" in problem for problem in behind["problems"])
    assert behind["kafka"]["history_lag_records"] == behind["lag_records"]
    assert re.search(r"fleet\.signals\.v1 +1 +- +\d+ +\d+ +\d", site.status("--lag-max-s", "1", code=1).stdout)

    port = ports.free_port()
    worker = site.start_worker(port)
    try:
        url = f"http://127.0.0.1:{port}"
        well = site.until(lambda found: found["healthy"] and found["lag_records"] == 0, "--worker", url)
        assert well["mongo"]["twins"] == 1
        kept = site.until(lambda found: found["kafka"]["history_lag_records"] == 0, "--worker", url)
        assert kept["healthy"]
        (said,) = well["workers"]
        assert (said["folded"], said["healthy"]) == (30, True)
        if _ENDS_ARE_EXACT:
            assert [member["partitions"] for member in well["kafka"]["members"]]
        text = site.status("--worker", url, code=0).stdout
        assert "all is well" in text
    finally:
        worker.stop()
    assert "does not answer" in site.status("--worker", url, code=1).stdout


def test_servers_that_do_not_answer_are_named_with_an_exit_code(site: Site) -> None:
    site.environment |= {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "MONGODB_URI": "mongodb://127.0.0.1:1"}
    found = json.loads(site.status("--json", "--timeout-s", "0.5", code=3).stdout)
    assert (found["kafka"]["reachable"], found["mongo"]["reachable"], found["healthy"]) == (False, False, False)
    assert len(found["problems"]) == 2
