"""The bundle for gateways without internet: built here, unpacked elsewhere, installed with no index to ask."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from local import ports

ROOT = Path(__file__).parents[2]
ON_CI = bool(os.environ.get("CI"))

if not ON_CI and not os.environ.get("FLEETFOLD_SLOW_TESTS"):
    pytest.skip("builds and installs a bundle: set FLEETFOLD_SLOW_TESTS=1 to run it here", allow_module_level=True)
if os.environ.get("FLEETFOLD_TEST_KAFKA") == "apache":
    pytest.skip("has nothing to do with the Kafka broker in use", allow_module_level=True)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked bundle, away from the checkout."""
    output = tmp_path_factory.mktemp("dist")
    command = [str(ROOT / "edge" / "deploy" / "make-bundle"), "--output", str(output)]
    environment = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0 and not ON_CI and re.search(r"No matching distribution|ConnectionError", done.stderr):
        pytest.skip("no package index answers: the bundle was not built")
    assert done.returncode == 0, done.stdout + done.stderr
    (archive,) = output.glob("*.tar.gz")
    subprocess.run(["sha256sum", "-c", f"{archive.name}.sha256"], cwd=output, capture_output=True, check=True)
    elsewhere = tmp_path_factory.mktemp("gateway")
    shutil.unpack_archive(archive, elsewhere, filter="data")
    (unpacked,) = elsewhere.iterdir()
    return unpacked


def install(bundle: Path, root: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """With an index that nobody serves: whoever asked one would fail."""
    closed = f"http://127.0.0.1:{ports.free_port()}/simple"
    environment = {"PATH": os.environ["PATH"], "PIP_INDEX_URL": closed, "PIP_RETRIES": "0", "PIP_TIMEOUT": "1"}
    command = [str(bundle / "install"), "--root", str(root), *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def root(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gateway's file system after the installation."""
    root = tmp_path_factory.mktemp("root")
    done = install(bundle, root, "--python", sys.executable)
    assert done.returncode == 0, done.stdout + done.stderr
    return root


def agent(root: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    program = root / "opt" / "fleetfold-edge" / "current" / "bin" / "fleetfold-edge"
    environment = {"PATH": "/usr/bin:/bin"}
    return subprocess.run([program, *words], env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_the_installed_agent_runs_with_the_installed_configuration(root: Path) -> None:
    configuration = root / "etc" / "fleetfold-edge" / "edge.toml"
    done = agent(root, "run", "--check", "--config", str(configuration))
    assert done.returncode == 0, done.stderr
    assert "my-gateway" not in done.stdout, "a name that would be the same on every gateway"
    assert configuration.stat().st_mode & 0o777 == 0o640


def test_what_is_installed_are_the_tested_versions_and_nothing_of_the_cloud(bundle: Path, root: Path) -> None:
    python = root / "opt" / "fleetfold-edge" / "current" / "bin" / "python"
    listed = subprocess.run([python, "-m", "pip", "freeze"], capture_output=True, text=True, timeout=60, check=True)
    names = {line.split("==")[0].lower() for line in listed.stdout.splitlines() if "==" in line}
    assert not names & {"pymongo", "numpy", "pytest"}
    pins = set((bundle / "constraints.txt").read_text(encoding="utf-8").splitlines())
    installed = {line for line in listed.stdout.splitlines() if "==" in line and not line.startswith("fleetfold")}
    assert {line.lower() for line in installed} <= {pin.lower() for pin in pins}


def test_the_unit_starts_the_program_that_was_installed(root: Path) -> None:
    unit = (root / "etc" / "systemd" / "system" / "fleetfold-edge.service").read_text(encoding="utf-8")
    (program,) = re.findall(r"^ExecStart=(\S+)", unit, re.MULTILINE)
    assert (root / program.lstrip("/")).is_file()


def test_again_nothing_changes_and_what_an_operator_wrote_stays(bundle: Path, root: Path) -> None:
    configuration = root / "etc" / "fleetfold-edge" / "edge.toml"
    unit = root / "etc" / "systemd" / "system" / "fleetfold-edge.service"
    configuration.write_text('gateway = "mine"\n')
    unit.write_text(unit.read_text() + "# mine\n")
    done = install(bundle, root, "--python", sys.executable)
    assert done.returncode == 0, done.stderr
    assert configuration.read_text() == 'gateway = "mine"\n'
    assert unit.read_text().endswith("# mine\n")
    assert f"kept your {unit}" in done.stdout
    assert len(list((root / "opt" / "fleetfold-edge" / "versions").iterdir())) == 1


def test_a_damaged_bundle_is_refused_before_anything_is_done(bundle: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "bundle"
    shutil.copytree(bundle, damaged)
    (wheel,) = (damaged / "wheelhouse").glob("fleetfold-*.whl")
    data = bytearray(wheel.read_bytes())
    data[len(data) // 2] ^= 1
    wheel.write_bytes(data)
    done = install(damaged, tmp_path / "root")
    assert done.returncode == 1
    assert "damaged" in done.stderr
    assert not (tmp_path / "root").exists()


def test_a_bundle_for_another_python_says_so(bundle: Path, tmp_path: Path) -> None:
    other = tmp_path / "bundle"
    shutil.copytree(bundle, other)
    (other / "PYTHONS").write_text("3.99\n")
    sums = [line for line in (other / "SHA256SUMS").read_text().splitlines() if "PYTHONS" not in line]
    (other / "SHA256SUMS").write_text("\n".join(sums) + "\n")
    done = install(other, tmp_path / "root")
    assert done.returncode == 1
    assert "3.99" in done.stderr


def test_uninstalling_keeps_configuration_and_spool(bundle: Path, root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path, symlinks=True, dirs_exist_ok=True)
    spool = tmp_path / "var" / "lib" / "fleetfold-edge" / "spool" / "1.seg"
    spool.parent.mkdir()
    spool.write_bytes(b"undelivered")
    done = install(bundle, tmp_path, "--uninstall")
    assert done.returncode == 0, done.stderr
    assert spool.read_bytes() == b"undelivered"
    assert (tmp_path / "etc" / "fleetfold-edge" / "edge.toml").is_file()
    assert not (tmp_path / "opt" / "fleetfold-edge").exists()
    assert not (tmp_path / "etc" / "systemd" / "system" / "fleetfold-edge.service").exists()
