"""The indexes of each collection, as data: one for every question that staff and the jobs ask. Pure.

An index on a value that changes with each write costs the fold: 8 of them halve its rate (measured). So what frames
change is indexed by its coarse copy (`cloud/search.py`), and what is absent on most documents only where present. `_id`
comes last where the index gives the order, so that equal values have one without a sort.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from pymongo import IndexModel

from cloud import search
from wire import catalogue
from wire.catalogue import Signal

PER_COLLECTION_MAX: Final = 64
"""MongoDB's limit, `_id` included."""

ERASURES_KEPT_S: Final = 400 * 86_400
"""That a customer was erased: longer than any topic keeps what they did before, and not for ever."""

NAME_COLLATION: Final[Mapping[str, Any]] = MappingProxyType({"locale": "en", "strength": 1})
"""Names: case and accents make no difference, so that `muller` finds Müller."""

PLATE_COLLATION: Final[Mapping[str, Any]] = MappingProxyType({"locale": "en", "strength": 1, "alternate": "shifted"})
"""Plates: spaces and punctuation make no difference either (`shifted`), so that `mab12` finds M-AB 12."""


class Index(NamedTuple):
    """One index. `present`: only documents that have this field are in it. `expire_after_s`: so long after the time in
    its field a document is deleted."""

    name: str
    keys: tuple[tuple[str, int | str], ...]
    unique: bool = False
    present: str | None = None
    collation: Mapping[str, Any] | None = None
    expire_after_s: int | None = None

    def options(self) -> dict[str, Any]:
        """What makes it more than a plain index, as the server names it."""
        options: dict[str, Any] = {}
        if self.unique:
            options["unique"] = True
        if self.present is not None:
            options["partialFilterExpression"] = {self.present: {"$exists": True}}
        if self.collation is not None:
            options["collation"] = dict(self.collation)
        if self.expire_after_s is not None:
            options["expireAfterSeconds"] = self.expire_after_s
        return options

    def model(self) -> IndexModel:
        """The index as pymongo creates it."""
        return IndexModel(list(self.keys), name=self.name, **self.options())


def value_field(signal: Signal) -> str:
    """Where a twin keeps the value of a signal."""
    return f"signals.{signal.path}.value"


def _value_index(signal: Signal) -> Index:
    field = value_field(signal)
    return Index(signal.path, ((field, 1), ("_id", 1)), present=field)


def _by(name: str, *fields: str, present: str | None = None) -> Index:
    return Index(name, tuple((field, 1) for field in fields), present=present)


_TWINS: Final = (
    _by("kind", "kind", "_id"),
    _by("brand", "attributes.brand", "_id"),
    _by("model", "attributes.model", "_id"),
    _by("year", "attributes.year", "_id"),
    Index("vin", (("attributes.vin", 1),), unique=True, present="attributes.vin"),
    Index("plate", (("attributes.plate", 1),), present="attributes.plate", collation=PLATE_COLLATION),
    _by("owner", "owner.customer_id", "_id"),
    _by("lifecycle_state", "lifecycle.state", "_id"),
    _by("health_status", "health.status", "_id"),
    _by("finding", "health.open.detector", "_id", present="health.open.detector"),
    _by("silent", "connection.silent"),
    _by("schema_version", "schema_version", "_id"),
    _by("seen", search.SEEN),
    Index("place", ((search.PLACE, "2dsphere"),)),  # documents without a place are left out by its nature
    _by("values", f"{search.VALUES}.number", f"{search.VALUES}.value", "_id"),
)

RETIRED: Final[Mapping[str, tuple[Index, ...]]] = MappingProxyType(
    {
        "twins": (
            _by("last_seen", "connection.last_seen", "_id"),
            Index("location", (("location", "2dsphere"),)),
            *(_value_index(signal) for signal in catalogue.SIGNALS if signal.search),
        )
    }
)
"""What former versions made, and is dropped: each of them is a price that every write pays."""

INDEXES: Final[Mapping[str, tuple[Index, ...]]] = MappingProxyType(
    {
        "twins": _TWINS,
        "anomalies": (
            _by("asset", "asset_id", "status", "opened"),
            _by("status", "status", "severity", "opened"),
            _by("detector", "detector", "opened"),
        ),
        "events": (_by("asset", "asset_id", "ts"),),
        "customers": (Index("display_name", (("display_name", 1),), collation=NAME_COLLATION),),
        "asset_roles": (
            _by("asset", "asset_id"),
            _by("customer", "customer_id", "from"),
            _by("from", "from"),
            _by("to", "to", present="to"),
        ),
        "activities": (_by("customer", "customer_id", "ts"),),
        "erasures": (Index("erased", (("erased", 1),), expire_after_s=ERASURES_KEPT_S),),
        "dead_letters": (_by("place", "topic", "partition", "offset"),),
    }
)
