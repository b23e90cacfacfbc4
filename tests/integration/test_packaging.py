"""The wheel holds every file, and the edge extra alone installs and runs without the cloud's libraries."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES: list[str] = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
ON_CI = bool(os.environ.get("CI"))
NO_INDEX = r"No matching distribution|Could not find a version|ConnectionError|Temporary failure in name resolution"

if not ON_CI and not os.environ.get("FLEETFOLD_SLOW_TESTS"):
    pytest.skip("installs into a new environment: set FLEETFOLD_SLOW_TESTS=1 to run it here", allow_module_level=True)
if os.environ.get("FLEETFOLD_TEST_KAFKA") == "apache":
    pytest.skip("has nothing to do with the Kafka broker in use", allow_module_level=True)

WALK = """
import importlib, importlib.util, pkgutil, sys
for absent in ("pymongo", "bson", "numpy", "hypothesis", "jsonschema", "pytest"):
    assert importlib.util.find_spec(absent) is None, f"{absent} is here: this environment proves nothing"
count = 0
for package in ("wire", "runtime", "edge"):
    root = importlib.import_module(package)
    assert "site-packages" in root.__file__, f"{root.__file__} is not the installed one"
    for module in pkgutil.walk_packages(root.__path__, f"{package}."):
        importlib.import_module(module.name)
        count += 1
print(count)
"""


def run(command: Sequence[object], folder: Path) -> "subprocess.CompletedProcess[str]":
    """Without what this environment could lend."""
    lent = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "FLEETFOLD_", "MQTT_URL", "KAFKA_", "MONGODB_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(lent)}
    words = [str(word) for word in command]
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False)


def pip(command: Sequence[object], folder: Path) -> None:
    """Skips, outside CI, where no index answers."""
    done = run(command, folder)
    if done.returncode != 0 and not ON_CI and re.search(NO_INDEX, done.stdout + done.stderr):
        pytest.skip("no package index answers: the installation was not tried")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip([sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder, ROOT], folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that has the edge extra and nothing else."""
    folder = tmp_path_factory.mktemp("bare")
    assert run([sys.executable, "-m", "venv", folder], folder).returncode == 0
    programs = folder / "bin"
    pip([programs / "pip", "install", "-c", ROOT / "constraints.txt", f"{wheel}[edge]"], folder)
    return programs


def test_the_wheel_holds_every_file_of_the_packages_and_no_other(wheel):
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    present = {
        str(file.relative_to(ROOT))
        for package in PACKAGES
        for file in (ROOT / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert packed == present
    needed = {
        "wire/catalogue.csv",
        "local/servers/apache_kafka_files/pom.xml",
        *(f"{name}/py.typed" for name in PACKAGES),
    }
    assert needed <= packed
    assert {name for name in packed if re.fullmatch(r"simulator/mappings/\w+\.toml", name)}


def test_the_wheel_carries_its_licence_its_extras_and_no_address(wheel):
    archive = zipfile.ZipFile(wheel)
    described = {name.rpartition("/")[2]: name for name in archive.namelist() if ".dist-info/" in name}
    assert "LICENSE" in described
    metadata = archive.read(described["METADATA"]).decode()
    assert set(re.findall(r"^Provides-Extra: (\S+)$", metadata, re.MULTILINE)) == set(
        PROJECT["project"]["optional-dependencies"]
    )
    assert not re.search(r"^Requires-Dist: .*(@|://)", metadata, re.MULTILINE)
    commands = archive.read(described["entry_points.txt"]).decode()
    for name, target in PROJECT["project"]["scripts"].items():
        assert f"{name} = {target}" in commands


def test_what_the_dockerfile_copies_is_enough_to_build_the_same_wheel(wheel, tmp_path):
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    for copied in re.findall(r"^COPY (?!--from)(.*)$", dockerfile, re.MULTILINE):
        *sources, target = copied.split()
        for source in sources:
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, tmp_path / target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / source, tmp_path / target)
    pip([sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", tmp_path / "built", tmp_path], tmp_path)
    (built,) = (tmp_path / "built").glob("*.whl")
    assert set(zipfile.ZipFile(built).namelist()) == set(zipfile.ZipFile(wheel).namelist())


def test_every_module_of_the_edge_is_imported_without_mongodb_and_numpy(bare, tmp_path):
    done = run([bare / "python", "-W", "error", "-c", WALK], tmp_path)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 30


def test_what_is_installed_for_the_edge_is_what_is_constrained(bare, tmp_path):
    pinned = dict(
        re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    )
    normal = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pinned.items()}
    listed = run([bare / "pip", "list", "--format=freeze"], tmp_path).stdout
    for name, version in re.findall(r"^([\w.-]+)==(\S+)$", listed, re.MULTILINE):
        if name not in ("fleetfold", "pip", "setuptools", "wheel"):
            assert normal.get(re.sub(r"[-_.]+", "-", name).lower()) == version, name


def test_the_agent_explains_itself_there(bare, tmp_path):
    done = run([bare / "fleetfold-edge", "--help"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "run" in done.stdout


def test_the_agent_checks_its_configuration_there(bare, tmp_path):
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text('[mqtt]\nurl = "mqtt://broker:1884"\n', encoding="utf-8")
    bad.write_text('[mqtt]\nurl = "http://broker"\n', encoding="utf-8")
    for words in ([], ["--config", good]):
        done = run([bare / "fleetfold-edge", "run", "--check", *words], tmp_path)
        assert done.returncode == 0, done.stderr
    refused = run([bare / "fleetfold-edge", "run", "--check", "--config", bad], tmp_path)
    assert refused.returncode == 2
    assert "mqtt.url" in refused.stderr
