"""The servers of the agent's chaos tests."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from local import ports
from local.processes import Processes
from local.servers.base import Server
from tests.edge_chaos_world import DISK_BYTES, KAFKA, ProxiedApache, ProxiedTansu, say
from tests.simulator_network import Wire


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path | None]:
    """A file system that can be filled; None where it cannot be had."""
    directory = tmp_path / "disk"
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(directory)]
    mounted = os.geteuid() == 0 and subprocess.run(mount, capture_output=True, check=False).returncode == 0
    if not mounted:
        say("no small file system without root: the disk is never full")
    try:
        yield directory if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(directory)], check=True)


@pytest.fixture
def bus(processes: Processes, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    if KAFKA == "apache":
        request.getfixturevalue("apache_kafka_available")
    server = (ProxiedApache if KAFKA == "apache" else ProxiedTansu)(processes, tmp_path / "kafka", ports.free_port())
    with Wire(f"kafka://127.0.0.1:{server.port}") as wire:
        server.wire = wire
        with server:
            yield server
