"""History on a real MongoDB and Kafka: what devices said is there, whatever happened on the way."""

import itertools
import os
import random
import secrets
import signal
import subprocess
import sysconfig
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from pydantic import SecretStr
from pymongo import MongoClient

from cloud import mongo, topics_admin
from cloud.config import ConsumerSettings, HistorySettings, RetentionSettings, TopicSettings
from cloud.history import documents, schema
from cloud.history.documents import HOUR_MS
from cloud.history.keeper import Keeper
from cloud.history.merge import Merger
from cloud.history.metrics import Metrics
from cloud.inbox import Record
from cloud.store import Store
from runtime.settings import MongoSettings
from tests.cloud_world import NOW_MS, frame, record
from wire import catalogue

SPEED, LATITUDE = "Vehicle.Speed", "Vehicle.CurrentLocation.Latitude"
NUMBER = catalogue.BY_PATH[SPEED].number
DAY_MS = 24 * HOUR_MS


class Script:
    """A source that hands out prepared records, one list a turn."""

    def __init__(self, turns: Sequence[Sequence[Record]]) -> None:
        self.turns = [list(turn) for turn in turns]
        self.lost_ownership = False
        self.committed: list[Record] = []

    def poll(self) -> list[Record]:
        return self.turns.pop(0) if self.turns else []

    def done(self, records: list[Record]) -> None:
        self.committed += records

    def keep_alive(self) -> None:
        pass

    def lag_records(self) -> int:
        return 0


class World:
    """A database with history, and a clock."""

    def __init__(self, uri: str, database: str) -> None:
        self.settings = MongoSettings(uri=SecretStr(uri), database=database, timeout_ms=5_000)
        self.history_settings = HistorySettings(flush_interval_s=60, merge_after_s=600)
        self.client = mongo.connect(self.settings)
        self.store = Store(self.client, self.settings, lambda: None)
        self.now_ms = NOW_MS
        self.clock_s = 0.0
        schema.ensure(self.store.database, self.history_settings)

    def keeper(self, *turns: Sequence[Record], at: Store | None = None) -> tuple[Keeper, Script]:
        script = Script(turns)
        keeper = Keeper(script, at or self.store, self.history_settings, Metrics(), lambda: self.clock_s)  # type: ignore[arg-type]  # same verbs
        return keeper, script

    def keep(self, *turns: Sequence[Record]) -> None:
        keeper, _ = self.keeper(*turns)
        for _ in turns:
            keeper.turn()
        keeper.flush()

    def merge(self, at: Store | None = None) -> int:
        return Merger(at or self.store, self.history_settings, Metrics(), lambda: self.now_ms).run()

    def all(self) -> list[dict[str, Any]]:
        return list(self.store.database["history"].find(sort=[("_id", 1)]))

    def said(self, asset_id: str = "a") -> dict[int, dict[int, Any]]:
        held = documents.all_samples(one for one in self.all() if one["asset_id"] == asset_id)
        return {
            number: dict(zip(one.times_ms.tolist(), one.values.tolist(), strict=True)) for number, one in held.items()
        }

    def pieces(self) -> int:
        return sum(map(documents.is_piece, self.all()))

    def later(self, ms: int) -> None:
        """Time goes by: the documents on the server become as much older."""
        self.now_ms = time.time_ns() // 1_000_000 + ms


@pytest.fixture
def world(mongodb_uri: str, mongo_database: str) -> Iterator[World]:
    made = World(mongodb_uri, mongo_database)
    yield made
    made.client.close()


def drive(count: int, start: int = 0, every_ms: int = 1_000) -> list[Record]:
    """Records of two frames each."""
    return [
        record(
            "a",
            [
                frame(NOW_MS + (start + n) * every_ms + step, {SPEED: float(n % 50), LATITUDE: 48.0}, "s", 2 * n + step)
                for step in (0, 1)
            ],
            start + n,
        )
        for n in range(count)
    ]


def speeds(records: Sequence[Record]) -> dict[int, float]:
    """What the records say, by the codec that wrote them."""
    import msgpack

    known: dict[int, float] = {}
    for one in records:
        assert one.value is not None
        for payload in msgpack.unpackb(one.value)["payloads"]:
            said = msgpack.unpackb(payload)
            known[said["ts"]] = max(said["signals"][SPEED], known.get(said["ts"], -1.0))
    return known


def test_records_become_pieces_when_they_have_waited_and_only_then_are_committed(world: World) -> None:
    records = drive(20)
    keeper, script = world.keeper(records[:10], records[10:], [])
    keeper.turn()
    keeper.turn()
    assert (world.all(), script.committed) == ([], [])
    world.clock_s = 61
    keeper.turn()
    assert world.said()[NUMBER] == speeds(records)
    assert [one.offset for one in script.committed] == list(range(20))


def test_a_stop_writes_what_waits_and_lets_its_offsets_go(world: World) -> None:
    """Long before its time: else a stop before each update would read up to a minute twice."""
    records = drive(5)
    keeper, script = world.keeper(records[:3], records[3:])
    keeper.run(lambda: not script.turns)
    assert world.said()[NUMBER] == speeds(records)
    assert script.committed == records


def test_what_waits_is_written_before_others_read_its_partition(world: World) -> None:
    records = drive(5)
    keeper, script = world.keeper(records, [])
    keeper.turn()
    script.lost_ownership = True
    keeper.turn()
    assert world.said()[NUMBER] == speeds(records)


def test_a_full_buffer_is_written_at_once(world: World) -> None:
    world.history_settings = HistorySettings(buffer_bytes_max=1_000_000)
    records = drive(3_000)
    keeper, script = world.keeper(records)
    keeper.turn()
    assert world.said()[NUMBER] == speeds(records)
    assert script.committed


def test_what_cannot_be_read_harms_nothing(world: World) -> None:
    poison = [
        Record("fleet.signals.v1", "g1", 0, 90, key, value, NOW_MS)
        for key, value in ((b"a", b"\xc1"), (b"\xff\x00", b"?"), (b"b", record("a", []).value), (b"", None))
    ]
    records = drive(3)
    world.keep([*poison, *records])
    assert world.said() == world.said() != {}
    assert {one["asset_id"] for one in world.all()} == {"a"}
    assert world.said()[NUMBER] == speeds(records)


class KilledError(Exception):
    """The process dies here."""


class Fragile(Store):
    """A store that dies at its n-th write, before or after MongoDB has it."""

    def __init__(self, world: World, at: int, after: bool) -> None:
        super().__init__(world.client, world.settings, lambda: None)
        self._left, self._after = at, after

    def _bulk(self, collection: str, writes: Any) -> Any:
        self._left -= 1
        if self._left == 0 and not self._after:
            raise KilledError
        written = super()._bulk(collection, writes)
        if self._left == 0:
            raise KilledError
        return written


@pytest.mark.parametrize(("at", "after"), list(itertools.product((1, 2), (False, True))))
def test_a_keeper_killed_at_any_write_loses_and_doubles_nothing(world: World, at: int, after: bool) -> None:
    first, second = drive(10), drive(10, 10)
    keeper, script = world.keeper(first, [], second, [], at=Fragile(world, at, after))

    def live() -> None:
        while True:
            keeper.turn()
            world.clock_s += 61

    with pytest.raises(KilledError):
        live()
    committed = script.committed[-1].offset + 1 if script.committed else 0
    again = [one for one in first + second if one.offset >= committed]
    world.keep(again[:7], again[7:])
    assert world.said()[NUMBER] == speeds(first + second)
    world.later(2 * HOUR_MS)
    world.merge()
    assert world.pieces() == 0
    assert world.said()[NUMBER] == speeds(first + second)
    assert sum(one["samples"] for one in world.all()) == 2 * len(speeds(first + second))


@pytest.mark.parametrize(("at", "after"), list(itertools.product((1, 2), (False, True))))
def test_a_merger_killed_at_any_write_loses_nothing(world: World, at: int, after: bool) -> None:
    records = drive(60)
    for some in (records[:20], records[20:40], records[30:]):
        world.keep(some)
    world.later(2 * HOUR_MS)
    with pytest.raises(KilledError):
        world.merge(Fragile(world, at, after))
    assert world.said()[NUMBER] == speeds(records)
    world.later(3 * HOUR_MS)
    world.merge()
    assert world.said()[NUMBER] == speeds(records)
    assert world.pieces() == 0


def test_pieces_rest_until_their_hour_is_over(world: World) -> None:
    records = drive(5)
    world.keep(records)
    world.now_ms = NOW_MS + 60_000
    assert world.merge() == 0
    world.later(HOUR_MS)
    assert world.merge() == 1
    assert {one["class"] for one in world.all()} == {"driving", "location"}


def test_a_late_sample_joins_the_bucket_of_its_hour(world: World) -> None:
    """Also a value that differs from the one that is there: the greater one stays, whoever comes first."""
    records = drive(10, 5)
    world.keep(records)
    world.later(2 * HOUR_MS)
    world.merge()
    late = [record("a", [frame(NOW_MS, {SPEED: 77.0}, "s", 900), frame(NOW_MS + 5_000, {SPEED: 88.0}, "s", 901)], 99)]
    world.keep(late)
    expected = speeds(records + late)
    assert world.said()[NUMBER] == expected
    world.later(3 * HOUR_MS)
    world.merge()
    assert world.said()[NUMBER] == expected
    assert [one["class"] for one in world.all()] == ["driving", "location"]


def test_mergers_that_work_against_each_other_lose_nothing(world: World) -> None:
    """Without the lease: two read the same hour, a piece comes between, and they finish in any order."""
    dice = random.Random(4)
    records = drive(90)
    mergers = [Merger(world.store, world.history_settings, Metrics(), lambda: world.now_ms) for _ in range(2)]
    work: list[tuple[Any, Any]] = []
    for start in range(0, 90, 10):
        world.keep(records[start : start + 10], records[max(0, start - 5) : start + 3])
        world.later(2 * HOUR_MS)
        for merger in mergers:
            for place in merger._due():
                made, read = merger._merge(place)
                kept = {bucket["_id"] for bucket in made}
                from cloud.history import merge

                new = [merge._insert(bucket) for bucket in made]
                old = [merge._delete(one) for one in read if one["_id"] not in kept]
                work.append((new, old))
        dice.shuffle(work)
        while len(work) > 1:
            mergers[0]._swap(*work.pop())
        assert world.said()[NUMBER] == speeds(records[: start + 10])
    while work:
        mergers[0]._swap(*work.pop())
    assert world.said()[NUMBER] == speeds(records)


def test_a_second_merger_waits_for_the_first_ones_lease(world: World) -> None:
    first, second = (Merger(world.store, world.history_settings, Metrics(), lambda: world.now_ms) for _ in range(2))
    assert first._lease()
    assert not second._lease()
    assert first._lease()
    world.now_ms += 10 * 60_000
    assert second._lease()


def test_a_hot_hour_is_merged_in_portions_into_buckets_of_bounded_size(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "BUCKET_BYTES_MAX", 1_000)
    monkeypatch.setattr("cloud.history.merge.READ_BYTES_MAX", 2_000)
    monkeypatch.setattr("cloud.history.collect.PIECE_BYTES_MAX", 3_000)
    records = drive(600)
    world.keep(records)
    assert world.pieces() > 10
    for hours in range(2, 60):
        world.later(hours * HOUR_MS)
        if not world.merge():
            break
        assert world.said()[NUMBER] == speeds(records)
    assert world.pieces() == 0
    assert world.said()[NUMBER] == speeds(records)
    assert max(map(documents.size_bytes, world.all())) <= 1_000


def test_each_data_class_expires_by_its_own_index_which_follows_the_configuration(world: World) -> None:
    def kept_s() -> dict[str, int]:
        held = world.store.database["history"].index_information()
        return {name: index["expireAfterSeconds"] for name, index in held.items() if "expireAfterSeconds" in index}

    before = kept_s()
    assert (before["expire_location"], before["expire_driving"]) == (30 * 86_400, 90 * 86_400)
    assert before["expire_pieces"] == 400 * 86_400
    changed = HistorySettings(retention_days=RetentionSettings(location=1))
    schema.ensure(world.store.database, changed)
    assert kept_s() == before | {"expire_location": 86_400}


def test_a_class_without_retention_is_not_kept(world: World) -> None:
    world.history_settings = HistorySettings(retention_days=RetentionSettings(location=0))
    world.keep(drive(3))
    assert set(world.said()) == {NUMBER}


@pytest.mark.timeout(120)
def test_a_keeper_killed_again_and_again_keeps_every_sample(
    kafka_bootstrap_servers: str, mongodb_uri: str, mongo_database: str
) -> None:
    """A real process on real servers, killed without warning while records come in; nothing is missing afterwards."""
    group = f"test-history-{secrets.token_hex(4)}"
    kafka = ConsumerSettings(bootstrap_servers=kafka_bootstrap_servers)
    topics_admin.create(kafka, TopicSettings(partitions=2))
    producer = Producer({"bootstrap.servers": kafka_bootstrap_servers})
    asset_id = f"h-{secrets.token_hex(4)}"
    environment = {
        **os.environ,
        "KAFKA_BOOTSTRAP_SERVERS": kafka_bootstrap_servers,
        "MONGODB_URI": mongodb_uri,
        "FLEETFOLD_CLOUD__MONGO__DATABASE": mongo_database,
        "FLEETFOLD_CLOUD__KAFKA__GROUP_ID": group,
        "FLEETFOLD_CLOUD__HISTORY__FLUSH_INTERVAL_S": "1",
    }
    sent: dict[int, float] = {}
    command = [str(Path(sysconfig.get_path("scripts")) / "fleetfold-cloud"), "history", "run"]
    with MongoClient[dict[str, Any]](mongodb_uri) as client:
        history = client[mongo_database]["history"]
        for life in range(3):
            process = subprocess.Popen(command, env=environment)
            try:
                for offset in range(100):
                    ts, speed = NOW_MS + life * 100_000 + offset * 1000, float(offset)
                    value = record(asset_id, [frame(ts, {SPEED: speed}, f"s{life}", offset)]).value
                    producer.produce("fleet.signals.v1", key=asset_id.encode(), value=value)
                    sent[ts] = speed
                producer.flush()
                deadline = time.monotonic() + (25 if life == 2 else random.uniform(1.0, 6.0))
                while time.monotonic() < deadline and told(history, asset_id) != sent:
                    time.sleep(0.1)
            finally:
                process.send_signal(signal.SIGKILL if life < 2 else signal.SIGTERM)
                process.wait(20)
        assert process.returncode == 0
        assert told(history, asset_id) == sent


def told(history: Any, asset_id: str) -> dict[int, float]:
    held = documents.all_samples(list(history.find({"asset_id": asset_id}))).get(NUMBER)
    return {} if held is None else dict(zip(held.times_ms.tolist(), held.values.tolist(), strict=True))
