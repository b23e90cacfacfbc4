"""Which set counts, what is stored, and what is told; the disk refuses, is damaged, and loses power."""

import errno
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from edge import rules_store
from edge.rules.desk import Desk, Offer, Stored
from edge.rules.engine import Engine, Limits
from edge.rules_store import DamagedError
from edge.spool.disk import Directory
from tests.edge_rules_world import capture, rule
from wire import codec
from wire.collection import RulesStatus

FEBRUARY_MS = 1_769_904_000_000


class Clock:
    def __init__(self) -> None:
        self.ms = FEBRUARY_MS

    def now_ms(self) -> int:
        return self.ms

    def monotonic_s(self) -> float:
        return self.ms / 1000

    def sleep(self, seconds: float) -> None:
        raise AssertionError


@dataclass
class World:
    """A desk with what is around it."""

    clock: Clock = field(default_factory=Clock)
    saved: list[Stored] = field(default_factory=list)
    told: list[RulesStatus] = field(default_factory=list)
    disk_is_full: bool = False

    def __post_init__(self) -> None:
        self.engine = Engine(Limits(10, 0), self.clock.monotonic_s)
        self.desk = Desk(self.engine, self.clock, "gw-7", self.save, self.told.append)

    def save(self, stored: Stored) -> None:
        if self.disk_is_full:
            raise OSError(errno.ENOSPC, "no space left")
        self.saved.append(stored)

    @property
    def in_force(self) -> tuple[str, Any]:
        self.engine.apply({})
        plan = self.engine.plan
        assert plan is self.desk.plan
        return self.desk.origin, None if plan is None else plan.version


def a_set(version: Any, **more: Any) -> bytes:
    return codec.to_json({"version": version, "rules": [rule("a", "none", **more)]})


def file(tmp_path: Path, text: bytes) -> Path:
    path = tmp_path / "rules.toml"
    path.write_bytes(text)
    return path


def test_what_is_published_for_the_gateway_counts_before_that_for_all_and_that_before_the_file(tmp_path: Path) -> None:
    world = World()
    assert world.desk.begin(file(tmp_path, a_set("file")), {}) == []
    assert world.in_force == ("file", "file")
    world.desk.offer([Offer("gateway", a_set("mine"))])
    assert world.in_force == ("gateway", "mine")
    world.desk.offer([Offer("all", a_set("ours"))])
    assert world.in_force == ("gateway", "mine")
    world.desk.offer([Offer("gateway", None)])
    assert world.in_force == ("all", "ours")
    world.desk.offer([Offer("all", b"")])
    assert world.in_force == ("file", "file")
    assert [status.version for status in world.told] == ["file", "mine", "ours", "file"]
    assert world.saved[-1] == {}


def test_a_set_with_a_fault_is_refused_as_a_whole_and_the_old_one_stays() -> None:
    world = World()
    world.desk.begin(None, {})
    world.desk.offer([Offer("gateway", a_set(1))])
    world.desk.offer([Offer("gateway", codec.to_json({"version": 2, "rules": [rule("a", "none"), rule("b", "x")]}))])
    assert world.in_force == ("gateway", 1)
    (refusal,) = world.told[-1].refused
    assert (world.told[-1].version, refusal.version, refusal.origin) == (1, 2, "gateway")
    assert [fault.path for fault in refusal.faults] == ["rules[1].mode"]
    assert world.desk.refused == 1
    assert len(world.saved) == 1
    world.desk.offer([Offer("gateway", a_set(3))])
    assert world.told[-1].refused == []


def test_the_same_set_again_is_no_news() -> None:
    world = World()
    world.desk.begin(None, {})
    for _ in range(3):
        world.desk.offer([Offer("gateway", a_set(1))])
        world.desk.offer([Offer("all", b"version = ")])
    assert len(world.told) == 3
    assert world.desk.refused == 1
    world.desk.offer([Offer("gateway", a_set(1) + b"\n")])
    assert len(world.told) == 3


def test_another_set_under_an_old_version_is_another_set() -> None:
    world = World()
    world.desk.begin(None, {})
    world.desk.offer([Offer("gateway", a_set(1))])
    world.desk.offer([Offer("gateway", a_set(1, assets=["car-1"]))])
    assert len({status.digest for status in world.told}) == 3


def test_a_start_without_a_link_follows_what_was_stored_and_says_so() -> None:
    first = World()
    first.desk.begin(None, {})
    first.desk.offer([Offer("all", a_set("ours")), Offer("gateway", a_set("mine"))])
    second = World()
    second.desk.begin(None, first.saved[-1])
    assert second.in_force == ("gateway", "mine")
    assert second.told[-1].version == "mine"
    second.desk.offer([Offer("gateway", None)])
    assert second.in_force == ("all", "ours")


def test_a_disk_that_refuses_does_not_keep_rules_from_counting_and_is_tried_again() -> None:
    world = World(disk_is_full=True)
    world.desk.begin(None, {})
    world.desk.offer([Offer("gateway", a_set(1))])
    assert world.in_force == ("gateway", 1)
    assert not world.told[-1].stored
    world.disk_is_full = False
    world.desk.offer([])
    assert world.told[-1].stored
    assert list(world.saved[-1]) == ["gateway"]


def test_a_file_read_again_is_taken_when_it_is_good(tmp_path: Path) -> None:
    world = World()
    path = file(tmp_path, a_set(1))
    world.desk.begin(path, {})
    path.write_bytes(b"version = ")
    assert world.desk.read_file(path) != []
    assert world.in_force == ("file", 1)
    assert world.told[-1].refused[0].origin == "file"
    path.write_bytes(a_set(2))
    assert world.desk.read_file(path) == []
    assert world.in_force == ("file", 2)


def test_the_log_says_what_counts_what_is_refused_and_what_ended() -> None:
    world = World()
    expiring = {"version": 1, "rules": [rule("a", "none", expires="2026-02-01T00:00:10Z"), capture("true", "b")]}
    with capture_logs() as lines:
        world.desk.begin(None, {})
        world.desk.offer([Offer("gateway", codec.to_json(expiring))])
        world.clock.ms += 10_000
        world.desk.offer([])
        world.clock.ms -= 5_000
        world.desk.offer([])
        world.desk.offer([Offer("all", b"{")])
    assert [(line["event"], line.get("rule")) for line in lines] == [
        ("rules_in_force", None), ("rule_ended", "a"), ("rule_began", "a"), ("rules_refused", None),
    ]  # fmt: skip
    assert lines[-1]["faults"][0].startswith(": not JSON")


def test_a_fault_of_the_engine_is_told_once() -> None:
    world = World()
    world.desk.begin(None, {})
    world.engine.tally.failures, world.engine.failure = 1, "Traceback"
    with capture_logs() as lines:
        world.desk.offer([])
        world.desk.offer([])
    assert [line["event"] for line in lines] == ["rules_failed"]


def test_what_is_stored_is_read_again_and_a_flipped_bit_is_found(tmp_path: Path) -> None:
    disk = Directory(tmp_path)
    assert rules_store.read(disk) == {}
    stored: Stored = {"all": b'{"version": 1}', "gateway": b'{"version": "\xc3\xa4"}'}
    rules_store.write(disk, stored)
    assert {origin: codec.decode(raw) for origin, raw in rules_store.read(disk).items()} == {
        "all": {"version": 1}, "gateway": {"version": "ä"},
    }  # fmt: skip
    good = (tmp_path / rules_store.NAME).read_bytes()
    for position in range(len(good) - 1):
        flipped = bytearray(good)
        flipped[position] ^= 0x10
        (tmp_path / rules_store.NAME).write_bytes(flipped)
        with pytest.raises(DamagedError):
            rules_store.read(disk)
    for length in range(len(good) - 1):
        (tmp_path / rules_store.NAME).write_bytes(good[:length])
        with pytest.raises(DamagedError):
            rules_store.read(disk)
    disk.close()
