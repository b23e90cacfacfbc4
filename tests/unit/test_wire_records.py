"""Record headers: CloudEvents, and dead letters that can always be looked at."""

from datetime import datetime

import pytest

from wire import limits, records
from wire.malformed import Malformed, Reason
from wire.records import DeadLetter

WHY = Malformed(Reason.OUT_OF_RANGE, "Vehicle.Speed: 999 not in -60..400")


def letter(**changes) -> DeadLetter:
    return DeadLetter.of(b"\x00raw", WHY, "fleet.signals.v1/3/17/2", 1_700_000_000_123, "car-1")._replace(**changes)


def test_a_dead_letter_is_read_as_it_was_written():
    assert DeadLetter.read(letter().value, letter().headers()) == letter()


def test_a_dead_letter_of_an_asset_called_unknown_keeps_it_and_one_of_nobody_has_none():
    assert DeadLetter.read(b"", letter(asset_id="unknown").headers()).asset_id == "unknown"
    assert DeadLetter.read(b"", letter(asset_id="").headers()).asset_id == ""
    assert "ce_subject" not in dict(letter(asset_id="").headers())


def test_long_originals_are_cut_and_say_how_long_they_were():
    raw = b"x" * (limits.DEAD_LETTER_BYTES_MAX + 1)
    cut = DeadLetter.of(raw, WHY, "o", 0)
    assert len(cut.value) == limits.DEAD_LETTER_BYTES_MAX
    assert DeadLetter.read(cut.value, cut.headers()).size == len(raw)


def test_long_descriptions_are_cut():
    long = DeadLetter.of(b"", Malformed(Reason.WRONG_SHAPE, "d" * 9_000), "o" * 9_000, 0)
    assert sum(len(value) for _, value in long.headers()) < 3_000


@pytest.mark.parametrize(
    ("name", "garbage"),
    [(name, garbage) for name in ("dlq_time_ms", "dlq_size") for garbage in (b"abc", b"", b"-5", b"1.5", b"9" * 5_000)]
    + [("dlq_time_ms", "²".encode()), ("dlq_size", None), ("dlq_reason", b"no such"), ("dlq_detail", b"\xff\xfe")],
)
def test_reading_never_fails(name, garbage):
    read = DeadLetter.read(b"four", [(name, garbage)])
    assert read.time_ms == 0
    assert read.size == 4
    assert isinstance(read.reason, Reason)


def test_a_record_without_value_or_headers_is_a_dead_letter_with_nothing_known():
    assert DeadLetter.read(None, []) == DeadLetter(b"", Reason.NOT_DECODABLE, "", "", 0, "", 0)


def test_every_reason_survives():
    for reason in Reason:
        assert DeadLetter.read(b"", letter(reason=reason).headers()).reason is reason


def test_headers_are_cloud_events_in_kafka_binary_mode():
    headers = dict(
        records.cloud_event(
            type_="batch.v1", id_="gw/1/7", source="/gw", subject="car-1", time_ms=0, content_type="text/plain"
        )
    )
    assert headers == {
        "content-type": b"text/plain",
        "ce_specversion": b"1.0",
        "ce_id": b"gw/1/7",
        "ce_source": b"/gw",
        "ce_type": b"org.fleetfold.batch.v1",
        "ce_subject": b"car-1",
        "ce_time": b"1970-01-01T00:00:00.000Z",
    }


def test_text_that_cannot_be_encoded_does_not_stop_a_dead_letter():
    assert dict(letter(detail="half a pair \ud800").headers())["dlq_detail"] == b"half a pair ?"


@pytest.mark.parametrize("time_ms", [0, 1, 999, 1_700_000_000_123, limits.TIME_MS_MIN, limits.TIME_MS_MAX])
def test_times_are_exact_to_the_millisecond(time_ms):
    assert round(datetime.fromisoformat(records.iso_time(time_ms)).timestamp() * 1000) == time_ms
