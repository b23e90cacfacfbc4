"""Structured logs on stderr: JSON for machines, columns on a terminal."""

import logging
import sys

import structlog

from runtime.settings import LogSettings


def configure(settings: LogSettings) -> None:
    """Set up structlog once per process; the standard library's warnings go the same way."""
    level = getattr(logging, settings.level.upper())
    for_people = settings.format == "console" or (settings.format == "auto" and sys.stderr.isatty())
    renderer: structlog.types.Processor
    renderer = structlog.dev.ConsoleRenderer() if for_people else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.dict_tracebacks if not for_people else _same,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logging.basicConfig(
        level=max(level, logging.WARNING), stream=sys.stderr, format="%(levelname)s %(name)s %(message)s"
    )


def _same(_logger: object, _name: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    return event
