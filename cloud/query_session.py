"""One command's way to the database: settings, connection, and what went wrong in words."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final, NoReturn

import structlog
import typer
from pymongo.errors import (
    ConfigurationError,
    ConnectionFailure,
    ExecutionTimeout,
    InvalidName,
    OperationFailure,
    PyMongoError,
)

from cloud.queries import parsing, reading
from cloud.queries.faults import Fault
from cloud.queries.reading import Reader
from cloud.query_settings import QuerySettings, overridden
from runtime import exits, logs, settings

log: Final = structlog.get_logger()

_NOT_ALLOWED: Final = (13, 18)  # Unauthorized, AuthenticationFailed
_MAX_TIME_MAX: Final = timedelta(hours=1)


class Session:
    """How to reach the database, from the command line."""

    def __init__(self, config: Path | None, uri: str | None, database: str | None, max_time: str) -> None:
        try:
            loaded = settings.load(QuerySettings, config)
        except settings.ConfigError as error:
            fail(error.faults, exits.USAGE)
        logs.configure(loaded.log)
        limit = parsing.duration(max_time)
        if isinstance(limit, Fault) or limit > _MAX_TIME_MAX:
            why = limit.text if isinstance(limit, Fault) else f"at most {_MAX_TIME_MAX.total_seconds():.0f}s"
            fail([f"--max-time: {why}"], exits.USAGE)
        self._max_time = max_time
        self._max_time_ms = max(1, int(limit.total_seconds() * 1_000))
        self._settings = overridden(loaded.mongo, uri, database)

    @contextmanager
    def reader(self, question: str) -> Iterator[Reader]:
        """A reader; what the server or the address is wrong with ends the command, never showing credentials."""
        log.debug("staff read", question=question)
        try:
            with reading.connected(self._settings, self._max_time_ms) as reader:
                yield reader
        except ExecutionTimeout:
            fail(
                [f"the query took longer than {self._max_time}: narrow it, or give it more --max-time"],
                exits.UNREACHABLE,
            )
        except ConnectionFailure:
            fail(
                ["MongoDB does not answer; see --mongodb-uri, MONGODB_URI or mongo.uri in the config"],
                exits.UNREACHABLE,
            )
        except (ConfigurationError, InvalidName) as error:  # InvalidURI is a ConfigurationError
            fail([f"mongo: {type(error).__name__}: the address or the database's name cannot be used"], exits.USAGE)
        except OperationFailure as error:
            allowed = error.code not in _NOT_ALLOWED
            text = "MongoDB refused the query" if allowed else "MongoDB does not let this user read"
            fail(
                [f"{text}: {(error.details or {}).get('codeName', error.code)}"],
                exits.UNREACHABLE if allowed else exits.USAGE,
            )
        except PyMongoError as error:
            fail([f"MongoDB: {type(error).__name__}"], exits.UNREACHABLE)


def fail(lines: list[str], code: int) -> NoReturn:
    """Say why on stderr and end the command."""
    typer.echo("\n".join(lines), err=True)
    raise typer.Exit(code)
