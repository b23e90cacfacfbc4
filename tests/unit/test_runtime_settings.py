"""Settings: which source wins, every fault at once by its key, and no secret in any text."""

import subprocess
import traceback
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field, ValidationError

from runtime import settings
from runtime.settings import ConfigError, HttpSettings, KafkaSettings, LogSettings, MongoSettings, MqttSettings


class ServiceSettings(settings.Settings):
    env_prefix: ClassVar[str] = "FLEETFOLD_EDGE"

    kafka: KafkaSettings = KafkaSettings()
    mqtt: MqttSettings = MqttSettings()
    mongo: MongoSettings = MongoSettings()
    http: HttpSettings = HttpSettings()
    rules: dict[str, LogSettings] = Field(default_factory=dict)
    labels: list[str] = Field(default_factory=list)
    gateway: str = "gw"


class DeviceSettings(settings.Settings):
    """Talks to no broker that a well-known variable names."""

    env_prefix: ClassVar[str] = "FLEETFOLD_DEVICE"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    for name in ("MQTT_URL", "KAFKA_BOOTSTRAP_SERVERS", "MONGODB_URI"):
        monkeypatch.delenv(name, raising=False)


def write(folder: Path, text: str) -> Path:
    file = folder / "edge.toml"
    file.write_text(text, encoding="utf-8")
    return file


def faults(folder: Path, text: str = "") -> list[str]:
    with pytest.raises(ConfigError) as caught:
        settings.load(ServiceSettings, write(folder, text))
    return caught.value.faults


def test_without_file_and_environment_the_defaults_hold():
    assert settings.load(ServiceSettings, None) == ServiceSettings()


def test_the_file_wins_over_the_default(tmp_path):
    read = settings.load(ServiceSettings, write(tmp_path, 'gateway = "site-7"\n[mqtt]\nkeepalive_s = 5\n'))
    assert (read.gateway, read.mqtt.keepalive_s, read.mqtt.url) == ("site-7", 5, "mqtt://127.0.0.1:1883")


def test_a_well_known_variable_wins_over_the_file_and_leaves_its_neighbours(tmp_path, monkeypatch):
    monkeypatch.setenv("MQTT_URL", "mqtt://broker:1884")
    read = settings.load(ServiceSettings, write(tmp_path, '[mqtt]\nurl = "mqtt://file"\nkeepalive_s = 5\n'))
    assert (read.mqtt.url, read.mqtt.keepalive_s) == ("mqtt://broker:1884", 5)


def test_a_prefixed_variable_wins_over_all(tmp_path, monkeypatch):
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "known:1")
    monkeypatch.setenv("FLEETFOLD_EDGE__KAFKA__BOOTSTRAP_SERVERS", "prefixed:1")
    file = write(tmp_path, '[kafka]\nbootstrap_servers = "file:1"\nsecurity_protocol = "ssl"\n')
    read = settings.load(ServiceSettings, file)
    assert (read.kafka.bootstrap_servers, read.kafka.security_protocol) == ("prefixed:1", "ssl")


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("MQTT_URL", "mqtts://m", lambda service: service.mqtt.url),
        ("KAFKA_BOOTSTRAP_SERVERS", "a:1,b:2", lambda service: service.kafka.bootstrap_servers),
        ("MONGODB_URI", "mongodb://db", lambda service: service.mongo.uri.get_secret_value()),
        ("FLEETFOLD_EDGE__HTTP__PORT", "9100", lambda service: str(service.http.port)),
        ("FLEETFOLD_EDGE__HTTP__ENABLED", "false", lambda service: str(service.http.enabled).lower()),
        ("FLEETFOLD_EDGE__GATEWAY", "site-8", lambda service: service.gateway),
        ("fleetfold_edge__gateway", "site-9", lambda service: service.gateway),
        ("FLEETFOLD_EDGE__RULES__SPEED__LEVEL", "debug", lambda service: service.rules["speed"].level),
        ("FLEETFOLD_EDGE__LABELS", '["a", "b"]', lambda service: str(service.labels).replace("'", '"')),
        ("FLEETFOLD_EDGE__KAFKA__BOOTSTRAP_SERVERS", "[::1]:9092", lambda service: service.kafka.bootstrap_servers),
        ("FLEETFOLD_EDGE__LOG", '{"level": "debug"}', lambda service: f'{{"level": "{service.log.level}"}}'),
    ],
)
def test_a_variable_sets_its_key(monkeypatch, name, value, read):
    monkeypatch.setenv(name, value)
    assert read(settings.load(ServiceSettings, None)) == value


def test_a_section_as_json_and_a_key_of_it_go_together(monkeypatch):
    monkeypatch.setenv("FLEETFOLD_EDGE__HTTP__PORT", "9100")
    monkeypatch.setenv("FLEETFOLD_EDGE__HTTP", '{"port": 1, "address": "::1"}')
    assert settings.load(ServiceSettings, None).http == HttpSettings(address="::1", port=9100)


def test_an_empty_well_known_variable_is_unset(monkeypatch):
    monkeypatch.setenv("MONGODB_URI", "")
    assert settings.load(ServiceSettings, None).mongo == MongoSettings()


def test_well_known_variables_do_not_concern_a_service_without_that_section(monkeypatch):
    monkeypatch.setenv("MQTT_URL", "not even a url")
    monkeypatch.setenv("FLEETFOLD_EDGE__GATEWAY", "another service's")
    assert settings.load(DeviceSettings, None) == DeviceSettings()


def test_every_fault_is_told_at_once_by_key_and_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("FLEETFOLD_EDGE__LOG__LEVEL", "loud")
    monkeypatch.setenv("MQTT_URL", "http://broker")
    text = 'gatway = "x"\n_cli_parse_args = true\nlabels = 5\n[mqtt]\nkeepalive_s = 0\n[http]\nport = 70000\n[spool]\n'
    told = faults(tmp_path, text)
    assert sorted(line.split(":")[0] for line in told) == [
        "_cli_parse_args",
        "gatway",
        "http.port",
        "labels",
        "log.level",
        "mqtt.keepalive_s",
        "mqtt.url",
        "spool",
    ]
    assert "gatway: unknown key" in told
    assert any(line.endswith("(from FLEETFOLD_EDGE__LOG__LEVEL)") for line in told)
    assert any(line.endswith("(from MQTT_URL)") for line in told)
    assert str(ConfigError(told)) == "\n".join(told)


@pytest.mark.parametrize(
    ("name", "value", "key"),
    [
        ("FLEETFOLD_EDGE__KAFKA__BOOTSTRAP", "x", "kafka.bootstrap: unknown key"),
        ("FLEETFOLD_EDGE__KAFK__BOOTSTRAP_SERVERS", "x", "kafk: unknown key"),
        ("FLEETFOLD_EDGE__KAFKA", "x", "kafka: "),
        ("FLEETFOLD_EDGE__LABELS", "x", "labels: "),
        ("FLEETFOLD_EDGE__LABELS", "[x", "labels: "),
        ("FLEETFOLD_EDGE__HTTP__PORT", "", "http.port: "),
        ("FLEETFOLD_EDGE__MQTT__URL__HOST", "x", "mqtt.url: "),
    ],
)
def test_a_variable_that_means_nothing_is_a_fault_and_is_named(tmp_path, monkeypatch, name, value, key):
    monkeypatch.setenv(name, value)
    (told,) = faults(tmp_path)
    assert told.startswith(key)
    assert told.endswith(f"(from {name})")


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"a = ", "not TOML"), (b"\xff\xfe", "not TOML"), (b"a = 1\na = 2\n", "not TOML")],
)
def test_a_file_that_is_no_toml_says_so(tmp_path, content, said):
    file = tmp_path / "edge.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=said) as caught:
        settings.load(ServiceSettings, file)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize("name", ["absent.toml", "."])
def test_a_file_that_cannot_be_read_says_so(tmp_path, name):
    with pytest.raises(ConfigError, match="cannot be read"):
        settings.load(ServiceSettings, tmp_path / name)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[kafka]\nsecurity_protocol = "sasl_ssl"\n', "kafka: security_protocol sasl_* needs"),
        ("[mqtt]\nkey_file = {here}\n", "mqtt: certificate_file and key_file go together"),
        ('[mqtt]\nca_file = "/no/such"\n', "mqtt.ca_file: Path does not point to a file"),
        ("[mqtt]\nca_file = {here}\n", "mqtt.ca_file: {file} holds no certificates in PEM form"),
        ("[kafka]\ncertificate_file = {here}\n", "kafka.certificate_file: {file} holds no certificate in PEM form"),
        ("[mqtt]\npassword_file = {here}\n", "mqtt.password_file: {file} is empty"),
        ("[kafka]\nsasl_password_file = {here}\n", "kafka.sasl_password_file: {file} is empty"),
    ],
)
def test_certificates_and_passwords_are_checked_before_the_start(tmp_path, text, said):
    empty = tmp_path / "empty"
    empty.touch()
    (told,) = faults(tmp_path, text.replace("{here}", f'"{empty}"'))
    assert told.startswith(said.replace("{file}", str(empty)))


def test_a_key_must_belong_to_its_certificate(tmp_path, authority):
    for name in ("edge", "other"):
        authority.issue(name)
    pair = f'certificate_file = "{authority.certificate("edge")}"\nkey_file = "{authority.key("other")}"\n'
    told = faults(tmp_path, f"[mqtt]\nurl = 'mqtts://broker'\n{pair}[kafka]\nsecurity_protocol = 'ssl'\n{pair}")
    assert [line.partition(":")[0] for line in told] == ["kafka.key_file", "mqtt.key_file"]
    assert all("does not belong to certificate" in line for line in told)


def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked_for_it(tmp_path, authority):
    authority.issue("edge")
    locked = tmp_path / "locked.key"
    command = ["openssl", "pkey", "-in", str(authority.key("edge")), "-aes256", "-passout", "pass:hunter2"]
    subprocess.run([*command, "-out", str(locked)], check=True, capture_output=True, timeout=60)
    pair = f'certificate_file = "{authority.certificate("edge")}"\nkey_file = "{locked}"\n'
    (told,) = faults(tmp_path, f"[mqtt]\nurl = 'mqtts://broker'\n{pair}")
    assert told == f"mqtt.key_file: {locked} is not a key in PEM form without a passphrase"


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("[mqtt]\n", "mqtt: ca_file, certificate_file and key_file are used with mqtts:// only"),
        ("[kafka]\n", "kafka: ca_file, certificate_file and key_file are used with security_protocol ssl"),
    ],
)
def test_certificates_without_encryption_are_a_fault(tmp_path, authority, section, said):
    (told,) = faults(tmp_path, f'{section}ca_file = "{authority.ca}"\n')
    assert told.startswith(said)


def test_no_secret_is_in_any_text(tmp_path, monkeypatch):
    monkeypatch.setenv("MONGODB_URI", "mongodb://user:hunter2@db")
    password = tmp_path / "password"
    password.write_text("hunter2\n")
    kafka = f'security_protocol = "sasl_ssl"\nsasl_username = "u"\nsasl_password_file = "{password}"\n'
    read = settings.load(ServiceSettings, write(tmp_path, f"[kafka]\n{kafka}"))
    for text in (repr(read), str(read), read.model_dump_json(), repr(read.mongo)):
        assert "hunter2" not in text
    assert read.kafka.client()["sasl.password"] == "hunter2"
    assert read.mongo.uri.get_secret_value() == "mongodb://user:hunter2@db"


@pytest.mark.parametrize(
    "text",
    [
        '[mqtt]\nurl = "mqtt://user:hunter2@broker"\n',
        '[kafka]\nsasl_password = "hunter2"\n',
        "[mongo]\nuri = { password = 'hunter2' }\n",
        "[http]\nport = 'hunter2'\n",
        "sasl_password = 'hunter2'\n",
    ],
)
def test_a_secret_in_the_wrong_place_is_not_repeated_even_in_a_traceback(tmp_path, text):
    with pytest.raises(ConfigError) as caught:
        settings.load(ServiceSettings, write(tmp_path, text))
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("url", "host", "port", "tls"),
    [
        ("mqtt://broker", "broker", 1883, False),
        ("mqtts://broker", "broker", 8883, True),
        ("mqtt://broker/", "broker", 1883, False),
        ("mqtt://broker:1", "broker", 1, False),
        ("mqtts://broker.example.org:65535", "broker.example.org", 65_535, True),
        ("mqtt://127.0.0.1:1884", "127.0.0.1", 1884, False),
        ("mqtt://my_broker-1:1884", "my_broker-1", 1884, False),
        ("mqtt://[::1]", "::1", 1883, False),
        ("mqtts://[2001:db8::1]:8884", "2001:db8::1", 8884, True),
    ],
)
def test_an_mqtt_url_has_a_host_a_port_and_perhaps_tls(url, host, port, tls):
    mqtt = MqttSettings(url=url)
    assert (mqtt.host, mqtt.port, mqtt.tls) == (host, port, tls)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "broker",
        "broker:1883",
        "http://broker",
        "MQTT://broker",
        "mqtt://",
        "mqtt://:1883",
        "mqtt://broker:",
        "mqtt://broker:0",
        "mqtt://broker:65536",
        "mqtt://broker:abc",
        "mqtt://::1",
        "mqtt://::1:1883",
        "mqtt://user:pass@broker",
        "mqtt://user@broker",
        "mqtt://broker/path",
        "mqtt://bro ker",
        "mqtt://broker\n",
        " mqtt://broker",
    ],
)
def test_another_url_is_refused_in_words(url):
    with pytest.raises(ValidationError, match="expected mqtt://host"):
        MqttSettings(url=url)


def test_the_kafka_client_gets_what_was_set_and_nothing_else(tmp_path, authority):
    authority.issue("edge")
    password, ca = str(write(tmp_path, "secret\n")), str(authority.ca)
    certificate, key = str(authority.certificate("edge")), str(authority.key("edge"))
    assert KafkaSettings(bootstrap_servers="a:1").client() == {
        "bootstrap.servers": "a:1",
        "security.protocol": "plaintext",
    }
    secured = KafkaSettings.model_validate(
        {
            "security_protocol": "sasl_ssl",
            "sasl_mechanism": "PLAIN",
            "sasl_username": "u",
            "sasl_password_file": password,
            "ca_file": ca,
            "certificate_file": certificate,
            "key_file": key,
        }
    )
    assert secured.client() == {
        "bootstrap.servers": "127.0.0.1:9092",
        "security.protocol": "sasl_ssl",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "u",
        "sasl.password": "secret",
        "ssl.ca.location": ca,
        "ssl.certificate.location": certificate,
        "ssl.key.location": key,
    }


def test_settings_cannot_be_changed_once_read():
    read = settings.load(ServiceSettings, None)
    with pytest.raises(ValidationError):
        read.gateway = "other"
    with pytest.raises(ValidationError):
        read.http.port = 5
