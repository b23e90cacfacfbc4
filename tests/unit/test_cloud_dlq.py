"""Dead letters' way back, what of them can be purged, and how they are shown."""

from datetime import UTC, datetime
from typing import Any

import pytest

from cloud.dlq import actions, show
from cloud.dlq.actions import Selected
from cloud.dlq.letters import Buried, Wanted, topic_of
from cloud.dlq.returning import Return, Stuck, way_back
from cloud.inbox import open_record
from tests.cloud_world import NOW_MS, frame, record
from wire import batches
from wire.malformed import Malformed, Reason
from wire.messages import Batch
from wire.records import DeadLetter

SOURCE = "mqtt:dt/fleet/vehicle/car-1/signals#gw.1/e7/1234"
FRAME = frame(NOW_MS, {"Vehicle.Speed": 7}, "s", 3)


def buried(letter: DeadLetter, topic: str = "fleet.signals.v1.dlq", offset: int = 0) -> Buried:
    """A letter as it comes from Kafka: through its headers."""
    again = DeadLetter.read(letter.value, list(letter.headers()))
    return Buried(topic, 0, offset, again, NOW_MS)


def letter(reason: Reason = Reason.CLOCK_AHEAD, value: bytes = FRAME, **changes: Any) -> DeadLetter:
    made = DeadLetter.of(value, Malformed(reason, "why"), "fleet.signals.v1/0/17/2", NOW_MS, "car-1")
    return made._replace(source=SOURCE)._replace(**changes)


def returned(one: Buried) -> tuple[Return, Batch]:
    way = way_back(one)
    assert isinstance(way, Return), way
    batch = batches.decode(way.value)
    assert isinstance(batch, Batch), batch
    return way, batch


def test_one_message_becomes_a_batch_of_one_under_the_names_its_gateway_gave_it() -> None:
    way, batch = returned(buried(letter()))
    assert (way.topic, way.key) == ("fleet.signals.v1", b"car-1")
    assert (batch.gateway, batch.epoch, batch.first_sequence) == ("gw.1", "e7", 1234)
    assert (batch.payloads, batch.received_ms, batch.replay) == ([FRAME], [NOW_MS], "messages")


def test_of_a_frame_that_was_folded_in_part_only_the_values_come_back() -> None:
    assert returned(buried(letter(Reason.REJECTED_SAMPLES)))[1].replay == "values"


def test_the_agents_own_letters_go_back_by_their_origin() -> None:
    """What the agent buries has its source as its origin."""
    agents = letter(Reason.REFUSED_BY_KAFKA, source="", origin="mqtt:state/fleet/station/cs-9/connection#gw/e/5")
    way, batch = returned(buried(agents, "fleet.connections.v1.dlq"))
    assert (way.topic, way.key, str(batch.kind)) == ("fleet.connections.v1", b"cs-9", "station")


def test_a_letter_of_the_fold_finds_its_way_back_without_the_record_it_came_in() -> None:
    """What `open_record` buries is the same message again once it is returned."""
    opened = open_record(record("car-1", [b"junk", FRAME], 9, first_sequence=70))
    (junk,) = opened.dead_letters
    _, batch = returned(buried(junk))
    assert (batch.gateway, batch.epoch, batch.first_sequence, batch.payloads) == ("gw", "e1", 70, [b"junk"])


def test_a_whole_record_keeps_its_payloads_and_says_that_it_comes_back() -> None:
    original = record("car-1", [FRAME, b"junk"], 9)
    refused = DeadLetter.of(
        original.value or b"", Malformed(Reason.NEWER_SCHEMA, ""), original.place, NOW_MS, original.key.decode()
    )
    way, batch = returned(buried(refused))
    assert (way.topic, way.key, batch.payloads) == (original.topic, b"car-1", [FRAME, b"junk"])
    assert batch.replay == "messages"


@pytest.mark.parametrize("topic", ["customer.profiles.v1", "fleet.signals.v1"])
def test_a_record_that_cannot_be_read_goes_back_byte_by_byte(topic: str) -> None:
    one = DeadLetter.of(b"\x00junk", Malformed(Reason.NOT_DECODABLE, ""), f"{topic}/3/7", NOW_MS, "c1")
    way = way_back(buried(one, f"{topic}.dlq"))
    assert isinstance(way, Return)
    assert (way.topic, way.key, way.value) == (topic, b"c1", b"\x00junk")


LOST = letter(Reason.EVICTED, b"{}", source="", origin="spool:gw/e/signals/1-9")
STUCK = [
    (LOST, "holds no message"),
    (letter(Reason.TOO_LARGE, size=900_000), "bytes were kept"),
    (letter(Reason.BAD_TOPIC, source="", origin="mqtt:dt/fleet/bike/b/signals#gw/e/1"), "where no asset publishes"),
    (letter(source="mqtt:dt/fleet/vehicle/car-1/signals#gw"), "place in a spool"),
    (letter(source="mqtt:dt/fleet/vehicle/car-1/signals#gw/e/99999999999999999999"), "place in a spool"),
    (letter(source="", origin="elsewhere/0/1"), "names no record"),
]


@pytest.mark.parametrize(("stuck", "why"), STUCK)
def test_what_has_no_way_back_says_why(stuck: DeadLetter, why: str) -> None:
    way = way_back(buried(stuck))
    assert isinstance(way, Stuck)
    assert why in way.why


def test_a_filter_matches_all_that_it_is_given() -> None:
    one = buried(letter())
    assert Wanted().matches(one)
    assert Wanted(reasons=frozenset({"clock_ahead"}), assets=frozenset({"car-1"}), since_ms=NOW_MS).matches(one)
    for other in (
        Wanted(reasons=frozenset({"bad_time"})),
        Wanted(assets=frozenset({"car-2"})),
        Wanted(since_ms=NOW_MS + 1),
        Wanted(before_ms=NOW_MS),
    ):
        assert not other.matches(one)


def test_a_dead_letter_topic_is_known_by_both_names() -> None:
    assert topic_of("fleet.signals.v1") == topic_of("fleet.signals.v1.dlq") == "fleet.signals.v1.dlq"
    assert topic_of("ml.models.v1") is None


def test_a_purge_stops_at_the_first_letter_that_is_to_stay() -> None:
    now = datetime.now(UTC)
    replayed = [now, now, None, now]
    letters = [Selected(buried(letter(), offset=offset), when) for offset, when in enumerate(replayed, 40)]
    other = Selected(buried(letter(), "fleet.events.v1.dlq", 8), now)
    plan = actions.plan_purge([*letters, other], lambda one: one.replayed is not None)
    assert plan.before == {("fleet.signals.v1.dlq", 0): 42, ("fleet.events.v1.dlq", 0): 9}
    assert (plan.letters, plan.held_back) == (3, 1)


def test_the_hexdump_shows_offset_bytes_and_text() -> None:
    assert list(show.hexdump(b"\x00\x01ABC" + bytes(range(250, 256)) * 2)) == [
        "00000000  00 01 41 42 43 fa fb fc fd fe ff fa fb fc fd fe  ..ABC...........",
        "00000010  ff                                               .",
    ]


@pytest.mark.parametrize(
    "value", [FRAME, b"\xff\x00", b"", record("car-1", [FRAME]).value or b"", b'{"a": "\x1b[31m"}']
)
def test_anything_can_be_shown_and_steers_no_terminal(value: bytes) -> None:
    text = list(show.lines(buried(letter(value=value, detail="\x1b[2J")), None, 64))
    assert all(line.isprintable() for line in text)
    assert any("dt/fleet/vehicle/car-1/signals#gw.1/e7/1234" in line for line in text)
