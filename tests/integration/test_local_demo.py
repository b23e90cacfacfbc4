"""`fleetfold-local demo` from start to verified twins, and out of it at any moment."""

import os
import re
import signal
import subprocess
import sysconfig
import time
from collections.abc import Mapping
from pathlib import Path

import msgpack
import psutil
import pymongo
import pytest

from local.processes import runs
from wire import frames
from wire.messages import Frame

LOCAL = str(Path(sysconfig.get_path("scripts")) / "fleetfold-local")
NAMES = ("MQTT_URL", "KAFKA_BOOTSTRAP_SERVERS", "MONGODB_URI")
SMALL = ("--vehicles", "20", "--stations", "2", "--real", "none", "--plain")
VERIFIED = re.compile(r"verified: (\d+) sent, \1 folded, 0 lost, 0 doubled, 0 wrong")


def start(*words: str, temporary: Path, environment: Mapping[str, str] | None = None) -> "subprocess.Popen[str]":
    """A small demo in a session of its own, with its own place for temporary directories."""
    inherited = {name: value for name, value in os.environ.items() if name not in NAMES}
    kafka = ("--kafka", os.environ.get("FLEETFOLD_TEST_KAFKA", "tansu"))
    return subprocess.Popen(
        [LOCAL, "demo", *SMALL, *kafka, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**inherited, "TMPDIR": str(temporary), **(environment or {})},
        start_new_session=True,
    )


def wait_for_line(program: "subprocess.Popen[str]", text: str) -> None:
    assert program.stdout is not None
    for line in program.stdout:
        if text in line:
            return
    assert program.stderr is not None
    raise AssertionError(f"no line with {text!r}; stderr: {program.stderr.read()}")


def children_of(program: "subprocess.Popen[str]", name: str = "") -> list[psutil.Process]:
    children = psutil.Process(program.pid).children(recursive=True)
    return [child for child in children if not name or name in " ".join(child.cmdline())]


def interrupt(program: "subprocess.Popen[str]") -> int:
    """Ctrl-C: its exit code, once nothing of it is left, which takes less than 10 s."""
    children = children_of(program)
    began = time.monotonic()
    program.send_signal(signal.SIGINT)
    program.communicate(timeout=15)
    assert time.monotonic() - began < 10
    assert not [child for child in children if runs(child)]
    return program.returncode


def test_a_demo_ends_with_answers_and_a_verified_line_and_leaves_nothing(
    tmp_path: Path, apache_kafka_if_chosen: None
) -> None:
    with start("--duration", "5", temporary=tmp_path) as program:
        wait_for_line(program, "running")
        children = children_of(program)
        out, err = program.communicate(timeout=100)
    assert (program.returncode, err) == (0, "")
    *_, last = out.splitlines()
    verified = VERIFIED.fullmatch(last)
    assert verified, out
    assert int(verified[1]) > 100
    for command in ("twins find --health critical", "twins find --near", "anomalies list", "customers show"):
        assert f"$ fleetfold-cloud {command}" in out
    assert not [child for child in children if runs(child)]
    assert list(tmp_path.iterdir()) == []


def test_a_demo_with_rumqttd_loses_nothing_either(tmp_path: Path, apache_kafka_if_chosen: None) -> None:
    with start("--duration", "3", "--mqtt", "rumqttd", temporary=tmp_path) as program:
        out, err = program.communicate(timeout=100)
    assert (program.returncode, err) == (0, "")
    assert VERIFIED.fullmatch(out.splitlines()[-1]), out


def test_what_is_lost_is_named_and_exit_code_1(tmp_path: Path, apache_kafka_if_chosen: None) -> None:
    lost = Frame(v=1, ts=int(time.time() * 1000), signals={"Vehicle.Speed": 50.0}, session="s", seq=0)
    with start("--duration", "4", temporary=tmp_path) as program:
        wait_for_line(program, "draining")
        (truth,) = tmp_path.glob("*/truth/fleet")
        with (truth / "sent.msgpack").open("ab") as sent:  # a frame that a device sent and no twin has
            sent.write(msgpack.packb(["vehicle", "car-that-is-lost", "signals", frames.encode(lost), True]))
        out, err = program.communicate(timeout=100)
    assert program.returncode == 1
    assert "lost: car-that-is-lost" in out
    assert re.search(r"\d+ sent, \d+ folded, 1 lost, 0 doubled", out.splitlines()[-1])
    (kept,) = tmp_path.iterdir()
    assert str(kept) in err


def test_a_service_that_dies_ends_the_demo_with_its_name_and_last_lines(
    tmp_path: Path, apache_kafka_if_chosen: None
) -> None:
    with start("--duration", "60", temporary=tmp_path) as program:
        wait_for_line(program, "running")
        (edge,) = children_of(program, "fleetfold-edge")
        edge.kill()
        _, err = program.communicate(timeout=30)
    assert program.returncode == 1
    assert err.startswith("edge ended with exit code -9:\n")
    assert "mqtt_connected" in err


def test_ctrl_c_while_running_is_exit_code_130(tmp_path: Path, apache_kafka_if_chosen: None) -> None:
    with start("--duration", "60", temporary=tmp_path) as program:
        wait_for_line(program, "running")
        assert interrupt(program) == 130
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_is_the_end_of_a_demo_without_duration(tmp_path: Path, apache_kafka_if_chosen: None) -> None:
    with start("--duration", "0", temporary=tmp_path) as program:
        wait_for_line(program, "running")
        assert interrupt(program) == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("after_s", [0.7, 1.2, 2.0, 3.0])
def test_ctrl_c_while_starting_leaves_nothing(after_s: float, tmp_path: Path, apache_kafka_if_chosen: None) -> None:
    with start("--duration", "60", temporary=tmp_path) as program:
        time.sleep(after_s)
        assert interrupt(program) == 130
    assert list(tmp_path.iterdir()) == []


def test_demos_on_named_servers_run_one_after_the_other_undisturbed_by_what_is_there_already(
    tmp_path: Path, mqtt_url: str, kafka_bootstrap_servers: str, mongodb_uri: str
) -> None:
    named = dict(zip(NAMES, (mqtt_url, kafka_bootstrap_servers, mongodb_uri), strict=True))
    for _ in range(2):
        with start("--duration", "3", temporary=tmp_path, environment=named) as program:
            wait_for_line(program, "running")
            with start("--duration", "3", temporary=tmp_path, environment=named) as second:
                refused, why = second.communicate(timeout=30)
            out, err = program.communicate(timeout=100)
        assert (program.returncode, err) == (0, ""), out
        assert VERIFIED.fullmatch(out.splitlines()[-1]), out
        assert (second.returncode, refused) == (3, "")
        assert why.startswith("another demo uses the server that MQTT_URL names")
        assert len(why.splitlines()) == 1
    with pymongo.MongoClient(mongodb_uri) as client:
        assert not [name for name in client.list_database_names() if name.startswith("fleetfold_demo")]
