"""`fleetfold-edge doctor` against real brokers, a broker of the last version, and beside a running agent."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.config import BrokerSettings
from edge.doctor import mqtt
from edge.doctor.findings import Finding, Grade
from local import ports
from local.processes import Processes
from tests.certificates import Authority
from tests.edge_broker import CONNECT, SUBSCRIBE, Broker
from tests.edge_world import Agent, Kafka, device, doctor
from tests.gateway_broker import PASSWORDS, GatewayBroker


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[GatewayBroker]:
    broker = GatewayBroker(tmp_path_factory.mktemp("mosquitto"), authority)
    authority.issue("car-1")
    yield broker
    broker.close()


@pytest.fixture
def nothing(tmp_path: Path) -> dict[str, str]:
    """Brokers that are not there, and a spool that is."""
    return {
        "MQTT_URL": f"mqtt://127.0.0.1:{ports.free_port()}",
        "KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{ports.free_port()}",
        "FLEETFOLD_EDGE__SPOOL__DIRECTORY": str(tmp_path / "spool"),
    }


def test_brokers_that_are_not_there_are_unreachable_and_the_rest_is_judged(nothing: dict[str, str]) -> None:
    code, found = doctor(nothing, "--bytes-per-s", "1000")
    assert code == 3
    assert found["mqtt port"]["grade"] == found["kafka port"]["grade"] == "unreachable"
    assert found["mqtt login"]["grade"] == "skipped"
    assert found["disk sync"]["detail"].startswith("fdatasync of 4096 bytes: median")
    assert found["outage that fits"]["detail"].startswith("12.4 days at 1,000 bytes/s")
    assert all(found[check]["advice"] for check in ("mqtt port", "kafka port"))


def test_a_name_that_nobody_knows_is_said(nothing: dict[str, str]) -> None:
    code, found = doctor({**nothing, "MQTT_URL": "mqtt://no-such-host.invalid"})
    assert code == 3
    assert found["mqtt name"]["grade"] == "unreachable"


def test_a_table_is_for_people(nothing: dict[str, str]) -> None:
    environment = {**nothing, "PATH": os.environ["PATH"], "COLUMNS": "160"}
    command = [sys.executable, "-m", "edge", "doctor"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 3
    assert "what to do" in done.stdout
    assert "Connection refused" in done.stdout


def test_a_password_over_loopback_is_accepted_and_a_wrong_one_named(
    nothing: dict[str, str], gateway: GatewayBroker, tmp_path: Path
) -> None:
    password = tmp_path / "password"
    password.write_text(PASSWORDS["fleetfold-edge"])
    environment = {
        **nothing,
        "MQTT_URL": f"mqtt://127.0.0.1:{gateway.local_port}",
        "FLEETFOLD_EDGE__MQTT__USERNAME": "fleetfold-edge",
        "FLEETFOLD_EDGE__MQTT__PASSWORD_FILE": str(password),
    }
    _, found = doctor(environment)
    assert (found["mqtt login"]["grade"], found["mqtt subscriptions"]["grade"]) == ("ok", "ok"), found
    password.write_text("wrong-password")
    code, found = doctor(environment)
    assert code == 1
    assert found["mqtt login"]["grade"] == "failed"
    assert "password_file" in found["mqtt login"]["advice"]
    assert "wrong-password" not in json.dumps(found)


def test_tls_with_a_certificate_step_by_step(
    nothing: dict[str, str], gateway: GatewayBroker, authority: Authority
) -> None:
    environment = {
        **nothing,
        "MQTT_URL": f"mqtts://127.0.0.1:{gateway.device_port}",
        "FLEETFOLD_EDGE__MQTT__CA_FILE": str(authority.ca),
        "FLEETFOLD_EDGE__MQTT__CERTIFICATE_FILE": str(authority.certificate("car-1")),
        "FLEETFOLD_EDGE__MQTT__KEY_FILE": str(authority.key("car-1")),
    }
    _, found = doctor(environment)
    assert found["mqtt TLS"]["grade"] == found["mqtt login"]["grade"] == "ok", found
    assert found["mqtt our certificate"]["grade"] == "warning", "it lasts two days"
    assert found["mqtt server certificate"]["grade"] == "warning"
    del environment["FLEETFOLD_EDGE__MQTT__CA_FILE"]
    _, found = doctor(environment)
    assert found["mqtt TLS"]["grade"] == "failed"
    assert "ca_file" in found["mqtt TLS"]["advice"]
    assert found["mqtt login"]["grade"] == "skipped"


def test_a_broker_without_tls_on_a_tls_port_is_said(
    nothing: dict[str, str], gateway: GatewayBroker, authority: Authority
) -> None:
    url = f"mqtts://127.0.0.1:{gateway.local_port}"
    _, found = doctor({**nothing, "MQTT_URL": url, "FLEETFOLD_EDGE__MQTT__CA_FILE": str(authority.ca)})
    assert found["mqtt TLS"]["grade"] == "failed"
    assert "speak TLS" in found["mqtt TLS"]["advice"]


def checked(broker: Broker, **settings: object) -> tuple[list[Finding], threading.Thread]:
    """The doctor at work on a thread; what it finds comes into the list."""
    found: list[Finding] = []
    read = BrokerSettings.model_validate({"url": broker.url, **settings})
    thread = threading.Thread(target=lambda: found.extend(mqtt.check("mqtt", read)))
    thread.start()
    return found, thread


def test_a_broker_of_version_3_is_visited_in_its_own() -> None:
    with Broker() as broker:
        found, thread = checked(broker)
        first = broker.connection()
        assert first.packet()[0] == CONNECT
        first.send(0x20, b"\0\1")  # [MQTT 3.1.1, 3.2.2.3] unacceptable protocol version
        second = broker.connection()
        kind, connect = second.packet()
        assert (kind, connect[6]) == (CONNECT, 4)
        second.send(0x20, b"\0\0")
        kind, subscribe = second.packet()
        assert kind == SUBSCRIBE
        second.send(0x90, subscribe[:2] + b"\1\1\1")
        thread.join(20)
    assert [finding.grade for finding in found] == [Grade.OK, Grade.OK]


@pytest.mark.parametrize(("granted", "grade"), [(b"\1\x87\1", Grade.FAILED), (b"\0\1\1", Grade.WARNING)])
def test_a_subscription_that_is_not_granted_is_named(granted: bytes, grade: Grade) -> None:
    with Broker() as broker:
        found, thread = checked(broker)
        connect = broker.connection().accept(granted=granted)
        thread.join(20)
    assert b"fleetfold-doctor-" in connect, "never the agent's own client id: the broker would end its session"
    assert connect[7] & 0b10, "a clean session, which leaves nothing behind"
    assert found[-1].grade is grade


def test_of_a_shared_subscription_the_doctor_takes_no_message_away() -> None:
    with Broker() as broker:
        _, thread = checked(broker, subscriptions=["$share/agents/dt/fleet/#"])
        connection = broker.connection()
        assert connection.packet()[0] == CONNECT
        connection.send(0x20, b"\0\0\0")
        kind, subscribe = connection.packet()
        connection.send(0x90, subscribe[:2] + b"\0\1")
        thread.join(20)
    assert kind == SUBSCRIBE
    assert b"dt/fleet/#" in subscribe
    assert b"$share" not in subscribe


def test_every_broker_is_visited(nothing: dict[str, str]) -> None:
    second = f"mqtt://127.0.0.1:{ports.free_port()}"
    _, found = doctor({**nothing, "FLEETFOLD_EDGE__BROKERS__YARD__URL": second})
    assert found["mqtt port"]["grade"] == found["mqtt yard port"]["grade"] == "unreachable"


def test_a_running_agent_is_not_disturbed(
    processes: Processes, tmp_path: Path, fresh_mqtt: str, kafka_bootstrap_servers: str
) -> None:
    with Agent(processes, tmp_path, fresh_mqtt, kafka_bootstrap_servers) as agent, device(fresh_mqtt) as car:
        Kafka(kafka_bootstrap_servers, agent.gateway).create_topics()
        agent.start()
        car.signals("car-doctor", *range(20))
        code, found = doctor(agent.settings)
        assert code == 0, found
        car.signals("car-doctor", *range(20, 40))
        agent.wait_drained(40)
        assert agent.metric("mqtt_connections_total") == 1
        assert agent.metric("mqtt_messages_received_total") == 40
        assert Kafka(kafka_bootstrap_servers, agent.gateway).numbers("car-doctor") == list(range(40))
