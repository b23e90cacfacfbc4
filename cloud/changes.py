"""What a write of a twin sends: what its document does not have yet. Pure but for the twin, which remembers it.

Most frames change signals and bookkeeping, and nothing that has an index. A `$set` that names a field with an index,
even with the value that it has, makes MongoDB derive the keys of all of them: 30 to 40 µs of 60 to 100 (measured).
"""

import struct
from collections.abc import Mapping
from typing import Any, Final

import bson
from bson.datetime_ms import DatetimeMS
from bson.raw_bson import RawBSONDocument
from msgspec import Struct
from pymongo import InsertOne, UpdateOne

from cloud import search as searches
from cloud import twin as twins
from cloud.leaves import Leaves
from cloud.twin import Twin

_LENGTH: Final = struct.Struct("<i")
_REST_BYTES: Final = 3_500
"""Room for what a write does not always send: identity, connection, the coarse copies of numbers."""
_FINDING_BYTES: Final = 1_500
_COPY: Final = 4
"""Room for the coarse copy of a text: UTF-8 takes up to four bytes for each of its characters."""


class Change(Struct, frozen=True, gc=False):
    """`fields`: what `$set` brings; where it is `new`, the whole document. `revision`: what the document must have for
    that. `steady`: nothing that has an index changes. `size_bytes`: of the fold's half of the document then,
    about, and not less. `moving`: what a write sends that brings nothing but the same fields with other values; empty:
    this one was of another kind."""

    asset_id: str
    revision: int
    fields: RawBSONDocument
    size_bytes: int
    new: bool
    steady: bool
    moving: bytes = b""

    def statement(self) -> Mapping[str, Any]:
        """For a transaction that has seen the revision, as the server's `update` command wants it."""
        return {"q": {"_id": self.asset_id}, "u": {"$set": self.fields}}

    def alone(self) -> UpdateOne | InsertOne[Any]:
        """For a write on its own. The second condition costs MongoDB a plan for each: 45 µs (measured)."""
        if self.new:
            return InsertOne(self.fields)
        return UpdateOne({"_id": self.asset_id, "revision": self.revision}, {"$set": self.fields})


def of(twin: Twin, leaves: Leaves) -> Change:
    """What brings the document from `twin.revision` to the next. The twin takes it for held from now on: one whose
    write fails is dropped, and loaded as its document is."""
    held, signals, revision = twins.rarely(twin), _signals(twin, leaves), twin.revision + 1
    new, same = twin.new, held == twin.held
    if same:
        fields = twins.moving_fields(twin, revision, signals)
        fields["connection.last_seen"] = DatetimeMS(twin.connection.last_seen_ms)
    else:
        fields = twins.fold_fields(twin, revision, signals)
    if new:
        fields = twins.new_document(twin.asset_id, twin.kind) | fields
    elif "connection" in fields:  # but for `silent`, which is the upkeep's
        fields |= {f"connection.{name}": value for name, value in fields.pop("connection").items()}
    raw = bson.encode(fields)
    moving = raw if same and not new else b""
    search = twins.search_due(twin)
    if search is not twin.search:
        raw = _joined(raw, bson.encode({"search": searches.document(search)}))
    twin.held, twin.search, twin.new = held, search, False
    size_bytes = len(raw) + _unsent_bytes(twin)
    return Change(twin.asset_id, revision - 1, RawBSONDocument(raw), size_bytes, new, raw is moving, moving)


def _joined(first: bytes, second: bytes) -> bytes:
    """The fields of two documents in one."""
    return _LENGTH.pack(len(first) + len(second) - 5) + first[4:-1] + second[4:]


def _signals(twin: Twin, leaves: Leaves) -> RawBSONDocument | None:
    try:
        return RawBSONDocument(leaves.encode(twin.values, twin.moment_ms, twin.times))
    except (struct.error, TypeError, AttributeError):  # a value from before its signal changed its type
        return None


def _unsent_bytes(twin: Twin) -> int:
    texts = sum([len(str(twin.values[number])) for number in searches.TEXTS if number in twin.values])
    return _REST_BYTES + _FINDING_BYTES * len(twin.findings) + _COPY * texts
