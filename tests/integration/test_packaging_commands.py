"""The commands of docker-compose.yml, run here exactly as they stand there, with `--check`."""

import os
import re
import subprocess
import sysconfig
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from local.processes import Processes
from local.servers import apache_kafka_jars
from local.servers.apache_kafka_jars import UnavailableError

ROOT = Path(__file__).parents[2]
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
OURS = sorted(name for name, service in SERVICES.items() if "build" in service)
IMAGE_VARIABLES = dict(
    re.findall(r"(FLEETFOLD_\w+)=(\S+)", (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " "))
)


def check(name: str, **more: str) -> "subprocess.CompletedProcess[str]":
    """Run a service's command with its environment and `--check`."""
    words = [*SERVICES[name]["command"], "--check"]
    words[0] = str(Path(sysconfig.get_path("scripts")) / words[0])
    environment = {"PATH": os.environ["PATH"], **IMAGE_VARIABLES, **SERVICES[name]["environment"], **more}
    return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("name", OURS)
def test_a_service_starts_with_the_command_and_environment_that_it_is_given(name):
    begun = time.monotonic()
    done = check(name)
    assert done.returncode == 0, done.stdout + done.stderr
    assert time.monotonic() - begun < 20, "a check connects to nobody"


@pytest.mark.parametrize("name", OURS)
def test_every_variable_that_a_service_is_given_means_something_to_it(name):
    """A misspelt one would be a silent default: what is set must be able to be wrong."""
    for variable in SERVICES[name]["environment"].keys() & {"MQTT_URL"}:
        assert check(name, **{variable: "http://wrong"}).returncode == 2
    for variable in SERVICES[name]["environment"]:
        if variable.startswith("FLEETFOLD_"):
            assert check(name, **{f"{variable}X": "1"}).returncode == 2


@pytest.mark.parametrize("name", ["edge", "twins"])
def test_the_variables_of_the_image_mean_something(name):
    prefix = {"edge": "FLEETFOLD_EDGE", "twins": "FLEETFOLD_CLOUD"}[name]
    assert check(name, **{f"{prefix}__HTTP__PORT": "x"}).returncode == 2
    assert {variable for variable in IMAGE_VARIABLES if variable.startswith(prefix)} == {
        f"{prefix}__HTTP__ADDRESS",
        f"{prefix}__HTTP__PORT",
    }


def test_a_wrong_setting_is_named_by_key_and_variable():
    done = check("edge", MQTT_URL="http://wrong")
    assert "mqtt.url" in done.stderr
    assert "MQTT_URL" in done.stderr


def test_apache_kafka_accepts_the_broker_settings(tmp_path):
    """The image turns KAFKA_NODE_ID into node.id; formatting the storage reads and judges all of them."""
    environment = dict(SERVICES["kafka"]["environment"])
    cluster_id = environment.pop("CLUSTER_ID")
    environment["KAFKA_LOG_DIRS"] = str(tmp_path / "data")
    lines = [f"{name.removeprefix('KAFKA_').lower().replace('_', '.')}={value}" for name, value in environment.items()]
    (tmp_path / "server.properties").write_text("\n".join(lines), encoding="utf-8")
    with Processes() as owner:
        try:
            words = [apache_kafka_jars.java(), "-cp", f"{apache_kafka_jars.directory(owner)}/*"]
        except UnavailableError as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(f"{error}: the broker's settings were not tried")
    tool = ["kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(tmp_path / "server.properties")]
    done = subprocess.run([*words, *tool], cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"cluster.id={cluster_id}" in (tmp_path / "data" / "meta.properties").read_text(encoding="utf-8")
