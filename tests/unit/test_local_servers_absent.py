"""What is missing on a machine is said in one clear line, with what to do."""

import stat
from pathlib import Path

import pytest

from local import ports
from local.processes import Processes
from local.servers import apache_kafka_jars, mongo, mqtt, named
from local.servers.base import ServerError


def program(directory: Path, name: str, script: str) -> None:
    directory.mkdir(exist_ok=True)
    path = directory / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_a_missing_shared_library_of_mongod_names_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    complaint = "mongod: error while loading shared libraries: libcurl.so.4: cannot open shared object file"
    program(tmp_path / "bin", "mongod", f"echo '{complaint}' >&2; exit 127")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    with Processes() as owner, pytest.raises(ServerError, match=r"libcurl\.so\.4.*apt-get install libcurl4"):
        mongo.Mongod(owner, tmp_path / "mongo").start()


def test_mosquitto_asked_for_by_name_but_absent_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "installed_mosquitto", lambda: None)
    with Processes() as owner, pytest.raises(ServerError, match="apt-get install mosquitto"):
        mqtt.broker(owner, tmp_path, "mosquitto").start()


def test_an_unknown_mqtt_broker_lists_the_choices() -> None:
    with pytest.raises(ServerError, match=r"'hivemq'.*auto, mosquitto, rumqttd"):
        mqtt.choice_of("hivemq")


def test_without_java_apache_kafka_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(apache_kafka_jars.UnavailableError, match="needs java 17 or newer"):
        apache_kafka_jars.java()


def test_a_java_that_is_too_old_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "java", "echo 'openjdk version \"11.0.2\" 2019-01-15' >&2")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(apache_kafka_jars.UnavailableError, match=r"11\.0\.2"):
        apache_kafka_jars.java()


def test_without_maven_the_jars_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETFOLD_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", "/nowhere")
    with Processes() as owner, pytest.raises(apache_kafka_jars.UnavailableError, match="no mvn on PATH"):
        apache_kafka_jars.directory(owner)


def test_a_failing_maven_gives_its_first_error_and_leaves_no_half_filled_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin", "mvn", "echo '[ERROR] no route to the repository'; exit 1")
    monkeypatch.setenv("FLEETFOLD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    with Processes() as owner, pytest.raises(apache_kafka_jars.UnavailableError, match="no route to the repository"):
        apache_kafka_jars.directory(owner)
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value", "ask"),
    [
        (named.MQTT_URL, "mqtt://127.0.0.1:{port}", named.mqtt_url),
        (named.MQTT_URL, "mqtts://127.0.0.1:{port}", named.mqtt_url),
        (named.MQTT_URL, "mqtt://127.0.0.1:many", named.mqtt_url),
        (named.KAFKA_BOOTSTRAP_SERVERS, "127.0.0.1:{port}", named.kafka_bootstrap_servers),
        (named.KAFKA_BOOTSTRAP_SERVERS, "127.0.0.1", named.kafka_bootstrap_servers),
        (named.MONGODB_URI, "mongodb://user:secret@127.0.0.1:{port}/", named.mongodb_uri),
        (named.MONGODB_URI, "not a uri", named.mongodb_uri),
    ],
)
def test_a_named_server_that_does_not_answer_is_named_without_its_secrets(
    name: str, value: str, ask: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value.format(port=ports.free_port()))
    assert callable(ask)
    with pytest.raises(named.UnreachableError, match=name) as caught:
        ask()
    assert "secret" not in str(caught.value)


def test_nothing_named_means_nothing_to_check(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (named.MQTT_URL, named.KAFKA_BOOTSTRAP_SERVERS, named.MONGODB_URI):
        monkeypatch.delenv(name, raising=False)
    assert (named.mqtt_url(), named.kafka_bootstrap_servers(), named.mongodb_uri()) == (None, None, None)
