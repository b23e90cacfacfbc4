"""Stop signals as an event, in real processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOOP = """
from runtime.stopping import stop_event
stop = stop_event()
print("ready", flush=True)
while not stop.wait(0.00001):
    pass
print("stopped in order", flush=True)
"""
STUCK = """
import time
from runtime.stopping import stop_event
stop = stop_event()
print("ready", flush=True)
stop.wait()
print("asked to stop", flush=True)
time.sleep(60)
"""
MANY_SIGNALS_IN_WAIT = """
import random, signal
from runtime.stopping import stop_event
for _ in range(3000):
    stop = stop_event()
    signal.signal(signal.SIGALRM, signal.getsignal(signal.SIGTERM))
    signal.setitimer(signal.ITIMER_REAL, 0.00005 + random.random() * 0.0002)
    while not stop.wait(0.00001):
        pass
print("never stuck", flush=True)
"""


def start(code: str) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=-1, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_loop_between_two_rounds(number):
    with start(LOOP) as process:
        time.sleep(0.05)
        process.send_signal(number)
        out, _ = process.communicate(timeout=20)
    assert out == "stopped in order\n"
    assert process.returncode == 0


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_a_further_interrupt_ends_the_process_at_once(first):
    with start(STUCK) as process:
        process.send_signal(first)
        assert process.stdout is not None
        assert process.stdout.readline() == "asked to stop\n"
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    assert process.returncode == -signal.SIGINT


def test_a_further_sigterm_changes_nothing():
    """Supervisors repeat it; what is being written is still finished."""
    with start(STUCK) as process:
        for _ in range(2):
            process.send_signal(signal.SIGTERM)
            time.sleep(0.1)
        assert process.poll() is None
        process.kill()
    assert process.returncode == -signal.SIGKILL


def test_a_signal_in_the_middle_of_waiting_never_blocks_the_loop():
    """Setting an event inside a handler does, about once in a few thousand signals."""
    done = subprocess.run(
        [sys.executable, "-c", MANY_SIGNALS_IN_WAIT],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "never stuck\n", done.stderr
