"""Forms of documents: what they cost where no two are alike, and what is none."""

from collections.abc import Sequence
from typing import Any
from unittest import mock

import bson
import pytest
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128

from cloud import changes, fold, picking
from cloud.forms import Form, Forms
from cloud.leaves import Leaves
from cloud.twin import Twin
from tests.cloud_world import NOW_MS, delivery, frame, record
from tests.plain_world import AS_MS, Side
from wire.topics import Kind

SPEED, ODOMETER = "Vehicle.Speed", "Vehicle.TraveledDistance"


def written(session: str, values: dict[str, Any] | None = None) -> bytes:
    """The second write of an asset: what moves with every frame."""
    twin, leaves = Twin("a", Kind.VEHICLE), Leaves()
    for seq in range(2):
        fold.fold(twin, [delivery("a", [frame(NOW_MS + seq, values or {SPEED: 1.0}, session, seq)], seq)])
        moving = changes.of(twin, leaves).moving
    return moving


def test_a_fleet_of_which_no_two_documents_are_alike_is_not_walked_through() -> None:
    forms = Forms()
    documents = [written("s" * length, values) for length in range(1, 60) for values in ({SPEED: 1.0}, {ODOMETER: 1})]
    with mock.patch.object(Form, "__init__", autospec=True, side_effect=Form.__init__) as walks:
        found = [forms.of(raw, 0, 0) for raw in documents * 5]
    assert 50 <= walks.call_count < 50 + 0.02 * len(found) + 1
    assert any(form is not None for form in found)


def test_a_document_that_says_something_else_is_not_of_the_form() -> None:
    forms = Forms()
    speed = forms.of(written("s"), 0, 0)
    assert speed is not None
    assert forms.of(written("t", {SPEED: 2.5}), 0, 0) is speed
    assert speed.fits(written("s", {SPEED: 99.0}))
    assert not speed.fits(written("s", {ODOMETER: 3}))
    assert not speed.fits(written("ss"))


def otherwise(**fields: Any) -> bytes:
    """What moves, with other fields."""
    return bson.encode(bson.decode(written("s"), AS_MS) | fields)


@pytest.mark.parametrize(
    "raw",
    [
        bson.encode({}),
        bson.encode({"revision": 1}),
        otherwise(signals={"Vehicle": {"Speed": {"value": 1, "ts": DatetimeMS(NOW_MS)}}}),
        otherwise(signals={"Vehicle": {"Speed": {"value": 1.0, "ts": 5}}}),
        otherwise(location={"type": "Point", "coordinates": [9, 48]}),
        otherwise(heard=Decimal128("1")),
        otherwise(fold={"heard": 1, "positions": [], "windows": []}),
    ],
    ids=["empty", "too little", "a float's value without a point", "a time of another type", "whole degrees", "a type "
    "that twins do not have", "no position"],
)  # fmt: skip
def test_what_is_no_such_document_has_no_form(raw: bytes) -> None:
    assert Forms().of(otherwise(), 0, 0) is not None
    assert Forms().of(raw, 0, 0) is None


def cars(count: int, seq: int, names: Sequence[str]) -> list[Any]:
    """A frame of each of several cars; each second names its signals in the other order."""
    moment = NOW_MS + seq * 1_000
    made = []
    for number in range(count):
        values = dict.fromkeys(names if number % 2 else reversed(names), 1.0)
        made.append(record(f"c{number}", [frame(moment, values, "s", seq)], seq, received_ms=[moment]))
    return made


@pytest.mark.parametrize(("count", "plainly"), [(2 * picking.FEW, 2 * picking.FEW), (picking.FEW - 1, 0)])
def test_of_few_frames_each_is_folded_by_itself(count: int, plainly: int) -> None:
    side = Side(picking.FEW, 1_000, detecting=True)
    for seq in range(3):
        side.hear(cars(count, seq, [SPEED, "Vehicle.CurrentLocation.Heading"]))
        side.worker.settle()
    assert side.metrics.folded_plainly._value.get() == plainly
    assert all(twin["counters"]["frames"] == 3 for twin in side.shelf.twins.values())


def test_names_that_nobody_knows_are_not_remembered() -> None:
    side = Side(1, 1_000, detecting=False)
    for seq in range(30):
        values: dict[str, Any] = {SPEED: 1.0} if seq % 3 < 2 else {SPEED: 1.0, f"Vehicle.Nonsense{seq}": 1}
        moment = NOW_MS + seq * 1_000
        side.hear([record("a", [frame(moment, values, "s", seq)], seq, received_ms=[moment])])
        side.worker.settle()
    assert len(side.worker._picker._orders) == 1
    assert side.shelf.twins["a"]["counters"]["frames"] == 30
