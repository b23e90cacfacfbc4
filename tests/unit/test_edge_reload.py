"""What of a new configuration counts at once, and the renewal of the Kafka client's files."""

from pathlib import Path

import pytest

from edge.config import BatchSettings, EdgeKafkaSettings, EdgeMqttSettings, EdgeSettings, SpoolSettings
from edge.reload import compare
from edge.renewal import Renewal
from runtime.settings import LogSettings


def test_what_can_change_is_taken_over_and_the_rest_is_named_and_stays():
    old = EdgeSettings(gateway="a")
    new = EdgeSettings(
        gateway="b",
        log=LogSettings(level="debug"),
        batch=BatchSettings(batch_age_ms_max=10),
        kafka=EdgeKafkaSettings(linger_ms=9),
        mqtt=EdgeMqttSettings(keepalive_s=5),
        spool=SpoolSettings(commit_gather_ms=1),
    )
    change = compare(old, new)
    assert change.applied == ["batch.batch_age_ms_max", "kafka.linger_ms", "log.level"]
    assert change.refused == ["gateway", "mqtt.keepalive_s", "spool.commit_gather_ms"]
    assert change.settings == old.model_copy(update={"log": new.log, "batch": new.batch, "kafka": new.kafka})


def test_the_same_configuration_changes_nothing():
    assert compare(EdgeSettings(gateway="a"), EdgeSettings(gateway="a"))[1:] == ([], [])


class Client:
    def __init__(self) -> None:
        self.renewed: list[EdgeKafkaSettings] = []
        self.refuses = False

    def renew(self, settings: EdgeKafkaSettings) -> None:
        if self.refuses:
            raise ValueError("half of a key")
        self.renewed.append(settings)


@pytest.fixture
def password(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.write_text("first")
    return file


def sasl(password: Path, **more: object) -> EdgeKafkaSettings:
    return EdgeKafkaSettings.model_validate(
        {"security_protocol": "sasl_plaintext", "sasl_username": "u", "sasl_password_file": password, **more}
    )


def test_a_file_that_changed_renews_the_client_once(password):
    client = Client()
    renewal = Renewal([client], sasl(password), lambda action: action())
    renewal.check()
    assert client.renewed == []
    password.write_text("second one")
    renewal.check()
    renewal.check()
    assert client.renewed == [sasl(password)]


def test_what_cannot_be_used_is_tried_again_until_it_can(password):
    client = Client()
    renewal = Renewal([client], sasl(password), lambda action: action())
    password.unlink()
    client.refuses = True
    renewal.check()
    renewal.check()
    client.refuses = False
    password.write_text("second")
    renewal.check()
    assert len(client.renewed) == 1


def test_after_other_settings_their_files_are_watched(password, tmp_path):
    client = Client()
    renewal = Renewal([client], EdgeKafkaSettings(), lambda action: action())
    said: list[bool] = []
    renewal.use(sasl(password, linger_ms=9), said.append)
    assert said == [True]
    password.write_text("second")
    renewal.check()
    assert client.renewed == [sasl(password, linger_ms=9)] * 2


def test_whoever_asked_for_other_settings_hears_that_they_were_refused(password):
    client, said = Client(), list[bool]()
    renewal = Renewal([client], EdgeKafkaSettings(), lambda action: action())
    client.refuses = True
    renewal.use(sasl(password), said.append)
    assert said == [False]
