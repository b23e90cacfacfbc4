"""`fleetfold-edge` on the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

from edge.spool.disk import Directory
from edge.spool.spool import Limits, Spool
from tests.edge_disk import ManualClock, message, put


def run(*words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    inherited = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "PYTHONPATH")}
    return subprocess.run(
        [sys.executable, "-m", "edge", *words],
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_check_prints_one_line_and_starts_nothing(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    done = run("run", "--check", FLEETFOLD_EDGE__SPOOL__DIRECTORY=str(spool), FLEETFOLD_EDGE__GATEWAY="g1")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"configuration ok: gateway g1, spool in {spool}\n"
    assert not spool.exists()


def test_check_names_every_fault_on_its_own_line(tmp_path: Path) -> None:
    file = tmp_path / "edge.toml"
    file.write_text("[mqtt]\nreceive_maximum = 0\nkeepalive = 5\n[http]\nport = 70000")
    done = run("run", "--config", str(file), "--check")
    assert done.returncode == 2
    assert done.stdout == ""
    keys = [line.split(":")[0] for line in done.stderr.splitlines()]
    assert sorted(keys) == ["http.port", "mqtt.keepalive", "mqtt.receive_maximum"]


def test_a_file_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    done = run("run", "--config", str(tmp_path / "no.toml"))
    assert done.returncode == 2
    assert "cannot be read" in done.stderr


def test_version() -> None:
    assert run("--version").stdout.startswith("fleetfold-edge 0.")


def test_the_agent_imports_neither_database_nor_arrays() -> None:
    code = "import edge.service, edge.cli, edge.inspection, sys; print({'numpy', 'pymongo'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "set()\n"


def test_an_agent_carries_nothing_that_is_only_for_terminals(tmp_path: Path) -> None:
    """structlog would import rich because it is installed: megabytes for as long as the agent runs."""
    command = [sys.executable, "-X", "importtime", "-m", "edge", "run", "--check"]
    environment = os.environ | {"FLEETFOLD_EDGE__SPOOL__DIRECTORY": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "structlog.dev" in imported
    assert not imported & {"rich.console", "rich.traceback", "pygments"}


def test_a_start_takes_less_than_a_second_of_processor_time() -> None:
    """Not of the wall clock: this machine may be busy."""
    code = "import time, edge.cli, edge.service; print(time.process_time())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert float(done.stdout) < 1.0


def spool_with_records(directory: Path) -> None:
    disk = Directory(directory)
    spool = Spool.open(disk, Limits(4_000_000, 1_000_000, 4_096), ManualClock())
    put(spool, message(0), message(1))
    put(spool, message(2))
    spool.close()
    disk.close()


def test_inspect_shows_what_the_spool_holds(tmp_path: Path) -> None:
    spool_with_records(tmp_path)
    found = json.loads(run("spool", "inspect", str(tmp_path), "--json").stdout)
    assert found["records"] == 3
    assert found["lost"] == []
    (segment,) = found["segments"]
    assert (segment["first_sequence"], segment["last_sequence"], segment["blocks"]) == (0, 2, 2)
    assert (segment["damaged_blocks"], segment["unreadable_bytes"]) == (0, 0)
    table = run("spool", "inspect", str(tmp_path), COLUMNS="200").stdout
    assert segment["file"] in table


def test_inspect_counts_damage(tmp_path: Path) -> None:
    spool_with_records(tmp_path)
    (file,) = tmp_path.glob("*.seg")
    data = file.read_bytes()
    file.write_bytes(data.replace(b"0:", b"?:") + b"torn")
    (segment,) = json.loads(run("spool", "inspect", str(tmp_path), "--json").stdout)["segments"]
    assert (segment["records"], segment["damaged_blocks"], segment["unfinished_bytes"]) == (1, 1, 4)


def test_inspect_of_nothing_explains_itself(tmp_path: Path) -> None:
    done = run("spool", "inspect", str(tmp_path / "none"))
    assert done.returncode == 1
    assert "No such file or directory" in done.stderr
