"""Jumps in what devices count, seen without looking into every frame."""

import tracemalloc

import pytest
from structlog.testing import capture_logs

from edge.config import HealthSettings
from edge.counts import Counts
from edge.receive import Arrival
from edge.sequences import SequenceWatch
from edge.spool import series as names
from edge.spool.records import Run
from wire import codec
from wire.topics import Address, Channel, Kind


class World:
    """A watch, and devices whose frames arrive."""

    def __init__(self, series_max: int = 100) -> None:
        self.counts = Counts()
        self.watch = SequenceWatch(series_max, self.counts)

    def arrive(self, *payloads: bytes, asset_id: str = "car-1", channel: Channel = Channel.SIGNALS) -> None:
        series = names.of(Address(Kind.VEHICLE, asset_id, channel))
        self.watch.look({series: Arrival(series, list(payloads), [Run(0, len(payloads))])})

    def frames(self, *numbers: int, session: str = "s1", asset_id: str = "car-1") -> None:
        self.arrive(*(frame(number, session) for number in numbers), asset_id=asset_id)

    @property
    def seen(self) -> tuple[int, int]:
        return self.counts.sequence_jumps, self.counts.sequence_missing


def frame(number: int, session: str = "s1", json: bool = False) -> bytes:
    content = {"v": 1, "session": session, "seq": number, "ts": 1, "signals": {"Vehicle.Speed": 1.0}}
    return codec.to_json(content) if json else codec.to_msgpack(content)


def test_what_comes_without_a_gap_is_no_jump() -> None:
    world = World()
    world.frames(7, 8, 9)
    world.frames(10)
    world.frames(11, 12)
    world.frames(0, 1, session="s2")
    world.frames(5, asset_id="car-2")
    assert world.seen == (0, 0)


@pytest.mark.parametrize(
    "parts", [[[1, 2], [5, 6]], [[1, 2, 5, 6]], [[1], [2], [5]], [[1, 2], [3, 6, 7]], [[0], [1, 2, 5, 5, 6]]]
)
def test_what_is_missing_is_counted_wherever_the_jump_is(parts: list[list[int]]) -> None:
    world = World()
    for part in parts:
        world.frames(*part)
    assert world.seen == (1, 2)


def test_what_is_sent_again_or_late_is_no_jump_and_hides_none() -> None:
    world = World()
    world.frames(1, 2, 3)
    world.frames(1, 2, 3)
    world.frames(2)
    world.frames(4)
    assert world.seen == (0, 0)
    world.frames(2, 3)
    world.frames(6)
    assert world.seen == (1, 1)


def test_json_is_read_as_well_and_what_is_no_frame_or_counts_nothing_is_passed_over() -> None:
    world = World()
    world.arrive(frame(1, json=True), b"\xff", b"{", b"[1]", b'{"seq":"x"}', codec.to_msgpack({"v": 1}), frame(4))
    assert world.seen == (1, 2)
    world.arrive(b'{"v":1,"online":true,"session":"s"}', channel=Channel.CONNECTION)
    assert world.seen == (1, 2)


def test_of_more_series_than_it_may_remember_those_heard_of_longest_ago_are_forgotten() -> None:
    world = World(series_max=4)
    for asset in ("a", "b", "c", "a", "d", "e"):
        world.frames(1, asset_id=asset)
    world.frames(5, asset_id="b")
    assert world.seen == (0, 0), "forgotten: this is its first"
    world.frames(5, asset_id="e")
    world.frames(5, asset_id="d")
    assert world.seen == (2, 6)
    assert len(world.watch._last) + len(world.watch._before) <= 4


def test_by_default_a_hundred_thousand_devices_are_watched_within_the_memory_that_is_documented() -> None:
    series_max = HealthSettings().watched_series_max
    assert series_max // 2 >= 100_000
    part = series_max // 100  # what holds for so many holds for all: it is a dict
    tracemalloc.start()
    world = World(part)
    for seq in (1, 3):
        for car in range(part // 2):
            world.frames(seq, session=f"{car:016}", asset_id=f"vehicle-{car:08}")
    held_bytes = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert world.seen == (part // 2, part // 2)
    assert held_bytes < 300 * part / 2


def test_the_log_says_it_once_with_an_example() -> None:
    world = World()
    with capture_logs() as logs:
        world.watch.report()
        world.frames(1, 4)
        world.watch.report()
        world.watch.report()
    assert [(log["event"], log["jumps"], log["last"]) for log in logs] == [
        ("device_sequence_jumps", 1, "car-1 s1 2..3")
    ]
