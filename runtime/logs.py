"""Structured logs on stderr: JSON for machines, columns on a terminal. One line per event in JSON."""

import logging
import sys
from collections.abc import Sequence
from typing import Final

import structlog
from structlog.types import Processor

from runtime.settings import LogSettings

_HANDLER_NAME: Final = "fleetfold"


def configure(settings: LogSettings) -> None:
    """Set up structlog; warnings and errors of libraries, which use `logging`, go the same way.

    May be called again; the last call holds. Tracebacks never show local variables: they hold passwords and
    customers' data.
    """
    level = getattr(logging, settings.level.upper())
    common: Sequence[Processor] = (
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    )
    rendering = _for_people() if _is_for_people(settings) else _for_machines()
    structlog.configure(
        processors=[*common, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        # in one piece: others write to the same stream, and a line of theirs must not come between a line and its end
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.name = _HANDLER_NAME
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*common, structlog.stdlib.ExtraAdder(), structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    for earlier in [known for known in root.handlers if known.name == _HANDLER_NAME]:
        root.removeHandler(earlier)
    root.addHandler(handler)
    root.setLevel(max(level, logging.WARNING))


def _is_for_people(settings: LogSettings) -> bool:
    return settings.format == "console" or (settings.format == "auto" and sys.stderr.isatty())


def _for_people() -> list[Processor]:
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]


def _for_machines() -> list[Processor]:
    transformer = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return [structlog.processors.ExceptionRenderer(transformer), structlog.processors.JSONRenderer()]
