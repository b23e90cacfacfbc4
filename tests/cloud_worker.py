"""A database and workers on it: the twin service's loop with a scripted source, on a real MongoDB."""

import json
from collections.abc import Sequence
from typing import Any

from pydantic import SecretStr

from cloud import mongo, schema
from cloud.cache import Cache
from cloud.effects import Outgoing
from cloud.inbox import Record
from cloud.linker import Linker
from cloud.metrics import Metrics
from cloud.picking import Picker
from cloud.processor import Processor
from cloud.store import Store
from runtime.settings import MongoSettings
from tests.cloud_world import NOW_MS


class Script:
    """A source that hands out prepared records, one list a turn."""

    def __init__(self, *turns: Sequence[Record]) -> None:
        self.turns = [list(turn) for turn in turns]
        self.lost_ownership = False
        self.owned = True
        self.committed: list[Record] = []
        self.commits = 0
        self.kept_alive = 0
        self.held_back: set[tuple[str, int]] = set()

    def poll(self, patient: bool = True) -> list[Record]:
        return self.turns.pop(0) if self.turns else []

    def done(self, records: list[Record]) -> None:
        self.committed += records

    def commit(self) -> None:
        self.commits += 1

    def membership(self) -> tuple[str, list[tuple[str, int]]]:
        return "w", [("fleet.signals.v1", 0)]

    def keep_alive(self) -> None:
        self.kept_alive += 1

    def owns(self, place: tuple[str, int]) -> bool:
        return self.owned

    def hold_back(self, places: set[tuple[str, int]]) -> None:
        self.held_back = places

    def lag_records(self) -> int:
        return 0


class Drawer:
    """An outlet that keeps what it is given."""

    def __init__(self) -> None:
        self.records: list[Outgoing] = []

    def send(self, outgoing: Outgoing) -> None:
        self.records.append(outgoing)

    def flush(self) -> None:
        pass


class World:
    """A database and workers on it."""

    def __init__(self, uri: str, database: str, timeout_ms: int = 5000) -> None:
        self.settings = MongoSettings(uri=SecretStr(uri), database=database, timeout_ms=timeout_ms)
        self.client = mongo.connect(self.settings)
        self.store = Store(self.client, self.settings, lambda: None)
        self.store.patiently(lambda: schema.ensure(self.store.database))
        self.drawer = Drawer()
        self.scripts: list[Script] = []
        self.now_ms = NOW_MS

    def worker(self, *turns: Sequence[Record], at: Store | None = None) -> Processor:
        kept = at or self.store
        linker = Linker(kept, lambda: self.now_ms)
        self.scripts.append(Script(*turns))
        cache = Cache(1000)
        picker = Picker(cache.at_hand, few=1)
        return Processor(self.scripts[-1], self.drawer, kept, linker, cache, Metrics(), picker=picker)  # type: ignore[arg-type]  # same verbs

    def fold(self, *turns: Sequence[Record]) -> None:
        worker = self.worker(*turns)
        for _ in turns:
            worker.turn()

    def twin(self, asset_id: str = "a") -> dict[str, Any]:
        found = self.store.database["twins"].find_one({"_id": asset_id})
        assert found is not None
        return found

    def all(self, collection: str) -> list[dict[str, Any]]:
        return list(self.store.database[collection].find(sort=[("_id", 1)]))


def fact(topic: str, key: str, value: dict[str, Any] | None, offset: int) -> Record:
    raw = None if value is None else json.dumps({"v": 1, **value}).encode()
    return Record(topic, "g1", 0, offset, key.encode(), raw, NOW_MS)
