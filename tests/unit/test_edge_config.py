"""Settings: defaults that hold together, and every fault at once."""

from pathlib import Path

import pytest

from edge.config import EdgeSettings, default_gateway
from runtime import settings

EXAMPLE = Path(__file__).parents[2] / "edge" / "edge.example.toml"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MQTT_URL", "KAFKA_BOOTSTRAP_SERVERS", "FLEETFOLD_EDGE_CONFIG"):
        monkeypatch.delenv(name, raising=False)


def faults(text: str, tmp_path: Path) -> list[str]:
    file = tmp_path / "edge.toml"
    file.write_text(text)
    with pytest.raises(settings.ConfigError) as caught:
        settings.load(EdgeSettings, file)
    return caught.value.faults


def test_no_file_at_all_is_a_valid_configuration() -> None:
    loaded = settings.load(EdgeSettings, None)
    assert loaded.client_id == f"fleetfold-edge-{default_gateway()}"


def test_the_example_holds_every_key_with_its_default() -> None:
    loaded = settings.load(EdgeSettings, EXAMPLE)
    assert loaded.model_copy(update={"gateway": default_gateway()}) == EdgeSettings()
    text = EXAMPLE.read_text()
    for section, field in EdgeSettings.model_fields.items():
        for key in getattr(field.annotation, "model_fields", ()):
            assert f"{key} =" in text, f"{section}.{key} is not in the example"


def test_every_fault_is_named_by_its_key(tmp_path: Path) -> None:
    found = faults(
        """
        gateway = "a b"
        [mqtt]
        receive_maximum = 0
        url = "tcp://x"
        [spool]
        bytes_max = 8388608
        [batch]
        batch_frames = 5
        """,
        tmp_path,
    )
    keys = sorted(fault.split(":")[0] for fault in found)
    assert keys == ["batch.batch_frames", "gateway", "mqtt.receive_maximum", "mqtt.url", "spool"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[mqtt]\nqueue_messages_max = 10", "mqtt: queue_messages_max must be at least receive_maximum"),
        (
            "[mqtt]\nreconnect_backoff_ms_max = 20",
            "mqtt: reconnect_backoff_ms_max must be at least reconnect_backoff_ms_min",
        ),
        ("[kafka]\nrequest_bytes_max = 400000", "kafka.request_bytes_max must be at least batch.batch_bytes_max"),
    ],
)
def test_limits_that_contradict_each_other_are_faults(text: str, fault: str, tmp_path: Path) -> None:
    assert any(fault in found for found in faults(text, tmp_path))


def test_the_environment_overrides_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "edge.toml"
    file.write_text('gateway = "from-file"\n[http]\nport = 1\n[batch]\nbatch_frames_max = 7')
    monkeypatch.setenv("FLEETFOLD_EDGE__HTTP__PORT", "9100")
    monkeypatch.setenv("MQTT_URL", "mqtt://broker:1")
    loaded = settings.load(EdgeSettings, file)
    assert (loaded.gateway, loaded.http.port, loaded.mqtt.url) == ("from-file", 9100, "mqtt://broker:1")
    assert loaded.batch.batch_frames_max == 7


def test_a_host_name_becomes_a_gateway_id(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, gateway in (("box-1.site", "box-1.site"), ("--ä box", "box"), ("", "gateway"), ("x" * 99, "x" * 63)):
        monkeypatch.setattr("socket.gethostname", lambda name=name: name)
        assert default_gateway() == gateway
