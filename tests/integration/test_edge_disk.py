"""The agent as a process on a disk that is slow, and on one that cannot be written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from local.processes import Processes
from tests.edge_world import Agent, Kafka, device, wait_until

SLOW_SYNC = """
import time
from edge.spool import disk
sync = disk.SystemFile.sync
def slowly(file):
    time.sleep(6)
    sync(file)
disk.SystemFile.sync = slowly
from edge.cli import app
app(["run"])
"""


def test_a_slow_disk_is_said_to_be_slow_and_the_connection_lives_on(
    processes: Processes, tmp_path: Path, fresh_mqtt: str, kafka_bootstrap_servers: str
) -> None:
    """A sync takes longer than the broker waits for a sign of life, which is one and a half keepalives."""
    with Agent(processes, tmp_path, fresh_mqtt, kafka_bootstrap_servers) as agent, device(fresh_mqtt) as sender:
        kafka = Kafka(kafka_bootstrap_servers, agent.gateway)
        kafka.create_topics()
        agent.command = [sys.executable, "-c", SLOW_SYNC]
        agent.settings |= {
            "FLEETFOLD_EDGE__MQTT__KEEPALIVE_S": "2",
            "FLEETFOLD_EDGE__HEALTH__COMMIT_MS_MAX": "1000",
            "FLEETFOLD_EDGE__SPOOL__CHECKPOINT_INTERVAL_MS": "60000",
        }
        agent.start()
        sender.signals("car-1", *range(20))
        wait_until(lambda: any("not answered" in why for why in agent.health()["reasons"]), what="slow")
        assert agent.health()["acknowledged"] == 0, "nothing before its sync"
        agent.wait_drained(20)
        assert kafka.numbers("car-1") == list(range(20))
        assert agent.metric("mqtt_connections_total") == 1
        assert any("last append took" in why for why in agent.health()["reasons"])


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a read-only file system")
def test_a_read_only_disk_ends_the_start_with_a_clear_error(tmp_path: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "ro,size=1m", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("cannot mount a tmpfs here")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "edge", "run"],
            env={"PATH": "", "FLEETFOLD_EDGE__SPOOL__DIRECTORY": str(tmp_path / "spool")},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 1
        assert "Read-only file system" in done.stderr.splitlines()[-1]
        assert str(tmp_path) in done.stderr.splitlines()[-1]
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
