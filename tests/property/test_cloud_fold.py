"""Laws of the fold: duplicates, order, cuts, restarts."""

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import bson
import msgpack
from bson.codec_options import CodecOptions, DatetimeConversion
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from cloud import fold, twin
from cloud.inbox import Delivery
from cloud.twin import Twin
from tests.cloud_world import NOW_MS, delivery, frame
from wire import catalogue
from wire.topics import Kind

PATHS = (
    "Vehicle.Speed",
    "Vehicle.IsMoving",
    "Vehicle.TraveledDistance",
    "Vehicle.LowVoltageSystemState",
    "Vehicle.Diagnostics.DTCList",
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "Vehicle.Speed": st.integers(0, 250) | st.floats(0, 250),
    "Vehicle.IsMoving": st.booleans(),
    "Vehicle.TraveledDistance": st.integers(0, 10**9),
    "Vehicle.LowVoltageSystemState": st.sampled_from(["LOCK", "OFF", "ON"]),
    "Vehicle.Diagnostics.DTCList": st.lists(st.sampled_from(["P0301", "P0420"]), max_size=2),
}
AS_MS: CodecOptions[dict[str, Any]] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS)


class Said(NamedTuple):
    """One message of a device and what is true about it."""

    channel: str
    session: str
    seq: int
    ts: int
    values: dict[str, Any]
    payload: bytes


@st.composite
def stories(draw: st.DrawFn) -> list[Said]:
    """What a device said in a few sessions, some of it lost: frames and events, each channel counting from 0."""
    said: list[Said] = []
    for session in range(draw(st.integers(1, 3))):
        name = f"s{session}"
        for seq in draw(st.sets(st.integers(0, 12), min_size=1, max_size=8)):
            ts = NOW_MS + session * 1000 + seq * draw(st.sampled_from([0, 1, 10]))
            chosen = draw(st.sets(st.sampled_from(PATHS), min_size=1))
            values = {path: draw(VALUES[path]) for path in sorted(chosen)}
            said.append(Said("signals", name, seq, ts, values, frame(ts, values, name, seq)))
        for seq in draw(st.sets(st.integers(0, 4), max_size=3)):
            event = {"v": 1, "type": "trip", "ts": NOW_MS, "session": name, "seq": seq, "trip_id": f"t{seq}"}
            event |= {"started_ms": NOW_MS - 1000, "ended_ms": NOW_MS, "distance_m": 5.0}
            said.append(Said("events", name, seq, NOW_MS, {}, bytes(msgpack.packb(event))))
    return said


def arrive(asset: Twin, said: Sequence[Said], cuts: random.Random, restart: bool = False) -> Twin:
    """Fold messages in this order, cut into records and calls at random; optionally through the database's bytes."""
    index, offsets = 0, {"signals": 0, "events": 0}
    while index < len(said):
        deliveries = []
        for _ in range(cuts.randint(1, 3)):
            length = cuts.randint(1, 4)
            part = [one for one in said[index : index + length] if one.channel == said[index].channel]
            if not part:
                break
            channel = part[0].channel
            run = 1
            while run < len(part) and said[index + run].channel == channel:
                run += 1
            payloads = [one.payload for one in said[index : index + run]]
            deliveries.append(delivery("a", payloads, offsets[channel], channel=channel))
            offsets[channel] += 1
            index += run
            if index >= len(said):
                break
        fold.fold(asset, deliveries)
        if restart:
            asset = reborn(asset)
    return asset


def reborn(asset: Twin) -> Twin:
    """The twin after its process was killed: through the document's bytes."""
    document = twin.new_document(asset.asset_id, asset.kind) | twin.fold_fields(asset, asset.revision)
    return twin.from_document(bson.decode(bson.encode(document), AS_MS))


def order_free(asset: Twin) -> dict[str, Any]:
    """What must depend only on what was said."""
    counters = {name: asset.counters[name] for name in ("frames", "events", "samples", "gaps")}
    return {"signals": asset.signals, "counters": counters}


def expected(said: Sequence[Said]) -> dict[str, Any]:
    """The same, by brute force from the story."""
    signals: dict[int, tuple[Any, int]] = {}
    for one in said:
        for path, value in one.values.items():
            signal = catalogue.BY_PATH[path]
            known = signals.get(signal.number)
            widened = float(value) if signal.type == "float" else value
            if known is None or (one.ts, widened) > (known[1], known[0]):
                signals[signal.number] = (widened, one.ts)
    frames = [one for one in said if one.channel == "signals"]
    highest: dict[tuple[str, str], int] = {}
    for one in said:
        key = (one.channel, one.session)
        highest[key] = max(highest.get(key, -1), one.seq)
    counters = {
        "frames": len(frames),
        "events": len(said) - len(frames),
        "samples": sum(len(one.values) for one in frames),
        "gaps": sum(top + 1 for top in highest.values()) - len(said),
    }
    return {"signals": signals, "counters": counters}


@given(stories(), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_any_order_with_any_duplicates_gives_the_same_twin(said: list[Said], chance: random.Random) -> None:
    """Re-ordered, re-sent and re-batched messages leave the signals and counters that the story implies."""
    arriving = said + chance.sample(said, chance.randint(0, len(said)))
    chance.shuffle(arriving)
    asset = arrive(Twin("a", Kind.VEHICLE), arriving, chance)
    assert order_free(asset) == expected(said)
    assert asset.counters["duplicates"] == len(arriving) - len(said)
    assert asset.counters["uncertain"] == 0


@given(stories(), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_cuts_and_restarts_change_nothing(said: list[Said], chance: random.Random) -> None:
    """However the log is cut into calls, and with the twin written and read back after each, the twin is the same."""
    chance.shuffle(said)
    whole = arrive(Twin("a", Kind.VEHICLE), said, random.Random(1))
    pieces = arrive(Twin("a", Kind.VEHICLE), said, random.Random(1), restart=True)
    assert twin.fold_fields(pieces, 1) == twin.fold_fields(whole, 1)


@given(stories(), st.data())
@settings(deadline=None)
def test_replayed_records_change_nothing(said: list[Said], data: st.DataObject) -> None:
    """After a crash before the commit, the records come again from any earlier offset and are skipped."""
    frames = [one for one in said if one.channel == "signals"]
    deliveries = [delivery("a", [one.payload], offset) for offset, one in enumerate(frames)]
    asset = Twin("a", Kind.VEHICLE)
    fold.fold(asset, deliveries)
    before = twin.fold_fields(reborn(asset), 1)
    outcome = fold.fold(asset, deliveries[data.draw(st.integers(0, len(deliveries) - 1)) :])
    assert twin.fold_fields(asset, 1) == before
    assert outcome.folded == 0
    assert outcome.events == []


@given(stories())
@settings(deadline=None)
def test_a_topic_created_anew_is_not_taken_for_seen(said: list[Said]) -> None:
    """Offsets that begin again at 0 under another topic id are read, and the sequence window drops re-sends."""
    frames = [one for one in said if one.channel == "signals"]
    asset = Twin("a", Kind.VEHICLE)
    fold.fold(asset, [delivery("a", [one.payload for one in frames], 7)])
    later = frame(NOW_MS + 60_000, {"Vehicle.Speed": 99}, "fresh", 0)
    again = delivery("a", [frames[0].payload, later], 0, generation="g2")
    outcome = fold.fold(asset, [again])
    assert (outcome.folded, outcome.duplicates) == (1, 1)
    assert asset.signals[catalogue.BY_PATH["Vehicle.Speed"].number] == (99.0, NOW_MS + 60_000)


def interleavings(draw: st.DrawFn, *streams: Sequence[Delivery]) -> list[Delivery]:
    """Streams mixed in any way, each in its own order: what several partitions give."""
    left = [list(stream) for stream in streams if stream]
    mixed: list[Delivery] = []
    while left:
        stream = left[draw(st.integers(0, len(left) - 1))]
        mixed.append(stream.pop(0))
        left = [stream for stream in left if stream]
    return mixed


@given(st.data(), st.booleans(), st.integers(1, 25), st.integers(0, 25))
@settings(deadline=None)
def test_a_topic_that_grows_loses_and_doubles_nothing(
    data: st.DataObject, numbered: bool, before: int, after: int
) -> None:
    """An asset moves to another partition while its old one is still being read, with re-sends in the new one, and a
    crash repeats both from anywhere: the twin is what it would be if nothing had moved."""
    session = "s" if numbered else None
    payloads = [
        frame(NOW_MS + n, {"Vehicle.Speed": n}, session, n if numbered else None) for n in range(before + after)
    ]
    one_by_one = [delivery("a", [payload], n, first_sequence=50 * n) for n, payload in enumerate(payloads)]
    old = one_by_one[:before]
    moved = [
        delivery("a", [payloads[n]], offset, partition=7, first_sequence=50 * n)
        for offset, n in enumerate(
            [*data.draw(st.lists(st.integers(0, before - 1), max_size=3)), *range(before, before + after)]
        )
    ]
    mixed = interleavings(data.draw, old, moved)
    whole, asset = Twin("a", Kind.VEHICLE), Twin("a", Kind.VEHICLE)
    fold.fold(whole, one_by_one)
    cut = data.draw(st.integers(0, len(mixed)))
    fold.fold(asset, mixed[:cut])
    asset = reborn(asset)
    again = [one for one in mixed[:cut] if data.draw(st.booleans())]
    outcome = fold.fold(asset, again)
    assert outcome.replayed == len(again)
    fold.fold(asset, mixed[cut:])
    assert order_free(asset) == order_free(whole)
    assert asset.counters["uncertain"] == 0
    assert asset.counters["duplicates"] == len(mixed) - len(payloads)


@given(stories(), st.randoms(use_true_random=False), st.data())
@settings(deadline=None)
def test_a_late_sample_never_moves_a_value_backwards(
    said: list[Said], chance: random.Random, data: st.DataObject
) -> None:
    """After each message, no signal has an older time than before, and of equal times none has a lesser value."""
    chance.shuffle(said)
    asset = Twin("a", Kind.VEHICLE)
    before: dict[int, Any] = {}
    late = 0
    for offset, one in enumerate(said):
        fold.fold(asset, [delivery("a", [one.payload], offset, channel=one.channel)])
        for number, (value, ts_ms) in before.items():
            assert (asset.signals[number][1], asset.signals[number][0]) >= (ts_ms, value)
        late += sum(
            before[signal][1] > one.ts
            for signal in (catalogue.BY_PATH[path].number for path in one.values)
            if signal in before
        )
        before = dict(asset.signals)
    assert asset.counters["late"] == late


@given(st.integers(2, 4), st.integers(1, 30), st.data())
@settings(deadline=None)
def test_interleaved_sessions_of_one_device_are_counted_apart(sessions: int, each: int, data: st.DataObject) -> None:
    """A device with two controllers, or a clone of it: whatever the interleaving, each session's frames count once."""
    streams = [
        [
            delivery("a", [frame(NOW_MS + n, {"Vehicle.Speed": n}, f"s{session}", n)], session * 1000 + n)
            for n in range(each)
        ]
        for session in range(sessions)
    ]
    mixed = [
        replace(one, position=replace(one.position, offset=offset))
        for offset, one in enumerate(interleavings(data.draw, *streams))
    ]
    asset = Twin("a", Kind.VEHICLE)
    fold.fold(asset, mixed)
    assert {name: asset.counters[name] for name in ("frames", "gaps", "duplicates", "uncertain")} == {
        "frames": sessions * each,
        "gaps": 0,
        "duplicates": 0,
        "uncertain": 0,
    }


@given(st.booleans(), st.integers(70, 120), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=30)
def test_a_window_that_overflows_drops_nothing_in_silence(numbered: bool, pieces: int, chance: random.Random) -> None:
    """Every message is accounted for: counted, called a re-send it was, or called uncertain and its values used."""
    session = "s" if numbered else None
    sequences = list(range(0, 3 * pieces, 3))
    missed = [seq + 1 for seq in sequences[:-1]]
    chance.shuffle(missed)
    asset = Twin("a", Kind.VEHICLE)

    def send(seq: int, offset: int, path: str) -> None:
        payload = frame(NOW_MS + seq, {path: seq % 200}, session, seq if numbered else None)
        fold.fold(asset, [delivery("a", [payload], offset, first_sequence=seq)])

    for offset, seq in enumerate(sequences):
        send(seq, offset, "Vehicle.Speed")
    for offset, seq in enumerate(missed, len(sequences)):
        send(seq, offset, "Vehicle.TraveledDistance")
    counters = asset.counters
    assert counters["frames"] + counters["uncertain"] == len(sequences) + len(missed)
    assert counters["duplicates"] == 0
    assert counters["uncertain"] > 0
    newest = max(missed)
    assert asset.signals[catalogue.BY_PATH["Vehicle.TraveledDistance"].number] == (newest % 200, NOW_MS + newest)


@given(st.integers(1, 6), st.integers(0, 5), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=30)
def test_what_comes_of_a_session_that_was_forgotten_is_uncertain(
    beyond: int, again: int, chance: random.Random
) -> None:
    """A twin remembers so many sessions, the newest by their frames; what claims an older one is used, is not counted
    as new, nor dropped as a re-send, also after a restart; sessions that are remembered go on as before."""
    sessions = fold.WINDOWS_MAX + beyond
    asset = Twin("a", Kind.VEHICLE)
    order = list(range(fold.WINDOWS_MAX))
    chance.shuffle(order)
    for offset, session in enumerate([*order, *range(fold.WINDOWS_MAX, sessions)]):
        payload = frame(NOW_MS + 1_000 * session, {"Vehicle.Speed": session}, f"s{session}", 0)
        fold.fold(asset, [delivery("a", [payload], offset)])
    asset = reborn(asset)
    for n in range(again):
        forgotten = chance.randrange(beyond)
        payload = frame(
            NOW_MS + 1_000 * forgotten, {"Vehicle.Speed": 1, "Vehicle.TraveledDistance": n}, f"s{forgotten}", 0
        )
        fold.fold(asset, [delivery("a", [payload], sessions + n)])
    kept = chance.randrange(beyond, sessions)
    resent, fresh = (frame(NOW_MS + 1_000 * kept + seq, {"Vehicle.Speed": kept}, f"s{kept}", seq) for seq in (0, 1))
    fold.fold(asset, [delivery("a", [resent, fresh], sessions + again)])
    counted = {name: asset.counters[name] for name in ("frames", "uncertain", "duplicates", "gaps")}
    assert counted == {"frames": sessions + 1, "uncertain": again, "duplicates": 1, "gaps": 0}
    assert (catalogue.BY_PATH["Vehicle.TraveledDistance"].number in asset.signals) == (again > 0)


@given(st.integers(1, 9), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=30)
def test_partitions_are_remembered_up_to_a_limit_and_what_is_read_again_of_others_is_still_known(
    beyond: int, chance: random.Random
) -> None:
    """A topic that grows again and again: the twin's bookkeeping does not, and its windows know the re-sends."""
    partitions = fold.POSITIONS_MAX + beyond
    said = [delivery("a", [frame(NOW_MS + n, {"Vehicle.Speed": n}, "s", n)], 0, partition=n) for n in range(partitions)]
    asset = Twin("a", Kind.VEHICLE)
    fold.fold(asset, said)
    asset = reborn(asset)
    assert len(asset.positions) == fold.POSITIONS_MAX
    again = [*said, *chance.sample(said, beyond)]
    chance.shuffle(again)
    fold.fold(asset, again)
    assert len(asset.positions) == fold.POSITIONS_MAX
    assert (asset.counters["frames"], asset.counters["uncertain"]) == (partitions, 0)
