"""The agent as a service: what it tells the service manager, SIGHUP, SIGTERM, liveness. Neither broker is there."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.config import EdgeSettings
from edge.service import Service
from local import ports
from runtime.notify import Notifier
from tests.edge_world import wait_until

SECRET = "hunter2-hunter2"


class Manager:
    """The service manager's end of the notification socket."""

    def __init__(self, address: Path) -> None:
        self.address = str(address)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)

    def hear(self, wanted: str, limit_s: float = 20.0) -> bool:
        """Whether `wanted` is said within the time; what is said before is passed over."""
        deadline = time.monotonic() + limit_s
        while (left_s := deadline - time.monotonic()) > 0:
            self._socket.settimeout(left_s)
            try:
                if wanted in self._socket.recv(4096).decode().split("\n"):
                    return True
            except TimeoutError:
                break
        return False

    def forget(self) -> None:
        """Pass over what was said so far."""
        while self.hear("nothing at all", 0.05):
            pass

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    listening = Manager(tmp_path / "notify")
    yield listening
    listening.close()


class Process:
    """`fleetfold-edge run` with a configuration file, as a service manager starts it."""

    def __init__(self, directory: Path, manager: Manager) -> None:
        self.file = directory / "edge.toml"
        self.port = ports.free_port()
        self._log = directory / "log"
        self.mqtt_url = f"mqtt://127.0.0.1:{ports.free_port()}"
        self._spool = directory / "spool"
        (directory / "password").write_text(SECRET)
        self._password = directory / "password"
        self._kafka = ports.free_port()
        self.write()
        names = ("PATH", "HOME", "PYTHONPATH")
        environment = {name: os.environ[name] for name in names if name in os.environ}
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "edge", "run", "--config", str(self.file)],
                env={**environment, "NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "900000"},
                stderr=log,
            )

    def write(self, more: str = "", level: str = "info", gather_ms: int = 3) -> None:
        self.file.write_text(
            f"""
            gateway = "service-test"
            stop_timeout_ms = 500
            {more}
            [mqtt]
            url = "{self.mqtt_url}"
            username = "edge"
            password_file = "{self._password}"
            [kafka]
            bootstrap_servers = "127.0.0.1:{self._kafka}"
            security_protocol = "sasl_plaintext"
            sasl_username = "edge"
            sasl_password_file = "{self._password}"
            [spool]
            directory = "{self._spool}"
            commit_gather_ms = {gather_ms}
            [http]
            port = {self.port}
            [log]
            level = "{level}"
            """
        )

    def log(self) -> str:
        return self._log.read_text()

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log().splitlines()]
        return [line for line in lines if line["event"] == name]

    def get(self, path: str) -> tuple[int, str]:
        return get(self.port, path)


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.fixture
def agent(tmp_path: Path, manager: Manager) -> Iterator[Process]:
    started = Process(tmp_path, manager)
    yield started
    if started.process.poll() is None:
        started.process.kill()
        started.process.wait()


def test_the_service_manager_hears_of_start_life_reload_and_end(agent: Process, manager: Manager) -> None:
    assert manager.hear("READY=1"), agent.log()
    assert manager.hear("WATCHDOG=1")
    agent.process.send_signal(signal.SIGHUP)
    assert manager.hear("RELOADING=1")
    assert manager.hear("READY=1")
    assert manager.hear("WATCHDOG=1")
    begun = time.monotonic()
    agent.process.send_signal(signal.SIGTERM)
    assert manager.hear("STOPPING=1")
    assert agent.process.wait(20) == 0
    assert time.monotonic() - begun < 15, "stop_timeout_ms is 500, and no broker answers"


def test_a_reload_applies_what_can_change_and_names_what_cannot(agent: Process, manager: Manager) -> None:
    assert manager.hear("READY=1"), agent.log()
    agent.write("", level="debug", gather_ms=7)
    agent.process.send_signal(signal.SIGHUP)
    assert manager.hear("READY=1")
    (applied,) = agent.events("reloaded")
    assert applied["applied"] == ["log.level"]
    (refused,) = agent.events("reload_refused")
    assert refused["keys"] == ["spool.commit_gather_ms"]
    assert 'config_reloads_total{result="partly"} 1.0' in agent.get("/metrics")[1]


def test_a_reload_that_the_kafka_client_refuses_counts_as_refused_each_time(agent: Process, manager: Manager) -> None:
    assert manager.hear("READY=1"), agent.log()
    beyond_what_librdkafka_takes = "reconnect_backoff_ms_max = 99999999999\n[spool]"
    agent.file.write_text(agent.file.read_text().replace("[spool]", beyond_what_librdkafka_takes))
    for times in (1, 2):
        agent.process.send_signal(signal.SIGHUP)
        count = f'config_reloads_total{{result="refused"}} {times}.0'
        wait_until(lambda count=count: count in agent.get("/metrics")[1], what=agent.log())
    assert 'result="applied"' not in agent.get("/metrics")[1]
    assert agent.events("reloaded") == []


def test_a_reload_of_a_faulty_file_changes_nothing_and_says_why(agent: Process, manager: Manager) -> None:
    assert manager.hear("READY=1"), agent.log()
    agent.write("gatway = 5", level="loud")
    agent.process.send_signal(signal.SIGHUP)
    assert manager.hear("READY=1")
    (failed,) = agent.events("reload_failed")
    assert [fault.split(":")[0] for fault in failed["faults"]] == ["log.level", "gatway"]
    assert agent.events("reloaded") == []
    assert agent.process.poll() is None


def test_no_password_is_in_logs_metrics_health_or_the_command_line(agent: Process, manager: Manager) -> None:
    assert manager.hear("READY=1"), agent.log()
    wait_until(lambda: "mqtt_fault" in agent.log() and "kafka_error" in agent.log(), what=agent.log())
    agent.write("", level="debug", gather_ms=7)
    agent.process.send_signal(signal.SIGHUP)
    assert manager.hear("READY=1")
    said = [agent.log(), *(agent.get(path)[1] for path in ("/metrics", "/healthz", "/livez"))]
    said += [Path(f"/proc/{agent.process.pid}/{name}").read_text() for name in ("cmdline", "environ")]
    command = [sys.executable, "-m", "edge", "run", "--config", str(agent.file), "--check"]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert all(SECRET not in text for text in [*said, checked.stdout, checked.stderr])


@pytest.fixture
def service(tmp_path: Path, manager: Manager) -> Iterator[tuple[Service, int]]:
    """In this process, with a watchdog of 0.6 s; not alive after 1 s."""
    port = ports.free_port()
    settings = EdgeSettings.model_validate(
        {
            "mqtt": {"url": f"mqtt://127.0.0.1:{ports.free_port()}"},
            "kafka": {"bootstrap_servers": f"127.0.0.1:{ports.free_port()}"},
            "spool": {"directory": tmp_path / "spool"},
            "http": {"port": port},
            "health": {"stuck_s_max": 1},
            "stop_timeout_ms": 0,
        }
    )
    stop = threading.Event()
    with Service(settings, Notifier(manager.address, 0.6)) as made:
        loop = threading.Thread(target=made.run, args=(stop,))
        loop.start()
        yield made, port
        stop.set()
        loop.join(20)


def test_a_loop_that_hangs_is_not_called_alive(service: tuple[Service, int], manager: Manager) -> None:
    made, port = service
    assert manager.hear("WATCHDOG=1")
    assert get(port, "/livez")[0] == 200
    assert get(port, "/healthz")[0] == 503, "alive, but not healthy: no broker is there"
    hangs, goes_on = threading.Event(), threading.Event()

    def hang() -> None:
        hangs.set()
        goes_on.wait(30)

    made._parts.agent.post(hang)
    assert hangs.wait(10)
    manager.hear("WATCHDOG=1", 0.3)  # one may have been on its way
    assert not manager.hear("WATCHDOG=1", 2.0)
    assert get(port, "/livez")[0] == 503
    goes_on.set()
    assert manager.hear("WATCHDOG=1")
    assert get(port, "/livez")[0] == 200


def test_a_network_thread_that_has_ended_is_not_called_alive(service: tuple[Service, int], manager: Manager) -> None:
    made, port = service
    assert manager.hear("WATCHDOG=1")
    made._parts.receiver.stop()
    manager.hear("WATCHDOG=1", 0.3)
    assert not manager.hear("WATCHDOG=1", 2.0)
    assert get(port, "/livez")[0] == 503
