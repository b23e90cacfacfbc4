"""What the commands about dead letters share: the servers they ask, and how they change something.

Notes and questions go to stderr. Exit codes: see `runtime.exits`.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import typer
from confluent_kafka import KafkaException
from pymongo.database import Database
from pymongo.errors import PyMongoError
from rich.console import Console
from rich.table import Table

from cloud import mongo
from cloud.config import CloudSettings
from cloud.deadletters import Graveyard
from cloud.query_session import fail
from runtime import exits, logs, settings

_MONGO_TIMEOUT_MS: Final = 3_000


class Manner(NamedTuple):
    """How something that changes dead letters is done."""

    dry_run: bool
    yes: bool
    as_json: bool

    def goes_on(self, count: int, question: str) -> bool:
        """Whether to do it, with so many letters; ends the command when a person says no."""
        if self.dry_run or not count:
            return False
        if not self.yes and not typer.confirm(question.format(count), err=True):
            fail(["nothing was done"], exits.FAILED)
        return True

    def say(self, fields: dict[str, Any], shown: Table | str) -> None:
        """What was done, or would be."""
        if self.as_json:
            typer.echo(json.dumps(fields))
        elif isinstance(shown, str):
            typer.echo(shown)
        else:
            Console().print(shown)


@contextmanager
def opened(config: Path | None) -> Iterator[tuple[Graveyard, Database[dict[str, Any]] | None]]:
    """The dead letters, and the database if it answers."""
    loaded = _load(config)
    with _graveyard(loaded) as graveyard, _database(loaded) as database:
        yield graveyard, database


@contextmanager
def _graveyard(loaded: CloudSettings) -> Iterator[Graveyard]:
    try:
        with Graveyard(loaded.kafka) as graveyard:
            yield graveyard
    except KafkaException as error:
        fail([f"Kafka at {loaded.kafka.bootstrap_servers}: {error.args[0]}"], exits.UNREACHABLE)


@contextmanager
def _database(loaded: CloudSettings) -> Iterator[Database[dict[str, Any]] | None]:
    """The database, or None with a note when it does not answer: dead letters can be read without it."""
    quick = loaded.mongo.model_copy(update={"timeout_ms": min(_MONGO_TIMEOUT_MS, loaded.mongo.timeout_ms)})
    with mongo.connect(quick) as client:
        try:
            client.admin.command("ping")
        except PyMongoError as error:
            typer.echo(f"MongoDB does not answer, so replays are not known ({type(error).__name__})", err=True)
            yield None
            return
        try:
            yield client[loaded.mongo.database]
        except PyMongoError as error:
            fail([f"MongoDB: {type(error).__name__}"], exits.UNREACHABLE)


def _load(config: Path | None) -> CloudSettings:
    try:
        loaded = settings.load(CloudSettings, config)
    except settings.ConfigError as error:
        fail(error.faults, exits.USAGE)
    logs.configure(loaded.log)
    return loaded
