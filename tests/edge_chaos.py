"""Devices that know what was acknowledged, and the oracle that looks for it in Kafka.

The oracle reads Kafka's records with msgpack alone: it shares no code with the agent.
"""

import bisect
import functools
import itertools
import json
import random
import secrets
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgpack
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

CHANNELS = ("signals", "events")
_OUTSTANDING_MAX = 200


class Key(NamedTuple):
    """What a device calls a message."""

    session: str
    seq: int


class Ledger:
    """What one vehicle said, and what of it was acknowledged. It counts its messages per channel."""

    def __init__(self, asset_id: str) -> None:
        self.asset_id = asset_id
        self.sent: dict[Key, bytes] = {}
        self.acknowledged: set[Key] = set()
        self._sessions = {channel: f"{channel}-{secrets.token_hex(4)}" for channel in CHANNELS}
        self._next = dict.fromkeys(CHANNELS, 0)

    def say(self, channel: str, padding: int) -> tuple[Key, bytes]:
        """Its next message."""
        key = Key(self._sessions[channel], self._next[channel])
        self._next[channel] += 1
        self.sent[key] = json.dumps(
            {"session": key.session, "seq": key.seq, "ts": 1, "padding": "x" * padding}
        ).encode()
        return key, self.sent[key]


class Device(Ledger):
    """Publishes at QoS 1, reconnecting for ever.

    Once disconnected it says nothing new until it is connected and everything before is acknowledged: paho sends what
    is published between CONNECT and CONNACK before what it sends again, and the device itself would break its order.
    """

    def __init__(self, url: str, asset_id: str, chance: random.Random) -> None:
        super().__init__(asset_id)
        self._chance = chance
        self._by_mid: dict[int, Key] = {}
        self._early: set[int] = set()
        self._lock = threading.Lock()
        self._recovers = False
        self._client = Client(CallbackAPIVersion.VERSION2, asset_id, protocol=MQTTv5)
        self._client.on_publish = self._on_publish
        self._client.on_disconnect = self._on_disconnect
        self._client.reconnect_delay_set(0.1, 0.5)
        self._client.max_inflight_messages = 50
        parts = urlsplit(url)
        self._client.connect(parts.hostname or "", parts.port or 1883, keepalive=5)
        self._client.loop_start()

    def publish(self) -> None:
        """A few messages on one of the channels."""
        if self.outstanding > _OUTSTANDING_MAX:
            return
        if self._recovers and (self.outstanding or not self._client.is_connected()):
            return
        self._recovers = False
        channel = self._chance.choices(CHANNELS, (4, 1))[0]
        for _ in range(self._chance.randint(1, 12)):
            key, payload = self.say(channel, self._chance.randint(0, 300))
            info = self._client.publish(f"dt/fleet/vehicle/{self.asset_id}/{channel}", payload, 1)
            with self._lock:
                if info.mid in self._early:
                    self._early.remove(info.mid)
                    self.acknowledged.add(key)
                else:
                    self._by_mid[info.mid] = key

    def _on_disconnect(self, *_: Any) -> None:
        self._recovers = True

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

    def __init__(self, url: str, count: int, chance: random.Random, rate: float, device: type[Device] = Device) -> None:
        self.devices = [
            device(url, f"car-{number}-{secrets.token_hex(3)}", random.Random(chance.random()))
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


@dataclass(frozen=True)
class Arrival:
    """A payload in Kafka, in the order of its partition. `stream` is 0, or what stands behind the dot of the epoch."""

    asset_id: str
    epoch: str
    stream: int
    sequence: int
    payload: bytes
    received_ms: int = 0

    @functools.cached_property
    def key(self) -> Key:
        content = decoded(self.payload)
        return Key(content["session"], content["seq"])


def decoded(payload: bytes) -> dict[str, Any]:
    """A frame."""
    content: dict[str, Any] = json.loads(payload) if payload[:1] == b"{" else msgpack.unpackb(payload)
    return content


class Gap(NamedTuple):
    """What a dead letter of the spool says is lost."""

    epoch: str
    storage_class: str
    first: int
    last: int
    count: int
    reason: str


def arrivals(values: Iterable[bytes], gateway: str) -> list[Arrival]:
    """Of one gateway's batches, as Kafka has them."""
    found: list[Arrival] = []
    for value in values:
        batch = msgpack.unpackb(value)
        if batch["gateway"] != gateway:
            continue
        epoch, _, stream = batch["epoch"].partition(".")
        columns = zip(batch["sequence_offsets"], batch["payloads"], batch["received_ms"], strict=True)
        for offset, payload, received_ms in columns:
            sequence = batch["first_sequence"] + offset
            found.append(Arrival(batch["asset_id"], epoch, int(stream or 0), sequence, payload, received_ms))
    return found


def gaps(dead_letters: Iterable[tuple[bytes, Iterable[tuple[str, Any]]]], gateway: str) -> set[Gap]:
    """Of one gateway's spool; a dead letter is its value and headers."""
    found: set[Gap] = set()
    for value, headers in dead_letters:
        origin = dict(headers).get("dlq_origin") or b""
        if not origin.startswith(f"spool:{gateway}/".encode()):
            continue
        said = json.loads(value)
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


def judge(ledgers: Sequence[Ledger], by_channel: dict[str, list[Arrival]], lost: set[Gap]) -> Verdict:
    """Every acknowledged message is in Kafka once by (session, seq), unchanged and in order, or named as lost."""
    faults: list[str] = []
    acknowledged = named = duplicates = distinct = 0
    streams: set[tuple[str, int]] = set()
    for ledger, channel in itertools.product(ledgers, CHANNELS):
        mine = [each for each in by_channel[channel] if each.asset_id == ledger.asset_id]
        streams |= {(channel, each.stream) for each in mine}
        keys = {each.key for each in mine}
        distinct += len(keys)
        duplicates += len(mine) - len(keys)
        due = {key for key in ledger.acknowledged if key.session.startswith(channel)}
        acknowledged += len(due)
        faults += _unknown_or_changed(ledger, mine)
        faults += _disorder(ledger.asset_id, mine)
        missing = due - keys
        unnamed = _unnamed(missing, mine, [gap for gap in lost if gap.storage_class == channel])
        named += len(missing) - len(unnamed)
        faults += [f"{ledger.asset_id}: {key} was acknowledged and is nowhere" for key in unnamed]
    total = sum(gap.count for gap in lost)
    if named > total:
        faults.append(f"{named} are missing and gap records name {total}")
    return Verdict(acknowledged, distinct, duplicates, len(streams), named, faults)


def _unknown_or_changed(ledger: Ledger, mine: list[Arrival]) -> list[str]:
    faults = [
        f"{each.asset_id}: {each.key} was never sent so" for each in mine if ledger.sent.get(each.key) != each.payload
    ]
    named: dict[tuple[str, int], bytes] = {}
    return faults + [
        f"{each.asset_id}: sequence {each.sequence} names two payloads"
        for each in mine
        if named.setdefault((each.epoch, each.sequence), each.payload) != each.payload
    ]


def _disorder(asset_id: str, mine: list[Arrival]) -> list[str]:
    """Within a stream records come first in the order of their sequences; by sequence, messages in theirs.

    A stream alone need not have messages in their order: what a broker sends again for want of a PUBACK may have come
    first before the stream began.
    """
    orders = {"by sequence": [each.key.seq for each in sorted(mine, key=lambda each: (each.epoch, each.sequence))]}
    for each in mine:
        orders.setdefault(f"epoch {each.epoch}, stream {each.stream}", []).append(each.sequence)
    faults: list[str] = []
    for order, numbers in orders.items():
        first = list(dict.fromkeys(numbers))
        if first != sorted(first):
            place = next(at for at, (a, b) in enumerate(itertools.pairwise(first)) if b < a)
            faults.append(f"{asset_id}, {order}: out of order at {first[max(0, place - 2) : place + 4]}")
    return faults


def _unnamed(missing: set[Key], mine: list[Arrival], lost: list[Gap]) -> list[Key]:
    """Of which no gap record covers the place between the neighbours that arrived."""
    by_seq = sorted(mine, key=lambda each: each.key.seq)
    seqs = [each.key.seq for each in by_seq]
    before = list(itertools.accumulate((each.sequence for each in by_seq), max, initial=-1))
    behind = list(itertools.accumulate((each.sequence for each in reversed(by_seq)), min, initial=2**63))[::-1]
    unnamed: list[Key] = []
    for key in sorted(missing):
        at = bisect.bisect_left(seqs, key.seq)
        if not any(gap.first < behind[at] and gap.last > before[at] for gap in lost):
            unnamed.append(key)
    return unnamed
