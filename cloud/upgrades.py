"""Documents of older versions of this service, brought to the layout of this one when they are touched. Pure.

A step changes only the fold's half of a twin (see ARCHITECTURE, twin document): the fold writes it back whole, in
the same compare-and-set as what it folded, so an upgrade is never half done. A document of a newer version is left
alone: what an older worker would drop from it is not known.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

Document = Mapping[str, Any]

SCHEMA_VERSION: Final = 3


class NewerSchemaError(Exception):
    """The document was written by a newer version of this service and must be left alone."""


def _list_positions(document: Document) -> Document:
    """1 → 2: positions were a map from the topic's name, dots replaced, to one place in one partition."""
    fold = document.get("fold", {})
    listed = [[topic.replace("_", "."), *at] for topic, at in fold.get("positions", {}).items()]
    return {**document, "fold": {**fold, "positions": listed}} if fold else document


def _forget_search(document: Document) -> Document:
    """2 → 3: there was no `search`; the fold writes it when it knows of none."""
    return {name: part for name, part in document.items() if name != "search"}


STEPS: Final[Mapping[int, Callable[[Document], Document]]] = MappingProxyType({1: _list_positions, 2: _forget_search})
"""Version → what makes a document of the next version of it."""


def upgraded(document: Document) -> Document:
    """The document in today's layout; raises `NewerSchemaError` when it is not ours to touch."""
    version = document["schema_version"]
    if version > SCHEMA_VERSION:
        raise newer(document)
    for step in range(version, SCHEMA_VERSION):
        document = STEPS[step](document)
    return document


def newer(document: Document, what: str = "") -> NewerSchemaError:
    """What to tell people about a document of a newer version, or with something that this one does not know."""
    has = what or f"schema_version {document['schema_version']}"
    knows = f"this service knows version {SCHEMA_VERSION} and the signals of its catalogue"
    replay = "update it, then `fleetfold-cloud dlq replay --reason newer_schema`"
    return NewerSchemaError(f"{document['_id']} has {has}, {knows}: {replay}")
