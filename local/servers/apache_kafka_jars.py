"""The jars of Apache Kafka, fetched once by Maven coordinates and kept in a cache directory."""

import os
import re
import shutil
import subprocess
import tempfile
from importlib import resources
from pathlib import Path
from typing import Final

from local import processes
from local.servers.base import ServerError

_FETCH_LIMIT_S: Final = 600.0
_GOAL: Final = "org.apache.maven.plugins:maven-dependency-plugin:copy-dependencies"
_JAVA_MIN: Final = 17  # Kafka 4's brokers: KIP-1013


class UnavailableError(ServerError):
    """What Apache Kafka needs (java, Maven, the jars) cannot be had here."""


def directory(owner: processes.Processes) -> Path:
    """Where the jars lie; fetched, by a child of `owner`, when they are not there yet. Raises UnavailableError."""
    pom = packaged("pom.xml")
    version = re.search(r"<kafka\.version>(.+?)</kafka\.version>", pom)
    assert version is not None
    return fetched(owner, pom, f"kafka-{version[1]}")


def fetched(owner: processes.Processes, pom: str, name: str) -> Path:
    """Where the jars that `pom` names lie, kept under `name`. Raises UnavailableError."""
    jars = _cache() / name
    if not jars.is_dir():
        _fetch(owner, pom, jars)
    return jars


def packaged(name: str) -> str:
    """The text of a file that comes with this package."""
    return resources.files("local.servers").joinpath("apache_kafka_files", name).read_text(encoding="utf-8")


def java() -> str:
    """The java program, checked for its version. Raises UnavailableError."""
    program = shutil.which("java")
    if program is None:
        raise UnavailableError(f"Apache Kafka needs java {_JAVA_MIN} or newer on PATH, there is none")
    run = subprocess.run([program, "-version"], capture_output=True, text=True, check=False)  # noqa: S603 - from PATH
    version = re.search(r'version "(\d+)', run.stderr)
    if version is None or int(version[1]) < _JAVA_MIN:
        raise UnavailableError(f"Apache Kafka needs java {_JAVA_MIN} or newer; {program} says {run.stderr[:80]!r}")
    return program


def _cache() -> Path:
    named = os.environ.get("FLEETFOLD_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fleetfold"


def _fetch(owner: processes.Processes, pom: str, jars: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise UnavailableError("the jars of Apache Kafka are fetched by Maven, and there is no mvn on PATH")
    jars.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetching-", dir=jars.parent) as scratch:
        description = Path(scratch) / "pom.xml"
        description.write_text(pom)
        fetched = Path(scratch) / "jars"
        options = ["-q", "-B", "-f", str(description), f"-DoutputDirectory={fetched}", "-DincludeScope=runtime"]
        maven_run = owner.start("maven", [maven, *options, _GOAL], Path(scratch) / "maven.log")
        exit_code = maven_run.wait(_FETCH_LIMIT_S)
        maven_run.kill()
        if exit_code != 0:
            raise UnavailableError(_why(exit_code, maven_run.last_lines(200)))
        _publish(fetched, jars)


def _publish(fetched: Path, jars: Path) -> None:
    try:
        fetched.rename(jars)  # whole or not at all
    except OSError:
        if not jars.is_dir():  # else another process was faster, and its jars are as good
            raise


def _why(exit_code: int | None, output: str) -> str:
    if exit_code is None:
        return f"Maven has not fetched Apache Kafka's jars in {_FETCH_LIMIT_S:g} s"
    first = next((line for line in output.splitlines() if "ERROR" in line), f"exit code {exit_code}")
    return f"Maven cannot fetch Apache Kafka's jars: {first[:400]}"
