"""sd_notify(3) on a real socket."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.notify import Notifier


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(5)
        yield listening


def heard(manager: socket.socket) -> list[str]:
    return manager.recv(4096).decode().split("\n")


def test_each_state_is_one_datagram_of_the_protocol(manager):
    notifier = Notifier.of({"NOTIFY_SOCKET": manager.getsockname()})
    notifier.ready("two\nlines")
    assert heard(manager) == ["READY=1", "STATUS=two lines"]
    notifier.reloading()
    first, second = heard(manager)
    assert first == "RELOADING=1"
    assert second.partition("=")[0] == "MONOTONIC_USEC"
    notifier.alive("well")
    assert heard(manager) == ["WATCHDOG=1", "STATUS=well"]
    notifier.stopping()
    assert heard(manager) == ["STOPPING=1"]
    notifier.close()


def test_an_abstract_socket_is_found():
    name = f"fleetfold-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name}")
        listening.settimeout(5)
        notifier = Notifier.of({"NOTIFY_SOCKET": f"@{name}"})
        notifier.stopping()
        assert heard(listening) == ["STOPPING=1"]
        notifier.close()


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "/no/such/socket"}])
def test_without_a_manager_nothing_happens(environment):
    notifier = Notifier.of(environment)
    notifier.ready("x")
    notifier.close()
    notifier.stopping()


@pytest.mark.parametrize(
    ("environment", "watchdog_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_counts_when_it_is_meant_for_this_process(environment, watchdog_s):
    assert Notifier.of(environment).watchdog_s == watchdog_s
