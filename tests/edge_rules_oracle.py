"""Devices whose signals are known, rule sets, and the oracle of what must come through of them.

It reads Kafka's records with msgpack and json alone and writes down the rules as the documentation says them: it shares
no code with the agent. Source time runs at 100 ms a frame, whatever the clock does.
"""

import json
import random
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgpack

from tests import edge_chaos
from tests.edge_chaos import Arrival, Device, Key

SPEED: Final = "Vehicle.Speed"
AIR: Final = "Vehicle.Exterior.AirTemperature"
RPM: Final = "Vehicle.Powertrain.CombustionEngine.Speed"
MOVING: Final = "Vehicle.IsMoving"
STEP_MS: Final = 100
BEFORE_MS: Final = (0, 500, 2_000)
AFTER_MS: Final = (0, 300, 1_000)
_PAST_MS: Final = 6 * 3_600_000
"""Bursts run ahead of the clock, and a frame from the future is not judged."""
_JUDGED_LATE_MS: Final = 4_000
"""A frame may wait so long for its judgement, after it was received."""
_HEARD_LATE_MS: Final = 100


class Heard(NamedTuple):
    """What a device said in a frame."""

    key: Key
    ms: int
    signals: dict[str, Any]


class Driver(Device):
    """A car that drives, stops and goes on."""

    def __init__(self, url: str, asset_id: str, chance: random.Random) -> None:
        self.frames: list[Heard] = []
        self._drive = random.Random(chance.random())
        self._ms = int(time.time() * 1000) - _PAST_MS
        self._now: dict[str, Any] = {SPEED: 50.0, AIR: 10.0, RPM: 1000.0, MOVING: False}
        super().__init__(url, asset_id, chance)

    def say(self, channel: str, padding: int) -> tuple[Key, bytes]:
        key, payload = super().say(channel, padding)
        if channel != "signals":
            return key, payload
        drive, now = self._drive, self._now
        self._ms += STEP_MS
        now[SPEED] = round(min(200.0, max(0.0, now[SPEED] + drive.uniform(-1.5, 1.5))), 2)
        now[AIR] = round(now[AIR] + drive.uniform(-0.01, 0.01), 3)
        now[RPM] = float(drive.randint(800, 6000))
        now[MOVING] ^= drive.random() < 0.06
        self.frames.append(Heard(key, self._ms, dict(now)))
        frame = {"v": 1, "session": key.session, "seq": key.seq, "ts": self._ms, "signals": now}
        self.sent[key] = msgpack.packb(frame) if drive.random() < 0.5 else json.dumps(frame).encode()
        return key, self.sent[key]


@dataclass(frozen=True)
class Rules:
    """What a set says about the four signals."""

    deadband: float
    snapshot_ms: int
    interval_ms: int
    before_ms: int
    after_ms: int
    urgent: bool

    @classmethod
    def some(cls, chance: random.Random) -> "Rules":
        return cls(
            deadband=chance.choice([0.5, 1.0, 3.0]),
            snapshot_ms=chance.choice([500, 1_000, 5_000]),
            interval_ms=chance.choice([300, 1_000, 3_000]),
            before_ms=chance.choice(BEFORE_MS),
            after_ms=chance.choice(AFTER_MS),
            urgent=chance.random() < 0.5,
        )

    def document(self, version: int) -> bytes:
        def rule(name: str, mode: str, path: str, **more: Any) -> dict[str, Any]:
            return {"name": name, "kind": "vehicle", "mode": mode, "signals": [path], **more}

        rules = [
            rule("speed", "on_change", SPEED, deadband=self.deadband, snapshot_s=self.snapshot_ms / 1000),
            rule("moves", "on_change", MOVING, snapshot_s=self.snapshot_ms / 1000),
            rule("air", "interval", AIR, interval_s=self.interval_ms / 1000),
            rule("engine", "none", RPM),
            rule(
                "departs", "capture", RPM, condition=MOVING, before_s=self.before_ms / 1000,
                after_s=self.after_ms / 1000, priority="urgent" if self.urgent else "normal",
            ),
        ]  # fmt: skip
        return json.dumps({"version": version, "rules": rules}).encode()

    def breach(self, said: Heard, shown: dict[str, tuple[int, Any]]) -> str | None:
        """What a twin that shows this after a frame breaks."""
        for path, age_ms_max in ((SPEED, self.snapshot_ms), (MOVING, self.snapshot_ms), (AIR, self.interval_ms)):
            ms, value = shown.get(path, (0, None))
            if said.ms - ms >= age_ms_max:
                return f"{path} is {said.ms - ms} ms old, limit {age_ms_max}"
            if path == MOVING and value != said.signals[MOVING]:
                return f"{path} is {value}"
            if path == SPEED and abs(value - said.signals[SPEED]) > self.deadband + 1e-9:
                return f"{path} is {value} and was {said.signals[SPEED]}, deadband {self.deadband}"
        return None


class Reign(NamedTuple):
    """A set, or None: everything is sent; from when it was published, until the next one was acknowledged."""

    rules: Rules | None
    from_ms: float
    until_ms: float


class Took(NamedTuple):
    """A frame as the first copy in Kafka has it. `life`: of the agent that judged it."""

    said: Heard
    signals: dict[str, Any]
    life: int
    reigns: list[Reign]


@dataclass
class Findings:
    """`captured`: samples that had to come with captures, and did."""

    faults: list[str] = field(default_factory=list)
    frames: int = 0
    sure_frames: int = 0
    speeds_withheld: int = 0
    captures: int = 0
    captured: int = 0

    def __str__(self) -> str:
        return (
            f"{self.frames} frames judged, {self.sure_frames} by one set for sure, {self.speeds_withheld} speeds "
            f"withheld, {self.captures} captures of {self.captured} samples, {len(self.faults)} faults"
        )


class Oracle:
    """`deaths_ms`: when the agent was killed."""

    def __init__(self, reigns: list[Reign], deaths_ms: list[float]) -> None:
        self.found = Findings()
        self._reigns = reigns
        self._deaths_ms = deaths_ms

    def judge(self, car: Driver, arrived: list[Arrival]) -> list[Arrival]:
        """Look at the signals of one car. Returns its frames as it sent them, for the oracle of frames."""
        first: dict[Key, tuple[Arrival, dict[str, Any]]] = {}
        extras: dict[str, dict[int, Any]] = {SPEED: {}, AIR: {}, RPM: {}, MOVING: {}}
        restored: list[Arrival] = []
        for each in arrived:
            content = edge_chaos.decoded(each.payload)
            if "session" not in content:
                self._add_extra(car, content, extras)
                continue
            key = Key(content["session"], content["seq"])
            first.setdefault(key, (each, content["signals"]))
            restored.append(
                Arrival(each.asset_id, each.epoch, each.stream, each.sequence, car.sent[key], each.received_ms)
            )
        took = [self._took(said, *first[said.key]) for said in car.frames if said.key in first]
        self._check_values(car, took)
        self._check_twin(car, took, extras)
        self._check_captures(car, took, extras[RPM])
        return restored

    def _took(self, said: Heard, arrival: Arrival, signals: dict[str, Any]) -> Took:
        at_ms = arrival.received_ms
        life = sum(death_ms < at_ms for death_ms in self._deaths_ms)
        reigns = [
            reign
            for reign in self._reigns
            if reign.from_ms <= at_ms + _JUDGED_LATE_MS and at_ms <= reign.until_ms + _HEARD_LATE_MS
        ]
        self.found.frames += 1
        self.found.sure_frames += len(reigns) == 1
        return Took(said, signals, life, reigns)

    def _add_extra(self, car: Driver, content: dict[str, Any], extras: dict[str, dict[int, Any]]) -> None:
        """Samples in frames of the agent; `dt` with columns, or one row."""
        said = {each.ms: each.signals for each in car.frames}
        offsets = content.get("dt")
        for path, given in content["signals"].items():
            for offset, value in zip(offsets or [0], given if offsets else [given], strict=True):
                ms = content["ts"] + offset
                if value is None:
                    continue
                if ms not in said or said[ms][path] != value:
                    self.found.faults.append(f"{car.asset_id}: {path} was never {value} at {ms}")
                extras[path][ms] = value

    def _check_values(self, car: Driver, took: list[Took]) -> None:
        for each in took:
            wrong = {path: value for path, value in each.signals.items() if each.said.signals[path] != value}
            if wrong:
                self.found.faults.append(f"{car.asset_id}: {each.said.key} never said {wrong}")

    def _check_twin(self, car: Driver, took: list[Took], extras: dict[str, dict[int, Any]]) -> None:
        shown: dict[str, tuple[int, Any]] = {}
        for each in took:
            ms = each.said.ms
            rows = ({**{path: extra[ms] for path, extra in extras.items() if ms in extra}, **each.signals}).items()
            shown.update({path: (ms, value) for path, value in rows})
            breaches = [
                f"{sorted(each.said.signals.keys() - each.signals.keys())} are missing"
                if reign.rules is None and each.signals.keys() != each.said.signals.keys()
                else reign.rules and reign.rules.breach(each.said, shown)
                for reign in each.reigns
            ]
            if all(breaches):
                self.found.faults.append(f"{car.asset_id}: {each.said.key} in life {each.life}: {breaches}")
            self.found.speeds_withheld += SPEED not in each.signals

    def _check_captures(self, car: Driver, took: list[Took], extra: dict[int, Any]) -> None:
        """Of each window all samples came that were heard in the life that opened it; beside windows, none did."""
        moving = [each.said.ms for each in took if each.said.signals[MOVING]]
        for stretch in _stretches(took):
            rules = stretch[0].reigns[0].rules
            if rules is None:
                continue
            for start_ms, end_ms in _windows(stretch, rules):
                self.found.captures += 1
                for each in stretch:
                    if start_ms <= each.said.ms <= end_ms:
                        self.found.captured += 1
                        if RPM not in each.signals and each.said.ms not in extra:
                            where = f"the capture {start_ms}..{end_ms} in life {each.life}"
                            self.found.faults.append(f"{car.asset_id}: {where} lacks {each.said.key}")
            for each in stretch:
                ms = each.said.ms
                is_near = any(at - max(BEFORE_MS) <= ms <= at + max(AFTER_MS) for at in moving)
                if not is_near and (RPM in each.signals or ms in extra):
                    self.found.faults.append(f"{car.asset_id}: {RPM} of {each.said.key} came without a capture")


def _stretches(took: Iterable[Took]) -> Iterator[list[Took]]:
    """Frames in a row that one life judged by one set for sure."""
    stretch: list[Took] = []
    for each in took:
        is_sure = len(each.reigns) == 1
        if stretch and not (is_sure and stretch[-1].life == each.life and stretch[-1].reigns == each.reigns):
            yield stretch
            stretch = []
        if is_sure:
            stretch.append(each)
    if stretch:
        yield stretch


def _windows(stretch: list[Took], rules: Rules) -> Iterator[tuple[int, int]]:
    """Begins where the car stood for so long that no window can be open."""
    stands_since_ms: int | None = None
    is_known = was_moving = False
    end_ms = 0
    for each in stretch:
        ms, moves = each.said.ms, each.said.signals[MOVING]
        if not is_known:
            stands_since_ms = None if moves else stands_since_ms or ms
            is_known = stands_since_ms is not None and ms - stands_since_ms > rules.after_ms
            continue
        if moves and not was_moving and ms > end_ms:
            end_ms = ms + rules.after_ms
            yield ms - rules.before_ms, end_ms
        was_moving = moves
