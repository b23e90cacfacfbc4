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


def test_brokers_and_subscriptions_are_validated_all_at_once(tmp_path: Path) -> None:
    found = faults(
        """
        [mqtt]
        subscriptions = ["dt/#/signals", "a/b+/c", "", "$share/g", "ok/+/x/#"]
        qos = 3
        protocol = "4"
        [brokers."Site B"]
        [brokers.site-c]
        url = "mqtt://c"
        reconnect = 5
        [brokers.site-d]
        url = "x"
        subscriptions = ["a", "b", "a"]
        """,
        tmp_path,
    )
    assert sorted(fault.split(": ")[0] for fault in found) == [
        "brokers.Site B.[key]",
        "brokers.site-c.reconnect",
        "brokers.site-d.subscriptions",
        "brokers.site-d.url",
        "mqtt.protocol",
        "mqtt.qos",
        "mqtt.subscriptions.0",
        "mqtt.subscriptions.1",
        "mqtt.subscriptions.2",
        "mqtt.subscriptions.3",
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[brokers.mqtt]", "brokers.mqtt: this is the name of the broker in [mqtt]"),
        ('[brokers.b]\nurl = "mqtt://127.0.0.1"', "brokers.b: the same client_id at the same url as mqtt"),
        ('[brokers.b]\nurl = "mqtt://b"\nreceive_maximum = 3001', "mqtt.queue_messages_max must be at least 4001"),
    ],
)
def test_brokers_that_get_in_each_others_way_are_faults(text: str, fault: str, tmp_path: Path) -> None:
    assert any(fault in found for found in faults(text, tmp_path))


def test_several_brokers_have_names_and_sessions_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "edge.toml"
    file.write_text(
        'gateway = "gw"\n[mqtt]\nurl = "mqtt://a"\n[brokers.b]\nurl = "mqtt://b"\n'
        '[brokers.c]\nurl = "mqtt://a"\nclient_id = "other"\nsubscriptions = ["$share/g/dt/#"]'
    )
    loaded = settings.load(EdgeSettings, file)
    assert {name: (each.host, loaded.client_id_at(each)) for name, each in loaded.all_brokers.items()} == {
        "mqtt": ("a", "fleetfold-edge-gw"),
        "b": ("b", "fleetfold-edge-gw"),
        "c": ("a", "other"),
    }


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
