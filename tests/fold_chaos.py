"""A twin service of several workers on servers that are killed: what is sent, what is done to it, what must come out.

The devices are simulated here, plainly: what they sent is given to the simulator's oracle, which shares no code with
the fold. Batches are made as agents make them, with re-sends, and backlog mixed into what is live.
"""

import json
import os
import random
import signal
import sysconfig
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import bson
import msgpack
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions
from pymongo import MongoClient

from cloud import topics_admin
from cloud.config import ConsumerSettings, TopicSettings
from local.processes import Child, Processes
from local.servers.apache_kafka import ApacheKafka
from local.servers.mongo import Mongod
from simulator.oracle import compare, expect
from simulator.truth import Sent
from tests.cloud_world import TOPIC_OF, frame, record
from wire.catalogue import BY_PATH

COOLANT: Final = "Vehicle.Powertrain.CombustionEngine.EngineCoolant.Temperature"
START_MS: Final = 1_750_000_000_000
SESSIONS_MAX: Final = 10
"""Fewer than a twin remembers: backlog of a forgotten session would be uncertain."""
CATCH_UP_LIMIT_S: Final = 240.0
READINGS: Final = {
    "Vehicle.Speed": lambda chance: round(chance.uniform(0, 200), 3),
    "Vehicle.TraveledDistance": lambda chance: chance.randint(0, 10**9),
    "Vehicle.IsMoving": lambda chance: chance.random() < 0.5,
    "Vehicle.LowVoltageSystemState": lambda chance: chance.choice(["ON", "START"]),
    "Vehicle.CurrentLocation.Latitude": lambda chance: round(chance.uniform(-80, 80), 5),
    "Vehicle.CurrentLocation.Longitude": lambda chance: round(chance.uniform(-170, 170), 5),
}


@dataclass
class Device:
    """One car. `hot`: its coolant is, from the first minute on. Without `numbered`, its agent counts for it. `steady`:
    it says the same signals each time, a frame a batch."""

    asset_id: str
    hot: bool
    numbered: bool
    steady: bool
    session: int = 0
    seq: int = 0
    event_seq: int = 0
    spool: int = 0
    minute: int = 0
    backlog: list[tuple[str, int, list[bytes]]] = field(default_factory=list)
    """Batches that wait: channel, first spool sequence, payloads."""

    def boot(self) -> None:
        """Takes a minute: of two births at one instant, the one later in the log counts, and here logs are shuffled."""
        self.session, self.seq, self.event_seq = self.session + 1, 0, 0
        self.minute += 1

    def payload(self, chance: random.Random) -> bytes:
        """The next frame; some carry several samples."""
        self.minute += 1
        ts = START_MS + self.minute * 60_000
        if self.steady:
            self.seq += 1
            said = {"Vehicle.Speed": round(chance.uniform(0, 200), 3), COOLANT: 88.0}
            return frame(ts, said, f"b{self.session}", self.seq - 1)
        values: dict[str, Any] = {path: make(chance) for path, make in READINGS.items() if chance.random() < 0.6}
        values[COOLANT] = 113.5 if self.hot else 88.0
        offsets: dict[str, Any] = {}
        if chance.random() < 0.3:
            offsets = {"dt": [0, 250, 500]}
            values = {path: [value, None, value] for path, value in values.items()}
        named = (f"b{self.session}", self.seq) if self.numbered else (None, None)
        self.seq += 1
        return frame(ts, values, *named, **offsets)

    def event(self) -> bytes:
        ts = START_MS + self.minute * 60_000
        trip = {"v": 1, "type": "trip", "ts": ts, "session": f"b{self.session}", "seq": self.event_seq}
        trip |= {"trip_id": f"t{self.session}.{self.event_seq}", "started_ms": ts, "ended_ms": ts, "distance_m": 1.5}
        self.event_seq += 1
        return bytes(msgpack.packb(trip))


def _device(number: int) -> Device:
    hot, numbered = number % 5 == 0, number % 7 != 3
    return Device(f"car-{number}", hot, numbered, steady=numbered and not hot and number % 2 == 1)


class Fleet:
    """The devices, and what the oracle knows about what they sent."""

    def __init__(self, chance: random.Random, size: int) -> None:
        self.chance = chance
        self.devices = [_device(n) for n in range(size)]
        self.world = expect.World()
        self.gaps: dict[str, int] = dict.fromkeys((device.asset_id for device in self.devices), 0)
        self.sent_before: list[tuple[Device, str, int, list[bytes]]] = []
        for device in self.devices:
            self._restart(device)
            if device.hot:
                fault = {"fault": "hot", "detector": "coolant_overheating"}
                self.world.asset(device.asset_id).faults["coolant_overheating"] = [fault]

    def batches(self, count: int) -> Iterator[tuple[str, str, bytes]]:
        """Topic, key and value of `count` new batches, and of some that were sent before."""
        for _ in range(count):
            device = self.chance.choice(self.devices)
            if device.numbered and device.session < SESSIONS_MAX and self.chance.random() < 0.02:
                self._restart(device)
            fresh = self._speak(device)
            if device.numbered and self.chance.random() < 0.15:
                device.backlog.append(fresh)  # the link was down: it comes after what is live
                continue
            yield from self._send(device, *fresh)
            if device.backlog and self.chance.random() < 0.3:
                yield from self._send(device, *device.backlog.pop(self.chance.randrange(len(device.backlog))))
            if self.sent_before and self.chance.random() < 0.2:
                again, channel, first, payloads = self.chance.choice(self.sent_before)
                yield self._batch(again, channel, first, payloads)

    def rest(self) -> Iterator[tuple[str, str, bytes]]:
        """All backlog."""
        for device in self.devices:
            while device.backlog:
                yield from self._send(device, *device.backlog.pop())

    def _restart(self, device: Device) -> None:
        device.boot()
        birth = {"v": 1, "online": True, "session": f"b{device.session}", "ts": START_MS + device.minute * 60_000 + 1}
        device.backlog.append(("connection", self._spooled(device, 1), [bytes(msgpack.packb(birth))]))

    def _speak(self, device: Device) -> tuple[str, int, list[bytes]]:
        if device.numbered and self.chance.random() < 0.15:
            return "events", self._spooled(device, 1), [device.event()]
        if device.numbered and self.chance.random() < 0.03:
            device.seq += 2  # two frames that nobody ever sees
            self.gaps[device.asset_id] += 2
        payloads = [device.payload(self.chance) for _ in range(1 if device.steady else self.chance.randint(1, 6))]
        return "signals", self._spooled(device, len(payloads)), payloads

    def _spooled(self, device: Device, count: int) -> int:
        first = device.spool
        device.spool += count
        return first

    def _send(
        self, device: Device, channel: str, first: int, payloads: list[bytes]
    ) -> Iterator[tuple[str, str, bytes]]:
        for number, payload in enumerate(payloads, first):
            known = payload if device.numbered or channel != "signals" else _named(payload, number)
            expect.take(self.world, Sent("vehicle", device.asset_id, channel, known, True))
        self.sent_before = [*self.sent_before[-300:], (device, channel, first, payloads)]
        yield self._batch(device, channel, first, payloads)

    def _batch(self, device: Device, channel: str, first: int, payloads: list[bytes]) -> tuple[str, str, bytes]:
        received_ms = START_MS + device.minute * 60_000  # a source clock a day ahead of it would be refused
        made = record(
            device.asset_id, payloads, channel=channel, first_sequence=first, received_ms=[received_ms] * len(payloads)
        )  # fmt: skip
        return TOPIC_OF[channel], device.asset_id, made.value or b""


def _named(payload: bytes, number: int) -> bytes:
    """For the oracle: a frame under the number that the agent gave it."""
    return bytes(msgpack.packb({**msgpack.unpackb(payload), "session": "@gw/e1", "seq": number}))


class Plant:
    """The servers and the workers."""

    def __init__(self, owner: Processes, directory: Path, chance: random.Random) -> None:
        self._owner, self._directory, self.chance = owner, directory, chance
        self.kafka = ApacheKafka(owner, directory / "kafka").start()
        self.mongod = Mongod(owner, directory / "mongod").start()
        self.settings = ConsumerSettings(bootstrap_servers=self.kafka.url)
        topics_admin.create(self.settings, TopicSettings(partitions=3))
        quiet = {"bootstrap.servers": self.kafka.url, "log_level": 0}
        self.producer = Producer(
            {**quiet, "partitioner": "murmur2_random", "enable.idempotence": True, "message.timeout.ms": 0}
        )
        self.workers: list[Child] = []
        self._started = 0
        self._partitions = 3
        self.acts: dict[str, int] = {}
        self._undelivered: list[str] = []

    def start_worker(self) -> None:
        self._started += 1
        environment = {
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka.url,
            "MONGODB_URI": self.mongod.url,
            "FLEETFOLD_CLOUD__MONGO__TIMEOUT_MS": "3000",
            "FLEETFOLD_CLOUD__KAFKA__COMMIT_INTERVAL_MS": "300",
            "FLEETFOLD_CLOUD__KAFKA__BATCH_RECORDS_MAX": "15",
            "FLEETFOLD_CLOUD__FOLD__CACHED_TWINS_MAX": "30",
            "FLEETFOLD_CLOUD__FOLD__PLAIN_FRAMES_MIN": "1",
        }
        script = str(Path(sysconfig.get_path("scripts")) / "fleetfold-cloud")
        log = self._directory / f"worker-{self._started}.log"
        self.workers.append(self._owner.start("worker", [script, "fold"], log, environment))

    def check_workers(self) -> None:
        """None of them died by itself."""
        for worker in self.workers:
            assert worker.exit_code is None, f"a worker ended with {worker.exit_code}:\n{worker.last_lines(30)}"

    def send(self, records: Iterator[tuple[str, str, bytes]]) -> None:
        for topic, key, value in records:
            self.producer.produce(topic, key=key.encode(), value=value, on_delivery=self._on_delivery)
            self.producer.poll(0)

    def deliver(self) -> None:
        """Wait until the broker has everything."""
        assert self.producer.flush(120) == 0
        assert self._undelivered == []

    def _on_delivery(self, error: Any, _message: Any) -> None:
        if error is not None:
            self._undelivered.append(error.str())

    def act(self) -> str:
        """Do something bad to it."""
        acts: list[tuple[Callable[[], None], int]] = [
            (self._kill_worker, 6),
            (self._stop_worker, 3),
            (self._join, 3),
            (self._kill_mongod, 4),
            (self._kill_broker, 2),
            (self._freeze_worker, 1),
            (self._poison, 2),
            (self._grow, 1),
        ]
        chosen = self.chance.choices([act for act, _ in acts], [weight for _, weight in acts])[0]
        name = chosen.__name__.strip("_")
        self.acts[name] = self.acts.get(name, 0) + 1
        chosen()
        return name

    def _kill_worker(self) -> None:
        if self.workers:
            self.workers.pop(self.chance.randrange(len(self.workers))).kill()
        self.start_worker()

    def _stop_worker(self) -> None:
        if len(self.workers) > 1:
            self.workers.pop(self.chance.randrange(len(self.workers))).stop(grace_s=20)
        else:
            self.start_worker()

    def _join(self) -> None:
        if len(self.workers) < 3:
            self.start_worker()
        else:
            self._stop_worker()

    def _kill_mongod(self) -> None:
        self.mongod.kill()
        time.sleep(self.chance.uniform(0, 1.5))
        self.mongod.start()

    def _kill_broker(self) -> None:
        self.kafka.kill()
        time.sleep(self.chance.uniform(0, 1))
        self.kafka.start()

    def _freeze_worker(self) -> None:
        """Long enough to be put out of the group: it wakes as a zombie, with a turn in its hands."""
        if not self.workers:
            return
        worker = self.chance.choice(self.workers)
        _signal(worker, signal.SIGSTOP)
        time.sleep(8)
        _signal(worker, signal.SIGCONT)

    def _poison(self) -> None:
        self.producer.produce(TOPIC_OF["signals"], key=b"car-1", value=self.chance.randbytes(50))

    def _grow(self) -> None:
        """More partitions: assets move, while their old partitions are still being read."""
        if self._partitions < 6:
            self._partitions += 1
            admin = AdminClient({"bootstrap.servers": self.kafka.url, "log_level": 0})
            for future in admin.create_partitions([NewPartitions(TOPIC_OF["signals"], self._partitions)]).values():
                future.result()

    def complaints(self) -> list[str]:
        """What the workers have logged as errors."""
        logs = sorted(self._directory.glob("worker-*.log"))
        lines = [f"{log.name}: {line}" for log in logs for line in log.read_text().splitlines()]
        return [line for line in lines if '"level": "error"' in line or "anew" in line or "not committed" in line][-40:]

    def database(self) -> Any:
        return MongoClient[dict[str, Any]](self.mongod.url, tz_aware=True).get_database("fleetfold")


def _signal(worker: Child, number: signal.Signals) -> None:
    os.kill(worker.pid, number)


def differences(fleet: Fleet, database: Any) -> list[str]:
    """Everything that is not as the oracle says, in words."""
    found: list[str] = []
    twins = {twin["_id"]: twin for twin in database["twins"].find()}
    anomalies = list(database["anomalies"].find())
    events: dict[str, dict[str, Any]] = defaultdict(dict)
    for event in database["events"].find():
        events[event["asset_id"]][event["_id"]] = event
    for device in fleet.devices:
        expected = fleet.world.asset(device.asset_id)
        expected.unreadable = fleet.gaps[device.asset_id]  # numbers that were used for frames that nobody ever sees
        twin = twins.get(device.asset_id)
        of_asset = [anomaly for anomaly in anomalies if anomaly["asset_id"] == device.asset_id]
        actual = compare.Actual(twin, events[device.asset_id], of_asset)
        found += [f"{one.asset_id}: {one.kind}: {one.text}" for one in compare.differences(expected, actual)]
        if twin is not None:
            found += [f"{device.asset_id}: {text}" for text in _bytes_differ(fleet, device, expected, twin)]
        raised = [(anomaly["detector"], anomaly["status"]) for anomaly in of_asset]
        if raised != ([("coolant_overheating", "open")] if device.hot else []):
            found.append(f"{device.asset_id}: findings {raised}")
    return found


def _bytes_differ(fleet: Fleet, device: Device, expected: expect.Expected, twin: Any) -> Iterator[str]:
    leaves = {path: [at.value, at.ts_ms] for path, at in compare.leaves(twin["signals"]).items()}
    due = {path: [_typed(path, at.value), at.ts_ms] for path, at in expected.signals.items()}
    if bson.encode(dict(sorted(leaves.items()))) != bson.encode(dict(sorted(due.items()))):
        yield "signals differ in their bytes"
    counters = {
        "frames": expected.messages.sure - len(expected.events),
        "events": len(expected.events),
        "samples": expected.samples.sure,
        "gaps": fleet.gaps[device.asset_id],
    }
    held = {name: twin["counters"][name] for name in counters}
    if bson.encode(held) != bson.encode(counters):
        yield f"counters are {held}, due are {counters}"
    if twin["counters"]["uncertain"]:
        yield f"{twin['counters']['uncertain']} uncertain"


def _typed(path: str, value: Any) -> Any:
    return float(value) if BY_PATH[path].type in ("float", "double") else value


def wait_until_caught_up(fleet: Fleet, plant: Plant, database: Any) -> None:
    """Until as many frames and events as were sent have been counted, and all that lies in Kafka has been dealt with.

    The count alone would not do: births are not counted, and what was sent again may still come and be counted twice.
    """
    deadline = time.monotonic() + CATCH_UP_LIMIT_S
    while not _counted(fleet, database) or _behind(plant):
        plant.check_workers()
        if time.monotonic() > deadline:
            raise AssertionError("not caught up:\n" + "\n".join(told(fleet, plant, database)))
        time.sleep(0.5)


def _counted(fleet: Fleet, database: Any) -> bool:
    total = sum(compare.folded(twin) for twin in database["twins"].find({}, {"counters": 1}))
    return bool(total >= fleet.world.sent)


def told(fleet: Fleet, plant: Plant, database: Any) -> list[str]:
    """All that helps to find out why: what was lost first."""
    found = sorted(differences(fleet, database), key=lambda line: ": lost:" not in line)
    return [*found[:60], *_behind(plant), *plant.complaints()]


def _behind(plant: Plant) -> list[str]:
    """Partitions whose records the group has not all dealt with, in words."""
    consumer = Consumer({"bootstrap.servers": plant.kafka.url, "group.id": plant.settings.group_id, "log_level": 0})
    try:
        topics = consumer.list_topics(timeout=10).topics
        places = [TopicPartition(name, number) for name in TOPIC_OF.values() for number in topics[name].partitions]
        stands = [(at, *consumer.get_watermark_offsets(at, 10)) for at in consumer.committed(places, 10)]
        return [
            f"{at.topic}/{at.partition}: committed {at.offset} of {end}"
            for at, _, end in stands
            if max(at.offset, 0) < end
        ]
    finally:
        consumer.close()


def anomaly_ids(plant: Plant) -> dict[str, set[str]]:
    """Asset → the distinct findings told on the topic; a finding may be told again, under the same id."""
    consumer = Consumer({"bootstrap.servers": plant.kafka.url, "group.id": "told", "auto.offset.reset": "earliest"})
    topic = "twin.anomalies.v1"
    told: dict[str, set[str]] = {}
    try:
        numbers = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        due = {number: consumer.get_watermark_offsets(TopicPartition(topic, number), 10)[1] for number in numbers}
        consumer.assign([TopicPartition(topic, number, 0) for number, high in due.items() if high])
        left = sum(due.values())
        while left > 0:
            messages = consumer.consume(500, 5.0)
            assert messages, f"{left} findings are missing"
            for message in messages:
                body = json.loads(message.value() or b"")
                told.setdefault(body["asset_id"], set()).add(body["anomaly_id"])
                left -= 1
    finally:
        consumer.close()
    return told
