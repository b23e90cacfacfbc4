"""A run sends what its seed says, whatever its speed; one that cannot keep its schedule says so."""

import threading
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from simulator import condition, running, show
from simulator.engine import Engine
from simulator.running import Outbox, Run
from simulator.settings import SendSection
from simulator.truth import CELLS, CELLS_OF, FAULTS, SENT, Truth, TruthWriter
from tests.simulator_world import START_MS, settings

STEPS = 120


class Listener:
    """Takes every message at once."""

    unacknowledged = refused = sent_bytes = 0

    def __init__(self):
        self.heard = []
        self._positions = []

    def publish(self, messages, positions):
        self.heard += messages
        self._positions += [position for position in positions if position >= 0]

    def poll(self, timeout_s):
        threading.Event().wait(timeout_s)

    def take_acknowledged(self):
        taken, self._positions = self._positions, []
        return np.array(taken, dtype=np.int64)


def _run(directory: Path, speedup: float, *, shown=None, teller=None):
    """All messages of a run of `STEPS` steps, what it left on disk, and its summary."""
    world = settings(vehicles=25, stations=4, misbehave=0.05, speedup=speedup, reboots_per_day=300.0)
    listener = Listener()
    with TruthWriter(directory, {}) as truth:
        outbox = Outbox(truth, listener, shown or (lambda numbers: None))
        run = Run(Engine(world, START_MS), truth, outbox, threading.Event(), teller)
        summary = run.go(STEPS / speedup, SendSection())
    files = {name: (directory / name).read_bytes() for name in (SENT, CELLS, CELLS_OF, FAULTS)}
    return listener.heard, files, summary.plain()


def test_the_speed_changes_nothing_of_what_is_sent_and_kept(tmp_path):
    slow, fast, fastest = (_run(tmp_path / str(speedup), speedup) for speedup in (50.0, 400.0, 1_000.0))
    assert len(slow[0]) > 400
    assert slow[0] == fast[0] == fastest[0]
    assert slow[1] == fast[1] == fastest[1]


def test_a_run_that_keeps_its_schedule_has_nothing_to_complain_of(tmp_path):
    summary = _run(tmp_path / "t", 50.0)[2]
    assert show.complaint(summary) is None
    assert 10 < summary["speedup_reached"] <= 51


@pytest.mark.parametrize("is_told", [True, False])
def test_services_are_in_the_truth_before_they_are_told_and_only_if_they_are(tmp_path, monkeypatch, is_told):
    monkeypatch.setattr(condition, "COMES_AFTER_KM", 0.0)
    monkeypatch.setattr(condition, "_COMES_WITHIN_S", 60.0)

    class Workshop:
        heard: ClassVar = []

        def tell(self, facts):
            assert Truth(tmp_path / "t").lifecycle()[len(self.heard) :] == facts
            self.heard += facts

    summary = _run(tmp_path / "t", 200.0, teller=Workshop() if is_told else None)[2]
    assert summary["serviced"] > 0
    assert len(Truth(tmp_path / "t").lifecycle()) == len(Workshop.heard) == (summary["serviced"] if is_told else 0)


@pytest.mark.parametrize("is_terminal", [False, True])
def test_a_fleet_that_is_too_large_for_its_speed_says_so_while_it_runs_and_at_its_end(
    tmp_path, monkeypatch, capsys, is_terminal
):
    real = running.Pace.wait_s
    monkeypatch.setattr(running.Pace, "wait_s", lambda self, simulated_s: real(self, simulated_s) - 30.0)
    monkeypatch.setattr("sys.stderr.isatty", lambda: is_terminal)
    progress = show.Progress()
    numbers = []
    with progress.shown():
        summary = _run(tmp_path / "t", 500.0, shown=lambda now: (numbers.append(now.behind_s), progress.show(now)))[2]
    said = capsys.readouterr().err
    assert max(numbers) > 25
    assert "behind" in said
    assert is_terminal or said.count("cannot keep its schedule") == 1, "once, not every second"
    complaint = show.complaint(summary)
    assert "500 times real time was asked for" in complaint
    assert "--interval" in complaint
