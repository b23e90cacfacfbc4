"""Children never outlive us: stopped in order, by force, with what they started, even when we are killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from local.processes import Child, Processes, marked, runs

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
ORDERLY = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("up", flush=True)
time.sleep(60)
"""
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session={away})
print(child.pid, flush=True)
time.sleep(60)
"""
KILLED_PROGRAM = """
import pathlib, sys, time
from local.processes import Processes
owner = Processes()
child = owner.start("parent", [sys.executable, "-c", {parent!r}], pathlib.Path(sys.argv[1]))
print(owner.mark, flush=True)
time.sleep(60)
"""


def python(owner: Processes, code: str, directory: Path, name: str = "child") -> Child:
    return owner.start(name, [sys.executable, "-c", code], directory / f"{name}.log")


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def until_up(child: Child) -> None:
    until(lambda: "up" in child.last_lines(), f"{child.name} is not up")


def test_output_and_environment_of_a_child_are_as_asked(tmp_path: Path) -> None:
    with Processes() as owner:
        code = "import os, sys; print(os.environ['COLOUR']); print('err', file=sys.stderr)"
        child = owner.start("child", [sys.executable, "-c", code], tmp_path / "logs" / "c.log", {"COLOUR": "blue"})
        assert child.wait(10) == 0
    assert child.last_lines() == "blue\nerr"


def test_children_are_stopped_the_last_first(tmp_path: Path) -> None:
    record = tmp_path / "order"
    code = """
import pathlib, signal, sys, time
def end(*_):
    with open({record!r}, "a") as record:
        record.write({name!r})
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("up", flush=True)
time.sleep(60)
"""
    with Processes() as owner:
        for name in "abc":
            child = python(owner, code.format(record=str(record), name=name), tmp_path, name)
            until_up(child)
    assert record.read_text() == "cba"


def test_a_child_that_ignores_sigterm_is_killed_within_the_limit(tmp_path: Path) -> None:
    owner = Processes()
    children = [python(owner, STUBBORN, tmp_path, name) for name in "ab"]
    for child in children:
        until_up(child)
    began = time.monotonic()
    owner.stop_all(limit_s=2.0)
    assert time.monotonic() - began < 2.5
    assert [child.exit_code for child in children] == [-signal.SIGKILL] * 2


def test_a_slow_child_does_not_cost_the_others_their_orderly_end(tmp_path: Path) -> None:
    owner = Processes()
    orderly = python(owner, ORDERLY, tmp_path, "orderly")
    stubborn = python(owner, STUBBORN, tmp_path, "stubborn")
    until_up(orderly)
    until_up(stubborn)
    owner.stop_all(limit_s=3.0)
    assert (orderly.exit_code, stubborn.exit_code) == (0, -signal.SIGKILL)


@pytest.mark.parametrize("away", [False, True], ids=["same session", "own session"])
def test_grandchildren_are_gone_too(away: bool, tmp_path: Path) -> None:
    with Processes() as owner:
        parent = python(owner, PARENT.format(away=away), tmp_path)
        until(lambda: parent.last_lines().isdigit(), "no grandchild")
        grandchild = psutil.Process(int(parent.last_lines()))
        assert runs(grandchild)
    assert not runs(grandchild)


def test_an_orphaned_grandchild_is_gone_too(tmp_path: Path) -> None:
    with Processes() as owner:
        parent = python(owner, PARENT.format(away=True), tmp_path)
        until(lambda: parent.last_lines().isdigit(), "no grandchild")
        grandchild = psutil.Process(int(parent.last_lines()))
        os.kill(parent.pid, signal.SIGKILL)  # nobody knows the grandchild's parent any more
        parent.wait(5)
        assert runs(grandchild)
    assert not runs(grandchild)


@pytest.mark.parametrize("away", [False, True], ids=["same session", "own session"])
def test_children_and_grandchildren_die_when_the_program_is_killed(away: bool, tmp_path: Path) -> None:
    log = tmp_path / "parent.log"
    code = KILLED_PROGRAM.format(parent=PARENT.format(away=away))
    with subprocess.Popen([sys.executable, "-c", code, str(log)], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        mark = program.stdout.readline().strip()
        until(lambda: log.exists() and log.read_text().strip().isdigit(), "no grandchild")
        assert len(marked(mark)) == 2
        guardian = [process for process in psutil.process_iter() if mark in " ".join(_command(process))]
        assert len(guardian) == 1
        program.kill()
    until(lambda: not marked(mark), "still there")
    until(lambda: not runs(guardian[0]), "the guardian is still there")


def test_after_stopping_nothing_can_be_started(tmp_path: Path) -> None:
    owner = Processes()
    owner.stop_all()
    with pytest.raises(OSError, match="stopping"):
        python(owner, "pass", tmp_path)


def test_stopping_leaves_no_guardian(tmp_path: Path) -> None:
    owner = Processes()
    python(owner, "pass", tmp_path).wait(10)
    owner.stop_all()
    assert not [process for process in psutil.process_iter() if owner.mark in " ".join(_command(process))]


def test_a_program_that_does_not_exist_is_an_error_that_names_it(tmp_path: Path) -> None:
    with Processes() as owner, pytest.raises(OSError, match="no-such-program"):
        owner.start("nothing", ["no-such-program"], tmp_path / "log")


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
