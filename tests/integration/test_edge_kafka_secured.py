"""The agent against Apache Kafka with SASL_SSL and with client certificates; renewal without a restart; the doctor."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AclOperation

from edge.clock import SystemClock
from edge.config import EdgeKafkaSettings
from edge.doctor.kafka import TOPICS
from edge.rules_kafka import KafkaRules
from local.processes import Processes
from tests.certificates import Authority
from tests.edge_world import Agent, Kafka, device, doctor, wait_until
from tests.secured_kafka import PLAIN_PASSWORD, USER, SecuredKafka
from wire import topics

if os.environ.get("FLEETFOLD_TEST_KAFKA") != "apache":
    pytest.skip("needs Apache Kafka: part of make test-kafka", allow_module_level=True)


@pytest.fixture(scope="module")
def kafka(
    processes: Processes, server_directory: Path, authority: Authority, apache_kafka_available: None
) -> Iterator[SecuredKafka]:
    with SecuredKafka(processes, server_directory / "secured-kafka", authority) as server:
        Kafka(server.url, "").create_topics()
        for principal in (f"User:{USER}", "User:CN=edge"):
            server.allow(principal, *TOPICS)
        yield server


@pytest.fixture
def password(tmp_path: Path) -> Path:
    return tmp_path / "password"


def sasl(kafka: SecuredKafka, authority: Authority, password: Path, mechanism: str) -> dict[str, str]:
    return {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.sasl,
        "FLEETFOLD_EDGE__KAFKA__SECURITY_PROTOCOL": "sasl_ssl",
        "FLEETFOLD_EDGE__KAFKA__SASL_MECHANISM": mechanism,
        "FLEETFOLD_EDGE__KAFKA__SASL_USERNAME": USER,
        "FLEETFOLD_EDGE__KAFKA__SASL_PASSWORD_FILE": str(password),
        "FLEETFOLD_EDGE__KAFKA__CA_FILE": str(authority.ca),
        "FLEETFOLD_EDGE__KAFKA__RENEWAL_CHECK_INTERVAL_S": "1",
    }


def mtls(kafka: SecuredKafka, authority: Authority) -> dict[str, str]:
    return {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.mtls,
        "FLEETFOLD_EDGE__KAFKA__SECURITY_PROTOCOL": "ssl",
        "FLEETFOLD_EDGE__KAFKA__CA_FILE": str(authority.ca),
        "FLEETFOLD_EDGE__KAFKA__CERTIFICATE_FILE": str(authority.certificate("edge")),
        "FLEETFOLD_EDGE__KAFKA__KEY_FILE": str(authority.key("edge")),
        "FLEETFOLD_EDGE__KAFKA__RENEWAL_CHECK_INTERVAL_S": "1",
    }


def test_scram_over_tls_and_a_new_password_without_a_restart(
    processes: Processes, tmp_path: Path, mqtt_url: str, kafka: SecuredKafka, authority: Authority, password: Path
) -> None:
    kafka.set_scram_password("first-password")
    password.write_text("first-password\n")
    with Agent(processes, tmp_path, mqtt_url, kafka.url) as agent, device(mqtt_url) as car:
        agent.settings |= sasl(kafka, authority, password, "SCRAM-SHA-512")
        agent.start()
        car.signals("car-scram", *range(50))
        agent.wait_drained(50)
        kafka.set_scram_password("second-password")
        password.write_text("second-password\n")
        wait_until(lambda: "kafka_client_renewed" in agent.log_file.read_text(), what="renewed")
        car.signals("car-scram", *range(50, 100))
        agent.wait_drained(100)
        assert Kafka(kafka.url, agent.gateway).numbers("car-scram") == list(range(100))
        log = agent.log_file.read_text()
        assert "first-password" not in log
        assert "second-password" not in log


def test_plain_over_tls(
    processes: Processes, tmp_path: Path, mqtt_url: str, kafka: SecuredKafka, authority: Authority, password: Path
) -> None:
    password.write_text(PLAIN_PASSWORD)
    with Agent(processes, tmp_path, mqtt_url, kafka.url) as agent, device(mqtt_url) as car:
        agent.settings |= sasl(kafka, authority, password, "PLAIN")
        agent.start()
        car.signals("car-plain", *range(20))
        agent.wait_drained(20)
        assert Kafka(kafka.url, agent.gateway).numbers("car-plain") == list(range(20))


def test_a_client_certificate_and_its_renewal_without_a_restart(
    processes: Processes, tmp_path: Path, mqtt_url: str, kafka: SecuredKafka, authority: Authority
) -> None:
    authority.issue("edge")
    with Agent(processes, tmp_path, mqtt_url, kafka.url) as agent, device(mqtt_url) as car:
        agent.settings |= mtls(kafka, authority)
        agent.start()
        car.signals("car-mtls", *range(50))
        agent.wait_drained(50)
        authority.issue("edge")
        wait_until(lambda: "kafka_client_renewed" in agent.log_file.read_text(), what="renewed")
        car.signals("car-mtls", *range(50, 100))
        agent.wait_drained(100)
        assert Kafka(kafka.url, agent.gateway).numbers("car-mtls") == list(range(100))


def test_published_rules_are_read_and_answered_with_a_new_password_too(
    kafka: SecuredKafka, authority: Authority, password: Path
) -> None:
    kafka.allow(f"User:{USER}", topics.GATEWAY_RULES, operation=AclOperation.READ)
    kafka.allow(f"User:{USER}", topics.GATEWAY_RULES_STATUS)
    publisher = Producer({"bootstrap.servers": kafka.url})
    publisher.produce(topics.GATEWAY_RULES, b"the rules", b"gw-rules")
    assert publisher.flush(20) == 0
    kafka.set_scram_password("first-password")
    password.write_text("first-password")
    settings = EdgeKafkaSettings(
        bootstrap_servers=kafka.sasl,
        security_protocol="sasl_ssl",
        sasl_username=USER,
        sasl_password_file=password,
        ca_file=authority.ca,
    )
    remote = KafkaRules(settings, "gw-rules", "gw-rules", SystemClock())
    try:
        wait_until(lambda: any(offer.raw == b"the rules" for offer in remote.offers()), what="rules")
        kafka.set_scram_password("second-password")
        password.write_text("second-password")
        remote.renew(settings)
        wait_until(lambda: any(offer.raw == b"the rules" for offer in remote.offers()), what="rules again")
        remote.publish(b"the answer")
    finally:
        remote.close()
    answers = Kafka(kafka.url, "").messages(topics.GATEWAY_RULES_STATUS)
    assert b"the answer" in [answer.value() for answer in answers]


def test_a_fatal_error_of_the_client_ends_with_a_new_one_and_nothing_lost(
    processes: Processes, tmp_path: Path, fresh_mqtt: str, kafka: SecuredKafka, authority: Authority
) -> None:
    """A producer without any right gets no id, which librdkafka calls fatal."""
    authority.issue("stranger")
    with Agent(processes, tmp_path, fresh_mqtt, kafka.url) as agent, device(fresh_mqtt) as car:
        agent.settings |= mtls(kafka, authority) | {
            "FLEETFOLD_EDGE__KAFKA__CERTIFICATE_FILE": str(authority.certificate("stranger")),
            "FLEETFOLD_EDGE__KAFKA__KEY_FILE": str(authority.key("stranger")),
        }
        agent.start()
        car.signals("car-fatal", *range(50))
        wait_until(lambda: agent.log_file.read_text().count("kafka_client_rebuilt") >= 2, what="rebuilt and again")
        assert '"fatal": true' in agent.log_file.read_text()
        assert agent.health()["undelivered"] == 50
        kafka.allow("User:CN=stranger", *TOPICS)
        agent.wait_drained(50)
        assert Kafka(kafka.url, agent.gateway).numbers("car-fatal") == list(range(50))


def test_the_doctor_finds_what_is_well_and_what_is_refused(
    kafka: SecuredKafka, authority: Authority, password: Path, mqtt_url: str, tmp_path: Path
) -> None:
    spool = {"MQTT_URL": mqtt_url, "FLEETFOLD_EDGE__SPOOL__DIRECTORY": str(tmp_path / "spool")}
    kafka.set_scram_password("good-password")
    password.write_text("good-password")
    environment = spool | sasl(kafka, authority, password, "SCRAM-SHA-512")
    code, found = doctor(environment)
    assert code == 0, found
    assert found["kafka login"]["grade"] == "ok"
    assert {found[f"kafka topic {topic}"]["grade"] for topic in TOPICS} == {"ok"}

    password.write_text("bad-password")
    code, found = doctor(environment)
    assert (code, found["kafka login"]["grade"]) == (1, "failed"), found
    assert "sasl_password_file" in found["kafka login"]["advice"]
    assert "bad-password" not in json.dumps(found)


def test_the_doctor_tells_a_topic_that_may_not_be_written_from_one_that_may(
    kafka: SecuredKafka, authority: Authority, mqtt_url: str, tmp_path: Path
) -> None:
    spool = {"MQTT_URL": mqtt_url, "FLEETFOLD_EDGE__SPOOL__DIRECTORY": str(tmp_path / "spool")}
    authority.issue("edge", common_name="reader")
    kafka.allow("User:CN=reader", topics.FLEET_SIGNALS)
    code, found = doctor(spool | mtls(kafka, authority))
    assert code == 1
    assert found[f"kafka topic {topics.FLEET_SIGNALS}"]["grade"] == "ok"
    assert found[f"kafka topic {topics.FLEET_EVENTS}"]["grade"] == "failed"


def test_the_doctor_says_that_the_servers_authority_is_unknown(
    kafka: SecuredKafka, authority: Authority, mqtt_url: str, tmp_path: Path
) -> None:
    authority.issue("edge")
    environment = mtls(kafka, authority)
    del environment["FLEETFOLD_EDGE__KAFKA__CA_FILE"]
    code, found = doctor(
        environment | {"MQTT_URL": mqtt_url, "FLEETFOLD_EDGE__SPOOL__DIRECTORY": str(tmp_path / "spool")}
    )
    assert code == 1
    assert "ca_file" in found["kafka TLS"]["advice"]
    assert found["kafka login"]["grade"] == "skipped"
