"""The systemd unit and the scripts beside it, as far as this machine can judge them."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edge.config import EdgeMqttSettings, EdgeSettings
from simulator.settings import SendSection
from wire import limits

DEPLOY = Path(__file__).parents[2] / "edge" / "deploy"
UNIT = (DEPLOY / "fleetfold-edge.service").read_text(encoding="utf-8")
EXPOSURE_MAX = 1.5
"""`systemd-analyze security`: 10 is a service without limits, 0 cannot do anything."""


def setting(name: str) -> str:
    (found,) = re.findall(rf"^{name}=(.*)$", UNIT, re.MULTILINE)
    return str(found)


def test_the_configuration_of_brokers_has_the_limits_of_the_contract() -> None:
    """It is the one that gateways, docker-compose.yml and `fleetfold-local` include."""
    text = (DEPLOY / "mosquitto" / "limits.d" / "limits.conf").read_text(encoding="utf-8")
    said = dict(re.findall(r"(?m)^([a-z_]+) (\d+)$", text))
    assert int(said["max_packet_size"]) == limits.MQTT_PACKET_BYTES_MAX > limits.PAYLOAD_BYTES_MAX
    assert int(said["max_inflight_messages"]) == limits.MQTT_IN_FLIGHT_MESSAGES
    assert limits.MQTT_IN_FLIGHT_MESSAGES == EdgeMqttSettings().receive_maximum == SendSection().in_flight_messages_max


@pytest.fixture
def analyze(tmp_path: Path) -> tuple[str, Path]:
    """The program, and the unit with a command that is there: `verify` looks for it."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed: the unit was not verified")
    unit = tmp_path / "fleetfold-edge.service"
    unit.write_text(re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", UNIT), encoding="utf-8")
    return program, unit


def test_systemd_accepts_the_unit(analyze: tuple[str, Path]) -> None:
    program, unit = analyze
    done = subprocess.run([program, "verify", str(unit)], capture_output=True, text=True, timeout=60, check=False)
    about_ours = [line for line in done.stderr.splitlines() if unit.name in line]
    assert (done.returncode, about_ours) == (0, [])


def test_the_service_may_do_little(analyze: tuple[str, Path]) -> None:
    program, unit = analyze
    command = [program, "security", "--offline=true", "--no-pager", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if "unrecognized option" in done.stderr:
        pytest.skip("systemd-analyze is older than 250: the unit's exposure was not judged")
    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert exposure is not None, done.stderr
    assert float(exposure[1]) <= EXPOSURE_MAX


def test_times_of_unit_and_agent_fit() -> None:
    defaults = EdgeSettings()
    assert int(setting("TimeoutStopSec")) * 1000 >= defaults.stop_timeout_ms + 10_000
    assert int(setting("WatchdogSec")) >= defaults.health.stuck_s_max
    assert setting("Type") == "notify"
    assert setting("RestartPreventExitStatus") == "2", "runtime.exits.USAGE"


def test_the_spool_is_where_the_unit_may_write() -> None:
    state = Path("/var/lib") / setting("StateDirectory")
    assert EdgeSettings().spool.directory.parent == state
    assert setting("ProtectSystem") == "strict"


@pytest.mark.parametrize(("script", "shell"), [("install", "sh"), ("make-bundle", "bash")])
def test_a_script_can_be_read_by_its_shell_and_be_run(script: str, shell: str) -> None:
    file = DEPLOY / script
    assert os.access(file, os.X_OK)
    subprocess.run([shell, "-n", str(file)], check=True, timeout=20)
    done = subprocess.run([file, "--help"], capture_output=True, text=True, timeout=20, check=True)
    assert f"{script} [--" in done.stdout
    wrong = subprocess.run([file, "--wrong"], capture_output=True, text=True, timeout=20, check=False)
    assert wrong.returncode == 2
