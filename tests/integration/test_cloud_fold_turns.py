"""Turns of the service's loop: in flight, beside each other, while MongoDB is away; each frame counts once."""

import threading
import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import Producer
from pymongo import MongoClient

from cloud import kafka, topics_admin
from cloud.cache import Cache
from cloud.config import ConsumerSettings, TopicSettings
from cloud.deadletters import Graveyard
from cloud.inbox import Record
from cloud.linker import Linker
from cloud.metrics import Metrics
from cloud.outlet import Outlet
from cloud.processor import Processor
from cloud.sharing import Sharing
from cloud.store import Store
from tests.cloud_story import facts, hot
from tests.cloud_worker import World
from tests.cloud_world import NOW_MS, TOPIC_OF, record


class Slow(Store):
    """A store whose writes take until the gate opens, and then a little longer."""

    def __init__(self, world: World) -> None:
        super().__init__(world.client, world.settings, lambda: None)
        self.gate = threading.Event()
        self.gate.set()

    def _bulk(self, collection: str, writes: Any) -> Any:
        assert self.gate.wait(20)
        time.sleep(0.05)
        return super()._bulk(collection, writes)


def test_turns_in_flight_are_committed_in_order_and_fold_each_asset_on_its_last_write(world: World) -> None:
    turns = [[record("a", hot(1), 0)], [record("a", hot(1, 1), 1), record("b", hot(1), 2)], [record("b", hot(1, 1), 3)]]
    worker = world.worker(*turns, [record("c", hot(1), 4)], at=Slow(world))
    for _ in range(4):
        worker.advance()
    committed: list[Record] = worker._source.committed  # type: ignore[attr-defined]  # the Script above
    assert [one.offset for one in committed] == [0, 1, 2, 3], "the last turn is in flight, the others are done"
    worker.settle()
    assert [one.offset for one in committed] == [0, 1, 2, 3, 4]
    assert {one["_id"]: (one["counters"]["frames"], one["revision"]) for one in world.all("twins")} == {
        "a": (2, 2),
        "b": (2, 2),
        "c": (1, 1),
    }
    assert _conflicts(worker) == 0, "none was folded beside its own write, only to lose against it"


def test_a_turn_is_opened_and_folded_while_the_last_is_written(world: World) -> None:
    world.fold([record("a", hot(1))], [record("b", hot(1))])
    slow = Slow(world)
    worker = world.worker([record("a", hot(1, 1), 1)], [record("b", hot(1, 1), 1)], at=slow)
    slow.gate.clear()
    worker.advance()
    following = worker._open(worker._source.poll())
    worker._fold(following)
    assert world.twin("a")["counters"]["frames"] == 1, "not written yet"
    assert following.outcomes["b"].folded == 1
    slow.gate.set()
    worker.settle()
    assert world.twin("a")["counters"]["frames"] == 2


def test_a_zombie_loses_and_nothing_is_doubled(world: World) -> None:
    """Two workers hold the same partition for a moment: whoever comes second folds again on the other's result."""
    first, second = record("a", hot(3)), record("a", hot(3, 3), 1)
    zombie = world.worker([first], [second])
    zombie.turn()
    world.fold([first, second], [record("a", hot(2, 6), 2)])
    zombie.turn()
    twin = world.twin()
    assert twin["counters"]["frames"] == 8
    assert twin["signals"]["Vehicle"]["Speed"]["value"] == 7.0
    assert len(world.all("anomalies")) == 1


def test_what_was_folded_already_writes_nothing(world: World) -> None:
    """A record that comes again after a crash, beside one that is new."""
    world.fold([record("a", hot(3))])
    before = world.twin()
    world.fold([record("a", hot(3)), record("b", hot(1), 1)])
    assert world.twin() == before
    assert world.twin("b")["counters"]["frames"] == 1


def test_after_a_rebalance_twins_are_read_anew(world: World) -> None:
    """Another worker may have folded on meanwhile. A twin in memory that missed a part of the log would find what that
    part had refuted, and tell it before its write fails."""
    worker = world.worker([record("a", hot(1))], [record("a", hot(1, 2), 2)])
    worker.advance()
    worker._in_flight.delivered.result(20)  # type: ignore[union-attr]  # there is one, and it puts its twin into memory later
    world.fold([record("a", hot(1, 1), 1)])
    world.scripts[0].lost_ownership = True
    worker.turn()
    assert world.twin()["counters"]["frames"] == 3
    assert _conflicts(worker) == 0


def test_what_waits_of_a_partition_that_was_given_up_is_left_to_its_new_owner(world: World) -> None:
    worker = world.worker([record("a", [one], offset) for offset, one in enumerate(hot(3))])
    worker._sharing, script = Sharing(bytes_per_turn_max=1), world.scripts[0]
    worker.turn()
    script.owned, script.lost_ownership = False, True
    worker.turn()
    assert ([one.offset for one in script.committed], world.twin()["counters"]["frames"]) == ([0], 1)


class Closing:
    """A gate that closes after the first turn; what happens while the worker waits."""

    due = True

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        self._answers, self._meanwhile = [False, True, False], meanwhile

    def closed(self) -> bool:
        return self._answers.pop(0)

    def stand_by(self, member: str, partitions: list[tuple[str, int]]) -> bool:
        self._meanwhile()
        return False


def test_a_worker_that_waits_for_rebuilt_twins_has_done_what_it_read_and_forgets_its_twins(world: World) -> None:
    read = [record("a", [one], offset) for offset, one in enumerate(hot(4))]
    worker = world.worker(read, [record("a", hot(1, 5), 5)])
    worker._sharing = Sharing(bytes_per_turn_max=1)
    script = world.scripts[0]

    def meanwhile() -> None:
        assert (world.twin()["counters"]["frames"], script.committed, script.commits) == (4, read, 1)
        world.fold([record("a", hot(1, 4), 4)])

    worker.run(lambda: not script.turns, Closing(meanwhile))  # type: ignore[arg-type]  # same verbs
    assert world.twin()["counters"]["frames"] == 6
    assert _conflicts(worker) == 0


def _conflicts(worker: Processor) -> float | None:
    return _told(worker, "conflicts_total")


def _told(worker: Processor, name: str, **labels: str) -> float | None:
    return worker._metrics.registry.get_sample_value(f"fleetfold_cloud_{name}", labels)


def test_turns_show_in_the_metrics(world: World) -> None:
    again, junk = record("a", hot(2)), Record(TOPIC_OF["signals"], "g1", 0, 2, b"a", b"junk", NOW_MS)
    worker = world.worker([again], [again, record("a", hot(3), 1), junk, *facts().values()])
    worker.turn()
    worker.turn()
    assert _told(worker, "records_total", topic=TOPIC_OF["signals"]) == 5
    assert _told(worker, "records_total", topic="asset.roles.v1") == 1
    counted = ("messages_folded_total", "duplicates_total", "records_replayed_total", "twins_written_total")
    assert [_told(worker, name) for name in counted] == [3, 2, 2, 2]
    assert _told(worker, "dead_letters_total", reason="not_decodable") == 1
    assert _told(worker, "facts_total", type="role") == 1
    assert (_told(worker, "turn_records_count"), _told(worker, "turn_records_sum")) == (2, 8)
    assert (_told(worker, "age_seconds_count"), _told(worker, "lag_seconds")) == (4, 0)
    for stage in ("poll", "open", "load", "fold", "detect", "encode", "tell", "write", "link", "commit"):
        assert _told(worker, "stage_seconds_count", stage=stage) == 2, stage


def test_workers_that_alternate_on_one_asset_count_each_frame_once(world: World) -> None:
    turns = [[record("a", [one], offset)] for offset, one in enumerate(hot(12))]
    workers = [world.worker(*turns[0::2]), world.worker(*turns[1::2])]
    for turn in range(12):
        workers[turn % 2].turn()
    assert world.twin()["counters"]["frames"] == 12


def test_records_on_kafka_become_twins_and_dead_letters_can_be_read_back(world: World, fresh_kafka: str) -> None:
    """End to end on brokers: topics created, records folded, offsets committed, a second worker goes on from there."""
    settings = ConsumerSettings(bootstrap_servers=fresh_kafka)
    results = topics_admin.create(settings, TopicSettings(partitions=3))
    assert {result.outcome for result in results} == {"created"}
    assert {result.outcome for result in topics_admin.create(settings, TopicSettings())} == {"exists"}
    producer = Producer({"bootstrap.servers": fresh_kafka, "partitioner": "murmur2_random"})
    for name in ("a", "b", "c"):
        made = record(name, hot(3))
        producer.produce(made.topic, key=made.key, value=made.value)
    producer.produce(TOPIC_OF["signals"], key=b"d", value=b"not a batch")
    producer.flush()
    for expected, more in ((3, b""), (4, record("a", hot(1, 3), 9).value or b"")):
        if more:
            producer.produce(TOPIC_OF["signals"], key=b"a", value=more)
            producer.flush()
        source, outlet = kafka.Source(settings), Outlet(settings, lambda: None)
        linker = Linker(world.store, lambda: world.now_ms)
        worker = Processor(source, outlet, world.store, linker, Cache(10), Metrics())
        deadline = time.monotonic() + 40
        twins = world.store.database["twins"]
        while twins.count_documents({}) < 3 or world.twin("a")["counters"]["frames"] < expected:
            worker.turn()
            assert time.monotonic() < deadline
        source.close()
    assert {one["_id"]: one["counters"]["frames"] for one in world.all("twins")} == {"a": 4, "b": 3, "c": 3}
    assert all(one["counters"]["duplicates"] == 0 for one in world.all("twins"))
    with Graveyard(settings) as graveyard:
        (buried,) = graveyard.scan()
    assert (buried.letter.value, buried.letter.reason) == (b"not a batch", "not_decodable")


def test_nothing_is_lost_while_the_database_is_away(world: World) -> None:
    """A write that cannot reach the server waits, keeps its place in the group, and is done when it is back."""
    waits: list[int] = []
    dead: MongoClient[dict[str, Any]] = MongoClient("mongodb://127.0.0.1:1", serverSelectionTimeoutMS=50)
    patient = Store(world.client, world.settings, lambda: None)
    alive = patient.database

    def waiting() -> None:
        waits.append(1)
        if len(waits) == 3:
            patient.database = alive

    patient._while_waiting = waiting
    patient.database = dead.get_database(world.settings.database)
    worker = world.worker([record("a", hot(2))], at=patient)
    worker.turn()
    dead.close()
    assert len(waits) >= 3
    assert world.twin()["counters"]["frames"] == 2
