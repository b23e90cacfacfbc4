"""The command line: what cannot be done is explained in a line, with the exit code of its kind."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import simulator
from runtime import exits
from simulator import commands, settings
from simulator.cli import app

NOWHERE = "mqtt://127.0.0.1:1"


@pytest.fixture(autouse=True)
def _no_servers_from_outside(monkeypatch):
    for name in ("MQTT_URL", "KAFKA_BOOTSTRAP_SERVERS", "MONGODB_URI"):
        monkeypatch.delenv(name, raising=False)


def _call(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_every_command_has_help():
    for command in ("run", "replay", "people", "verify"):
        answer = _call(command, "--help")
        assert answer.exit_code == exits.OK
        assert command in answer.stdout


def test_check_says_that_a_configuration_is_valid(tmp_path):
    (tmp_path / "sim.toml").write_text("[fleet]\nvehicles = 3\n[faults]\ntyre_leak = 0.5\n")
    answer = _call("run", "--truth", tmp_path / "t", "--config", tmp_path / "sim.toml", "--check")
    assert answer.exit_code == exits.OK
    assert "valid" in answer.stdout
    assert not (tmp_path / "t").exists()


def test_every_fault_of_a_configuration_is_named_by_its_key(tmp_path):
    (tmp_path / "sim.toml").write_text("[fleet]\nvehicels = 3\ninterval_s = 0\n[faults]\ntyre_leak = 7\n")
    answer = _call("run", "--truth", tmp_path / "t", "--config", tmp_path / "sim.toml")
    assert answer.exit_code == exits.USAGE
    for key in ("fleet.vehicels: unknown key", "fleet.interval_s", "faults.tyre_leak"):
        assert key in answer.stderr


def test_an_option_out_of_bounds_is_named_by_its_key(tmp_path):
    answer = _call("run", "--truth", tmp_path / "t", "--speedup", 5_000, "--vehicles", -1)
    assert answer.exit_code == exits.USAGE
    assert "fleet.speedup" in answer.stderr
    assert "fleet.vehicles" in answer.stderr


def test_options_override_the_environment_and_that_the_file(tmp_path, monkeypatch):
    (tmp_path / "sim.toml").write_text("[fleet]\nvehicles = 1\nstations = 1\nseed = 1\nspeedup = 2\n")
    monkeypatch.setenv("FLEETFOLD_SIM__FLEET__STATIONS", "20")
    monkeypatch.setenv("FLEETFOLD_SIM__FLEET__SEED", "20")
    loaded = settings.load(tmp_path / "sim.toml", {"fleet": {"vehicles": None, "seed": 300}}).fleet
    assert (loaded.vehicles, loaded.stations, loaded.seed, loaded.speedup) == (1, 20, 300, 2.0)


def test_the_faults_file_has_every_fault_with_its_default():
    file = Path(simulator.__file__).parent / "faults.toml"
    assert settings.read_faults(file) == settings.FaultSection().model_dump()
    assert settings.load(None, {"faults": settings.read_faults(file)}).faults == settings.FaultSection()


def test_a_faults_file_with_a_wrong_key_or_none_at_all_is_explained(tmp_path):
    wrong = tmp_path / "faults.toml"
    wrong.write_text("tyre_leek = 0.1\noil_loss = 2\n")
    answer = _call("run", "--truth", tmp_path / "t", "--faults", wrong)
    assert answer.exit_code == exits.USAGE
    assert "faults.tyre_leek" in answer.stderr
    assert "faults.oil_loss" in answer.stderr
    assert "none.toml" in _call("run", "--truth", tmp_path / "t", "--faults", tmp_path / "none.toml").stderr
    assert "faults.tyre_leek" in _call("people", "--faults", wrong).stderr


def test_an_interval_is_a_whole_number_of_steps(tmp_path):
    (tmp_path / "sim.toml").write_text("[fleet]\nstep_s = 0.3\ninterval_s = 10\n")
    answer = _call("run", "--truth", tmp_path / "t", "--config", tmp_path / "sim.toml", "--check")
    assert answer.exit_code == exits.USAGE
    assert "whole number of steps" in answer.stderr


def test_a_broker_that_is_not_there_is_said_as_such(tmp_path):
    answer = _call("run", "--truth", tmp_path / "t", "--mqtt-url", NOWHERE)
    assert answer.exit_code == exits.UNREACHABLE
    assert NOWHERE in answer.stderr


def test_a_used_truth_directory_is_refused(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    answer = _call("run", "--truth", tmp_path, "--mqtt-url", NOWHERE)
    assert answer.exit_code == exits.USAGE
    assert "already holds" in answer.stderr


def test_a_start_that_is_no_time_or_in_the_future_is_refused(tmp_path):
    answer = _call("run", "--truth", tmp_path / "t", "--start", "yesterday")
    assert answer.exit_code == exits.USAGE
    assert "--start" in answer.stderr
    answer = _call("run", "--truth", tmp_path / "t", "--start", "2090-01-01T00:00:00Z")
    assert answer.exit_code == exits.USAGE
    assert "in the future" in answer.stderr


def test_a_run_that_begins_before_all_cars_are_delivered_is_refused(tmp_path):
    given = _call("run", "--truth", tmp_path / "t", "--start", "2025-05-01T00:00:00Z")
    too_long = _call("run", "--truth", tmp_path / "t", "--speedup", 1_000, "--duration-s", 10 * 86_400)
    for answer in (given, too_long):
        assert answer.exit_code == exits.USAGE
        assert "before 2025-05-02" in answer.stderr
        assert len(answer.stderr.splitlines()) == 1
    assert not (tmp_path / "t").exists()
    without_end = settings.FleetSection(speedup=1_000.0, duration_s=0.0)
    assert commands.beginning_ms(without_end, None, 1_790_000_000_000) == 1_746_187_200_000


@pytest.mark.parametrize(("text", "code"), [("10s", 0), ("2m", 0), ("1h", 0), ("7", 0), ("10ms", 2), ("2h", 2)])
def test_an_interval_has_a_unit_and_a_limit(tmp_path, text, code):
    assert _call("run", "--truth", tmp_path / "t", "--interval", text, "--check").exit_code == code


def test_too_many_devices_for_a_connection_each_are_refused(tmp_path):
    answer = _call("run", "--truth", tmp_path / "t", "--connections", 0, "--vehicles", 10_000)
    assert answer.exit_code == exits.USAGE
    assert "at most 10000" in answer.stderr


def test_replay_explains_what_it_cannot_use(tmp_path):
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    answer = _call("replay", tmp_path / "table.csv", "--mapping", "carobd", "--truth", tmp_path / "t")
    assert answer.exit_code == exits.USAGE
    assert "the table has: a, b" in answer.stderr
    answer = _call("replay", tmp_path / "none.csv", "--mapping", "carobd", "--truth", tmp_path / "t")
    assert answer.exit_code == exits.USAGE
    assert "cannot be read" in answer.stderr


def test_people_need_kafka(tmp_path):
    (tmp_path / "sim.toml").write_text("[send]\nconnect_timeout_s = 0.5\n")
    words = ("--vehicles", 1, "--stations", 0, "--config", tmp_path / "sim.toml")
    answer = _call("people", *words, "--kafka", "127.0.0.1:1")
    assert answer.exit_code == exits.UNREACHABLE
    assert "127.0.0.1:1" in answer.stderr


def test_verify_needs_a_truth_and_a_database(tmp_path):
    answer = _call("verify", "--truth", tmp_path)
    assert answer.exit_code == exits.USAGE
    assert "holds no truth" in answer.stderr
    (tmp_path / "run.json").write_text(json.dumps({"command": "test"}))
    (tmp_path / "roles.jsonl").write_text(
        '{"v":1,"role_id":"r","asset_id":"a","customer_id":"c","role":"owner",'
        '"from_ms":946684800000,"recorded_ms":946684800000}\n'
    )
    (tmp_path / "sim.toml").write_text("[mongo]\ntimeout_ms = 200\n")
    answer = _call(
        "verify", "--truth", tmp_path, "--mongodb-uri", "mongodb://127.0.0.1:1", "--config", tmp_path / "sim.toml"
    )
    assert answer.exit_code == exits.UNREACHABLE
    assert "MongoDB does not answer" in answer.stderr
