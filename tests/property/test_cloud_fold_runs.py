"""Frames of a record that are folded together, beside the same frames folded each by itself."""

from random import Random
from typing import Any
from unittest import mock

from hypothesis import event, given, settings
from hypothesis import strategies as st

from cloud import fold
from cloud.fold import Outcome
from cloud.inbox import open_record
from cloud.twin import Twin
from tests.cloud_world import NOW_MS, frame, record
from wire.topics import Kind

SPEED, ON, CODES = "Vehicle.Speed", "Vehicle.IsMoving", "Vehicle.Diagnostics.DTCList"
ODD = (
    *("skips", "again", "other session", "counts nothing", "late", "same time", "two samples", "partly refused"),
    *("captured", "empty", "unreadable"),
)


@st.composite
def stories(draw: st.DrawFn) -> list[bytes]:
    """What a device sends in a row: mostly the next frame, sometimes something else."""
    payloads: list[bytes] = []
    seq, ts = 0, NOW_MS - 100_000
    for odd in draw(st.lists(st.sampled_from([*[""] * 30, *ODD]), min_size=8, max_size=40)):
        values: dict[str, Any] = {SPEED: float(len(payloads))}
        values |= draw(st.sampled_from([{}, {ON: True}, {CODES: ["P0301"]}, {ON: False, CODES: []}]))
        more: dict[str, Any] = {}
        session: str | None = "s"
        number: int | None = seq
        moment = ts
        if odd == "skips":
            seq += 3
            number = seq
        elif odd == "again":
            number = max(0, seq - 2)
        elif odd == "other session":
            session = "t"
        elif odd == "counts nothing":
            session = number = None
        elif odd in ("late", "same time"):
            moment = ts - (5_000 if odd == "late" else 1_000)
        elif odd == "two samples":
            values, more = {SPEED: [1.0, 2.0]}, {"dt": [0, 400]}
        elif odd == "partly refused":
            values["Vehicle.Nonsense"] = 1
        elif odd == "captured":
            more = {"capture": "hard-braking"}
        elif odd == "empty":
            values = {SPEED: None}
        if odd:
            event(odd)
        payloads.append(b"\xc1" if odd == "unreadable" else frame(moment, values, session, number, **more))
        seq, ts = seq + 1, ts + 1_000
    return payloads


@given(stories(), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=400)
def test_frames_folded_together_leave_what_they_leave_one_by_one(sent: list[bytes], chance: Random) -> None:
    """The same twin, and the same told to detectors and metrics, however the gateway's clock jumps."""
    together, apart = Twin("a", Kind.VEHICLE), Twin("a", Kind.VEHICLE)
    while sent:
        count, offset = chance.randint(1, 12), together.heard
        payloads, sent = sent[:count], sent[count:]
        received_ms = [NOW_MS + chance.randint(-3, 3) * 1_000 for _ in payloads]
        opened = open_record(record("a", payloads, offset, received_ms=received_ms)).delivery
        assert opened is not None
        with mock.patch.object(fold, "_fold_run", return_value=0):
            one_by_one = fold.fold(apart, [opened])
        assert told(fold.fold(together, [opened])) == told(one_by_one)
        assert together == apart


def told(outcome: Outcome) -> list[Any]:
    return [outcome.advances, outcome.folded, outcome.duplicates, outcome.uncertain, outcome.replayed]


def test_a_whole_record_of_plain_frames_is_folded_together() -> None:
    """Else the above would compare nothing."""
    frames = [frame(NOW_MS - 10_000 + seq, {SPEED: float(seq)}, "s", seq) for seq in range(9)]
    twin = Twin("a", Kind.VEHICLE)
    first, rest = (
        open_record(record("a", part, offset)).delivery for offset, part in enumerate((frames[:1], frames[1:]))
    )
    assert first is not None
    assert rest is not None
    fold.fold(twin, [first])
    with mock.patch.object(fold, "_fold_item", side_effect=AssertionError):
        assert fold.fold(twin, [rest]).folded == 8
