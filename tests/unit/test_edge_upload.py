"""Who may send when: turns, limits, and what the link costs."""

import os
import stat
import time
from pathlib import Path

import pytest

from edge.lineup import Lineup
from edge.link import LinkCost, LinkProbe
from edge.pacing import Pacing
from edge.parcels import Claim, Parcel
from edge.spool.chain import Position
from edge.spool.reader import Chunk
from edge.spool.records import StorageClass
from edge.upload import Upload

SIGNALS, EVENTS = StorageClass.SIGNALS, StorageClass.EVENTS


def parcel(sequence: int, stream: int = 0, storage_class: StorageClass = SIGNALS, size: int = 100) -> Parcel:
    chunk = Chunk(storage_class, [], 0, 1, 1, Position(1, 1), stream)
    return Parcel(sequence, "t", b"car-1", b"x" * size, [], [Claim(chunk, 1)], storage_class, stream, True, size, size)


def order(lineup: Lineup, count: int) -> list[int]:
    return [lineup.take_first().sequence for _ in range(count)]


def test_events_go_before_signals() -> None:
    lineup = Lineup(50)
    for sequence in range(3):
        lineup.put(parcel(sequence))
    lineup.put(parcel(10, storage_class=EVENTS))
    assert order(lineup, 4) == [10, 0, 1, 2]
    assert len(lineup) == 0


@pytest.mark.parametrize("sizes", [(100, 100), (3_000, 50), (50, 3_000)])
@pytest.mark.parametrize("percent", [10, 50])
def test_a_flood_of_events_leaves_signals_their_share(percent: int, sizes: tuple[int, int]) -> None:
    lineup = Lineup(50, percent)
    for sequence in range(6_000):
        lineup.put(parcel(sequence, size=sizes[0]))
        lineup.put(parcel(10_000 + sequence, storage_class=EVENTS, size=sizes[1]))
    sent = [lineup.take_first() for _ in range(2_000)]
    bytes_of = {each: sum(len(one.value) for one in sent if one.storage_class is each) for each in StorageClass}
    largest = max(sizes)
    assert bytes_of[SIGNALS] == pytest.approx(sum(bytes_of.values()) * percent / 100, abs=2 * largest)


def test_a_few_events_never_wait_for_signals() -> None:
    lineup = Lineup(50, 10)
    for sequence in range(100):
        lineup.put(parcel(sequence, size=1_000))
    for burst in range(20):
        for sequence in range(8):
            lineup.put(parcel(1_000 + burst * 8 + sequence, storage_class=EVENTS, size=1_000))
        assert all(sequence >= 1_000 for sequence in order(lineup, 8))
        assert order(lineup, 1) == [burst], "nothing was saved up"


def test_without_a_share_signals_have_what_events_leave() -> None:
    lineup = Lineup(50, 0)
    lineup.put(parcel(0, size=0))
    for sequence in range(1, 1_001):
        lineup.put(parcel(sequence, storage_class=EVENTS, size=10_000))
    assert order(lineup, 1_001) == [*range(1, 1_001), 0]


def test_a_class_that_waits_for_a_free_link_saves_nothing_up() -> None:
    lineup = Lineup(50, 50)
    lineup.put(parcel(0, size=1_000))
    lineup.held = frozenset({SIGNALS})
    for sequence in range(1, 101):
        lineup.put(parcel(sequence, storage_class=EVENTS, size=1_000))
    assert order(lineup, 50) == list(range(1, 51))
    lineup.held = frozenset()
    assert order(lineup, 2) == [51, 0]


@pytest.mark.parametrize(
    ("percent", "sizes"), [(50, (100, 100)), (20, (100, 100)), (80, (1_000, 100)), (50, (37, 200))]
)
def test_live_and_backlog_share_the_bytes_as_configured(percent: int, sizes: tuple[int, int]) -> None:
    lineup = Lineup(percent)
    for sequence in range(2_000):
        lineup.put(parcel(sequence, 0, size=sizes[0]))
        lineup.put(parcel(10_000 + sequence, 1, size=sizes[1]))
    sent = [lineup.take_first() for _ in range(1_000)]
    live_bytes = sum(len(each.value) for each in sent if each.stream == 1)
    all_bytes = sum(len(each.value) for each in sent)
    assert live_bytes / all_bytes == pytest.approx(percent / 100, abs=0.02)
    for stream in (0, 1):
        sequences = [each.sequence for each in sent if each.stream == stream]
        assert sequences == sorted(sequences)


def test_who_has_nothing_to_send_leaves_all_to_the_other_and_saves_nothing_up() -> None:
    lineup = Lineup(50)
    lineup.put(parcel(1000, 1))
    lineup.take_first()
    for sequence in range(100):
        lineup.put(parcel(sequence, 0))
    assert order(lineup, 50) == list(range(50))
    for sequence in range(1001, 1011):
        lineup.put(parcel(sequence, 1))
    assert sum(sequence > 1000 for sequence in order(lineup, 10)) == 5


def test_older_backlogs_are_sent_oldest_first() -> None:
    lineup = Lineup(50)
    for stream in (2, 0, 1):
        lineup.put(parcel(stream, stream))
    lineup.set_live_stream(3)
    assert order(lineup, 3) == [0, 1, 2]


def test_a_held_class_waits_and_the_others_do_not() -> None:
    lineup = Lineup(50)
    lineup.put(parcel(0))
    lineup.put(parcel(1, storage_class=EVENTS))
    lineup.held = frozenset({SIGNALS})
    assert order(lineup, 1) == [1]
    assert lineup.first() is None
    lineup.held = frozenset()
    assert order(lineup, 1) == [0]


def sent_bytes(pacing: Pacing, seconds: float, size: int, wire_ratio: float = 1.0) -> float:
    """Over the wire, with a client that takes everything and reports each second."""
    wire_bytes = 0.0
    for tick in range(int(seconds * 100)):
        now_s = tick / 100
        while pacing.room_bytes(now_s) > 0:
            pacing.sent(size)
            pacing.settled(size, now_s)
            wire_bytes += size * wire_ratio
        if tick % 100 == 0:
            pacing.measured(int(wire_bytes))
    return wire_bytes


@pytest.mark.parametrize("size", [100, 5_000, 40_000])
def test_the_rate_is_kept_whatever_the_size_of_a_parcel(size: int) -> None:
    assert sent_bytes(Pacing(20_000, 0.0), 60, size) == pytest.approx(20_000 * 60, rel=0.06)


@pytest.mark.parametrize("wire_ratio", [0.25, 1.3])
def test_the_rate_counts_what_goes_over_the_wire(wire_ratio: float) -> None:
    assert sent_bytes(Pacing(20_000, 0.0), 120, 5_000, wire_ratio) == pytest.approx(20_000 * 120, rel=0.06)


def test_a_limit_that_is_lowered_counts_at_once() -> None:
    pacing = Pacing(1_000_000, 0.0)
    pacing.limit(1_000)
    pacing.sent(1_001)
    assert pacing.room_bytes(0.0) <= 0
    assert pacing.room_bytes(1.1) > 0


def test_no_more_is_on_its_way_than_the_link_takes_in_two_seconds() -> None:
    pacing = Pacing(0, 0.0)
    in_flight = 0
    now_s = 0.0
    for _ in range(100):  # 100 kB/s
        while pacing.room_bytes(now_s) > 0:
            pacing.sent(10_000)
            in_flight += 10_000
        now_s += 0.1
        pacing.settled(10_000, now_s)
        in_flight -= 10_000
        assert in_flight <= 270_000
    assert in_flight >= 200_000


def test_a_fast_link_may_have_much_on_its_way() -> None:
    pacing = Pacing(0, 0.0)
    for tick in range(40):
        given = 0
        while pacing.room_bytes(tick / 10) > 0 and given < 10_000_000:
            pacing.sent(100_000)
            given += 100_000
        for _ in range(given // 100_000):
            pacing.settled(100_000, tick / 10 + 0.05)
    assert given > 5_000_000


def test_metered_links_carry_what_is_configured_and_at_their_own_rate() -> None:
    upload = Upload(bytes_per_s=9, metered_bytes_per_s=3, metered_classes=frozenset({EVENTS}))
    assert upload.held(LinkCost.FREE) == frozenset()
    assert upload.held(LinkCost.METERED) == {SIGNALS}
    assert (upload.limit(LinkCost.FREE), upload.limit(LinkCost.METERED)) == (9, 3)
    assert upload._replace(metered_bytes_per_s=0).limit(LinkCost.METERED) == 9


def probe(file: Path | None = None, command: tuple[str, ...] = (), timeout_s: float = 5.0) -> LinkProbe:
    return LinkProbe(file, command, timeout_s, LinkCost.METERED)


def test_without_file_or_command_the_link_is_free() -> None:
    alone = probe()
    alone.look()
    assert (alone.cost, alone.fault) == (LinkCost.FREE, None)


def test_a_file_says_what_the_link_costs_and_may_change(tmp_path: Path) -> None:
    file = tmp_path / "cost"
    looking = probe(file)
    looking.look()
    assert looking.cost is LinkCost.METERED
    assert looking.fault == f"{file} cannot be read: No such file or directory"
    file.write_text("Free\n")
    looking.look()
    assert (looking.cost, looking.fault) == (LinkCost.FREE, None)
    file.write_text("x" * 100_000)
    looking.look()
    assert looking.cost is LinkCost.METERED


def script(directory: Path, text: str) -> tuple[str, ...]:
    file = directory / "hook"
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return (str(file), "argument")


@pytest.mark.parametrize(
    ("text", "cost", "fault"),
    [
        ("echo free", LinkCost.FREE, ""),
        ("echo metered", LinkCost.METERED, ""),
        ("echo free; exit 3", LinkCost.METERED, "exit code 3"),
        ("echo maybe", LinkCost.METERED, "says 'maybe'"),
        ("", LinkCost.METERED, "says ''"),
        ("echo free; sleep 60", LinkCost.METERED, "took more than 0.5 s"),
        ("sleep 60 & echo free; exec >&-; wait", LinkCost.METERED, "took more than 0.5 s"),
        ("yes free", LinkCost.METERED, "took more than 0.5 s"),
    ],
)
def test_a_command_says_it_or_is_taken_for_the_configured_cost(
    tmp_path: Path, text: str, cost: LinkCost, fault: str
) -> None:
    command = script(tmp_path, text)
    looking = probe(command=command, timeout_s=5.0 if cost is LinkCost.FREE or "sleep" not in text else 0.5)
    if "yes" in text:
        looking = probe(command=command, timeout_s=0.5)
    started_s = time.monotonic()
    looking.look()
    assert time.monotonic() - started_s < 4.9
    assert looking.cost is cost
    assert fault in (looking.fault or "")


def test_a_command_that_is_too_slow_is_killed_with_all_it_started(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    probe(command=script(tmp_path, f"sleep 60 & echo $! > {pid_file}; wait"), timeout_s=1.0).look()
    pid = int(pid_file.read_text())
    deadline_s = time.monotonic() + 5
    while _runs(pid) and time.monotonic() < deadline_s:
        time.sleep(0.02)
    assert not _runs(pid)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def test_a_command_that_does_not_exist_is_named() -> None:
    missing = probe(command=(f"{os.sep}no{os.sep}hook",))
    missing.look()
    assert missing.cost is LinkCost.METERED
    assert "/no/hook cannot be run" in (missing.fault or "")
