"""`fleetfold-local` as a person uses it: starts, tells, stops, and leaves nothing behind."""

import os
import re
import signal
import subprocess
import sysconfig
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil
import pytest

from local import ports
from local.processes import runs
from local.servers import kafka, mongo, mqtt

LOCAL = str(Path(sysconfig.get_path("scripts")) / "fleetfold-local")
NAMES = ("MQTT_URL", "KAFKA_BOOTSTRAP_SERVERS", "MONGODB_URI")


def start(*words: str, temporary: Path, environment: Mapping[str, str] | None = None) -> "subprocess.Popen[str]":
    """Start in a session of its own, with its own place for temporary directories."""
    inherited = {name: value for name, value in os.environ.items() if name not in NAMES}
    return subprocess.Popen(
        [LOCAL, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**inherited, "TMPDIR": str(temporary), **(environment or {})},
        start_new_session=True,
    )


def started_by(program: "subprocess.Popen[str]") -> list[psutil.Process]:
    """Its descendants now."""
    return psutil.Process(program.pid).children(recursive=True)


def until(condition: Callable[[], bool], limit_s: float = 10) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_up_prints_addresses_that_answer_and_ctrl_c_ends_all_of_it(tmp_path: Path) -> None:
    with start("up", "--servers-only", temporary=tmp_path) as program:
        assert program.stdout is not None
        lines = [program.stdout.readline() for _ in NAMES]
        values = dict(re.findall(r"^export (\w+)='(.*)'\n", "".join(lines), re.MULTILINE))
        assert tuple(values) == NAMES
        assert mqtt.answers("127.0.0.1", int(values["MQTT_URL"].rpartition(":")[2]))
        assert kafka.answers(values["KAFKA_BOOTSTRAP_SERVERS"])
        assert mongo.answers(values["MONGODB_URI"])
        children = started_by(program)
        assert len(children) >= 3
        began = time.monotonic()
        program.send_signal(signal.SIGINT)
        assert program.wait(15) == 0
        assert time.monotonic() - began < 10
    assert not [child for child in children if runs(child)]
    assert list(tmp_path.iterdir()) == []


def test_up_with_a_data_directory_keeps_it(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with start("up", "--servers-only", "--data", str(data), temporary=tmp_path) as program:
        assert program.stdout is not None
        program.stdout.readline()
        program.send_signal(signal.SIGTERM)
        assert program.wait(15) == 0
    assert (data / "mongodb" / "data").is_dir()


@pytest.mark.parametrize("after_s", [0.3, 0.6, 1.0, 1.5])
def test_ctrl_c_while_servers_start_ends_all_of_it(after_s: float, tmp_path: Path) -> None:
    with start("up", "--servers-only", temporary=tmp_path) as program:
        time.sleep(after_s)
        children = started_by(program)
        began = time.monotonic()
        program.send_signal(signal.SIGINT)
        assert program.wait(15) in (0, 130, -signal.SIGINT)  # the last: Python had not come to our code yet
        assert time.monotonic() - began < 10
    assert not [child for child in children if runs(child)]
    assert list(tmp_path.iterdir()) == []


def test_kill_9_leaves_no_process(tmp_path: Path) -> None:
    with start("up", "--servers-only", temporary=tmp_path) as program:
        assert program.stdout is not None
        program.stdout.readline()
        children = started_by(program)
        assert len(children) >= 3
        program.kill()
    until(lambda: not [child for child in children if runs(child)])


def test_a_named_server_is_used_and_not_touched(tmp_path: Path, mqtt_url: str) -> None:
    with start("up", "--servers-only", temporary=tmp_path, environment={"MQTT_URL": mqtt_url}) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == f"export MQTT_URL='{mqtt_url}'\n"
        program.send_signal(signal.SIGTERM)
        program.wait(15)
    assert mqtt.answers("127.0.0.1", int(mqtt_url.rpartition(":")[2]))


@pytest.mark.parametrize("command", ["up", "demo"])
def test_a_named_server_that_does_not_answer_is_exit_code_3_and_one_line(command: str, tmp_path: Path) -> None:
    nobody = {"MONGODB_URI": f"mongodb://user:secret@127.0.0.1:{ports.free_port()}/"}
    with start(command, temporary=tmp_path, environment=nobody) as program:
        out, err = program.communicate(timeout=30)
    assert (program.returncode, out) == (3, "")
    assert err == "MONGODB_URI is set, but no server answers there\n"
    assert list(tmp_path.iterdir()) == []
