"""Keeps a demo apart from what is on servers that the environment names: own database, own consumer group,
own MQTT session, and no look at records from before."""

import contextlib
import os
import secrets
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import pymongo
from confluent_kafka import Consumer, TopicPartition
from pymongo.errors import PyMongoError

from local.servers import named, stack
from wire import topics

_DEFAULT_DATABASE: Final = "fleetfold"
_GROUP: Final = "FLEETFOLD_CLOUD__KAFKA__GROUP_ID"
_ANSWER_LIMIT_S: Final = 10.0


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


def skip_older_records(endpoints: stack.Endpoints, own: Settings) -> None:
    """Commit the end of every topic for the run's own group, so that the fold begins there."""
    group = own.environment.get(_GROUP)
    if group is None:
        return
    consumer = Consumer({"bootstrap.servers": endpoints.kafka_bootstrap_servers, "group.id": group})
    try:
        names = {spec.name for spec in topics.KAFKA_TOPICS}
        known = consumer.list_topics(timeout=_ANSWER_LIMIT_S).topics
        places = [
            TopicPartition(name, partition) for name in names & known.keys() for partition in known[name].partitions
        ]
        ends = [
            TopicPartition(
                place.topic, place.partition, consumer.get_watermark_offsets(place, timeout=_ANSWER_LIMIT_S)[1]
            )
            for place in places
        ]
        consumer.commit(offsets=ends, asynchronous=False)
    finally:
        consumer.close()


def drop_database(endpoints: stack.Endpoints, own: Settings) -> None:
    """Remove the run's own database from a server that is not ours; when it is away, the database stays there."""
    if own.database == _DEFAULT_DATABASE:
        return
    with (
        contextlib.suppress(PyMongoError),
        pymongo.MongoClient[dict[str, Any]](endpoints.mongodb_uri, serverSelectionTimeoutMS=2_000) as client,
    ):
        client.drop_database(own.database)
