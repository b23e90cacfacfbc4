"""Brings a database to what the service and its questions rely on: collections, validators, indexes.

Run at each start: what is right already is left alone. Several workers may do it at the same time.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import structlog
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import OperationFailure
from pymongo.write_concern import WriteConcern

from cloud.indexes import INDEXES, RETIRED, Index
from cloud.validators import VALIDATORS

log: Final = structlog.get_logger()

Document = dict[str, Any]

_MAJORITY_WAIT_MS: Final = 30_000
_NAMESPACE_EXISTS: Final = 48
_INDEX_NOT_FOUND: Final = 27


def ensure(database: Database[Document]) -> None:
    """Create or change whatever differs; raises pymongo's errors (a duplicate VIN stops the unique index).

    A majority acknowledges each change: a new primary that did not know the unique index would take duplicates.
    """
    majority = database.with_options(write_concern=WriteConcern("majority", wtimeout=_MAJORITY_WAIT_MS))
    held = {collection["name"]: collection["options"] for collection in majority.list_collections()}
    for name, validator in VALIDATORS.items():
        if name not in held:
            _create(majority, name, validator)
        elif held[name].get("validator") != validator:
            _validate(majority, name, validator)
        _index(majority[name], INDEXES[name])
        _retire(majority[name], RETIRED.get(name, ()))


def ensure_like(database: Database[Document], name: str, model: str) -> None:
    """Create a collection `name` as `model` is to be."""
    majority = database.with_options(write_concern=WriteConcern("majority", wtimeout=_MAJORITY_WAIT_MS))
    _create(majority, name, VALIDATORS[model])
    _index(majority[name], INDEXES[model])


def _create(database: Database[Document], name: str, validator: Mapping[str, Any]) -> None:
    try:
        database.create_collection(name, check_exists=False, validator=validator)
    except OperationFailure as error:
        if error.code != _NAMESPACE_EXISTS:
            raise
        _validate(database, name, validator)  # another worker was faster, perhaps of another version


def _validate(database: Database[Document], name: str, validator: Mapping[str, Any]) -> None:
    log.info("validator changed", collection=name)
    concern = database.write_concern.document
    database.command("collMod", name, validator=validator, validationLevel="strict", writeConcern=concern)


def _index(collection: Collection[Document], wanted: Sequence[Index]) -> None:
    held = [dict(index) for index in collection.list_indexes()]
    missing = [index for index in wanted if not any(_same(index, other) for other in held)]
    names = {other["name"] for other in held}
    for index in missing:
        if index.name in names:
            log.info("index changed, built anew", collection=collection.name, index=index.name)
            _drop(collection, index.name)
    if missing:
        collection.create_indexes([index.model() for index in missing])


def _retire(collection: Collection[Document], unwanted: Sequence[Index]) -> None:
    held = {index["name"]: dict(index) for index in collection.list_indexes()}
    for index in unwanted:
        if index.name in held and _same(index, held[index.name]):
            log.info("index no longer needed", collection=collection.name, index=index.name)
            _drop(collection, index.name)


def _same(wanted: Index, held: Mapping[str, Any]) -> bool:
    """Whether an existing index, of whatever name, is the wanted one; the server fills in collations' defaults."""
    options = wanted.options()
    collation, held_collation = options.get("collation", {}), held.get("collation", {})
    return (
        tuple(held["key"].items()) == wanted.keys
        and bool(held.get("unique")) == wanted.unique
        and not held.get("sparse")
        and held.get("partialFilterExpression") == options.get("partialFilterExpression")
        and held.get("expireAfterSeconds") == options.get("expireAfterSeconds")
        and bool(collation) == bool(held_collation)
        and all(held_collation.get(name) == value for name, value in collation.items())
    )


def _drop(collection: Collection[Document], name: str) -> None:
    try:
        collection.drop_index(name)
    except OperationFailure as error:
        if error.code != _INDEX_NOT_FOUND:
            raise
