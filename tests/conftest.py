"""Real servers for tests: each started once per session when first asked for, on 127.0.0.1, gone afterwards.

`MQTT_URL`, `KAFKA_BOOTSTRAP_SERVERS` and `MONGODB_URI` name servers to use instead. `FLEETFOLD_TEST_KAFKA`
(`tansu` or `apache`) and `FLEETFOLD_TEST_MQTT` (`auto`, `mosquitto` or `rumqttd`) choose what is started.
"""

import contextlib
import os
import secrets
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pymongo
import pytest
import structlog
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from local import ports
from local.processes import Processes
from local.servers import apache_kafka, apache_kafka_jars, kafka, mongo, mqtt, named
from tests.certificates import Authority
from tests.cloud_worker import World

_TOPICS_GONE_LIMIT_S = 20.0


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """A command run inside a test sends the logs to that test's stderr, which is closed after it."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """A shell starts what it runs in the background with Ctrl-C ignored, and children would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def processes() -> Iterator[Processes]:
    """Owner of every server; whatever a test starts with it is gone after the session."""
    with Processes() as owner:
        yield owner


@pytest.fixture(scope="session")
def server_directory() -> Iterator[Path]:
    """Data and logs of the session's servers; removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="fleetfold-test-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


@pytest.fixture(scope="session")
def mqtt_url(processes: Processes, server_directory: Path) -> Iterator[str]:
    """An MQTT 5 broker, shared by the session."""
    url = named.mqtt_url()
    if url is not None:
        yield url
        return
    with mqtt.broker(processes, server_directory / "mqtt", _mqtt_choice()) as server:
        yield server.url


@pytest.fixture
def fresh_mqtt(processes: Processes) -> Iterator[str]:
    """An MQTT 5 broker of this test alone."""
    with (
        tempfile.TemporaryDirectory(prefix="fleetfold-mqtt-", ignore_cleanup_errors=True) as directory,
        mqtt.broker(processes, Path(directory), _mqtt_choice()) as server,
    ):
        yield server.url


@pytest.fixture(scope="session")
def kafka_bootstrap_servers(request: pytest.FixtureRequest) -> str:
    """A Kafka broker, shared by the session: topics of other tests may exist on it."""
    servers: str = named.kafka_bootstrap_servers() or request.getfixturevalue(f"_{_kafka_kind()}")
    return servers


@pytest.fixture
def fresh_kafka(request: pytest.FixtureRequest) -> Iterator[str]:
    """A Kafka broker without topics and groups; one of ours, never the one that the environment names."""
    if _kafka_kind() == "apache":
        servers: str = request.getfixturevalue("_apache")
        _remove_topics_and_groups(servers)
        yield servers
        return
    with (
        tempfile.TemporaryDirectory(prefix="fleetfold-kafka-", ignore_cleanup_errors=True) as directory,
        kafka.Tansu(request.getfixturevalue("processes"), Path(directory)) as server,
    ):
        yield server.url


@pytest.fixture(scope="session")
def _tansu(processes: Processes, server_directory: Path) -> Iterator[str]:
    with kafka.Tansu(processes, server_directory / "tansu") as server:
        yield server.url


@pytest.fixture(scope="session")
def _apache(processes: Processes, server_directory: Path, apache_kafka_available: None) -> Iterator[str]:
    with apache_kafka.ApacheKafka(processes, server_directory / "apache-kafka") as server:
        yield server.url


@pytest.fixture(scope="session")
def apache_kafka_available(processes: Processes) -> None:
    """Skips, in CI fails, where java, Maven or the jars of Apache Kafka cannot be had."""
    try:
        apache_kafka_jars.java()
        apache_kafka_jars.directory(processes)
    except apache_kafka_jars.UnavailableError as error:
        _unavailable(str(error))


@pytest.fixture(scope="session")
def apache_kafka_if_chosen(request: pytest.FixtureRequest) -> None:
    """`apache_kafka_available`, where Apache Kafka was chosen for the tests."""
    if _kafka_kind() == "apache":
        request.getfixturevalue("apache_kafka_available")


@pytest.fixture(scope="session")
def mongodb_uri(processes: Processes, server_directory: Path) -> Iterator[str]:
    """A MongoDB replica set, shared by the session; use `mongo_database` for a database of your own."""
    uri = named.mongodb_uri()
    if uri is not None:
        yield uri
        return
    with mongo.Mongod(processes, server_directory / "mongodb") as server:
        yield server.url


@pytest.fixture
def mongo_database(mongodb_uri: str) -> Iterator[str]:
    """The name of an empty database that is dropped after the test."""
    name = f"test_{secrets.token_hex(6)}"
    yield name
    with pymongo.MongoClient[dict[str, Any]](mongodb_uri) as client:
        client.drop_database(name)


@pytest.fixture(scope="session")
def world_database(mongodb_uri: str) -> Iterator[str]:
    """One database for all `world`s: building its indexes takes longer than most of their tests."""
    name = f"test_world_{secrets.token_hex(4)}"
    yield name
    with pymongo.MongoClient[dict[str, Any]](mongodb_uri) as client:
        client.drop_database(name)


@pytest.fixture
def world(mongodb_uri: str, world_database: str) -> Iterator[World]:
    """An empty database and workers of the twin service on it."""
    made = World(mongodb_uri, world_database)
    yield made
    for name in made.store.database.list_collection_names():
        made.store.database[name].delete_many({})
    made.client.close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A certificate authority; skips without the openssl program."""
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def free_port() -> int:
    """A TCP port on 127.0.0.1 on which nothing listens."""
    return ports.free_port()


@pytest.fixture(scope="session")
def data_directory() -> Path:
    """Recorded drives, charging sessions and reference lists; skips without them."""
    beside = Path(__file__).parents[1] / ".." / "shared" / "data"
    directory = Path(os.environ.get("FLEETFOLD_DATA") or beside).resolve()
    if not directory.is_dir():
        pytest.skip("needs recorded data: set FLEETFOLD_DATA to its folder")
    return directory


def _unavailable(reason: str) -> NoReturn:
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def _kafka_kind() -> str:
    kind = os.environ.get("FLEETFOLD_TEST_KAFKA", "tansu")
    assert kind in ("tansu", "apache"), f"FLEETFOLD_TEST_KAFKA={kind}: tansu or apache"
    return kind


def _mqtt_choice() -> mqtt.Choice:
    return mqtt.choice_of(os.environ.get("FLEETFOLD_TEST_MQTT", "auto"))


def _remove_topics_and_groups(bootstrap_servers: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    groups = [group.group_id for group in admin.list_consumer_groups().result().valid]
    for future in admin.delete_consumer_groups(groups).values() if groups else ():
        # a member that was killed stays until its session ends, and its group with it
        with contextlib.suppress(KafkaException):
            future.result()
    topics = _topics(admin)
    for future in admin.delete_topics(topics).values() if topics else ():
        future.result()
    deadline = time.monotonic() + _TOPICS_GONE_LIMIT_S
    while _topics(admin):
        assert time.monotonic() < deadline, f"topics still there: {_topics(admin)}"
        time.sleep(0.05)


def _topics(admin: AdminClient) -> list[str]:
    return [name for name in admin.list_topics(timeout=10).topics if not name.startswith("__")]
