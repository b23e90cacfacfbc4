"""Keeps a demo apart from what is on servers that the environment names: own database, own consumer group,
own MQTT session, and no look at records from before."""

import contextlib
import os
import secrets
import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import pymongo
from confluent_kafka import Consumer, KafkaException, TopicPartition
from pymongo.errors import PyMongoError

from local import waiting
from local.servers import named, stack
from local.servers.base import ServerError
from wire import topics

_DEFAULT_DATABASE: Final = "fleetfold"
_GROUP: Final = "FLEETFOLD_CLOUD__KAFKA__GROUP_ID"
_ANSWER_LIMIT_S: Final = 10.0
_LEADERS_LIMIT_S: Final = 20.0
_READ_RECORDS_MAX: Final = 1_000
_NO_MORE_S: Final = 1.0


class Settings(NamedTuple):
    """What differs from the programs' defaults."""

    database: str
    environment: Mapping[str, str]


SHARED: Final = Settings(_DEFAULT_DATABASE, MappingProxyType({}))
"""Nothing kept apart: the programs' defaults."""


def settings() -> Settings:
    """Settings for one run: on servers that the environment names, different from everybody else's."""
    run = secrets.token_hex(4)
    environment = {}
    if os.environ.get(named.MQTT_URL):
        environment["FLEETFOLD_EDGE__MQTT__CLIENT_ID"] = f"fleetfold-demo-{run}"
    if os.environ.get(named.KAFKA_BOOTSTRAP_SERVERS):
        environment[_GROUP] = f"fleetfold-demo-{run}"
    database = _DEFAULT_DATABASE
    if os.environ.get(named.MONGODB_URI):
        database = f"fleetfold_demo_{run}"
        environment["FLEETFOLD_CLOUD__MONGO__DATABASE"] = database
        environment["FLEETFOLD_SIM__MONGO__DATABASE"] = database
    return Settings(database, environment)


def skip_older_records(endpoints: stack.Endpoints, own: Settings, stop: threading.Event) -> None:
    """Commit the end of every topic for the run's own groups, so that fold and history begin there.

    Raises ServerError and InterruptedByUserError.
    """
    group = own.environment.get(_GROUP)
    if group is not None:
        for name in (group, f"{group}-history"):
            _skip(endpoints, name, stop)


def _skip(endpoints: stack.Endpoints, group: str, stop: threading.Event) -> None:
    consumer = Consumer(
        {
            "bootstrap.servers": endpoints.kafka_bootstrap_servers,
            "group.id": group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
        }
    )
    try:
        if not waiting.until(lambda: _committed(consumer), _LEADERS_LIMIT_S, stop):
            raise ServerError(f"Kafka does not tell where its topics end in {_LEADERS_LIMIT_S:g} s")
    finally:
        consumer.close()


def _committed(consumer: Consumer) -> bool:
    """Whether it could be done: topics that were created a moment ago may have no leader yet."""
    try:
        consumer.commit(offsets=_ends(consumer), asynchronous=False)
    except KafkaException:
        return False
    return True


def _ends(consumer: Consumer) -> list[TopicPartition]:
    """Where the next record of each partition will be."""
    known = consumer.list_topics(timeout=_ANSWER_LIMIT_S).topics
    ours = known.keys() & {spec.name for spec in topics.KAFKA_TOPICS}
    places = [TopicPartition(name, partition) for name in ours for partition in known[name].partitions]
    ends: dict[tuple[str, int], int] = {}
    for place in places:
        _low, high = consumer.get_watermark_offsets(place, timeout=_ANSWER_LIMIT_S)
        ends[place.topic, place.partition] = high
    # Tansu's high watermark is the beginning of its last batch plus one: read what may lie behind it.
    consumer.assign([TopicPartition(name, partition, end) for (name, partition), end in ends.items()])
    while messages := consumer.consume(_READ_RECORDS_MAX, _NO_MORE_S):
        for message in messages:
            name, partition, offset = message.topic(), message.partition(), message.offset()
            if message.error() is None and name is not None and partition is not None and offset is not None:
                ends[name, partition] = offset + 1
    consumer.unassign()
    return [TopicPartition(name, partition, end) for (name, partition), end in ends.items()]


def drop_database(endpoints: stack.Endpoints, own: Settings) -> None:
    """Remove the run's own database from a server that is not ours; when it is away, the database stays there."""
    if own.database == _DEFAULT_DATABASE:
        return
    with (
        contextlib.suppress(PyMongoError),
        pymongo.MongoClient[dict[str, Any]](endpoints.mongodb_uri, serverSelectionTimeoutMS=2_000) as client,
    ):
        client.drop_database(own.database)
