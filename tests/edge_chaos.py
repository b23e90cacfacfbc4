"""Devices that know what was acknowledged, and the oracle that looks for it in Kafka.

The oracle reads Kafka's records with msgpack alone: it shares no code with the agent.
"""

import itertools
import json
import random
import secrets
import threading
import time
from collections import defaultdict
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgpack
from confluent_kafka import Message
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

CHANNELS = ("signals", "events")
_OUTSTANDING_MAX = 200


class Key(NamedTuple):
    """What a device calls a message."""

    session: str
    seq: int


class Device:
    """One vehicle that counts its messages per channel and publishes them at QoS 1, reconnecting for ever."""

    def __init__(self, url: str, asset_id: str, chance: random.Random) -> None:
        self.asset_id = asset_id
        self.sent: dict[Key, bytes] = {}
        self.acknowledged: set[Key] = set()
        self._chance = chance
        self._sessions = {channel: f"{channel}-{secrets.token_hex(4)}" for channel in CHANNELS}
        self._next = dict.fromkeys(CHANNELS, 0)
        self._by_mid: dict[int, Key] = {}
        self._early: set[int] = set()
        self._lock = threading.Lock()
        self._client = Client(CallbackAPIVersion.VERSION2, asset_id, protocol=MQTTv5)
        self._client.on_publish = self._on_publish
        self._client.reconnect_delay_set(0.1, 0.5)
        self._client.max_inflight_messages = 50
        parts = urlsplit(url)
        self._client.connect(parts.hostname or "", parts.port or 1883, keepalive=5)
        self._client.loop_start()

    def publish(self) -> None:
        """A few messages on one of the channels."""
        if len(self.sent) - len(self.acknowledged) > _OUTSTANDING_MAX:
            return
        channel = self._chance.choices(CHANNELS, (4, 1))[0]
        for _ in range(self._chance.randint(1, 12)):
            key = Key(self._sessions[channel], self._next[channel])
            self._next[channel] += 1
            padding = "x" * self._chance.randint(0, 300)
            payload = json.dumps({"session": key.session, "seq": key.seq, "ts": 1, "padding": padding}).encode()
            self.sent[key] = payload
            info = self._client.publish(f"dt/fleet/vehicle/{self.asset_id}/{channel}", payload, 1)
            with self._lock:
                if info.mid in self._early:
                    self._early.remove(info.mid)
                    self.acknowledged.add(key)
                else:
                    self._by_mid[info.mid] = key

    def _on_publish(self, _client: Client, _data: Any, mid: int, *_: Any) -> None:
        with self._lock:
            key = self._by_mid.pop(mid, None)
            if key is None:
                self._early.add(mid)  # faster than `publish` returned
            else:
                self.acknowledged.add(key)

    @property
    def outstanding(self) -> int:
        """Messages that the broker has not acknowledged."""
        return len(self.sent) - len(self.acknowledged)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


class Fleet:
    """Devices that publish from one thread, at about `rate` bursts a second, until told to be silent."""

    def __init__(self, url: str, count: int, chance: random.Random, rate: float) -> None:
        self.devices = [
            Device(url, f"car-{number}-{secrets.token_hex(3)}", random.Random(chance.random()))
            for number in range(count)
        ]
        self._pause_s = 1 / rate
        self._chance = chance
        self._speaks = threading.Event()
        self._speaks.set()
        self._ended = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended:
            self._speaks.wait()
            self._chance.choice(self.devices).publish()
            time.sleep(self._pause_s)

    def hush(self, limit_s: float) -> bool:
        """Publish nothing more; whether the broker acknowledged everything in time."""
        self._speaks.clear()
        deadline_s = time.monotonic() + limit_s
        while any(device.outstanding for device in self.devices) and time.monotonic() < deadline_s:
            time.sleep(0.02)
        return not any(device.outstanding for device in self.devices)

    def speak(self) -> None:
        self._speaks.set()

    def close(self) -> None:
        self._ended = True
        self._speaks.set()
        self._thread.join(10)
        for device in self.devices:
            device.close()


class Arrival(NamedTuple):
    """A payload in Kafka, in the order of its partition. `stream` is 0, or what stands behind the dot of the epoch."""

    asset_id: str
    epoch: str
    stream: int
    sequence: int
    payload: bytes

    @property
    def key(self) -> Key:
        content = json.loads(self.payload)
        return Key(content["session"], content["seq"])


class Gap(NamedTuple):
    """What a dead letter of the spool says is lost."""

    epoch: str
    storage_class: str
    first: int
    last: int
    count: int
    reason: str


def arrivals(messages: list[Message], gateway: str) -> list[Arrival]:
    """Of one gateway's batches."""
    found: list[Arrival] = []
    for message in messages:
        batch = msgpack.unpackb(message.value() or b"")
        if batch["gateway"] != gateway:
            continue
        epoch, _, stream = batch["epoch"].partition(".")
        for offset, payload in zip(batch["sequence_offsets"], batch["payloads"], strict=True):
            sequence = batch["first_sequence"] + offset
            found.append(Arrival(batch["asset_id"], epoch, int(stream or 0), sequence, payload))
    return found


def gaps(dead_letters: list[Message], gateway: str) -> set[Gap]:
    """Of one gateway's spool."""
    found: set[Gap] = set()
    for message in dead_letters:
        headers = dict(message.headers() or [])
        if not (headers.get("dlq_origin") or b"").startswith(f"spool:{gateway}/".encode()):
            continue
        said = json.loads(message.value() or b"")
        found.add(
            Gap(
                said["epoch"], said["class"], said["first_sequence"], said["last_sequence"], said["count"],
                said["reason"],
            )
        )  # fmt: skip
    return found


class Verdict(NamedTuple):
    """What the oracle found."""

    acknowledged: int
    arrived: int
    duplicates: int
    streams: int
    named_lost: int
    faults: list[str]

    def __str__(self) -> str:
        return (
            f"{self.acknowledged} acknowledged, {self.arrived} in Kafka by (session, seq), {self.duplicates} raw "
            f"duplicates from re-sends, {self.streams} streams, {self.named_lost} named by gap records, "
            f"{len(self.faults)} faults"
        )


def judge(devices: list[Device], by_channel: dict[str, list[Arrival]], lost: set[Gap]) -> Verdict:
    """Every acknowledged message is in Kafka once by (session, seq), unchanged and in order, or named as lost."""
    faults: list[str] = []
    acknowledged = named = duplicates = 0
    distinct: set[tuple[str, Key]] = set()
    streams: set[tuple[str, int]] = set()
    for device, channel in itertools.product(devices, CHANNELS):
        mine = [each for each in by_channel[channel] if each.asset_id == device.asset_id]
        streams |= {(channel, each.stream) for each in mine}
        keys = [each.key for each in mine]
        distinct |= {(device.asset_id, key) for key in keys}
        duplicates += len(keys) - len(set(keys))
        due = {key for key in device.acknowledged if key.session.startswith(channel)}
        acknowledged += len(due)
        faults += _unknown_or_changed(device, mine)
        faults += _disorder(device.asset_id, mine)
        missing = sorted(due - set(keys))
        unnamed = [key for key in missing if not _is_named(key, mine, channel, lost)]
        named += len(missing) - len(unnamed)
        faults += [f"{device.asset_id}: {key} was acknowledged and is nowhere" for key in unnamed]
    total = sum(gap.count for gap in lost)
    if named > total:
        faults.append(f"{named} are missing and gap records name {total}")
    return Verdict(acknowledged, len(distinct), duplicates, len(streams), named, faults)


def _unknown_or_changed(device: Device, mine: list[Arrival]) -> list[str]:
    faults = [
        f"{each.asset_id}: {each.key} was never sent so" for each in mine if device.sent.get(each.key) != each.payload
    ]
    named: dict[tuple[str, int], bytes] = {}
    return faults + [
        f"{each.asset_id}: sequence {each.sequence} names two payloads"
        for each in mine
        if named.setdefault((each.epoch, each.sequence), each.payload) != each.payload
    ]


def _disorder(asset_id: str, mine: list[Arrival]) -> list[str]:
    """Within a stream as it arrived, and over all streams by sequence, messages come first in their order."""
    by_stream: dict[Any, list[Arrival]] = defaultdict(list)
    for each in mine:
        by_stream[each.epoch, each.stream].append(each)
    by_stream["by sequence"] = sorted(mine, key=lambda each: (each.epoch, each.sequence))
    faults: list[str] = []
    for stream, members in by_stream.items():
        first = list(dict.fromkeys(each.key.seq for each in members))
        if first != sorted(first):
            place = next(at for at, (a, b) in enumerate(itertools.pairwise(first)) if b < a)
            faults.append(f"{asset_id}, {stream}: out of order at {first[max(0, place - 2) : place + 4]}")
    return faults


def _is_named(key: Key, mine: list[Arrival], channel: str, lost: set[Gap]) -> bool:
    """Whether a gap record covers the place between the neighbours that arrived."""
    before = max((each.sequence for each in mine if each.key.seq < key.seq), default=-1)
    behind = min((each.sequence for each in mine if each.key.seq > key.seq), default=2**63)
    return any(gap.storage_class == channel and gap.first < behind and gap.last > before for gap in lost)
