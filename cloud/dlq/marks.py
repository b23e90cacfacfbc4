"""Which dead letters were put back, and when: a document per letter in `dead_letters`."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from pymongo import UpdateOne
from pymongo.database import Database

from cloud.dlq.letters import Buried

Document = dict[str, Any]

COLLECTION: Final = "dead_letters"


def add(database: Database[Document], letters: Sequence[Buried], now: datetime) -> None:
    """Remember that these were put back."""
    if letters:
        database[COLLECTION].bulk_write([_mark(buried, now) for buried in letters], ordered=False)


def _mark(buried: Buried, now: datetime) -> UpdateOne:
    """One that lies where another lay (its topic was created anew) begins to count anew."""
    same = {"$eq": ["$origin", {"$literal": buried.letter.origin}]}
    fields = {
        "topic": buried.topic,
        "partition": buried.partition,
        "offset": buried.offset,
        "origin": {"$literal": buried.letter.origin},
        "reason": str(buried.letter.reason),
        "replayed": now,
        "times": {"$cond": [same, {"$add": [{"$ifNull": ["$times", 0]}, 1]}, 1]},
    }
    return UpdateOne({"_id": buried.place}, [{"$set": fields}], upsert=True)


def of(database: Database[Document], letters: Sequence[Buried]) -> Mapping[str, datetime]:
    """Place → when it was last put back, for those of `letters` that were."""
    origins = {buried.place: buried.letter.origin for buried in letters}
    found = database[COLLECTION].find({"_id": {"$in": list(origins)}}, {"origin": 1, "replayed": 1})
    return {mark["_id"]: mark["replayed"] for mark in found if mark["origin"] == origins[mark["_id"]]}


def forget(database: Database[Document], before: Mapping[tuple[str, int], int]) -> None:
    """Drop the marks of letters that were deleted."""
    for (topic, partition), offset in before.items():
        database[COLLECTION].delete_many({"topic": topic, "partition": partition, "offset": {"$lt": offset}})


def chunks(letters: Iterable[Buried], size: int) -> Iterable[list[Buried]]:
    """The letters in lists of `size`, so that marks are asked for many at once."""
    chunk: list[Buried] = []
    for buried in letters:
        chunk.append(buried)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
